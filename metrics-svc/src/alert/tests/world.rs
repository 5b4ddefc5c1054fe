//! The simulated world.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Value, json};
use telemetry::names::{self, attribute};
use uuid::Uuid;

use crate::alert::{
    Incident, IncidentChange, Judge, JudgeSettings, SavedSubscription, State, Verdict,
};
use crate::clock::Time;
use crate::decode;
use crate::series::Series;

pub(super) const START: Time = Time::from_secs(1_790_000_000);
pub(super) const PROJECT: Uuid = Uuid::from_u128(1);
pub(super) const TOPIC: Uuid = Uuid::from_u128(2);
pub(super) const SUB: Uuid = Uuid::from_u128(3);

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
pub(super) const fn mins(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// A cumulative subscription as a broker keeps it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sub {
    pub(super) version: u64,
    pub(super) queue: VecDeque<Time>,
    pub(super) window: Option<(usize, Time)>,
    pub(super) ran_out: bool,
    pub(super) deadline: u64,
    pub(super) delivered: u64,
    pub(super) acked: u64,
    pub(super) late: u64,
    pub(super) refused: u64,
    pub(super) expired: u64,
    pub(super) extensions: u64,
    pub(super) denied: u64,
    pub(super) empty: u64,
    pub(super) lost: BTreeMap<&'static str, u64>,
    pub(super) never_acked: u64,
    pub(super) attempts: u64,
    pub(super) dead: u64,
    pub(super) dead_failed: u64,
    pub(super) last_dead: Option<Time>,
    pub(super) last_pull: Option<Time>,
    pub(super) last_delivery: Option<Time>,
    pub(super) last_ack: Option<Time>,
    pub(super) last_progress: Option<Time>,
    pub(super) seek: Option<Time>,
}

impl Sub {
    pub(super) fn publish(&mut self, now: Time) {
        self.queue.push_back(now);
    }

    pub(super) fn pull(&mut self, now: Time) -> usize {
        self.version += 1;
        self.last_pull = Some(now);
        let n = self.queue.len().min(100);
        if n == 0 {
            self.empty += 1;
            return 0;
        }
        self.delivered += n as u64;
        self.last_delivery = Some(now);
        self.attempts += 1;
        self.window = Some((n, now.plus(secs(self.deadline))));
        self.ran_out = false;
        n
    }

    pub(super) fn ack(&mut self, now: Time) {
        self.version += 1;
        match self.window.take() {
            Some((n, _)) => {
                self.queue.drain(..n);
                self.acked += n as u64;
                self.last_ack = Some(now);
                self.last_progress = Some(now);
                self.attempts = 0;
            }
            None if self.ran_out => self.late += 1,
            None => self.refused += 1,
        }
    }

    /// The oldest `n` messages go to the dead-letter topic.
    pub(super) fn bury(&mut self, n: usize, now: Time) {
        self.queue.drain(..n);
        self.window = None;
        self.dead += n as u64;
        self.last_dead = Some(now);
        self.last_progress = Some(now);
        self.attempts = 0;
        self.version += 1;
    }

    pub(super) fn extend(&mut self, now: Time) {
        if let Some((_, deadline)) = &mut self.window {
            *deadline = now.plus(secs(self.deadline));
            self.extensions += 1;
            self.version += 1;
        }
    }

    pub(super) fn deny(&mut self) {
        self.denied += 1;
    }

    pub(super) fn lose(&mut self, n: usize, reason: &'static str) {
        self.queue.drain(..n);
        self.window = None;
        *self.lost.entry(reason).or_default() += n as u64;
        self.never_acked += n as u64;
        self.version += 1;
    }

    fn tick(&mut self, now: Time) {
        if self.window.is_some_and(|(_, deadline)| deadline < now) {
            self.window = None;
            self.ran_out = true;
            self.expired += 1;
            self.version += 1;
        }
    }
}

/// Broker, metrics-svc and the consumers' world around them.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) subs: BTreeMap<Uuid, Sub>,
    pub(super) series: Series,
    pub(super) judge: Judge,
    pub(super) settings: JudgeSettings,
    pub(super) changes: Vec<(Time, IncidentChange)>,
    pub(super) broker_up: bool,
    pub(super) metrics_up: bool,
    pub(super) instance: String,
    pub(super) sequence: u64,
    pub(super) started_at: Time,
    pub(super) calls: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) store_faults: BTreeMap<&'static str, u64>,
    /// Messages of the topic that are damaged and not given up.
    pub(super) damaged: u64,
    /// The broker's clock is ahead of ours by so much.
    pub(super) ahead: Duration,
    pub(super) service_objects: Vec<Value>,
    pub(super) project_objects: Vec<Value>,
    version: u64,
    saved: BTreeMap<Uuid, SavedSubscription>,
    open: BTreeMap<Uuid, Incident>,
}

