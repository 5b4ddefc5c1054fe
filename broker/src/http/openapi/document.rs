//! The document: one path item for each pattern of the table, one operation for each row.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::routes::{self, Row};
use super::super::settings::{AuthOption, Settings};
use super::refused;
use super::told::{self, Answer, Body, Limits, Token, Told};
use crate::service::Route;

/// Schemas and parameters of query and head, by name.
const COMPONENTS: &str = include_str!("components.json");

/// What holds for all routes.
const ABOUT: &str = "The REST dialect of the ARGO Messaging Service. Success is always 200; every \
    answer says `application/json`, an empty one too; every error is the same envelope. Bodies are \
    read as JSON whatever their Content-Type says, plain or packed with gzip; keys in any case; \
    `null` is the zero value; unknown keys are ignored unless a schema says otherwise. Names in a \
    path are judged first, then the token, the project, the roles, then the rest. 503 means: come \
    again after the seconds of `Retry-After`, the outcome is unknown or nothing was done. Any \
    `OPTIONS` is answered as browsers want it.";

/// What is in force.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) retention: Duration,
    /// The names of the roles that may call a route.
    pub(super) roles_of: &'a dyn Fn(Route) -> Vec<&'a str>,
}

/// The document of what is in force.
pub(super) fn make(facts: &Facts<'_>) -> Value {
    let settings = facts.settings;
    let limits = Limits {
        messages: settings.messages_per_request,
        attributes: settings.attributes_per_message,
        body: settings.body_limit as u64,
        retention: facts.retention,
    };
    let mut components: Map<String, Value> = serde_json::from_str(COMPONENTS).unwrap_or_default();
    let mut shared = Shared::default();
    let mut paths: Map<String, Value> = Map::new();
    for row in routes::all() {
        let route = row.route();
        let told = match route {
            Some(route) => Some(told::of(route, limits)),
            None => told::open(row.pattern),
        };
        let Some(told) = told else { continue };
        let operation = operation(row, &told, limits, facts, &mut shared);
        let item = paths.entry(row.pattern).or_insert_with(|| Map::new().into());
        if let Some(item) = item.as_object_mut() {
            item.insert(row.method.to_ascii_lowercase(), operation);
        }
    }
    components.insert("responses".into(), shared.into_components());
    components.insert("securitySchemes".into(), security_schemes(settings.auth_option));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ARGO Messaging Service",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": components,
    })
}

fn operation(
    row: &'static Row,
    told: &Told,
    limits: Limits,
    facts: &Facts<'_>,
    shared: &mut Shared,
) -> Value {
    let route = row.route();
    let name = name(row);
    let mut operation = Map::new();
    let mut set = |key: &str, value: Value| {
        operation.insert(key.into(), value);
    };
    set("operationId", identifier(&name).into());
    set("x-ams-route", name.as_str().into());
    set("summary", told.summary.into());
    set("tags", json!([name.split(':').next().unwrap_or_default()]));
    if let Some(route) = route {
        set("x-ams-roles", (facts.roles_of)(route).into());
    }
    set("security", security(told.token, facts.settings.auth_option));
    let of_path = super::variables(row.pattern).map(|variable| format!("{variable}OfPath"));
    let told_ones = told.parameters.iter().map(|name| (*name).to_owned());
    let parameters: Vec<_> = of_path
        .chain(told_ones)
        .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
        .collect();
    if !parameters.is_empty() {
        set("parameters", parameters.into());
    }
    let body = match told.body {
        Body::Unread => None,
        Body::MayBeAbsent(schema) => Some((schema, false)),
        Body::Needed(schema) => Some((schema, true)),
    };
    if let Some((schema, required)) = body {
        set(
            "requestBody",
            json!({ "required": required, "content": { "application/json": of_schema(schema) } }),
        );
    }
    let refusals = refused::all(told, (row.method, row.pattern), route, limits);
    let mut responses = Map::new();
    responses.insert("200".into(), success(row, told));
    for (code, response) in refused::responses(&refusals) {
        let at = format!("#/components/responses/{}", shared.name(code, response));
        responses.insert(code.to_string(), json!({ "$ref": at }));
    }
    set("responses", responses.into());
    operation.into()
}

fn success(row: &'static Row, told: &Told) -> Value {
    let mut response = Map::new();
    let (description, content) = match told.answer {
        Answer::Empty => ("Done. The body is empty.", None),
        Answer::Json(schema) => ("Done.", Some(json!({ "application/json": of_schema(schema) }))),
        Answer::Html => {
            ("A page.", Some(json!({ "text/html": { "schema": { "type": "string" } } })))
        }
    };
    response.insert("description".into(), description.into());
    if let Some(content) = content {
        response.insert("content".into(), content);
    }
    let links = links(row);
    if !links.is_empty() {
        response.insert("links".into(), links.into());
    }
    response.into()
}

