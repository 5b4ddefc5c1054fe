//! What a change leaves in the audit log. It follows from what is written, compared with what was
//! there, so that no verb can forget it.

use super::catalogue::{ProjectIndex, ServiceIndex, Write};
use crate::domain::audit::Operation;
use crate::domain::records::{
    ProjectRecord, Record, RegistrationRecord, RegistrationStatus, SchemaRecord,
    SubscriptionRecord, TopicRecord, UserRecord,
};
use crate::domain::{AlertSettings, ProjectId, RetentionSettings, SchemaId, UserId};

/// One thing done, before names are put to it.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    pub(super) operation: Operation,
    /// In full, but in a project's scope without the project: `/topics/t`.
    pub(super) resource: String,
    /// Whose admins may see it, where the scope does not say.
    pub(super) projects: Vec<ProjectId>,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) added: Vec<UserId>,
    pub(super) removed: Vec<UserId>,
}

impl Trace {
    pub(super) const fn new(operation: Operation, resource: String) -> Self {
        Self {
            operation,
            resource,
            projects: Vec::new(),
            from: String::new(),
            to: String::new(),
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    pub(super) fn between(self, from: impl ToString, to: impl ToString) -> Self {
        Self { from: from.to_string(), to: to.to_string(), ..self }
    }

    fn seen_in(self, projects: Vec<ProjectId>) -> Self {
        Self { projects, ..self }
    }

    /// A change of a list of users.
    fn acl(resource: String, old: &[UserId], new: &[UserId]) -> Option<Self> {
        let less = |all: &[UserId], without: &[UserId]| -> Vec<UserId> {
            all.iter().filter(|user| !without.contains(user)).copied().collect()
        };
        (old != new).then(|| Self {
            added: less(new, old),
            removed: less(old, new),
            ..Self::new(Operation::AclChange, resource)
        })
    }

    fn alert(resource: String, old: &AlertSettings, new: &AlertSettings) -> Option<Self> {
        let trace = Self::new(Operation::AlertChange, resource);
        (old != new).then(|| trace.between(alert_text(old), alert_text(new)))
    }
}

/// What `writes` do to the service's scope.
pub(super) fn of_service(index: &ServiceIndex, writes: &[Write]) -> Vec<Trace> {
    let mut traces = Vec::new();
    // What goes with a project is told by its deletion.
    let deleted: Vec<ProjectId> = removed_ids(writes, "project/").map(ProjectId).collect();
    for (key, record) in writes {
        match record {
            Some(Record::Project(new)) => project(index, new, &mut traces),
            Some(Record::User(new)) => user(index, new, &deleted, &mut traces),
            Some(Record::Registration(new)) => registration(index, new, &mut traces),
            Some(_) => {}
            None => traces.extend(removed_of_service(index, key)),
        }
    }
    traces
}

fn removed_of_service(index: &ServiceIndex, key: &str) -> Option<Trace> {
    let (kind, id) = key.split_once('/')?;
    let id = id.parse().ok()?;
    match kind {
        "project" => {
            let old = index.projects.get(&ProjectId(id))?;
            Some(Trace::new(Operation::ProjectDelete, format!("/projects/{}", old.name)))
        }
        "user" => {
            let old = index.users.get(&UserId(id))?;
            let seen_in = old.projects.iter().map(|held| held.project).collect();
            let trace = Trace::new(Operation::UserDelete, format!("/users/{}", old.name));
            Some(trace.seen_in(seen_in))
        }
        "registration" => {
            let old = index.registrations.get(&crate::domain::RegistrationId(id))?;
            let trace = Trace::new(Operation::RegistrationDelete, registration_name(old));
            Some(trace.between(&old.name, ""))
        }
        _ => None,
    }
}

fn project(index: &ServiceIndex, new: &ProjectRecord, traces: &mut Vec<Trace>) {
    let name = format!("/projects/{}", new.name);
    let seen = |trace: Trace| trace.seen_in(vec![new.id]);
    let Some(old) = index.projects.get(&new.id) else {
        traces.push(seen(Trace::new(Operation::ProjectCreate, name)));
        return;
    };
    if old.name != new.name {
        let trace = Trace::new(Operation::ProjectChange, name.clone());
        traces.push(seen(trace.between(&old.name, &new.name)));
    } else if old.description != new.description {
        let trace = Trace::new(Operation::ProjectChange, name.clone());
        traces.push(seen(trace.between(&old.description, &new.description)));
    }
    traces.extend(Trace::alert(name, &old.alert, &new.alert).map(seen));
}

fn user(index: &ServiceIndex, new: &UserRecord, deleted: &[ProjectId], traces: &mut Vec<Trace>) {
    let name = format!("/users/{}", new.name);
    let roles = |user: &UserRecord| words(user.service_roles.iter().map(ToString::to_string));
    let old = index.users.get(&new.id);
    if let Some(old) = old {
        let mut changed = Vec::new();
        if old.name != new.name {
            changed.push(format!("name {} -> {}", old.name, new.name));
        }
        for (field, old, new) in [
            ("email", &old.email, &new.email),
            ("first_name", &old.first_name, &new.first_name),
            ("last_name", &old.last_name, &new.last_name),
            ("organization", &old.organization, &new.organization),
            ("description", &old.description, &new.description),
        ] {
            if old != new {
                changed.push(field.to_owned());
            }
        }
        if !changed.is_empty() {
            let trace = Trace::new(Operation::UserChange, name.clone());
            traces.push(trace.between("", changed.join(", ")));
        }
        if old.token_sha256 != new.token_sha256 {
            traces.push(Trace::new(Operation::TokenRefresh, name.clone()));
        }
        if old.service_roles != new.service_roles {
            let trace = Trace::new(Operation::RolesChange, name);
            traces.push(trace.between(roles(old), roles(new)));
        }
    } else {
        traces.push(Trace::new(Operation::UserCreate, name).between("", roles(new)));
    }
    memberships(index, old.map(AsRef::as_ref), new, deleted, traces);
}

/// One line per project, which its admins may see.
fn memberships(
    index: &ServiceIndex,
    old: Option<&UserRecord>,
    new: &UserRecord,
    deleted: &[ProjectId],
    traces: &mut Vec<Trace>,
) {
    let held = |user: &UserRecord, project: ProjectId| {
        let held = user.projects.iter().find(|held| held.project == project);
        held.map(|held| words(held.roles.iter().map(ToString::to_string)))
    };
    let before = old.map(|old| old.projects.as_slice()).unwrap_or_default();
    let mut projects: Vec<ProjectId> =
        before.iter().chain(&new.projects).map(|held| held.project).collect();
    projects.sort_unstable();
    projects.dedup();
    for project in projects.into_iter().filter(|project| !deleted.contains(project)) {
        let (was, is) = (old.and_then(|old| held(old, project)), held(new, project));
        let operation = match (&was, &is) {
            (None, Some(_)) => Operation::MemberAdd,
            (Some(_), None) => Operation::MemberRemove,
            (was, is) if was != is => Operation::RolesChange,
            _ => continue,
        };
        let named = index.projects.get(&project).map(|project| project.name.to_string());
        let named = named.unwrap_or_else(|| project.to_string());
        let trace = Trace::new(operation, format!("/projects/{named}/members/{}", new.name));
        let trace = trace.between(was.unwrap_or_default(), is.unwrap_or_default());
        traces.push(trace.seen_in(vec![project]));
    }
}

fn registration(index: &ServiceIndex, new: &RegistrationRecord, traces: &mut Vec<Trace>) {
    let is_new = !index.registrations.contains_key(&new.id);
    let operation = match new.status {
        RegistrationStatus::Pending if is_new => Operation::RegistrationCreate,
        RegistrationStatus::Pending => return,
        RegistrationStatus::Accepted => Operation::RegistrationAccept,
        RegistrationStatus::Declined => Operation::RegistrationDecline,
    };
    traces.push(Trace::new(operation, registration_name(new)).between("", &new.name));
}

fn registration_name(record: &RegistrationRecord) -> String {
    format!("/registrations/{}", record.id)
}

/// What `writes` do to a project's scope.
pub(super) fn of_project(index: &ProjectIndex, writes: &[Write]) -> Vec<Trace> {
    let mut traces = Vec::new();
    // What loses its schema with the schema is told by the schema's deletion.
    let deleted: Vec<SchemaId> = removed_ids(writes, "schema/").map(SchemaId).collect();
    for (key, record) in writes {
        match record {
            Some(Record::Topic(new)) => topic(index, new, &deleted, &mut traces),
            Some(Record::Subscription(new)) => subscription(index, new, &mut traces),
            Some(Record::Snapshot(new)) => {
                let name = format!("/snapshots/{}", new.name);
                let trace = Trace::new(Operation::SnapshotCreate, name);
                traces.push(trace.between("", format!("{} at {}", new.subscription, new.position)));
            }
            Some(Record::Schema(new)) => schema(index, new, &mut traces),
            Some(_) => {}
            None => traces.extend(removed_of_project(index, key)),
        }
    }
    traces
}

fn removed_of_project(index: &ProjectIndex, key: &str) -> Option<Trace> {
    let (kind, name) = key.split_once('/')?;
    match kind {
        // That of a marked one was told when it was marked.
        "topic" => {
            index.topic(&name.parse().ok()?)?;
            Some(Trace::new(Operation::TopicDelete, format!("/topics/{name}")))
        }
        "sub" => {
            index.subscriptions.get(&name.parse().ok()?)?;
            let name = format!("/subscriptions/{name}");
            Some(Trace::new(Operation::SubscriptionDelete, name))
        }
        "snapshot" => {
            index.snapshots.get(&name.parse().ok()?)?;
            Some(Trace::new(Operation::SnapshotDelete, format!("/snapshots/{name}")))
        }
        "schema" => {
            let old = index.schemas.get(&SchemaId(name.parse().ok()?))?;
            let name = format!("/schemas/{}", old.record.name);
            Some(Trace::new(Operation::SchemaDelete, name))
        }
        _ => None,
    }
}

fn topic(index: &ProjectIndex, new: &TopicRecord, deleted: &[SchemaId], traces: &mut Vec<Trace>) {
    let name = format!("/topics/{}", new.name);
    let Some(old) = index.topics.get(&new.name).filter(|old| old.id == new.id) else {
        traces.push(Trace::new(Operation::TopicCreate, name));
        return;
    };
    if new.marked {
        if !old.marked {
            traces.push(Trace::new(Operation::TopicDelete, name));
        }
        return;
    }
    traces.extend(Trace::acl(name.clone(), &old.acl, &new.acl));
    traces.extend(Trace::alert(name.clone(), &old.alert, &new.alert));
    if old.retention != new.retention {
        let trace = Trace::new(Operation::RetentionChange, name.clone());
        let (from, to) = (retention_text(&old.retention), retention_text(&new.retention));
        traces.push(trace.between(from, to));
    }
    if old.schema != new.schema && !old.schema.is_some_and(|old| deleted.contains(&old)) {
        let of = |topic: &TopicRecord| {
            let schema = index.schema_of(topic).map(|schema| schema.record.name.to_string());
            schema.unwrap_or_default()
        };
        let is_attached = new.schema.is_some();
        let operation = if is_attached { Operation::SchemaAttach } else { Operation::SchemaDetach };
        traces.push(Trace::new(operation, name).between(of(old), of(new)));
    }
}

fn subscription(index: &ProjectIndex, new: &SubscriptionRecord, traces: &mut Vec<Trace>) {
    let name = format!("/subscriptions/{}", new.name);
    let Some(old) = index.subscriptions.get(&new.name).filter(|old| old.id == new.id) else {
        let trace = Trace::new(Operation::SubscriptionCreate, name);
        let parts = [format!("topic {}", new.topic), push_text(new)];
        traces.push(trace.between("", words(parts.into_iter().filter(|part| !part.is_empty()))));
        return;
    };
    traces.extend(Trace::acl(name.clone(), &old.acl, &new.acl));
    traces.extend(Trace::alert(name.clone(), &old.alert, &new.alert));
    if old.push != new.push {
        let trace = Trace::new(Operation::PushChange, name.clone());
        traces.push(trace.between(push_text(old), push_text(new)));
    }
    let (from, to) = (old.ack_deadline_seconds, new.ack_deadline_seconds);
    if from != to {
        traces.push(Trace::new(Operation::DeadlineChange, name).between(from, to));
    }
}

/// Where it is pushed to: of an address the host alone, for the rest may be secret.
fn push_text(record: &SubscriptionRecord) -> String {
    let Some(push) = record.push.as_deref() else { return String::new() };
    let http = push.http();
    let to = http.map(|http| http.endpoint.authority());
    let verified = http.filter(|http| http.verified).map(|_| "verified");
    let parts = [Some(push.destination.as_str()), to.as_deref(), verified];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn schema(index: &ProjectIndex, new: &SchemaRecord, traces: &mut Vec<Trace>) {
    let name = format!("/schemas/{}", new.name);
    match index.schemas.get(&new.id).map(|known| &known.record) {
        None => traces.push(Trace::new(Operation::SchemaCreate, name)),
        Some(old) if old == new => {}
        Some(old) => {
            let text = |schema: &SchemaRecord| format!("{} ({})", schema.name, schema.language);
            let trace = Trace::new(Operation::SchemaChange, name);
            traces.push(trace.between(text(old), text(new)));
        }
    }
}

/// The ids of what is removed under keys that begin with `before`.
fn removed_ids<'w>(writes: &'w [Write], before: &str) -> impl Iterator<Item = uuid::Uuid> + 'w {
    let before = before.to_owned();
    writes.iter().filter(|(_, record)| record.is_none()).filter_map(move |(key, _)| {
        let id = key.strip_prefix(before.as_str())?;
        id.parse().ok()
    })
}

fn words(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn alert_text(alert: &AlertSettings) -> String {
    let mut parts = Vec::new();
    if let Some(after) = &alert.stall_after {
        parts.push(format!("stallAfter {}", after.as_str()));
    }
    if let Some(until) = &alert.muted_until {
        parts.push(format!("mutedUntil {}", String::from(until.clone())));
    }
    if !alert.contacts.is_empty() {
        let contacts = words(alert.contacts.iter().map(|contact| String::from(contact.clone())));
        parts.push(format!("contacts {contacts}"));
    }
    if let Some(cap) = alert.severity_cap {
        parts.push(format!("severityCap {}", cap.as_str()));
    }
    parts.join("; ")
}

fn retention_text(retention: &RetentionSettings) -> String {
    let age = retention.age.as_ref().map(|age| age.as_str().to_owned());
    let bytes = retention.bytes.map(|bytes| format!("{bytes} bytes"));
    words(age.into_iter().chain(bytes))
}
