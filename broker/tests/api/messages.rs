//! Publish, pull, acknowledge: exact bytes, errors in order, what comes back is what went in.

use broker::clock::Clock as _;
use std::time::Duration;

use broker::http::Settings;
use broker::service::Verb;
use broker::store::{Call, Fault, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use crate::api::World;

const PUBLISH: &str = "/v1/projects/P/topics/t:publish";
const PULL: &str = "/v1/projects/P/subscriptions/s:pull";
const ACK: &str = "/v1/projects/P/subscriptions/s:acknowledge";

#[actix_web::test]
async fn what_was_published_is_pulled_and_acknowledged() {
    let World { api, maker, eater, .. } = World::new().await;
    let empty = "{\n   \"receivedMessages\": []\n}";
    api.call("POST", PULL, &eater, b"{}").await.is(empty);
    api.clock.advance(Duration::from_nanos(786_127_990));
    let body = r#"{"messages": [
        {"attributes": {"foo": "bar", "a": "<&>"}, "data": "YmFzZTY0ZW5jb2RlZA=="},
        {"data": "msg 1", "attributes": {}, "messageId": "77", "publishTime": "never"},
        null]}"#;
    let published = api.call("POST", PUBLISH, &maker, body.as_bytes()).await;
    published.is("{\n   \"messageIds\": [\n      \"0\",\n      \"1\",\n      \"2\"\n   ]\n}");
    let pulled = api.call("POST", PULL, &eater, br#"{"maxMessages": "5"}"#).await;
    let lines = [
        "{",
        r#"   "receivedMessages": ["#,
        r#"      {"#,
        r#"         "ackId": "projects/P/subscriptions/s:0","#,
        r#"         "message": {"#,
        r#"            "messageId": "0","#,
        r#"            "attributes": {"#,
        r#"               "a": "\u003c\u0026\u003e","#,
        r#"               "foo": "bar""#,
        r#"            },"#,
        r#"            "data": "YmFzZTY0ZW5jb2RlZA==","#,
        r#"            "publishTime": "2020-11-19T00:00:00.78612799Z""#,
        r#"         }"#,
        r#"      },"#,
        r#"      {"#,
        r#"         "ackId": "projects/P/subscriptions/s:1","#,
        r#"         "message": {"#,
        r#"            "messageId": "1","#,
        r#"            "data": "msg 1","#,
        r#"            "publishTime": "2020-11-19T00:00:00.78612799Z""#,
        r#"         }"#,
        r#"      },"#,
        r#"      {"#,
        r#"         "ackId": "projects/P/subscriptions/s:2","#,
        r#"         "message": {"#,
        r#"            "messageId": "2","#,
        r#"            "data": "","#,
        r#"            "publishTime": "2020-11-19T00:00:00.78612799Z""#,
        r#"         }"#,
        r#"      }"#,
        r#"   ]"#,
        "}",
    ];
    pulled.is(&lines.join("\n"));
    let ids = br#"{"ackIds": ["projects/P/subscriptions/s:0", "projects/P/subscriptions/s:2"]}"#;
    api.call("POST", ACK, &eater, ids).await.is("{}");
    api.call("POST", PULL, &eater, b"{}").await.is(empty);
    for (verb, ok) in [(Verb::Publish, 1), (Verb::Pull, 3), (Verb::Acknowledge, 1)] {
        let calls = api.broker.calls(verb);
        assert_eq!((calls.ok, calls.refused, calls.fault), (ok, 0, 0), "{verb:?}");
    }
}

#[actix_web::test]
async fn nothing_published_is_lawful() {
    let World { api, .. } = World::new().await;
    let before = api.contents().await;
    for body in ["{}", "null", r#"{"messages": null}"#, r#"{"messages": []}"#, r#"{"other": 1}"#] {
        api.post(PUBLISH, body).await.is("{\n   \"messageIds\": []\n}");
    }
    assert_eq!(api.contents().await, before);
}

