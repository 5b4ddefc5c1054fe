//! What a user sees and finds after `ams`, and again after a stop.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Ams, FREE_PORTS, PATIENCE, page, run};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_start_says_where_everything_is_and_the_second_finds_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let ams = Ams::start(&dir, FREE_PORTS, &[]);

    // The surface: scripts read these lines.
    let (api, metrics) = (ams.said("API ").to_owned(), ams.said("metrics ").to_owned());
    let shown = dir.display();
    let summary =
        format!("data {shown} (new) | API {api} (CA {shown}/tls/ca.pem) | metrics {metrics}");
    let token_line = format!("service admin token: {shown}/admin.token");
    assert_eq!(ams.lines, [summary.as_str(), token_line.as_str(), "ready"]);
    assert!(api.starts_with("https://localhost:") && !api.ends_with(":0"), "{api}");
    assert!(metrics.starts_with("http://localhost:") && metrics.ends_with("/metrics"), "{metrics}");

    for secret in ["token.key", "ingest.secret", "admin.token", "tls/ca.key", "tls/server.key"] {
        assert_eq!(mode(&dir.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&dir), 0o700);
    let token = std::fs::read_to_string(dir.join("admin.token")).unwrap();
    assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "no newline");
    assert!(!ams.lines.join("").contains(&token));

    // Publish, pull, acknowledge, trusting ca.pem and nothing else.
    let client = ams.api();
    client.furnish(&["t"]).await;
    let message = json!({"data": "aGVsbG8=", "attributes": {"k": "v"}});
    let body = json!({"messages": [message, message]});
    let published = client.post("projects/P/topics/t:publish", body).await;
    assert_eq!(published, json!({"messageIds": ["0", "1"]}));
    let one = json!({"maxMessages": "1"});
    let pulled = client.post("projects/P/subscriptions/t:pull", one.clone()).await;
    assert_eq!(pulled["receivedMessages"][0]["message"]["data"], "aGVsbG8=");
    let ack = json!({"ackIds": [pulled["receivedMessages"][0]["ackId"]]});
    client.post("projects/P/subscriptions/t:acknowledge", ack).await;

    let origin = metrics.strip_suffix("/metrics").unwrap();
    assert!(page(&metrics).await.unwrap().contains("ams_metrics_database_up 1"));
    page(&format!("{origin}/healthz")).await.unwrap();
    page(&format!("{origin}/readyz")).await.unwrap();

    // Nobody else gets the directory, whichever part of it he wants.
    for what in [&[][..], &["broker"], &["metrics-svc"]] {
        let ports: &[&str] = match what {
            ["broker"] => &FREE_PORTS[..2],
            ["metrics-svc"] => &FREE_PORTS[2..],
            _ => FREE_PORTS,
        };
        let second = run(&dir, &[what, ports].concat(), &[]);
        let text = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(5), "{what:?}: {text}");
        assert!(text.contains("is in use by another process"), "{text}");
        assert!(text.contains(dir.to_str().unwrap()), "{text}");
        assert!(second.stdout.is_empty());
    }

    let ca = std::fs::read(dir.join("tls/ca.pem")).unwrap();
    let (status, took) = ams.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");

    let ams = Ams::start(&dir, FREE_PORTS, &[]);
    assert!(ams.lines[0].starts_with(&format!("data {shown} | API https://")), "{:?}", ams.lines);
    assert_eq!(std::fs::read_to_string(dir.join("admin.token")).unwrap(), token);
    assert_eq!(std::fs::read(dir.join("tls/ca.pem")).unwrap(), ca);
    let pulled = ams.api().post("projects/P/subscriptions/t:pull", one).await;
    assert_eq!(pulled["receivedMessages"][0]["message"]["messageId"], "1");
    assert_eq!(pulled["receivedMessages"][0]["message"]["attributes"], json!({"k": "v"}));
}

#[tokio::test]
async fn a_waiting_pull_and_an_idle_connection_hold_no_stop_up() {
    let home = tempfile::tempdir().unwrap();
    let ams = Ams::start(&home.path().join("data"), FREE_PORTS, &[]);
    let client = ams.api();
    client.furnish(&["t"]).await;
    let puller = client.clone();
    let tasks = tokio_util::task::TaskTracker::new();
    let waiting = tasks.spawn(async move {
        let body = json!({"maxMessages": "1", "waitSeconds": 60});
        puller.try_call(reqwest::Method::POST, "projects/P/subscriptions/t:pull", &body).await
    });
    // It waits once its admission is counted; asking twice keeps a second connection open.
    client.call(reqwest::Method::GET, "projects/P", json!({})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    let (status, took) = tokio::task::spawn_blocking(move || ams.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(8), "{took:?}");
    let answer = waiting.await.unwrap();
    assert_eq!(answer.unwrap(), (200, json!({"receivedMessages": []})));
}

#[tokio::test]
async fn a_plain_listener_is_told_too_and_ctrl_c_ends_with_0() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    // A name without two underscores is somebody else's.
    let set = [("AMS_BROKER__PLAIN_LISTEN", "127.0.0.1:0"), ("AMS_TOKEN", "x")];
    let ams = Ams::start(&dir, &arguments, &set);
    let plain = ams.said("plain API ").to_owned();
    assert!(plain.starts_with("http://localhost:") && !plain.ends_with(":0"), "{plain}");
    assert_ne!(plain, ams.said("| API ").replace("https", "http"));
    let status = page(&format!("{plain}/v1/status")).await.unwrap();
    assert!(status.contains("\"status\": \"ok\""), "{status}");
    ams.api().furnish(&["t"]).await;
    let (status, took) = ams.interrupt();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let ams = Ams::start(&dir, &arguments, &[]);
    assert!(ams.lines.iter().all(|line| !line.contains("plain")), "{:?}", ams.lines);
    ams.api().call(reqwest::Method::GET, "projects/P/topics/t", json!({})).await;
}

#[tokio::test]
async fn the_admins_token_is_in_its_file_after_it_was_refreshed_too() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let file = dir.join("admin.token");
    let ams = Ams::start(&dir, &[&["broker"], &FREE_PORTS[..2]].concat(), &[]);
    let token = |answer: &serde_json::Value| answer["token"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let before = ams.api();
        before.post("users/bob", json!({})).await;
        let bobs = token(&before.post("users/bob:refreshToken", json!({})).await);
        let fresh = token(&before.post("users/admin:refreshToken", json!({})).await);
        // It is written behind the answer.
        let begun = Instant::now();
        while std::fs::read_to_string(&file).unwrap() != fresh && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), fresh);
        assert_ne!(fresh, bobs);
        assert_eq!(mode(&file), 0o600);
        let refused = before.try_call(reqwest::Method::GET, "users/bob", &json!({})).await.unwrap();
        assert_eq!(refused.0, 401, "{refused:?}");
        ams.api().call(reqwest::Method::DELETE, "users/bob", json!({})).await;
    }
}
