//! Those of the planted bugs that can be had from outside a store.

#![allow(clippy::disallowed_methods, reason = "neither a setting nor a part of the program")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use super::{
    Answer, By, Catalog, Change, ChangeSet, Copied, CopyError, CopyProgress, Limits, MessageLog,
    Outcome, ProgressLog, Scope, ScopeState, Store, StoreError,
};
use crate::domain::{
    Batch, BatchBuilder, Entry, Head, Hole, Holes, Malformed, Offset, Progress, SubscriptionId,
    Time, TopicId,
};

/// Long enough for a kill to fall between two steps that belong together.
const PAUSE: Duration = Duration::from_millis(10);
/// How long `reuse_offset_after_crash` behaves.
const SOUND: Duration = Duration::from_millis(200);

/// `store`, with the bugs that can be had from outside it; itself, when none was chosen.
pub(super) fn over(store: Arc<dyn Store>) -> Arc<dyn Store> {
    if !crate::planted::any() {
        return store;
    }
    let (early, mut late) = mpsc::unbounded_channel::<(TopicId, Arc<Entry>)>();
    let behind = Arc::clone(&store);
    tokio::spawn(async move {
        while let Some((topic, entry)) = late.recv().await {
            tokio::time::sleep(PAUSE).await;
            if behind.commit(topic, entry).await.is_err() {
                return;
            }
        }
    });
    Arc::new(Planted {
        store,
        early,
        heads: Mutex::default(),
        started: Instant::now(),
        full: AtomicBool::new(false),
    })
}

struct Planted {
    store: Arc<dyn Store>,
    /// Entries that were acknowledged and are written when there is time.
    early: mpsc::UnboundedSender<(TopicId, Arc<Entry>)>,
    /// What was told of each topic.
    heads: Mutex<HashMap<TopicId, Head>>,
    started: Instant,
    /// Whether there ever was no room.
    full: AtomicBool,
}

impl Planted {
    /// `ack_before_write`: the answer comes first, and what was answered is written if `write`.
    async fn acknowledge_first(
        &self,
        topic: TopicId,
        entry: Arc<Entry>,
        write: bool,
    ) -> Answer<Head> {
        let mut heads = self.heads.lock().await;
        let known = match heads.get(&topic) {
            Some(known) => Some(known.clone()),
            None => self.store.head(topic).await?,
        };
        let Some(known) = known else { return Ok(Outcome::Closed) };
        if entry.base != known.next {
            return Ok(Outcome::Conflict);
        }
        let head = known.after(&entry);
        heads.insert(topic, head.clone());
        if write {
            self.early.send((topic, entry)).map_err(|_gone| StoreError::Stopped)?;
        }
        Ok(Outcome::Applied(head))
    }

    /// `torn_batch`: one entry becomes two.
    async fn tear(&self, topic: TopicId, entry: &Entry) -> Answer<Head> {
        let (first, second) = halves(&entry.batch)?;
        let base = entry.base.plus(u64::from(first.len()));
        let first = Entry { batch: first, ..entry.clone() };
        let second =
            Entry { base, batch: second, marks: Vec::new(), closed_day: None, ..first.clone() };
        let told = self.store.commit(topic, Arc::new(first)).await?;
        if !matches!(told, Outcome::Applied(_)) {
            return Ok(told);
        }
        tokio::time::sleep(PAUSE).await;
        self.store.commit(topic, Arc::new(second)).await
    }

    /// `full_for_ever`: room that was made is not seen.
    async fn remember_full(&self, topic: TopicId, entry: Arc<Entry>) -> Answer<Head> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::Full);
        }
        let told = self.store.commit(topic, entry).await;
        self.full.fetch_or(matches!(told, Err(StoreError::Full)), Ordering::Relaxed);
        told
    }
}

fn halves(batch: &Batch) -> Result<(Batch, Batch), Malformed> {
    let (mut first, mut second) = (BatchBuilder::default(), BatchBuilder::default());
    for message in batch.messages() {
        let message = message?;
        let mut text = String::new();
        message.data.write_text(&mut text);
        let half = if first.len() < batch.len() / 2 { &mut first } else { &mut second };
        half.push(&message.attributes, &text);
    }
    Ok((first.finish(), second.finish()))
}

#[async_trait]
impl MessageLog for Planted {
    async fn create(&self, topic: TopicId) -> Answer {
        self.store.create(topic).await
    }

