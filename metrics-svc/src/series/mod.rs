//! What is known: brokers, directory and current records. All of it lives in memory only and is
//! asked for again after a start (`design.md` 5); no I/O, and `now` is always an argument.

mod broker;
mod directory;
mod record;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

pub use broker::{Broker, Failing};
pub use directory::{
    Deleted, DirectoryChange, DirectoryTaken, Object, ObjectKind, Project, Scope, Subscription,
    Topic, User,
};
pub use record::{Point, Record, Report, Taken, Value};
pub(crate) use settings::is_address;
pub use settings::{AlertSettings, InForce, Level, Severity};

use crate::clock::Time;
use directory::Directory;
use record::Shapes;

/// At most this many records are held beyond those of the resources that the directory names.
const STRANGERS: usize = 10_000;

/// What a caller of `/metrics` and `/v1/subscriptions` may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Everything.
    All,
    /// Its own projects.
    Projects(BTreeSet<Uuid>),
}

impl Viewer {
    /// Whether it may see what belongs to `project`.
    pub fn sees(&self, project: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Projects(projects) => projects.contains(&project),
        }
    }
}

/// The record held of one resource, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The figures.
    pub record: Record,
    /// The reporter's clock when it looked.
    pub looked_at: Time,
    /// The reporter.
    pub instance: Arc<str>,
}

/// A topic with its names and figures.
#[derive(Debug, Clone, Copy)]
pub struct TopicView<'a> {
    /// Its project.
    pub project: &'a Project,
    /// The topic.
    pub topic: &'a Topic,
    /// Its figures; `None` until they were reported.
    pub held: Option<&'a Held>,
}

/// A subscription with its names and figures.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionView<'a> {
    /// Its project.
    pub project: &'a Project,
    /// Its topic; `None` when that is deleted.
    pub topic: Option<&'a Topic>,
    /// The subscription.
    pub subscription: &'a Subscription,
    /// Its figures; `None` until they were reported.
    pub held: Option<&'a Held>,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Series {
    store: Option<String>,
    brokers: BTreeMap<String, Broker>,
    directory: Directory,
    projects: BTreeMap<Uuid, Box<Held>>,
    topics: BTreeMap<Uuid, Box<Held>>,
    subscriptions: BTreeMap<Uuid, Box<Held>>,
    shapes: Shapes,
}

impl Series {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a report. Records are kept whole if their pair (version, reporter's time) is not
    /// lower than the one held, so order, repeats and losses of reports make no difference.
    pub fn take_report(&mut self, report: Report, received_at: Time) -> Taken {
        let records = report.topics.len().saturating_add(report.subscriptions.len());
        let records = records.saturating_add(report.projects.len());
        if self.store.as_ref().is_some_and(|store| *store != report.store) {
            // Another store than the one described: its directory comes first.
            let dropped = u64::try_from(records).unwrap_or(u64::MAX);
            return Taken { dropped, resync: true, ..Taken::default() };
        }
        self.store.get_or_insert_with(|| report.store.clone());
        let resync = self.hear(&report, received_at);
        let mut taken = Taken { resync, ..Taken::default() };
        let instance: Arc<str> = report.instance.into();
        let shapes = &mut self.shapes;
        let mut held = |mut record: Record| {
            shapes.share(&mut record);
            Held { record, looked_at: report.sent_at, instance: Arc::clone(&instance) }
        };
        let named = &self.directory.projects;
        for record in report.projects {
            let known = named.contains_key(&record.id);
            keep(&mut self.projects, held(record), known, named.len(), &mut taken);
        }
        let named = &self.directory.topics;
        for record in report.topics {
            let known = named.contains_key(&record.id);
            keep(&mut self.topics, held(record), known, named.len(), &mut taken);
        }
        let named = &self.directory.subscriptions;
        for record in report.subscriptions {
            let known = named.contains_key(&record.id);
            keep(&mut self.subscriptions, held(record), known, named.len(), &mut taken);
        }
        taken
    }

    /// Takes note of the broker; whether it is to send everything. In this release one broker
    /// serves a store: one that started later takes the place of the one before it, and a late
    /// report of that one is no sign of life.
    fn hear(&mut self, report: &Report, received_at: Time) -> bool {
        if let Some(broker) = self.brokers.get_mut(&report.instance) {
            broker.hear(report, received_at);
            return broker.awaits_resync;
        }
        let replaced = self
            .brokers
            .values()
            .any(|other| other.started_at > report.started_at && other.is_fresh(received_at));
        if replaced {
            return false;
        }
        let mut broker = Broker::first_seen(report, received_at);
        for before in std::mem::take(&mut self.brokers).values() {
            broker.succeed(before);
        }
        self.brokers.insert(report.instance.clone(), broker);
        true
    }

    /// Takes a directory request: applied whole, or not at all when `resync` is answered.
    pub fn take_directory(&mut self, change: DirectoryChange) -> DirectoryTaken {
        if self.store.as_ref().is_some_and(|store| *store != change.store) {
            if change.from.is_some() || change.scope != Scope::Service {
                return DirectoryTaken { resync: true, deleted: Vec::new() };
            }
            // A restore, or a memory store started anew: versions of the old one mean nothing.
            *self = Self::default();
        }
        self.store.get_or_insert_with(|| change.store.clone());
        let whole = change.from.is_none() && !change.more;
        let whole_service = whole && change.scope == Scope::Service;
        let taken = self.directory.take(change);
        for deleted in &taken.deleted {
            self.projects.remove(&deleted.id);
            self.topics.remove(&deleted.id);
            self.subscriptions.remove(&deleted.id);
        }
        if whole_service {
            for broker in self.brokers.values_mut() {
                broker.awaits_resync = false;
            }
        }
        if whole && self.directory.is_complete() {
            let directory = &self.directory;
            self.projects.retain(|id, _| directory.projects.contains_key(id));
            self.topics.retain(|id, _| directory.topics.contains_key(id));
            self.subscriptions.retain(|id, _| directory.subscriptions.contains_key(id));
        }
        taken
    }

    /// What the owner of this token may see: `token_sha256` is 64 lower-case hex digits; `None`
    /// for an unknown token.
    pub fn admit(&self, token_sha256: &str) -> Option<Viewer> {
        const ALL: [&str; 3] = ["service_admin", "admin_viewer", "metrics_viewer"];
        let user = self.directory.user_of_token(token_sha256)?;
        if ALL.iter().any(|role| user.service_roles.contains(*role)) {
            return Some(Viewer::All);
        }
        Some(Viewer::Projects(user.projects.keys().copied().collect()))
    }

    /// The store that is described.
    pub fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// The brokers heard of.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// The broker that owns what `held` describes: its reporter, or who took that one's place.
    pub fn owner(&self, held: &Held) -> Option<&Broker> {
        self.brokers.get(&*held.instance).or_else(|| self.brokers.values().next_back())
    }

    /// All projects.
    pub fn projects(&self) -> impl Iterator<Item = &Project> {
        self.directory.projects.values()
    }

    /// The figures of a project; `None` until they were reported.
    pub fn project_figures(&self, project: Uuid) -> Option<&Held> {
        self.projects.get(&project).map(Box::as_ref)
    }

    /// All users.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.directory.users.values()
    }

