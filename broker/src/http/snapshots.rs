//! Snapshots (ours, by Google's REST names).

use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, Writer, object, text};
use super::paging;
use super::reply::Reply;
use crate::domain::{ProjectName, SnapshotName, SubscriptionName};
use crate::service::{Caller, Error, SnapshotView};

/// `GET /v1/projects/{project}/snapshots`
pub(super) async fn list(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let page = call.broker.snapshots(caller, paging::wanted(call.query)?)?;
    Ok(paging::reply("snapshots", &page, write))
}

/// `GET /v1/projects/{project}/snapshots/{snapshot}`
pub(super) async fn show(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SnapshotName,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.snapshot(caller, name)?))
}

/// `PUT /v1/projects/{project}/snapshots/{snapshot}`,
/// `{"subscription": "projects/P/subscriptions/S"}`. As with topics, only S counts.
pub(super) async fn create(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SnapshotName,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct NewSnapshot(String);

    impl<'de> Fields<'de> for NewSnapshot {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "subscription" => self.0 = text(map)?,
                _ => return Ok(false),
            }
            Ok(true)
        }
    }

    let body = call.body.read().await?;
    let NewSnapshot(of) = object(&body).map_err(|_| Refusal::Argument(argument::SNAPSHOT))?;
    let of =
        short_name(&of, "subscriptions").ok_or(Refusal::Argument(argument::SUBSCRIPTION_REF))?;
    // What is no lawful name names no subscription.
    let of: SubscriptionName = of.parse().map_err(|_| Error::SubscriptionNotFound)?;
    Ok(reply(&call.broker.create_snapshot(caller, name, &of).await?))
}

/// `DELETE /v1/projects/{project}/snapshots/{snapshot}`
pub(super) async fn delete(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SnapshotName,
) -> Result<Reply, Refusal> {
    call.broker.delete_snapshot(caller, name).await?;
    Ok(Reply::empty())
}

/// The last part of `projects/P/KIND/NAME`, with a leading slash or without.
pub(super) fn short_name<'r>(reference: &'r str, kind: &str) -> Option<&'r str> {
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    let segments: Vec<_> = reference.split('/').collect();
    match segments.as_slice() {
        ["projects", _, third, name] if *third == kind => Some(name),
        _ => None,
    }
}

fn reply(snapshot: &SnapshotView) -> Reply {
    let mut json = Writer::indented();
    write(&mut json, snapshot);
    Reply::ok(json.finish())
}

fn write(json: &mut Writer, snapshot: &SnapshotView) {
    let SnapshotView { project, name, subscription, topic, position, created } = snapshot;
    json.object(|json| {
        json.key("name").text(&format!("/projects/{project}/snapshots/{name}"));
        json.key("subscription").text(&format!("/projects/{project}/subscriptions/{subscription}"));
        json.key("topic").text(&format!("/projects/{project}/topics/{topic}"));
        json.key("offset").number(position.0);
        json.key("createdOn").text(&created.to_seconds_text());
    });
}