impl World {
    /// One project, one topic, one subscription with a deadline of 10 s, a running broker.
    pub(super) fn new() -> Self {
        let created = START.to_seconds_text();
        let mut world = Self {
            now: START,
            subs: BTreeMap::from([(SUB, Sub { deadline: 10, ..Sub::default() })]),
            series: Series::new(),
            judge: Judge::restore(Vec::new(), Vec::new(), START),
            settings: JudgeSettings {
                operators: vec![String::from("ops@example.org")],
                ..JudgeSettings::default()
            },
            changes: Vec::new(),
            broker_up: true,
            metrics_up: true,
            instance: String::from("b1"),
            sequence: 0,
            started_at: START,
            calls: BTreeMap::new(),
            store_faults: BTreeMap::new(),
            damaged: 0,
            ahead: Duration::ZERO,
            service_objects: vec![
                json!({"kind":"project","id":PROJECT,"name":"P","created":created}),
            ],
            project_objects: vec![
                json!({"kind":"topic","id":TOPIC,"name":"t","created":created,"acl":[]}),
                json!({"kind":"subscription","id":SUB,"name":"s","topic":"t","topicId":TOPIC,
                    "ackDeadlineSeconds":10,"ackMode":"cumulative","acl":[],"created":created}),
            ],
            version: 1,
            saved: BTreeMap::new(),
            open: BTreeMap::new(),
        };
        world.send_directory();
        world.run(mins(1), |_, _| {});
        world
    }

    fn post_directory(&mut self, body: &Value) -> bool {
        let change = decode::directory(body.to_string().as_bytes()).unwrap();
        self.series.take_directory(change).resync
    }

    /// Everything, as after a start or a resync.
    pub(super) fn send_directory(&mut self) {
        let to = self.version;
        let service = json!({"format":1,"store":"0123456789abcdef","scope":"service","from":null,
            "to":to,"objects":self.service_objects,"deleted":[],"more":false});
        let project = json!({"format":1,"store":"0123456789abcdef","scope":PROJECT,"from":null,
            "to":to,"objects":self.project_objects,"deleted":[],"more":false});
        assert!(!self.post_directory(&service));
        assert!(!self.post_directory(&project));
    }

    /// Projects and users anew, at a new version.
    pub(super) fn forget_users(&mut self) {
        self.version += 1;
        self.send_directory();
    }

    /// A change in the project: objects that replace those of the same id, and deletions.
    pub(super) fn change(&mut self, objects: &[Value], deleted: &[(&str, Uuid, &str)]) {
        let from = self.version;
        self.version += 1;
        let gone: Vec<Value> = deleted
            .iter()
            .map(|(kind, id, by)| {
                json!({"kind":kind,"id":id,"name":"x","by":by,"at":self.now.to_seconds_text()})
            })
            .collect();
        let replaced = |object: &Value| {
            objects.iter().any(|new| new["id"] == object["id"])
                || deleted.iter().any(|(_, id, _)| object["id"] == json!(id))
        };
        self.project_objects.retain(|object| !replaced(object));
        self.project_objects.extend(objects.iter().cloned());
        let body = json!({"format":1,"store":"0123456789abcdef","scope":PROJECT,"from":from,
            "to":self.version,"objects":objects,"deleted":gone,"more":false});
        assert!(!self.post_directory(&body));
        self.evaluate();
    }

    pub(super) fn sub(&mut self) -> &mut Sub {
        self.subs.get_mut(&SUB).unwrap()
    }

    /// The subscription as the directory has it, to be changed.
    pub(super) fn sub_object(&self) -> Value {
        let id = json!(SUB);
        self.project_objects.iter().find(|object| object["id"] == id).unwrap().clone()
    }

    /// Second by second; `act` moves the subscription, then the broker reports and metrics-svc
    /// judges when their time has come.
    pub(super) fn run(&mut self, how_long: Duration, mut act: impl FnMut(&mut Sub, Time)) {
        for _ in 0..how_long.as_secs() {
            self.now = self.now.plus(secs(1));
            let broker_now = self.now.plus(self.ahead);
            if self.broker_up {
                let sub = self.subs.get_mut(&SUB).unwrap();
                act(sub, broker_now);
                for sub in self.subs.values_mut() {
                    sub.tick(broker_now);
                }
                if self.now.secs() % 10 == 3 && self.metrics_up {
                    self.report();
                }
            }
            if self.now.secs().is_multiple_of(15) && self.metrics_up {
                self.evaluate();
            }
        }
    }

