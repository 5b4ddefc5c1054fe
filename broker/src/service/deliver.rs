//! Delivering: one critical section per subscription, between its durable progress and the next.
//!
//! Every verb folds in what time and retention did, decides on a copy, saves it, and only then
//! answers and replaces what memory holds. A verb whose save is refused runs again on what is
//! there. The state machine itself is `domain`'s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::commit::Retry;
use super::queue::TopicState;
use super::{Broker, Error, PullCounts, Pulled};
use crate::domain::records::{SubscriptionRecord, TopicRecord};
use crate::domain::{
    Counters, Facts, Head, Holes, Offset, Progress, ProjectId, SubscriptionId, SubscriptionName,
    Time,
};
use crate::store::{Outcome, StoreError};

/// One subscription: its durable progress, and what is not worth a save of its own.
pub(super) struct SubscriptionState {
    id: SubscriptionId,
    /// Held from reading the progress to the answer of its save.
    gate: tokio::sync::Mutex<Gate>,
    durable: Mutex<Option<Arc<Progress>>>,
    last_pull: AtomicU64,
    messages: AtomicU64,
    empty: AtomicU64,
    denied: AtomicU64,
    error: AtomicU64,
    letters_failed: AtomicU64,
}

/// The right to change a subscription's progress.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// A save's outcome was never learnt: what memory holds may be behind the store.
    stale: bool,
    /// It was deleted, and its progress is being forgotten.
    pub(super) gone: bool,
}

impl SubscriptionState {
    pub(super) fn new(id: SubscriptionId, durable: Option<Progress>) -> Self {
        Self {
            id,
            gate: tokio::sync::Mutex::default(),
            durable: Mutex::new(durable.map(Arc::new)),
            last_pull: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            error: AtomicU64::new(0),
            letters_failed: AtomicU64::new(0),
        }
    }

    pub(super) const fn id(&self) -> SubscriptionId {
        self.id
    }

