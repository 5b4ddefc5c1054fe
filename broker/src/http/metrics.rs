//! Metrics of nodes, projects, topics and subscriptions (`ams-contract.md` 11.1-11.4). Names and
//! descriptions are AMS's.

use super::call::Call;
use super::error::Refusal;
use super::json::Writer;
use super::reply::Reply;
use crate::domain::{ProjectName, SubscriptionName, Time, TopicName};
use crate::service::{self, Caller, DayCount, NodeFigures, Rate};

/// A time that never was, as Go writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What a metric is about: `resource_type` and `resource_name`.
type Resource<'a> = (&'static str, &'a str);

/// `GET /v1/metrics`
pub(super) async fn nodes(call: &Call<'_>, _: &Caller) -> Result<Reply, Refusal> {
    let mut json = Writer::indented();
    write_nodes(&mut json, &service::nodes(), call.broker.clock().wall());
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/projects/{project}:metrics`
pub(super) async fn project(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let figures = call.broker.project_figures(caller)?;
    let now = call.broker.clock().wall().to_seconds_text();
    let name = figures.name.as_str();
    let of_user = |user: &str| format!("{name}.{user}");
    let mut json = Writer::indented();
    list(&mut json, |json| {
        let about = ("project", name);
        counter(
            json,
            ["project.number_of_topics", TOPICS_OF_PROJECT],
            about,
            (&now, figures.topics as u64),
        );
        counter(
            json,
            ["project.number_of_subscriptions", SUBSCRIPTIONS_OF_PROJECT],
            about,
            (&now, figures.subscriptions as u64),
        );
        for (user, count) in &figures.topics_of {
            counter(
                json,
                ["project.user.number_of_topics", TOPICS_OF_USER],
                ("project.user", &of_user(user.as_str())),
                (&now, *count as u64),
            );
        }
        for (user, count) in &figures.subscriptions_of {
            counter(
                json,
                ["project.user.number_of_subscriptions", SUBSCRIPTIONS_OF_USER],
                ("project.user", &of_user(user.as_str())),
                (&now, *count as u64),
            );
        }
        series(json, ["project.number_of_daily_messages", DAILY_OF_PROJECT], about, &figures.days);
    });
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/projects/{project}/topics/{topic}:metrics`
pub(super) async fn topic(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    let figures = call.broker.topic_figures(caller, name)?;
    let now = call.broker.clock().wall().to_seconds_text();
    let about = ("topic", name.as_str());
    let mut json = Writer::indented();
    list(&mut json, |json| {
        counter(
            json,
            ["topic.number_of_subscriptions", SUBSCRIPTIONS_OF_TOPIC],
            about,
            (&now, figures.subscriptions as u64),
        );
        let messages = ["topic.number_of_messages", MESSAGES_OF_TOPIC];
        counter(json, messages, about, (&now, figures.messages));
        let bytes = ["topic.number_of_bytes", BYTES_OF_TOPIC];
        counter(json, bytes, about, (&now, figures.ams_bytes));
        series(json, ["topic.number_of_daily_messages", DAILY_OF_TOPIC], about, &figures.days);
        rate(json, ["topic.publishing_rate", PUBLISHING_RATE], about, figures.rate);
    });
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/projects/{project}/subscriptions/{subscription}:metrics`
pub(super) async fn subscription(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let figures = call.broker.subscription_figures(caller, name)?;
    let now = call.broker.clock().wall().to_seconds_text();
    let about = ("subscription", name.as_str());
    let mut json = Writer::indented();
    list(&mut json, |json| {
        let messages = ["subscription.number_of_messages", MESSAGES_OF_SUBSCRIPTION];
        counter(json, messages, about, (&now, figures.messages));
        let bytes = ["subscription.number_of_bytes", BYTES_OF_SUBSCRIPTION];
        counter(json, bytes, about, (&now, figures.ams_bytes));
        rate(json, ["subscription.consumption_rate", CONSUMPTION_RATE], about, figures.rate);
    });
    Ok(Reply::ok(json.finish()))
}

/// The object with the metrics of nodes: also a part of the usage report.
pub(super) fn write_nodes(json: &mut Writer, nodes: &[NodeFigures], now: Time) {
    let now = now.to_seconds_text();
    list(json, |json| {
        for node in nodes {
            let about = ("ams_node", node.host.as_str());
            let kind = ["percentage", "float64"];
            let mut percentage = |naming, value| {
                metric(json, naming, kind, about, |json| {
                    point(json, &now, |json| json.float(value));
                });
            };
            percentage(["ams_node.cpu_usage", CPU_OF_NODE], node.cpu_percent);
            percentage(["ams_node.memory_usage", MEMORY_OF_NODE], node.memory_percent);
        }
    });
}

fn list(json: &mut Writer, fill: impl FnOnce(&mut Writer)) {
    json.object(|json| json.key("metrics").list(fill));
}

/// A count, and the time it is of.
fn counter(json: &mut Writer, naming: [&str; 2], about: Resource<'_>, (now, value): (&str, u64)) {
    metric(json, naming, ["counter", "int64"], about, |json| {
        point(json, now, |json| json.number(value));
    });
}

fn series(json: &mut Writer, naming: [&str; 2], about: Resource<'_>, days: &[DayCount]) {
    metric(json, naming, ["counter", "int64"], about, |json| {
        for DayCount { day, messages } in days {
            let date = Time::from_secs(u64::from(*day).saturating_mul(86_400)).to_seconds_text();
            let date = date.split('T').next().unwrap_or_default();
            point(json, date, |json| json.number(messages));
        }
    });
}

fn rate(json: &mut Writer, naming: [&str; 2], about: Resource<'_>, rate: Rate) {
    metric(json, naming, ["rate", "float64"], about, |json| {
        let at = rate.at.map_or_else(|| NEVER.to_owned(), Time::to_seconds_text);
        point(json, &at, |json| json.float(rate.per_second));
    });
}

/// One metric: name and description, its type and that of its values, what it is about.
fn metric(
    json: &mut Writer,
    [name, description]: [&str; 2],
    [kind, value_kind]: [&str; 2],
    (resource_type, resource_name): Resource<'_>,
    points: impl FnOnce(&mut Writer),
) {
    json.object(|json| {
        json.key("metric").text(name);
        json.key("metric_type").text(kind);
        json.key("value_type").text(value_kind);
        json.key("resource_type").text(resource_type);
        json.key("resource_name").text(resource_name);
        json.key("timeseries").list(points);
        json.key("description").text(description);
    });
}

fn point(json: &mut Writer, timestamp: &str, value: impl FnOnce(&mut Writer)) {
    json.object(|json| {
        json.key("timestamp").text(timestamp);
        value(json.key("value"));
    });
}

const TOPICS_OF_PROJECT: &str =
    "Counter that displays the number of topics belonging to the specific project";
const SUBSCRIPTIONS_OF_PROJECT: &str =
    "Counter that displays the number of subscriptions belonging to the specific project";
const TOPICS_OF_USER: &str =
    "Counter that displays the number of topics that a user has access to the specific project";
const SUBSCRIPTIONS_OF_USER: &str = "Counter that displays the number of subscriptions that a user has access to the specific project";
const DAILY_OF_PROJECT: &str = "A collection of counters that represents the total number of messages published each day to all of the project's topics";
const SUBSCRIPTIONS_OF_TOPIC: &str =
    "Counter that displays the number of subscriptions belonging to a specific topic";
const MESSAGES_OF_TOPIC: &str =
    "Counter that displays the number of messages published to the specific topic";
const BYTES_OF_TOPIC: &str =
    "Counter that displays the total size of data (in bytes) published to the specific topic";
const DAILY_OF_TOPIC: &str = "A collection of counters that represents the total number of messages published each day to a specific topic";
const PUBLISHING_RATE: &str = "A rate that displays how many messages were published per second between the last two publish events";
const MESSAGES_OF_SUBSCRIPTION: &str =
    "Counter that displays the number of messages consumed from the specific subscription";
const BYTES_OF_SUBSCRIPTION: &str = "Counter that displays the total size of data (in bytes) consumed from the specific subscription";
const CONSUMPTION_RATE: &str = "A rate that displays how many messages were consumed per second between the last two consume events";
const CPU_OF_NODE: &str =
    "Percentage value that displays the CPU usage of ams service in the specific node";
const MEMORY_OF_NODE: &str =
    "Percentage value that displays the Memory usage of ams service in the specific node";
