//! Publishing: one queue per topic, whose waiting batches share an entry.
//!
//! A publish leaves its batch and waits; whoever finds no committer is one: it takes what waits,
//! commits it, answers, and leaves what came meanwhile to a task, which goes on until nothing
//! waits. The batch belongs to the queue from then on: a client that hangs up takes nothing back
//! and holds nobody up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::catalogue::{Cell, KnownSchema, ProjectIndex, signed};
use super::commit::Errand;
use super::{Broker, Caller, Error};
use crate::domain::roles::ProjectRole;
use crate::domain::{Batch, BatchBuilder, DayFigures, Head, Offset, TopicId, TopicName};
use crate::store::{Outcome, StoreError};

/// Most messages that share an entry; a larger batch has one of its own.
const ENTRY_MESSAGES: u64 = 10_000;
/// Most packed bytes that share an entry.
const ENTRY_BYTES: u64 = 8 << 20;
/// Most packed bytes that wait in one topic; more are refused.
const WAITING_BYTES: u64 = 64 << 20;

/// One topic life: its durable end and its waiting publishes.
pub(super) struct TopicState {
    id: TopicId,
    queue: Mutex<Queue>,
    /// The head moved, or there is nothing to wait for any more.
    moved: Notify,
    /// The committer ended.
    idle: Notify,
    /// The figures of all days before this one are recorded; 0 = it is not known.
    recorded_through: AtomicU32,
}

struct Queue {
    head: Head,
    /// Days that ended since the broker saw the topic and are not recorded yet.
    closed: Vec<DayFigures>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
    committing: bool,
    /// Deletions that hold publishes back.
    quiescing: u32,
    ended: bool,
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Offset, Error>>,
}

impl TopicState {
    fn new(id: TopicId, head: Head) -> Self {
        let queue = Queue {
            head,
            closed: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            committing: false,
            quiescing: 0,
            ended: false,
        };
        Self {
            id,
            queue: Mutex::new(queue),
            moved: Notify::new(),
            idle: Notify::new(),
            recorded_through: AtomicU32::new(0),
        }
    }

    pub(super) const fn id(&self) -> TopicId {
        self.id
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The day before which all figures are recorded; 0 = it is not known.
    pub(super) fn recorded_through(&self) -> u32 {
        self.recorded_through.load(Ordering::Relaxed)
    }

    pub(super) fn set_recorded_through(&self, day: u32) {
        self.recorded_through.store(day, Ordering::Relaxed);
        self.queue().closed.retain(|closed| closed.day >= day);
    }

    /// The figures of the last day that brought something, and of those before it that are not
    /// recorded yet.
    pub(super) fn unrecorded_days(&self) -> Vec<DayFigures> {
        let queue = self.queue();
        queue.closed.iter().copied().chain(queue.head.day_figures()).collect()
    }

    /// The durable head, as far as this broker saw it.
    pub(super) fn head(&self) -> Head {
        self.queue().head.clone()
    }

    /// Takes over a head that was read from the store; a head never goes back.
    pub(super) fn advance(&self, head: Head) {
        let mut queue = self.queue();
        if head.next >= queue.head.next && head.start >= queue.head.start {
            if head.day > queue.head.day {
                let closed = queue.head.day_figures();
                queue.closed.extend(closed);
            }
            queue.head = head;
        }
        drop(queue);
        self.wake();
    }

    /// Wakes the pulls that wait.
    pub(super) fn wake(&self) {
        self.moved.notify_waiters();
    }

    /// Resolves at the next [`TopicState::wake`] after this was enabled or polled.
    pub(super) fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    /// Refuses new publishes, waits for those that are on their way, answers the last head.
    pub(super) async fn quiesce(&self) -> Head {
        self.queue().quiescing += 1;
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            {
                let queue = self.queue();
                if !queue.committing {
                    return queue.head.clone();
                }
            }
            idle.await;
        }
    }

