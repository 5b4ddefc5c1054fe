//! Subscriptions: exact bytes, errors in order.

use std::time::Duration;

use crate::api::{World, field};

const PATH: &str = "/v1/projects/P/subscriptions/s";

fn shown(name: &str, deadline: i64) -> String {
    [
        "{",
        &format!(r#"   "name": "/projects/P/subscriptions/{name}","#),
        r#"   "topic": "/projects/P/topics/t","#,
        r#"   "pushConfig": {"#,
        r#"      "type": "","#,
        r#"      "pushEndpoint": "","#,
        r#"      "maxMessages": 0,"#,
        r#"      "authorizationHeader": {},"#,
        r#"      "retryPolicy": {},"#,
        r#"      "verificationHash": "","#,
        r#"      "verified": false,"#,
        r#"      "mattermostUrl": "","#,
        r#"      "mattermostUsername": "","#,
        r#"      "mattermostChannel": "","#,
        r#"      "base64Decode": false"#,
        r#"   },"#,
        &format!(r#"   "ackDeadlineSeconds": {deadline},"#),
        r#"   "createdOn": "2020-11-19T00:00:00Z""#,
        "}",
    ]
    .join("\n")
}

#[actix_web::test]
async fn a_subscription_is_made_shown_and_deleted() {
    let World { api, .. } = World::new().await;
    api.get(PATH).await.is(&shown("s", 10));
    let path = "/v1/projects/P/subscriptions/new";
    let zero = r#"{"topic": "projects/P/topics/t", "ackDeadlineSeconds": 700, "name": 5,
        "pushConfig": {"pushEndpoint": "", "maxMessages": 0, "retryPolicy": {"type": ""},
        "authorizationHeader": null, "verified": false}}"#;
    api.put(path, zero).await.is(&shown("new", 700));
    api.delete(path).await.is("");
    api.delete(path).await.fails(404, "NOT_FOUND", "Subscription doesn't exist");
    api.get(path).await.fails(404, "NOT_FOUND", "Subscription doesn't exist");
    // Not checked here, only by modifyAckDeadline (O18).
    let negative = r#"{"topic": "projects/P/topics/t", "ackDeadlineSeconds": -1}"#;
    api.put(path, negative).await.is(&shown("new", -1));
    api.delete(path).await.is("");
    for lenient in [
        "/projects/P/topics/t",
        "projects/OTHER/topics/t",
        "projects/P/topic/t",
        "project/P/topics/t",
    ] {
        api.put(path, &format!(r#"{{"TOPIC": "{lenient}"}}"#)).await.is(&shown("new", 10));
        api.delete(path).await.is("");
    }
}

#[actix_web::test]
async fn creating_checks_body_reference_topic_push_and_name() {
    let World { api, .. } = World::new().await;
    let create = |body| api.put(PATH, body);
    for bad in [
        "",
        "[]",
        r#"{"topic": 1}"#,
        r#"{"ackDeadlineSeconds": "10"}"#,
        r#"{"ackDeadlineSeconds": 10.0}"#,
        r#"{"ackDeadlineSeconds": 1e400}"#,
        r#"{"pushConfig": []}"#,
        r#"{"pushConfig": {"maxMessages": "1"}}"#,
        r#"{"pushConfig": {"retryPolicy": {"period": "1"}}}"#,
    ] {
        create(bad).await.invalid("Invalid Subscription Arguments");
    }
    for bad in ["{}", r#"{"topic": "t"}"#, r#"{"topic": "projects/P/topics/t/x"}"#] {
        create(bad).await.invalid("Invalid Topic name");
    }
    create(r#"{"topic": "project/P/topic/t"}"#).await.invalid("Invalid Topic name");
    create(r#"{"topic": "//projects/P/topics/t"}"#).await.invalid("Invalid Topic name");
    let push = r#""pushConfig": {"base64Decode": true}"#;
    for name in ["no", "t:x", ""] {
        let body = format!(r#"{{"topic": "projects/P/topics/{name}", {push}}}"#);
        let missing = api.put(PATH, &body).await;
        missing.fails(404, "NOT_FOUND", "Topic doesn't exist");
    }
    for push in [
        push,
        r#""pushConfig": {"type": "nonsense"}"#,
        r#""pushConfig": {"pushEndpoint": "https://x"}"#,
        r#""pushConfig": {"retryPolicy": {"period": 1}}"#,
        r#""pushConfig": {"authorizationHeader": {"value": "x"}}"#,
    ] {
        let body = format!(r#"{{"topic": "projects/P/topics/t", {push}}}"#);
        let disabled = api.put(PATH, &body).await;
        disabled.fails(409, "CONFLICT", "Push functionality is currently disabled");
    }
    let exists = create(r#"{"topic": "projects/P/topics/t"}"#).await;
    exists.fails(409, "ALREADY_EXISTS", "Subscription already exists");
}

#[actix_web::test]
async fn subscriptions_are_listed_newest_first_and_by_topic() {
    let World { api, eater, .. } = World::new().await;
    let by_topic = "/v1/projects/P/topics/t/subscriptions";
    api.get(by_topic).await.is(r#"{"subscriptions":["/projects/P/subscriptions/s"]}"#);
    api.put("/v1/projects/P/topics/u", "").await.ok();
    api.get("/v1/projects/P/topics/u/subscriptions").await.is(r#"{"subscriptions":[]}"#);
    let missing = api.get("/v1/projects/P/topics/no/subscriptions").await;
    missing.fails(404, "NOT_FOUND", "Topic doesn't exist");
    api.put("/v1/projects/P/subscriptions/b", r#"{"topic": "projects/P/topics/t"}"#).await.ok();
    api.get(by_topic)
        .await
        .is(r#"{"subscriptions":["/projects/P/subscriptions/s","/projects/P/subscriptions/b"]}"#);

    let indented = |name| shown(name, 10).replace('\n', "\n      ");
    let list = api.get("/v1/projects/P/subscriptions").await.ok();
    let both = format!("      {},\n      {}", indented("b"), indented("s"));
    let tail = "\n   ],\n   \"nextPageToken\": \"\",\n   \"totalSize\": 2\n}";
    assert_eq!(list, format!("{{\n   \"subscriptions\": [\n{both}{tail}"));
    let first = api.get("/v1/projects/P/subscriptions?pageSize=1").await.ok();
    let next = field(&first, "nextPageToken");
    let second = api.get(&format!("/v1/projects/P/subscriptions?pageToken={next}")).await.ok();
    assert!(second.contains("subscriptions/s\"") && !second.contains("subscriptions/b\""));
    let own = api.call("GET", "/v1/projects/P/subscriptions", &eater, b"").await.ok();
    assert!(own.ends_with("\"totalSize\": 1\n}"), "{own}");
    let empty = "{\n   \"subscriptions\": [],\n   \"nextPageToken\": \"\",\n   \"totalSize\": 0\n}";
    api.post("/v1/projects/EMPTY", "{}").await.ok();
    api.get("/v1/projects/EMPTY/subscriptions").await.is(empty);
}

#[actix_web::test]
async fn the_ack_deadline_is_set_within_bounds() {
    let World { api, eater, .. } = World::new().await;
    let bad = "Invalid ackDeadlineSeconds(needs value between 0 and 600) Arguments";
    let modify = |name: &str, body: &'static str| {
        let path = format!("/v1/projects/P/subscriptions/{name}:modifyAckDeadline");
        let (api, eater) = (&api, &eater);
        async move { api.call("POST", &path, eater, body.as_bytes()).await }
    };
    for body in [
        "",
        "[]",
        r#"{"ackDeadlineSeconds": 700}"#,
        r#"{"ackDeadlineSeconds": -22}"#,
        r#"{"ackDeadlineSeconds": 601}"#,
        r#"{"ackDeadlineSeconds": "5"}"#,
    ] {
        modify("s", body).await.invalid(bad);
        modify("no", body).await.invalid(bad);
    }
    modify("no", "{}").await.fails(404, "NOT_FOUND", "Subscription doesn't exist");
    for (body, deadline) in
        [(r#"{"ackDeadlineSeconds": 600}"#, 600), ("{}", 0), (r#"{"ackdeadlineseconds": 33}"#, 33)]
    {
        modify("s", body).await.is("");
        api.get(PATH).await.is(&shown("s", deadline));
    }
}

#[actix_web::test]
async fn offsets_are_shown_and_moved_within_bounds() {
    let world = World::new().await;
    let api = &world.api;
    let offsets = |current| {
        let text = format!("{{\n   \"max\": 3,\n   \"min\": 0,\n   \"current\": {current}\n}}");
        async move { api.get("/v1/projects/P/subscriptions/s:offsets").await.is(&text) }
    };
    world.publish(3).await;
    offsets(0).await;
    let seek = |body: &'static str| api.post("/v1/projects/P/subscriptions/s:modifyOffset", body);
    for offset in [r#"{"offset": 3}"#, r#"{"Offset": 2}"#] {
        seek(offset).await.is("");
    }
    offsets(2).await;
    let before = api.contents().await;
    for body in ["", r#"{"offset": "1"}"#, r#"{"offset": 1.0}"#, r#"{"offset": 1} x"#] {
        seek(body).await.invalid("Invalid Offset Arguments");
    }
    for body in [r#"{"offset": 4}"#, r#"{"offset": -1}"#, r#"{"offset": 9223372036854775807}"#] {
        seek(body).await.invalid("Offset out of bounds");
    }
    assert_eq!(api.contents().await, before);
    offsets(2).await;
    seek("{}").await.is("");
    offsets(0).await;
    for body in [r#"{"offset": 1}"#, r#"{"offset": -1}"#] {
        let missing = api.post("/v1/projects/P/subscriptions/no:modifyOffset", body).await;
        missing.fails(404, "NOT_FOUND", "Subscription doesn't exist");
    }
    let missing = api.get("/v1/projects/P/subscriptions/no:offsets").await;
    missing.fails(404, "NOT_FOUND", "Subscription doesn't exist");

    // A seek closes the window.
    world.pull(1).await;
    seek("{}").await.is("");
    world.ack(0).await.fails(500, "INTERNAL_SERVER_ERROR", "no ack pending");
}

#[actix_web::test]
async fn a_time_finds_the_first_message_at_or_after_it() {
    let world = World::new().await;
    let api = &world.api;
    for _ in 0..3 {
        world.publish(1).await;
        api.clock.advance(Duration::from_secs(10));
    }
    let at = |time: &str| {
        let path = format!("{PATH}:timeToOffset?time={time}");
        async move { api.get(&path).await }
    };
    at("2020-11-18T0:00:00.000Z").await.is(r#"{"offset":0}"#);
    at("1969-11-18T00:00:00.000Z").await.is(r#"{"offset":0}"#);
    at("2020-11-19T00:00:10.000Z").await.is(r#"{"offset":1}"#);
    at("2020-11-19%2000:00:10.001Z").await.is(r#"{"offset":2}"#);
    let out = "Timestamp is out of bounds for the subscription's topic/partition";
    at("2020-11-19T00:00:20.001Z").await.fails(409, "CONFLICT", out);
    for bad in ["", "2019-06-10T09:38:30Z", "x"] {
        at(bad).await.invalid("Time is not in valid Zulu format.");
    }
    let missing = api.get("/v1/projects/P/subscriptions/no:timeToOffset").await;
    missing.fails(404, "NOT_FOUND", "Subscription doesn't exist");
}

#[actix_web::test]
async fn a_subscription_outlives_its_topic_and_starts_anew_with_the_next_one() {
    let world = World::new().await;
    let api = &world.api;
    world.publish(3).await;
    assert_eq!(world.pull(2).await, [0, 1]);
    api.delete("/v1/projects/P/topics/t").await.is("");
    // Its name, its place and its verbs stay; only pulling has nothing to pull from (O36).
    api.get(PATH).await.is(&shown("s", 10));
    world.ack(1).await.is("{}");
    api.post(&format!("{PATH}:modifyAckDeadline"), r#"{"ackDeadlineSeconds": 20}"#).await.is("");
    api.get(PATH).await.is(&shown("s", 20));
    let offsets = |max, min, current| {
        let text =
            format!("{{\n   \"max\": {max},\n   \"min\": {min},\n   \"current\": {current}\n}}");
        async move { api.get(&format!("{PATH}:offsets")).await.is(&text) }
    };
    offsets(3, 2, 2).await;
    let gone = api.post(&format!("{PATH}:pull"), "{}").await;
    gone.fails(409, "CONFLICT", "Subscription's topic doesn't exist");
    let missing = api.get("/v1/projects/P/topics/t/subscriptions").await;
    missing.fails(404, "NOT_FOUND", "Topic doesn't exist");
    // A topic of that name made again counts from 0, and nothing of it is missed.
    api.put("/v1/projects/P/topics/t", "").await.ok();
    offsets(0, 0, 0).await;
    world.publish(1).await;
    world.ack(0).await.fails(500, "INTERNAL_SERVER_ERROR", "no ack pending");
    assert_eq!(world.pull(9).await, [0]);
    world.ack(0).await.is("{}");
    offsets(1, 0, 1).await;
}
