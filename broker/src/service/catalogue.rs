//! Who and what there is, in memory: names, lists and uniqueness above the store's scopes.
//!
//! One [`Cell`] per scope. Readers look at memory, for a moment and never across an await, and
//! never hold two cells at once (a waiting writer between them would be a deadlock).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use super::audit::Ring;
use super::traces::{self, Trace};
use crate::domain::records::{
    ProjectRecord, Record, RegistrationRecord, SchemaRecord, SnapshotRecord, SubscriptionRecord,
    TopicRecord, TrashRecord, UsageRecord, UserRecord,
};
use crate::domain::{
    Malformed, ProjectId, ProjectName, RegistrationId, SchemaId, SchemaName, SnapshotName,
    SubscriptionName, TopicId, TopicName, UserId, UserName,
};
use crate::schema::{Definition, Kind, Schema};
use crate::store::{Change, ChangeSet, Scope, ScopeState};

/// A change of one key: the record put there, or `None` where it is removed.
pub(super) type Write = (String, Option<Record>);

/// What a scope's records are looked up in.
pub(super) trait Index: Default + Send + Sync + 'static {
    /// Creates or replaces what is under `key`; `Malformed` for a record that has no place here.
    fn put(&mut self, key: String, record: Record) -> Result<(), Malformed>;
    /// Removes what is under `key`.
    fn remove(&mut self, key: &str);
    /// What `writes` mean, compared with what is here, to whoever asks later who did it.
    fn traces(&self, writes: &[Write]) -> Vec<Trace>;
    /// The scope's part of the audit log.
    fn audit(&self) -> &Ring;
}

/// A scope at one version.
#[derive(Debug, Default)]
pub(super) struct Versioned<I> {
    pub(super) version: u64,
    pub(super) index: I,
}

impl<I> Versioned<I> {
    /// The place in creation order of an object that the next commit makes.
    pub(super) const fn next_order(&self) -> u64 {
        self.version.saturating_add(1).saturating_mul(1_000)
    }
}

/// One scope: what memory knows of it, and the queue of those who want to change it.
pub(super) struct Cell<I> {
    pub(super) scope: Scope,
    pub(super) queue: tokio::sync::Mutex<()>,
    /// Its project was deleted: nothing may be made here any more.
    gone: AtomicBool,
    /// Packed bytes that the scope's topics keep, as last counted, and what came since.
    stored: AtomicI64,
    state: RwLock<Versioned<I>>,
}