/// Where a thing that was made is used: every route of the same variables.
fn links(row: &'static Row) -> Map<String, Value> {
    let mut links = Map::new();
    match row.route() {
        Some(route) if refused::makes(route) => {
            let own: Vec<_> = super::variables(row.pattern).collect();
            let parameters: Map<String, Value> = own
                .iter()
                .map(|name| ((*name).to_owned(), format!("$request.path.{name}").into()))
                .collect();
            let others = routes::all().iter().filter(|other| {
                other.route() != row.route()
                    && super::variables(other.pattern).eq(own.iter().copied())
            });
            for other in others {
                let id = identifier(&name(other));
                links.insert(id.clone(), json!({ "operationId": id, "parameters": parameters }));
            }
        }
        Some(Route::RegistrationsNewUser) => {
            for other in routes::all() {
                if other.pattern.starts_with("/v1/registrations/{uuid}") {
                    let id = identifier(&name(other));
                    let parameters = json!({ "uuid": "$response.body#/uuid" });
                    links
                        .insert(id.clone(), json!({ "operationId": id, "parameters": parameters }));
                }
            }
        }
        Some(Route::SubscriptionsPull) => {
            let id = identifier(Route::SubscriptionsAcknowledge.as_str());
            let link = json!({
                "operationId": id,
                "parameters": {
                    "project": "$request.path.project",
                    "subscription": "$request.path.subscription",
                },
                "requestBody": { "ackIds": ["$response.body#/receivedMessages/0/ackId"] },
            });
            links.insert(id, link);
        }
        _ => {}
    }
    links
}

/// The AMS name of a row; of an open one its path's last part.
fn name(row: &Row) -> String {
    match row.route() {
        Some(route) => route.as_str().to_owned(),
        None => {
            let last = row.pattern.rsplit('/').next().unwrap_or_default();
            let of = if row.pattern.starts_with("/v1/users/") { "users" } else { "service" };
            format!("{of}:{}", last.trim_end_matches(".json"))
        }
    }
}

/// `topics:publish` as `topicsPublish`.
fn identifier(name: &str) -> String {
    let Some((of, verb)) = name.split_once(':') else { return name.to_owned() };
    let mut verb = verb.chars();
    let first = verb.next().map(|first| first.to_ascii_uppercase());
    of.chars().chain(first).chain(verb).collect()
}

fn of_schema(name: &str) -> Value {
    json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } })
}

fn security(token: Token, allowed: AuthOption) -> Value {
    let (header, query) = (json!({ "header": [] }), json!({ "query": [] }));
    let mut ways = match allowed {
        AuthOption::Key => vec![query],
        AuthOption::Header => vec![header],
        AuthOption::Both => vec![header, query],
    };
    match token {
        Token::Needed => {}
        Token::Helps => ways.insert(0, json!({})),
        Token::Unread => ways.clear(),
    }
    ways.into()
}

fn security_schemes(allowed: AuthOption) -> Value {
    let header = json!({ "type": "apiKey", "in": "header", "name": "x-api-key" });
    let query = json!({
        "type": "apiKey", "in": "query", "name": "key",
        "description": "Read where there is no header, or an empty one.",
    });
    match allowed {
        AuthOption::Key => json!({ "query": query }),
        AuthOption::Header => json!({ "header": header }),
        AuthOption::Both => json!({ "header": header, "query": query }),
    }
}

/// Responses that operations share.
#[derive(Default)]
struct Shared(Vec<(u16, Value)>);

impl Shared {
    /// The name of a response, which is kept if it is new.
    fn name(&mut self, code: u16, response: Value) -> String {
        let at = self.0.iter().position(|(_, known)| *known == response);
        let at = at.unwrap_or_else(|| {
            self.0.push((code, response));
            self.0.len() - 1
        });
        self.label(at)
    }

    /// `Refused404`, `Refused404B`...: numbered within the status.
    fn label(&self, at: usize) -> String {
        let code = self.0.get(at).map_or(0, |(code, _)| *code);
        let before = self.0.iter().take(at).filter(|(other, _)| *other == code).count();
        format!("Refused{code}_{}", before + 1)
    }

    fn into_components(self) -> Value {
        let named = (0..self.0.len()).filter_map(|at| {
            let (_, response) = self.0.get(at)?;
            Some((self.label(at), response.clone()))
        });
        named.collect::<Map<_, _>>().into()
    }
}