    /// Goes on until the clock's seconds leave `rest` when divided by 30: reports come at 3, 13
    /// and 23, evaluations at 0 and 15.
    pub(super) fn run_until(&mut self, rest: u64) {
        while self.now.secs() % 30 != rest {
            self.run(secs(1), |_, _| {});
        }
    }

    pub(super) fn report(&mut self) {
        let body = self.report_bytes();
        let report = decode::report(&body).unwrap();
        assert_eq!(report.rejected, 0);
        assert_eq!(report.subscriptions.len(), self.subs.len());
        if self.series.take_report(report, self.now).resync {
            self.send_directory();
        }
    }

    pub(super) fn evaluate(&mut self) {
        let evaluation = self.judge.evaluate(&self.series, self.now, &self.settings);
        // What a database would hold, through its text form.
        for memory in &evaluation.changed {
            let text = serde_json::to_string(memory).unwrap();
            self.saved.insert(memory.id, serde_json::from_str(&text).unwrap());
        }
        for id in &evaluation.removed {
            self.saved.remove(id);
        }
        for change in evaluation.incidents {
            let incident = change.incident().clone();
            if matches!(change, IncidentChange::Closed(_)) {
                self.open.remove(&incident.id);
            } else {
                let text = serde_json::to_string(&incident).unwrap();
                self.open.insert(incident.id, serde_json::from_str(&text).unwrap());
            }
            self.changes.push((self.now, change));
        }
    }

    pub(super) fn stop_metrics(&mut self) {
        self.metrics_up = false;
    }

    /// metrics-svc with nothing but its database.
    pub(super) fn start_metrics(&mut self) {
        self.metrics_up = true;
        self.series = Series::new();
        let saved = self.saved.values().cloned().collect();
        let open = self.open.values().cloned().collect();
        self.judge = Judge::restore(saved, open, self.now);
    }

    pub(super) fn restart_broker(&mut self) {
        self.broker_up = true;
        self.instance = format!("{}'", self.instance);
        self.sequence = 0;
        self.started_at = self.now.plus(self.ahead);
        self.calls.clear();
        self.store_faults.clear();
        for sub in self.subs.values_mut() {
            sub.dead_failed = 0;
            sub.denied = 0;
            sub.empty = 0;
        }
        self.send_directory();
    }

    /// What the database holds of a subscription.
    pub(super) fn saved(&self, subscription: Uuid) -> &SavedSubscription {
        &self.saved[&subscription]
    }

    pub(super) fn verdict(&self) -> &Verdict {
        self.judge.verdict(SUB).unwrap()
    }

    pub(super) fn evidence(&self) -> BTreeMap<String, Value> {
        self.verdict().evidence.to_map()
    }

    pub(super) fn state(&self) -> State {
        self.verdict().state
    }

    pub(super) fn opened(&self) -> Vec<&Incident> {
        self.changes
            .iter()
            .filter_map(|(_, change)| match change {
                IncidentChange::Opened(incident) => Some(incident),
                _ => None,
            })
            .collect()
    }

    pub(super) fn closed(&self) -> Vec<&Incident> {
        self.changes
            .iter()
            .filter_map(|(_, change)| match change {
                IncidentChange::Closed(incident) => Some(incident),
                _ => None,
            })
            .collect()
    }

    pub(super) fn report_bytes(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let now = self.now.plus(self.ahead);
        let mut metrics = Vec::new();
        for (id, sub) in &self.subs {
            metrics.extend(sub_metrics(*id, sub, now));
        }
        let of_topic = |label: Option<(&str, &str)>, count| {
            let id = Some(text(attribute::RESOURCE_ID, &TOPIC.to_string()));
            let attributes = id.into_iter().chain(label.map(|(key, value)| text(key, value)));
            NumberDataPoint { attributes: attributes.collect(), ..int(count) }
        };
        metrics.push(wrap(&names::TOPIC_VERSION, of_topic(None, 1)));
        let label = Some((attribute::STATE, "unrepaired"));
        metrics.push(wrap(&names::TOPIC_DAMAGED, of_topic(label, self.damaged)));
        for ((verb, outcome), count) in &self.calls {
            let point = NumberDataPoint {
                attributes: vec![text(attribute::VERB, verb), text(attribute::OUTCOME, outcome)],
                ..int(*count)
            };
            metrics.push(wrap(&names::BROKER_CALLS, point));
        }
        for (reason, count) in &self.store_faults {
            let attributes = vec![text(attribute::REASON, reason)];
            let point = NumberDataPoint { attributes, ..int(*count) };
            metrics.push(wrap(&names::BROKER_STORE_FAULTS, point));
        }
        let nanos = |time: Time| i64::try_from(time.0).unwrap();
        let attributes = vec![
            text(attribute::SERVICE, "ams-broker"),
            text(attribute::INSTANCE, &self.instance),
            text(attribute::STORE, "0123456789abcdef"),
            number(attribute::SEQUENCE, i64::try_from(self.sequence).unwrap()),
            number(attribute::TIME, nanos(now)),
            number(attribute::STARTED_AT, nanos(self.started_at)),
            number(attribute::INTERVAL, 10_000),
        ];
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
                ..ResourceMetrics::default()
            }],
        }
        .encode_to_vec()
    }
}

