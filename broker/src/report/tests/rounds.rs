//! Round after round: what is sent, what is not, and what happens when it is not taken.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Figure;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::receiver::{Answer, Request};
use super::wire::{points, texts};
use super::*;
use crate::domain::records::{AckMode, DeadLetters};

/// Names of the topics and subscriptions whose records are in `requests`.
fn resources(requests: &[Request]) -> BTreeSet<String> {
    let name = |attributes: Vec<(String, String)>| {
        let (key, value) = attributes.get(2)?.clone();
        ["ams.topic", "ams.subscription"].contains(&key.as_str()).then_some(value)
    };
    points(requests).iter().filter_map(|(_, point)| name(texts(&point.attributes))).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn directories(requests: &[Request]) -> Vec<Value> {
    requests.iter().filter(|request| request.is_directory()).map(Request::json).collect()
}

#[tokio::test]
async fn afterwards_only_what_changed_is_sent_and_else_a_heartbeat() {
    let mut world = World::new().await;
    world.topic("quiet").await;
    world.subscription("still", "quiet").await;
    assert_eq!(resources(&world.round().await), set(&["t", "s", "quiet", "still"]));

    let heartbeat = world.round().await;
    assert_eq!(heartbeat.len(), 1);
    assert!(heartbeat[0].otlp().resource_metrics[0].scope_metrics[0].metrics.is_empty());

    world.publish("t", 1).await;
    assert_eq!(resources(&world.round().await), set(&["t", "s"]));
    assert!(resources(&world.round().await).is_empty());

    world.pull("still", 1).await;
    assert_eq!(resources(&world.round().await), set(&["still"]), "an empty pull is a sign of life");

    // An event of the clock: the window's deadline passes and nobody does anything.
    world.pull("s", 1).await;
    let expired = |requests: &[Request]| {
        let points = points(requests);
        let of = points.iter().find(|(name, _)| name == "ams.subscription.expired_ack_deadlines");
        of.map(|(_, point)| point.value.unwrap())
    };
    assert_eq!(expired(&world.round().await), Some(Figure::AsInt(0)));
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(expired(&world.round().await), Some(Figure::AsInt(1)));
    assert_eq!(expired(&world.round().await), None);
}

#[tokio::test]
async fn what_was_not_accepted_is_sent_again_and_nothing_is_lost() {
    let mut world = World::new().await;
    world.receiver.plan(&[Answer::Status(503)]);
    assert_eq!(world.round().await.len(), 1, "the directory was not taken: nothing after it");
    let requests = world.round().await;
    assert_eq!(directories(&requests).len(), 2);
    assert_eq!(resources(&requests), set(&["t", "s"]));

    world.publish("t", 2).await;
    for _ in 0..3 {
        world.receiver.plan(&[Answer::Status(503)]);
        assert_eq!(resources(&world.round().await), set(&["t", "s"]));
    }
    world.publish("t", 2).await;
    let requests = world.round().await;
    assert_eq!(resources(&requests), set(&["t", "s"]));
    let points = points(&requests);
    let published = points.iter().find(|(name, _)| name == "ams.topic.published.messages");
    assert_eq!(published.unwrap().1.value, Some(Figure::AsInt(4)));
    assert!(resources(&world.round().await).is_empty());

    world.topic("u").await;
    world.receiver.plan(&[Answer::Status(400)]);
    world.round().await;
    let change = directories(&world.round().await);
    assert_eq!(change[0]["objects"][0]["name"], "u");
    assert_eq!(change[0]["from"].as_u64().unwrap() + 1, change[0]["to"].as_u64().unwrap());
}

#[tokio::test]
async fn a_wish_for_everything_is_fulfilled_at_once() {
    let mut world = World::new().await;
    world.round().await;
    world.receiver.plan(&[Answer::Resync]);
    let requests = world.round().await;
    assert!(requests[0].otlp().resource_metrics[0].scope_metrics[0].metrics.is_empty());
    let whole = directories(&requests[1..]);
    assert!(whole.len() == 2 && whole.iter().all(|of| of["from"].is_null()), "{whole:?}");
    assert_eq!(resources(&requests[1..]), set(&["t", "s"]));
    assert_eq!(world.round().await.len(), 1, "and then it is quiet again");

    // Asked for again and again: once a round, not in a loop.
    world.receiver.plan(&[Answer::Resync; 9]);
    assert!(world.round().await.len() <= 2);
}

#[tokio::test]
async fn a_topic_that_goes_and_comes_back_takes_its_subscriptions_along() {
    let mut world = World::new().await;
    world.subscription("s2", "t").await;
    let first = directories(&world.round().await);
    let life = first[1]["objects"][0]["id"].clone();

    world.delete_topic("t").await;
    let gone = directories(&world.round().await);
    assert_eq!(gone.len(), 1);
    let at = gone[0]["deleted"][0]["at"].clone();
    let expected = json!([{"kind": "topic", "id": life, "name": "t", "by": "admin", "at": at}]);
    assert_eq!(gone[0]["deleted"], expected);
    let subscriptions = |change: &Value| -> Vec<(String, Value)> {
        let objects = change["objects"].as_array().unwrap();
        let of = objects.iter().filter(|object| object["kind"] == "subscription");
        of.map(|of| (of["name"].as_str().unwrap().to_owned(), of["topicId"].clone())).collect()
    };
    let expected = [("s".to_owned(), json!(null)), ("s2".to_owned(), json!(null))];
    assert_eq!(subscriptions(&gone[0]), expected);

    world.topic("t").await;
    let back = directories(&world.round().await);
    assert_eq!(back.len(), 1);
    let topic = back[0]["objects"].as_array().unwrap().iter().find(|of| of["kind"] == "topic");
    let life = topic.unwrap()["id"].clone();
    let expected = [("s".to_owned(), life.clone()), ("s2".to_owned(), life)];
    assert_eq!(subscriptions(&back[0]), expected);
}

#[tokio::test]
async fn the_secret_may_come_later_and_change() {
    let mut world = World::new().await;
    let file = world.secret.path().join("secret");
    std::fs::remove_file(&file).unwrap();
    assert!(world.round().await.is_empty(), "nothing is sent without it");
    std::fs::write(&file, "one").unwrap();
    assert_eq!(world.round().await.len(), 3);
    std::fs::write(&file, "two").unwrap();
    world.receiver.plan(&[Answer::Status(401)]);
    assert!(world.round().await[0].head.contains("Bearer one\r\n"));
    assert!(world.round().await[0].head.contains("Bearer two\r\n"));
}

#[tokio::test]
async fn the_loop_reports_at_once_and_a_last_time() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let running = tasks.spawn(world.reporter.run(stop.clone()));
    let first = loop {
        let requests = world.receiver.take();
        if requests.iter().any(|request| !request.is_directory()) {
            break requests;
        }
        tokio::task::yield_now().await;
    };
    assert!(!first.is_empty());
    stop.cancel();
    running.await.unwrap();
    assert!(!world.receiver.take().is_empty(), "the last one");
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_nobody_up() {
    let world = World::new().await;
    world.receiver.plan(&[Answer::Silence; 9]);
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(4), world.reporter.run(stop)).await;
    assert!(ended.is_ok());
}

