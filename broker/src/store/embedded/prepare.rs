//! Keeps slots ready before they are needed: created, zero-filled, fsynced, directory fsynced.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::layout::Stream;
use super::queue::{Board, Phase, Shared};
use super::repair::{fill, is_no_room};

/// The thread that prepares slots.
pub(super) struct Preparer {
    shared: Arc<Shared>,
    /// When to try again after there was no room.
    retry: Option<Instant>,
}

/// Stops the store if its thread panics: without slots the committers would wait for ever.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the preparer of slots panicked");
        }
    }
}

/// What came of a slot.
enum Prepared {
    Ready,
    /// Nobody needs it any more.
    Dropped,
    NoRoom(io::Error),
    /// A failed fsync.
    Failed(io::Error),
}

impl Preparer {
    /// A preparer for an open store.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, retry: None }
    }

    /// Works until both committers have ended.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _guard = Guard(&shared);
        while self.turn(Instant::now()) {
            self.shared.wait_preparer(self.retry);
        }
    }

    /// Prepares what is wanted; `false` when nothing ever will be.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        if self.retry.is_some_and(|retry| now < retry) {
            return !is_over(&self.shared.board());
        }
        self.retry = None;
        loop {
            let (stream, number) = {
                let mut board = self.shared.board();
                if is_over(&board) {
                    return false;
                }
                let Some(stream) = wanted(&mut board) else {
                    return true;
                };
                (stream, board.desk(stream).next_slot)
            };
            match self.prepare(stream, number) {
                Prepared::Ready => self.done(stream, number),
                Prepared::Dropped => return false,
                Prepared::NoRoom(error) => {
                    self.no_room(stream, &error);
                    self.retry = Some(now + self.shared.settings.retry_after);
                    return true;
                }
                Prepared::Failed(error) => {
                    let file = stream.file(number);
                    self.shared.stop(&format!("cannot fsync {file}: {error}"));
                    return false;
                }
            }
        }
    }

    fn prepare(&self, stream: Stream, number: u32) -> Prepared {
        let disk = self.shared.disk.as_ref();
        let file = stream.file(number);
        let len = self.shared.slot_len(stream, number);
        let written = disk
            .create(&file)
            .and_then(|()| fill(disk, &file, len, || !is_over(&self.shared.board())));
        let prepared = match written {
            Ok(true) => match disk.sync(&file).and_then(|()| disk.sync_dir()) {
                Ok(()) => return Prepared::Ready,
                // Blocks may be allocated as late as this.
                Err(error) if is_no_room(&error) => Prepared::NoRoom(error),
                Err(error) => return Prepared::Failed(error),
            },
            Ok(false) => Prepared::Dropped,
            Err(error) => Prepared::NoRoom(error),
        };
        // Half a slot only takes up room; start would remove it too.
        if let Err(error) = disk.remove(&file) {
            warn!(file, %error, "an unfinished slot stays");
        }
        prepared
    }

    fn done(&self, stream: Stream, number: u32) {
        let mut board = self.shared.board();
        let desk = board.desk(stream);
        desk.next_slot = number.saturating_add(1);
        desk.ready.push_back(number);
        for stream in Stream::ALL {
            if std::mem::take(&mut board.desk(stream).full) {
                info!(?stream, "there is room again");
            }
            self.shared.wake(&mut board, stream);
        }
    }

    fn no_room(&self, stream: Stream, error: &io::Error) {
        let mut board = self.shared.board();
        if !board.desk(stream).full {
            warn!(?stream, %error, "no room for the next slot: publishes will be refused first");
        }
        // Both: whoever waits for the other stream's slot would wait for this one's room.
        for stream in Stream::ALL {
            board.desk(stream).full = true;
            self.shared.wake(&mut board, stream);
        }
    }
}

/// The stream that lacks a ready slot most. The state log comes first: acknowledgements make room.
/// A second entry slot is prepared once the open one is half full.
fn wanted(board: &mut Board) -> Option<Stream> {
    let lacks = |board: &mut Board, stream, wanted: usize| board.desk(stream).ready.len() < wanted;
    if lacks(board, Stream::State, 1) {
        return Some(Stream::State);
    }
    let pressed = board.desk(Stream::Entries).pressed;
    lacks(board, Stream::Entries, if pressed { 2 } else { 1 }).then_some(Stream::Entries)
}

fn is_over(board: &Board) -> bool {
    match board.phase {
        Phase::Open => false,
        Phase::Closing => board.desks.entries.ended && board.desks.state.ended,
        Phase::Stopped(_) | Phase::Abandoned => true,
    }
}
