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

/// A change of a scope fits in one request of this length, or the scope is sent whole; the receiver
/// takes twice as much.
const CHANGE_BYTES: usize = 4 * 1024 * 1024;

/// The requests that carry `change` of `scope`, in order; each is made when it is asked for, for a
/// whole scope is many times what it takes in memory. A change set that needs more than one request
/// is impossible on the wire: `None` then, and the scope is to be sent whole.
///
/// `life` answers the present life of a topic's name in this scope, `keeps` for how long a topic
/// keeps its messages.
pub(super) fn requests<'a>(
    store: u64,
    scope: Scope,
    change: &'a ScopeChange,
    life: &'a (dyn Fn(&TopicName) -> Option<TopicId> + Sync),
    keeps: &'a (dyn Fn(&TopicRecord) -> Duration + Sync),
) -> Option<impl Iterator<Item = Vec<u8>> + Send + 'a> {
    let most = if change.from.is_some() { CHANGE_BYTES } else { REQUEST_BYTES };
    let mut objects = change
        .records
        .iter()
        .filter_map(move |record| object(record, life, keeps))
        .map(|object| object.to_string())
        .peekable();
    let mut deleted = deletions(change);
    let scope = match scope {
        Scope::Service => String::from("service"),
        Scope::Project(id) => id.to_string(),
    };
    let mut ended = false;
    let mut parts = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let head = json!({
            "format": FORMAT,
            "store": format!("{store:016x}"),
            "scope": scope,
            "from": change.from,
            "to": change.to,
            "deleted": std::mem::take(&mut deleted),
        });
        let mut body = head.to_string();
        // Its closing brace comes behind the objects.
        body.pop();
        body.push_str(",\"objects\":[");
        let mut bytes = 0;
        while let Some(next) = objects.next_if(|next| bytes == 0 || bytes + next.len() < most) {
            if bytes > 0 {
                body.push(',');
            }
            bytes += next.len() + 1;
            body.push_str(&next);
        }
        ended = objects.peek().is_none();
        body.push_str(if ended { "],\"more\":false}" } else { "],\"more\":true}" });
        Some(body.into_bytes())
    });
    let first = parts.next();
    if change.from.is_some() && parts.next().is_some() {
        return None;
    }
    Some(first.into_iter().chain(parts))
}

fn deletions(change: &ScopeChange) -> Vec<Value> {
    let deleted = change.deleted.iter().map(|gone| {
        json!({
            "kind": gone.kind,
            "id": gone.id,
            "name": gone.name,
            "by": gone.by,
            "at": gone.at.to_nanos_text(),
        })
    });
    deleted.collect()
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
