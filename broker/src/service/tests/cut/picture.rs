//! What a store holds, all of it, by names instead of ids and without what chance made: the same
//! done twice makes the same picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::store::{Catalog as _, Limits, MemoryStore, MessageLog as _, ProgressLog as _, Scope};

/// Fields that hold a token or what one is found by.
const SECRETS: [&str; 6] = [
    "token_sha256",
    "token_sealed",
    "sha256",
    "sealed",
    "authorization_sealed",
    "verification_hash_sealed",
];
/// Places in an order: where a commit is made twice they have gaps.
const PLACES: [&str; 2] = ["order", "v"];

/// What the ids and secrets of a state are called.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels {
    ids: HashMap<Uuid, String>,
    secrets: BTreeSet<String>,
}

/// Every object, log and progress, and under [`Picture::TOLD`] the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture(BTreeMap<String, String>);

type Objects = BTreeMap<String, Value>;

async fn objects(store: &Arc<MemoryStore>) -> Vec<(Scope, Objects)> {
    let mut found = Vec::new();
    for scope in store.scopes().await.unwrap() {
        let state = store.load_scope(scope).await.unwrap();
        let objects = state.objects.into_iter();
        let objects = objects.map(|(key, text)| (key, serde_json::from_slice(&text).unwrap()));
        found.push((scope, objects.collect()));
    }
    found
}

/// The id and the name of whatever has both.
fn named((key, value): (&String, &Value)) -> Option<(Uuid, String)> {
    let id = value.get("id")?.as_str()?.parse().ok()?;
    let (kind, _) = key.split_once('/')?;
    Some((id, format!("{kind} {}", value.get("name")?.as_str()?)))
}

fn secrets(value: &Value, into: &mut BTreeSet<String>) {
    let Value::Object(fields) = value else { return };
    for (key, value) in fields {
        match value {
            Value::String(text) if SECRETS.contains(&key.as_str()) => {
                into.insert(text.clone());
            }
            _ => secrets(value, into),
        }
    }
}

impl Labels {
    pub(super) async fn of(store: &Arc<MemoryStore>) -> Self {
        let mut labels = Self::default();
        for (_, objects) in objects(store).await {
            labels.ids.extend(objects.iter().filter_map(named));
            objects.values().for_each(|value| secrets(value, &mut labels.secrets));
        }
        labels
    }

    /// `text` with a name for every id in it.
    fn put_to(&self, text: &str) -> String {
        const LENGTH: usize = 36;
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(dash) = rest.find('-') {
            let from = dash.saturating_sub(8);
            let id = rest.get(from..from + LENGTH).and_then(|id| id.parse().ok());
            let Some(id) = id else {
                let (before, behind) = rest.split_at(dash + 1);
                out.push_str(before);
                rest = behind;
                continue;
            };
            let (before, behind) = rest.split_at(from);
            out.push_str(before);
            out.push_str(self.ids.get(&id).map_or("<nobody>", String::as_str));
            (_, rest) = behind.split_at(LENGTH);
        }
        out + rest
    }

    /// The value without places, its secrets told apart into those there were and new ones.
    fn plain(&self, value: &Value) -> Value {
        let Value::Object(fields) = value else { return value.clone() };
        let kept = fields.iter().filter(|(key, _)| !PLACES.contains(&key.as_str()));
        let kept = kept.map(|(key, value)| {
            let value = match value {
                Value::String(text) if SECRETS.contains(&key.as_str()) => {
                    Value::from(if self.secrets.contains(text) { "as it was" } else { "a new one" })
                }
                value => self.plain(value),
            };
            (key.clone(), value)
        });
        Value::Object(kept.collect())
    }
}

impl Picture {
    /// The part that holds the audit log, its lines in no order.
    pub(super) const TOLD: &str = "told";

