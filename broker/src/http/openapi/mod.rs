//! The routes as an OpenAPI 3.1 document, and as a page for people. Both are made of the one table
//! of routes, of what `told.rs` says of each, of the catalogue of errors and of the roles in force,
//! once, when somebody asks for the first time.

mod document;
mod page;
mod refused;
mod told;

use std::sync::OnceLock;

use actix_web::web::Bytes;

use super::call::Call;
use super::error::Refusal;
use super::reply::Reply;

/// Stands for any name in a refusal's text.
const ANY: &str = "--any--";

/// Both forms, as they are sent.
struct Forms {
    json: Bytes,
    html: Bytes,
}

/// The document of one door.
#[derive(Default)]
pub(super) struct Document(OnceLock<Forms>);

impl Document {
    fn forms(&self, call: &Call<'_>) -> &Forms {
        self.0.get_or_init(|| {
            let document = document::make(&document::Facts {
                settings: call.settings,
                retention: call.broker.longest_retention(),
                roles_of: &|route| call.broker.roles_of(route),
            });
            let html = page::make(&document);
            Forms { json: document.to_string().into(), html: html.into() }
        })
    }
}

/// `GET /openapi.json`
pub(super) async fn json(call: &Call<'_>) -> Result<Reply, Refusal> {
    Ok(Reply::ok(call.document.forms(call).json.clone()))
}

/// `GET /docs`
pub(super) async fn html(call: &Call<'_>) -> Result<Reply, Refusal> {
    Ok(Reply::page(call.document.forms(call).html.clone()))
}

