//! Facts as OTLP: one whole record per topic life or subscription, names from `telemetry::names`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as PointValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric as OtlpMetric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use telemetry::names::{self, Kind, Metric, attribute};
use uuid::Uuid;

use crate::domain::Time;
use crate::service::{
    CallCounts, ProjectFacts, StoreFaultCounts, SubscriptionFacts, TopicFacts, Verb,
};

/// A request is closed before it grows beyond this. While it is made, and while it is read, it takes
/// some ten times as much in memory.
pub(super) const REQUEST_BYTES: usize = 512 * 1024;

/// What one request says beside its points: fixed attributes, names and headers of the metrics.
const ENVELOPE_BYTES: usize = 32 * 1024;

/// A figure: a count or version, or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Figure {
    Count(u64),
    Moment(Time),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Point {
    /// Its OTLP name: [`Metric`] is looked up by it.
    metric: &'static str,
    /// The extra label, key and value.
    label: Option<(&'static str, &'static str)>,
    figure: Figure,
    /// Counted since the process started, not since the object was made.
    of_process: bool,
}

impl Point {
    const fn new(metric: &Metric, figure: Figure) -> Self {
        Self { metric: metric.otlp, label: None, figure, of_process: false }
    }
}

/// All figures of one resource; travels whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The project, topic life or subscription; nil for the broker itself.
    pub(super) id: Uuid,
    created: Time,
    names: Vec<(&'static str, String)>,
    points: Vec<Point>,
}

impl Record {
    /// A project's record. It has no version: the latest is the newest.
    pub(super) fn project(facts: &ProjectFacts) -> Self {
        let count = |metric: &Metric, count: u64| Point::new(metric, Figure::Count(count));
        Self {
            id: facts.id.0,
            created: facts.created,
            names: vec![
                (attribute::RESOURCE_ID, facts.id.to_string()),
                (attribute::PROJECT, facts.name.to_string()),
            ],
            points: vec![
                count(&names::PROJECT_STORED, facts.stored),
                count(&names::PROJECT_QUOTA, facts.quota),
            ],
        }
    }

    /// A topic's record; its version is its next offset.
    pub(super) fn topic(facts: &TopicFacts) -> Self {
        use names::*;
        let head = &facts.head;
        let count = |metric: &Metric, count: u64| Point::new(metric, Figure::Count(count));
        let damaged = |state, messages| Point {
            label: Some((attribute::STATE, state)),
            ..count(&TOPIC_DAMAGED, messages)
        };
        Self {
            id: facts.id.0,
            created: facts.created,
            names: vec![
                (attribute::RESOURCE_ID, facts.id.to_string()),
                (attribute::PROJECT, facts.project.to_string()),
                (attribute::TOPIC, facts.name.to_string()),
            ],
            points: vec![
                count(&TOPIC_VERSION, head.next.0),
                count(&TOPIC_START, head.start.0),
                count(&TOPIC_PUBLISHED, head.next.0),
                count(&TOPIC_PUBLISHED_BYTES, head.bytes),
                count(&TOPIC_PUBLISHED_AMS_BYTES, head.ams_bytes),
                Point::new(&TOPIC_LAST_PUBLISH, Figure::Moment(head.last_time)),
                count(&TOPIC_RETAINED, head.kept()),
                damaged("unrepaired", facts.damaged),
                damaged("given_up", facts.given_up),
            ],
        }
    }