    /// Lets publishes in again.
    pub(super) fn resume(&self) {
        let mut queue = self.queue();
        queue.quiescing = queue.quiescing.saturating_sub(1);
    }

    /// The topic is gone: publishes and waiting pulls learn it.
    pub(super) fn end(&self) {
        self.queue().ended = true;
        self.wake();
    }

    /// Leaves a batch; answers whether there is no committer yet: then whoever left it is one.
    fn enter(&self, waiting: Waiting) -> Result<bool, Error> {
        let mut queue = self.queue();
        let size = waiting.batch.packed().len() as u64;
        if queue.ended {
            return Err(Error::TopicNotFound);
        }
        let full = queue.waiting_bytes > 0 && queue.waiting_bytes + size > WAITING_BYTES;
        if queue.quiescing > 0 || full {
            return Err(Error::Unavailable);
        }
        queue.waiting_bytes += size;
        queue.waiting.push_back(waiting);
        Ok(!std::mem::replace(&mut queue.committing, true))
    }

    /// What the next entry brings: at least one batch, then those that fit; `None` ends the
    /// committer.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let mut taken = Vec::new();
        let (mut messages, mut bytes) = (0, 0);
        while let Some(next) = queue.waiting.front() {
            messages += u64::from(next.batch.len());
            bytes += next.batch.packed().len() as u64;
            if !taken.is_empty() && (messages > ENTRY_MESSAGES || bytes > ENTRY_BYTES) {
                break;
            }
            let Some(next) = queue.waiting.pop_front() else { break };
            queue.waiting_bytes -= next.batch.packed().len() as u64;
            taken.push(next);
        }
        if taken.is_empty() {
            self.rest(queue);
            return None;
        }
        Some(taken)
    }

    /// Whether somebody waits; if not, the committer has ended.
    fn goes_on(&self) -> bool {
        let queue = self.queue();
        let goes_on = !queue.waiting.is_empty();
        if !goes_on {
            self.rest(queue);
        }
        goes_on
    }

    fn rest(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.committing = false;
        drop(queue);
        self.idle.notify_waiters();
    }
}

/// Somebody who may publish to one topic.
pub struct Publisher {
    broker: Broker,
    project: Arc<Cell<ProjectIndex>>,
    topic: TopicId,
    schema: Option<Arc<KnownSchema>>,
}

impl Publisher {
    /// Appends `batch` whole or not at all and answers the offset of its first message, when it is durable. An empty batch
    /// is lawful and writes nothing. Where the topic has a schema, every message is judged before any is written. Concurrent publishes of one topic share an entry.
    pub async fn publish(self, batch: Batch) -> Result<Offset, Error> {
        let Self { broker, project, topic, schema } = self;
        if broker.is_draining() {
            return Err(Error::Unavailable);
        }
        if let Some(schema) = schema {
            schema.judge(&batch)?;
        }
        let topic = broker.topic_state(topic).await?.ok_or(Error::TopicNotFound)?;
        if batch.is_empty() {
            return Ok(topic.head().next);
        }
        let quota = broker.0.settings.bytes_per_project;
        // What is on its way is not counted yet: the quota may be passed by as much.
        let size = signed(batch.packed().len() as u64);
        if quota > 0 && project.stored().saturating_add(size) > signed(quota) {
            return Err(Error::ByteQuota);
        }
        let deadline = broker.0.settings.deadline;
        let (answer, answered) = oneshot::channel();
        let commits = topic.enter(Waiting { batch, answer })?;
        let answered = async {
            if commits {
                let first = commit_first(broker.clone(), project, topic);
                Errand::new(broker, first).await;
            }
            answered.await
        };
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable),
        }
    }
}

/// Commits what waits now; what came meanwhile is not for whoever publishes to wait for.
async fn commit_first(broker: Broker, project: Arc<Cell<ProjectIndex>>, topic: Arc<TopicState>) {
    if let Some(waiting) = topic.take() {
        commit_entry(&broker, &project, &topic, waiting).await;
        if topic.goes_on() {
            let rest = commit_waiting(broker.clone(), project, topic);
            drop(broker.0.tasks.spawn_on(rest, &broker.0.home));
        }
    }
}

