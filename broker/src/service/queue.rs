//! One topic life in memory: its durable end, and the batches that wait to be written behind it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Error;
use super::requests::Remembered;
use crate::answers::{Round, Sender};
use crate::domain::{Batch, DayFigures, Head, Offset, Request, TopicId};

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
    remembered: Remembered,
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

/// A batch that waits, and who waits for it.
pub(super) struct Waiting {
    pub(super) batch: Batch,
    /// It asks to be recognised by this.
    pub(super) request: Option<Request>,
    pub(super) answer: Sender<Result<Offset, Error>>,
    /// Those who asked the same meanwhile.
    pub(super) repeats: Vec<Sender<Result<Offset, Error>>>,
}

impl Waiting {
    /// Nobody waits for the answer of a request that was given up.
    pub(super) fn answer(
        self,
        answer: &Result<Offset, Error>,
        round: &mut Round<Result<Offset, Error>>,
    ) {
        for sender in self.repeats.into_iter().chain([self.answer]) {
            round.send(sender, answer.clone());
        }
    }
}

impl TopicState {
    pub(super) fn new(id: TopicId, head: Head) -> Self {
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
            remembered: Remembered::default(),
        }
    }

    pub(super) const fn id(&self) -> TopicId {
        self.id
    }

    pub(super) const fn remembered(&self) -> &Remembered {
        &self.remembered
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
    pub(super) fn enter(&self, waiting: Waiting) -> Result<bool, Error> {
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
    pub(super) fn take(&self) -> Option<Vec<Waiting>> {
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
    pub(super) fn goes_on(&self) -> bool {
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
