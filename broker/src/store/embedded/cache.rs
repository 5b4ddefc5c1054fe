//! The entries written last, so that readers at the tail do not touch the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::Entry;

/// An entry's use of a slot, by generation, and position.
pub(super) type Key = (u64, u64);

/// Forgets the oldest when it holds more bytes than it may.
#[derive(Debug)]
pub(super) struct Cache {
    limit: u64,
    bytes: u64,
    entries: HashMap<Key, Arc<Entry>>,
    order: VecDeque<Key>,
}

impl Cache {
    /// An empty cache of at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// The entry, if it is here.
    pub(super) fn get(&self, key: Key) -> Option<Arc<Entry>> {
        self.entries.get(&key).cloned()
    }

    /// Keeps an entry.
    pub(super) fn insert(&mut self, key: Key, entry: &Arc<Entry>) {
        let weight = weight_of(entry);
        if weight > self.limit || self.entries.insert(key, Arc::clone(entry)).is_some() {
            return;
        }
        self.order.push_back(key);
        self.bytes += weight;
        while self.bytes > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.entries.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(weight_of(&gone));
            }
        }
    }
}

/// Roughly what an entry pins.
fn weight_of(entry: &Entry) -> u64 {
    (entry.batch.packed().len() + size_of_val(entry.marks.as_slice()) + 256) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BatchBuilder, Head, Time};

    #[test]
    fn the_oldest_goes_first_and_the_limit_holds() {
        let mut batch = BatchBuilder::default();
        batch.push::<&str, &str>(&[], "x");
        let entry = Arc::new(Head::default().entry(Time(1), batch.finish(), Vec::new()));
        let mut cache = Cache::new(3 * weight_of(&entry));
        for at in 0..5 {
            cache.insert((0, at), &entry);
        }
        let kept: Vec<u64> = (0..5).filter(|at| cache.get((0, *at)).is_some()).collect();
        assert_eq!(kept, [2, 3, 4]);
        assert_eq!(cache.bytes, cache.limit);
    }
}
