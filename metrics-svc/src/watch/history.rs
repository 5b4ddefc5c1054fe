//! Minute samples: one row per resource that changed, once a minute.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::Watch;
use crate::db::Sample;
use crate::series::{Record, Series, Value};

/// A digest of what is on disk of each resource, and the minute of the last look.
#[derive(Debug, Default)]
pub(super) struct Seen {
    minute: u64,
    written: HashMap<Uuid, u64>,
}

impl Watch {
    /// Writes the samples of this minute, once. A refused write is made good by the next minute's:
    /// values are cumulative.
    pub async fn keep_history(&self) {
        let now = self.clock.wall();
        let minute = now.secs() / 60;
        let changed = {
            let known = self.known();
            let mut seen = self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if seen.minute == minute {
                return;
            }
            seen.minute = minute;
            changed(&known.series, &mut seen)
        };
        let samples = changed.into_iter().map(move |(kind, record)| {
            let body = body(&record);
            Sample { minute, resource: record.id, kind, body }
        });
        if let Err(error) = self.db.keep_samples(samples, now).await {
            tracing::error!(%error, "history was not written");
            let mut seen = self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seen.written.clear();
        }
    }
}

/// The records that differ from what is on disk, each with its kind.
fn changed(series: &Series, seen: &mut Seen) -> Vec<(&'static str, Record)> {
    let topics = series.topics().filter_map(|view| Some(("topic", view.held?)));
    let subscriptions =
        series.subscriptions().filter_map(|view| Some(("subscription", view.held?)));
    let mut written = HashMap::new();
    let mut changed = Vec::new();
    for (kind, held) in topics.chain(subscriptions) {
        let (record, digest) = (&held.record, digest(&held.record));
        written.insert(record.id, digest);
        if seen.written.get(&record.id) != Some(&digest) {
            changed.push((kind, record.clone()));
        }
    }
    seen.written = written;
    changed
}

/// A number that changes when any figure does.
fn digest(record: &Record) -> u64 {
    let mut digest = DefaultHasher::new();
    for (metric, label, value) in record.points() {
        (metric.otlp, label).hash(&mut digest);
        match value {
            Value::Count(count) => count.hash(&mut digest),
            Value::Seconds(seconds) => seconds.to_bits().hash(&mut digest),
        }
    }
    digest.finish()
}

fn body(record: &Record) -> String {
    let mut values = Map::new();
    for (metric, label, value) in record.points() {
        let name = match label.is_empty() {
            true => metric.otlp.to_owned(),
            false => format!("{}/{label}", metric.otlp),
        };
        let value = match value {
            Value::Count(count) => Json::from(count),
            Value::Seconds(seconds) => Json::from(seconds),
        };
        values.insert(name, value);
    }
    Json::Object(values).to_string()
}
