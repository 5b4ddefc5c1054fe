//! The store's promises, kept by the queues, the durable maps and the disk.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::payload::Payload;
use super::queue::{Done, Op, Phase, Shared, Waiting, answer};
use super::read::{self, Access, Read};
use super::{record, sizes};
use crate::answers::channel;
use crate::domain::{Entry, Head, Hole, Holes, Offset, Progress, SubscriptionId, Time, TopicId};
use crate::store::{
    Answer, By, Catalog, Change, ChangeSet, Copied, CopyError, CopyProgress, Limits, MessageLog,
    Outcome, ProgressLog, Scope, ScopeState, Store, StoreError,
};

/// The embedded store.
pub(super) struct EmbeddedStore {
    shared: Arc<Shared>,
    cold: Semaphore,
    /// The threads, until somebody waits for their end.
    threads: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    /// Each thread holds it too.
    lock: Mutex<Option<Arc<File>>>,
}

impl EmbeddedStore {
    /// A store whose threads run.
    pub(super) fn new(
        shared: Arc<Shared>,
        threads: Vec<JoinHandle<()>>,
        lock: Option<Arc<File>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            cold: Semaphore::new(shared.settings.cold_reads),
            shared,
            threads: tokio::sync::Mutex::new(threads),
            lock: Mutex::new(lock),
        })
    }

    async fn mutate(&self, op: Op, record: Payload) -> Answer<Done> {
        let bound = record.len().max(record::SMALL) as u64;
        let (reply, receiver) = channel();
        self.shared.submit(Waiting { op, record, bound, reply })?;
        answer(receiver).await
    }

    async fn mutate_plainly(&self, op: Op, record: Payload) -> Answer {
        Ok(map(self.mutate(op, record).await?, |_| Some(())))
    }

    async fn mutate_topic(&self, op: Op, record: Payload) -> Answer<Head> {
        Ok(map(self.mutate(op, record).await?, |done| match done {
            Done::At(head) => Some(*head),
            Done::Plainly | Done::Version(_) => None,
        }))
    }

    /// Reads from memory, or else from the disk on a thread that may wait for it.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Shared, Access) -> Read<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(found) = read(&self.shared, Access::Memory)? {
            return Ok(found);
        }
        let _permit = self.cold.acquire().await.map_err(|_| StoreError::Stopped)?;
        let shared = Arc::clone(&self.shared);
        let reading = tokio::task::spawn_blocking(move || read(&shared, Access::Disk));
        reading.await.unwrap_or(Ok(None))?.ok_or(StoreError::Unavailable)
    }

    fn release(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// An outcome with what its caller wants of it.
fn map<T>(outcome: Outcome<Done>, wanted: impl FnOnce(Done) -> Option<T>) -> Outcome<T> {
    match outcome {
        Outcome::Applied(done) => wanted(done).map_or(Outcome::Unknown, Outcome::Applied),
        Outcome::Conflict => Outcome::Conflict,
        Outcome::Closed => Outcome::Closed,
        Outcome::Unknown => Outcome::Unknown,
    }
}

/// Waits for threads. One that panicked has stopped the store and said so; this one, which carries
/// on the task that held the store last, ends when it looks at the board.
fn join(threads: Vec<JoinHandle<()>>) {
    let here = std::thread::current().id();
    for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
        drop(thread.join());
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.shared.enter(Phase::Abandoned);
        // Before the lock goes, so that no thread writes into another's store.
        join(std::mem::take(self.threads.get_mut()));
    }
}

#[async_trait]
impl MessageLog for EmbeddedStore {
    async fn create(&self, topic: TopicId) -> Answer {
        self.mutate_plainly(Op::Create(topic), Payload::default()).await
    }

    async fn close(&self, topic: TopicId) -> Answer<Head> {
        self.mutate_topic(Op::Close(topic), Payload::default()).await
    }

    async fn commit(&self, topic: TopicId, entry: Arc<Entry>) -> Answer<Head> {
        let record = record::entry(topic, &entry);
        self.mutate_topic(Op::Commit(topic, entry), record).await
    }

    async fn head(&self, topic: TopicId) -> Result<Option<Head>, StoreError> {
        self.shared.check_open()?;
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        Ok(topics.open.get(&topic).map(|found| found.head.clone()))
    }

    async fn scan(
        &self,
        topic: TopicId,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.shared.check_open()?;
        self.read(move |shared, access| read::scan(shared, topic, from, limits, access)).await
    }

    async fn find_time(&self, topic: TopicId, time: Time) -> Result<Option<Offset>, StoreError> {
        self.shared.check_open()?;
        self.read(move |shared, access| read::find_time(shared, topic, time, access)).await
    }

