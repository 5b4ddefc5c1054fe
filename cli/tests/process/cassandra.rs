//! The whole broker on a real Apache Cassandra, whose contact point is in `AMS_TEST_CASSANDRA`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Ams, Api, FREE_PORTS};

const PUBLISH: &str = "projects/P/topics/t:publish";
const PULL: &str = "projects/P/subscriptions/t:pull";

async fn publish(client: &Api, data: &[&str]) {
    let messages: Vec<Value> = data.iter().map(|data| json!({"data": data})).collect();
    client.post(PUBLISH, json!({"messages": messages})).await;
}

/// What waits, and the ackId of its last.
async fn pull(client: &Api) -> (Vec<String>, Value) {
    let pulled = client.post(PULL, json!({"maxMessages": "100"})).await;
    let messages = pulled["receivedMessages"].as_array().unwrap();
    let data = messages.iter().map(|one| one["message"]["data"].as_str().unwrap().to_owned());
    let last = messages.last().map_or(Value::Null, |last| last["ackId"].clone());
    (data.collect(), last)
}

#[expect(clippy::disallowed_methods, reason = "the node is named from outside")]
fn node() -> String {
    std::env::var("AMS_TEST_CASSANDRA").expect("AMS_TEST_CASSANDRA = HOST:PORT")
}

#[tokio::test]
#[ignore = "needs Cassandra"]
async fn what_a_client_was_told_is_there_after_a_kill() {
    let node = node();
    let keyspace = format!("w{}", std::process::id());
    let set = [
        ("AMS_BROKER__STORE__SCYLLA__CONTACT_POINTS", node.as_str()),
        ("AMS_BROKER__STORE__SCYLLA__KEYSPACE", &keyspace),
        ("AMS_BROKER__STORE__SCYLLA__REPLICATION", "1"),
    ];
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();

    let mut ams = Ams::start(&dir, &arguments, &set);
    let client = ams.api();
    client.furnish(&["t"]).await;
    let large = "QUFB".repeat(20_000);
    publish(&client, &["MA==", "MQ==", "Mg=="]).await;
    publish(&client, &[&large]).await;
    let (data, _) = pull(&client).await;
    assert_eq!(data, ["MA==", "MQ==", "Mg==", &large]);
    let body = json!({"maxMessages": "2"});
    let pulled = client.post(PULL, body).await;
    let second = &pulled["receivedMessages"][1]["ackId"];
    client.post("projects/P/subscriptions/t:acknowledge", json!({"ackIds": [second]})).await;
    ams.kill();

    let ams = Ams::start(&dir, &arguments, &set);
    let client = ams.api();
    let (data, last) = pull(&client).await;
    assert_eq!(data, ["Mg==", &large]);
    publish(&client, &["Mw=="]).await;
    client.post("projects/P/subscriptions/t:acknowledge", json!({"ackIds": [last]})).await;
    let offsets = client.call(Method::GET, "projects/P/subscriptions/t:offsets", Value::Null).await;
    assert_eq!([&offsets["max"], &offsets["current"]], [5, 4]);
    assert!(!dir.join("broker/e000").exists(), "the embedded store is not made");
    assert_eq!(ams.terminate().0.code(), Some(0));

    // A clean end too; and what is deleted is gone.
    let ams = Ams::start(&dir, &arguments, &set);
    let client = ams.api();
    assert_eq!(pull(&client).await.0, ["Mw=="]);
    client.call(Method::DELETE, "projects/P/topics/t", Value::Null).await;
    assert_eq!(ams.terminate().0.code(), Some(0));
    let ams = Ams::start(&dir, &arguments, &set);
    let topics = ams.api().call(Method::GET, "projects/P/topics", Value::Null).await;
    assert_eq!(topics["topics"], json!([]));
}