#[actix_web::test]
async fn publishing_checks_topic_acl_body_and_limits() {
    let world = World::with(Settings {
        messages_per_request: 3,
        attributes_per_message: 2,
        ..Settings::default()
    })
    .await;
    let World { api, maker, .. } = &world;
    let missing = api.call("POST", "/v1/projects/P/topics/no:publish", maker, b"{").await;
    missing.fails(404, "NOT_FOUND", "Topic doesn't exist");
    api.put("/v1/projects/P/topics/other", "").await.ok();
    let denied = api.call("POST", "/v1/projects/P/topics/other:publish", maker, b"{").await;
    denied.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
    let before = api.contents().await;
    for bad in [
        "",
        "[]",
        "1",
        "{",
        r#"{"messages": {}}"#,
        r#"{"messages": [1]}"#,
        r#"{"messages": ["x"]}"#,
        r#"{"messages": [[]]}"#,
        r#"{"messages": [{"data": 1}]}"#,
        r#"{"messages": [{"data": {}}]}"#,
        r#"{"messages": [{"messageId": 1}]}"#,
        r#"{"messages":[{"attributes":[{"key":"a","value":"b"}],"data":"x"}]}"#,
        r#"{"messages": [{"attributes": {"a": 1}}]}"#,
        r#"{"messages": [{"attributes": "a"}]}"#,
        r#"{"messages": [{"data": "\ud800"}]}"#,
        r#"{"messages": [{"attributes": {"a": "\udc00x"}}]}"#,
        r#"{"messages": [{}]} {}"#,
        r#"{"messages": [{}],}"#,
    ] {
        api.post(PUBLISH, bad).await.invalid("Invalid Message Arguments");
    }
    let four = api.post(PUBLISH, r#"{"messages": [{}, {}, {}, {}]}"#).await;
    four.invalid("Too many messages: 4, the limit is 3");
    let three = r#"{"messages": [{}, {"attributes": {"a": "", "b": "", "c": "", "d": ""}}]}"#;
    api.post(PUBLISH, three).await.invalid("Too many attributes: 4, the limit is 2");
    assert_eq!(api.contents().await, before);
    api.post(PUBLISH, r#"{"messages": [{}, {}, {"attributes": {"a": "", "b": ""}}]}"#).await.ok();
    let calls = api.broker.calls(Verb::Publish);
    assert_eq!((calls.ok, calls.refused, calls.fault), (1, 22, 0));
}

#[actix_web::test]
async fn of_equal_keys_the_last_one_wins_and_their_case_does_not_matter() {
    let World { api, .. } = World::new().await;
    let body = r#"{"messages": [{}, {}], "MESSAGES": [{"data": "a", "Data": "b", "attributes":
        {"x": "1"}, "Attributes": {"k": "1", "K": "2", "k": "3", "n": null}, "new": {"x": [1]}}]}"#;
    api.post(PUBLISH, body).await.is("{\n   \"messageIds\": [\n      \"0\"\n   ]\n}");
    let pulled = api.post(PULL, r#"{"MaxMessages": "9"}"#).await.ok();
    let pulled: Value = serde_json::from_str(&pulled).unwrap();
    let message = &pulled["receivedMessages"][0]["message"];
    assert_eq!(message["data"], "b");
    assert_eq!(message["attributes"], json!({"K": "2", "k": "3", "n": ""}));
}

