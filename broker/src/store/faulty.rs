//! A store that fails on command: any store, with faults planned call by call.
//!
//! For tests of what lives above the store. A lost reply must lead to the same mutation sent
//! again, never to a hole; a refusal must reach the client as one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Answer, By, Catalog, Change, ChangeSet, Copied, CopyError, CopyProgress, Limits, MessageLog,
    Outcome, ProgressLog, Scope, ScopeState, Store, StoreError,
};
use crate::domain::{Entry, Head, Hole, Holes, Offset, Progress, SubscriptionId, Time, TopicId};

/// The calls of a store that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Call {
    Create,
    Close,
    Commit,
    Head,
    Scan,
    FindTime,
    KeptBytes,
    FindSize,
    Trim,
    Topics,
    Load,
    Save,
    Delete,
    Subscriptions,
    LoadScope,
    ChangesSince,
    CommitScope,
    Scopes,
}

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is not tried and answers this.
    Refuse(StoreError),
    /// It takes effect and a mutation answers [`Outcome::Unknown`], a read
    /// [`StoreError::Unavailable`].
    LoseReply,
    /// It answers the same without having taken effect.
    LoseRequest,
    /// It waits at the gate, then takes effect and answers truly.
    Hold(Gate),
}

/// Where calls wait until the test lets them go on. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    open: watch::Sender<bool>,
    arrived: watch::Sender<u64>,
}

impl Gate {
    /// Lets everything pass, now and later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Returns once `count` calls in all have come to the gate.
    pub async fn arrived(&self, count: u64) {
        // The sender lives in `self`: this ends only when the count is reached.
        drop(self.0.arrived.subscribe().wait_for(|arrived| *arrived >= count).await);
    }

    async fn pass(&self) {
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        drop(self.0.open.subscribe().wait_for(|open| *open).await);
    }
}

/// Any store, with a plan of faults and a count of calls. Without a plan it is the store itself.
pub struct FaultyStore {
    store: Arc<dyn Store>,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    counts: BTreeMap<Call, u64>,
    total: u64,
    /// Fault of the n-th call of a kind.
    of: BTreeMap<(Call, u64), Fault>,
    /// Fault of the n-th call of any kind.
    any: BTreeMap<u64, Fault>,
    /// Fault of every call of a kind.
    always: BTreeMap<Call, Fault>,
    /// Said to be damaged.
    damaged: Vec<(TopicId, Hole)>,
}

impl FaultyStore {
    /// `store`, without a fault yet.
    pub fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, plan: Mutex::default() })
    }

    /// Plans `fault` for the `nth` call of this kind from now on; 1 is the next one.
    pub fn fail(&self, call: Call, nth: u64, fault: Fault) {
        let mut plan = self.plan();
        let at = plan.counts.get(&call).copied().unwrap_or_default() + nth;
        plan.of.insert((call, at), fault);
    }

    /// Plans `fault` for the `nth` call of any kind from now on; 1 is the next one.
    pub fn fail_any(&self, nth: u64, fault: Fault) {
        let mut plan = self.plan();
        let at = plan.total + nth;
        plan.any.insert(at, fault);
    }

    /// Every call of this kind fails until [`FaultyStore::heal`].
    pub fn fail_always(&self, call: Call, fault: Fault) {
        self.plan().always.insert(call, fault);
    }

    /// From now on it says that it met these messages damaged; they are read as before.
    pub fn say_damaged(&self, topic: TopicId, messages: Hole) {
        self.plan().damaged.push((topic, messages));
    }

    /// Forgets all planned faults. Calls held at a gate stay there.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.of.clear();
        plan.any.clear();
        plan.always.clear();
    }

    /// How many calls of this kind there were, failed ones included.
    pub fn calls(&self, call: Call) -> u64 {
        self.plan().counts.get(&call).copied().unwrap_or_default()
    }

    /// How many calls of any kind there were, failed ones included.
    pub fn calls_in_all(&self) -> u64 {
        self.plan().total
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and answers what is to go wrong with it.
    fn next_fault(&self, call: Call) -> Option<Fault> {
        let mut plan = self.plan();
        plan.total += 1;
        let total = plan.total;
        let count = plan.counts.entry(call).or_default();
        *count += 1;
        let count = *count;
        let planned = plan.of.remove(&(call, count)).or_else(|| plan.any.remove(&total));
        planned.or_else(|| plan.always.get(&call).cloned())
    }

    async fn mutate<T>(&self, call: Call, real: impl Future<Output = Answer<T>>) -> Answer<T> {
        match self.next_fault(call) {
            None => real.await,
            Some(Fault::Refuse(error)) => Err(error),
            Some(Fault::LoseReply) => real.await.map(|_lost| Outcome::Unknown),
            Some(Fault::LoseRequest) => Ok(Outcome::Unknown),
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                real.await
            }
        }
    }

    async fn read<T>(
        &self,
        call: Call,
        real: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.next_fault(call) {
            None => real.await,
            Some(Fault::Refuse(error)) => Err(error),
            Some(Fault::LoseReply | Fault::LoseRequest) => Err(StoreError::Unavailable),
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                real.await
            }
        }
    }
}

