//! What must be done so that what is becomes what is to be: one change is one call.

use std::collections::BTreeSet;

use broker::domain::AlertSettings;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::file::{self, Document, Unless};
use super::found::{self, DeadLetters, Found};
use crate::client::names::Name;

/// One call, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) sign: Sign,
    /// What is changed, and how: `topic t: retention 1d -> 2d`.
    pub(super) text: String,
    pub(super) method: Method,
    /// Below `/v1/`.
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Make,
    Alter,
    Delete,
}

impl Sign {
    /// As a line of a difference begins.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Make => "+",
            Self::Alter => "~",
            Self::Delete => "-",
        }
    }
}

/// The longest definition of a schema that is shown.
const SHOWN: usize = 120;

/// What is made while a plan is.
struct Plan<'a> {
    project: &'a str,
    found: &'a Found,
    changes: Vec<Change>,
    refusals: Vec<String>,
}

/// The changes, in the order in which they can be made: schemas, topics, subscriptions, and with
/// `prune` last what the sections of `wanted` do not name, in the opposite order.
///
/// # Errors
/// What cannot be changed, or refers to what will not be there; each with what to do. Then nothing
/// should be done.
pub(super) fn plan(
    project: &str,
    wanted: &Document,
    found: &Found,
    prune: bool,
) -> Result<Vec<Change>, Vec<String>> {
    let mut plan = Plan { project, found, changes: Vec::new(), refusals: Vec::new() };
    let gone = Gone::of(wanted, found, prune);
    for (name, schema) in wanted.schemas.iter().flatten() {
        plan.schema(name.as_str(), schema);
    }
    for (name, topic) in wanted.topics.iter().flatten() {
        plan.topic(name.as_str(), topic);
    }
    for (name, subscription) in wanted.subscriptions.iter().flatten() {
        plan.subscription(name.as_str(), subscription);
    }
    plan.check_references(wanted, &gone);
    for (kind, names) in
        [("subscription", &gone.subscriptions), ("topic", &gone.topics), ("schema", &gone.schemas)]
    {
        for name in names {
            let path = plan.path(kind, name);
            plan.add(Sign::Delete, format!("{kind} {name}"), Method::DELETE, path, None);
        }
    }
    if plan.refusals.is_empty() { Ok(plan.changes) } else { Err(plan.refusals) }
}

/// What is there, is not to be, and is deleted.
#[derive(Default)]
struct Gone<'a> {
    schemas: BTreeSet<&'a str>,
    topics: BTreeSet<&'a str>,
    subscriptions: BTreeSet<&'a str>,
}

impl<'a> Gone<'a> {
    fn of(wanted: &Document, found: &'a Found, prune: bool) -> Self {
        if !prune {
            return Self::default();
        }
        fn rest<'a, T, U>(
            wanted: Option<&std::collections::BTreeMap<Name, T>>,
            found: &'a std::collections::BTreeMap<String, U>,
        ) -> BTreeSet<&'a str> {
            // A section that is absent says nothing about its kind.
            let Some(wanted) = wanted else { return BTreeSet::new() };
            let names = found.keys().map(String::as_str);
            names.filter(|name| !wanted.contains_key(*name)).collect()
        }
        Self {
            schemas: rest(wanted.schemas.as_ref(), &found.schemas),
            topics: rest(wanted.topics.as_ref(), &found.topics),
            subscriptions: rest(wanted.subscriptions.as_ref(), &found.subscriptions),
        }
    }
}

