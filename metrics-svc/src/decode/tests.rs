//! Bytes of any kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;
use serde_json::json;
use telemetry::names::{self, attribute};
use uuid::Uuid;

use super::*;
use crate::clock::Time;
use crate::series::{Object, ObjectKind, Scope, Severity};

const NOW: u64 = 1_790_000_000_000_000_000;

fn text(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn number(key: &str, value: i64) -> KeyValue {
    let value = any_value::Value::IntValue(value);
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn resource() -> Vec<KeyValue> {
    let now = i64::try_from(NOW).unwrap();
    vec![
        text(attribute::SERVICE, "ams-broker"),
        text(attribute::INSTANCE, "b1"),
        text(attribute::STORE, "0123456789abcdef"),
        number(attribute::SEQUENCE, 7),
        number(attribute::TIME, now),
        number(attribute::STARTED_AT, now - 5),
        number(attribute::INTERVAL, 10_000),
    ]
}

fn request(attributes: Vec<KeyValue>, metrics: Vec<Metric>) -> Vec<u8> {
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
    .encode_to_vec()
}

fn int(value: i64) -> number_data_point::Value {
    number_data_point::Value::AsInt(value)
}

fn point(id: u128, extra: Option<KeyValue>, value: number_data_point::Value) -> NumberDataPoint {
    let mut attributes = vec![text(attribute::RESOURCE_ID, &Uuid::from_u128(id).to_string())];
    attributes.extend(extra);
    NumberDataPoint {
        attributes,
        start_time_unix_nano: NOW - 9,
        time_unix_nano: NOW,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    let data = Some(metric::Data::Gauge(Gauge { data_points }));
    Metric { name: name.to_owned(), data, ..Metric::default() }
}

fn sum(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    let data = Some(metric::Data::Sum(Sum {
        data_points,
        aggregation_temporality: 2,
        is_monotonic: true,
    }));
    Metric { name: name.to_owned(), data, ..Metric::default() }
}

/// A lawful report: two subscriptions, one topic, calls.
fn lawful() -> Vec<Metric> {
    let outcome = |name| Some(text(attribute::OUTCOME, name));
    vec![
        gauge(names::SUB_VERSION.otlp, vec![point(1, None, int(4)), point(2, None, int(5))]),
        gauge(names::SUB_BACKLOG.otlp, vec![point(1, None, int(40)), point(2, None, int(50))]),
        gauge(
            names::SUB_LAST_PULL.otlp,
            vec![point(1, None, number_data_point::Value::AsDouble(1_790_000_000.5))],
        ),
        sum(
            names::SUB_PULLS.otlp,
            vec![point(1, outcome("empty"), int(3)), point(1, outcome("denied"), int(2))],
        ),
        gauge(names::TOPIC_VERSION.otlp, vec![point(9, None, int(99))]),
        sum(names::TOPIC_PUBLISHED.otlp, vec![point(9, None, int(99))]),
        sum(
            names::BROKER_CALLS.otlp,
            vec![NumberDataPoint {
                attributes: vec![text(attribute::VERB, "pull"), text(attribute::OUTCOME, "fault")],
                value: Some(int(6)),
                ..NumberDataPoint::default()
            }],
        ),
    ]
}

#[test]
fn a_lawful_report_becomes_whole_records() {
    let report = report(&request(resource(), lawful())).unwrap();
    assert_eq!((report.instance.as_str(), report.sequence, report.rejected), ("b1", 7, 0));
    assert_eq!((report.sent_at, report.started_at), (Time(NOW), Time(NOW - 5)));
    assert_eq!(report.interval.as_secs(), 10);
    assert_eq!(report.subscriptions.len(), 2);
    let first = &report.subscriptions[0];
    assert_eq!((first.id, first.version), (Uuid::from_u128(1), 4));
    assert_eq!(first.started_at, Time(NOW - 9));
    assert_eq!(first.count(&names::SUB_BACKLOG), 40);
    assert_eq!(first.count(&names::SUB_PULLS), 5);
    assert_eq!(first.labelled(&names::SUB_PULLS, "denied"), 2);
    assert_eq!(first.time(&names::SUB_LAST_PULL), Time::from_unix_seconds(1_790_000_000.5));
    assert_eq!(report.topics[0].count(&names::TOPIC_PUBLISHED), 99);
    assert_eq!(report.calls, [(String::from("pull"), String::from("fault"), 6)]);
}

#[test]
fn a_report_without_metrics_is_a_heartbeat() {
    let heartbeat = report(&request(resource(), vec![])).unwrap();
    assert!(heartbeat.subscriptions.is_empty() && heartbeat.topics.is_empty());
    assert_eq!(heartbeat.sequence, 7);
}

#[test]
fn unknown_metrics_are_left_out_in_silence() {
    let mut metrics = lawful();
    metrics.push(gauge("ams.subscription.mood", vec![point(1, None, int(1))]));
    let report = report(&request(resource(), metrics)).unwrap();
    assert_eq!((report.rejected, report.subscriptions.len()), (0, 2));
}

#[test]
fn malformed_points_are_counted_and_the_rest_is_kept() {
    let outcome = |name: &str| Some(text(attribute::OUTCOME, name));
    let nameless = NumberDataPoint { attributes: vec![], ..point(1, None, int(1)) };
    let delta = Metric {
        data: Some(metric::Data::Sum(Sum {
            data_points: vec![point(1, None, int(1))],
            aggregation_temporality: 1,
            is_monotonic: true,
        })),
        ..sum(names::SUB_ACKED.otlp, vec![])
    };
    let bad = [
        gauge(names::SUB_AVAILABLE.otlp, vec![point(1, None, int(-1))]),
        gauge(
            names::SUB_AVAILABLE.otlp,
            vec![point(1, None, number_data_point::Value::AsDouble(1.0))],
        ),
        gauge(
            names::SUB_LAST_ACK.otlp,
            vec![point(1, None, number_data_point::Value::AsDouble(f64::NAN))],
        ),
        gauge(names::SUB_LAST_ACK.otlp, vec![point(1, None, int(1))]),
        gauge(names::SUB_AVAILABLE.otlp, vec![nameless]),
        gauge(names::SUB_BACKLOG.otlp, vec![point(1, None, int(41))]),
        sum(names::SUB_LOST.otlp, vec![point(1, None, int(1))]),
        sum(names::SUB_LOST.otlp, vec![point(1, outcome("x"), int(1))]),
        sum(names::SUB_PULLS.otlp, vec![point(1, outcome("a\"b\n"), int(1))]),
        sum(names::SUB_BACKLOG.otlp, vec![point(1, None, int(1))]),
        delta,
    ];
    for bad in bad {
        let mut metrics = lawful();
        metrics.push(bad.clone());
        let report = report(&request(resource(), metrics)).unwrap();
        assert_eq!(report.rejected, 1, "{bad:?}");
        assert_eq!(report.subscriptions[0].count(&names::SUB_BACKLOG), 40);
        assert_eq!(report.subscriptions.len(), 2);
    }
    // Without its version a record cannot be ordered: all its points are malformed.
    let mut metrics = lawful();
    metrics.push(gauge(names::SUB_BACKLOG.otlp, vec![point(3, None, int(1))]));
    let report = report(&request(resource(), metrics)).unwrap();
    assert_eq!((report.rejected, report.subscriptions.len()), (1, 2));
}

#[test]
fn labels_cannot_grow_a_record_without_bound() {
    let points =
        (0..1000).map(|n| point(1, Some(text(attribute::OUTCOME, &format!("o{n}"))), int(1)));
    let mut metrics = lawful();
    metrics.truncate(2);
    metrics.push(sum(names::SUB_PULLS.otlp, points.collect()));
    let report = report(&request(resource(), metrics)).unwrap();
    assert_eq!(report.rejected, 1000 - 16);
}

#[test]
fn a_report_must_say_who_and_when() {
    for missing in 1..resource().len() {
        let mut attributes = resource();
        let key = attributes.remove(missing).key;
        let error = report(&request(attributes, lawful())).unwrap_err();
        assert!(error.to_string().contains(&key), "{error}");
    }
    let two = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics::default(), ResourceMetrics::default()],
    };
    assert_eq!(report(&two.encode_to_vec()), Err(DecodeError::Resources(2)));
    assert!(matches!(report(b"\xff\xff\xff"), Err(DecodeError::Malformed(_))));
    let endless = vec![text(attribute::INSTANCE, &"x".repeat(1000))];
    let attributes = endless.into_iter().chain(resource()).collect();
    assert_eq!(
        report(&request(attributes, vec![])),
        Err(DecodeError::Attribute(attribute::INSTANCE))
    );
}

fn body() -> serde_json::Value {
    json!({"format":1,"store":"0123456789abcdef","scope":"service","from":null,"to":4,
        "later":"ignored",
        "objects":[
            {"kind":"project","id":Uuid::from_u128(1),"name":"P","created":"2026-01-01T00:00:00Z",
                "alert":{"stallAfter":"15m","mutedUntil":"2026-12-01T00:00:00Z",
                    "contacts":["a@example.org","not one"],"severityCap":"warn","later":1}},
            {"kind":"user","id":Uuid::from_u128(2),"name":"u","email":"u@example.org",
                "tokenSha256":"ABCD","projects":[{"project":Uuid::from_u128(1),
                    "roles":["consumer"]}],"serviceRoles":["metrics_viewer"]},
            {"kind":"galaxy","id":"anything"},
        ],
        "deleted":[{"kind":"topic","id":Uuid::from_u128(3),"name":"t","by":"anna",
            "at":"2026-01-01T00:00:00Z"},{"kind":"galaxy","id":Uuid::from_u128(4)}],
        "more":true})
}

#[test]
fn a_directory_is_read_and_what_is_new_in_it_left_out() {
    let change = directory(body().to_string().as_bytes()).unwrap();
    assert_eq!((change.scope, change.from, change.to), (Scope::Service, None, 4));
    assert!(change.more);
    assert_eq!(change.objects.len(), 2);
    let Object::Project(project) = &change.objects[0] else { panic!("a project") };
    assert_eq!(project.alert.stall_after.unwrap().as_secs(), 900);
    assert_eq!(project.alert.contacts, ["a@example.org"]);
    assert_eq!(project.alert.severity_cap, Some(Severity::Warn));
    assert_eq!(project.alert.muted_until, Time::parse_rfc3339("2026-12-01T00:00:00Z"));
    let Object::User(user) = &change.objects[1] else { panic!("a user") };
    assert_eq!(user.token_sha256, "abcd");
    assert_eq!(change.deleted.len(), 1);
    assert_eq!(
        (change.deleted[0].kind, change.deleted[0].by.as_str()),
        (ObjectKind::Topic, "anna")
    );
}

#[test]
fn a_project_has_figures_without_a_version() {
    let metrics = vec![gauge(names::PROJECT_STORED.otlp, vec![point(9, None, int(4_096))])];
    let read = report(&request(resource(), metrics)).unwrap();
    assert_eq!((read.projects.len(), read.topics.len(), read.rejected), (1, 0, 0));
    let project = &read.projects[0];
    assert_eq!((project.id, project.version), (Uuid::from_u128(9), 0));
    assert_eq!(project.count(&names::PROJECT_STORED), 4_096);
}

#[test]
fn dead_letters_of_brokers_before_the_outcome_was_told_were_moved() {
    let of = |extra: Option<KeyValue>| {
        let metrics = vec![
            gauge(names::SUB_VERSION.otlp, vec![point(1, None, int(4))]),
            sum(names::SUB_DEAD_LETTERED.otlp, vec![point(1, extra, int(7))]),
        ];
        let read = report(&request(resource(), metrics)).unwrap();
        let moved = read.subscriptions[0].labelled(&names::SUB_DEAD_LETTERED, "moved");
        (moved, read.rejected)
    };
    assert_eq!(of(None), (7, 0));
    assert_eq!(of(Some(text(attribute::OUTCOME, "moved"))), (7, 0));
    assert_eq!(of(Some(text(attribute::OUTCOME, "failed"))), (0, 0));
    assert_eq!(of(Some(text(attribute::OUTCOME, "no name!"))), (0, 1), "malformed, not missing");
}

#[test]
fn a_subscription_of_a_deleted_topic_has_none() {
    let body = json!({"format":1,"store":"s","scope":Uuid::from_u128(1),"from":3,"to":4,
        "objects":[{"kind":"subscription","id":Uuid::from_u128(5),"name":"s","topic":"t",
            "topicId":null,"ackDeadlineSeconds":10,"ackMode":"cumulative","acl":[],
            "created":"2026-01-01T00:00:00Z"}],"deleted":[],"more":false});
    let change = directory(body.to_string().as_bytes()).unwrap();
    assert_eq!(change.scope, Scope::Project(Uuid::from_u128(1)));
    let Object::Subscription(sub) = &change.objects[0] else { panic!("a subscription") };
    assert_eq!((sub.topic_id, sub.project), (None, Uuid::from_u128(1)));
    assert_eq!(sub.dead_letter_topic, None);
}

#[test]
fn a_directory_of_another_format_or_without_its_parts_is_refused() {
    let mut other = body();
    other["format"] = json!(2);
    assert_eq!(directory(other.to_string().as_bytes()), Err(DecodeError::Format(2)));
    for key in ["format", "store", "scope", "to"] {
        let mut body = body();
        body.as_object_mut().unwrap().remove(key);
        let refused = directory(body.to_string().as_bytes());
        assert!(matches!(refused, Err(DecodeError::Malformed(_))), "{key}");
    }
    for bad in [&b""[..], b"[]", b"{\"format\":1", b"null"] {
        assert!(directory(bad).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_bytes_of_a_report_never_panic_and_never_invent_records(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = request(resource(), lawful());
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(report) = report(&bytes) {
            prop_assert!(report.subscriptions.len() + report.topics.len() <= 7);
        }
    }

    #[test]
    fn mutated_bytes_of_a_directory_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        raw in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = body().to_string().into_bytes();
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(change) = directory(&bytes) {
            prop_assert!(change.objects.len() <= 2);
        }
        drop((directory(&raw), report(&raw)));
    }
}