    /// Ids and secrets that are not in `known` are new ones.
    pub(super) async fn of(store: &Arc<MemoryStore>, known: &Labels) -> Self {
        let (mut parts, mut told) = (BTreeMap::new(), Vec::new());
        let objects = objects(store).await;
        let mut labels = known.clone();
        for (id, name) in objects.iter().flat_map(|(_, objects)| objects.iter().filter_map(named)) {
            labels.ids.entry(id).or_insert_with(|| format!("new {name}"));
        }
        for (scope, objects) in &objects {
            let scope = match scope {
                Scope::Service => String::from("service"),
                Scope::Project(id) => labels.put_to(&id.to_string()),
            };
            for (key, value) in objects {
                let text = labels.put_to(&labels.plain(value).to_string());
                if key.starts_with("audit/") {
                    told.push(text);
                } else {
                    parts.insert(format!("{scope}: {}", labels.put_to(key)), text);
                }
            }
        }
        told.sort_unstable();
        parts.insert(Self::TOLD.to_owned(), told.join("\n"));
        for topic in store.topics().await.unwrap() {
            let text = log_text(store, topic).await;
            parts.insert(format!("log of {}", labels.put_to(&topic.to_string())), text);
        }
        for subscription in store.subscriptions().await.unwrap() {
            let mut progress = store.load(subscription).await.unwrap().unwrap();
            progress.version = 0;
            let text = labels.put_to(&format!("{progress:?}"));
            parts.insert(format!("progress of {}", labels.put_to(&subscription.to_string())), text);
        }
        Self(parts)
    }

    /// The parts that begin so.
    pub(super) fn parts<'a>(&'a self, begin: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let found = self.0.iter().filter(move |(name, _)| name.starts_with(begin));
        found.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub(super) fn part(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether all parts are the same but those whose names begin with one of `but`, which are as
    /// in one of `others`.
    pub(super) fn is_but(&self, other: &Self, but: &[&str], others: &[&Self]) -> bool {
        let names: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        names.into_iter().all(|name| {
            let here = self.part(name);
            let excused = but.iter().any(|begin| name.starts_with(begin));
            here == other.part(name)
                || excused && others.iter().any(|other| here == other.part(name))
        })
    }

    /// What differs, for people.
    pub(super) fn differences(&self, other: &Self) -> String {
        let names: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let differing = names.into_iter().filter(|name| self.part(name) != other.part(name));
        let text = |part: Option<&str>| part.unwrap_or("(nothing)").to_owned();
        let lines = differing.map(|name| {
            format!(
                "{name}:\n  is     {}\n  wanted {}\n",
                text(self.part(name)),
                text(other.part(name))
            )
        });
        lines.collect()
    }
}

/// Its bounds and its messages: which of them came in one entry is no promise.
async fn log_text(store: &Arc<MemoryStore>, topic: TopicId) -> String {
    let head = store.head(topic).await.unwrap().unwrap();
    let limits = Limits { messages: u64::MAX, bytes: u64::MAX };
    let mut text = format!("{}..{}", head.start, head.next);
    for entry in store.scan(topic, Offset(0), limits).await.unwrap() {
        let offsets = entry.base.0..;
        for (message, offset) in entry.batch.messages().zip(offsets) {
            let message = message.unwrap();
            let mut data = String::new();
            message.data.write_text(&mut data);
            text += &format!("\n{offset} {:?} {:?} {data}", entry.time, message.attributes);
        }
    }
    text
}

impl World {
    /// Memory is neither behind the store nor ahead of it.
    pub(super) async fn check_memory(&self, what: &str) {
        let service = self.store.load_scope(Scope::Service).await.unwrap().version;
        assert_eq!(self.broker.0.service.read().version, service, "{what}: the service in memory");
        for (id, cell) in self.broker.project_cells() {
            let stored = self.store.load_scope(Scope::Project(id)).await.unwrap().version;
            assert_eq!(cell.read().version, stored, "{what}: a project in memory");
            let (topics, subscriptions): (Vec<_>, Vec<_>) = {
                let state = cell.read();
                let topics = state.index.live_topics().map(|topic| topic.id).collect();
                (topics, state.index.subscriptions.values().map(|record| record.id).collect())
            };
            for topic in topics {
                let here = self.broker.known_topic(topic).map(|known| known.head());
                let stored = self.store.head(topic).await.unwrap();
                assert_eq!(
                    here.map(|head| head.next),
                    stored.map(|head| head.next),
                    "{what}: head"
                );
            }
            for id in subscriptions {
                let here = self.broker.known_subscription(id).and_then(|known| known.durable());
                let stored = self.store.load(id).await.unwrap();
                assert_eq!(here.as_deref(), stored.as_ref(), "{what}: progress in memory");
            }
        }
    }
}
