//! `ams repair`: damage in a sealed file, from the failing read to the last count.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Ams, Api, FREE_PORTS, PATIENCE, page, run};

/// Files so small that a few hundred messages fill several.
const SMALL: &[(&str, &str)] = &[
    ("AMS_BROKER__STORE__EMBEDDED__FIRST_SLOT_BYTES", "131072"),
    ("AMS_BROKER__STORE__EMBEDDED__MAX_SLOT_BYTES", "262144"),
    ("AMS_BROKER__STORE__EMBEDDED__LARGEST_RECORD_BYTES", "98304"),
    ("AMS_BROKER__STORE__EMBEDDED__STATE_LOG_BYTES", "262144"),
    ("AMS_BROKER__STORE__EMBEDDED__CACHE_BYTES", "65536"),
    ("AMS_BROKER__HTTP__BODY_LIMIT", "16384"),
    ("AMS_BROKER__REPORT__EVERY", "1s"),
];
const MESSAGES: u64 = 900;
const ENTRY: u64 = 3;
const PULL: &str = "projects/P/subscriptions/t:pull";

fn text(offset: u64) -> String {
    format!("<message {offset:05}>{}", "x".repeat(900))
}

/// What waits, pulled and acknowledged until a pull brings nothing: the offsets, and the status
/// of the last pull.
async fn drain(api: &Api) -> (Vec<u64>, u16) {
    let mut found = Vec::new();
    loop {
        let body = json!({"maxMessages": "100"});
        let (status, pulled) = api.try_call(Method::POST, PULL, &body).await.unwrap();
        let Some(messages) = pulled["receivedMessages"].as_array() else { return (found, status) };
        let Some(last) = messages.last() else { return (found, status) };
        for message in messages {
            let id = message["message"]["messageId"].as_str().unwrap();
            let offset = id.parse().unwrap();
            let data = message["message"]["data"].as_str().unwrap();
            assert_eq!(STANDARD.decode(data).unwrap(), text(offset).into_bytes());
            found.push(offset);
        }
        let body = json!({"ackIds": [last["ackId"]]});
        api.post("projects/P/subscriptions/t:acknowledge", body).await;
    }
}

/// Exit code and output of the program run to its end.
fn ran(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(dir, arguments, SMALL);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// The file and place of `what` in the store of `data`.
fn find(data: &Path, what: &str) -> (std::path::PathBuf, usize) {
    for file in std::fs::read_dir(data.join("broker")).unwrap() {
        let path = file.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        let at = content.windows(what.len()).position(|window| window == what.as_bytes());
        if let Some(at) = at {
            return (path, at);
        }
    }
    panic!("{what} is nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_given_up_by_name_and_counted_and_nothing_else_is() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let ams = Ams::start(&data, FREE_PORTS, SMALL);
    let api = ams.api();
    api.furnish(&["t"]).await;
    for base in (0..MESSAGES).step_by(3) {
        let message = |offset| json!({"data": STANDARD.encode(text(offset))});
        let messages: Vec<Value> = (base..base + ENTRY).map(message).collect();
        api.post("projects/P/topics/t:publish", json!({"messages": messages})).await;
    }
    ams.terminate();
    let (code, said) = ran(&data, &["repair"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing to give up"), "{said}");

    // One bit of a message in a file that was sealed long ago.
    let (file, at) = find(&data, "<message 00031>");
    let mut content = std::fs::read(&file).unwrap();
    content[at + 20] ^= 1;
    std::fs::write(&file, &content).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let (code, said) = ran(&data, &["check"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&name) && said.contains("messages 30 to 33"), "{said}");

    // It starts, delivers what is before, and then says no more than that it cannot.
    let ams = Ams::start(&data, FREE_PORTS, SMALL);
    let (found, status) = drain(&ams.api()).await;
    assert_eq!((found, status), ((0..30).collect(), 500));
    assert_eq!(ran(&data, &["repair"]).0, Some(5), "not while it runs");
    ams.terminate();

    let (code, said) = ran(&data, &["repair", "--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    let lost = "messages 30 to 32 of /projects/P/topics/t";
    assert!(said.contains(lost) && said.contains("of them 3 not acknowledged by t"), "{said}");
    assert_eq!(ran(&data, &["check"]).0, Some(3), "a dry run changes nothing");
    let (code, said) = ran(&data, &["repair"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(lost) && said.contains("given up"), "{said}");
    let (code, said) = ran(&data, &["check"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no other damage"), "{said}");
    let (code, said) = ran(&data, &["repair"]);
    assert_eq!((code, said.contains("nothing to give up")), (Some(0), true), "{said}");
    let copy = home.path().join("copy");
    let (code, said) = ran(&data, &["backup", copy.to_str().unwrap()]);
    assert_eq!((code, said.contains("no other damage")), (Some(0), true), "{said}");

    let ams = Ams::start(&data, FREE_PORTS, SMALL);
    let api = ams.api();
    let (found, status) = drain(&api).await;
    assert_eq!((found, status), ((33..MESSAGES).collect(), 200));
    let metrics = ams.said("metrics ").to_owned();
    let shown = async {
        loop {
            let text = page(&metrics).await.unwrap();
            let mut lost = text.lines().filter(|line| {
                line.starts_with("ams_subscription_lost_messages_total{")
                    && line.contains(r#"reason="damage""#)
            });
            if lost.any(|line| line.ends_with(" 3")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("the loss is counted");
    ams.terminate();
}
