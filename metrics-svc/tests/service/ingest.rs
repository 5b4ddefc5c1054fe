//! The listener brokers report to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_svc::clock::{Clock as _, ManualClock, Time};
use metrics_svc::config::{RelayUrl, Settings};
use metrics_svc::{Running, StartError, start};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::broker::{self, Broker, Facts, PROJECT, STORE, SUB, get};
use super::relay::Relay;

pub(crate) const NOW: Time = Time::from_secs(1_790_000_000);

/// Settings for a test: any port, quick.
pub(crate) fn settings(relay: Option<&Relay>) -> Settings {
    let mut settings = Settings::default();
    settings.listen.set_port(0);
    settings.ingest.listen.set_port(0);
    settings.alert.evaluate_every = Duration::from_millis(20);
    settings.alert.to = vec![String::from("ops@example.org")];
    settings.smtp.timeout = Duration::from_millis(500);
    if let Some(relay) = relay {
        settings.smtp.url = RelayUrl::from(relay.url());
    }
    settings
}

pub(crate) async fn started(dir: &Path, clock: &Arc<ManualClock>) -> (Running, Broker) {
    let running = start(settings(None), dir, Arc::<ManualClock>::clone(clock)).await.unwrap();
    let broker = Broker::new(running.ingest_addr, running.ingest_secret(), clock.wall());
    (running, broker)
}

#[tokio::test]
async fn only_who_shows_the_secret_may_report() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let (running, mut broker) = started(dir.path(), &clock).await;
    let file = dir.path().join("ingest.secret");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!((text.len(), text.as_str()), (64, running.ingest_secret()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(broker.report(NOW, None).await.status, 200);
    broker.secret.push('x');
    let refused = broker.report(NOW, None).await;
    assert_eq!(refused.status, 401);
    let body = json!({"error": {"code": 401, "message": "Unauthorized", "status": "UNAUTHORIZED"}});
    assert_eq!(refused.json(), body);
    assert_eq!(broker.directory(&json!({})).await.status, 401);
    running.shutdown().await;
}

#[tokio::test]
async fn a_first_report_is_asked_for_everything_until_the_directory_came() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let (running, mut broker) = started(dir.path(), &clock).await;
    assert!(broker.report(NOW, None).await.resync);
    let change = json!({"format": 1, "store": STORE, "scope": PROJECT, "from": 3, "to": 4,
        "objects": [], "deleted": [], "more": false});
    let answer = broker.directory(&change).await;
    assert_eq!((answer.status, answer.resync), (200, true), "changes of an unknown version");
    broker.whole_directory(Value::Null).await;
    let answer = broker.report(NOW, None).await;
    assert!(!answer.resync);
    let decoded = ExportMetricsServiceResponse::decode(answer.body.as_slice()).unwrap();
    assert_eq!(decoded.partial_success, None);
    running.shutdown().await;
}

#[tokio::test]
async fn bad_bodies_are_refused_and_counted_and_leave_no_trace() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let (running, broker) = started(dir.path(), &clock).await;
    let protobuf = "application/x-protobuf";
    assert_eq!(broker.post("/v1/metrics", protobuf, b"\xff\xff\xff".to_vec()).await.status, 400);
    assert_eq!(broker.post("/v1/metrics", "text/plain", Vec::new()).await.status, 415);
    let large = vec![0; (8 << 20) + 1];
    assert_eq!(broker.post("/v1/metrics", protobuf, large.clone()).await.status, 413);
    assert_eq!(broker.post("/v1/directory", "application/json", large).await.status, 413);
    assert_eq!(broker.directory(&json!({"format": 2, "store": STORE})).await.status, 400);
    assert_eq!(broker.post("/v1/directory", "application/json", b"{".to_vec()).await.status, 400);
    assert_eq!(broker.post("/v1/else", protobuf, Vec::new()).await.status, 404);
    let wrong =
        broker::answer(broker::client().get(format!("http://{}/v1/metrics", broker.ingest)));
    assert_eq!(wrong.await.status, 405);
    let page = get(running.metrics_addr, "/metrics").await.text();
    let counted = "ams_metrics_ingest_reports_total{outcome=\"rejected\"} 3\n";
    assert!(page.contains(counted), "{page}");
    running.shutdown().await;
}

#[tokio::test]
async fn a_malformed_point_costs_itself_and_is_answered() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let (running, broker) = started(dir.path(), &clock).await;
    let facts = Facts { version: 1, head: 5, ..Facts::default() };
    let mut request = broker::request(1, NOW, NOW, Some(facts));
    let metrics = &mut request.resource_metrics[0].scope_metrics[0].metrics;
    let published = metrics.iter_mut().find(|m| m.name == "ams.topic.published.messages").unwrap();
    if let Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Sum(sum)) =
        &mut published.data
    {
        sum.data_points[0].value = None;
    }
    let answer =
        broker.post("/v1/metrics", "application/x-protobuf", request.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let decoded = ExportMetricsServiceResponse::decode(answer.body.as_slice()).unwrap();
    assert_eq!(decoded.partial_success.unwrap().rejected_data_points, 1);
    running.shutdown().await;
}

