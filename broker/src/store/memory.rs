//! The store that forgets: the promises in their plainest form, for tests and as the model that
//! the other backends are compared with. One lock, no file, no history beyond what is promised.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Answer, By, Catalog, Change, ChangeSet, KEPT_CHANGES, Limits, MessageLog, Outcome, ProgressLog,
    Scope, ScopeState, Store, StoreError,
};
use crate::domain::{Entry, Head, Offset, Progress, SubscriptionId, Time, TopicId};

/// A store in memory.
pub(crate) struct MemoryStore {
    truth: Arc<Mutex<Truth>>,
    closed: watch::Sender<bool>,
}

/// What a restart keeps.
#[derive(Debug, Clone)]
struct Truth {
    id: u64,
    /// Every life ever created; `None` = closed.
    topics: BTreeMap<TopicId, Option<Log>>,
    progress: BTreeMap<SubscriptionId, Progress>,
    scopes: BTreeMap<Scope, ScopeLog>,
}

#[derive(Debug, Clone, Default)]
struct Log {
    head: Head,
    entries: VecDeque<Arc<Entry>>,
}

#[derive(Debug, Clone, Default)]
struct ScopeLog {
    version: u64,
    objects: BTreeMap<String, Bytes>,
    /// The last commits, the newest at the back.
    kept: VecDeque<ChangeSet>,
}

impl MemoryStore {
    /// An empty store with a new id.
    pub(crate) fn open() -> Arc<Self> {
        Self::over(Arc::new(Mutex::new(Truth {
            id: rand::random(),
            topics: BTreeMap::new(),
            progress: BTreeMap::new(),
            scopes: BTreeMap::new(),
        })))
    }

    /// The same truth, opened again: what a restart is to a store with a disk. The change sets
    /// are forgotten, as they may be.
    #[cfg(test)]
    pub(crate) fn reopen(&self) -> Arc<Self> {
        let mut truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner);
        truth.scopes.values_mut().for_each(|scope| scope.kept.clear());
        drop(truth);
        Self::over(Arc::clone(&self.truth))
    }

    /// A store of its own that holds the same, so that many tests can start from one state.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Arc<Self> {
        let truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self::over(Arc::new(Mutex::new(truth)))
    }

    fn over(truth: Arc<Mutex<Truth>>) -> Arc<Self> {
        Arc::new(Self { truth, closed: watch::Sender::new(false) })
    }

    fn truth(&self) -> Result<MutexGuard<'_, Truth>, StoreError> {
        // Taken before looking: a call that begins after the close has returned sees it.
        let truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.closed.borrow() { Err(StoreError::Stopped) } else { Ok(truth) }
    }
}

impl Truth {
    fn log(&self, topic: TopicId) -> Option<&Log> {
        self.topics.get(&topic)?.as_ref()
    }

    fn log_mut(&mut self, topic: TopicId) -> Option<&mut Log> {
        self.topics.get_mut(&topic)?.as_mut()
    }
}

impl Log {
    /// The entries that hold `from` or something behind it.
    fn entries_from(&self, from: Offset) -> impl Iterator<Item = &Arc<Entry>> {
        let first = self.entries.partition_point(|entry| entry.end() <= from);
        self.entries.iter().skip(first)
    }

    fn commit(&mut self, entry: Arc<Entry>) -> Outcome<Head> {
        if entry.batch.is_empty() {
            return Outcome::Conflict;
        }
        if entry.base == self.head.next {
            self.head = self.head.after(&entry);
            self.entries.push_back(entry);
            return Outcome::Applied(self.head.clone());
        }
        match self.entries_from(entry.base).next() {
            Some(present) if *present == entry => Outcome::Applied(self.head.clone()),
            _ => Outcome::Conflict,
        }
    }

