//! A bounded memory of what was written or read last, so that readers at the tail do not touch the
//! disk.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Forgets the oldest when it holds more bytes than it may.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    limit: u64,
    bytes: u64,
    values: HashMap<K, (V, u64)>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty cache of at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, values: HashMap::new(), order: VecDeque::new() }
    }

    /// The value, if it is here.
    pub(super) fn get(&self, key: K) -> Option<V> {
        self.values.get(&key).map(|(value, _)| value.clone())
    }

    /// Keeps a value that pins `bytes` bytes beside what the cache itself takes.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: usize) {
        let weight = (bytes + size_of::<(K, (V, u64))>() + size_of::<K>()) as u64;
        if weight > self.limit || self.values.contains_key(&key) {
            return;
        }
        self.values.insert(key, (value, weight));
        self.order.push_back(key);
        self.bytes += weight;
        while self.bytes > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some((_, weight)) = self.values.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(weight);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_the_limit_holds() {
        let of_one = 100 + size_of::<(u64, (u64, u64))>() + size_of::<u64>();
        let mut cache = Cache::new(3 * of_one as u64);
        for at in 0..5u64 {
            cache.insert(at, at, 100);
            // Again: neither counted nor kept twice.
            cache.insert(at, at, 100);
        }
        let kept: Vec<u64> = (0..5).filter_map(|at| cache.get(at)).collect();
        assert_eq!(kept, [2, 3, 4]);
        assert_eq!(cache.bytes, cache.limit);
        cache.insert(9, 9, 3 * of_one);
        assert_eq!(cache.get(9), None);
    }
}
