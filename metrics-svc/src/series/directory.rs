//! The directory: what exists, under which name, who may see it, and at which version.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use super::settings::AlertSettings;
use crate::clock::Time;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its alarm settings.
    pub alert: AlertSettings,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its mail address, possibly empty.
    pub email: String,
    /// SHA-256 of its token, 64 lower-case hex digits; possibly empty.
    pub token_sha256: String,
    /// Projects it belongs to, with its roles there.
    pub projects: BTreeMap<Uuid, BTreeSet<String>>,
    /// Roles in the whole service.
    pub service_roles: BTreeSet<String>,
}

/// One life of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The id of this life.
    pub id: Uuid,
    /// Its project.
    pub project: Uuid,
    /// Its name.
    pub name: String,
    /// Its alarm settings; `None` where nothing is said.
    pub alert: Option<Box<AlertSettings>>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: Uuid,
    /// Its project.
    pub project: Uuid,
    /// Its name.
    pub name: String,
    /// Name of its topic.
    pub topic: String,
    /// The present life of that topic; `None` when the topic is deleted.
    pub topic_id: Option<Uuid>,
    /// Seconds a consumer has to acknowledge.
    pub ack_deadline_seconds: u64,
    /// Name of the topic that messages go to which are handed out too often.
    pub dead_letter_topic: Option<Box<str>>,
    /// Users on its ACL.
    pub acl: Box<[Uuid]>,
    /// When it was created.
    pub created: Time,
    /// Its alarm settings; `None` where nothing is said.
    pub alert: Option<Box<AlertSettings>>,
}

/// An object of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// In scope [`Scope::Service`].
    Project(Project),
    /// In scope [`Scope::Service`].
    User(User),
    /// In a project's scope.
    Topic(Topic),
    /// In a project's scope.
    Subscription(Subscription),
}

/// What is versioned as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Projects and users.
    Service,
    /// Topics and subscriptions of one project.
    Project(Uuid),
}

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A project.
    Project,
    /// A user.
    User,
    /// A life of a topic.
    Topic,
    /// A subscription.
    Subscription,
}

impl ObjectKind {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::User => "user",
            Self::Topic => "topic",
            Self::Subscription => "subscription",
        }
    }
}

/// A deletion, with who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Name of the user who deleted it; empty when not known.
    pub by: String,
    /// When; `None` when not known.
    pub at: Option<Time>,
}

/// One request of `POST /v1/directory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryChange {
    /// The store that is described.
    pub store: String,
    /// Which part of it.
    pub scope: Scope,
    /// `None` = the scope whole, as of `to`; else the changes after this version.
    pub from: Option<u64>,
    /// The version reached with the last request.
    pub to: u64,
    /// Present or changed objects.
    pub objects: Vec<Object>,
    /// Deleted objects.
    pub deleted: Vec<Deleted>,
    /// Whether more requests of the same `to` follow.
    pub more: bool,
}

/// What became of a directory change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryTaken {
    /// Whether the broker is to send everything next.
    pub resync: bool,
    /// What is gone by this change, with who did it as far as known.
    pub deleted: Vec<Deleted>,
}

/// Deletions kept in memory to name who did them.
const DELETIONS_KEPT: usize = 10_000;

/// What exists.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) projects: BTreeMap<Uuid, Project>,
    pub(super) users: BTreeMap<Uuid, User>,
    /// In boxes, as subscriptions are: the map's nodes are up to half empty.
    pub(super) topics: BTreeMap<Uuid, Box<Topic>>,
    pub(super) subscriptions: BTreeMap<Uuid, Box<Subscription>>,
    /// Scopes held whole, and as of which version.
    versions: BTreeMap<Scope, u64>,
    /// Scopes that arrive whole in several requests: version, and what was named so far.
    arriving: BTreeMap<Scope, (u64, BTreeSet<Uuid>)>,
    deletions: VecDeque<Deleted>,
}

impl Directory {
    pub(super) fn is_whole(&self, scope: Scope) -> bool {
        self.versions.contains_key(&scope)
    }

    /// Whether every scope is held whole.
    pub(super) fn is_complete(&self) -> bool {
        self.is_whole(Scope::Service)
            && self.projects.keys().all(|project| self.is_whole(Scope::Project(*project)))
    }

    pub(super) fn deletion(&self, id: Uuid) -> Option<&Deleted> {
        self.deletions.iter().rev().find(|deleted| deleted.id == id)
    }

    pub(super) fn user_of_token(&self, token_sha256: &str) -> Option<&User> {
        if token_sha256.is_empty() {
            return None;
        }
        self.users.values().find(|user| user.token_sha256 == token_sha256)
    }

    /// Applies a change of the store that is held; see [`DirectoryChange`] for the rules.
    pub(super) fn take(&mut self, change: DirectoryChange) -> DirectoryTaken {
        let held = self.versions.get(&change.scope).copied();
        match (change.from, held) {
            (None, _) => self.take_whole(change, held),
            // A repeat whose answer was lost.
            (Some(from), Some(held)) if change.to == held && from < held => {
                DirectoryTaken::default()
            }
            (Some(from), Some(held)) if from == held => self.take_changes(change),
            _ => DirectoryTaken { resync: true, deleted: Vec::new() },
        }
    }