    /// A user.
    pub fn user(&self, id: Uuid) -> Option<&User> {
        self.directory.users.get(&id)
    }

    /// All topics whose project is known.
    pub fn topics(&self) -> impl Iterator<Item = TopicView<'_>> {
        self.directory.topics.values().filter_map(|topic| {
            Some(TopicView {
                project: self.directory.projects.get(&topic.project)?,
                topic,
                held: self.topics.get(&topic.id).map(Box::as_ref),
            })
        })
    }

    /// All subscriptions whose project is known.
    pub fn subscriptions(&self) -> impl Iterator<Item = SubscriptionView<'_>> {
        self.directory.subscriptions.values().filter_map(|subscription| self.view(subscription))
    }

    /// One subscription.
    pub fn subscription(&self, id: Uuid) -> Option<SubscriptionView<'_>> {
        self.view(self.directory.subscriptions.get(&id)?)
    }

    fn view<'a>(&'a self, subscription: &'a Subscription) -> Option<SubscriptionView<'a>> {
        Some(SubscriptionView {
            project: self.directory.projects.get(&subscription.project)?,
            topic: subscription.topic_id.and_then(|id| Some(&**self.directory.topics.get(&id)?)),
            subscription,
            held: self.subscriptions.get(&subscription.id).map(Box::as_ref),
        })
    }

    /// Who deleted the object, as far as told since metrics-svc started.
    pub fn deletion(&self, id: Uuid) -> Option<&Deleted> {
        self.directory.deletion(id)
    }

    /// Whether it is certain that the subscription does not exist: the directory that would name
    /// it is held whole and does not. After a start nothing is certain until it was sent.
    pub fn is_gone(&self, subscription: Uuid, project: Uuid) -> bool {
        let directory = &self.directory;
        !directory.subscriptions.contains_key(&subscription)
            && directory.is_whole(Scope::Service)
            && (!directory.projects.contains_key(&project)
                || directory.is_whole(Scope::Project(project)))
    }

    /// The alarm settings in force for a subscription; `service` = what the operator says.
    pub fn in_force(&self, view: &SubscriptionView<'_>, service: &AlertSettings) -> InForce {
        let said = [
            (view.subscription.alert.as_deref(), Level::Subscription),
            (view.topic.and_then(|topic| topic.alert.as_deref()), Level::Topic),
            (Some(&view.project.alert), Level::Project),
            (Some(service), Level::Service),
        ];
        let said: Vec<_> =
            said.into_iter().filter_map(|(said, level)| Some((said?, level))).collect();
        InForce::of(&said)
    }
}

fn keep(
    held: &mut BTreeMap<Uuid, Box<Held>>,
    new: Held,
    known: bool,
    named: usize,
    taken: &mut Taken,
) {
    let id = new.record.id;
    match held.get(&id) {
        Some(old) if (new.record.version, new.looked_at) < (old.record.version, old.looked_at) => {
            taken.stale = taken.stale.saturating_add(1);
        }
        None if !known && held.len() >= named.saturating_add(STRANGERS) => {
            taken.dropped = taken.dropped.saturating_add(1);
        }
        _ => {
            held.insert(id, Box::new(new));
            taken.accepted = taken.accepted.saturating_add(1);
        }
    }
}
