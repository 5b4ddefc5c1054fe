//! OTLP protobuf: whole records per resource, by the table of `telemetry::names`.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric, number_data_point};
use prost::Message;
use telemetry::names::{self, Metric, attribute};
use uuid::Uuid;

use super::DecodeError;
use crate::clock::Time;
use crate::series::{Point, Record, Report, Value};

/// A broker's interval is taken as if within these bounds.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));
/// Longest value of a label that is kept.
const LABEL_LEN: usize = 64;
/// Most values of one label in one record.
const LABELS: usize = 16;
/// Most pairs of verb and outcome of calls.
const CALLS: usize = 256;
/// Longest instance or store id.
const ID_LEN: usize = 128;

/// Reads a report. Unknown metrics are left out in silence, malformed points of known ones are
/// left out and counted in `rejected`; a record without its version is malformed as a whole.
///
/// # Errors
/// Not protobuf, not one resource, or a resource attribute is missing.
pub fn report(body: &[u8]) -> Result<Report, DecodeError> {
    let request = ExportMetricsServiceRequest::decode(body)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let count = request.resource_metrics.len();
    let [metrics] =
        <[_; 1]>::try_from(request.resource_metrics).map_err(|_| DecodeError::Resources(count))?;
    let attributes = metrics.resource.map(|resource| resource.attributes).unwrap_or_default();
    let interval = Duration::from_millis(number(&attributes, attribute::INTERVAL)?);
    let mut report = Report {
        instance: id(&attributes, attribute::INSTANCE)?,
        store: id(&attributes, attribute::STORE)?,
        sequence: number(&attributes, attribute::SEQUENCE)?,
        sent_at: Time(number(&attributes, attribute::TIME)?),
        started_at: Time(number(&attributes, attribute::STARTED_AT)?),
        interval: interval.clamp(INTERVAL.0, INTERVAL.1),
        projects: Vec::new(),
        topics: Vec::new(),
        subscriptions: Vec::new(),
        calls: Vec::new(),
        store_faults: Vec::new(),
        rejected: 0,
    };
    let mut gathered = Gathered::default();
    for metric in metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
        let Some(known) = names::REPORTED.iter().find(|known| known.otlp == metric.name) else {
            continue;
        };
        let points = match metric.data {
            Some(metric::Data::Gauge(gauge)) if known.kind == names::Kind::Gauge => {
                gauge.data_points
            }
            Some(metric::Data::Sum(sum))
                if known.kind == names::Kind::Counter
                    && sum.is_monotonic
                    && sum.aggregation_temporality == CUMULATIVE =>
            {
                sum.data_points
            }
            data => {
                gathered.reject(count_points(data.as_ref()));
                continue;
            }
        };
        for point in points {
            let taken = gathered.take(known, &point);
            gathered.reject(u64::from(taken.is_none()));
        }
    }
    gathered.into_report(&mut report);
    Ok(report)
}

/// `AGGREGATION_TEMPORALITY_CUMULATIVE` of OTLP.
const CUMULATIVE: i32 = 2;

fn count_points(data: Option<&metric::Data>) -> u64 {
    let count = match data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Records while they are put together from the points of many metrics.
#[derive(Default)]
struct Gathered {
    records: BTreeMap<(Side, Uuid), Unfinished>,
    calls: Vec<(String, String, u64)>,
    store_faults: Vec<(String, u64)>,
    rejected: u64,
}

/// A record that grows.
struct Unfinished {
    started_at: Time,
    points: Vec<Point>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Project,
    Topic,
    Subscription,
}

impl Side {
    /// Whose figure it is; `None` for those of the broker itself.
    fn of(metric: &Metric) -> Option<Self> {
        if metric.otlp.starts_with("ams.project.") {
            Some(Self::Project)
        } else if metric.otlp.starts_with("ams.topic.") {
            Some(Self::Topic)
        } else if metric.otlp.starts_with("ams.subscription.") {
            Some(Self::Subscription)
        } else {
            None
        }
    }

    /// What its version is told by; a project's record has none, and the latest is the newest.
    const fn version(self) -> Option<&'static Metric> {
        match self {
            Self::Project => None,
            Self::Topic => Some(&names::TOPIC_VERSION),
            Self::Subscription => Some(&names::SUB_VERSION),
        }
    }
}

impl Gathered {
    const fn reject(&mut self, points: u64) {
        self.rejected = self.rejected.saturating_add(points);
    }

