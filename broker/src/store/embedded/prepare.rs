//! Keeps slots ready before they are needed: created, zero-filled, fsynced, directory fsynced. What
//! a start found filled is filled again, because nobody knows whether that was durable.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::disk::used;
use super::layout::{PAGE, Stream};
use super::queue::{Board, Phase, Shared};
use super::repair::{FILL, fill, is_no_room};
use super::rules::Bug;

/// So much is filled between two fsyncs, in bytes: whole [`FILL`]s.
const SYNC_EVERY: u64 = 8 * FILL;
/// So long the filling rests at most before it looks whether it is still wanted.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A snapshot is taken for at least so many bytes when room is reserved.
const SNAPSHOT_AT_LEAST: u64 = 64 << 10;

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
                    // Also when files became free.
                    for stream in Stream::ALL {
                        board.desk(stream).full = false;
                    }
                    return true;
                };
                let slots = &board.desk(stream).slots;
                (stream, slots.unsure().unwrap_or(slots.next))
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
        // It has its length and its blocks, as far as the file system goes.
        let again = self.shared.board().desk(stream).slots.unsure() == Some(number);
        if !again && let Err(error) = self.has_room(stream, len) {
            return Prepared::NoRoom(error);
        }
        let unsynced = Cell::new(false);
        let created = if again { Ok(()) } else { disk.create(&file) };
        let written = created.and_then(|()| self.fill(stream, &file, len, &unsynced));
        let prepared = match written {
            Ok(true) => match disk.sync(&file).and_then(|()| self.sync_dir()) {
                Ok(()) => return Prepared::Ready,
                // Blocks may be allocated as late as this.
                Err(error) if is_no_room(&error) => Prepared::NoRoom(error),
                Err(error) => return Prepared::Failed(error),
            },
            // The next start fills it again.
            Ok(false) if again => return Prepared::Dropped,
            Ok(false) => Prepared::Dropped,
            Err(error) if unsynced.get() && !is_no_room(&error) => return Prepared::Failed(error),
            Err(error) => Prepared::NoRoom(error),
        };
        // Half a slot only takes up room; start would remove it too.
        self.shared.board().desk(stream).slots.forget_unsure(number);
        if let Err(error) = disk.remove(&file) {
            warn!(file, %error, "an unfinished slot stays");
        }
        prepared
    }

    /// Fills a file, no faster than the settings say unless a commit waits for it.
    /// `unsynced` tells that it was an fsync that failed.
    fn fill(
        &self,
        stream: Stream,
        file: &str,
        len: u64,
        unsynced: &Cell<bool>,
    ) -> io::Result<bool> {
        let disk = self.shared.disk.as_ref();
        let rate = self.shared.settings.fill_bytes_per_second;
        let began = Instant::now();
        let filled = Cell::new(0u64);
        let go_on = || {
            if is_over(&self.shared.board()) {
                return Ok(false);
            }
            let done = filled.replace(filled.get() + FILL);
            // In small pieces, so that no commit waits for a large one.
            if done > 0 && done.is_multiple_of(SYNC_EVERY) {
                disk.sync(file).inspect_err(|_| unsynced.set(true))?;
            }
            if rate > 0 && !self.shared.board().desk(stream).starved {
                let due = Duration::from_micros(done.saturating_mul(1_000_000) / rate);
                let pause = due.saturating_sub(began.elapsed()).min(LONGEST_PAUSE);
                self.shared.wait_preparer(Some(Instant::now() + pause));
            }
            Ok(true)
        };
        fill(disk, file, len, go_on)
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.shared.rules.plants(Bug::NoDirSyncSlot) {
            return Ok(());
        }
        self.shared.disk.sync_dir()
    }

    /// Whether a new slot leaves enough: slots of the entry log leave room for the state log, two
    /// snapshots and the indexes that are not written yet, and none exceeds what the directory may
    /// hold.
    fn has_room(&self, stream: Stream, len: u64) -> io::Result<()> {
        let settings = &self.shared.settings;
        let reserve = {
            let mut board = self.shared.board();
            let snapshots = 2 * board.snapshot_bytes.max(SNAPSHOT_AT_LEAST);
            let state = board.desk(Stream::State).slots.bytes();
            let first = self.shared.slot_len(Stream::State, 0);
            let indexes = len / 4;
            snapshots + indexes + (settings.state_log_bytes + first).saturating_sub(state)
        };
        let reserve = if stream == Stream::Entries { reserve } else { 0 };
        let disk = self.shared.disk.as_ref();
        let full = |what: &str| io::Error::new(io::ErrorKind::StorageFull, what.to_owned());
        if reserve > 0 && disk.free()? < len + reserve {
            return Err(full("what is left is kept for acknowledgements"));
        }
        if let Some(most) = settings.max_bytes
            && used(disk)? + len + reserve > most
        {
            return Err(full("the directory holds what it may"));
        }
        Ok(())
    }

    fn done(&self, stream: Stream, number: u32) {
        let len = self.shared.slot_len(stream, number);
        // A slot is less than 2 GiB.
        let pages = u32::try_from(len / PAGE).unwrap_or(u32::MAX);
        let mut board = self.shared.board();
        let desk = board.desk(stream);
        desk.slots.add(number, pages);
        desk.starved = false;
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
        // Dead slots may wait for one.
        board.snapshot_wanted = true;
        self.shared.wake_keeper(&mut board);
    }
}

/// The stream that lacks a ready slot most. The state log comes first: acknowledgements make room.
/// A second entry slot is prepared once the open one is half full.
fn wanted(board: &mut Board) -> Option<Stream> {
    let lacks =
        |board: &mut Board, stream, wanted: usize| board.desk(stream).slots.ready() < wanted;
    if lacks(board, Stream::State, 1) {
        return Some(Stream::State);
    }
    let pressed = board.desk(Stream::Entries).pressed;
    if lacks(board, Stream::Entries, if pressed { 2 } else { 1 }) {
        return Some(Stream::Entries);
    }
    // What is there is made use of, but nobody waits for it.
    Stream::ALL.into_iter().find(|stream| board.desk(*stream).slots.unsure().is_some())
}

fn is_over(board: &Board) -> bool {
    match board.phase {
        Phase::Open => false,
        Phase::Closing => board.desks.entries.ended && board.desks.state.ended,
        Phase::Stopped(_) | Phase::Abandoned | Phase::Reading => true,
    }
}
