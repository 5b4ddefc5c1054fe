//! Per topic and subscription: the reported figures, the judgement, how many there are.

use std::collections::{BTreeMap, HashSet};

use telemetry::names::{self, Kind, Metric};

use super::family::Families;
use crate::clock::Time;
use crate::series::{ObjectKind, Record, Severity, Value, Viewer};
use crate::watch::Known;

/// The values of a metric's extra label that exist from the beginning, so that the first event is
/// an increase. A broker that knows more adds its own.
fn label_values(metric: &Metric) -> &'static [&'static str] {
    match metric.label {
        _ if metric.otlp == names::SUB_DEAD_LETTERED.otlp => &["moved", "failed"],
        "reason" => &["retention", "overflow", "topic_deleted", "damage", "purge"],
        "outcome" => &["messages", "empty", "denied", "error"],
        _ => &[""],
    }
}

fn is_of(metric: &Metric, kind: ObjectKind) -> bool {
    match kind {
        ObjectKind::Topic => metric.otlp.starts_with("ams.topic."),
        ObjectKind::Subscription => metric.otlp.starts_with("ams.subscription."),
        ObjectKind::Project | ObjectKind::User => false,
    }
}

/// Everything brokers reported of what exists, and the counters of what existed until now. A
/// resource whose record was not reported since metrics-svc started has no series: zeros would
/// look like a reset.
pub(super) fn reported(known: &Known, viewer: &Viewer, now: Time, families: &mut Families) {
    let mut shown: HashSet<(ObjectKind, &str, &str)> = HashSet::new();
    for view in known.series.topics().filter(|view| viewer.sees(view.project.id)) {
        let (project, name) = (view.project.name.as_str(), view.topic.name.as_str());
        shown.insert((ObjectKind::Topic, project, name));
        if let Some(held) = view.held {
            record(ObjectKind::Topic, project, name, &held.record, true, families);
        }
    }
    for view in known.series.subscriptions().filter(|view| viewer.sees(view.project.id)) {
        let (project, name) = (view.project.name.as_str(), view.subscription.name.as_str());
        shown.insert((ObjectKind::Subscription, project, name));
        if let Some(held) = view.held {
            record(ObjectKind::Subscription, project, name, &held.record, true, families);
        }
    }
    // The newest life of a name wins: one name is one series.
    for gone in known.departed.iter().rev() {
        let visible = gone.until > now && viewer.sees(gone.project_id);
        if visible && shown.insert((gone.kind, &gone.project, &gone.name)) {
            record(gone.kind, &gone.project, &gone.name, &gone.record, false, families);
        }
    }
}

fn record(
    kind: ObjectKind,
    project: &str,
    name: &str,
    record: &Record,
    with_gauges: bool,
    families: &mut Families,
) {
    let own = if kind == ObjectKind::Topic { "topic" } else { "subscription" };
    let mut add = |metric: &'static Metric, label: &str, value: f64| {
        let mut labels = vec![("project", project), (own, name)];
        if !metric.label.is_empty() {
            labels.push((metric.label, label));
        }
        families.add(metric.prometheus, metric.kind, &labels, value);
    };
    let mut counted: HashSet<(&str, &str)> = HashSet::new();
    for (metric, label, value) in record.points() {
        let exposed = !metric.prometheus.is_empty() && is_of(metric, kind);
        if !exposed || (metric.kind == Kind::Gauge && !with_gauges) {
            continue;
        }
        if counted.insert((metric.otlp, label)) {
            add(metric, label, number(value));
        }
    }
    let counters = names::REPORTED.iter().filter(|metric| {
        metric.kind == Kind::Counter && !metric.prometheus.is_empty() && is_of(metric, kind)
    });
    for metric in counters {
        for label in label_values(metric) {
            if !counted.contains(&(metric.otlp, label)) {
                add(metric, label, 0.0);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only doubles")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

const fn number(value: Value) -> f64 {
    match value {
        Value::Count(count) => float(count),
        Value::Seconds(seconds) => seconds,
    }
}

/// What was judged of every subscription.
pub(super) fn judged(known: &Known, viewer: &Viewer, families: &mut Families) {
    for view in known.series.subscriptions().filter(|view| viewer.sees(view.project.id)) {
        let (project, name) = (view.project.name.as_str(), view.subscription.name.as_str());
        let labels = [("project", project), ("subscription", name)];
        let [a, b] = labels;
        let info = [a, b, ("topic", &*view.subscription.topic), ("delivery_type", "pull")];
        families.derived("ams_subscription_info", &info, 1.0);
        let deadline = float(view.subscription.ack_deadline_seconds);
        families.derived("ams_subscription_ack_deadline_seconds", &labels, deadline);
        let Some(verdict) = known.judge.verdict(view.subscription.id) else { continue };
        let severity = match verdict.severity {
            Severity::Ok | Severity::Info => 0.0,
            Severity::Warn => 1.0,
            Severity::Crit => 2.0,
        };
        families.derived("ams_subscription_severity", &labels, severity);
        let reason = verdict.reason.map(crate::alert::Reason::as_str).unwrap_or_default();
        let state = [a, b, ("state", verdict.state.as_str()), ("reason", reason)];
        families.derived("ams_subscription_state", &state, 1.0);
        let threshold = verdict.threshold.as_secs_f64();
        families.derived("ams_subscription_stall_threshold_seconds", &labels, threshold);
        if let Some(since) = verdict.waiting_since {
            let name = "ams_subscription_waiting_since_timestamp_seconds";
            families.derived(name, &labels, since.unix_seconds());
        }
    }
}

/// How many there are of everything, and how much projects keep.
pub(super) fn inventory(known: &Known, viewer: &Viewer, families: &mut Families) {
    let series = &known.series;
    let mut attached: BTreeMap<_, u64> = BTreeMap::new();
    let mut projects: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for view in series.subscriptions() {
        projects.entry(view.project.id).or_default().1 += 1;
        if let Some(topic) = view.topic {
            *attached.entry(topic.id).or_default() += 1;
        }
    }
    for view in series.topics() {
        projects.entry(view.project.id).or_default().0 += 1;
        if viewer.sees(view.project.id) {
            let labels = [("project", &*view.project.name), ("topic", &*view.topic.name)];
            let n = attached.get(&view.topic.id).copied().unwrap_or(0);
            families.derived("ams_topic_subscriptions", &labels, float(n));
        }
    }
    for project in series.projects().filter(|project| viewer.sees(project.id)) {
        let (topics, subscriptions) = projects.get(&project.id).copied().unwrap_or_default();
        let labels = [("project", &*project.name)];
        families.derived("ams_project_topics", &labels, float(topics));
        families.derived("ams_project_subscriptions", &labels, float(subscriptions));
        let figures = series.project_figures(project.id);
        for (metric, _, value) in figures.iter().flat_map(|held| held.record.points()) {
            families.add(metric.prometheus, metric.kind, &labels, number(value));
        }
    }
}