    /// A subscription's record; its version is its progress's. `front` is when its oldest
    /// unacknowledged message was published, `None` when nothing waits.
    pub(super) fn subscription(facts: &SubscriptionFacts, front: Option<Time>) -> Self {
        use names::*;
        let known = &facts.facts;
        let progress = &known.progress;
        let (counters, clocks) = (&progress.counters, &progress.clocks);
        let letter = progress.last_dead_letter;
        let mut points = Vec::with_capacity(48);
        for (metric, count) in [
            (&SUB_VERSION, progress.version),
            (&SUB_TOPIC_HEAD, facts.head.0),
            (&SUB_POSITION, progress.position.0),
            (&SUB_ENQUEUED, known.enqueued),
            (&SUB_DELIVERED, counters.delivered),
            (&SUB_DELIVERED_BYTES, counters.delivered_bytes),
            (&SUB_REDELIVERED, counters.redelivered),
            (&SUB_ACKED, counters.acked),
            (&SUB_ACKED_BYTES, counters.acked_bytes),
            (&SUB_LATE_ACKS, counters.late_acks),
            (&SUB_REFUSED_ACKS, counters.refused_acks),
            (&SUB_NACKED, counters.nacks),
            (&SUB_EXTENSIONS, counters.extensions),
            (&SUB_EXPIRED, counters.expired),
            (&SUB_SKIPPED, counters.skipped),
            (&SUB_REPLAYED, counters.replayed),
            (&SUB_LOST_NEVER_ACKED, counters.lost_never_acked),
            (&SUB_BACKLOG, known.backlog),
            (&SUB_AVAILABLE, known.available),
            (&SUB_OUTSTANDING, known.outstanding),
            (&SUB_HEAD_ATTEMPTS, clocks.front_attempts),
            (&SUB_DEAD_LETTER_END, letter.map_or(0, |letter| letter.offset.plus(1).0)),
        ] {
            points.push(Point::new(metric, Figure::Count(count)));
        }
        for (metric, moment) in [
            (&SUB_HEAD_ENQUEUED_AT, front.unwrap_or_default()),
            (&SUB_LAST_PULL, facts.last_pull.max(clocks.last_pull)),
            (&SUB_LAST_DELIVERY, clocks.last_delivery),
            (&SUB_LAST_ACK, clocks.last_ack),
            (&SUB_LAST_PROGRESS, clocks.last_progress),
            (&SUB_LAST_BACKWARD_SEEK, clocks.last_backward_seek),
            (&SUB_EXCUSING_SEEK, clocks.excusing_seek),
            (&SUB_LAST_DEAD_LETTER, letter.map_or(Time(0), |letter| letter.at)),
        ] {
            points.push(Point::new(metric, Figure::Moment(moment)));
        }
        let lost = &counters.lost;
        for (reason, count) in [
            ("retention", lost.retention),
            ("overflow", lost.overflow),
            ("topic_deleted", lost.topic_deleted),
            ("damage", lost.damage),
            ("purge", lost.purge),
        ] {
            let label = Some((attribute::REASON, reason));
            points.push(Point { label, ..Point::new(&SUB_LOST, Figure::Count(count)) });
        }
        for (outcome, count, of_process) in
            [("moved", counters.dead_lettered, false), ("failed", facts.letters_failed, true)]
        {
            let label = Some((attribute::OUTCOME, outcome));
            let point = Point::new(&SUB_DEAD_LETTERED, Figure::Count(count));
            points.push(Point { label, of_process, ..point });
        }
        let pulls = facts.pulls;
        for (outcome, count) in [
            ("messages", pulls.messages),
            ("empty", pulls.empty),
            ("denied", pulls.denied),
            ("error", pulls.error),
        ] {
            let label = Some((attribute::OUTCOME, outcome));
            let point = Point::new(&SUB_PULLS, Figure::Count(count));
            points.push(Point { label, of_process: true, ..point });
        }
        Self {
            id: facts.id.0,
            created: facts.created,
            names: vec![
                (attribute::RESOURCE_ID, facts.id.to_string()),
                (attribute::PROJECT, facts.project.to_string()),
                (attribute::SUBSCRIPTION, facts.name.to_string()),
            ],
            points,
        }
    }

    /// The broker's own calls of one verb: a record without a resource.
    pub(super) fn calls(verb: Verb, counts: CallCounts) -> Self {
        let verb = match verb {
            Verb::Publish => "publish",
            Verb::Pull => "pull",
            Verb::Acknowledge => "acknowledge",
        };
        let outcomes = [("ok", counts.ok), ("refused", counts.refused), ("fault", counts.fault)];
        let points = outcomes.map(|(outcome, count)| Point {
            label: Some((attribute::OUTCOME, outcome)),
            of_process: true,
            ..Point::new(&names::BROKER_CALLS, Figure::Count(count))
        });
        Self {
            id: Uuid::nil(),
            created: Time::default(),
            names: vec![(attribute::VERB, verb.to_owned())],
            points: points.to_vec(),
        }
    }

