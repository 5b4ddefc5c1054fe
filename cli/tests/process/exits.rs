//! Ends other than a good one: each has its code and names what is wrong.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Ams, FREE_PORTS, page, run};

/// Code and last words.
fn ended(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run(dir, arguments, environment);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ready"));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_bad_setting_ends_with_2_and_names_its_key_and_source() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let file = home.path().join("ams.toml");
    std::fs::write(&file, "[broker.report]\nevry = '2s'\n").unwrap();
    let file = file.to_str().unwrap();
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[], &[("AMS_BROKER__LISTNE", "x")], &["broker.listne", "AMS_BROKER__LISTNE"]),
        (&["broker"], &[("AMS_BROKER__REPORT__EVERY", "soon")], &["broker.report.every", "soon"]),
        (&["--config", file], &[], &["broker.report.evry", file]),
        (&["--check-config", "--config", file], &[], &["broker.report.evry", file]),
        (&["--listen", "nowhere"], &[], &["--listen", "nowhere"]),
        (&["--lisen", "127.0.0.1:0"], &[], &["--lisen"]),
        (&["metrics-svc", "--listen", "127.0.0.1:0"], &[], &["--listen"]),
        (&["broker"], &[("AMS_BROKER__TLS__CERT_FILE", "/x")], &["tls.key_file"]),
        (&["broker"], &[("AMS_BROKER__REPORT__URL", "ftp://x")], &["broker.report.url", "ftp://x"]),
        (&[], &[("AMS_LOG__FILTER", "=,=")], &["log.filter"]),
        (&["alert", "test", "--to", "a@b.org"], &[], &["AMS_METRICS__SMTP__URL"]),
    ];
    for (arguments, environment, expected) in cases {
        let ports: &[&str] = match *arguments {
            ["broker"] => &FREE_PORTS[..2],
            _ => &[],
        };
        let (code, text) = ended(&dir, &[ports, arguments].concat(), environment);
        assert_eq!(code, Some(2), "{arguments:?} {environment:?}: {text}");
        for word in *expected {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn the_checked_configuration_is_printed_without_secrets_and_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let set = [
        ("AMS_METRICS__SMTP__URL", "smtps://me:hunter2@mail.example.org"),
        ("AMS_METRICS__ALERT__TO", "a@example.org,b@example.org"),
        ("AMS_BROKER__LISTEN", "[::1]:9000"),
    ];
    let output = run(&dir, &["--check-config"], &set);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("listen = \"[::1]:9000\""), "{text}");
    assert!(text.contains("smtps://me:***@mail.example.org"), "{text}");
    assert!(text.contains("\"b@example.org\""), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!dir.exists());
}

#[test]
fn a_port_in_use_ends_with_1_and_leaves_the_directory_free() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["--listen", &address, "--metrics-listen", "127.0.0.1:0"];
    let (code, text) = ended(&dir, &arguments, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&address), "{text}");
    drop(taken);
    Ams::start(&dir, FREE_PORTS, &[]);
}

#[tokio::test]
async fn a_damaged_directory_ends_with_3_and_names_the_file() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let ams = Ams::start(&dir, &[&["broker"], &FREE_PORTS[..2]].concat(), &[]);
    let client = ams.api();
    client.furnish(&["t"]).await;
    for _ in 0..5 {
        let body = json!({"messages": [{"data": "aGVsbG8="}]});
        client.post("projects/P/topics/t:publish", body).await;
    }
    assert_eq!(ams.terminate().0.code(), Some(0));

    // The first frame of the entry log begins behind the header page.
    let flip = || {
        let path = dir.join("broker/e000");
        let mut file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(4_096 + 50)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(4_096 + 50)).unwrap();
        file.write_all(&[byte[0] ^ 0x10]).unwrap();
    };
    flip();
    for what in [&["broker"][..], &[]] {
        let ports = if what.is_empty() { FREE_PORTS } else { &FREE_PORTS[..2] };
        let (code, text) = ended(&dir, &[what, ports].concat(), &[]);
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("e000"), "{text}");
    }
    flip();
    let key = dir.join("token.key");
    std::fs::rename(&key, home.path().join("key")).unwrap();
    let (code, text) = ended(&dir, &[&["broker"], &FREE_PORTS[..2]].concat(), &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("token.key"), "{text}");
    std::fs::rename(home.path().join("key"), &key).unwrap();
    Ams::start(&dir, &[&["broker"], &FREE_PORTS[..2]].concat(), &[]);
}

#[tokio::test]
async fn a_store_that_stops_ends_with_4_and_the_next_start_finds_what_was_answered() {
    for what in [&["broker"][..], &[]] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        let ports = if what.is_empty() { FREE_PORTS } else { &FREE_PORTS[..2] };
        let arguments = [what, ports].concat();
        let ams = Ams::start_limitable(&dir, &arguments);
        let client = ams.api();
        client.furnish(&["t"]).await;
        ams.limit_files(512 * 1024);
        let body = json!({"messages": [{"data": "A".repeat(100_000)}]});
        let mut answered = 0;
        let refused = loop {
            let path = "projects/P/topics/t:publish";
            match client.try_call(reqwest::Method::POST, path, &body).await {
                Ok((200, _)) => answered += 1,
                // It may be gone already when its answer is asked for.
                other => break other.map_or(503, |(status, _)| status),
            }
            assert!(answered < 100, "the limit is not felt");
        };
        assert_eq!(refused, 503);
        let begun = Instant::now();
        assert_eq!(ams.end().code(), Some(4), "{what:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

        let ams = Ams::start(&dir, &arguments, &[]);
        let path = "projects/P/subscriptions/t:offsets";
        let offsets = ams.api().call(reqwest::Method::GET, path, json!(null)).await;
        let kept = offsets["max"].as_u64().unwrap();
        assert!(answered > 0 && (answered..=answered + 1).contains(&kept), "{answered} {kept}");
    }
}

#[tokio::test]
async fn a_broker_apart_tells_metrics_svc_at_last_that_its_store_has_stopped() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let arguments = [&["metrics-svc"], &FREE_PORTS[2..]].concat();
    let metrics = Ams::start(&dir, &arguments, &[("AMS_METRICS__INGEST__LISTEN", "127.0.0.1:0")]);
    let file = home.path().join("ams.toml");
    let url = metrics.said("ingest ");
    std::fs::write(&file, format!("[broker.report]\nurl = '{url}'\nevery = '10m'\n")).unwrap();
    let arguments = ["broker", "--config", file.to_str().unwrap()];
    let broker = Ams::start_limitable(&dir, &[&arguments[..], &FREE_PORTS[..2]].concat());
    let client = broker.api();
    client.furnish(&["t"]).await;
    broker.limit_files(512 * 1024);
    let body = json!({"messages": [{"data": "A".repeat(100_000)}]});
    let path = "projects/P/topics/t:publish";
    while let Ok((200, _)) = client.try_call(reqwest::Method::POST, path, &body).await {}
    assert_eq!(broker.end().code(), Some(4));
    let page = page(metrics.said("metrics ")).await.unwrap();
    assert!(page.contains("ams_broker_store_faults_total{reason=\"stopped\"} 1\n"), "{page}");
}
