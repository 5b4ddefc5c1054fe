//! Damage that a running store met: each range is counted and logged once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::layout::Stream;
use crate::domain::{Holes, Offset, TopicId};
use crate::store::StoreError;

/// Messages that damage took: the topic, and from where to where.
pub(super) type Lost = (TopicId, Offset, Offset);

/// Where a range begins: the use of the slot, where in it, and the topic.
type Place = (u64, u64, Option<uuid::Uuid>);

/// The damaged ranges of sealed and open slots of the entry log, met since the start.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// The messages that each range took, if any.
    known: Mutex<BTreeMap<Place, Option<Lost>>>,
    scrubbed: AtomicU64,
    /// What was given up is no news.
    given_up: Mutex<HashMap<TopicId, Holes>>,
}

impl Damage {
    /// Notes a range that begins at `at`; answers the error of whoever asked for it.
    pub(super) fn met(
        &self,
        generation: u64,
        slot: u32,
        at: u64,
        lost: Lost,
        what: &str,
    ) -> StoreError {
        self.note(generation, slot, at, Some(lost), what);
        let file = Stream::Entries.file(slot);
        let (topic, from, to) = lost;
        let lost = format!("messages {from} to {to} of topic {topic}");
        StoreError::Corrupt(format!("{file} at offset {at}: {what}: {lost}").into())
    }

    /// Notes a range that nobody asked for.
    pub(super) fn scrubbed(
        &self,
        generation: u64,
        slot: u32,
        at: u64,
        lost: Option<Lost>,
        what: &str,
    ) {
        let given_up = |(topic, from, to): Lost| {
            let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
            given_up.get(&topic).is_some_and(|holes| holes.cover(from, to))
        };
        if !lost.is_some_and(given_up) && self.note(generation, slot, at, lost, what) {
            self.scrubbed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes over what was given up of a topic.
    pub(super) fn give_up(&self, topic: TopicId, holes: &Holes) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.insert(topic, holes.clone());
    }

    /// Whether it is new.
    fn note(&self, generation: u64, slot: u32, at: u64, lost: Option<Lost>, what: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.entry((generation, at, lost.map(|(topic, ..)| topic.0))) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(place) => drop(place.insert(lost)),
        }
        drop(known);
        let file = Stream::Entries.file(slot);
        match lost {
            Some((topic, from, to)) => {
                let (topic, from, to) = (topic.to_string(), from.0, to.0);
                tracing::error!(
                    file,
                    offset = at,
                    topic,
                    from,
                    to,
                    what,
                    "stored messages are damaged"
                );
            }
            None => tracing::error!(file, offset = at, what, "stored data is damaged"),
        }
        true
    }

    /// The messages that all ranges took, in no order; given up or trimmed since, or not.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().flatten().copied().collect()
    }

    /// How many ranges were met.
    #[cfg(test)]
    pub(super) fn ranges(&self) -> u64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// How many ranges the scrubber was the first to meet.
    pub(super) fn found(&self) -> u64 {
        self.scrubbed.load(Ordering::Relaxed)
    }
}