    /// Faults of the broker's store: a record without a resource, too.
    pub(super) fn store_faults(counts: StoreFaultCounts) -> Self {
        let reasons = [
            ("full", counts.full),
            ("stopped", counts.stopped),
            ("damaged", counts.damaged),
            ("clock", counts.clock),
        ];
        let points = reasons.map(|(reason, count)| Point {
            label: Some((attribute::REASON, reason)),
            of_process: true,
            ..Point::new(&names::BROKER_STORE_FAULTS, Figure::Count(count))
        });
        Self {
            id: Uuid::nil(),
            created: Time::default(),
            names: Vec::new(),
            points: points.to_vec(),
        }
    }

    /// A number that changes when anything that would be sent changes.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.names.hash(&mut hasher);
        self.points.hash(&mut hasher);
        hasher.finish()
    }
}

/// Who reports, and when it looked.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) instance: String,
    pub(super) store: u64,
    pub(super) started: Time,
    pub(super) interval: Duration,
}

/// One request under construction: whole records up to [`REQUEST_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Request {
    points: HashMap<&'static str, Vec<NumberDataPoint>>,
    bytes: usize,
}

impl Request {
    /// An empty one: as it is, the heartbeat.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a whole record, or answers false when there is no room; an empty request takes any.
    pub(super) fn add(&mut self, record: &Record, sender: &Sender, looked: Time) -> bool {
        let made = record.points.iter().map(|point| {
            let mut attributes: Vec<_> =
                record.names.iter().map(|(key, value)| text(key, value)).collect();
            attributes.extend(point.label.map(|(key, value)| text(key, value)));
            let cumulative = metric_of(point.metric).kind == Kind::Counter;
            let since = if point.of_process { sender.started } else { record.created };
            NumberDataPoint {
                attributes,
                start_time_unix_nano: if cumulative { since.0 } else { 0 },
                time_unix_nano: looked.0,
                value: Some(match point.figure {
                    Figure::Count(count) => {
                        PointValue::AsInt(i64::try_from(count).unwrap_or(i64::MAX))
                    }
                    Figure::Moment(moment) => PointValue::AsDouble(seconds(moment)),
                }),
                ..NumberDataPoint::default()
            }
        });
        let made: Vec<NumberDataPoint> = made.collect();
        // Tag and length of a nested message take at most six bytes.
        let bytes: usize = made.iter().map(|point| point.encoded_len() + 6).sum();
        if self.bytes > 0 && self.bytes + bytes > REQUEST_BYTES - ENVELOPE_BYTES {
            return false;
        }
        self.bytes += bytes;
        for (point, made) in record.points.iter().zip(made) {
            self.points.entry(point.metric).or_default().push(made);
        }
        true
    }

    /// The bytes to send, as request number `sequence`.
    pub(super) fn encode(mut self, sender: &Sender, sequence: u64, looked: Time) -> Vec<u8> {
        let metrics = names::REPORTED
            .iter()
            .filter_map(|metric| Some(otlp(metric, self.points.remove(metric.otlp)?)))
            .collect();
        let interval = u64::try_from(sender.interval.as_millis()).unwrap_or(u64::MAX);
        let attributes = vec![
            text(attribute::SERVICE, "ams-broker"),
            text(attribute::INSTANCE, &sender.instance),
            text(attribute::STORE, &format!("{:016x}", sender.store)),
            number(attribute::SEQUENCE, sequence),
            number(attribute::TIME, looked.0),
            number(attribute::STARTED_AT, sender.started.0),
            number(attribute::INTERVAL, interval),
        ];
        let scope = InstrumentationScope { name: String::from("ams.broker"), ..Default::default() };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        request.encode_to_vec()
    }
}

/// The metric of an OTLP name; every [`Point`] has been made from one.
fn metric_of(otlp: &'static str) -> &'static Metric {
    names::REPORTED.iter().find(|metric| metric.otlp == otlp).unwrap_or(&names::BROKER_CALLS)
}

fn otlp(metric: &Metric, data_points: Vec<NumberDataPoint>) -> OtlpMetric {
    let data = match metric.kind {
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points }),
        Kind::Counter => metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
    };
    OtlpMetric {
        name: metric.otlp.to_owned(),
        description: metric.help.to_owned(),
        unit: metric.unit.to_owned(),
        data: Some(data),
        ..OtlpMetric::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute_of(key, any_value::Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute_of(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute_of(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Unix seconds; a double tells moments of this century apart to a quarter of a microsecond.
fn seconds(moment: Time) -> f64 {
    Duration::from_nanos(moment.0).as_secs_f64()
}
