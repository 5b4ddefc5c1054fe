//! What a file leads to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::file::Document;
use super::found::{self, Found};
use super::line;
use super::plan::{Change, plan};

fn wanted(value: Value) -> Document {
    serde_json::from_value(value).unwrap()
}

/// A schema `a`, a topic `t` with it, and a subscription `s` of `t`.
fn there() -> Found {
    let definition = json!({"minProperties": 1.0});
    let schema = found::Schema {
        language: String::from("json"),
        definition: definition.as_object().unwrap().clone(),
    };
    let topic = found::Topic {
        schema: Some(String::from("a")),
        retention: Some(String::from("1d")),
        acl: ["bob".into()].into(),
        ..found::Topic::default()
    };
    let subscription = found::Subscription {
        topic: String::from("t"),
        ack_deadline_seconds: 10,
        ack_mode: String::from("cumulative"),
        ..found::Subscription::default()
    };
    Found {
        schemas: BTreeMap::from([("a".into(), schema)]),
        topics: BTreeMap::from([("t".into(), topic)]),
        subscriptions: BTreeMap::from([("s".into(), subscription)]),
    }
}

fn lines(wanted: Value, found: &Found, prune: bool) -> Vec<String> {
    let document: Document = serde_json::from_value(wanted).unwrap();
    match plan("P", &document, found, prune) {
        Ok(changes) => changes.iter().map(line).collect(),
        Err(refusals) => refusals.into_iter().map(|text| format!("! {text}")).collect(),
    }
}

/// The same as what is there.
fn as_it_is() -> Value {
    json!({
        "schemas": {"a": {"type": "json", "schema": {"minProperties": 1}}},
        "topics": {"t": {"schema": "a", "retention": "1d", "retentionBytes": 0, "acl": ["bob"]}},
        "subscriptions": {"s": {"topic": "t", "ackDeadlineSeconds": 10, "ackMode": "cumulative",
            "alert": {}}},
    })
}

#[test]
fn what_is_there_is_made_in_the_order_of_need_and_once() {
    let expected = [
        "+ schema a: json",
        "+ topic t: schema a, retention 1d",
        "~ topic t: acl +bob",
        "+ subscription s: topic t, ackDeadlineSeconds 10",
    ];
    assert_eq!(lines(as_it_is(), &Found::default(), true), expected);
    assert_eq!(lines(as_it_is(), &there(), true), [""; 0]);
    // What is not named stays as it is.
    assert_eq!(lines(json!({"topics": {"t": {}}}), &there(), false), [""; 0]);
}

#[test]
fn only_what_differs_is_changed() {
    let mut value = as_it_is();
    value["schemas"]["a"]["schema"]["minProperties"] = json!(2);
    value["topics"]["t"] = json!({"schema": "", "retention": "", "retentionBytes": 5, "acl": ["alice"],
        "alert": {"stallAfter": "15m"}});
    value["subscriptions"]["s"]["ackDeadlineSeconds"] = json!(20);
    let expected = [
        r#"~ schema a: definition {"minProperties":1.0} -> {"minProperties":2}"#,
        "~ topic t: schema a -> -",
        "~ topic t: retention 1d -> -, retentionBytes - -> 5",
        r#"~ topic t: alert {} -> {"stallAfter":"15m"}"#,
        "~ topic t: acl +alice -bob",
        "~ subscription s: ackDeadlineSeconds 10 -> 20",
    ];
    assert_eq!(lines(value.clone(), &there(), false), expected);

    let changes: Vec<Change> = plan("P", &wanted(value), &there(), false).unwrap();
    let calls: Vec<_> = changes
        .into_iter()
        .map(|change| (format!("{} {}", change.method, change.path), change.body.unwrap()))
        .collect();
    let schema = json!({"type": "json", "schema": {"minProperties": 2}});
    let expected = [
        ("PUT projects/P/schemas/a", schema),
        ("POST projects/P/topics/t:detachSchema", json!({})),
        // What is not said there is removed by the server.
        ("POST projects/P/topics/t:modifyRetention", json!({"retentionBytes": 5})),
        ("POST projects/P/topics/t:modifyAlert", json!({"alert": {"stallAfter": "15m"}})),
        ("POST projects/P/topics/t:modifyAcl", json!({"authorized_users": ["alice"]})),
        ("POST projects/P/subscriptions/s:modifyAckDeadline", json!({"ackDeadlineSeconds": 20})),
    ];
    let expected = expected.map(|(call, body)| (call.to_owned(), body));
    assert_eq!(calls, expected);
}

#[test]
fn one_of_both_kinds_of_retention_leaves_the_other_as_it_is() {
    let value = json!({"topics": {"t": {"retentionBytes": 7}}});
    let changes = plan("P", &wanted(value), &there(), false).unwrap();
    let body = changes[0].body.clone().unwrap();
    assert_eq!(body, json!({"retention": "1d", "retentionBytes": 7}));
}