#[tokio::test]
async fn while_the_database_refuses_brokers_are_answered_503_and_operators_get_one_mail() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let settings = settings(Some(&relay));
    let running = start(settings, dir.path(), Arc::<ManualClock>::clone(&clock)).await.unwrap();
    let mut broker = Broker::new(running.ingest_addr, running.ingest_secret(), NOW);
    assert_eq!(broker.report(NOW, None).await.status, 200);
    broker.whole_directory(Value::Null).await;

    let raw = rusqlite::Connection::open(dir.path().join("metrics/metrics.sqlite3")).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let deletion = json!({"format": 1, "store": STORE, "scope": PROJECT, "from": 7, "to": 8,
        "objects": [], "more": false, "deleted": [{"kind": "subscription", "id": SUB,
        "name": "sub", "by": "bob", "at": "2026-09-21T14:00:00Z"}]});
    assert_eq!(broker.directory(&deletion).await.status, 503);
    let refused = broker.report(NOW, None).await;
    assert_eq!((refused.status, refused.retry_after.as_deref()), (503, Some("5")));
    let page = get(running.metrics_addr, "/metrics").await.text();
    assert!(page.contains("ams_metrics_database_up 0\n"), "{page}");
    assert_eq!(get(running.metrics_addr, "/readyz").await.status, 503);
    assert_eq!(get(running.metrics_addr, "/healthz").await.status, 200);

    clock.advance(Duration::from_secs(61));
    let mails = relay.mails(1).await;
    assert_eq!(mails[0].to, "ops@example.org");
    assert!(mails[0].subject().contains("the database of metrics-svc refuses writes"));

    raw.execute_batch("ROLLBACK").unwrap();
    let healed = async { while broker.report(NOW, None).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), healed).await.unwrap();
    assert_eq!(broker.directory(&deletion).await.status, 200, "sent again, it is written");
    let who: String = raw.query_row("SELECT by_user FROM deletion", [], |row| row.get(0)).unwrap();
    assert_eq!(who, "bob");
    running.shutdown().await;
    assert_eq!(relay.taken().len(), 1, "one mail for one outage");
}

#[tokio::test]
async fn off_loopback_a_secret_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = settings(None);
    open.ingest.secret_file = Path::new("/nonexistent/secret").to_owned();
    open.ingest.listen = "0.0.0.0:0".parse().unwrap();
    let clock = ManualClock::at(NOW);
    let refused = start(open.clone(), dir.path(), Arc::<ManualClock>::clone(&clock)).await;
    assert!(matches!(refused.unwrap_err(), StartError::Secret { .. }));
    open.ingest.listen = "127.0.0.1:0".parse().unwrap();
    let running = start(open, dir.path(), clock).await.unwrap();
    assert_eq!(running.ingest_secret(), "");
    running.shutdown().await;
}

#[tokio::test]
async fn history_has_one_row_per_changed_resource_and_minute() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let (running, mut broker) = started(dir.path(), &clock).await;
    broker.report(NOW, None).await;
    broker.whole_directory(Value::Null).await;
    let facts = Facts { version: 1, head: 5, ..Facts::default() };
    broker.report(NOW, Some(facts)).await;
    let raw = rusqlite::Connection::open(dir.path().join("metrics/metrics.sqlite3")).unwrap();
    let rows = || -> i64 {
        raw.query_row("SELECT count(*) FROM sample_1m", [], |row| row.get(0)).unwrap()
    };
    let becomes = async |want: i64| {
        let there = async {
            while rows() != want {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), there).await.unwrap();
    };
    clock.advance(Duration::from_secs(60));
    becomes(2).await;
    // Only the subscription changes within the next minute.
    let later = Facts { version: 2, delivered: 5, ..facts };
    broker.report(clock.wall(), Some(later)).await;
    clock.advance(Duration::from_secs(60));
    becomes(3).await;
    let body: String = raw
        .query_row(
            "SELECT body FROM sample_1m WHERE resource = ?1 ORDER BY minute DESC LIMIT 1",
            [Uuid::to_string(&SUB)],
            |row| row.get(0),
        )
        .unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["ams.subscription.delivered.messages"], json!(5));
    clock.advance(Duration::from_secs(16 * 86_400));
    becomes(0).await;
    running.shutdown().await;
}