fn sub_metrics(id: Uuid, sub: &Sub, now: Time) -> Vec<Metric> {
    let point = |value: NumberDataPoint, label: Option<(&str, &str)>| {
        let mut attributes = vec![text(attribute::RESOURCE_ID, &id.to_string())];
        attributes.extend(label.map(|(key, value)| text(key, value)));
        NumberDataPoint {
            attributes,
            start_time_unix_nano: START.0,
            time_unix_nano: now.0,
            ..value
        }
    };
    let backlog = sub.queue.len() as u64;
    let outstanding = sub.window.map_or(0, |(n, _)| n as u64);
    let mut metrics: Vec<Metric> = [
        (&names::SUB_VERSION, sub.version),
        (&names::SUB_ENQUEUED, sub.acked + sub.dead + backlog),
        (&names::SUB_DELIVERED, sub.delivered),
        (&names::SUB_ACKED, sub.acked),
        (&names::SUB_LATE_ACKS, sub.late),
        (&names::SUB_REFUSED_ACKS, sub.refused),
        (&names::SUB_EXPIRED, sub.expired),
        (&names::SUB_EXTENSIONS, sub.extensions),
        (&names::SUB_LOST_NEVER_ACKED, sub.never_acked),
        (&names::SUB_BACKLOG, backlog),
        (&names::SUB_AVAILABLE, backlog),
        (&names::SUB_OUTSTANDING, outstanding),
        (&names::SUB_HEAD_ATTEMPTS, sub.attempts),
        (&names::SUB_DEAD_LETTER_END, sub.dead),
    ]
    .into_iter()
    .map(|(metric, count)| wrap(metric, point(int(count), None)))
    .collect();
    let never = Time(0);
    for (metric, time) in [
        (&names::SUB_HEAD_ENQUEUED_AT, sub.queue.front().copied()),
        (&names::SUB_LAST_PULL, sub.last_pull),
        (&names::SUB_LAST_DELIVERY, sub.last_delivery),
        (&names::SUB_LAST_ACK, sub.last_ack),
        (&names::SUB_LAST_PROGRESS, sub.last_progress),
        (&names::SUB_EXCUSING_SEEK, sub.seek),
        (&names::SUB_LAST_DEAD_LETTER, sub.last_dead),
    ] {
        metrics.push(wrap(metric, point(double(time.unwrap_or(never)), None)));
    }
    for (outcome, count) in
        [("messages", 0), ("empty", sub.empty), ("denied", sub.denied), ("error", 0)]
    {
        let label = Some((attribute::OUTCOME, outcome));
        metrics.push(wrap(&names::SUB_PULLS, point(int(count), label)));
    }
    for (outcome, count) in [("moved", sub.dead), ("failed", sub.dead_failed)] {
        let label = Some((attribute::OUTCOME, outcome));
        metrics.push(wrap(&names::SUB_DEAD_LETTERED, point(int(count), label)));
    }
    for (reason, count) in &sub.lost {
        let label = Some((attribute::REASON, *reason));
        metrics.push(wrap(&names::SUB_LOST, point(int(*count), label)));
    }
    metrics
}

pub(crate) fn wrap(metric: &names::Metric, point: NumberDataPoint) -> Metric {
    let data = match metric.kind {
        names::Kind::Counter => metric::Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        names::Kind::Gauge => metric::Data::Gauge(Gauge { data_points: vec![point] }),
    };
    Metric { name: metric.otlp.to_owned(), data: Some(data), ..Metric::default() }
}

fn int(count: u64) -> NumberDataPoint {
    let value = number_data_point::Value::AsInt(i64::try_from(count).unwrap());
    NumberDataPoint { value: Some(value), ..NumberDataPoint::default() }
}

fn double(time: Time) -> NumberDataPoint {
    let value = number_data_point::Value::AsDouble(time.unix_seconds());
    NumberDataPoint { value: Some(value), ..NumberDataPoint::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, any_value::Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    pair(key, any_value::Value::IntValue(value))
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