    fn scan(&self, from: Offset, limits: Limits) -> Vec<Arc<Entry>> {
        let from = from.max(self.head.start);
        let (mut messages, mut bytes) = (0, 0);
        let mut found = Vec::new();
        for entry in self.entries_from(from) {
            messages += entry.end().since(entry.base.max(from));
            bytes += entry.batch.packed().len() as u64;
            found.push(Arc::clone(entry));
            if messages >= limits.messages || bytes >= limits.bytes {
                break;
            }
        }
        found
    }

    fn find_size(&self, bytes: u64) -> Option<Offset> {
        let mut held = 0;
        let fits = self.entries.iter().rev().take_while(|entry| {
            held += entry.batch.packed().len() as u64;
            held <= bytes
        });
        fits.last().map(|entry| entry.base.max(self.head.start))
    }

    fn trim(&mut self, to: Offset) {
        let to = to.min(self.head.next);
        if to > self.head.start {
            self.head.start = to;
            while self.entries.front().is_some_and(|entry| entry.end() <= to) {
                self.entries.pop_front();
            }
        }
    }
}

impl ScopeLog {
    fn commit(&mut self, expected: u64, changes: Vec<Change>, by: By) -> Outcome<u64> {
        let version = expected.saturating_add(1);
        let wanted = ChangeSet { version, changes, by };
        if self.version != expected {
            let repeated = self.kept.contains(&wanted);
            return if repeated { Outcome::Applied(version) } else { Outcome::Conflict };
        }
        for change in &wanted.changes {
            match change {
                Change::Put(key, value) => {
                    self.objects.insert(key.clone(), value.clone());
                }
                Change::Delete(key) => {
                    self.objects.remove(key);
                }
            }
        }
        self.version = version;
        self.kept.push_back(wanted);
        if self.kept.len() > KEPT_CHANGES {
            self.kept.pop_front();
        }
        Outcome::Applied(version)
    }

    fn changes_since(&self, version: u64) -> Option<Vec<ChangeSet>> {
        let missing = usize::try_from(self.version.checked_sub(version)?).ok()?;
        let skipped = self.kept.len().checked_sub(missing)?;
        Some(self.kept.iter().skip(skipped).cloned().collect())
    }
}

#[async_trait]
impl MessageLog for MemoryStore {
    async fn create(&self, topic: TopicId) -> Answer {
        let mut truth = self.truth()?;
        let log = truth.topics.entry(topic).or_insert_with(|| Some(Log::default()));
        Ok(if log.is_some() { Outcome::Applied(()) } else { Outcome::Closed })
    }

    async fn close(&self, topic: TopicId) -> Answer<Head> {
        let mut truth = self.truth()?;
        let log = truth.topics.get_mut(&topic).and_then(Option::take);
        Ok(log.map_or(Outcome::Closed, |log| Outcome::Applied(log.head)))
    }

    async fn commit(&self, topic: TopicId, entry: Arc<Entry>) -> Answer<Head> {
        let mut truth = self.truth()?;
        Ok(truth.log_mut(topic).map_or(Outcome::Closed, |log| log.commit(entry)))
    }

    async fn head(&self, topic: TopicId) -> Result<Option<Head>, StoreError> {
        Ok(self.truth()?.log(topic).map(|log| log.head.clone()))
    }

    async fn scan(
        &self,
        topic: TopicId,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        Ok(self.truth()?.log(topic).map_or_else(Vec::new, |log| log.scan(from, limits)))
    }

    async fn find_time(&self, topic: TopicId, time: Time) -> Result<Option<Offset>, StoreError> {
        let truth = self.truth()?;
        let Some(log) = truth.log(topic) else { return Ok(None) };
        let found = log.entries.iter().find(|entry| entry.time >= time);
        Ok(found.map(|entry| entry.base.max(log.head.start)))
    }

    async fn kept_bytes(&self, topic: TopicId) -> Result<u64, StoreError> {
        let truth = self.truth()?;
        let entries = truth.log(topic).into_iter().flat_map(|log| &log.entries);
        Ok(entries.map(|entry| entry.batch.packed().len() as u64).sum())
    }