    /// Takes a point; `None` when it is malformed.
    fn take(&mut self, metric: &'static Metric, point: &NumberDataPoint) -> Option<()> {
        let value = value(metric, point)?;
        let label = match label(&point.attributes, metric.label) {
            _ if metric.label.is_empty() => String::new(),
            Some(label) => label,
            // Brokers of before this label counted what was moved.
            None if metric.otlp == names::SUB_DEAD_LETTERED.otlp
                && find(&point.attributes, metric.label).is_none() =>
            {
                String::from("moved")
            }
            None => return None,
        };
        if metric.otlp == names::BROKER_STORE_FAULTS.otlp {
            return self.take_store_fault(label, value);
        }
        let Some(side) = Side::of(metric) else {
            return self.take_call(&point.attributes, label, value);
        };
        let id = text(&point.attributes, attribute::RESOURCE_ID)?;
        let id = Uuid::try_parse(id).ok()?;
        let record = self.records.entry((side, id)).or_insert_with(|| Unfinished {
            started_at: Time(point.start_time_unix_nano),
            points: Vec::new(),
        });
        let of_metric = || record.points.iter().filter(|known| known.metric.otlp == metric.otlp);
        if of_metric().any(|known| known.label == label) || of_metric().count() >= LABELS {
            return None;
        }
        if metric.kind == names::Kind::Counter && point.start_time_unix_nano > 0 {
            let start = Time(point.start_time_unix_nano);
            // Process counters (pulls) begin later than the life; the earliest is its creation.
            record.started_at =
                if record.started_at == Time(0) { start } else { record.started_at.min(start) };
        }
        record.points.push(Point { metric, label, value });
        Some(())
    }

    fn take_call(&mut self, attributes: &[KeyValue], outcome: String, value: Value) -> Option<()> {
        let verb = label(attributes, attribute::VERB)?;
        let Value::Count(count) = value else { return None };
        let known = self.calls.iter().any(|(v, o, _)| *v == verb && *o == outcome);
        if known || self.calls.len() >= CALLS {
            return None;
        }
        self.calls.push((verb, outcome, count));
        Some(())
    }

    fn take_store_fault(&mut self, reason: String, value: Value) -> Option<()> {
        let Value::Count(count) = value else { return None };
        let known = self.store_faults.iter().any(|(known, _)| *known == reason);
        if known || self.store_faults.len() >= LABELS {
            return None;
        }
        self.store_faults.push((reason, count));
        Some(())
    }

    fn into_report(self, report: &mut Report) {
        report.calls = self.calls;
        report.store_faults = self.store_faults;
        report.rejected = self.rejected;
        for ((side, id), Unfinished { started_at, points }) in self.records {
            let version = side.version();
            let found = |of: &Metric| points.iter().find(|point| point.metric.otlp == of.otlp);
            let version = match version.map(|version| found(version).map(|point| point.value)) {
                None => 0,
                Some(Some(Value::Count(version))) => version,
                Some(_) => {
                    let points = u64::try_from(points.len()).unwrap_or(u64::MAX);
                    report.rejected = report.rejected.saturating_add(points);
                    continue;
                }
            };
            let record = Record::new(id, version, started_at, points);
            match side {
                Side::Project => report.projects.push(record),
                Side::Topic => report.topics.push(record),
                Side::Subscription => report.subscriptions.push(record),
            }
        }
    }
}

/// The figure of a point; `None` when its type or range is not the metric's.
fn value(metric: &Metric, point: &NumberDataPoint) -> Option<Value> {
    match (point.value?, metric.unit) {
        (number_data_point::Value::AsInt(count), unit) if unit != "s" => {
            u64::try_from(count).ok().map(Value::Count)
        }
        (number_data_point::Value::AsDouble(seconds), "s") => {
            Time::from_unix_seconds(seconds).map(|_| Value::Seconds(seconds))
        }
        _ => None,
    }
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a any_value::Value> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match find(attributes, key)? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A label's value: short, and of the characters that names of outcomes and reasons have.
fn label(attributes: &[KeyValue], key: &str) -> Option<String> {
    let lawful = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let text = text(attributes, key)?;
    (!text.is_empty() && text.len() <= LABEL_LEN && text.chars().all(lawful))
        .then(|| text.to_owned())
}

fn id(attributes: &[KeyValue], key: &'static str) -> Result<String, DecodeError> {
    let lawful = |text: &&str| {
        !text.is_empty() && text.len() <= ID_LEN && text.chars().all(|c| c.is_ascii_graphic())
    };
    text(attributes, key).filter(lawful).map(str::to_owned).ok_or(DecodeError::Attribute(key))
}

fn number(attributes: &[KeyValue], key: &'static str) -> Result<u64, DecodeError> {
    match find(attributes, key) {
        Some(any_value::Value::IntValue(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
    .ok_or(DecodeError::Attribute(key))
}
