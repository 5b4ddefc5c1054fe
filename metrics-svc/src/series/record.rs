//! One record: all figures of one topic life or subscription, as one report gave them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use telemetry::names::Metric;
use uuid::Uuid;

use crate::clock::Time;
use crate::varint;

/// One figure of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A count, a size or a version.
    Count(u64),
    /// A Unix time in seconds; 0 = never.
    Seconds(f64),
}

/// A figure, what it is, and its extra label (`reason`, `outcome`; empty for none).
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which metric of `telemetry::names`.
    pub metric: &'static Metric,
    /// Value of the metric's extra label.
    pub label: String,
    /// The figure.
    pub value: Value,
}

/// Which figures a record has, in their order: what nearly all records of a kind share, so that a
/// resource costs its numbers only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Column {
    metric: &'static Metric,
    label: Box<str>,
    is_time: bool,
}

/// All figures of one project, topic life or subscription, always replaced as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The project, topic life or subscription.
    pub id: Uuid,
    /// Next offset of a topic, progress version of a subscription, 0 for a project.
    pub version: u64,
    /// Beginning of its durable counters: when that life was created.
    pub started_at: Time,
    columns: Arc<[Column]>,
    /// One number for each column, packed: the count, or the bits of the seconds. Most are 0, or
    /// small.
    values: Box<[u8]>,
}

impl Record {
    /// A record of these figures, in the order of the report.
    pub fn new(id: Uuid, version: u64, started_at: Time, points: Vec<Point>) -> Self {
        let bits = |point: &Point| match point.value {
            Value::Count(count) => count,
            Value::Seconds(seconds) => seconds.to_bits(),
        };
        let mut values = Vec::with_capacity(points.len().saturating_mul(2));
        points.iter().for_each(|point| varint::put(&mut values, bits(point)));
        let column = |point: Point| Column {
            metric: point.metric,
            label: point.label.into(),
            is_time: matches!(point.value, Value::Seconds(_)),
        };
        let columns = points.into_iter().map(column).collect();
        Self { id, version, started_at, columns, values: values.into() }
    }

    /// The figures: which metric, its extra label (empty for none), and the value.
    pub fn points(&self) -> impl Iterator<Item = (&'static Metric, &str, Value)> {
        let mut values = &*self.values;
        self.columns.iter().map(move |column| {
            let bits = varint::take(&mut values).unwrap_or_default();
            let value = match column.is_time {
                true => Value::Seconds(f64::from_bits(bits)),
                false => Value::Count(bits),
            };
            (column.metric, &*column.label, value)
        })
    }

    fn of<'a>(&'a self, metric: &'a Metric) -> impl Iterator<Item = (&'a str, Value)> {
        let same = move |point: &(&Metric, &str, Value)| point.0.otlp == metric.otlp;
        self.points().filter(same).map(|(_, label, value)| (label, value))
    }

    /// The count of `metric`, all its labels added; 0 when it was not reported.
    pub fn count(&self, metric: &Metric) -> u64 {
        self.of(metric).fold(0, |sum: u64, (_, value)| match value {
            Value::Count(count) => sum.saturating_add(count),
            Value::Seconds(_) => sum,
        })
    }

    /// The count of `metric` with `label`; 0 when it was not reported.
    pub fn labelled(&self, metric: &Metric, label: &str) -> u64 {
        self.of(metric)
            .find_map(|(of, value)| match value {
                Value::Count(count) if of == label => Some(count),
                Value::Count(_) | Value::Seconds(_) => None,
            })
            .unwrap_or(0)
    }

    /// The time of `metric`; `None` when it never happened.
    pub fn time(&self, metric: &Metric) -> Option<Time> {
        self.of(metric).find_map(|(_, value)| match value {
            Value::Seconds(seconds) if seconds > 0.0 => Time::from_unix_seconds(seconds),
            Value::Seconds(_) | Value::Count(_) => None,
        })
    }
}

/// The columns in use: records of the same ones share them.
#[derive(Debug, Default)]
pub(super) struct Shapes(HashSet<Arc<[Column]>>);

impl Shapes {
    /// Lets `record` use the columns of those before it. Of more than [`SHAPES`] kinds, those that
    /// no record has any more are forgotten, and the rest keep columns of their own.
    pub(super) fn share(&mut self, record: &mut Record) {
        if let Some(known) = self.0.get(&record.columns) {
            record.columns = Arc::clone(known);
            return;
        }
        if self.0.len() >= SHAPES {
            self.0.retain(|columns| Arc::strong_count(columns) > 1);
        }
        if self.0.len() < SHAPES {
            self.0.insert(Arc::clone(&record.columns));
        }
    }
}

/// Most kinds of records whose columns are shared: one for topics and one for subscriptions of
/// each version of brokers, usually.
const SHAPES: usize = 64;

/// What one broker says in one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which broker process.
    pub instance: String,
    /// Which store it serves; another one after a restore.
    pub store: String,
    /// Number of the request of this process, from 1.
    pub sequence: u64,
    /// The reporter's wall clock when it looked.
    pub sent_at: Time,
    /// When the reporter started, on its clock.
    pub started_at: Time,
    /// How often it reports.
    pub interval: Duration,
    /// Changed projects.
    pub projects: Vec<Record>,
    /// Changed topics.
    pub topics: Vec<Record>,
    /// Changed subscriptions.
    pub subscriptions: Vec<Record>,
    /// Calls since the broker started: verb, outcome, count. Empty when not reported.
    pub calls: Vec<(String, String, u64)>,
    /// Faults of the store since the broker started: reason, count. Empty when not reported.
    pub store_faults: Vec<(String, u64)>,
    /// Points that were malformed and left out.
    pub rejected: u64,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Records kept.
    pub accepted: u64,
    /// Records dropped because a newer one is held.
    pub stale: u64,
    /// Records dropped because too many unknown resources are held, or the store is another one.
    pub dropped: u64,
    /// Whether the broker is to send its directory and all records next.
    pub resync: bool,
}