#[tokio::test]
async fn what_becomes_of_a_user_arrives() {
    let mut world = World::new().await;
    world.round().await;
    let (broker, user) = (world.broker.clone(), name("u"));
    let of_user = |requests: &[Request]| {
        let told = directories(requests);
        assert_eq!((told.len(), told[0]["scope"].as_str()), (1, Some("service")));
        told[0].clone()
    };
    let new = NewUser { email: "u@example.org".into(), ..NewUser::default() };
    let made = broker.create_user(&world.caller(Route::UsersCreate), &user, new).await.unwrap();
    let first = of_user(&world.round().await)["objects"][0].clone();
    assert_eq!((&first["name"], &first["email"]), (&json!("u"), &json!("u@example.org")));

    let change = UserChange {
        name: "v".into(),
        service_roles: Some(vec!["metrics_viewer".into()]),
        projects: Some(vec![("p".into(), vec!["consumer".into()])]),
        ..UserChange::default()
    };
    broker.update_user(&world.caller(Route::UsersUpdate), &user, change).await.unwrap();
    let renamed = of_user(&world.round().await)["objects"][0].clone();
    assert_eq!((&renamed["id"], &renamed["name"]), (&first["id"], &json!("v")));
    assert_eq!(renamed["serviceRoles"], json!(["metrics_viewer"]));
    assert_eq!(renamed["projects"][0]["roles"], json!(["consumer"]));
    assert_eq!(renamed["tokenSha256"], first["tokenSha256"]);

    broker.refresh_token(&world.caller(Route::UsersRefreshToken), &name("v")).await.unwrap();
    let refreshed = of_user(&world.round().await)["objects"][0].clone();
    assert_eq!(refreshed["id"], first["id"]);
    assert_ne!(refreshed["tokenSha256"], first["tokenSha256"]);

    broker.delete_user(&world.caller(Route::UsersDelete), &name("v")).await.unwrap();
    let gone = of_user(&world.round().await);
    assert_eq!(gone["objects"], json!([]));
    let deleted = &gone["deleted"][0];
    let expected = (&json!("user"), &json!(made.id.to_string()), &json!("admin"));
    assert_eq!((&deleted["kind"], &deleted["id"], &deleted["by"]), expected);
}

