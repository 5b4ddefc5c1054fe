//! Truth: what was published, how far each subscription is, who and what there is.
//!
//! Three small promises, each kept by every backend and pinned by one conformance suite. Every
//! mutation has one shape: compare one version, write one thing, answer an [`Outcome`]. Retrying,
//! merging, caching and waking live above, once.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::{
    Entry, Head, Hole, Holes, Malformed, Offset, Progress, ProjectId, SubscriptionId, Time,
    TopicId, UserId,
};

/// What became of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome<T = ()> {
    /// It is durable: it survives a power cut from now on.
    Applied(T),
    /// The version compared is not the present one; nothing was written.
    Conflict,
    /// The topic life is closed, or was never created; nothing was written, nor ever will be.
    Closed,
    /// It may or may not be there (a stop in mid-write, a lost connection). Not an error: send the
    /// *same* thing again until the answer is definite. After `Unknown`, the same mutation answers
    /// `Applied` when its first attempt took effect, except [`ProgressLog::save`], whose caller
    /// loads and looks for itself among the record's writers, and [`MessageLog::close`], which
    /// answers `Closed`.
    Unknown,
}

/// Why the store did not even try, by meaning. Nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Not now; the same call may succeed later.
    #[error("the store is unavailable")]
    Unavailable,
    /// The store has stopped for good (a failed fsync): the process must end.
    #[error("the store has stopped")]
    Stopped,
    /// No room.
    #[error("the store is full")]
    Full,
    /// What is stored is damaged: file and offset are for the log, never for a client.
    #[error("stored data is damaged: {0}")]
    Corrupt(Arc<str>),
}

impl From<Malformed> for StoreError {
    fn from(error: Malformed) -> Self {
        Self::Corrupt(error.to_string().into())
    }
}

/// The answer of a mutation.
pub type Answer<T = ()> = Result<Outcome<T>, StoreError>;

/// The messages of every topic, in order.
///
/// A topic *life* has its own id; a life never sees the data of another. Offsets are dense from 0.
/// The unit is the [`Entry`], immutable from its first attempt. A store knows an entry by its bits
/// alone: two commits at one offset that mean different messages must differ in one.
#[async_trait]
pub trait MessageLog: Send + Sync {
    /// Creates the log of a new life. Creating one that exists is `Applied`; one that was closed
    /// is `Closed`.
    async fn create(&self, topic: TopicId) -> Answer;

    /// Ends a life: later commits are `Closed`, its data may go. Answers the final head; closing a
    /// closed or unknown life is `Closed`.
    async fn close(&self, topic: TopicId) -> Answer<Head>;

    /// Appends `entry` if the topic's head is at `entry.base`, whole or not at all. `Applied`
    /// carries the head after it. Commits of one topic may be submitted one behind the other
    /// without waiting: each compares with the head that the ones before it would leave, and if
    /// one of them fails the later ones fail. An entry that is already there, bit for bit, answers
    /// `Applied` with the present head (that is how `Unknown` becomes definite); another one in
    /// its place, `Conflict`. An entry without a message is refused as `Conflict`.
    async fn commit(&self, topic: TopicId, entry: Arc<Entry>) -> Answer<Head>;

    /// The durable head; `None` when the life is closed or was never created.
    async fn head(&self, topic: TopicId) -> Result<Option<Head>, StoreError>;

    /// The durable entries that hold messages from `from` on, in order, whole (the first may begin
    /// before `from`): until `limits` are reached, at least one if there is one. From an offset
    /// below the start: as from the start. At or past the head, or of a closed life: empty. Damage
    /// ends the answer before it; where nothing lies before it, it is `Corrupt`.
    async fn scan(
        &self,
        topic: TopicId,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError>;

    /// The first kept offset whose entry's time is at or after `time`; `None` past the last.
    async fn find_time(&self, topic: TopicId, time: Time) -> Result<Option<Offset>, StoreError>;

    /// Packed bytes of the kept entries, counted whole (the first may begin before the start); 0
    /// of a closed life.
    async fn kept_bytes(&self, topic: TopicId) -> Result<u64, StoreError>;

    /// The first kept offset from which the entries, counted whole, hold at most `bytes` packed
    /// bytes; `None` when the last one alone holds more, or nothing is kept.
    async fn find_size(&self, topic: TopicId, bytes: u64) -> Result<Option<Offset>, StoreError>;

    /// Moves the start to `to` (at most the head: what lies past it means the head), for good; a
    /// start never moves back: an earlier one is `Applied` and changes nothing. A start inside an
    /// entry is lawful.
    async fn trim(&self, topic: TopicId, to: Offset) -> Answer<Head>;

    /// All open lives, for the start-up check that each has an owner.
    async fn topics(&self) -> Result<Vec<TopicId>, StoreError>;
}

/// How much a scan may bring: it stops after the entry that reaches either.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages from the wanted offset on, or from the start if that is later.
    pub messages: u64,
    /// Packed bytes, of whole entries.
    pub bytes: u64,
}

/// One small versioned record per subscription.
#[async_trait]
pub trait ProgressLog: Send + Sync {
    /// The durable record; `None` if it was never saved or is deleted.
    async fn load(&self, subscription: SubscriptionId) -> Result<Option<Progress>, StoreError>;

    /// Saves `progress` if the stored version is `progress.version - 1` (0 = none is stored);
    /// version 0 is refused as `Conflict`.
    async fn save(&self, subscription: SubscriptionId, progress: &Progress) -> Answer;

    /// Forgets the record; deleting an absent one is `Applied`.
    async fn delete(&self, subscription: SubscriptionId) -> Answer;

