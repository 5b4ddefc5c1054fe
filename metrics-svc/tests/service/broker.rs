//! A broker as metrics-svc sees it: it posts directories and reports.

use std::net::SocketAddr;
use std::time::Duration;

use metrics_svc::clock::Time;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric as OtlpMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::{Value, json};
use telemetry::names::{self, Kind, Metric, attribute};
use uuid::Uuid;

pub(crate) const STORE: &str = "00000000000000aa";
pub(crate) const PROJECT: Uuid = Uuid::from_u128(1);
pub(crate) const USER: Uuid = Uuid::from_u128(2);
pub(crate) const TOPIC: Uuid = Uuid::from_u128(3);
pub(crate) const SUB: Uuid = Uuid::from_u128(4);
pub(crate) const CREATED: &str = "2026-09-01T00:00:00Z";

/// An answer: status, `ams-resync`, `Retry-After`, body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) resync: bool,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap()
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let header = |name| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    let (resync, retry_after) = (header("ams-resync"), header("retry-after"));
    Answer {
        status: response.status().as_u16(),
        resync: resync.as_deref() == Some("1"),
        retry_after,
        body: response.bytes().await.unwrap().to_vec(),
    }
}

pub(crate) async fn get(addr: SocketAddr, path: &str) -> Answer {
    answer(client().get(format!("http://{addr}{path}"))).await
}

/// One broker process.
pub(crate) struct Broker {
    pub(crate) ingest: SocketAddr,
    pub(crate) secret: String,
    sequence: u64,
    started_at: Time,
}

/// What a subscription's record says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    pub(crate) version: u64,
    pub(crate) head: u64,
    pub(crate) position: u64,
    pub(crate) delivered: u64,
    pub(crate) oldest_at: Option<Time>,
    pub(crate) last_pull: Option<Time>,
    pub(crate) last_progress: Option<Time>,
    pub(crate) dead_lettered: u64,
}

impl Broker {
    pub(crate) fn new(ingest: SocketAddr, secret: &str, started_at: Time) -> Self {
        Self { ingest, secret: secret.to_owned(), sequence: 0, started_at }
    }

    pub(crate) async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let request = client()
            .post(format!("http://{}{path}", self.ingest))
            .header("authorization", format!("Bearer {}", self.secret))
            .header("content-type", content_type)
            .body(body);
        answer(request).await
    }

    pub(crate) async fn directory(&self, body: &Value) -> Answer {
        self.post("/v1/directory", "application/json", body.to_string().into_bytes()).await
    }

    /// The whole directory: one project, its user and two others, one topic, one subscription.
    pub(crate) async fn whole_directory(&self, alert: Value) {
        for body in whole(alert) {
            let answer = self.directory(&body).await;
            assert_eq!((answer.status, answer.resync), (200, false), "{}", answer.text());
        }
    }

    pub(crate) async fn report(&mut self, now: Time, facts: Option<Facts>) -> Answer {
        self.sequence += 1;
        let request = request(self.sequence, self.started_at, now, facts);
        self.post("/v1/metrics", "application/x-protobuf", request.encode_to_vec()).await
    }
}

/// The whole directory, scope by scope.
pub(crate) fn whole(alert: Value) -> [Value; 2] {
    let mut subscription = json!({
        "kind": "subscription", "id": SUB, "name": "sub", "topic": "top", "topicId": TOPIC,
        "ackDeadlineSeconds": 10, "ackMode": "cumulative", "acl": [USER], "created": CREATED
    });
    if !alert.is_null() {
        subscription["alert"] = alert;
    }
    [
        json!({"format": 1, "store": STORE, "scope": "service", "from": null, "to": 5,
            "deleted": [], "more": false, "objects": [
            {"kind": "project", "id": PROJECT, "name": "proj", "created": CREATED},
            {"kind": "user", "id": USER, "name": "ann", "email": "ann@example.org",
             "tokenSha256": "bf767b3254de253681cc294cfdbf179e0980635066d624f301d00c6dd53bd328",
             "projects": [{"project": PROJECT, "roles": ["consumer"]}], "serviceRoles": []},
            {"kind": "user", "id": Uuid::from_u128(8), "name": "bob", "email": "bob@example.org",
             "tokenSha256": "c8258ff6b71789efe9c0371433bac953652370c1282f9823825b913e2c9a89c4",
             "projects": [], "serviceRoles": ["push_worker"]},
            {"kind": "user", "id": Uuid::from_u128(9), "name": "admin", "email": "",
             "tokenSha256": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
             "projects": [], "serviceRoles": ["service_admin"]}
        ]}),
        json!({"format": 1, "store": STORE, "scope": PROJECT, "from": null, "to": 7,
            "deleted": [], "more": false, "objects": [
            {"kind": "topic", "id": TOPIC, "name": "top", "created": CREATED, "acl": []},
            subscription
        ]}),
    ]
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: u64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap()))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A figure as sent: metric, extra label, value.
type Figure = (&'static Metric, &'static str, number_data_point::Value);

