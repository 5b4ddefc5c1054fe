//! Publishes that ask to be recognised (`Idempotency-Key`): what was done is answered again and not
//! done again. The marks in the log say what was done; memory holds those of the last ten minutes,
//! of a topic from its first such publish on.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::queue::TopicState;
use super::{Broker, Error};
use crate::domain::requests::{Requests, WINDOW};
use crate::domain::{Holes, Known, Offset, Request, Time};
use crate::store::{Limits, StoreError};

/// Most requests that one topic remembers, about 10 MB of them.
const MOST_OF_TOPIC: usize = 100_000;
/// Most that all topics together remember.
const MOST: usize = 1_000_000;
/// How much of the log is read at once.
const PIECE: Limits = Limits { messages: 10_000, bytes: 8 << 20 };

/// The requests that a topic has seen lately; nothing before its first publish.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Option<Box<Requests>>>);

impl Remembered {
    fn lock(&self) -> MutexGuard<'_, Option<Box<Requests>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// What `topic` knows of `request`. The first one of a topic may read its last ten minutes.
    ///
    /// # Errors
    /// `KeyQuota`: it is new, and no more can be remembered. The store, also for damage that was
    /// not given up (`holes`): whether the request was done is not known then.
    pub(super) async fn known(
        &self,
        topic: &TopicState,
        request: &Request,
        holes: &Holes,
    ) -> Result<Known, Error> {
        self.remember(topic, holes).await?;
        let now = self.log_time(topic);
        let (known, remembered) = self.requests(topic, |requests| {
            requests.forget(now);
            (requests.find(request, now), requests.len())
        });
        let is_full =
            remembered >= MOST_OF_TOPIC || self.0.requests.load(Ordering::Relaxed) >= MOST;
        if known == Known::New && is_full {
            return Err(Error::KeyQuota);
        }
        Ok(known)
    }

    /// The same of many, which are about to be written.
    pub(super) fn find_requests(&self, topic: &TopicState, requests: &[Request]) -> Vec<Known> {
        let now = self.log_time(topic);
        self.requests(topic, |seen| requests.iter().map(|one| seen.find(one, now)).collect())
    }

    /// Reads what is not in memory yet: what others wrote, or the topic's last ten minutes.
    pub(super) async fn remember(
        &self,
        topic: &TopicState,
        holes: &Holes,
    ) -> Result<(), StoreError> {
        let store = &self.0.store;
        // What is written after this look comes in by `written`, or is read the next time.
        let end = topic.head().next;
        let mut from = self.requests(topic, |requests| requests.upto());
        if from >= end {
            return Ok(());
        }
        let oldest = self.log_time(topic).minus(WINDOW);
        from = from.max(store.find_time(topic.id(), oldest).await?.unwrap_or(end));
        loop {
            from = holes.pass(from);
            let upto = self.requests(topic, |requests| {
                requests.pass(from);
                requests.upto()
            });
            if upto >= end {
                return Ok(());
            }
            let entries = store.scan(topic.id(), upto, PIECE).await?;
            from = match entries.last() {
                Some(last) => last.end(),
                None => self.trimmed_to(topic, upto).await?,
            };
            self.requests(topic, |requests| entries.iter().for_each(|entry| requests.read(entry)));
        }
    }

    /// Why there was nothing at `at`, before the head: it is gone.
    async fn trimmed_to(&self, topic: &TopicState, at: Offset) -> Result<Offset, StoreError> {
        let head = self.0.store.head(topic.id()).await?.ok_or(StoreError::Unavailable)?;
        if head.start > at {
            return Ok(head.start);
        }
        Err(StoreError::Corrupt(format!("topic {}: no message at {at}", topic.id()).into()))
    }

    /// Works on what `topic` remembers and keeps the count of all.
    pub(super) fn requests<R>(
        &self,
        topic: &TopicState,
        work: impl FnOnce(&mut Requests) -> R,
    ) -> R {
        let mut requests = topic.remembered().lock();
        let requests = requests.get_or_insert_default();
        let before = requests.len();
        let answer = work(requests);
        let after = requests.len();
        let all = &self.0.requests;
        if after > before {
            all.fetch_add(after - before, Ordering::Relaxed);
        } else if before > after {
            all.fetch_sub(before - after, Ordering::Relaxed);
        }
        answer
    }

    /// Gives back the memory of topics that nobody publishes to any more.
    pub(super) fn forget_requests(&self) {
        for topic in self.known_topics() {
            if topic.remembered().lock().is_none() {
                continue;
            }
            let now = self.log_time(&topic);
            self.requests(&topic, |requests| requests.forget(now));
        }
    }

    /// A topic's time never goes back.
    fn log_time(&self, topic: &TopicState) -> Time {
        self.0.clock.wall().max(topic.head().last_time)
    }
}
