//! What of a project there is.

use std::collections::{BTreeMap, BTreeSet};

use broker::domain::AlertSettings;
use serde_json::{Map, Value};

use super::file::Document;
use crate::client::names::short;
use crate::client::server::CallError;
use crate::client::session::{Session, elements};
use crate::failure::Failure;

/// Everything by its name.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) schemas: BTreeMap<String, Schema>,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
}

/// A schema.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) language: String,
    pub(super) definition: Map<String, Value>,
}

/// A topic.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) schema: Option<String>,
    pub(super) retention: Option<String>,
    pub(super) retention_bytes: Option<u64>,
    /// Empty where nobody asks.
    pub(super) acl: BTreeSet<String>,
    pub(super) alert: AlertSettings,
}

/// A subscription.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub(super) topic: String,
    pub(super) ack_deadline_seconds: u64,
    pub(super) ack_mode: String,
    pub(super) dead_letters: Option<DeadLetters>,
    /// Empty where nobody asks.
    pub(super) acl: BTreeSet<String>,
    pub(super) alert: AlertSettings,
}

/// Where a message goes that nobody acknowledges, and after how many attempts.
#[derive(Debug)]
pub(super) struct DeadLetters {
    pub(super) topic: String,
    pub(super) attempts: u64,
}

/// Asks for what `wanted` must be compared with, in `project`.
pub(super) async fn find(
    session: &Session,
    project: &str,
    wanted: &Document,
) -> Result<Found, Failure> {
    let base = format!("projects/{project}");
    let mut found = Found::default();
    let mut answer = session.get(&format!("{base}/schemas")).await?;
    for value in elements(&mut answer, "schemas") {
        let definition = value.get("schema").and_then(Value::as_object);
        let schema = Schema {
            language: text(&value, "type"),
            definition: definition.cloned().unwrap_or_default(),
        };
        found.schemas.insert(name(&value), schema);
    }
    for value in session.all(&format!("{base}/topics"), "topics").await? {
        let name = name(&value);
        let own = wanted.topics.as_ref().and_then(|all| all.get(name.as_str()));
        let asked = own.is_some_and(|topic| topic.acl.is_some());
        let topic = Topic {
            schema: some(short(&text(&value, "schema"))),
            retention: some(&text(&value, "retention")),
            retention_bytes: value.get("retentionBytes").and_then(Value::as_u64),
            acl: acl(session, &format!("{base}/topics/{name}"), asked).await?,
            alert: alert(session, &value)?,
        };
        found.topics.insert(name, topic);
    }
    for value in session.all(&format!("{base}/subscriptions"), "subscriptions").await? {
        let name = name(&value);
        let own = wanted.subscriptions.as_ref().and_then(|all| all.get(name.as_str()));
        let asked = own.is_some_and(|subscription| subscription.acl.is_some());
        let mode = text(&value, "ackMode");
        let subscription = Subscription {
            topic: short(&text(&value, "topic")).to_owned(),
            ack_deadline_seconds: value
                .get("ackDeadlineSeconds")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            // It is only shown where it is not the usual one.
            ack_mode: if mode.is_empty() { String::from("cumulative") } else { mode },
            dead_letters: value.get("deadLetterPolicy").map(dead_letters),
            acl: acl(session, &format!("{base}/subscriptions/{name}"), asked).await?,
            alert: alert(session, &value)?,
        };
        found.subscriptions.insert(name, subscription);
    }
    Ok(found)
}

fn dead_letters(policy: &Value) -> DeadLetters {
    let attempts = policy.get("maxDeliveryAttempts").and_then(Value::as_u64);
    DeadLetters {
        topic: short(&text(policy, "deadLetterTopic")).to_owned(),
        attempts: attempts.unwrap_or_default(),
    }
}

async fn acl(session: &Session, path: &str, asked: bool) -> Result<BTreeSet<String>, Failure> {
    if !asked {
        return Ok(BTreeSet::new());
    }
    let mut answer = session.get(&format!("{path}:acl")).await?;
    let users = elements(&mut answer, "authorized_users");
    Ok(users.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn alert(session: &Session, value: &Value) -> Result<AlertSettings, Failure> {
    let Some(alert) = value.get("alert") else { return Ok(AlertSettings::default()) };
    serde_json::from_value(alert.clone())
        .map_err(|error| session.failure(&CallError::Foreign(format!("alert: {error}"))))
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn name(value: &Value) -> String {
    short(&text(value, "name")).to_owned()
}