fn figures(facts: Facts) -> (Vec<Figure>, Vec<Figure>) {
    let count = |n: u64| number_data_point::Value::AsInt(i64::try_from(n).unwrap());
    let time =
        |at: Option<Time>| number_data_point::Value::AsDouble(at.map_or(0.0, Time::unix_seconds));
    let backlog = facts.head - facts.position;
    let topic = vec![
        (&names::TOPIC_VERSION, "", count(facts.head)),
        (&names::TOPIC_PUBLISHED, "", count(facts.head)),
        (&names::TOPIC_RETAINED, "", count(facts.head)),
        (&names::TOPIC_DAMAGED, "unrepaired", count(0)),
        (&names::TOPIC_DAMAGED, "given_up", count(2)),
        (&names::TOPIC_LAST_PUBLISH, "", time(facts.oldest_at)),
    ];
    let subscription = vec![
        (&names::SUB_VERSION, "", count(facts.version)),
        (&names::SUB_TOPIC_HEAD, "", count(facts.head)),
        (&names::SUB_POSITION, "", count(facts.position)),
        (&names::SUB_ENQUEUED, "", count(facts.head)),
        (&names::SUB_DELIVERED, "", count(facts.delivered)),
        (&names::SUB_ACKED, "", count(facts.position - facts.dead_lettered)),
        (&names::SUB_DEAD_LETTERED, "moved", count(facts.dead_lettered)),
        (&names::SUB_BACKLOG, "", count(backlog)),
        (&names::SUB_AVAILABLE, "", count(backlog)),
        (&names::SUB_OUTSTANDING, "", count(0)),
        (&names::SUB_PULLS, "messages", count(u64::from(facts.last_pull.is_some()))),
        (&names::SUB_LOST, "retention", count(0)),
        (&names::SUB_HEAD_ENQUEUED_AT, "", time(facts.oldest_at.filter(|_| backlog > 0))),
        (&names::SUB_LAST_PULL, "", time(facts.last_pull)),
        (&names::SUB_LAST_PROGRESS, "", time(facts.last_progress)),
    ];
    (topic, subscription)
}

/// A report; `None` = a heartbeat.
pub(crate) fn request(
    sequence: u64,
    started_at: Time,
    now: Time,
    facts: Option<Facts>,
) -> ExportMetricsServiceRequest {
    let mut metrics = Vec::new();
    if let Some(facts) = facts {
        let (topic, subscription) = figures(facts);
        let bytes = |n| number_data_point::Value::AsInt(n);
        let project = [
            (&names::PROJECT_STORED, "", bytes(4_096)),
            (&names::PROJECT_QUOTA, "", bytes(1_000_000)),
        ];
        metrics.extend(project.into_iter().map(|figure| otlp(figure, PROJECT, now)));
        metrics.extend(topic.into_iter().map(|figure| otlp(figure, TOPIC, now)));
        metrics.extend(subscription.into_iter().map(|figure| otlp(figure, SUB, now)));
        let calls = (&names::BROKER_CALLS, "ok", number_data_point::Value::AsInt(7));
        let mut calls = otlp(calls, Uuid::nil(), now);
        if let Some(metric::Data::Sum(sum)) = &mut calls.data {
            sum.data_points[0].attributes =
                vec![text(attribute::VERB, "publish"), text(attribute::OUTCOME, "ok")];
        }
        metrics.push(calls);
    }
    let resource = Resource {
        attributes: vec![
            text(attribute::SERVICE, "ams-broker"),
            text(attribute::INSTANCE, "00000000000000b1"),
            text(attribute::STORE, STORE),
            int(attribute::SEQUENCE, sequence),
            int(attribute::TIME, now.0),
            int(attribute::STARTED_AT, started_at.0),
            int(attribute::INTERVAL, 10_000),
        ],
        ..Resource::default()
    };
    let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }],
    }
}

fn otlp((metric, label, value): Figure, id: Uuid, now: Time) -> OtlpMetric {
    let mut attributes =
        vec![text(attribute::RESOURCE_ID, &id.to_string()), text(attribute::PROJECT, "proj")];
    if !metric.label.is_empty() {
        attributes.push(text(metric.label, label));
    }
    let point = NumberDataPoint {
        attributes,
        start_time_unix_nano: Time::parse_rfc3339(CREATED).unwrap().0,
        time_unix_nano: now.0,
        value: Some(value),
        ..NumberDataPoint::default()
    };
    let data = match metric.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points: vec![point] }),
    };
    OtlpMetric { name: metric.otlp.to_owned(), data: Some(data), ..OtlpMetric::default() }
}
