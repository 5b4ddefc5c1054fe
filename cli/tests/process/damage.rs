//! Damage to what the running program keeps: found before anybody asks, said, and no more lost than
//! was hit.

use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Ams, FREE_PORTS, PATIENCE, page, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_a_full_file_is_found_and_told_before_somebody_needs_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let ams = Ams::start(&data, FREE_PORTS, &[]);
    let api = ams.api();
    // Without a subscription: nobody reads it.
    api.furnish(&[]).await;
    api.call(Method::PUT, "projects/P/topics/t", json!({})).await;
    // The first file is full with the first of them.
    for _ in 0..3 {
        let messages = json!([{"data": "-".repeat(8 << 20)}]);
        api.post("projects/P/topics/t:publish", json!({"messages": messages})).await;
    }
    ams.terminate();
    let slot = std::fs::File::options().read(true).write(true).open(data.join("broker/e000"));
    let slot = slot.unwrap();
    let mut byte = [0];
    slot.read_exact_at(&mut byte, 1 << 20).unwrap();
    assert_eq!(byte, *b"-");
    slot.write_all_at(b"+", 1 << 20).unwrap();

    let rate = ("AMS_BROKER__STORE__EMBEDDED__SCRUB_BYTES_PER_SECOND", "268435456");
    let ams = Ams::start(&data, FREE_PORTS, &[rate]);
    let metrics = ams.said("metrics ").to_owned();
    let until = Instant::now() + PATIENCE;
    let told = r#"ams_broker_store_faults_total{reason="damaged"} 1"#;
    while !page(&metrics).await.unwrap().lines().any(|line| line == told) {
        assert!(Instant::now() < until, "nobody was told");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("stored messages are damaged") && log.contains("e000"), "{log}");

    // Who asks for it learns no more than that; what follows it is there.
    let api = ams.api();
    let body = json!({"topic": "projects/P/topics/t", "ackDeadlineSeconds": 600});
    api.call(Method::PUT, "projects/P/subscriptions/s", body).await;
    for (offset, answer) in [(0, 500), (1, 200)] {
        api.post("projects/P/subscriptions/s:modifyOffset", json!({"offset": offset})).await;
        let (pull, body) = ("projects/P/subscriptions/s:pull", json!({"maxMessages": "1"}));
        assert_eq!(api.try_call(Method::POST, pull, &body).await.unwrap().0, answer);
    }
    ams.terminate();
    let checked = run(&data, &["check"], &[]);
    assert_eq!(checked.status.code(), Some(3));
}
