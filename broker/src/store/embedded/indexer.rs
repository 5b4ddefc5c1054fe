//! The thread beside the commit path that writes the indexes of sealed slots.

use std::sync::Arc;

use super::layout::Stream;
use super::queue::{Phase, Shared};
use super::sidecar::SUFFIX;

/// Writes indexes.
pub(super) struct Indexer {
    shared: Arc<Shared>,
}

impl Indexer {
    /// An indexer for an open store.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Works until both committers have ended. Should it panic, indexes are made when they are
    /// needed.
    pub(super) fn run(mut self) {
        self.sweep();
        while self.turn() {
            self.shared.wait_indexer(None);
        }
    }

    /// Removes indexes whose slots are gone.
    fn sweep(&self) {
        let disk = self.shared.disk.as_ref();
        let names = disk.list().unwrap_or_default();
        for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
            let slot = name.trim_end_matches(SUFFIX);
            let is_index = Stream::parse(slot).is_some();
            if is_index
                && !names.iter().any(|name| name == slot)
                && let Err(error) = disk.remove(name)
            {
                tracing::warn!(name, %error, "an index without a slot stays");
            }
        }
    }

    /// Writes what is to be written; `false` when nothing ever will be.
    pub(super) fn turn(&mut self) -> bool {
        loop {
            let sealed = {
                let mut board = self.shared.board();
                match board.phase {
                    Phase::Open | Phase::Closing => {}
                    Phase::Stopped(_) | Phase::Abandoned | Phase::Reading => return false,
                }
                match board.sealed.pop_front() {
                    Some(sealed) => sealed,
                    None if board.phase == Phase::Open => return true,
                    None => return !(board.desks.entries.ended && board.desks.state.ended),
                }
            };
            self.shared.indexes.write(self.shared.disk.as_ref(), self.shared.store, &sealed);
        }
    }
}