impl<I: Index> Cell<I> {
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            scope,
            queue: tokio::sync::Mutex::default(),
            gone: AtomicBool::new(false),
            stored: AtomicI64::new(0),
            state: RwLock::default(),
        }
    }

    pub(super) fn load(scope: Scope, stored: ScopeState) -> Result<Self, Malformed> {
        let cell = Self::new(scope);
        cell.replace(stored)?;
        Ok(cell)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Versioned<I>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Packed bytes that the scope's topics keep; less than nothing for a moment, when a topic
    /// goes before it was counted.
    pub(super) fn stored(&self) -> i64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// So many more bytes are kept, or less.
    pub(super) fn add_stored(&self, bytes: i64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes over what was counted since it was `before`; what came meanwhile stays added.
    pub(super) fn correct_stored(&self, before: i64, counted: u64) {
        self.add_stored(signed(counted).saturating_sub(before));
    }

    /// Takes over what a commit of ours wrote.
    pub(super) fn apply(&self, version: u64, writes: Vec<Write>) -> Result<(), Malformed> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (key, record) in writes {
            match record {
                Some(record) => state.index.put(key, record)?,
                None => state.index.remove(&key),
            }
        }
        state.version = version;
        Ok(())
    }

    /// Takes over commits of others, in order.
    pub(super) fn catch_up(&self, sets: Vec<ChangeSet>) -> Result<(), Malformed> {
        for set in sets {
            let writes = set.changes.into_iter().map(|change| match change {
                Change::Put(key, value) => Ok((key, Some(Record::decode(&value)?))),
                Change::Delete(key) => Ok((key, None)),
            });
            self.apply(set.version, writes.collect::<Result<_, Malformed>>()?)?;
        }
        Ok(())
    }

    /// Takes over the whole scope.
    pub(super) fn replace(&self, stored: ScopeState) -> Result<(), Malformed> {
        let mut index = I::default();
        for (key, value) in stored.objects {
            index.put(key, Record::decode(&value)?)?;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = Versioned { version: stored.version, index };
        Ok(())
    }
}

/// Bytes as a difference; no disk holds more than fits.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The key of a project's record.
pub(super) fn project_key(id: ProjectId) -> String {
    format!("project/{id}")
}

/// The key of a user's record.
pub(super) fn user_key(id: UserId) -> String {
    format!("user/{id}")
}

/// The key of a registration's record.
pub(super) fn registration_key(id: RegistrationId) -> String {
    format!("registration/{id}")
}

/// The key of a topic's record.
pub(super) fn topic_key(name: &TopicName) -> String {
    format!("topic/{name}")
}

/// The key of a subscription's record.
pub(super) fn subscription_key(name: &SubscriptionName) -> String {
    format!("sub/{name}")
}

/// The key of a snapshot's record.
pub(super) fn snapshot_key(name: &SnapshotName) -> String {
    format!("snapshot/{name}")
}

/// The key of a schema's record.
pub(super) fn schema_key(id: SchemaId) -> String {
    format!("schema/{id}")
}

/// The key of what is left of something deleted.
pub(super) fn trash_key(id: uuid::Uuid) -> String {
    format!("trash/{id}")
}

/// The key of a topic life's daily figures of a month, `YYYY-MM`.
pub(super) fn usage_key(topic: TopicId, month: &str) -> String {
    format!("usage/{topic}/{month}")
}

/// Projects, users and registrations.
#[derive(Debug, Default)]
pub(super) struct ServiceIndex {
    pub(super) projects: HashMap<ProjectId, Arc<ProjectRecord>>,
    pub(super) projects_in_order: BTreeMap<u64, ProjectId>,
    pub(super) project_names: HashMap<ProjectName, ProjectId>,
    pub(super) users: HashMap<UserId, Arc<UserRecord>>,
    pub(super) users_in_order: BTreeMap<u64, UserId>,
    pub(super) user_names: HashMap<UserName, UserId>,
    /// By SHA-256, lower-case hex.
    pub(super) tokens: HashMap<String, UserId>,
    pub(super) registrations: HashMap<RegistrationId, Arc<RegistrationRecord>>,
    pub(super) registrations_in_order: BTreeMap<u64, RegistrationId>,
    /// Deleted projects whose scope is still to be cleared.
    pub(super) trash: BTreeMap<String, Arc<TrashRecord>>,
    pub(super) audit: Ring,
}

impl ServiceIndex {
    pub(super) fn project(&self, name: &ProjectName) -> Option<&Arc<ProjectRecord>> {
        self.projects.get(self.project_names.get(name)?)
    }

    pub(super) fn user(&self, name: &UserName) -> Option<&Arc<UserRecord>> {
        self.users.get(self.user_names.get(name)?)
    }

    /// Whose token has this hash.
    pub(super) fn holder(&self, token_sha256: &str) -> Option<&Arc<UserRecord>> {
        self.users.get(self.tokens.get(token_sha256)?)
    }

    pub(super) fn user_name(&self, id: Option<UserId>) -> Option<UserName> {
        Some(self.users.get(&id?)?.name.clone())
    }

    fn remove_project(&mut self, id: ProjectId) {
        if let Some(old) = self.projects.remove(&id) {
            self.project_names.remove(&old.name);
            self.projects_in_order.remove(&old.order);
        }
    }

    fn remove_user(&mut self, id: UserId) {
        if let Some(old) = self.users.remove(&id) {
            self.user_names.remove(&old.name);
            self.users_in_order.remove(&old.order);
            self.tokens.remove(&old.token_sha256);
        }
    }

    fn remove_registration(&mut self, id: RegistrationId) {
        if let Some(old) = self.registrations.remove(&id) {
            self.registrations_in_order.remove(&old.order);
        }
    }
}

impl Index for ServiceIndex {
    fn put(&mut self, key: String, record: Record) -> Result<(), Malformed> {
        match record {
            Record::Project(project) if key == project_key(project.id) => {
                self.remove_project(project.id);
                self.project_names.insert(project.name.clone(), project.id);
                self.projects_in_order.insert(project.order, project.id);
                self.projects.insert(project.id, Arc::new(project));
            }
            Record::User(user) if key == user_key(user.id) => {
                self.remove_user(user.id);
                self.user_names.insert(user.name.clone(), user.id);
                self.users_in_order.insert(user.order, user.id);
                self.tokens.insert(user.token_sha256.clone(), user.id);
                self.users.insert(user.id, Arc::new(user));
            }
            Record::Registration(record) if key == registration_key(record.id) => {
                self.remove_registration(record.id);
                self.registrations_in_order.insert(record.order, record.id);
                self.registrations.insert(record.id, Arc::new(record));
            }
            Record::Trash(trash) => {
                self.trash.insert(key, Arc::new(trash));
            }
            Record::Audit(line) => self.audit.put(key, line),
            _ => return Err(Malformed("record of the service's scope")),
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        let (kind, id) = key.split_once('/').unwrap_or_default();
        match (kind, id.parse()) {
            ("project", Ok(id)) => self.remove_project(ProjectId(id)),
            ("user", Ok(id)) => self.remove_user(UserId(id)),
            ("registration", Ok(id)) => self.remove_registration(RegistrationId(id)),
            _ if kind == "audit" => self.audit.remove(key),
            _ => {
                self.trash.remove(key);
            }
        }
    }

    fn traces(&self, writes: &[Write]) -> Vec<Trace> {
        traces::of_service(self, writes)
    }

    fn audit(&self) -> &Ring {
        &self.audit
    }
}

/// A schema and, once somebody asked for it, what it compiles to: once per change, whoever asks.
#[derive(Debug)]
pub(super) struct KnownSchema {
    pub(super) record: SchemaRecord,
    compiled: OnceLock<Option<Schema>>,
}

impl KnownSchema {
    const fn new(record: SchemaRecord) -> Self {
        Self { record, compiled: OnceLock::new() }
    }

    /// What judges payloads; `None` if what is stored does not compile.
    pub(super) fn compiled(&self) -> Option<&Schema> {
        let compile = || {
            let definition = Definition::parse(&self.record.definition)?;
            Schema::compile(Kind::from_name(&self.record.language)?, &definition).ok()
        };
        self.compiled.get_or_init(compile).as_ref()
    }
}

/// The topics, subscriptions, schemas and snapshots of one project.
#[derive(Debug, Default)]
pub(super) struct ProjectIndex {
    /// Marked ones included: [`ProjectIndex::topic`] leaves them out.
    pub(super) topics: HashMap<TopicName, Arc<TopicRecord>>,
    pub(super) topics_in_order: BTreeMap<u64, Arc<TopicRecord>>,
    pub(super) subscriptions: HashMap<SubscriptionName, Arc<SubscriptionRecord>>,
    pub(super) subscriptions_in_order: BTreeMap<u64, Arc<SubscriptionRecord>>,
    /// By name.
    pub(super) snapshots: BTreeMap<SnapshotName, Arc<SnapshotRecord>>,
    pub(super) schemas: HashMap<SchemaId, Arc<KnownSchema>>,
    pub(super) schemas_in_order: BTreeMap<u64, Arc<KnownSchema>>,
    pub(super) schema_names: HashMap<SchemaName, SchemaId>,
    pub(super) trash: BTreeMap<String, Arc<TrashRecord>>,
    /// Daily figures, also of topics that are gone.
    pub(super) usage: BTreeMap<String, Arc<UsageRecord>>,
    pub(super) audit: Ring,
}

impl ProjectIndex {
    /// The last day of a topic life whose figures are recorded; 0 if there is none.
    pub(super) fn last_usage(&self, topic: TopicId) -> u32 {
        let (from, to) = (usage_key(topic, ""), usage_key(topic, "\u{7f}"));
        let last = self.usage.range(from..to).next_back();
        last.and_then(|(_, usage)| usage.days.last()).map_or(0, |day| day.day)
    }

    /// The topic of this name, unless its deletion has begun.
    pub(super) fn topic(&self, name: &TopicName) -> Option<&Arc<TopicRecord>> {
        self.topics.get(name).filter(|topic| !topic.marked)
    }

    /// Topics whose deletion has not begun, in creation order.
    pub(super) fn live_topics(&self) -> impl DoubleEndedIterator<Item = &Arc<TopicRecord>> {
        self.topics_in_order.values().filter(|topic| !topic.marked)
    }

    /// The subscriptions of a topic name, in creation order.
    pub(super) fn attached(
        &self,
        topic: &TopicName,
    ) -> impl Iterator<Item = &Arc<SubscriptionRecord>> {
        self.subscriptions_in_order.values().filter(move |record| record.topic == *topic)
    }

    /// How much of the project's quota is used.
    pub(super) fn objects(&self) -> usize {
        let named = self.topics.len().saturating_add(self.subscriptions.len());
        named.saturating_add(self.schemas.len()).saturating_add(self.snapshots.len())
    }

    /// The schema of this name.
    pub(super) fn schema(&self, name: &SchemaName) -> Option<&Arc<KnownSchema>> {
        self.schemas.get(self.schema_names.get(name)?)
    }

    /// The schema that a topic names, if it is there.
    pub(super) fn schema_of(&self, topic: &TopicRecord) -> Option<&Arc<KnownSchema>> {
        self.schemas.get(&topic.schema?)
    }
}

impl Index for ProjectIndex {
    fn put(&mut self, key: String, record: Record) -> Result<(), Malformed> {
        match record {
            Record::Topic(topic) if key == topic_key(&topic.name) => {
                self.remove(&key);
                let topic = Arc::new(topic);
                self.topics_in_order.insert(topic.order, Arc::clone(&topic));
                self.topics.insert(topic.name.clone(), topic);
            }
            Record::Subscription(mut record) if key == subscription_key(&record.name) => {
                self.remove(&key);
                // One text for all that name the topic.
                if let Some((topic, _)) = self.topics.get_key_value(&record.topic) {
                    record.topic = topic.clone();
                }
                let record = Arc::new(record);
                self.subscriptions_in_order.insert(record.order, Arc::clone(&record));
                self.subscriptions.insert(record.name.clone(), record);
            }
            Record::Snapshot(record) if key == snapshot_key(&record.name) => {
                self.snapshots.insert(record.name.clone(), Arc::new(record));
            }
            Record::Schema(record) if key == schema_key(record.id) => {
                self.remove(&key);
                let schema = Arc::new(KnownSchema::new(record));
                self.schemas_in_order.insert(schema.record.order, Arc::clone(&schema));
                self.schema_names.insert(schema.record.name.clone(), schema.record.id);
                self.schemas.insert(schema.record.id, schema);
            }
            Record::Trash(trash) => {
                self.trash.insert(key, Arc::new(trash));
            }
            Record::Usage(usage) if key == usage_key(usage.topic, &usage.month) => {
                self.usage.insert(key, Arc::new(usage));
            }
            Record::Audit(line) => self.audit.put(key, line),
            _ => return Err(Malformed("record of a project's scope")),
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        let (kind, name) = key.split_once('/').unwrap_or_default();
        if kind == "topic"
            && let Some(old) = name.parse().ok().and_then(|name| self.topics.remove(&name))
        {
            self.topics_in_order.remove(&old.order);
        } else if kind == "sub"
            && let Some(old) = name.parse().ok().and_then(|name| self.subscriptions.remove(&name))
        {
            self.subscriptions_in_order.remove(&old.order);
        } else if kind == "snapshot" {
            if let Ok(name) = name.parse() {
                self.snapshots.remove::<SnapshotName>(&name);
            }
        } else if kind == "schema"
            && let Some(old) = name.parse().ok().and_then(|id| self.schemas.remove(&SchemaId(id)))
        {
            self.schemas_in_order.remove(&old.record.order);
            self.schema_names.remove(&old.record.name);
        } else if kind == "trash" {
            self.trash.remove(key);
        } else if kind == "usage" {
            self.usage.remove(key);
        } else if kind == "audit" {
            self.audit.remove(key);
        }
    }

    fn traces(&self, writes: &[Write]) -> Vec<Trace> {
        traces::of_project(self, writes)
    }

    fn audit(&self) -> &Ring {
        &self.audit
    }
}
