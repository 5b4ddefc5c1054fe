//! The directory's JSON. Unknown keys and kinds are left out: a newer broker may say more.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::DecodeError;
use crate::clock::Time;
use crate::series::{
    AlertSettings, Deleted, DirectoryChange, Object, ObjectKind, Project, Scope, Subscription,
    Topic, User,
};

#[derive(Deserialize)]
struct Body {
    store: String,
    scope: String,
    from: Option<u64>,
    to: u64,
    #[serde(default)]
    objects: Vec<WireObject>,
    #[serde(default)]
    deleted: Vec<WireDeleted>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum WireObject {
    Project(WireProject),
    User(WireUser),
    Topic(WireTopic),
    Subscription(WireSubscription),
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct WireProject {
    id: Uuid,
    name: String,
    #[serde(default)]
    alert: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUser {
    id: Uuid,
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    token_sha256: String,
    #[serde(default)]
    projects: Vec<WireMembership>,
    #[serde(default)]
    service_roles: BTreeSet<String>,
}

#[derive(Deserialize)]
struct WireMembership {
    project: Uuid,
    #[serde(default)]
    roles: BTreeSet<String>,
}

#[derive(Deserialize)]
struct WireTopic {
    id: Uuid,
    name: String,
    #[serde(default)]
    alert: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSubscription {
    id: Uuid,
    name: String,
    topic: String,
    topic_id: Option<Uuid>,
    ack_deadline_seconds: u64,
    #[serde(default)]
    dead_letter_topic: Option<Box<str>>,
    #[serde(default)]
    acl: Box<[Uuid]>,
    created: String,
    #[serde(default)]
    alert: Value,
}

#[derive(Deserialize)]
struct WireDeleted {
    kind: String,
    id: Uuid,
    #[serde(default)]
    name: String,
    #[serde(default)]
    by: String,
    at: Option<String>,
}

/// Reads a directory change.
///
/// # Errors
/// Not JSON, not this format, or an object without what it must have.
pub fn directory(body: &[u8]) -> Result<DirectoryChange, DecodeError> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let malformed = |error: serde_json::Error| DecodeError::Malformed(error.to_string());
    let Format { format } = serde_json::from_slice(body).map_err(malformed)?;
    if format != 1 {
        return Err(DecodeError::Format(format));
    }
    let body: Body = serde_json::from_slice(body).map_err(malformed)?;
    let scope = if body.scope == "service" {
        Scope::Service
    } else {
        let id = Uuid::try_parse(&body.scope)
            .map_err(|_| DecodeError::Malformed(String::from("scope is no project id")))?;
        Scope::Project(id)
    };
    let mut objects = Vec::with_capacity(body.objects.len());
    for object in body.objects {
        objects.extend(known_object(object, scope)?);
    }
    Ok(DirectoryChange {
        store: body.store,
        scope,
        from: body.from,
        to: body.to,
        objects,
        deleted: body.deleted.into_iter().filter_map(deletion).collect(),
        more: body.more,
    })
}

fn known_object(object: WireObject, scope: Scope) -> Result<Option<Object>, DecodeError> {
    let project = match scope {
        Scope::Service => Uuid::nil(),
        Scope::Project(id) => id,
    };
    Ok(Some(match object {
        WireObject::Project(wire) => Object::Project(Project {
            id: wire.id,
            name: wire.name,
            alert: AlertSettings::from_json(&wire.alert),
        }),
        WireObject::User(wire) => {
            let mut projects: BTreeMap<Uuid, BTreeSet<String>> = BTreeMap::new();
            for membership in wire.projects {
                projects.entry(membership.project).or_default().extend(membership.roles);
            }
            Object::User(User {
                id: wire.id,
                name: wire.name,
                email: wire.email,
                token_sha256: wire.token_sha256.to_ascii_lowercase(),
                projects,
                service_roles: wire.service_roles,
            })
        }
        WireObject::Topic(wire) => {
            Object::Topic(Topic { id: wire.id, project, name: wire.name, alert: said(&wire.alert) })
        }
        WireObject::Subscription(wire) => Object::Subscription(Subscription {
            id: wire.id,
            project,
            name: wire.name,
            topic: wire.topic,
            topic_id: wire.topic_id,
            ack_deadline_seconds: wire.ack_deadline_seconds,
            dead_letter_topic: wire.dead_letter_topic,
            acl: wire.acl,
            created: time(&wire.created)?,
            alert: said(&wire.alert),
        }),
        WireObject::Unknown => return Ok(None),
    }))
}

fn said(alert: &Value) -> Option<Box<AlertSettings>> {
    let settings = AlertSettings::from_json(alert);
    (settings != AlertSettings::default()).then(|| Box::new(settings))
}

fn time(text: &str) -> Result<Time, DecodeError> {
    Time::parse_rfc3339(text)
        .ok_or_else(|| DecodeError::Malformed(String::from("a time is not RFC 3339")))
}

fn deletion(wire: WireDeleted) -> Option<Deleted> {
    let kind = match wire.kind.as_str() {
        "project" => ObjectKind::Project,
        "user" => ObjectKind::User,
        "topic" => ObjectKind::Topic,
        "subscription" => ObjectKind::Subscription,
        _ => return None,
    };
    let at = wire.at.as_deref().and_then(Time::parse_rfc3339);
    Some(Deleted { kind, id: wire.id, name: wire.name, by: wire.by, at })
}
