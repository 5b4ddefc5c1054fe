//! Requests that ask to be recognised when they are sent again (`Idempotency-Key`), as one topic
//! knows them: a fold over the marks of its entries, so that nothing is written beside the log and
//! a restart finds what it found before.

use std::collections::hash_map::Entry::Vacant;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::batch::Batch;
use super::entry::{Entry, Mark};
use super::ids::{Offset, SubscriptionId, UserId};
use clock::Time;

/// How long a request is recognised, by the later of the wall clock and the topic's last entry.
pub const WINDOW: Duration = Duration::from_secs(600);

/// A request as it is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Of the user and the key: two users' keys are never the same.
    id: [u8; 16],
    /// Of what is asked.
    digest: [u8; 16],
}

/// What a topic knows of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was not seen within [`WINDOW`].
    New,
    /// The same request was; its first message is here.
    Repeat(Offset),
    /// Its id was, with other messages.
    Other,
}

/// The requests that one topic has seen lately.
#[derive(Debug, Default)]
pub struct Requests {
    seen: HashMap<[u8; 16], Seen>,
    /// Oldest first: when each was seen.
    order: VecDeque<(Time, [u8; 16])>,
    /// All entries of the window that end here or earlier are in.
    upto: Offset,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    digest: [u8; 16],
    first: Offset,
    time: Time,
}

impl Request {
    /// The request of `user` to publish `batch` under `key`. Two bodies that mean the same messages
    /// are the same request.
    pub fn new(user: UserId, key: &[u8], batch: &Batch) -> Self {
        Self::by(user.0.as_bytes(), key, batch)
    }

    /// The broker's own: the subscription's message at `offset` becomes the dead letter `batch`.
    pub fn dead_letter(subscription: SubscriptionId, offset: Offset, batch: &Batch) -> Self {
        Self::by(subscription.0.as_bytes(), &offset.0.to_be_bytes(), batch)
    }

    fn by(who: &[u8], key: &[u8], batch: &Batch) -> Self {
        let id = Sha256::new().chain_update(who).chain_update(key).finalize();
        Self { id: half(&id), digest: half(&Sha256::digest(batch.packed())) }
    }

    /// What the entry says of it whose messages from `first` on it brought.
    pub const fn mark(&self, first: u32, count: u32) -> Mark {
        Mark { id: self.id, first, count, digest: self.digest }
    }

    /// Whether it bears the same user and key.
    pub fn is_named_as(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// The first 16 of the 32 bytes.
fn half(hash: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    half
}

impl Requests {
    /// Where the next entry to take in begins.
    pub const fn upto(&self) -> Offset {
        self.upto
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// What lies before `from` is too old, gone, or given up as damaged.
    pub fn pass(&mut self, from: Offset) {
        self.upto = self.upto.max(from);
    }

    /// Takes in an entry that was read, unless it is in already.
    pub fn read(&mut self, entry: &Entry) {
        if entry.end() <= self.upto {
            return;
        }
        self.forget(entry.time);
        for mark in &entry.marks {
            // Whoever wrote it saw the ones before; were one twice, the first would count.
            if let Vacant(place) = self.seen.entry(mark.id) {
                let (first, time) = (entry.base.plus(u64::from(mark.first)), entry.time);
                place.insert(Seen { digest: mark.digest, first, time });
                self.order.push_back((time, mark.id));
            }
        }
        self.upto = entry.end();
    }

    /// Takes in an entry just written, if everything before it is in.
    pub fn written(&mut self, entry: &Entry) {
        if entry.base == self.upto {
            self.read(entry);
        }
    }

    /// What is known of `request` at `now`.
    pub fn find(&self, request: &Request, now: Time) -> Known {
        match self.seen.get(&request.id) {
            Some(seen) if !is_over(seen.time, now) => match seen.digest == request.digest {
                true => Known::Repeat(seen.first),
                false => Known::Other,
            },
            _ => Known::New,
        }
    }

    /// Forgets what is over at `now`.
    pub fn forget(&mut self, now: Time) {
        while let Some((time, id)) = self.order.front()
            && is_over(*time, now)
        {
            self.seen.remove(id);
            self.order.pop_front();
        }
        if self.seen.is_empty() {
            // A burst's memory is given back.
            self.seen.shrink_to_fit();
            self.order.shrink_to_fit();
        }
    }
}

fn is_over(seen: Time, now: Time) -> bool {
    now.since(seen) >= WINDOW
}

#[cfg(test)]
mod tests;