    pub(super) async fn gate(&self) -> tokio::sync::MutexGuard<'_, Gate> {
        self.gate.lock().await
    }

    /// The durable progress; `None` while it was never saved.
    pub(super) fn durable(&self) -> Option<Arc<Progress>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_durable(&self, progress: Option<Progress>) {
        let progress = progress.map(Arc::new);
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// The last admitted pull, saved or not.
    pub(super) fn last_pull(&self) -> Time {
        let saved = self.durable().map_or(Time(0), |progress| progress.clocks.last_pull);
        saved.max(Time(self.last_pull.load(Ordering::Relaxed)))
    }

    pub(super) fn touch(&self, now: Time) {
        self.last_pull.fetch_max(now.0, Ordering::Relaxed);
    }

    pub(super) fn pulls(&self) -> PullCounts {
        PullCounts {
            messages: self.messages.load(Ordering::Relaxed),
            empty: self.empty.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            error: self.error.load(Ordering::Relaxed),
        }
    }

    /// Messages that stay where they are, to be tried again at the next pull.
    pub(super) fn count_failed_letters(&self, messages: usize) {
        self.letters_failed.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn letters_failed(&self) -> u64 {
        self.letters_failed.load(Ordering::Relaxed)
    }

    pub(super) fn count_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, outcome: &Result<Pulled, Error>) {
        let counter = match outcome {
            Ok(pulled) if pulled.count > 0 => &self.messages,
            Ok(_) => &self.empty,
            Err(error) if error.is_fault() => &self.error,
            Err(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One subscription, by all that it is found by.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) broker: Broker,
    pub(super) project: ProjectId,
    pub(super) name: SubscriptionName,
    pub(super) state: Arc<SubscriptionState>,
}

/// Where a subscription is at one moment.
pub(super) struct Place {
    pub(super) record: Arc<SubscriptionRecord>,
    /// The present life of its topic.
    pub(super) topic: Option<Arc<TopicState>>,
    /// The head of the life that `facts` are about.
    pub(super) head: Head,
    pub(super) facts: Facts,
    /// Where the messages from the position on end that are there, if it is before the head.
    pub(super) sound: Option<Offset>,
    /// What was given up of the topic.
    pub(super) holes: Holes,
}

/// What is true of a subscription whose topic name now stands for `current`: it follows the name,
/// and what time did is folded in. Pure.
pub(super) fn locate(
    record: &SubscriptionRecord,
    durable: Option<&Progress>,
    current: Option<(&TopicRecord, &Head)>,
    now: Time,
) -> (Facts, Head) {
    let fresh = || Progress::fresh(record.topic_id, record.start);
    let mut progress = durable.cloned().unwrap_or_else(fresh);
    let end_of = |progress: &Progress| {
        record.ended.get(&progress.topic).copied().unwrap_or(progress.position)
    };
    let none = Holes::default();
    let (head, holes) = match current {
        None => (Head { next: end_of(&progress), ..Head::default() }, &none),
        Some((topic, head)) => {
            let life = topic.id;
            if progress.topic != life {
                // Lives that came and went while nobody looked: all of them is lost. None older
                // than the progress is in the record (`Broker::finish_deletion`).
                let passed = progress.topic;
                let between = record.ended.iter().filter(|(ended, _)| **ended != passed);
                let mut end = end_of(&progress);
                if record.ended.contains_key(&passed) {
                    for (between, its_end) in between {
                        progress.follow(end, *between, Offset(0));
                        end = *its_end;
                    }
                }
                progress.follow(end, life, Offset(0));
            }
            (head.clone(), &topic.holes)
        }
    };
    (progress.facts(now, &head, holes, record.ack_deadline_seconds), head)
}

impl Target {
    /// Where it is, by the heads that memory holds.
    pub(super) fn place(&self, now: Time) -> Result<Place, Error> {
        let cell = self.broker.project_cell(self.project)?;
        let (record, named) = {
            let state = cell.read();
            let record = state.index.subscriptions.get(&self.name);
            let record = record.filter(|record| record.id == self.state.id);
            let record = record.cloned().ok_or(Error::SubscriptionNotFound)?;
            let named = state.index.topic(&record.topic).cloned();
            (record, named)
        };
        let topic = named.as_ref().and_then(|named| self.broker.known_topic(named.id));
        let head = topic.as_ref().map(|topic| topic.head());
        let current = named.as_deref().zip(head.as_ref());
        let durable = self.state.durable();
        let (facts, head) = locate(&record, durable.as_deref(), current, now);
        let at = facts.progress.position;
        let sound = named.as_ref().and_then(|named| named.holes.next_at(at));
        let holes = named.as_ref().map(|named| named.holes.clone()).unwrap_or_default();
        Ok(Place { record, topic, head, facts, sound, holes })
    }

    /// Where it is, by the store's head, which a trim may have moved.
    pub(super) async fn place_now(&self) -> Result<Place, Error> {
        let place = self.place(self.now())?;
        let name = &place.record.topic;
        let Ok(topic) = self.broker.topic_record(self.project, name) else { return Ok(place) };
        if let Some(state) = self.broker.topic_state(topic.id).await?
            && let Some(head) = self.broker.0.store.head(topic.id).await?
            && head != state.head()
        {
            state.advance(head);
        }
        self.place(self.now())
    }

    pub(super) fn now(&self) -> Time {
        self.broker.0.clock.steady()
    }

    /// Makes sure that memory holds what is durable.
    pub(super) async fn settle(&self, gate: &mut Gate) -> Result<(), Error> {
        if gate.gone {
            return Err(Error::SubscriptionNotFound);
        }
        if gate.stale {
            self.state.set_durable(self.broker.0.store.load(self.state.id).await?);
            gate.stale = false;
        }
        Ok(())
    }

    /// Saves a successor of the durable progress. `false`: another is there, now in memory; run
    /// the command again on it.
    pub(super) async fn save(
        &self,
        gate: &mut Gate,
        mut progress: Progress,
        retry: &mut Retry<'_>,
    ) -> Result<bool, Error> {
        let store = &self.broker.0.store;
        let version = self.state.durable().map_or(0, |durable| durable.version);
        progress.version = version.saturating_add(1);
        progress.clocks.last_pull = progress.clocks.last_pull.max(self.state.last_pull());
        gate.stale = true;
        let outcome = match store.save(self.state.id, &progress).await {
            Ok(outcome) => outcome,
            Err(error) => {
                gate.stale = false;
                return Err(error.into());
            }
        };
        if outcome != Outcome::Applied(()) {
            let stored = loop {
                match store.load(self.state.id).await {
                    Ok(stored) => break stored,
                    Err(StoreError::Stopped) => return Err(Error::Unavailable),
                    Err(_) => retry.again().await?,
                }
            };
            gate.stale = false;
            if stored.as_ref() != Some(&progress) {
                self.state.set_durable(stored);
                retry.again().await?;
                return Ok(false);
            }
        }
        gate.stale = false;
        self.state.set_durable(Some(progress));
        Ok(true)
    }
}

impl Broker {
    pub(super) fn target(
        &self,
        project: ProjectId,
        name: &SubscriptionName,
    ) -> Result<(Target, Arc<SubscriptionRecord>), Error> {
        let record = self.subscription_record(project, name)?;
        let state = self.known_subscription(record.id).ok_or(Error::SubscriptionNotFound)?;
        Ok((Target { broker: self.clone(), project, name: name.clone(), state }, record))
    }

    pub(super) fn known_subscription(&self, id: SubscriptionId) -> Option<Arc<SubscriptionState>> {
        self.0.subscriptions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(super) fn insert_subscription_state(&self, id: SubscriptionId, saved: Option<Progress>) {
        let state = Arc::new(SubscriptionState::new(id, saved));
        self.0.subscriptions.write().unwrap_or_else(PoisonError::into_inner).insert(id, state);
    }

    pub(super) fn remove_subscription_state(&self, id: SubscriptionId) {
        self.0.subscriptions.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Saves the last pulls that memory alone knows.
    pub(super) async fn save_last_pulls(&self) {
        for (project, cell) in self.project_cells() {
            let names: Vec<SubscriptionName> = {
                let state = cell.read();
                state.index.subscriptions.keys().cloned().collect()
            };
            for name in names {
                if let Ok((target, _)) = self.target(project, &name)
                    && let Err(error) = target.save_last_pull().await
                {
                    tracing::debug!(%error, subscription = %name, "last pull not saved");
                }
            }
        }
    }
}

impl Target {
    /// Saves that the window's deadline passed, if it did and that is not saved yet.
    pub(super) async fn save_expired(&self) -> Result<(), Error> {
        self.save_change(|counters| counters.expired).await
    }

    /// Saves what was lost, if that is not saved yet: once the topic is gone, what retention took
    /// can no longer be told from the rest.
    pub(super) async fn save_lost(&self) -> Result<(), Error> {
        self.save_change(|counters| counters.lost).await
    }

    /// Saves what time did, if it changed what `look` sees.
    async fn save_change<T: PartialEq>(
        &self,
        look: impl Fn(&Counters) -> T + Send + Sync,
    ) -> Result<(), Error> {
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        loop {
            self.settle(&mut gate).await?;
            let progress = self.place_now().await?.facts.progress;
            let saved = self.state.durable().map_or_else(Counters::default, |d| d.counters);
            if look(&progress.counters) == look(&saved)
                || self.save(&mut gate, progress, &mut retry).await?
            {
                return Ok(());
            }
        }
    }

    async fn save_last_pull(&self) -> Result<(), Error> {
        let saved = |state: &SubscriptionState| {
            state.durable().map_or(Time(0), |progress| progress.clocks.last_pull)
        };
        if self.state.last_pull() <= saved(&self.state) {
            return Ok(());
        }
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        while self.state.last_pull() > saved(&self.state) {
            self.settle(&mut gate).await?;
            let progress = self.place_now().await?.facts.progress;
            self.save(&mut gate, progress, &mut retry).await?;
        }
        Ok(())
    }
}
