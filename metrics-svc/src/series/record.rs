//! One record: all figures of one topic life or subscription, as one report gave them.

use std::time::Duration;

use telemetry::names::Metric;
use uuid::Uuid;

use crate::clock::Time;

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

/// All figures of one project, topic life or subscription, always replaced as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The project, topic life or subscription.
    pub id: Uuid,
    /// Next offset of a topic, progress version of a subscription, 0 for a project.
    pub version: u64,
    /// Beginning of its durable counters: when that life was created.
    pub started_at: Time,
    /// The figures, in the order of the report.
    pub points: Vec<Point>,
}

impl Record {
    fn of<'a>(&'a self, metric: &'a Metric) -> impl Iterator<Item = &'a Point> {
        self.points.iter().filter(move |point| point.metric.otlp == metric.otlp)
    }

    /// The count of `metric`, all its labels added; 0 when it was not reported.
    pub fn count(&self, metric: &Metric) -> u64 {
        self.of(metric).fold(0, |sum: u64, point| match point.value {
            Value::Count(count) => sum.saturating_add(count),
            Value::Seconds(_) => sum,
        })
    }

    /// The count of `metric` with `label`; 0 when it was not reported.
    pub fn labelled(&self, metric: &Metric, label: &str) -> u64 {
        self.of(metric)
            .find_map(|point| match point.value {
                Value::Count(count) if point.label == label => Some(count),
                Value::Count(_) | Value::Seconds(_) => None,
            })
            .unwrap_or(0)
    }

    /// The time of `metric`; `None` when it never happened.
    pub fn time(&self, metric: &Metric) -> Option<Time> {
        self.of(metric).find_map(|point| match point.value {
            Value::Seconds(seconds) if seconds > 0.0 => Time::from_unix_seconds(seconds),
            Value::Seconds(_) | Value::Count(_) => None,
        })
    }
}

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