    async fn find_size(&self, topic: TopicId, bytes: u64) -> Result<Option<Offset>, StoreError> {
        Ok(self.truth()?.log(topic).and_then(|log| log.find_size(bytes)))
    }

    async fn trim(&self, topic: TopicId, to: Offset) -> Answer<Head> {
        let mut truth = self.truth()?;
        Ok(truth.log_mut(topic).map_or(Outcome::Closed, |log| {
            log.trim(to);
            Outcome::Applied(log.head.clone())
        }))
    }

    async fn topics(&self) -> Result<Vec<TopicId>, StoreError> {
        let truth = self.truth()?;
        let open = truth.topics.iter().filter(|(_, log)| log.is_some());
        Ok(open.map(|(topic, _)| *topic).collect())
    }
}

#[async_trait]
impl ProgressLog for MemoryStore {
    async fn load(&self, subscription: SubscriptionId) -> Result<Option<Progress>, StoreError> {
        Ok(self.truth()?.progress.get(&subscription).cloned())
    }

    async fn save(&self, subscription: SubscriptionId, progress: &Progress) -> Answer {
        let mut truth = self.truth()?;
        let stored = truth.progress.get(&subscription).map_or(0, |stored| stored.version);
        if progress.version.checked_sub(1) != Some(stored) {
            return Ok(Outcome::Conflict);
        }
        truth.progress.insert(subscription, progress.clone());
        Ok(Outcome::Applied(()))
    }

    async fn delete(&self, subscription: SubscriptionId) -> Answer {
        self.truth()?.progress.remove(&subscription);
        Ok(Outcome::Applied(()))
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        Ok(self.truth()?.progress.keys().copied().collect())
    }
}

#[async_trait]
impl Catalog for MemoryStore {
    async fn load_scope(&self, scope: Scope) -> Result<ScopeState, StoreError> {
        let truth = self.truth()?;
        let Some(log) = truth.scopes.get(&scope) else { return Ok(ScopeState::default()) };
        let objects = log.objects.iter().map(|(key, value)| (key.clone(), value.clone()));
        Ok(ScopeState { version: log.version, objects: objects.collect() })
    }

    async fn changes_since(
        &self,
        scope: Scope,
        version: u64,
    ) -> Result<Option<Vec<ChangeSet>>, StoreError> {
        let truth = self.truth()?;
        match truth.scopes.get(&scope) {
            Some(log) => Ok(log.changes_since(version)),
            None => Ok((version == 0).then(Vec::new)),
        }
    }

    async fn commit_scope(
        &self,
        scope: Scope,
        expected: u64,
        changes: Vec<Change>,
        by: By,
    ) -> Answer<u64> {
        let mut truth = self.truth()?;
        if expected > 0 && !truth.scopes.contains_key(&scope) {
            return Ok(Outcome::Conflict);
        }
        Ok(truth.scopes.entry(scope).or_default().commit(expected, changes, by))
    }

    async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        Ok(self.truth()?.scopes.keys().copied().collect())
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn id(&self) -> u64 {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner).id
    }

    async fn stopped(&self) -> Arc<str> {
        // The sender lives as long as `self`: this ends only when the flag is set.
        let mut closed = self.closed.subscribe();
        drop(closed.wait_for(|closed| *closed).await);
        "closed".into()
    }

    async fn close_store(&self) -> Result<(), StoreError> {
        let _drained = self.truth.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.send_replace(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::super::conformance::{Fixture, suite};
    use super::*;

    /// Keeps the last store, to open its truth again.
    #[derive(Default)]
    struct InMemory(Mutex<Option<Arc<MemoryStore>>>);

    impl Fixture for InMemory {
        async fn open(&self) -> Arc<dyn Store> {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let store = last.as_ref().map_or_else(MemoryStore::open, |last| last.reopen());
            *last = Some(Arc::clone(&store));
            store
        }
    }

    suite!(InMemory::default());
}
