//! Figures over time: rates, days, what outlives a topic and a project.

use std::time::Duration;

use crate::api::{World, field};

type Points = Vec<(String, f64)>;

const TOPIC: &str = "/v1/projects/P/topics/t:metrics";
const SUBSCRIPTION: &str = "/v1/projects/P/subscriptions/s:metrics";

/// The points of one metric.
fn points(body: &str, wanted: &str) -> Points {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let metrics = body["metrics"].as_array().unwrap();
    let metric = metrics.iter().find(|metric| metric["metric"] == wanted).unwrap();
    let points = metric["timeseries"].as_array().unwrap().iter();
    points
        .map(|point| {
            (point["timestamp"].as_str().unwrap().to_owned(), point["value"].as_f64().unwrap())
        })
        .collect()
}

fn at(points: &[(&str, f64)]) -> Points {
    points.iter().map(|(at, value)| ((*at).to_owned(), *value)).collect()
}

#[actix_web::test]
async fn rates_are_measured_between_the_last_two_events() {
    let world = World::new().await;
    let api = &world.api;
    let pass = |seconds| api.clock.advance(Duration::from_secs(seconds));
    world.publish(2).await;
    pass(4);
    world.publish(1).await;
    let topic = api.get(TOPIC).await.ok();
    let now = "2020-11-19T00:00:04Z";
    assert_eq!(points(&topic, "topic.number_of_messages"), at(&[(now, 3.0)]));
    assert_eq!(points(&topic, "topic.number_of_bytes"), at(&[(now, 12.0)]));
    assert_eq!(points(&topic, "topic.number_of_daily_messages"), at(&[("2020-11-19", 3.0)]));
    assert_eq!(points(&topic, "topic.publishing_rate"), at(&[(now, 0.25)]));

    let rate = |body: &str| points(body, "subscription.consumption_rate");
    world.pull(2).await;
    assert_eq!(rate(&api.get(SUBSCRIPTION).await.ok()), at(&[(now, 2.0)]), "the first");
    pass(8);
    world.pull(1).await;
    let repeated = api.get(SUBSCRIPTION).await.ok();
    let now = "2020-11-19T00:00:12Z";
    assert_eq!(rate(&repeated), at(&[(now, 0.125)]));
    assert_eq!(points(&repeated, "subscription.number_of_messages"), at(&[(now, 3.0)]));
    assert_eq!(points(&repeated, "subscription.number_of_bytes"), at(&[(now, 12.0)]));

    world.ack(0).await.ok();
    pass(1);
    world.pull(10).await;
    world.ack(2).await.ok();
    pass(2);
    let empty = r#"{"maxMessages": "1", "returnImmediately": "true"}"#;
    api.post("/v1/projects/P/subscriptions/s:pull", empty).await.ok();
    let nothing = rate(&api.get(SUBSCRIPTION).await.ok());
    assert_eq!(nothing, at(&[("2020-11-19T00:00:15Z", 0.0)]), "an empty pull counts too");
    world.publish(1).await;
    pass(2);
    world.pull(1).await;
    let after = rate(&api.get(SUBSCRIPTION).await.ok());
    assert_eq!(after, at(&[("2020-11-19T00:00:17Z", 0.5)]));
}

#[actix_web::test]
async fn days_outlive_their_topic_and_go_with_the_project() {
    let world = World::new().await;
    let (api, owner) = (&world.api, world.owner.as_str());
    world.publish(2).await;
    api.clock.advance(Duration::from_secs(86_400));
    world.publish(3).await;
    let days = at(&[("2020-11-20", 3.0), ("2020-11-19", 2.0)]);
    let daily = "topic.number_of_daily_messages";
    assert_eq!(points(&api.get(TOPIC).await.ok(), daily), days);

    api.delete("/v1/projects/P/topics/t").await.ok();
    let of_project = async || {
        let body = api.get("/v1/projects/P:metrics").await.ok();
        points(&body, "project.number_of_daily_messages")
    };
    assert_eq!(of_project().await, days);
    api.put("/v1/projects/P/topics/t", "").await.ok();
    let anew = api.get(TOPIC).await.ok();
    assert_eq!(points(&anew, daily), days, "by name, as in AMS");
    assert_eq!(points(&anew, "topic.number_of_messages")[0].1.to_bits(), 0);

    let window = "start_date=2020-11-19&end_date=2020-11-20";
    let report = || api.call("GET", "/v1/users/usageReport", owner, b"");
    let own = report().await.ok();
    assert!(own.contains("\"project\": \"P\"") && own.contains("ams_node.cpu_usage"), "{own}");
    let va = api.get(&format!("/v1/metrics/va_metrics?{window}")).await.ok();
    assert!(va.contains("  \"average_daily_messages\": 2.5\n"), "{va}");
    assert!(va.contains("    \"users_count\": 3\n"), "{va}");

    // O38: whoever administered a project that is gone has an empty report.
    api.delete("/v1/projects/P").await.ok();
    let gone = report().await.ok();
    assert!(gone.contains("\"projects\": []") && gone.contains("\"metrics\": []"), "{gone}");
}

#[actix_web::test]
async fn a_metrics_viewer_sees_nodes_and_reports_and_nothing_else() {
    let World { api, owner, .. } = World::new().await;
    let viewer = api.post("/v1/users/viewer", r#"{"service_roles": ["metrics_viewer"]}"#).await;
    let viewer = field(&viewer.ok(), "token");
    let forbidden = "Access to this resource is forbidden";
    for path in ["/v1/metrics", "/v1/metrics/va_metrics"] {
        api.call("GET", path, &viewer, b"").await.ok();
        api.call("GET", path, &owner, b"").await.fails(401, "UNAUTHORIZED", "Unauthorized");
    }
    api.call("GET", TOPIC, &viewer, b"").await.fails(403, "FORBIDDEN", forbidden);
    let nodes = api.call("GET", "/v1/metrics", &viewer, b"").await.ok();
    assert_eq!(nodes.matches("ams_node.cpu_usage").count(), 1, "O28");
    assert_eq!(points(&nodes, "ams_node.memory_usage").len(), 1);
}