    /// Every subscription with a record, for the start-up check that each has an owner.
    async fn subscriptions(&self) -> Result<Vec<SubscriptionId>, StoreError>;
}

/// A part of the catalogue that changes as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Projects and users.
    Service,
    /// The topics and subscriptions of one project.
    Project(ProjectId),
}

/// One change to a scope. Keys and values mean nothing to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates or replaces.
    Put(String, Bytes),
    /// Removes; removing an absent key is lawful.
    Delete(String),
}

/// Who changed the catalogue, when and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The user, if it was one.
    pub user: Option<UserId>,
    /// The verb, by its route name (`topics:create`).
    pub verb: String,
    /// When.
    pub time: Time,
    /// The peer's address; empty for the broker itself.
    pub address: String,
}

/// A scope as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeState {
    /// How many commits it has seen; 0 = it was never written.
    pub version: u64,
    /// All objects, ascending by key.
    pub objects: Vec<(String, Bytes)>,
}

/// One commit to a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    /// The version it made.
    pub version: u64,
    /// What it changed.
    pub changes: Vec<Change>,
    /// Who did it.
    pub by: By,
}

/// How many change sets of a scope are kept at least.
pub const KEPT_CHANGES: usize = 1_000;

/// Who and what there is.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The whole scope at one version.
    async fn load_scope(&self, scope: Scope) -> Result<ScopeState, StoreError>;

    /// The commits after `version`, in order; `None` when they are no longer all kept (at least
    /// the last [`KEPT_CHANGES`] made since the process started are): load the scope instead.
    async fn changes_since(
        &self,
        scope: Scope,
        version: u64,
    ) -> Result<Option<Vec<ChangeSet>>, StoreError>;

    /// Applies `changes`, each key at most once, together if the scope's version is `expected`;
    /// `Applied` carries the new version, `expected + 1`. Sent again (the kept change set of that
    /// version has the same `changes` and `by`) it answers so too and writes nothing.
    async fn commit_scope(
        &self,
        scope: Scope,
        expected: u64,
        changes: Vec<Change>,
        by: By,
    ) -> Answer<u64>;

    /// Every scope ever written.
    async fn scopes(&self) -> Result<Vec<Scope>, StoreError>;
}

/// Is told what is done, bytes done, bytes to do; called often, from any thread.
pub type CopyProgress = Arc<dyn Fn(CopyStage, u64, u64) + Send + Sync>;

/// A backend: the three promises together.
#[async_trait]
pub trait Store: MessageLog + ProgressLog + Catalog {
    /// The random id of this store: of a restored copy it is another.
    fn id(&self) -> u64;

    /// How many damaged ranges it was the first to meet, without being asked for them, since it was
    /// opened.
    fn damage_found(&self) -> u64 {
        0
    }

    /// Messages that it met damaged since it was opened, asked for or not: runs in no order, which
    /// may overlap, and of which some may have been given up or trimmed.
    fn damaged(&self) -> Vec<(TopicId, Hole)> {
        Vec::new()
    }

    /// These messages of an open topic life were given up: their damage is no news any more.
    fn give_up(&self, _topic: TopicId, _holes: &Holes) {}

    /// Resolves when the store has stopped for good, with the reason for the log. Never resolves
    /// for one that cannot.
    async fn stopped(&self) -> Arc<str>;

    /// Copies itself to the directory `to` (absent or empty) while it serves, and reads the copy
    /// back: a cut of everything durable at one moment. With `dry_run` it only says how much that
    /// would be.
    ///
    /// # Errors
    /// [`CopyError::Refused`] unless the kind of store has such copies.
    async fn backup(
        &self,
        _to: &std::path::Path,
        _dry_run: bool,
        _progress: CopyProgress,
    ) -> Result<Copied, CopyError> {
        Err(CopyError::Refused(String::from("this kind of store has tools of its own for copies")))
    }

    /// Drains and closes; later calls answer [`StoreError::Stopped`]. Closing twice is lawful.
    async fn close_store(&self) -> Result<(), StoreError>;
}

mod change_set;
mod embedded;
mod faulty;
mod memory;
#[cfg(feature = "planted-bugs")]
mod planted;
mod scylla;

pub use self::scylla::{OpenError as ScyllaOpenError, Settings as ScyllaSettings};
pub use embedded::{
    Checked, Copied, CopyError, CopyStage, Damage, Messages, OpenError,
    Settings as EmbeddedSettings, backup as backup_embedded, check as check_embedded, check_backup,
    restore as restore_embedded,
};
pub use faulty::{Call, Fault, FaultyStore, Gate};
pub(crate) use memory::MemoryStore;

/// A store in memory, for tests: forgets everything when dropped.
pub fn memory() -> Arc<dyn Store> {
    MemoryStore::open()
}

/// Opens the embedded store in `dir`, which it makes if it is absent. Takes the directory's lock
/// first; recovers; nothing is served before this returns.
///
/// # Errors
/// The directory is in use, damaged, or cannot be read or written: see [`OpenError`].
pub async fn open_embedded(
    dir: &std::path::Path,
    settings: EmbeddedSettings,
) -> Result<Arc<dyn Store>, OpenError> {
    let store = embedded::open(dir, settings).await?;
    #[cfg(feature = "planted-bugs")]
    let store = planted::over(store);
    Ok(store)
}

/// Opens the store on a ScyllaDB or Cassandra cluster, making keyspace and tables where they are
/// missing. An experiment: for one broker only.
///
/// # Errors
/// The settings, the cluster or its tables cannot be used: see [`ScyllaOpenError`].
pub async fn open_scylla(settings: ScyllaSettings) -> Result<Arc<dyn Store>, ScyllaOpenError> {
    scylla::open(settings).await
}

#[cfg(test)]
mod conformance;