#[test]
fn nothing_is_deleted_unless_asked_for_and_then_what_needs_another_comes_first() {
    let empty = json!({"schemas": {}, "topics": {}, "subscriptions": {}});
    assert_eq!(lines(empty.clone(), &there(), false), [""; 0]);
    assert_eq!(lines(empty, &there(), true), ["- subscription s", "- topic t", "- schema a"]);
    // A section that is absent says nothing about its kind.
    assert_eq!(lines(json!({"subscriptions": {}}), &there(), true), ["- subscription s"]);
}

/// A topic `d` as well, to which dead letters of `s` go after 7 attempts.
fn with_dead_letters() -> Found {
    let mut found = there();
    found.topics.insert("d".into(), found::Topic::default());
    let subscription = found.subscriptions.get_mut("s").unwrap();
    subscription.ack_mode = String::from("individual");
    subscription.dead_letters = Some(found::DeadLetters { topic: "d".into(), attempts: 7 });
    found
}

fn dead_letters(policy: &Value) -> Value {
    let subscription = json!({"topic": "t", "ackMode": "individual", "deadLetterPolicy": policy});
    json!({"topics": {"t": {}, "d": {}}, "subscriptions": {"s": subscription}})
}

#[test]
fn dead_letters_have_a_topic_first_and_are_compared_with_what_is_there() {
    let full = dead_letters(&json!({"deadLetterTopic": "d", "maxDeliveryAttempts": 7}));
    let expected = [
        "+ topic d",
        "+ topic t",
        "+ subscription s: topic t, ackMode individual, deadLetterTopic d, maxDeliveryAttempts 7",
    ];
    assert_eq!(lines(full.clone(), &Found::default(), false), expected);
    let changes = plan("P", &wanted(full.clone()), &Found::default(), false).unwrap();
    let body = changes.last().unwrap().body.clone().unwrap();
    let policy = json!({"deadLetterTopic": "projects/P/topics/d", "maxDeliveryAttempts": 7});
    assert_eq!(body["deadLetterPolicy"], policy);

    assert_eq!(lines(full, &with_dead_letters(), true), [""; 0]);
    // What is not said stays as it is.
    let short = dead_letters(&json!({"deadLetterTopic": "d"}));
    assert_eq!(lines(short, &with_dead_letters(), true), [""; 0]);
    let silent = json!({"subscriptions": {"s": {"topic": "t"}}});
    assert_eq!(lines(silent, &with_dead_letters(), true), [""; 0]);
}

#[test]
fn dead_letters_cannot_go_elsewhere_nor_nowhere() {
    let refused = |value: Value, found: &Found, what: &str| {
        let lines = lines(value, found, true);
        assert!(lines.len() == 1 && lines[0].starts_with("! "), "{lines:?}");
        assert!(lines[0].contains(what), "{lines:?}");
    };
    let found = with_dead_letters();
    let fewer = dead_letters(&json!({"deadLetterTopic": "d", "maxDeliveryAttempts": 3}));
    refused(fewer, &found, "its maxDeliveryAttempts is 7 and cannot become 3");
    let mut other = dead_letters(&json!({"deadLetterTopic": "e"}));
    other["topics"]["e"] = json!({});
    let said = lines(other, &found, false);
    assert!(said[0].contains("its deadLetterTopic is d and cannot become e"), "{said:?}");
    let mut without = with_dead_letters();
    without.subscriptions.get_mut("s").unwrap().dead_letters = None;
    let policy = dead_letters(&json!({"deadLetterTopic": "d"}));
    refused(policy, &without, "its deadLetterTopic is (none) and cannot become d");
    let mut missing = dead_letters(&json!({"deadLetterTopic": "d"}));
    missing["topics"] = json!({"t": {}});
    refused(missing, &Found::default(), "there is no topic d");

    // It would be deleted, and the subscription stays, in the file or not.
    let pruned = json!({"topics": {"t": {}}, "subscriptions": {"s": {"topic": "t"}}});
    refused(pruned, &found, "topic d: cannot be pruned, dead letters of subscription s go there");
    refused(json!({"topics": {"t": {}}}), &found, "topic d: cannot be pruned");
}

#[test]
fn what_cannot_be_is_refused_as_a_whole() {
    let first = |value: Value, prune: bool| lines(value, &there(), prune).remove(0);
    let topics = json!({"t": {}, "u": {}});
    let moved = json!({"topics": topics, "subscriptions": {"s": {"topic": "u"}}});
    let text = first(moved, false);
    assert!(text.starts_with("! subscription s: its topic is t and cannot become u"), "{text}");
    assert!(text.contains("ams sub delete s"), "{text}");
    let mode = json!({"subscriptions": {"s": {"topic": "t", "ackMode": "individual"}}});
    assert!(first(mode, false).contains("its ackMode is cumulative and cannot become individual"));
    let none = json!({"subscriptions": {"n": {"topic": "none"}}});
    assert!(first(none, false).contains("there is no topic none"));
    let none = json!({"topics": {"n": {"schema": "none"}}});
    assert!(first(none, false).contains("there is no schema none"));
    // It would be deleted.
    let pruned = json!({"topics": {}, "subscriptions": {"s": {"topic": "t"}}});
    assert!(first(pruned, true).contains("there is no topic t"));
    assert!(first(json!({"topics": {}}), true).contains("subscription s stays"));
}
