//! The bytes: exactly what the wire says.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Figure;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric};
use serde_json::json;
use telemetry::names::{self, Kind};

use super::super::directory;
use super::super::encode::{REQUEST_BYTES, Record, Request as EncodedRequest, Sender};
use super::receiver::Request;
use super::*;
use crate::domain::records::{Record as Named, TopicRecord};
use crate::domain::{Holes, TopicId};
use crate::service::{Scope, ScopeChange, StoreFault};

/// Attributes as texts.
pub(super) fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        Attribute::StringValue(text) => text.clone(),
        Attribute::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

/// All points with their metric's name, of any number of requests.
pub(super) fn points(requests: &[Request]) -> Vec<(String, NumberDataPoint)> {
    let mut found = Vec::new();
    for request in requests.iter().filter(|request| !request.is_directory()) {
        let decoded = request.otlp();
        assert_eq!(decoded.resource_metrics.len(), 1);
        assert_eq!(decoded.resource_metrics[0].scope_metrics.len(), 1);
        let scope = &decoded.resource_metrics[0].scope_metrics[0];
        assert_eq!(scope.scope.as_ref().unwrap().name, "ams.broker");
        for of in &scope.metrics {
            let points = match of.data.as_ref().unwrap() {
                metric::Data::Sum(sum) => {
                    assert!(sum.is_monotonic);
                    assert_eq!(sum.aggregation_temporality, 2, "cumulative");
                    &sum.data_points
                }
                metric::Data::Gauge(gauge) => &gauge.data_points,
                other => panic!("{other:?}"),
            };
            let known = names::REPORTED.iter().find(|metric| metric.otlp == of.name).unwrap();
            let is_sum = matches!(of.data, Some(metric::Data::Sum(_)));
            assert_eq!(is_sum, known.kind == Kind::Counter, "{}", of.name);
            for point in points {
                assert_eq!(point.start_time_unix_nano > 0, is_sum, "{}", of.name);
                found.push((of.name.clone(), point.clone()));
            }
        }
    }
    found
}

fn figure(points: &[(String, NumberDataPoint)], name: &str, label: &str) -> Figure {
    let mut of = points.iter().filter(|(metric, point)| {
        let labels = texts(&point.attributes);
        metric == name && (label.is_empty() || labels.iter().any(|(_, value)| value == label))
    });
    let found = of.next().unwrap_or_else(|| panic!("no {name} {label}")).1.value.unwrap();
    assert_eq!(of.next().map(|(name, _)| name.as_str()), None, "one {name} {label}");
    found
}

