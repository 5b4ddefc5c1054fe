//! Either program killed at any moment: no count is lost, none is doubled.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Ams, Api, Dice, FREE_PORTS, PATIENCE, page};

const ROUNDS: u64 = 8;

/// What the answers say, and what a call that died without one may have done besides.
#[derive(Debug, Default)]
struct Books {
    published: u64,
    delivered: u64,
    acked: u64,
    maybe_published: u64,
    maybe_delivered: u64,
    maybe_acked: u64,
}

/// The counters of the one topic and subscription; `None` while one of them is not shown.
async fn shown(metrics: &str) -> Option<[u64; 3]> {
    let text = page(metrics).await.ok()?;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    Some([
        value("ams_topic_published_messages_total")?,
        value("ams_subscription_delivered_messages_total")?,
        value("ams_subscription_acked_messages_total")?,
    ])
}

async fn reports(metrics: &str) -> u64 {
    let text = page(metrics).await.unwrap();
    let line = r#"ams_metrics_ingest_reports_total{outcome="accepted"} "#;
    text.lines().find_map(|found| found.strip_prefix(line)?.parse().ok()).unwrap_or_default()
}

/// The broker process that metrics-svc heard last.
async fn heard(metrics: &str) -> Option<String> {
    let text = page(metrics).await.ok()?;
    let line = "ams_metrics_ingest_report_interval_seconds{instance_id=\"";
    let rest = text.lines().find_map(|found| found.strip_prefix(line))?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Publishes, pulls and acknowledges one after the other until a call dies or `until` comes.
async fn work(client: &Api, books: &mut Books, dice: &mut Dice, until: Instant) {
    while Instant::now() < until {
        let count = dice.roll(1, 9);
        let messages = vec![json!({"data": "aGVsbG8="}); usize::try_from(count).unwrap()];
        let body = json!({"messages": messages});
        let path = "projects/P/topics/t:publish";
        let Ok((200, _)) = client.try_call(Method::POST, path, &body).await else {
            books.maybe_published = count;
            return;
        };
        books.published += count;
        // All that wait are handed out, at most the number asked for.
        let expected = dice.roll(1, 9).min(books.published - books.acked);
        let body = json!({"maxMessages": expected.to_string()});
        let path = "projects/P/subscriptions/t:pull";
        let Ok((200, pulled)) = client.try_call(Method::POST, path, &body).await else {
            books.maybe_delivered = expected;
            return;
        };
        let pulled: &Vec<Value> = pulled["receivedMessages"].as_array().unwrap();
        books.delivered += pulled.len() as u64;
        let body = json!({"ackIds": [pulled.last().unwrap()["ackId"]]});
        let path = "projects/P/subscriptions/t:acknowledge";
        let Ok((200, _)) = client.try_call(Method::POST, path, &body).await else {
            books.maybe_acked = pulled.len() as u64;
            return;
        };
        books.acked += pulled.len() as u64;
    }
}

/// Waits until `/metrics` shows what another process than `before` reported and agrees with the
/// books, and enters what the call that died did: until then that is still the past.
async fn settle(metrics: &str, before: Option<String>, books: &mut Books) {
    let begun = Instant::now();
    let mut last = None;
    while begun.elapsed() < PATIENCE {
        if heard(metrics).await == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        last = shown(metrics).await;
        if let Some([published, delivered, acked]) = last {
            let agrees = |shown: u64, sure: u64, maybe: u64| shown == sure || shown == sure + maybe;
            if agrees(published, books.published, books.maybe_published)
                && agrees(delivered, books.delivered, books.maybe_delivered)
                && agrees(acked, books.acked, books.maybe_acked)
            {
                *books = Books { published, delivered, acked, ..Books::default() };
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{books:?} but /metrics says {last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_exact_whichever_program_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let watch = |dir: &Path, ingest: &str| {
        let arguments = [&["metrics-svc"], &FREE_PORTS[2..]].concat();
        Ams::start(dir, &arguments, &[("AMS_METRICS__INGEST__LISTEN", ingest)])
    };
    let mut metrics = watch(&dir, "127.0.0.1:0");
    let url = metrics.said("ingest ").to_owned();
    let ingest = url.strip_prefix("http://").unwrap();
    let serve = || {
        let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
        let set = [
            ("AMS_BROKER__REPORT__URL", url.as_str()),
            ("AMS_BROKER__REPORT__EVERY", "100ms"),
            // Nobody is there: reports go past any proxy.
            ("http_proxy", "http://127.0.0.1:1"),
            ("ALL_PROXY", "http://127.0.0.1:1"),
        ];
        Ams::start(&dir, &arguments, &set)
    };
    let mut broker = serve();
    broker.api().furnish(&["t"]).await;

    let (mut books, mut dice) = (Books::default(), Dice(815));
    for round in 0..ROUNDS {
        let client = broker.api();
        let mut before = None;
        while round % 2 == 0 && before.is_none() {
            before = heard(metrics.said("metrics ")).await;
        }
        let length = Duration::from_millis(dice.roll(50, 500));
        let (work_until, kill_at) = (Instant::now() + length * 3, Instant::now() + length);
        let kill = async {
            tokio::time::sleep_until(kill_at.into()).await;
            if round % 2 == 0 { broker.kill() } else { metrics.kill() }
        };
        if round % 2 == 0 {
            tokio::join!(work(&client, &mut books, &mut dice, work_until), kill);
            broker = serve();
        } else {
            tokio::join!(work(&client, &mut books, &mut dice, work_until), kill);
            metrics = watch(&dir, ingest);
        }
        settle(metrics.said("metrics "), before, &mut books).await;
    }

    // What the programs themselves hold says the same, and later reports change nothing.
    let client = broker.api();
    let offsets = client.call(Method::GET, "projects/P/subscriptions/t:offsets", Value::Null).await;
    assert_eq!([&offsets["max"], &offsets["current"]], [books.published, books.acked]);
    let (page, heard) = (metrics.said("metrics "), reports(metrics.said("metrics ")).await);
    let begun = Instant::now();
    while reports(page).await < heard + 3 {
        assert!(begun.elapsed() < PATIENCE, "no more reports come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let expected = [books.published, books.delivered, books.acked];
    assert_eq!(shown(page).await, Some(expected));
    assert!(expected.iter().all(|count| *count > 0), "{expected:?}");
    println!("{ROUNDS} kills: published, delivered, acked = {expected:?}");
}