    async fn close(&self, topic: TopicId) -> Answer<Head> {
        self.store.close(topic).await
    }

    async fn commit(&self, topic: TopicId, entry: Arc<Entry>) -> Answer<Head> {
        if crate::planted::is("ack_before_write") {
            return self.acknowledge_first(topic, entry, true).await;
        }
        if crate::planted::is("torn_batch") && entry.batch.len() > 1 {
            return self.tear(topic, &entry).await;
        }
        if crate::planted::is("full_for_ever") {
            return self.remember_full(topic, entry).await;
        }
        // Nothing more is written, so that the next start gives these offsets again.
        if crate::planted::is("reuse_offset_after_crash") && self.started.elapsed() > SOUND {
            return self.acknowledge_first(topic, entry, false).await;
        }
        self.store.commit(topic, entry).await
    }

    async fn head(&self, topic: TopicId) -> Result<Option<Head>, StoreError> {
        let real = self.store.head(topic).await?;
        let told = self.heads.lock().await.get(&topic).cloned();
        Ok(real.map(|real| told.unwrap_or(real)))
    }

    async fn scan(
        &self,
        topic: TopicId,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.store.scan(topic, from, limits).await
    }

    async fn find_time(&self, topic: TopicId, time: Time) -> Result<Option<Offset>, StoreError> {
        self.store.find_time(topic, time).await
    }

    async fn kept_bytes(&self, topic: TopicId) -> Result<u64, StoreError> {
        self.store.kept_bytes(topic).await
    }

    async fn find_size(&self, topic: TopicId, bytes: u64) -> Result<Option<Offset>, StoreError> {
        self.store.find_size(topic, bytes).await
    }

    async fn trim(&self, topic: TopicId, to: Offset) -> Answer<Head> {
        self.store.trim(topic, to).await
    }

    async fn topics(&self) -> Result<Vec<TopicId>, StoreError> {
        self.store.topics().await
    }
}

#[async_trait]
impl ProgressLog for Planted {
    async fn load(&self, subscription: SubscriptionId) -> Result<Option<Progress>, StoreError> {
        let found = self.store.load(subscription).await?;
        Ok(found.map(|mut progress| {
            if crate::planted::is("ack_regress") && progress.position > progress.origin {
                progress.position = Offset(progress.position.0.saturating_sub(1));
            }
            if crate::planted::is("drop_counter") {
                progress.counters.acked = progress.counters.acked.saturating_sub(1);
            }
            progress
        }))
    }

    async fn save(&self, subscription: SubscriptionId, progress: &Progress) -> Answer {
        self.store.save(subscription, progress).await
    }

    async fn delete(&self, subscription: SubscriptionId) -> Answer {
        self.store.delete(subscription).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        self.store.subscriptions().await
    }
}

#[async_trait]
impl Catalog for Planted {
    async fn load_scope(&self, scope: Scope) -> Result<ScopeState, StoreError> {
        self.store.load_scope(scope).await
    }

    async fn changes_since(
        &self,
        scope: Scope,
        version: u64,
    ) -> Result<Option<Vec<ChangeSet>>, StoreError> {
        self.store.changes_since(scope, version).await
    }

    async fn commit_scope(
        &self,
        scope: Scope,
        expected: u64,
        changes: Vec<Change>,
        by: By,
    ) -> Answer<u64> {
        self.store.commit_scope(scope, expected, changes, by).await
    }

    async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        self.store.scopes().await
    }
}

#[async_trait]
impl Store for Planted {
    fn id(&self) -> u64 {
        self.store.id()
    }

    fn damage_found(&self) -> u64 {
        self.store.damage_found()
    }

    fn damaged(&self) -> Vec<(TopicId, Hole)> {
        self.store.damaged()
    }

    fn give_up(&self, topic: TopicId, holes: &Holes) {
        self.store.give_up(topic, holes);
    }

    async fn stopped(&self) -> Arc<str> {
        self.store.stopped().await
    }

    async fn backup(
        &self,
        to: &Path,
        dry_run: bool,
        progress: CopyProgress,
    ) -> Result<Copied, CopyError> {
        self.store.backup(to, dry_run, progress).await
    }

    async fn close_store(&self) -> Result<(), StoreError> {
        self.store.close_store().await
    }
}
