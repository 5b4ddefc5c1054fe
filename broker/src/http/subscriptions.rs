//! Subscriptions (`ams-contract.md` 5.5, 9); pull and acknowledge are in [`super::pull`].

use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Alert, Fields, Object, Writer, integer, object, text};
use super::pull::ack_prefix;
use super::push::{self, PushConfig};
use super::reply::Reply;
use super::{acl, alert, leases, paging, zulu};
use crate::domain::records::AckMode;
use crate::domain::{Offset, ProjectName, SubscriptionName, TopicName};
use crate::service::{Caller, Error, NewSubscription, SubscriptionView};

/// `GET /v1/projects/{project}/subscriptions`
pub(super) async fn list(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let page = call.broker.subscriptions(caller, paging::wanted(call.query)?)?;
    Ok(paging::reply("subscriptions", &page, write))
}

/// `GET /v1/projects/{project}/topics/{topic}/subscriptions`
pub(super) async fn list_by_topic(
    call: &Call<'_>,
    caller: &Caller,
    project: &ProjectName,
    topic: &TopicName,
) -> Result<Reply, Refusal> {
    let names = call.broker.subscriptions_of(caller, topic)?;
    let names = names.iter().map(|name| full_name(project, name));
    let mut json = Writer::compact();
    json.object(|json| json.key("subscriptions").texts(names));
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/projects/{project}/subscriptions/{subscription}`
pub(super) async fn show(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let subscription = call.broker.subscription(caller, name)?;
    let mut json = Writer::indented();
    write_with(&mut json, &subscription, |json| push::write_status(json, &subscription.push));
    Ok(Reply::ok(json.finish()))
}

/// `PUT /v1/projects/{project}/subscriptions/{subscription}`
pub(super) async fn create(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let body = call.body.read().await?;
    let new: Body = object(&body).map_err(|_| Refusal::Argument(argument::SUBSCRIPTION))?;
    let alert = alert::settings(new.alert)?;
    let topic = short_name(&new.topic).ok_or(Refusal::Argument(argument::TOPIC_REF))?;
    // What is no lawful name names no topic.
    let topic: TopicName = topic.parse().map_err(|_| Error::TopicNotFound)?;
    let ack_deadline_seconds = match new.ack_deadline_seconds {
        0 => 10,
        seconds => seconds,
    };
    let Object(push) = new.push_config;
    let ack_mode = match new.ack_mode.as_str() {
        "" | "cumulative" => AckMode::Cumulative,
        "individual" => AckMode::Individual,
        _ => return Err(Refusal::Argument(argument::ACK_MODE)),
    };
    let Object(dead_letters) = new.dead_letters;
    let dead_letters = dead_letters.settings(&topic, ack_mode)?;
    let push = push.into_request();
    let new = NewSubscription { topic, ack_deadline_seconds, ack_mode, dead_letters, push, alert };
    Ok(reply(&call.broker.create_subscription(caller, name, new).await?))
}

#[derive(Default)]
struct Body {
    topic: String,
    ack_deadline_seconds: i64,
    ack_mode: String,
    dead_letters: Object<leases::DeadLetterPolicy>,
    push_config: Object<PushConfig>,
    alert: Alert,
}

impl<'de> Fields<'de> for Body {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "topic" => self.topic = text(map)?,
            "ackdeadlineseconds" => self.ack_deadline_seconds = integer(map)?,
            "ackmode" => self.ack_mode = text(map)?,
            "deadletterpolicy" => self.dead_letters = map.next_value()?,
            "pushconfig" => self.push_config = map.next_value()?,
            "alert" => self.alert = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The short name in a reference to a topic; `None` when it is none. As lenient as AMS (O16), also
/// about a leading slash (O17); the project in it does not matter, the path's is used (O15).
pub(super) fn short_name(reference: &str) -> Option<&str> {
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    let segments: Vec<_> = reference.split('/').collect();
    match segments.as_slice() {
        [first, _, third, name] if *first == "projects" || *third == "topics" => Some(name),
        _ => None,
    }
}

/// `DELETE /v1/projects/{project}/subscriptions/{subscription}`
pub(super) async fn delete(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let was_pushed = call.broker.delete_subscription(caller, name).await?;
    Ok(if was_pushed { push::deleted() } else { Reply::empty() })
}

/// `GET /v1/projects/{project}/subscriptions/{subscription}:acl`
pub(super) async fn acl(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    Ok(acl::show(&call.broker.subscription_acl(caller, name)?))
}

/// `POST /v1/projects/{project}/subscriptions/{subscription}:modifyAcl`
pub(super) async fn modify_acl(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let users = acl::replacement(call, argument::SUBSCRIPTION_ACL).await?;
    call.broker.set_subscription_acl(caller, name, users).await?;
    Ok(Reply::empty())
}

/// `POST /v1/projects/{project}/subscriptions/{subscription}:modifyAlert` (ours)
pub(super) async fn modify_alert(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let alert = alert::replacement(call).await?;
    call.broker.set_subscription_alert(caller, name, alert).await?;
    Ok(Reply::empty())
}

/// A body with one number; without it, 0 (O60: a missing deadline is 0 seconds, as in AMS).
struct Number<const DEADLINE: bool>(i64);

impl<const DEADLINE: bool> Default for Number<DEADLINE> {
    fn default() -> Self {
        Self(0)
    }
}

impl<'de, const DEADLINE: bool> Fields<'de> for Number<DEADLINE> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        let wanted = if DEADLINE { "ackdeadlineseconds" } else { "offset" };
        if key == wanted {
            self.0 = integer(map)?;
        }
        Ok(key == wanted)
    }
}

/// `POST /v1/projects/{project}/subscriptions/{subscription}:modifyAckDeadline`: of the subscription,
/// or (ours) of the leases that `ackIds` names under `ackMode: individual`; 0 gives them back.
pub(super) async fn modify_ack_deadline(
    call: &Call<'_>,
    caller: &Caller,
    project: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let body = call.body.read().await?;
    let seconds = object::<Number<true>>(&body).ok().map(|Number(seconds)| seconds);
    let seconds = seconds
        .filter(|seconds| (0..=600).contains(seconds))
        .ok_or(Refusal::Argument(argument::ACK_DEADLINE))?;
    let acker = call.broker.acker(caller, name)?;
    if acker.ack_mode() == AckMode::Individual
        && let Some(ids) = leases::ids_of(&body, &ack_prefix(project, name), true)?
    {
        acker.extend_each(ids, seconds).await?;
        return Ok(Reply::empty());
    }
    call.broker.set_ack_deadline(caller, name, seconds).await?;
    Ok(Reply::empty())
}

/// `GET /v1/projects/{project}/subscriptions/{subscription}:offsets`
pub(super) async fn offsets(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let offsets = call.broker.offsets(caller, name).await?;
    let mut json = Writer::indented();
    json.object(|json| {
        json.key("max").number(offsets.max);
        json.key("min").number(offsets.min);
        json.key("current").number(offsets.current);
    });
    Ok(Reply::ok(json.finish()))
}

/// `POST /v1/projects/{project}/subscriptions/{subscription}:modifyOffset`
pub(super) async fn modify_offset(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let body = call.body.read().await?;
    let Number(offset) =
        object::<Number<false>>(&body).map_err(|_| Refusal::Argument(argument::OFFSET))?;
    let Ok(offset) = u64::try_from(offset) else {
        call.broker.subscription(caller, name)?;
        return Err(Error::OffsetOutOfBounds.into());
    };
    call.broker.seek(caller, name, Offset(offset)).await?;
    Ok(Reply::empty())
}

/// `GET /v1/projects/{project}/subscriptions/{subscription}:timeToOffset`
pub(super) async fn time_to_offset(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    call.broker.subscription(caller, name)?;
    let time = call.query.get("time").as_deref().and_then(zulu::parse);
    let time = time.ok_or(Refusal::Argument(argument::ZULU))?;
    let offset = call.broker.offset_at(caller, name, time).await?;
    let mut json = Writer::compact();
    json.object(|json| json.key("offset").number(offset));
    Ok(Reply::ok(json.finish()))
}

fn full_name(project: &ProjectName, name: &SubscriptionName) -> String {
    format!("/projects/{project}/subscriptions/{name}")
}

fn reply(subscription: &SubscriptionView) -> Reply {
    let mut json = Writer::indented();
    write(&mut json, subscription);
    Reply::ok(json.finish())
}

fn write(json: &mut Writer, subscription: &SubscriptionView) {
    write_with(json, subscription, |_| {});
}

/// With what `status` writes of how pushing goes.
fn write_with(
    json: &mut Writer,
    subscription: &SubscriptionView,
    status: impl FnOnce(&mut Writer),
) {
    json.object(|json| {
        let SubscriptionView { project, name, topic, .. } = subscription;
        json.key("name").text(&full_name(project, name));
        json.key("topic").text(&format!("/projects/{project}/topics/{topic}"));
        push::write(json, &subscription.push);
        json.key("ackDeadlineSeconds").number(subscription.ack_deadline_seconds);
        // Clients of AMS know nothing of it.
        if subscription.ack_mode != AckMode::Cumulative {
            json.key("ackMode").text(subscription.ack_mode.as_str());
        }
        if let Some(dead_letters) = &subscription.dead_letters {
            leases::write_policy(json, project, dead_letters);
        }
        status(json);
        json.key("createdOn").text(&subscription.created.to_seconds_text());
        alert::write(json, &subscription.alert);
    });
}