#[tokio::test]
async fn dead_letters_are_told_with_their_topic_and_the_last_of_them() {
    let mut world = World::new().await;
    world.topic("d").await;
    let caller = world.caller(Route::SubscriptionsCreate);
    let wanted = NewSubscription {
        topic: name("t"),
        ack_deadline_seconds: 10,
        ack_mode: AckMode::Individual,
        dead_letters: Some(DeadLetters { topic: name("d"), max_attempts: 1 }),
        push: None,
        alert: AlertSettings::default(),
    };
    world.broker.create_subscription(&caller, &name("i"), wanted).await.unwrap();
    let told = |requests: &[Request]| {
        let points = points(requests);
        let of = |metric: &str, label: &str| {
            let found = points.iter().find(|(name, point)| {
                let labels = texts(&point.attributes);
                let has = |text: &str| labels.iter().any(|(_, value)| value == text);
                name == metric && has("i") && (label.is_empty() || has(label))
            });
            found.unwrap().1.value.unwrap()
        };
        (
            of("ams.subscription.dead_lettered.messages", "moved"),
            of("ams.subscription.dead_lettered.messages", "failed"),
            of("ams.subscription.dead_letter_end", ""),
            of("ams.subscription.last_dead_letter", ""),
        )
    };
    let (none, never) = (Figure::AsInt(0), Figure::AsDouble(0.0));
    let requests = world.round().await;
    let objects = directories(&requests)[1]["objects"].clone();
    let policies: Vec<_> =
        objects.as_array().unwrap().iter().map(|o| &o["deadLetterTopic"]).collect();
    assert_eq!(policies, [&Value::Null, &Value::Null, &Value::Null, &json!("d")]);
    assert_eq!(told(&requests), (none, none, none, never));

    world.publish("t", 3).await;
    world.pull("i", 3).await;
    world.clock.advance(Duration::from_secs(11));
    // Nobody can write them: the topic is gone.
    world.delete_topic("d").await;
    world.pull("i", 3).await;
    assert_eq!(told(&world.round().await), (none, Figure::AsInt(3), none, never));
    world.topic("d").await;
    world.clock.advance(Duration::from_secs(11));
    world.pull("i", 3).await;
    let moved_at = Figure::AsDouble(world.clock.steady().secs() as f64);
    let three = Figure::AsInt(3);
    assert_eq!(told(&world.round().await), (three, three, three, moved_at));
}