    fn take_changes(&mut self, change: DirectoryChange) -> DirectoryTaken {
        let mut gone = Vec::new();
        for deleted in change.deleted {
            self.delete(deleted, &mut gone);
        }
        for object in change.objects {
            self.put(change.scope, object);
        }
        if !change.more {
            self.versions.insert(change.scope, change.to);
        }
        DirectoryTaken { resync: false, deleted: gone }
    }

    fn take_whole(&mut self, change: DirectoryChange, held: Option<u64>) -> DirectoryTaken {
        let mut gone = Vec::new();
        for deleted in change.deleted {
            self.delete(deleted, &mut gone);
        }
        let (_, mut named) = self
            .arriving
            .remove(&change.scope)
            .filter(|(to, _)| *to == change.to)
            .unwrap_or((change.to, BTreeSet::new()));
        for object in change.objects {
            named.extend(self.put(change.scope, object));
        }
        if change.more {
            self.arriving.insert(change.scope, (change.to, named));
            return DirectoryTaken { resync: false, deleted: gone };
        }
        // The scope is held whole as of this very version: a repeat, possibly of the last request
        // only. What it does not name is in the requests before it.
        if held != Some(change.to) {
            for unnamed in self.in_scope(change.scope, &named) {
                self.delete(unnamed, &mut gone);
            }
        }
        self.versions.insert(change.scope, change.to);
        DirectoryTaken { resync: false, deleted: gone }
    }

    /// Everything in `scope` but `named`, as deletions by nobody known.
    fn in_scope(&self, scope: Scope, named: &BTreeSet<Uuid>) -> Vec<Deleted> {
        let nobody = |kind, id: Uuid, name: &str| Deleted {
            kind,
            id,
            name: name.to_owned(),
            by: String::new(),
            at: None,
        };
        match scope {
            Scope::Service => {
                let projects = self.projects.values().filter(|of| !named.contains(&of.id));
                let users = self.users.values().filter(|of| !named.contains(&of.id));
                let projects = projects.map(|of| nobody(ObjectKind::Project, of.id, &of.name));
                projects.chain(users.map(|of| nobody(ObjectKind::User, of.id, &of.name))).collect()
            }
            Scope::Project(id) => {
                let is_gone = |project: Uuid, id_of: &Uuid| project == id && !named.contains(id_of);
                let topics = self.topics.values().filter(|of| is_gone(of.project, &of.id));
                let subscriptions =
                    self.subscriptions.values().filter(|of| is_gone(of.project, &of.id));
                let topics = topics.map(|of| nobody(ObjectKind::Topic, of.id, &of.name));
                let subscriptions =
                    subscriptions.map(|of| nobody(ObjectKind::Subscription, of.id, &of.name));
                topics.chain(subscriptions).collect()
            }
        }
    }

    /// Puts an object in; its id, or `None` when it does not belong in `scope`.
    fn put(&mut self, scope: Scope, object: Object) -> Option<Uuid> {
        match (scope, object) {
            (Scope::Service, Object::Project(project)) => {
                let id = project.id;
                self.projects.insert(id, project);
                Some(id)
            }
            (Scope::Service, Object::User(user)) => {
                let id = user.id;
                self.users.insert(id, user);
                Some(id)
            }
            (Scope::Project(project), Object::Topic(topic)) => {
                let id = topic.id;
                self.topics.insert(id, Box::new(Topic { project, ..topic }));
                Some(id)
            }
            (Scope::Project(project), Object::Subscription(sub)) => {
                let id = sub.id;
                self.subscriptions.insert(id, Box::new(Subscription { project, ..sub }));
                Some(id)
            }
            _ => None,
        }
    }

    fn delete(&mut self, deleted: Deleted, gone: &mut Vec<Deleted>) {
        match deleted.kind {
            ObjectKind::Project => {
                self.projects.remove(&deleted.id);
                let scope = Scope::Project(deleted.id);
                self.versions.remove(&scope);
                self.arriving.remove(&scope);
                for inside in self.in_scope(scope, &BTreeSet::new()) {
                    let inside = Deleted { by: deleted.by.clone(), at: deleted.at, ..inside };
                    self.delete(inside, gone);
                }
            }
            ObjectKind::User => {
                self.users.remove(&deleted.id);
            }
            ObjectKind::Topic => {
                self.topics.remove(&deleted.id);
            }
            ObjectKind::Subscription => {
                self.subscriptions.remove(&deleted.id);
            }
        }
        // Told again (a whole directory repeats recent deletions), it keeps the known name.
        let known = self.deletion(deleted.id).is_some_and(|known| !known.by.is_empty());
        if !known {
            if self.deletions.len() >= DELETIONS_KEPT {
                self.deletions.pop_front();
            }
            self.deletions.push_back(deleted.clone());
            gone.push(deleted);
        }
    }
}