#[async_trait]
impl MessageLog for FaultyStore {
    async fn create(&self, topic: TopicId) -> Answer {
        self.mutate(Call::Create, self.store.create(topic)).await
    }

    async fn close(&self, topic: TopicId) -> Answer<Head> {
        self.mutate(Call::Close, self.store.close(topic)).await
    }

    async fn commit(&self, topic: TopicId, entry: Arc<Entry>) -> Answer<Head> {
        self.mutate(Call::Commit, self.store.commit(topic, entry)).await
    }

    async fn head(&self, topic: TopicId) -> Result<Option<Head>, StoreError> {
        self.read(Call::Head, self.store.head(topic)).await
    }

    async fn scan(
        &self,
        topic: TopicId,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.read(Call::Scan, self.store.scan(topic, from, limits)).await
    }

    async fn find_time(&self, topic: TopicId, time: Time) -> Result<Option<Offset>, StoreError> {
        self.read(Call::FindTime, self.store.find_time(topic, time)).await
    }

    async fn kept_bytes(&self, topic: TopicId) -> Result<u64, StoreError> {
        self.read(Call::KeptBytes, self.store.kept_bytes(topic)).await
    }

    async fn find_size(&self, topic: TopicId, bytes: u64) -> Result<Option<Offset>, StoreError> {
        self.read(Call::FindSize, self.store.find_size(topic, bytes)).await
    }

    async fn trim(&self, topic: TopicId, to: Offset) -> Answer<Head> {
        self.mutate(Call::Trim, self.store.trim(topic, to)).await
    }

    async fn topics(&self) -> Result<Vec<TopicId>, StoreError> {
        self.read(Call::Topics, self.store.topics()).await
    }
}

#[async_trait]
impl ProgressLog for FaultyStore {
    async fn load(&self, subscription: SubscriptionId) -> Result<Option<Progress>, StoreError> {
        self.read(Call::Load, self.store.load(subscription)).await
    }

    async fn save(&self, subscription: SubscriptionId, progress: &Progress) -> Answer {
        self.mutate(Call::Save, self.store.save(subscription, progress)).await
    }

    async fn delete(&self, subscription: SubscriptionId) -> Answer {
        self.mutate(Call::Delete, self.store.delete(subscription)).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        self.read(Call::Subscriptions, self.store.subscriptions()).await
    }
}

#[async_trait]
impl Catalog for FaultyStore {
    async fn load_scope(&self, scope: Scope) -> Result<ScopeState, StoreError> {
        self.read(Call::LoadScope, self.store.load_scope(scope)).await
    }

    async fn changes_since(
        &self,
        scope: Scope,
        version: u64,
    ) -> Result<Option<Vec<ChangeSet>>, StoreError> {
        self.read(Call::ChangesSince, self.store.changes_since(scope, version)).await
    }

    async fn commit_scope(
        &self,
        scope: Scope,
        expected: u64,
        changes: Vec<Change>,
        by: By,
    ) -> Answer<u64> {
        let real = self.store.commit_scope(scope, expected, changes, by);
        self.mutate(Call::CommitScope, real).await
    }

    async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        self.read(Call::Scopes, self.store.scopes()).await
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn id(&self) -> u64 {
        self.store.id()
    }

    fn damage_found(&self) -> u64 {
        self.store.damage_found()
    }

