//! Refusals as the document's responses: every status with its texts, taken from the catalogue
//! itself (`http/error.rs`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::error::Refusal;
use super::told::{Body, Limits, NUMBER, TEXT, Token, Told};
use crate::domain::InvalidName;
use crate::service::{Bounded, Error, Route, StoreError};

/// All that a route may answer but 200: what it says itself and what follows from its row.
pub(super) fn all(
    told: &Told,
    (method, pattern): (&str, &'static str),
    route: Option<Route>,
    limits: Limits,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for variable in super::variables(pattern) {
        refusals.push(Refusal::Fact(Error::Name(InvalidName(variable))));
        // A name that holds a slash, or is empty, is another path.
        refusals.push(Refusal::UnknownPath);
        if variable == "project" && route != Some(Route::ProjectsCreate) {
            refusals.push(Refusal::Fact(Error::ProjectNotFound));
        }
    }
    if route.is_some() {
        let gate = [Error::Unauthorized, Error::Forbidden, Error::Unavailable];
        refusals.extend(gate.map(Refusal::Fact));
        refusals.push(Refusal::Fact(Error::Rate(Bounded::UserRequests, 1)));
        if pattern.contains("{project}") {
            refusals.push(Refusal::Fact(Error::Rate(Bounded::ProjectRequests, 1)));
        }
    }
    if route.is_some_and(|route| makes(route) || route == Route::RegistrationsAcceptNewUser) {
        refusals.push(Refusal::Fact(Error::Rate(Bounded::UserObjects, 1)));
    }
    refusals.extend(told.refusals.iter().cloned());
    if !matches!(told.body, Body::Unread) {
        let size = NUMBER;
        refusals.extend([
            Refusal::UnreadableBody,
            Refusal::TooLarge { size, limit: limits.body },
            Refusal::SlowBody,
            Refusal::EncodedBody,
        ]);
    }
    if method != "GET" {
        refusals.push(Refusal::Fact(Error::Store(StoreError::Full)));
    }
    if route.is_some() {
        refusals.push(Refusal::Fact(Error::Store(StoreError::Corrupt("".into()))));
    }
    if told.token != Token::Unread {
        refusals.push(Refusal::Panicked);
    }
    refusals
}

/// Whether a route makes what its path names.
pub(super) const fn makes(route: Route) -> bool {
    matches!(
        route,
        Route::ProjectsCreate
            | Route::ProjectsCreateUser
            | Route::SubscriptionsCreate
            | Route::SnapshotsCreate
            | Route::TopicsCreate
            | Route::SchemasCreate
            | Route::UsersCreate
    )
}

/// The refusals as responses, by status.
pub(super) fn responses(refusals: &[Refusal]) -> BTreeMap<u16, Value> {
    let mut by_status: BTreeMap<u16, Status> = BTreeMap::new();
    for refusal in refusals {
        let (code, status, message, retry) = refusal.row();
        let one = by_status.entry(code).or_default();
        one.comes_again |= retry.is_some();
        let add = |list: &mut Vec<String>, text: String| {
            if !list.contains(&text) {
                list.push(text);
            }
        };
        add(&mut one.names, status.to_owned());
        add(&mut one.shown, shown(&message));
        match pattern(&message) {
            Some(pattern) => add(&mut one.patterns, pattern),
            None => add(&mut one.texts, message.into_owned()),
        }
    }
    by_status.into_iter().map(|(code, one)| (code, one.response(code))).collect()
}

/// What is told of one status.
#[derive(Default)]
struct Status {
    /// Names of the status.
    names: Vec<String>,
    /// Texts that never differ.
    texts: Vec<String>,
    /// Texts that do.
    patterns: Vec<String>,
    /// All of them, for people.
    shown: Vec<String>,
    /// With `Retry-After`.
    comes_again: bool,
}

impl Status {
    fn response(self, code: u16) -> Value {
        let mut messages: Vec<Value> =
            self.patterns.iter().map(|pattern| json!({ "pattern": pattern })).collect();
        if !self.texts.is_empty() {
            messages.insert(0, json!({ "enum": self.texts }));
        }
        let schema = json!({
            "allOf": [{ "$ref": "#/components/schemas/Error" }],
            "properties": { "error": { "properties": {
                "code": { "const": code },
                "status": { "enum": self.names },
                "message": { "anyOf": messages },
            } } },
        });
        let mut response = Map::new();
        response.insert("description".into(), self.shown.join(" | ").into());
        response.insert("content".into(), json!({ "application/json": { "schema": schema } }));
        if self.comes_again {
            let schema = json!({ "type": "integer", "minimum": 1 });
            let header = json!({
                "description": "Seconds after which to come again.",
                "schema": schema,
            });
            response.insert("headers".into(), json!({ "Retry-After": header }));
        }
        response.into()
    }
}

/// A text for people.
fn shown(message: &str) -> String {
    message.replace(&NUMBER.to_string(), "N").replace(TEXT, "...").replace(super::ANY, "...")
}

/// The regular expression of a text that is not always the same.
fn pattern(message: &str) -> Option<String> {
    let number = NUMBER.to_string();
    if ![TEXT, super::ANY, number.as_str()].iter().any(|mark| message.contains(mark)) {
        return None;
    }
    let mut pattern = String::from("^");
    for c in message
        .replace(TEXT, "\u{1}")
        .replace(super::ANY, "\u{1}")
        .replace(&number, "\u{2}")
        .chars()
    {
        match c {
            '\u{1}' => pattern.push_str("[\\s\\S]*"),
            '\u{2}' => pattern.push_str("[0-9]+"),
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' | '|' => {
                pattern.push('\\');
                pattern.push(c);
            }
            c => pattern.push(c),
        }
    }
    pattern.push('$');
    Some(pattern)
}
