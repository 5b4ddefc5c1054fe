//! Damage that a running store met: each range is counted and logged once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::layout::Stream;
use crate::store::StoreError;

/// The damaged ranges of sealed and open slots of the entry log, met since the start.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// By the use of the slot and where in it.
    known: Mutex<BTreeSet<(u64, u64)>>,
}

impl Damage {
    /// Notes a range that begins at `at`; answers the error of whoever asked for it.
    pub(super) fn met(&self, generation: u64, slot: u32, at: u64, what: &str) -> StoreError {
        let file = Stream::Entries.file(slot);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert((generation, at)) {
            tracing::error!(file, offset = at, what, "stored messages are damaged");
        }
        StoreError::Corrupt(format!("{file} at offset {at}: {what}").into())
    }

    /// How many ranges were met.
    #[cfg(test)]
    pub(super) fn ranges(&self) -> u64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}
