//! Backup, restore and check as an operator runs them.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Ams, Api, FREE_PORTS, run};

async fn publish(api: &Api, count: usize) {
    let messages = vec![json!({"data": "aGVsbG8="}); count];
    api.post("projects/P/topics/t:publish", json!({"messages": messages})).await;
}

async fn offsets(api: &Api) -> Value {
    api.call(Method::GET, "projects/P/subscriptions/t:offsets", Value::Null).await
}

/// Runs the program; its exit code, output and last words.
fn ran(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(dir, arguments, &[]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_copied_while_it_serves_and_restored_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let ams = Ams::start(&path("data"), FREE_PORTS, &[]);
    let api = ams.api();
    api.furnish(&["t"]).await;
    publish(&api, 30).await;
    api.post("projects/P/subscriptions/t:pull", json!({"maxMessages": "10"})).await;
    let acked = json!({"ackIds": ["projects/P/subscriptions/t:9"]});
    api.post("projects/P/subscriptions/t:acknowledge", acked).await;

    let (code, out, _) = ran(&path("data"), &["backup", &text("copy"), "--dry-run"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("would be copied") && !path("copy").exists(), "{out}");
    let (code, out, _) = ran(&path("data"), &["backup", &text("copy")]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("no damage found") && out.contains("token.key"), "{out}");
    let (code, _, said) = ran(&path("data"), &["backup", &text("copy")]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not empty"), "{said}");
    let (code, _, said) = ran(&path("data"), &["check"]);
    assert_eq!(code, Some(5), "a store that runs is checked by its backup: {said}");
    // Whoever finds the backup finds neither the key nor the token.
    assert!(!path("copy").join("token.key").exists());
    publish(&api, 5).await;
    ams.terminate();

    let (code, out, _) = ran(&path("data"), &["check"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("1 topics") && out.contains("no damage found"), "{out}");
    let (code, out, _) = ran(&path("data"), &["check", &text("copy")]);
    assert_eq!(code, Some(0), "{out}");
    let (code, out, _) = ran(&path("other"), &["restore", &text("copy"), "--dry-run"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(!path("other").exists());
    let (code, out, _) = ran(&path("other"), &["restore", &text("copy")]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("token.key"), "{out}");
    let (code, _, said) = ran(&path("other"), &["restore", &text("copy")]);
    assert_eq!(code, Some(2), "{said}");

    std::fs::copy(path("data/token.key"), path("other/token.key")).unwrap();
    let ams = Ams::start(&path("other"), FREE_PORTS, &[]);
    let api = ams.api();
    assert_eq!(offsets(&api).await, json!({"max": 30, "min": 0, "current": 10}));
    let pulled = api.post("projects/P/subscriptions/t:pull", json!({"maxMessages": "100"})).await;
    assert_eq!(pulled["receivedMessages"].as_array().unwrap().len(), 20);
    publish(&api, 1).await;
    ams.terminate();

    // The old store is copied when it does not run, too, and holds what came later.
    let (code, out, _) = ran(&path("data"), &["backup", &text("second")]);
    assert_eq!(code, Some(0), "{out}");
    let slot = path("second/e000");
    let mut bad = std::fs::read(&slot).unwrap();
    let last = bad.len() - 8;
    bad[last] ^= 1;
    std::fs::write(&slot, bad).unwrap();
    for arguments in [&["check", &text("second")], &["restore", &text("second")]] {
        let (code, _, said) = ran(&path("third"), arguments);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("e000"), "{said}");
    }
    assert!(!path("third/broker/store").exists());
}
