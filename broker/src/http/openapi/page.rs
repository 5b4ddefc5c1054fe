//! The document as one page of plain HTML: no script, nothing that is fetched.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The only style of the page.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;\
margin:2rem auto;padding:0 1rem;color:#222;background:#fff}code,pre{font:14px/1.4 ui-monospace,\
monospace}pre{background:#f4f4f4;padding:.6rem;overflow:auto}table{border-collapse:collapse;\
width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem;text-align:left;vertical-align:top}\
details{border:1px solid #ddd;border-radius:4px;margin:.4rem 0;padding:.4rem .8rem}\
summary{cursor:pointer}.m{display:inline-block;width:4.5rem;font-weight:bold}";

/// The page.
pub(super) fn make(document: &Value) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let title = text(document, "/info/title");
    // Writing to a `String` cannot fail.
    write!(
        page,
        "<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p>Version {}. As \
         a document for programs: <a href=\"/openapi.json\">openapi.json</a>.</p><p>{}</p>",
        text(document, "/info/version"),
        text(document, "/info/description"),
    ).unwrap_or_default();
    let mut of_tags: Map<String, Value> = Map::new();
    for (path, item) in members(document.get("paths")) {
        for (method, operation) in members(Some(item)) {
            let tag = operation.pointer("/tags/0").and_then(Value::as_str).unwrap_or_default();
            let section = of_tags.entry(tag).or_insert_with(|| String::new().into());
            let mut told = section.as_str().unwrap_or_default().to_owned();
            write_operation(&mut told, document, (method, path), operation);
            *section = told.into();
        }
    }
    for (tag, section) in &of_tags {
        let section = section.as_str().unwrap_or_default();
        write!(page, "<h2>{}</h2>{section}", escaped(tag)).unwrap_or_default();
    }
    page.push_str("<h2>Schemas</h2>");
    for (name, schema) in members(document.pointer("/components/schemas")) {
        let name = escaped(name);
        write!(
            page,
            "<details id=\"schema-{name}\"><summary><code>{name}</code></summary><pre>{}</pre></details>",
            escaped(&format!("{schema:#}")),
        ).unwrap_or_default();
    }
    page.push_str("</body></html>\n");
    page
}

fn write_operation(
    page: &mut String,
    document: &Value,
    (method, path): (&str, &str),
    operation: &Value,
) {
    write!(
        page,
        "<details id=\"{}\"><summary><code><span class=\"m\">{}</span> {}</code> {}</summary>",
        text(operation, "/operationId"),
        escaped(&method.to_ascii_uppercase()),
        escaped(path),
        text(operation, "/summary"),
    )
    .unwrap_or_default();
    let roles = operation.get("x-ams-roles").and_then(Value::as_array);
    if let Some(roles) = roles {
        let roles: Vec<_> = roles.iter().filter_map(Value::as_str).map(escaped).collect();
        write!(page, "<p>Roles: {}</p>", roles.join(", ")).unwrap_or_default();
    }
    let parameters = operation.get("parameters").and_then(Value::as_array);
    if let Some(parameters) = parameters {
        page.push_str("<table><tr><th>Parameter</th><th>In</th><th></th></tr>");
        for parameter in parameters {
            let parameter = followed(document, parameter);
            write!(
                page,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(parameter, "/name"),
                text(parameter, "/in"),
                text(parameter, "/description"),
            )
            .unwrap_or_default();
        }
        page.push_str("</table>");
    }
    if let Some(body) = operation.get("requestBody") {
        write!(page, "<p>Body: {}</p>", linked(body)).unwrap_or_default();
    }
    page.push_str("<table><tr><th>Status</th><th></th></tr>");
    for (status, response) in members(operation.get("responses")) {
        let response = followed(document, response);
        let body = if status == "200" { linked(response) } else { String::new() };
        write!(
            page,
            "<tr><td>{}</td><td>{} {body}</td></tr>",
            escaped(status),
            text(response, "/description"),
        )
        .unwrap_or_default();
    }
    page.push_str("</table></details>");
}

/// A link to the schema of a body; nothing without one.
fn linked(body: &Value) -> String {
    let schema = body.pointer("/content/application~1json/schema/$ref").and_then(Value::as_str);
    let Some(name) = schema.and_then(|at| at.rsplit('/').next()) else { return String::new() };
    let name = escaped(name);
    format!("<a href=\"#schema-{name}\"><code>{name}</code></a>")
}

/// What a `$ref` names, or the value itself.
fn followed<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let at = value.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix('#'));
    at.and_then(|at| document.pointer(at)).unwrap_or(value)
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn text(value: &Value, at: &str) -> String {
    escaped(value.pointer(at).and_then(Value::as_str).unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