/// The variables of a pattern, in the order of the path.
fn variables(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use serde_json::Value;

    use super::super::routes;
    use super::super::settings::{AuthOption, Settings};
    use super::{document, page, variables};
    use crate::service::Route;

    fn made(auth_option: AuthOption) -> Value {
        let settings = Settings { auth_option, ..Settings::default() };
        document::make(&document::Facts {
            settings: &settings,
            retention: Duration::from_secs(30 * 86_400),
            roles_of: &|_| vec!["service_admin"],
        })
    }

    /// Method, path and operation of all that the document tells.
    fn operations(document: &Value) -> Vec<(String, String, &Value)> {
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                found.push((method.to_ascii_uppercase(), path.clone(), operation));
            }
        }
        found
    }

    /// All texts under the key `$ref`.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    match (key.as_str(), value) {
                        ("$ref", Value::String(at)) => drop(found.insert(at.clone())),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_has_every_row_and_nothing_else() {
        let document = made(AuthOption::Both);
        let told: BTreeSet<_> =
            operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
        let rows = routes::all().iter();
        let table: BTreeSet<_> =
            rows.map(|row| (row.method.to_owned(), row.pattern.to_owned())).collect();
        assert_eq!(told, table);
        let routes: BTreeSet<_> = routes::all()
            .iter()
            .filter_map(|row| row.route())
            .collect::<Vec<_>>()
            .into_iter()
            .map(Route::as_str)
            .collect();
        let all: BTreeSet<_> = Route::ALL.iter().map(|route| route.as_str()).collect();
        assert_eq!(routes, all, "each right is asked by a row");
        let ids: BTreeSet<_> = operations(&document)
            .iter()
            .map(|(_, _, told)| told["operationId"].to_string())
            .collect();
        assert_eq!(ids.len(), routes::all().len(), "each has its own id");
    }

    #[test]
    fn every_operation_tells_its_variables_its_roles_and_its_statuses() {
        let document = made(AuthOption::Both);
        for row in routes::all() {
            let told = &document["paths"][row.pattern][row.method.to_ascii_lowercase()];
            let parameters = told["parameters"].as_array().cloned().unwrap_or_default();
            let named: Vec<_> = parameters
                .iter()
                .map(|parameter| {
                    document
                        .pointer(parameter["$ref"].as_str().unwrap().trim_start_matches('#'))
                        .unwrap()
                })
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, variables(row.pattern).collect::<Vec<_>>(), "{}", row.pattern);
            assert_eq!(told["x-ams-roles"].is_array(), row.route().is_some(), "{}", row.pattern);
            let responses = told["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{}", row.pattern);
            for code in ["401", "403", "500", "503"] {
                let wanted = row.route().is_some();
                assert!(!wanted || responses.contains_key(code), "{} {code}", row.pattern);
            }
            let has_body = told.get("requestBody").is_some();
            assert_eq!(responses.contains_key("413"), has_body, "{}", row.pattern);
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        let document = made(AuthOption::Both);
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for at in &found {
            assert!(document.pointer(at.trim_start_matches('#')).is_some(), "{at}");
        }
        for kind in ["schemas", "parameters", "responses"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                assert!(found.contains(&format!("#/components/{kind}/{name}")), "{kind}/{name}");
            }
        }
        // Every link leads to an operation.
        let ids: BTreeSet<_> = operations(&document)
            .iter()
            .map(|(_, _, told)| told["operationId"].clone().to_string())
            .collect();
        let mut links = 0;
        for (_, _, told) in operations(&document) {
            for link in told["responses"]["200"]["links"].as_object().into_iter().flatten() {
                assert!(ids.contains(&link.1["operationId"].to_string()), "{link:?}");
                links += 1;
            }
        }
        assert!(links > 50, "{links}");
    }

    /// The schemas of the refusals, by what they must and must not take.
    #[test]
    fn a_refusal_is_told_by_its_text() {
        let document = made(AuthOption::Both);
        let publish = &document["paths"]["/v1/projects/{project}/topics/{topic}:publish"]["post"];
        let takes = |code: &str, status: &str, message: &str| {
            let at = publish["responses"][code]["$ref"].as_str().unwrap();
            let response = document.pointer(at.trim_start_matches('#')).unwrap();
            let mut schema = response["content"]["application/json"]["schema"].clone();
            schema["components"] = document["components"].clone();
            let number: u16 = code.parse().unwrap();
            let body = serde_json::json!({
                "error": { "code": number, "message": message, "status": status }
            });
            jsonschema::draft202012::new(&schema).unwrap().is_valid(&body)
        };
        assert!(takes("404", "NOT_FOUND", "Topic doesn't exist"));
        assert!(takes("404", "NOT_FOUND", "project doesn't exist"));
        assert!(!takes("404", "NOT_FOUND", "Snapshot doesn't exist"));
        assert!(!takes("404", "CONFLICT", "Topic doesn't exist"));
        assert!(takes("400", "INVALID_ARGUMENT", "Too many messages: 10001, the limit is 10000"));
        assert!(!takes("400", "INVALID_ARGUMENT", "Too many messages: ten, the limit is 10000"));
        assert!(takes("400", "INVALID_ARGUMENT", "Message 3 data is not valid,a.b (x): is\nbad"));
        assert!(!takes("400", "INVALID_ARGUMENT", "Message 3 data is fine"));
    }

    #[test]
    fn no_text_is_told_with_what_only_stands_in_for_it() {
        let document = made(AuthOption::Both);
        let text = document["components"]["responses"].to_string();
        for mark in [super::ANY, "987654321", "\u{1}", "\u{2}"] {
            assert!(!text.contains(mark), "{mark:?}");
        }
        assert!(text.contains("duplicate reference of project ..."), "shown to people");
        assert!(text.contains("Message N data is not valid,...: ..."), "shown to people");
    }

    #[test]
    fn tokens_are_told_where_the_settings_allow_them() {
        let schemes = |auth_option| {
            let document = made(auth_option);
            let schemes = document["components"]["securitySchemes"].as_object().unwrap().clone();
            let show = &document["paths"]["/v1/projects/{project}"]["get"]["security"];
            let wanted = show.as_array().unwrap().iter();
            let wanted = wanted.flat_map(|way| way.as_object().unwrap().keys().cloned());
            assert_eq!(wanted.collect::<BTreeSet<_>>(), schemes.keys().cloned().collect());
            schemes.values().map(|one| one["in"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(schemes(AuthOption::Both), ["header", "query"]);
        assert_eq!(schemes(AuthOption::Header), ["header"]);
        assert_eq!(schemes(AuthOption::Key), ["query"]);
    }

    #[test]
    fn the_page_tells_every_operation_and_runs_nothing() {
        let document = made(AuthOption::Both);
        let page = page::make(&document);
        for (_, path, told) in operations(&document) {
            let id = told["operationId"].as_str().unwrap();
            assert_eq!(page.matches(&format!("<details id=\"{id}\">")).count(), 1, "{id}");
            assert!(page.contains(&path), "{path}");
        }
        let mut anchors = BTreeMap::new();
        for target in page.split("href=\"#").skip(1) {
            let name = target.split('"').next().unwrap();
            *anchors.entry(name).or_insert(0) += 1;
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        assert!(anchors.len() > 20, "{anchors:?}");
        for foreign in
            ["<script", "http://", "https://", "src=", "style=", "onclick", "@import", "url("]
        {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