async fn commit_waiting(broker: Broker, project: Arc<Cell<ProjectIndex>>, topic: Arc<TopicState>) {
    while let Some(waiting) = topic.take() {
        commit_entry(&broker, &project, &topic, waiting).await;
    }
}

async fn commit_entry(
    broker: &Broker,
    project: &Cell<ProjectIndex>,
    topic: &TopicState,
    waiting: Vec<Waiting>,
) {
    let batch = pack(&waiting);
    let bytes = signed(batch.packed().len() as u64);
    let base = broker.append(topic, batch).await;
    if base.is_ok() {
        project.add_stored(bytes);
    }
    let mut place = 0;
    for Waiting { batch, answer } in waiting {
        // Nobody waits for the answer of a request that was given up.
        drop(answer.send(base.clone().map(|base| base.plus(place))));
        place += u64::from(batch.len());
    }
}

fn pack(waiting: &[Waiting]) -> Batch {
    if let [only] = waiting {
        return only.batch.clone();
    }
    let bytes = waiting.iter().map(|one| one.batch.packed().len()).sum();
    let mut together = BatchBuilder::with_capacity(bytes);
    waiting.iter().for_each(|one| together.append(&one.batch));
    together.finish()
}

impl Broker {
    /// Existence and ACL, before the door reads the body.
    pub fn publisher(&self, caller: &Caller, name: &TopicName) -> Result<Publisher, Error> {
        let project = self.project_cell(caller.project()?)?;
        let (record, schema) = {
            let state = project.read();
            let record = state.index.topic(name).cloned().ok_or(Error::TopicNotFound)?;
            let schema = state.index.schema_of(&record).cloned();
            (record, schema)
        };
        caller.passes(&ProjectRole::Publisher, &record.acl)?;
        Ok(Publisher { broker: self.clone(), project, topic: record.id, schema })
    }

    /// Commits one entry and answers its first offset. The entry does not change while its outcome
    /// is unknown; a conflict is definite, and what was not written is built anew on the new head.
    async fn append(&self, topic: &TopicState, batch: Batch) -> Result<Offset, Error> {
        let mut retry = self.retry();
        let store = &self.0.store;
        loop {
            let entry = topic.head().entry(self.0.clock.wall(), batch.clone(), Vec::new());
            let entry = Arc::new(entry);
            let sent = || store.commit(topic.id, Arc::clone(&entry));
            match self.settle(&mut retry, sent).await? {
                Outcome::Applied(head) => {
                    topic.advance(head);
                    return Ok(entry.base);
                }
                Outcome::Conflict => {
                    let head = store.head(topic.id).await?.ok_or(Error::TopicNotFound)?;
                    topic.advance(head);
                    retry.again().await?;
                }
                Outcome::Closed | Outcome::Unknown => return Err(Error::TopicNotFound),
            }
        }
    }

    /// A topic life that this broker has seen.
    pub(super) fn known_topic(&self, id: TopicId) -> Option<Arc<TopicState>> {
        self.0.topics.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// A topic life; `None` when its log is closed.
    pub(super) async fn topic_state(
        &self,
        id: TopicId,
    ) -> Result<Option<Arc<TopicState>>, StoreError> {
        if let Some(known) = self.known_topic(id) {
            return Ok(Some(known));
        }
        let head = self.0.store.head(id).await?;
        Ok(head.map(|head| self.insert_topic_state(id, head)))
    }

    pub(super) fn insert_topic_state(&self, id: TopicId, head: Head) -> Arc<TopicState> {
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        let state = topics.entry(id).or_insert_with(|| Arc::new(TopicState::new(id, head)));
        Arc::clone(state)
    }

    pub(super) fn remove_topic_state(&self, id: TopicId) {
        let removed = self.0.topics.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(topic) = removed {
            topic.end();
        }
    }
}
