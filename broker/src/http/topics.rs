//! Topics (`ams-contract.md` 5.4, 7).

use serde::de::MapAccess;

use super::alert;
use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Alert, Fields, Text, Writer, object, text};
use super::reply::Reply;
use super::{acl, paging, retention, schemas};
use crate::domain::{ProjectName, TopicName};
use crate::service::{Caller, TopicView};

/// `GET /v1/projects/{project}/topics`
pub(super) async fn list(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let page = call.broker.topics(caller, paging::wanted(call.query)?)?;
    Ok(paging::reply("topics", &page, write))
}

/// `GET /v1/projects/{project}/topics/{topic}`
pub(super) async fn show(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.topic(caller, name)?))
}

/// `PUT /v1/projects/{project}/topics/{topic}`. The body may be absent; else it is an object of
/// texts, of which only `schema` matters, beside the object `alert` and what the topic keeps.
pub(super) async fn create(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct NewTopic {
        schema: String,
        alert: Alert,
        retention: retention::Wanted,
    }

    impl<'de> Fields<'de> for NewTopic {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "schema" => self.schema = text(map)?,
                "alert" => self.alert = map.next_value()?,
                key if self.retention.field(key, map)? => {}
                _ => drop(map.next_value::<Text<'de>>()?),
            }
            Ok(true)
        }
    }

    let body = call.body.read().await?;
    let new: NewTopic = match body.as_ref() {
        [] => NewTopic::default(),
        body => object(body).map_err(|_| Refusal::UnreadableBody)?,
    };
    let alert = alert::settings(new.alert)?;
    let retention = retention::settings(new.retention, call.broker.longest_retention())?;
    let schema = schemas::reference(&new.schema)?;
    Ok(reply(&call.broker.create_topic(caller, name, alert, retention, schema).await?))
}

/// `POST /v1/projects/{project}/topics/{topic}:attachSchema`. The body as at creation: without a
/// schema it detaches.
pub(super) async fn attach_schema(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct Attached(String);

    impl<'de> Fields<'de> for Attached {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            let given = text(map)?;
            if key == "schema" {
                self.0 = given;
            }
            Ok(true)
        }
    }

    call.broker.topic(caller, name)?;
    let body = call.body.read().await?;
    let Attached(given) = match body.as_ref() {
        [] => Attached::default(),
        body => object(body).map_err(|_| Refusal::UnreadableBody)?,
    };
    call.broker.set_topic_schema(caller, name, schemas::reference(&given)?).await?;
    Ok(Reply::empty())
}

/// `POST /v1/projects/{project}/topics/{topic}:detachSchema`
pub(super) async fn detach_schema(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    call.broker.set_topic_schema(caller, name, None).await?;
    Ok(Reply::empty())
}

/// `DELETE /v1/projects/{project}/topics/{topic}`
pub(super) async fn delete(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    call.broker.delete_topic(caller, name).await?;
    Ok(Reply::empty())
}

/// `GET /v1/projects/{project}/topics/{topic}:acl`
pub(super) async fn acl(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    Ok(acl::show(&call.broker.topic_acl(caller, name)?))
}

/// `POST /v1/projects/{project}/topics/{topic}:modifyAcl`
pub(super) async fn modify_acl(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    let users = acl::replacement(call, argument::TOPIC_ACL).await?;
    call.broker.set_topic_acl(caller, name, users).await?;
    Ok(Reply::empty())
}

/// `POST /v1/projects/{project}/topics/{topic}:modifyAlert` (ours)
pub(super) async fn modify_alert(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    let alert = alert::replacement(call).await?;
    call.broker.set_topic_alert(caller, name, alert).await?;
    Ok(Reply::empty())
}

/// `POST /v1/projects/{project}/topics/{topic}:modifyRetention` (ours)
pub(super) async fn modify_retention(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &TopicName,
) -> Result<Reply, Refusal> {
    let retention = retention::replacement(call).await?;
    call.broker.set_topic_retention(caller, name, retention).await?;
    Ok(Reply::empty())
}

fn reply(topic: &TopicView) -> Reply {
    let mut json = Writer::indented();
    write(&mut json, topic);
    Reply::ok(json.finish())
}

fn write(json: &mut Writer, topic: &TopicView) {
    json.object(|json| {
        json.key("name").text(&format!("/projects/{}/topics/{}", topic.project, topic.name));
        if let Some(schema) = &topic.schema {
            json.key("schema").text(&schemas::full_name(&topic.project, schema));
        }
        json.key("created_on").text(&topic.created.to_seconds_text());
        alert::write(json, &topic.alert);
        retention::write(json, &topic.retention);
    });
}