    fn damaged(&self) -> Vec<(TopicId, Hole)> {
        let mut damaged = self.store.damaged();
        damaged.extend(self.plan().damaged.iter().copied());
        damaged
    }

    fn give_up(&self, topic: TopicId, holes: &Holes) {
        self.store.give_up(topic, holes);
    }

    async fn stopped(&self) -> Arc<str> {
        self.store.stopped().await
    }

    async fn backup(
        &self,
        to: &std::path::Path,
        dry_run: bool,
        progress: CopyProgress,
    ) -> Result<Copied, CopyError> {
        self.store.backup(to, dry_run, progress).await
    }

    async fn close_store(&self) -> Result<(), StoreError> {
        self.store.close_store().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

    use std::sync::Mutex;

    use futures_util::poll;

    use super::super::conformance::{Fixture, suite};
    use super::super::{memory, memory::MemoryStore};
    use super::*;

    /// A store in memory behind a wrapper that has nothing to do.
    #[derive(Default)]
    struct WithoutFault(Mutex<Option<Arc<MemoryStore>>>);

    impl Fixture for WithoutFault {
        async fn open(&self) -> Arc<dyn Store> {
            let mut last = self.0.lock().unwrap();
            let store = last.as_ref().map_or_else(MemoryStore::open, |last| last.reopen());
            *last = Some(Arc::clone(&store));
            FaultyStore::over(store)
        }
    }

    mod without_a_fault_it_is_the_store_itself {
        use super::*;

        suite!(WithoutFault::default());
    }

    #[tokio::test]
    async fn the_nth_call_fails_and_no_other() {
        let store = FaultyStore::over(memory());
        assert_eq!(store.topics().await.unwrap(), []);
        store.fail(Call::Topics, 2, Fault::Refuse(StoreError::Full));
        assert!(store.topics().await.is_ok());
        assert!(store.scopes().await.is_ok());
        assert!(matches!(store.topics().await, Err(StoreError::Full)));
        assert!(store.topics().await.is_ok());
        assert_eq!((store.calls(Call::Topics), store.calls(Call::Scopes)), (4, 1));
        assert_eq!(store.calls(Call::Commit), 0);
    }

    #[tokio::test]
    async fn the_nth_call_of_any_kind_fails() {
        let store = FaultyStore::over(memory());
        store.fail_any(2, Fault::LoseReply);
        let topic = TopicId::random();
        assert!(store.head(topic).await.is_ok());
        assert_eq!(store.create(topic).await.unwrap(), Outcome::Unknown);
        assert!(store.head(topic).await.unwrap().is_some(), "it took effect");
        store.fail_any(1, Fault::LoseRequest);
        assert!(matches!(store.topics().await, Err(StoreError::Unavailable)));
    }

    #[tokio::test]
    async fn every_call_fails_until_it_is_healed() {
        let store = FaultyStore::over(memory());
        store.fail_always(Call::Create, Fault::LoseRequest);
        store.fail(Call::Topics, 1, Fault::Refuse(StoreError::Stopped));
        let topic = TopicId::random();
        for _ in 0..3 {
            assert_eq!(store.create(topic).await.unwrap(), Outcome::Unknown);
            assert_eq!(store.head(topic).await.unwrap(), None, "it took no effect");
        }
        store.heal();
        assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
        assert_eq!(store.topics().await.unwrap(), [topic]);
    }

    #[tokio::test]
    async fn a_held_call_goes_on_when_its_gate_opens() {
        let store = FaultyStore::over(memory());
        let gate = Gate::default();
        store.fail(Call::Create, 1, Fault::Hold(gate.clone()));
        store.fail(Call::Topics, 1, Fault::Hold(gate.clone()));
        let topic = TopicId::random();
        let (mut create, mut topics) = (store.create(topic), store.topics());
        let mut two = Box::pin(gate.arrived(2));
        assert!(poll!(&mut create).is_pending());
        assert!(poll!(&mut two).is_pending());
        assert!(poll!(&mut topics).is_pending());
        two.await;
        assert_eq!(store.head(topic).await.unwrap(), None, "it waits in front of the store");
        gate.open();
        assert_eq!(create.await.unwrap(), Outcome::Applied(()));
        assert_eq!(topics.await.unwrap(), [topic]);
    }
}