#[actix_web::test]
async fn pulling_checks_existence_acl_topic_and_body() {
    let World { api, eater, maker, .. } = World::new().await;
    let missing = api.call("POST", "/v1/projects/P/subscriptions/no:pull", &eater, b"").await;
    missing.fails(404, "NOT_FOUND", "Subscription doesn't exist");
    let sub = r#"{"topic": "projects/P/topics/t"}"#;
    api.put("/v1/projects/P/subscriptions/other", sub).await.ok();
    api.delete("/v1/projects/P/topics/t").await.ok();
    let denied = api.call("POST", "/v1/projects/P/subscriptions/other:pull", &eater, b"").await;
    denied.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
    let gone = api.call("POST", PULL, &eater, b"").await;
    gone.fails(409, "CONFLICT", "Subscription's topic doesn't exist");
    // A role that may not pull is refused at the gate, and counted like the ACL's refusal.
    api.call("POST", PULL, &maker, b"").await.fails(
        403,
        "FORBIDDEN",
        "Access to this resource is forbidden",
    );
    let now = api.clock.wall();
    let facts = api.broker.subscription_facts(now);
    let mut denied: Vec<_> =
        facts.map(|facts| (facts.name.to_string(), facts.pulls.denied)).collect();
    denied.sort();
    assert_eq!(denied, [(String::from("other"), 1), (String::from("s"), 1)]);
    // So is a token that was revoked; a call without any token tells nothing of a consumer.
    for token in ["revoked", ""] {
        let stranger = api.call("POST", PULL, token, b"").await;
        stranger.fails(401, "UNAUTHORIZED", "Unauthorized");
    }
    let mut facts = api.broker.subscription_facts(now);
    let of_s = facts.find(|facts| facts.name.to_string() == "s");
    assert_eq!(of_s.unwrap().pulls.denied, 2);
    drop(facts);
    api.put("/v1/projects/P/topics/t", "").await.ok();
    for bad in [
        "",
        "[]",
        "x",
        r#"{"maxMessages": []}"#,
        r#"{"returnImmediately": {}}"#,
        r#"{"waitSeconds": 0}"#,
        r#"{"waitSeconds": 61}"#,
        r#"{"waitSeconds": "61"}"#,
        r#"{"waitSeconds": ""}"#,
        r#"{"waitSeconds": 1.5}"#,
        r#"{"waitSeconds": -1}"#,
        r#"{"waitSeconds": "soon"}"#,
        r#"{"waitSeconds": true}"#,
    ] {
        api.call("POST", PULL, &eater, bad.as_bytes())
            .await
            .invalid("Invalid Pull Parameters Arguments");
    }
}