#[tokio::test]
async fn the_first_report_is_the_whole_directory_then_every_record() {
    let mut world = World::new().await;
    world.publish("t", 3).await;
    world.pull("s", 2).await;
    world.ack("s", 0).await;
    world.broker.count_store_fault(StoreFault::Damaged);
    world.broker.count_store_fault(StoreFault::Damaged);
    let requests = world.round().await;
    assert_eq!(requests.len(), 3, "service, project, records");
    for request in &requests {
        assert!(request.head.contains("authorization: Bearer s3cret\r\n"), "{}", request.head);
    }
    let store = format!("{:016x}", world.broker.store_id());

    let service = requests[0].json();
    let project = &service["objects"][0];
    let user = &service["objects"][1];
    let expected = json!({
        "format": 1, "store": store, "scope": "service", "from": null, "to": service["to"],
        "objects": [
            {"kind": "project", "id": project["id"], "name": "p", "created": "2026-11-22T10:00:00Z"},
            {"kind": "user", "id": user["id"], "name": "admin", "email": "root@example.org",
             "tokenSha256": user["tokenSha256"], "projects": [], "serviceRoles": ["service_admin"]},
        ],
        "deleted": [], "more": false,
    });
    assert_eq!(service, expected);
    assert_eq!(user["tokenSha256"].as_str().unwrap().len(), 64);
    assert!(!service.to_string().contains(&world.admin), "no token");

    let inside = requests[1].json();
    let (topic, subscription) = (&inside["objects"][0], &inside["objects"][1]);
    let expected = json!({
        "format": 1, "store": store, "scope": project["id"], "from": null, "to": inside["to"],
        "objects": [
            {"kind": "topic", "id": topic["id"], "name": "t", "created": "2026-11-22T10:00:00Z",
             "acl": [], "retentionSeconds": 604_800.0, "retentionBytes": null},
            {"kind": "subscription", "id": subscription["id"], "name": "s", "topic": "t",
             "topicId": topic["id"], "ackDeadlineSeconds": 10, "ackMode": "cumulative", "acl": [],
             "created": "2026-11-22T10:00:00Z"},
        ],
        "deleted": [], "more": false,
    });
    assert_eq!(inside, expected);

    let decoded = requests[2].otlp();
    let resource = decoded.resource_metrics[0].resource.as_ref().unwrap();
    let now = world.clock.wall().0.to_string();
    let started = Time::parse_rfc3339("2026-11-22T10:00:00Z").unwrap().0.to_string();
    let attributes = texts(&resource.attributes);
    let instance = attributes[1].1.clone();
    let expected = [
        ("service.name", "ams-broker"),
        ("service.instance.id", &instance),
        ("ams.store.id", &store),
        ("ams.report.sequence", "1"),
        ("ams.report.time_unix_nano", &now),
        ("ams.report.started_at_unix_nano", &started),
        ("ams.report.interval_ms", "10000"),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(attributes, expected);
    assert_eq!(instance.len(), 16);

    let points = points(&requests);
    let all: BTreeSet<&str> = names::REPORTED.iter().map(|metric| metric.otlp).collect();
    assert_eq!(points.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(), all);
    let first = Time::parse_rfc3339("2026-11-22T10:00:00Z").unwrap().secs() as f64;
    for (name, label, expected) in [
        ("ams.project.stored.quota", "", Figure::AsInt(0)),
        ("ams.topic.damaged.messages", "unrepaired", Figure::AsInt(0)),
        ("ams.topic.damaged.messages", "given_up", Figure::AsInt(0)),
        ("ams.subscription.dead_lettered.messages", "moved", Figure::AsInt(0)),
        ("ams.subscription.dead_lettered.messages", "failed", Figure::AsInt(0)),
        ("ams.topic.version", "", Figure::AsInt(3)),
        ("ams.topic.published.messages", "", Figure::AsInt(3)),
        ("ams.topic.published.ams_bytes", "", Figure::AsInt(24)),
        ("ams.topic.last_publish", "", Figure::AsDouble(first)),
        ("ams.topic.retained.messages", "", Figure::AsInt(3)),
        ("ams.subscription.version", "", Figure::AsInt(2)),
        ("ams.subscription.topic_head", "", Figure::AsInt(3)),
        ("ams.subscription.position", "", Figure::AsInt(1)),
        ("ams.subscription.enqueued.messages", "", Figure::AsInt(3)),
        ("ams.subscription.delivered.messages", "", Figure::AsInt(2)),
        ("ams.subscription.acked.messages", "", Figure::AsInt(1)),
        ("ams.subscription.backlog.messages", "", Figure::AsInt(2)),
        ("ams.subscription.outstanding.messages", "", Figure::AsInt(1)),
        ("ams.subscription.head_enqueued_at", "", Figure::AsDouble(first)),
        ("ams.subscription.last_pull", "", Figure::AsDouble(first)),
        ("ams.subscription.last_backward_seek", "", Figure::AsDouble(0.0)),
        ("ams.subscription.lost.messages", "retention", Figure::AsInt(0)),
        ("ams.subscription.lost.messages", "topic_deleted", Figure::AsInt(0)),
        ("ams.subscription.pull_requests", "messages", Figure::AsInt(1)),
        ("ams.subscription.pull_requests", "empty", Figure::AsInt(0)),
        ("ams.broker.store_faults", "full", Figure::AsInt(0)),
        ("ams.broker.store_faults", "damaged", Figure::AsInt(2)),
        ("ams.broker.store_faults", "clock", Figure::AsInt(0)),
    ] {
        assert_eq!(figure(&points, name, label), expected, "{name} {label}");
    }
    for (name, point) in &points {
        let expected: &[&str] = match name.split('.').nth(1).unwrap() {
            "project" => &["ams.resource.id", "ams.project"],
            "topic" => &["ams.resource.id", "ams.project", "ams.topic"],
            "subscription" => &["ams.resource.id", "ams.project", "ams.subscription"],
            _ if name == "ams.broker.store_faults" => &["reason"],
            _ => &["verb", "outcome"],
        };
        let keys: Vec<_> = texts(&point.attributes).into_iter().map(|(key, _)| key).collect();
        assert!(keys.iter().zip(expected).all(|(key, expected)| key == expected), "{keys:?}");
        assert!((expected.len()..=expected.len() + 1).contains(&keys.len()), "{keys:?}");
        assert_eq!(point.time_unix_nano, world.clock.wall().0);
    }
}

#[tokio::test]
async fn a_record_is_never_split_and_a_request_never_too_large() {
    let world = World::new().await;
    world.publish("t", 1).await;
    let facts = world.broker.subscription_facts(world.clock.steady()).next().unwrap();
    let record = Record::subscription(&facts, None);
    let sender = Sender {
        instance: String::from("0123456789abcdef"),
        store: 7,
        started: world.clock.wall(),
        interval: Duration::from_secs(10),
    };
    let looked = world.clock.wall();
    let (mut request, mut taken) = (EncodedRequest::new(), 0_usize);
    while request.add(&record, &sender, looked) {
        taken += 1;
    }
    let bytes = request.encode(&sender, 1, looked);
    assert!(bytes.len() <= REQUEST_BYTES, "{}", bytes.len());
    assert!(bytes.len() > REQUEST_BYTES * 9 / 10, "{}", bytes.len());
    let sent = Request {
        head: String::from("POST /v1/metrics \r\ncontent-type: application/x-protobuf"),
        body: bytes,
    };
    let each = points(&[sent]).len();
    assert!(taken > 50 && each.is_multiple_of(taken), "{taken} whole records in {each} points");
}

#[test]
fn a_large_scope_is_sent_in_parts_and_a_large_change_as_the_whole() {
    let topic = |at: u64| {
        Named::Topic(TopicRecord {
            id: TopicId::random(),
            name: name(&format!("t{at}")),
            order: at,
            created: Time::default(),
            created_by: None,
            acl: vec![],
            alert: AlertSettings::default(),
            retention: RetentionSettings::default(),
            schema: None,
            holes: Holes::default(),
            marked: false,
        })
    };
    let records = (0..60_000).map(topic).collect();
    let mut change = ScopeChange { from: None, to: 9, records, deleted: vec![] };
    let requests = |change: &ScopeChange| {
        let found = directory::requests(1, Scope::Service, change, &|_| None, &|_| WEEK);
        found.map(Iterator::collect::<Vec<_>>)
    };
    let parts = requests(&change).unwrap();
    assert!(parts.len() > 1 && parts.iter().all(|part| part.len() < REQUEST_BYTES + 1_000));
    let parts: Vec<serde_json::Value> =
        parts.iter().map(|part| serde_json::from_slice(part).unwrap()).collect();
    let objects: usize = parts.iter().map(|part| part["objects"].as_array().unwrap().len()).sum();
    assert_eq!(objects, 60_000);
    let more: Vec<bool> = parts.iter().map(|part| part["more"].as_bool().unwrap()).collect();
    assert_eq!(more.iter().position(|more| !more), Some(parts.len() - 1), "{more:?}");
    change.from = Some(8);
    assert_eq!(requests(&change), None);
    change.records.truncate(10);
    assert_eq!(requests(&change).unwrap().len(), 1);
}
