//! The directory: who and what there is, in the JSON of `POST /v1/directory`.

use std::time::Duration;

use serde_json::{Value, json};

use super::encode::REQUEST_BYTES;
use crate::domain::records::{ProjectRecord, Record, SubscriptionRecord, TopicRecord, UserRecord};
use crate::domain::{TopicId, TopicName};
use crate::service::Scope;
use crate::service::ScopeChange;

/// The wire's version.
const FORMAT: u64 = 1;

/// The requests that carry `change` of `scope`, in order. A change set that needs more than one
/// request is impossible on the wire: `None` then, and the scope is to be sent whole.
///
/// `life` answers the present life of a topic's name in this scope, `keeps` for how long a topic
/// keeps its messages.
pub(super) fn requests(
    store: u64,
    scope: Scope,
    change: &ScopeChange,
    life: &dyn Fn(&TopicName) -> Option<TopicId>,
    keeps: &dyn Fn(&TopicRecord) -> Duration,
) -> Option<Vec<Vec<u8>>> {
    let mut parts: Vec<Vec<Value>> = vec![Vec::new()];
    let mut bytes = 0;
    for value in change.records.iter().filter_map(|record| object(record, life, keeps)) {
        let length = value.to_string().len() + 1;
        if bytes > 0 && bytes + length > REQUEST_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        parts.last_mut()?.push(value);
    }
    if change.from.is_some() && parts.len() > 1 {
        return None;
    }
    let deleted: Vec<Value> = change
        .deleted
        .iter()
        .map(|gone| {
            json!({
                "kind": gone.kind,
                "id": gone.id,
                "name": gone.name,
                "by": gone.by,
                "at": gone.at.to_nanos_text(),
            })
        })
        .collect();
    let scope = match scope {
        Scope::Service => String::from("service"),
        Scope::Project(id) => id.to_string(),
    };
    let last = parts.len() - 1;
    let requests = parts.into_iter().enumerate().map(|(at, objects)| {
        let request = json!({
            "format": FORMAT,
            "store": format!("{store:016x}"),
            "scope": scope,
            "from": change.from,
            "to": change.to,
            "objects": objects,
            "deleted": if at == 0 { deleted.as_slice() } else { &[] },
            "more": at < last,
        });
        request.to_string().into_bytes()
    });
    Some(requests.collect())
}

/// An object as metrics-svc wants it; nothing for what is about to go.
fn object(
    record: &Record,
    life: &dyn Fn(&TopicName) -> Option<TopicId>,
    keeps: &dyn Fn(&TopicRecord) -> Duration,
) -> Option<Value> {
    match record {
        Record::Project(project) => Some(of_project(project)),
        Record::User(user) => Some(of_user(user)),
        Record::Topic(topic) if topic.marked => None,
        Record::Topic(topic) => Some(of_topic(topic, keeps(topic))),
        Record::Subscription(subscription) => {
            Some(of_subscription(subscription, life(&subscription.topic)))
        }
        Record::Registration(_)
        | Record::Schema(_)
        | Record::Trash(_)
        | Record::Usage(_)
        | Record::Audit(_)
        | Record::Snapshot(_) => None,
    }
}

fn of_project(project: &ProjectRecord) -> Value {
    let object = json!({
        "kind": "project",
        "id": project.id,
        "name": project.name,
        "created": project.created.to_nanos_text(),
    });
    with_alert(object, &project.alert)
}

fn of_user(user: &UserRecord) -> Value {
    let roles = |roles: &[crate::domain::roles::ProjectRole]| -> Vec<String> {
        roles.iter().map(ToString::to_string).collect()
    };
    let projects: Vec<Value> = user
        .projects
        .iter()
        .map(|of| json!({"project": of.project, "roles": roles(&of.roles)}))
        .collect();
    let service: Vec<_> = user.service_roles.iter().map(|role| role.as_str()).collect();
    json!({
        "kind": "user",
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "tokenSha256": user.token_sha256,
        "projects": projects,
        "serviceRoles": service,
    })
}

fn of_topic(topic: &TopicRecord, keeps: Duration) -> Value {
    let object = json!({
        "kind": "topic",
        "id": topic.id,
        "name": topic.name,
        "created": topic.created.to_nanos_text(),
        "acl": topic.acl,
        "retentionSeconds": keeps.as_secs_f64(),
        "retentionBytes": topic.retention.bytes,
    });
    with_alert(object, &topic.alert)
}

fn of_subscription(subscription: &SubscriptionRecord, life: Option<TopicId>) -> Value {
    let mut object = json!({
        "kind": "subscription",
        "id": subscription.id,
        "name": subscription.name,
        "topic": subscription.topic,
        "topicId": life,
        "ackDeadlineSeconds": subscription.ack_deadline_seconds,
        "ackMode": subscription.ack_mode.as_str(),
        "acl": subscription.acl,
        "created": subscription.created.to_nanos_text(),
    });
    if let (Some(letters), Value::Object(keys)) = (&subscription.dead_letters, &mut object) {
        keys.insert(String::from("deadLetterTopic"), json!(letters.topic));
    }
    with_alert(object, &subscription.alert)
}

fn with_alert(mut object: Value, alert: &crate::domain::AlertSettings) -> Value {
    if !alert.is_empty()
        && let Value::Object(keys) = &mut object
    {
        keys.insert(String::from("alert"), json!(alert));
    }
    object
}
