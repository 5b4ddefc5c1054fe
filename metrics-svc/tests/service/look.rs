//! What people and Prometheus see.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use metrics_svc::Running;
use metrics_svc::clock::{Clock as _, ManualClock};
use metrics_svc::start;
use serde_json::{Value, json};

use super::broker::{Answer, Broker, Facts, PROJECT, STORE, SUB, answer, client, get};
use super::ingest::{NOW, settings, started};

/// A system with one topic and one subscription that has a backlog of three.
async fn seeded() -> (tempfile::TempDir, Arc<ManualClock>, Running, Broker) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let (running, mut broker) = started(dir.path(), &clock).await;
    broker.report(NOW, None).await;
    broker.whole_directory(Value::Null).await;
    let facts = Facts {
        version: 4,
        head: 10,
        position: 7,
        delivered: 12,
        oldest_at: Some(NOW.minus(Duration::from_secs(30))),
        last_pull: Some(NOW.minus(Duration::from_secs(5))),
        last_progress: Some(NOW.minus(Duration::from_secs(20))),
        dead_lettered: 0,
    };
    assert_eq!(broker.report(NOW, Some(facts)).await.status, 200);
    judged(&running).await;
    (dir, clock, running, broker)
}

/// Waits until the subscription's row shows the report.
async fn judged(running: &Running) {
    judged_by(async || {
        let page = get(running.metrics_addr, "/v1/subscriptions").await.json();
        page["subscriptions"][0]["backlog"] == json!(3)
    })
    .await;
}

/// Waits until an evaluation has made `it` so.
async fn judged_by(it: impl AsyncFn() -> bool) {
    let there = async { while !it().await {} };
    tokio::time::timeout(Duration::from_secs(5), there).await.unwrap();
}