    async fn kept_bytes(&self, topic: TopicId) -> Result<u64, StoreError> {
        self.shared.check_open()?;
        self.read(move |shared, access| sizes::kept_bytes(shared, topic, access)).await
    }

    async fn find_size(&self, topic: TopicId, bytes: u64) -> Result<Option<Offset>, StoreError> {
        self.shared.check_open()?;
        self.read(move |shared, access| sizes::find_size(shared, topic, bytes, access)).await
    }

    async fn trim(&self, topic: TopicId, to: Offset) -> Answer<Head> {
        self.mutate_topic(Op::Trim(topic, to), Payload::default()).await
    }

    async fn topics(&self) -> Result<Vec<TopicId>, StoreError> {
        self.shared.check_open()?;
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        Ok(topics.open.keys().copied().collect())
    }
}

#[async_trait]
impl ProgressLog for EmbeddedStore {
    async fn load(&self, subscription: SubscriptionId) -> Result<Option<Progress>, StoreError> {
        self.shared.check_open()?;
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.progress.get(&subscription).cloned())
    }

    async fn save(&self, subscription: SubscriptionId, progress: &Progress) -> Answer {
        let mut record = Vec::with_capacity(256);
        record::put_save(&mut record, subscription, progress);
        let op = Op::Save(subscription, Box::new(progress.clone()));
        self.mutate_plainly(op, record.into()).await
    }

    async fn delete(&self, subscription: SubscriptionId) -> Answer {
        self.mutate_plainly(Op::Delete(subscription), Payload::default()).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        self.shared.check_open()?;
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.progress.keys().copied().collect())
    }
}

#[async_trait]
impl Catalog for EmbeddedStore {
    async fn load_scope(&self, scope: Scope) -> Result<ScopeState, StoreError> {
        self.shared.check_open()?;
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.scopes.get(&scope).map(super::state::ScopeLog::state).unwrap_or_default())
    }

    async fn changes_since(
        &self,
        scope: Scope,
        version: u64,
    ) -> Result<Option<Vec<ChangeSet>>, StoreError> {
        self.shared.check_open()?;
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.scopes.get(&scope).map_or(Some(Vec::new()), |found| found.since(version)))
    }

    async fn commit_scope(
        &self,
        scope: Scope,
        expected: u64,
        changes: Vec<Change>,
        by: By,
    ) -> Answer<u64> {
        let Some(version) = expected.checked_add(1) else {
            self.shared.check_open()?;
            return Ok(Outcome::Conflict);
        };
        let set = ChangeSet { version, changes, by };
        let mut record = Vec::with_capacity(256);
        record::put_scope(&mut record, scope, &set);
        Ok(map(self.mutate(Op::Scope(scope, set), record.into()).await?, |done| match done {
            Done::Version(version) => Some(version),
            Done::Plainly | Done::At(_) => None,
        }))
    }

    async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        self.shared.check_open()?;
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.scopes.keys().copied().collect())
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn id(&self) -> u64 {
        self.shared.store
    }

    fn damage_found(&self) -> u64 {
        self.shared.damage.found()
    }

    fn damaged(&self) -> Vec<(TopicId, Hole)> {
        let lost = self.shared.damage.lost().into_iter();
        lost.map(|(topic, from, to)| (topic, Hole { from, to })).collect()
    }

    fn give_up(&self, topic: TopicId, holes: &Holes) {
        self.shared.damage.give_up(topic, holes);
    }

    async fn stopped(&self) -> Arc<str> {
        let mut stopped = self.shared.stopped.subscribe();
        if let Ok(reason) = stopped.wait_for(Option::is_some).await
            && let Some(reason) = reason.as_ref()
        {
            return Arc::clone(reason);
        }
        std::future::pending().await
    }

    async fn backup(
        &self,
        to: &Path,
        dry_run: bool,
        progress: CopyProgress,
    ) -> Result<Copied, CopyError> {
        super::copy::backup_open(&self.shared, to, dry_run, progress).await
    }

    async fn close_store(&self) -> Result<(), StoreError> {
        self.shared.enter(Phase::Closing);
        {
            // Whoever closes at the same time waits here.
            let mut threads = self.threads.lock().await;
            let threads = std::mem::take(&mut *threads);
            let joining = tokio::task::spawn_blocking(move || join(threads));
            joining.await.map_err(|_| StoreError::Unavailable)?;
        }
        self.release();
        self.shared.tell_closed();
        match self.shared.board().phase {
            Phase::Stopped(_) => Err(StoreError::Stopped),
            Phase::Open | Phase::Closing | Phase::Abandoned | Phase::Reading => Ok(()),
        }
    }
}