impl Plan<'_> {
    fn path(&self, kind: &str, name: &str) -> String {
        format!("projects/{}/{kind}s/{name}", self.project)
    }

    fn add(&mut self, sign: Sign, text: String, method: Method, path: String, body: Option<Value>) {
        self.changes.push(Change { sign, text, method, path, body });
    }

    fn alter(&mut self, text: String, path: &str, verb: &str, body: Value) {
        self.add(Sign::Alter, text, Method::POST, format!("{path}:{verb}"), Some(body));
    }

    fn schema(&mut self, name: &str, wanted: &file::Schema) {
        let path = self.path("schema", name);
        let language = wanted.language.as_str();
        let body = json!({"type": language, "schema": wanted.schema});
        let Some(found) = self.found.schemas.get(name) else {
            let text = format!("schema {name}: {language}");
            return self.add(Sign::Make, text, Method::POST, path, Some(body));
        };
        let mut parts = Vec::new();
        if found.language != language {
            parts.push(format!("type {} -> {language}", found.language));
        }
        let (old, new) =
            (Value::from(found.definition.clone()), Value::from(wanted.schema.clone()));
        if !same(&old, &new) {
            parts.push(format!("definition {} -> {}", shown(&old), shown(&new)));
        }
        if !parts.is_empty() {
            let text = format!("schema {name}: {}", parts.join(", "));
            self.add(Sign::Alter, text, Method::PUT, path, Some(body));
        }
    }

    fn topic(&mut self, name: &str, wanted: &file::Topic) {
        let path = self.path("topic", name);
        let new = found::Topic::default();
        let is_new = !self.found.topics.contains_key(name);
        let found = self.found.topics.get(name).unwrap_or(&new);
        let schema = wanted.schema.as_ref().map(|Unless(name)| name.as_ref().map(Name::to_string));
        let schema = schema.unwrap_or_else(|| found.schema.clone());
        let retention = wanted.retention.as_ref();
        let retention =
            retention.map(|Unless(age)| age.as_ref().map(|age| age.as_str().to_owned()));
        let retention = retention.unwrap_or_else(|| found.retention.clone());
        let bytes = wanted.retention_bytes.map(|bytes| (bytes > 0).then_some(bytes));
        let bytes = bytes.unwrap_or(found.retention_bytes);

        let mut kept = Map::new();
        kept.extend(retention.as_ref().map(|age| (String::from("retention"), json!(age))));
        kept.extend(bytes.map(|bytes| (String::from("retentionBytes"), json!(bytes))));
        let full = schema.as_ref().map(|name| self.path("schema", name));
        if is_new {
            let mut parts = Vec::new();
            parts.extend(schema.iter().map(|name| format!("schema {name}")));
            parts.extend(kept.iter().map(|(key, value)| format!("{key} {}", plain(value))));
            let mut body = kept;
            body.extend(full.map(|full| (String::from("schema"), json!(full))));
            self.make("topic", name, parts, body, wanted.alert.as_ref());
        } else {
            if schema != found.schema {
                let text = format!("topic {name}: schema {}", arrow(&found.schema, &schema));
                let (verb, body) = match full {
                    Some(full) => ("attachSchema", json!({"schema": full})),
                    None => ("detachSchema", json!({})),
                };
                self.alter(text, &path, verb, body);
            }
            let mut parts = Vec::new();
            if retention != found.retention {
                parts.push(format!("retention {}", arrow(&found.retention, &retention)));
            }
            if bytes != found.retention_bytes {
                parts.push(format!("retentionBytes {}", arrow(&found.retention_bytes, &bytes)));
            }
            if !parts.is_empty() {
                let text = format!("topic {name}: {}", parts.join(", "));
                self.alter(text, &path, "modifyRetention", Value::Object(kept));
            }
            self.alert("topic", name, wanted.alert.as_ref(), &found.alert);
        }
        self.acl("topic", name, wanted.acl.as_ref(), &found.acl);
    }

    fn subscription(&mut self, name: &str, wanted: &file::Subscription) {
        let path = self.path("subscription", name);
        let topic = wanted.topic.as_str();
        let Some(found) = self.found.subscriptions.get(name) else {
            let mut body = Map::new();
            body.insert(String::from("topic"), json!(self.path("topic", topic)));
            let mut parts = vec![format!("topic {topic}")];
            if let Some(seconds) = wanted.ack_deadline_seconds {
                body.insert(String::from("ackDeadlineSeconds"), json!(seconds));
                parts.push(format!("ackDeadlineSeconds {seconds}"));
            }
            // The usual one is not sent: the original AMS does not know the key.
            if let Some(mode @ file::AckMode::Individual) = wanted.ack_mode {
                body.insert(String::from("ackMode"), json!(mode.as_str()));
                parts.push(format!("ackMode {}", mode.as_str()));
            }
            if let Some(policy) = &wanted.dead_letter_policy {
                let to = policy.dead_letter_topic.as_str();
                let mut dead_letters = Map::new();
                dead_letters.insert("deadLetterTopic".into(), json!(self.path("topic", to)));
                parts.push(format!("deadLetterTopic {to}"));
                if let Some(attempts) = policy.max_delivery_attempts {
                    dead_letters.insert("maxDeliveryAttempts".into(), json!(attempts));
                    parts.push(format!("maxDeliveryAttempts {attempts}"));
                }
                body.insert("deadLetterPolicy".into(), Value::Object(dead_letters));
            }
            self.make("subscription", name, parts, body, wanted.alert.as_ref());
            return self.acl("subscription", name, wanted.acl.as_ref(), &BTreeSet::new());
        };
        let mode = wanted.ack_mode.map_or(found.ack_mode.as_str(), |mode| mode.as_str());
        self.stays(name, "topic", &found.topic, topic);
        self.stays(name, "ackMode", &found.ack_mode, mode);
        if let Some(policy) = &wanted.dead_letter_policy {
            let old = found.dead_letters.as_ref();
            let to = old.map_or("(none)", |old| old.topic.as_str());
            self.stays(name, "deadLetterTopic", to, policy.dead_letter_topic.as_str());
            if let (Some(old), Some(attempts)) = (old, policy.max_delivery_attempts) {
                let (old, new) = (old.attempts.to_string(), attempts.to_string());
                self.stays(name, "maxDeliveryAttempts", &old, &new);
            }
        }
        if let Some(seconds) = wanted.ack_deadline_seconds
            && u64::from(seconds) != found.ack_deadline_seconds
        {
            let old = found.ack_deadline_seconds;
            let text = format!("subscription {name}: ackDeadlineSeconds {old} -> {seconds}");
            self.alter(text, &path, "modifyAckDeadline", json!({"ackDeadlineSeconds": seconds}));
        }
        self.alert("subscription", name, wanted.alert.as_ref(), &found.alert);
        self.acl("subscription", name, wanted.acl.as_ref(), &found.acl);
    }

    /// Refuses what no call can change of a subscription.
    fn stays(&mut self, name: &str, what: &str, old: &str, new: &str) {
        if old != new {
            self.refusals.push(format!(
                "subscription {name}: its {what} is {old} and cannot become {new}: give the new \
                 one another name, or delete it first (`ams sub delete {name}`), which forgets \
                 its position"
            ));
        }
    }

    /// A topic or subscription that is not there yet.
    fn make(
        &mut self,
        kind: &str,
        name: &str,
        mut parts: Vec<String>,
        mut body: Map<String, Value>,
        alert: Option<&AlertSettings>,
    ) {
        if let Some(alert) = alert.filter(|alert| !alert.is_empty()) {
            parts.push(format!("alert {}", json!(alert)));
            body.insert(String::from("alert"), json!(alert));
        }
        let what = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        let path = self.path(kind, name);
        let body = Some(Value::Object(body));
        self.add(Sign::Make, format!("{kind} {name}{what}"), Method::PUT, path, body);
    }

    fn alert(
        &mut self,
        kind: &str,
        name: &str,
        wanted: Option<&AlertSettings>,
        found: &AlertSettings,
    ) {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            let text = format!("{kind} {name}: alert {} -> {}", json!(found), json!(wanted));
            let path = self.path(kind, name);
            self.alter(text, &path, "modifyAlert", json!({"alert": wanted}));
        }
    }

    fn acl(
        &mut self,
        kind: &str,
        name: &str,
        wanted: Option<&BTreeSet<Name>>,
        found: &BTreeSet<String>,
    ) {
        let Some(wanted) = wanted else { return };
        let wanted: BTreeSet<_> = wanted.iter().map(Name::to_string).collect();
        if wanted == *found {
            return;
        }
        let added = wanted.difference(found).map(|user| format!("+{user}"));
        let removed = found.difference(&wanted).map(|user| format!("-{user}"));
        let users: Vec<_> = added.chain(removed).collect();
        let text = format!("{kind} {name}: acl {}", users.join(" "));
        let path = self.path(kind, name);
        self.alter(text, &path, "modifyAcl", json!({"authorized_users": wanted}));
    }

    /// Whatever is named must be there when it is needed, and afterwards.
    fn check_references(&mut self, wanted: &Document, gone: &Gone<'_>) {
        let found = self.found;
        for (name, topic) in wanted.topics.iter().flatten() {
            let Some(Unless(Some(schema))) = &topic.schema else { continue };
            let is_made = wanted.schemas.as_ref().is_some_and(|all| all.contains_key(schema));
            let stays = found.schemas.contains_key(schema.as_str())
                && !gone.schemas.contains(schema.as_str());
            if !is_made && !stays {
                self.refusals
                    .push(format!("topic {name}: there is no schema {schema}: add it to the file"));
            }
        }
        for (name, subscription) in wanted.subscriptions.iter().flatten() {
            let policy = subscription.dead_letter_policy.as_ref();
            let dead_letters = policy.map(|policy| &policy.dead_letter_topic);
            for topic in std::iter::once(&subscription.topic).chain(dead_letters) {
                let is_made = wanted.topics.as_ref().is_some_and(|all| all.contains_key(topic));
                let stays = found.topics.contains_key(topic.as_str())
                    && !gone.topics.contains(topic.as_str());
                if !is_made && !stays {
                    self.refusals.push(format!(
                        "subscription {name}: there is no topic {topic}: add it to the file"
                    ));
                }
            }
        }
        // What is not in the file, but stays.
        for (name, subscription) in &found.subscriptions {
            if gone.subscriptions.contains(name.as_str()) {
                continue;
            }
            let own = wanted.subscriptions.as_ref().and_then(|all| all.get(name.as_str()));
            let is_said = own.is_some_and(|own| own.dead_letter_policy.is_some());
            let dead_letters = subscription.dead_letters.as_ref().filter(|_| !is_said);
            if let Some(DeadLetters { topic, .. }) =
                dead_letters.filter(|policy| gone.topics.contains(policy.topic.as_str()))
            {
                self.refusals.push(format!(
                    "topic {topic}: cannot be pruned, dead letters of subscription {name} go \
                     there: add the topic to the file"
                ));
            }
            if own.is_none() && gone.topics.contains(subscription.topic.as_str()) {
                self.refusals.push(format!(
                    "topic {}: cannot be pruned, subscription {name} stays: add `subscriptions` to \
                     the file, or the topic",
                    subscription.topic
                ));
            }
        }
    }
}

/// `old -> new`, `-` for nothing.
fn arrow<T: ToString>(old: &Option<T>, new: &Option<T>) -> String {
    let word = |value: &Option<T>| value.as_ref().map_or(String::from("-"), T::to_string);
    format!("{} -> {}", word(old), word(new))
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A definition, or its size.
fn shown(definition: &Value) -> String {
    let text = definition.to_string();
    if text.len() <= SHOWN { text } else { format!("({} bytes)", text.len()) }
}

/// Whether two definitions are the same to the server, to which all numbers are doubles.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_there = |(key, a)| b.get(key).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(is_there)
        }
        (a, b) => a == b,
    }
}