/// The lines of the objects and brokers: without what depends on the process.
fn of_objects(page: &str) -> String {
    let wanted = |line: &&str| {
        ["ams_topic", "ams_subscription", "ams_project", "ams_broker"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    page.lines().filter(wanted).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn the_page_shows_every_figure_with_counters_at_zero_from_the_start() {
    let (_dir, _clock, running, _broker) = seeded().await;
    let page = get(running.metrics_addr, "/metrics").await.text();
    insta::assert_snapshot!(of_objects(&page), @r#"
    ams_broker_calls_total{verb="acknowledge",outcome="fault"} 0
    ams_broker_calls_total{verb="acknowledge",outcome="ok"} 0
    ams_broker_calls_total{verb="acknowledge",outcome="refused"} 0
    ams_broker_calls_total{verb="publish",outcome="fault"} 0
    ams_broker_calls_total{verb="publish",outcome="ok"} 7
    ams_broker_calls_total{verb="publish",outcome="refused"} 0
    ams_broker_calls_total{verb="pull",outcome="fault"} 0
    ams_broker_calls_total{verb="pull",outcome="ok"} 0
    ams_broker_calls_total{verb="pull",outcome="refused"} 0
    ams_broker_store_faults_total{reason="clock"} 0
    ams_broker_store_faults_total{reason="damaged"} 0
    ams_broker_store_faults_total{reason="full"} 0
    ams_broker_store_faults_total{reason="stopped"} 0
    ams_project_stored_bytes{project="proj"} 4096
    ams_project_stored_quota_bytes{project="proj"} 1000000
    ams_project_subscriptions{project="proj"} 1
    ams_project_topics{project="proj"} 1
    ams_subscription_ack_deadline_seconds{project="proj",subscription="sub"} 10
    ams_subscription_acked_bytes_total{project="proj",subscription="sub"} 0
    ams_subscription_acked_messages_total{project="proj",subscription="sub"} 7
    ams_subscription_available_messages{project="proj",subscription="sub"} 3
    ams_subscription_backlog_messages{project="proj",subscription="sub"} 3
    ams_subscription_dead_lettered_messages_total{project="proj",subscription="sub",outcome="moved"} 0
    ams_subscription_dead_lettered_messages_total{project="proj",subscription="sub",outcome="failed"} 0
    ams_subscription_deadline_extensions_total{project="proj",subscription="sub"} 0
    ams_subscription_delivered_bytes_total{project="proj",subscription="sub"} 0
    ams_subscription_delivered_messages_total{project="proj",subscription="sub"} 12
    ams_subscription_enqueued_messages_total{project="proj",subscription="sub"} 10
    ams_subscription_expired_ack_deadlines_total{project="proj",subscription="sub"} 0
    ams_subscription_info{project="proj",subscription="sub",topic="top",delivery_type="pull"} 1
    ams_subscription_last_progress_timestamp_seconds{project="proj",subscription="sub"} 1789999980
    ams_subscription_last_pull_timestamp_seconds{project="proj",subscription="sub"} 1789999995
    ams_subscription_late_acks_total{project="proj",subscription="sub"} 0
    ams_subscription_lost_messages_total{project="proj",subscription="sub",reason="retention"} 0
    ams_subscription_lost_messages_total{project="proj",subscription="sub",reason="overflow"} 0
    ams_subscription_lost_messages_total{project="proj",subscription="sub",reason="topic_deleted"} 0
    ams_subscription_lost_messages_total{project="proj",subscription="sub",reason="damage"} 0
    ams_subscription_lost_messages_total{project="proj",subscription="sub",reason="purge"} 0
    ams_subscription_lost_never_acked_messages_total{project="proj",subscription="sub"} 0
    ams_subscription_nacked_messages_total{project="proj",subscription="sub"} 0
    ams_subscription_oldest_unacked_message_timestamp_seconds{project="proj",subscription="sub"} 1789999970
    ams_subscription_outstanding_messages{project="proj",subscription="sub"} 0
    ams_subscription_pull_requests_total{project="proj",subscription="sub",outcome="messages"} 1
    ams_subscription_pull_requests_total{project="proj",subscription="sub",outcome="empty"} 0
    ams_subscription_pull_requests_total{project="proj",subscription="sub",outcome="denied"} 0
    ams_subscription_pull_requests_total{project="proj",subscription="sub",outcome="error"} 0
    ams_subscription_redelivered_messages_total{project="proj",subscription="sub"} 0
    ams_subscription_refused_acks_total{project="proj",subscription="sub"} 0
    ams_subscription_replayed_messages_total{project="proj",subscription="sub"} 0
    ams_subscription_severity{project="proj",subscription="sub"} 0
    ams_subscription_skipped_messages_total{project="proj",subscription="sub"} 0
    ams_subscription_stall_threshold_seconds{project="proj",subscription="sub"} 600
    ams_subscription_state{project="proj",subscription="sub",state="healthy",reason=""} 1
    ams_subscription_waiting_since_timestamp_seconds{project="proj",subscription="sub"} 1790000000
    ams_topic_damaged_messages{project="proj",topic="top",state="unrepaired"} 0
    ams_topic_damaged_messages{project="proj",topic="top",state="given_up"} 2
    ams_topic_last_publish_timestamp_seconds{project="proj",topic="top"} 1789999970
    ams_topic_published_bytes_total{project="proj",topic="top"} 0
    ams_topic_published_messages_total{project="proj",topic="top"} 10
    ams_topic_retained_messages{project="proj",topic="top"} 10
    ams_topic_subscriptions{project="proj",topic="top"} 1
    "#);
    for line in [
        "ams_alerter_incidents{severity=\"crit\"} 0",
        "ams_alerter_mail_configured 0",
        "ams_alerter_notifications_total{kind=\"open\",outcome=\"sent\"} 0",
        "ams_metrics_database_up 1",
        "ams_metrics_ingest_reports_total{outcome=\"accepted\"} 2",
        "ams_metrics_ingest_report_interval_seconds{instance_id=\"00000000000000b1\"} 10",
        "# TYPE ams_subscription_acked_messages_total counter",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn a_deleted_subscription_loses_its_gauges_at_once_and_its_counters_after_five_minutes() {
    let (_dir, clock, running, broker) = seeded().await;
    let deletion = json!({"format": 1, "store": STORE, "scope": PROJECT, "from": 7, "to": 8,
        "objects": [], "more": false, "deleted": [{"kind": "subscription", "id": SUB,
        "name": "sub", "by": "bob", "at": "2026-09-21T14:00:00Z"}]});
    assert_eq!(broker.directory(&deletion).await.status, 200);
    let gauge = "ams_subscription_backlog_messages{";
    let counter = "ams_subscription_acked_messages_total{project=\"proj\",subscription=\"sub\"} 7";
    let page = get(running.metrics_addr, "/metrics").await.text();
    assert!(!page.contains(gauge) && !page.contains("ams_subscription_state{"), "{page}");
    assert!(page.contains(counter), "{page}");
    clock.advance(Duration::from_secs(301));
    let page = get(running.metrics_addr, "/metrics").await.text();
    assert!(!page.contains("subscription=\"sub\""), "{page}");
    running.shutdown().await;
}

#[tokio::test]
async fn subscriptions_are_listed_with_exactly_these_keys() {
    let (_dir, _clock, running, _broker) = seeded().await;
    let page = get(running.metrics_addr, "/v1/subscriptions?project=proj").await;
    let text = serde_json::to_string_pretty(&page.json()).unwrap();
    insta::assert_snapshot!(text, @r#"
    {
      "asOf": "2026-09-21T14:13:20Z",
      "subscriptions": [
        {
          "project": "proj",
          "subscription": "sub",
          "topic": "top",
          "state": "healthy",
          "reason": null,
          "severity": "ok",
          "since": "2026-09-21T14:13:20Z",
          "backlog": 3,
          "oldestUnackedAt": "2026-09-21T14:12:50Z",
          "oldestUnackedAgeSeconds": 30,
          "stallThresholdSeconds": 600,
          "evidence": {
            "ackDeadlineSeconds": 10,
            "available": 3,
            "backlog": 3,
            "deadlineExtensions": 0,
            "deliveredSinceClock": 0,
            "deniedPulls": 0,
            "expiredDeadlines": 0,
            "headAttempts": 0,
            "lastAckAt": null,
            "lastDeliveryAt": null,
            "lastProgressAt": "2026-09-21T14:13:00Z",
            "lastPullAt": "2026-09-21T14:13:15Z",
            "lastReportAt": "2026-09-21T14:13:20Z",
            "lateAcks": 0,
            "leasesHeld": false,
            "messagesLost": 0,
            "oldestUnackedAt": "2026-09-21T14:12:50Z",
            "outstanding": 0,
            "refusedAcks": 0,
            "stallClockSeconds": 0,
            "thresholdFrom": "default",
            "thresholdSeconds": 600
          },
          "advice": ""
        }
      ]
    }
    "#);
    let of = async |query: &str| get(running.metrics_addr, query).await;
    let rows = |answer: &Answer| answer.json()["subscriptions"].as_array().unwrap().len();
    assert_eq!(rows(&of("/v1/subscriptions?project=other").await), 0);
    assert_eq!(rows(&of("/v1/subscriptions?state=healthy").await), 1);
    assert_eq!(rows(&of("/v1/subscriptions?project=&state=").await), 1, "empty is no filter");
    assert_eq!(rows(&of("/v1/subscriptions?state=not_acking").await), 0);
    assert_eq!(of("/v1/subscriptions?state=strange").await.status, 400);
    running.shutdown().await;
}

#[tokio::test]
async fn off_loopback_a_token_shows_what_its_owner_may_see() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let mut open = settings(None);
    open.listen = "0.0.0.0:0".parse().unwrap();
    let running = start(open, dir.path(), Arc::<ManualClock>::clone(&clock)).await.unwrap();
    let mut broker = Broker::new(running.ingest_addr, running.ingest_secret(), clock.wall());
    broker.report(NOW, None).await;
    broker.whole_directory(Value::Null).await;
    broker.report(NOW, Some(Facts { version: 1, head: 1, ..Facts::default() })).await;
    let base = format!("http://127.0.0.1:{}", running.metrics_addr.port());
    let look = async |path: &str, header: Option<(&str, &str)>| {
        let mut request = client().get(format!("{base}{path}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        answer(request).await
    };
    for path in ["/metrics", "/v1/subscriptions", "/metrics?key=wrong", "/metrics?key="] {
        let refused = look(path, None).await;
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.json()["error"]["status"], "UNAUTHORIZED");
    }
    assert_eq!(look("/healthz", None).await.status, 200);
    assert_ne!(look("/readyz", None).await.status, 401);
    for (path, header) in [
        ("/metrics", Some(("authorization", "Bearer anns-token"))),
        ("/metrics", Some(("x-api-key", "anns-token"))),
        ("/metrics?key=anns-token", None),
    ] {
        let seen = look(path, header).await;
        assert_eq!(seen.status, 200);
        assert!(seen.text().contains("project=\"proj\""));
        assert!(!seen.text().contains("ams_alerter"), "the service is not hers to see");
    }
    let rows = async |token: &str| {
        let page = look("/v1/subscriptions", Some(("x-api-key", token))).await;
        page.json()["subscriptions"].as_array().unwrap().len()
    };
    judged_by(async || rows("password").await == 1).await;
    assert_eq!((rows("anns-token").await, rows("bobs-token").await), (1, 0));
    let nothing = look("/metrics", Some(("x-api-key", "bobs-token"))).await;
    assert_eq!((nothing.status, nothing.text().as_str()), (200, ""), "a member of no project");
    let all = look("/metrics", Some(("x-api-key", "password"))).await.text();
    assert!(all.contains("ams_alerter_mail_configured 0") && all.contains("project=\"proj\""));
    running.shutdown().await;
}

#[tokio::test]
#[ignore = "needs promtool"]
async fn promtool_finds_nothing_to_say() {
    let (_dir, _clock, running, _broker) = seeded().await;
    let page = get(running.metrics_addr, "/metrics").await.text();
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    running.shutdown().await;
}