#[actix_web::test]
async fn how_many_messages_a_pull_brings() {
    let world = World::new().await;
    world.publish(5).await;
    for (body, count) in [
        ("{}", 1),
        (r#"{"maxMessages": "3"}"#, 3),
        (r#"{"maxMessages": 3}"#, 3),
        (r#"{"maxMessages": "0"}"#, 1),
        (r#"{"maxMessages": "-4"}"#, 1),
        (r#"{"maxMessages": "many"}"#, 1),
        (r#"{"maxMessages": true}"#, 1),
        (r#"{"maxMessages": 2.5}"#, 1),
        (r#"{"maxMessages": null}"#, 1),
        (r#"{"maxMessages": "99999999999999999999"}"#, 1),
        (r#"{"maxMessages": "9223372036854775807", "returnImmediately": "false"}"#, 5),
        (r#"{"maxMessages": "100", "returnImmediately": true}"#, 5),
        (r#"{"maxMessages": 9, "waitSeconds": 60}"#, 5),
        (r#"{"maxMessages": 9, "waitSeconds": "1"}"#, 5),
        (r#"{"maxMessages": 9, "waitSeconds": null}"#, 5),
    ] {
        let pulled = world.api.post(PULL, body).await.ok();
        let pulled: Value = serde_json::from_str(&pulled).unwrap();
        assert_eq!(pulled["receivedMessages"].as_array().unwrap().len(), count, "{body}");
    }
}

#[actix_web::test]
async fn a_waiting_pull_is_woken_by_a_publish() {
    let world = World::new().await;
    let pull = world.api.post(PULL, r#"{"waitSeconds": 60}"#);
    let publish = async {
        tokio::task::yield_now().await;
        world.publish(1).await;
    };
    let (pulled, ()) = futures_util::join!(pull, publish);
    assert!(pulled.ok().contains("\"messageId\": \"0\""));
}

#[actix_web::test]
async fn a_pull_may_begin_and_end_inside_an_entry() {
    let world = World::new().await;
    world.publish(4).await;
    world.publish(4).await;
    assert_eq!(world.pull(3).await, [0, 1, 2]);
    world.ack(2).await.is("{}");
    assert_eq!(world.pull(3).await, [3, 4, 5]);
    world.ack(5).await.is("{}");
    assert_eq!(world.pull(9).await, [6, 7]);
}

#[actix_web::test]
async fn acknowledging_checks_body_existence_ids_and_state() {
    let world = World::new().await;
    let World { api, eater, .. } = &world;
    let ack = |name: &str, body: &str| {
        let (path, body) = (ACK.replace("/s:", &format!("/{name}:")), body.to_owned());
        async move { api.call("POST", &path, eater, body.as_bytes()).await }
    };
    for bad in ["", "[]", r#"{"ackIds": "x"}"#, r#"{"ackIds": [1]}"#, r#"{"ackIds": {}}"#] {
        ack("s", bad).await.invalid("Invalid ack parameter");
        ack("no", bad).await.invalid("Invalid ack parameter");
    }
    let list = |ids: &[&str]| format!(r#"{{"AckIds": {}}}"#, json!(ids));
    for bad in [
        String::from("{}"),
        String::from(r#"{"ackIds": null}"#),
        String::from(r#"{"ackIds": [null]}"#),
        list(&[]),
        list(&[""]),
        list(&["projects/P/subscriptions/s"]),
        list(&["projects/P/subscriptions/s:"]),
        list(&["projects/P/subscriptions/s:-1"]),
        list(&["projects/P/subscriptions/s:0x1"]),
        list(&["projects/P/subscriptions/s:1:1"]),
        list(&["projects/P/subscriptions/s:9223372036854775808"]),
        list(&["/projects/P/subscriptions/s:0"]),
        list(&["projects/Q/subscriptions/s:0"]),
        list(&["projects/P/subscriptions/other:0"]),
        list(&["projects/P/topics/s:0"]),
        list(&["projects/P/subscriptions/s:0", "projects/P/subscriptions/s:x"]),
    ] {
        ack("s", &bad).await.invalid("Invalid ack id");
        ack("no", &bad).await.fails(404, "NOT_FOUND", "Subscription doesn't exist");
    }
    let fault = "INTERNAL_SERVER_ERROR";
    ack("s", &list(&["projects/P/subscriptions/s:0"])).await.fails(500, fault, "no ack pending");
    world.publish(3).await;
    assert_eq!(world.pull(2).await, [0, 1]);
    world.ack(2).await.fails(500, fault, "wrong ack");
    let tolerated = list(&[
        "projects/P/subscriptions/s:-7",
        "projects/P/subscriptions/s:+000",
        "projects/P/subscriptions/s:-3",
    ]);
    ack("s", &tolerated).await.is("{}");
    // Client mistakes answered 500 are no faults of ours.
    assert_eq!(api.broker.calls(Verb::Acknowledge).fault, 0);
}

#[actix_web::test]
async fn test_vectors_of_the_ack_model() {
    let world = World::new().await;
    world.publish(3).await;
    let fault = "INTERNAL_SERVER_ERROR";
    // Pull 3, pull 1, ack :2.
    assert_eq!(world.pull(3).await, [0, 1, 2]);
    assert_eq!(world.pull(1).await, [0]);
    world.ack(2).await.fails(500, fault, "wrong ack");
    // Pull 3, ack :0, pull 3.
    assert_eq!(world.pull(3).await, [0, 1, 2]);
    world.ack(0).await.is("{}");
    // The window stays open: acking message by message, and again, works (O1, O2, improved).
    world.ack(1).await.is("{}");
    world.ack(0).await.is("{}");
    world.publish(2).await;
    assert_eq!(world.pull(3).await, [2, 3, 4]);
    // The deadline: equality passes, a second more does not, and nothing is lost.
    world.api.clock.advance(Duration::from_secs(10));
    world.ack(2).await.is("{}");
    world.api.clock.advance(Duration::from_secs(1));
    world.ack(3).await.fails(408, "TIMEOUT", "ack timeout");
    assert_eq!(world.pull(3).await, [3, 4]);
    world.ack(4).await.is("{}");
}

#[actix_web::test]
async fn a_store_that_fails_is_answered_by_kind_and_counted_as_ours() {
    let world = World::new().await;
    let api = &world.api;
    let publish = || api.post(PUBLISH, r#"{"messages": [{}]}"#);
    api.store.fail_always(Call::Commit, Fault::Refuse(StoreError::Full));
    let full = publish().await;
    full.fails(503, "RESOURCE_EXHAUSTED", "Storage is full");
    assert_eq!(full.header("retry-after"), "10");
    api.store.heal();
    api.store.fail_always(Call::Commit, Fault::Refuse(StoreError::Unavailable));
    let busy = publish().await;
    busy.fails(503, "UNAVAILABLE", "Service is temporarily unavailable");
    assert_eq!(busy.header("retry-after"), "1");
    api.store.heal();
    api.store.fail_always(Call::Commit, Fault::Refuse(StoreError::Corrupt("file 7".into())));
    publish().await.fails(500, "INTERNAL_SERVER_ERROR", "Backend Error");
    api.store.heal();
    assert_eq!(api.broker.calls(Verb::Publish).fault, 3);
    let faults = api.broker.store_faults();
    assert_eq!((faults.full, faults.stopped, faults.damaged), (1, 0, 1));
    publish().await.ok();
}

/// Attributes and data as a client may write them.
fn message() -> impl Strategy<Value = (std::collections::BTreeMap<String, String>, String)> {
    let nasty = prop_oneof![
        any::<String>(),
        proptest::collection::vec(
            prop_oneof![
                Just('"'),
                Just('\\'),
                Just('\n'),
                Just('\0'),
                Just('\u{7f}'),
                Just('\u{2028}'),
                Just('<'),
                Just('\u{1f600}'),
                Just('\u{fffd}'),
                Just('/'),
                any::<char>()
            ],
            0..8
        )
        .prop_map(|chars| chars.into_iter().collect()),
    ];
    (proptest::collection::btree_map(nasty.clone(), nasty.clone(), 0..4), nasty)
}

#[actix_web::test]
async fn any_text_comes_back_as_it_went_in() {
    let world = World::new().await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(message(), 1..20);
    for _ in 0..60 {
        let tree = strategy.new_tree(&mut runner).unwrap();
        let sent: Vec<_> = tree
            .current()
            .into_iter()
            .map(|(attributes, data)| json!({"attributes": attributes, "data": data}))
            .collect();
        world.api.post(PUBLISH, &json!({"messages": sent}).to_string()).await.ok();
        let pulled = world.api.post(PULL, r#"{"maxMessages": "100"}"#).await.ok();
        let pulled: Value = serde_json::from_str(&pulled).unwrap();
        let pulled = pulled["receivedMessages"].as_array().unwrap();
        assert_eq!(pulled.len(), sent.len());
        for (pulled, sent) in pulled.iter().zip(&sent) {
            let message = pulled["message"].as_object().unwrap();
            let none = json!({});
            assert_eq!(message.get("attributes").unwrap_or(&none), &sent["attributes"]);
            assert_eq!(message["data"], sent["data"]);
            let lawful = ["messageId", "attributes", "data", "publishTime"];
            assert!(message.keys().all(|key| lawful.contains(&key.as_str())));
        }
        let last = pulled.last().unwrap()["ackId"].as_str().unwrap();
        world.api.post(ACK, &json!({"ackIds": [last]}).to_string()).await.is("{}");
    }
}

#[actix_web::test]
async fn attributes_cannot_break_out_of_their_text() {
    // The three texts that break AMS 1.7 (O8, `reliability.md` W1).
    let world = World::new().await;
    let values = ["say \"x\"", "v\",\"role\":\"admin", "C:\\new"];
    for value in values {
        let body = json!({"messages": [{"attributes": {"k": value}}]});
        world.api.post(PUBLISH, &body.to_string()).await.ok();
    }
    let pulled = world.api.post(PULL, r#"{"maxMessages": "3"}"#).await.ok();
    let pulled: Value = serde_json::from_str(&pulled).unwrap();
    for (i, value) in values.iter().enumerate() {
        let attributes = &pulled["receivedMessages"][i]["message"]["attributes"];
        assert_eq!(attributes, &json!({"k": value}));
    }
}
