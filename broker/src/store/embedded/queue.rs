//! What waits for a committer, and what the threads of a store tell each other.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Settings;
use super::cache::Cache;
use super::damage::Damage;
use super::disk::Disk;
use super::frame::Point;
use super::indexes::Indexes;
use super::layout::{PAGE, Pair, Stream};
use super::payload::Payload;
use super::rules::Rules;
use super::slots::Slots;
use super::snapshot::Position;
use super::state::State;
use super::topics::{Sealed, Topics};
use crate::answers::{Receiver, Sender};
use crate::domain::{Entry, Head, Offset, Progress, SubscriptionId, TopicId};
use crate::store::{Answer, ChangeSet, Outcome, Scope, StoreError};

/// A mutation.
#[derive(Debug)]
pub(super) enum Op {
    /// Begin a topic life.
    Create(TopicId),
    /// End one.
    Close(TopicId),
    /// Move its start.
    Trim(TopicId, Offset),
    /// Append an entry.
    Commit(TopicId, Arc<Entry>),
    /// Change a scope; the set's version is the expected one plus 1.
    Scope(Scope, ChangeSet),
    /// Save a subscription's record.
    Save(SubscriptionId, Box<Progress>),
    /// Forget it.
    Delete(SubscriptionId),
}

impl Op {
    /// The log that it goes to.
    pub(super) const fn stream(&self) -> Stream {
        match self {
            Self::Create(_) | Self::Close(_) | Self::Trim(..) | Self::Commit(..) => Stream::Entries,
            Self::Scope(..) | Self::Save(..) | Self::Delete(_) => Stream::State,
        }
    }

    /// Whether it is refused first when room runs out.
    pub(super) const fn is_publish(&self) -> bool {
        matches!(self, Self::Commit(..))
    }
}

/// What an applied mutation answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Done {
    /// Nothing more.
    Plainly,
    /// The topic's head.
    At(Box<Head>),
    /// The scope's version.
    Version(u64),
}

/// Where an answer goes.
pub(super) type Reply = Sender<Answer<Done>>;

/// A mutation in the queue.
#[derive(Debug)]
pub(super) struct Waiting {
    /// What to do.
    pub(super) op: Op,
    /// Its record, if it is known before its turn.
    pub(super) record: Payload,
    /// An upper bound of its record's length.
    pub(super) bound: u64,
    /// Whom to tell.
    pub(super) reply: Reply,
}

impl Waiting {
    const fn weight(&self) -> u64 {
        self.bound + 256
    }

    /// Answers it. Who no longer waits does not mind.
    pub(super) fn answer(self, answer: Answer<Done>) {
        self.reply.send(answer);
    }
}

/// Where a store is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// It takes mutations.
    Open,
    /// It takes no more and writes what is queued.
    Closing,
    /// It failed.
    Stopped(Arc<str>),
    /// Nobody uses it any more; what is queued is dropped.
    Abandoned,
    /// It can only be read: no thread writes it.
    Reading,
}

/// One stream's part of the board.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// What waits.
    pub(super) queue: VecDeque<Waiting>,
    /// How much that is.
    weight: u64,
    /// The files.
    pub(super) slots: Slots,
    /// Slots could not be prepared: no room.
    pub(super) full: bool,
    /// A second ready slot is wanted soon.
    pub(super) pressed: bool,
    /// A commit waits for a slot.
    pub(super) starved: bool,
    /// The last durable frame.
    pub(super) end: Point,
    /// Behind the last frame that is in the maps.
    pub(super) position: Position,
    /// Bytes of frames written, or read at the start, since the position of the snapshot that it
    /// used.
    pub(super) written: u64,
    /// Since when a frame other than a witness of this stream is witnessed by none of the other.
    pub(super) unvouched: Option<Instant>,
    /// The committer has ended.
    pub(super) ended: bool,
    /// Somebody changed something that the committer should look at.
    poked: bool,
    /// The committer waits for that; to wake one that is at work is a system call for nothing.
    asleep: bool,
}

impl Desk {
    /// Takes the first waiting mutation.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        self.weight = self.weight.saturating_sub(waiting.weight());
        Some(waiting)
    }
}

/// What the threads of a store tell each other.
#[derive(Debug)]
pub(super) struct Board {
    /// Where the store is in its life.
    pub(super) phase: Phase,
    /// The streams' parts.
    pub(super) desks: Pair<Desk>,
    /// The preparer should look.
    filling: bool,
    /// A snapshot is wanted soon.
    pub(super) snapshot_wanted: bool,
    /// Bytes of the last snapshot.
    pub(super) snapshot_bytes: u64,
    /// The keeper should look.
    keeping: bool,
    /// Copies that are being made: as long as there are, no snapshot is begun.
    pub(super) pins: u32,
    /// A snapshot is being taken.
    pub(super) snapshotting: bool,
    /// Slots that were sealed and have no index yet.
    pub(super) sealed: VecDeque<Arc<Sealed>>,
    /// The indexer should look.
    indexing: bool,
}

impl Board {
    /// The stream's part.
    pub(super) const fn desk(&mut self, stream: Stream) -> &mut Desk {
        self.desks.of_mut(stream)
    }
}

/// What all parts of an open store share.
pub(super) struct Shared {
    /// The directory.
    pub(super) disk: Arc<dyn Disk>,
    /// The store's id.
    pub(super) store: u64,
    /// How it was opened.
    pub(super) settings: Settings,
    /// The rules.
    pub(super) rules: Rules,
    /// The durable entry log.
    pub(super) topics: RwLock<Topics>,
    /// The durable state log.
    pub(super) state: RwLock<State>,
    /// Recently written entries, by the use of their slot and their place in it.
    pub(super) cache: Mutex<Cache<(u64, u64), Arc<Entry>>>,
    /// The same of what was read back from the disk: who reads behind asks for the next part of the
    /// same entry soon, and must not drive out what those at the tail want.
    pub(super) read_back: Mutex<Cache<(u64, u64), Arc<Entry>>>,
    /// Where entries lie in sealed slots.
    pub(super) indexes: Indexes,
    /// What was found damaged.
    pub(super) damage: Damage,
    /// Why the store has stopped, once it has.
    pub(super) stopped: watch::Sender<Option<Arc<str>>>,
    board: Mutex<Board>,
    committers: Pair<Condvar>,
    preparer: Condvar,
    keeper: Condvar,
    indexer: Condvar,
    scrubber: Condvar,
}

impl Shared {
    /// A store that is open.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        store: u64,
        (settings, rules): (Settings, Rules),
        (topics, state): (Topics, State),
        desks: Pair<Desk>,
    ) -> Self {
        let board = Board {
            phase: Phase::Open,
            desks,
            filling: true,
            snapshot_wanted: false,
            snapshot_bytes: 0,
            keeping: true,
            pins: 0,
            snapshotting: false,
            sealed: VecDeque::new(),
            indexing: true,
        };
        Self {
            disk,
            store,
            topics: RwLock::new(topics),
            state: RwLock::new(state),
            cache: Mutex::new(Cache::new(settings.cache_bytes - settings.read_back_bytes())),
            read_back: Mutex::new(Cache::new(settings.read_back_bytes())),
            stopped: watch::Sender::new(None),
            indexes: Indexes::new(settings.index_cache_bytes, rules),
            damage: Damage::default(),
            board: Mutex::new(board),
            committers: Pair::default(),
            preparer: Condvar::new(),
            keeper: Condvar::new(),
            indexer: Condvar::new(),
            scrubber: Condvar::new(),
            rules,
            settings,
        }
    }

    /// The board, locked. Never held over disk work.
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the new slot of this number shall be. State slots do not grow: the state log is
    /// recycled within a cap.
    pub(super) fn slot_len(&self, stream: Stream, number: u32) -> u64 {
        slot_len(&self.settings, stream, number)
    }

    /// Hands a mutation to its committer.
    pub(super) fn submit(&self, waiting: Waiting) -> Result<(), StoreError> {
        if waiting.bound > self.settings.largest_record {
            return Err(StoreError::Full);
        }
        let stream = waiting.op.stream();
        let mut board = self.board();
        if board.phase != Phase::Open {
            return Err(StoreError::Stopped);
        }
        let desk = board.desk(stream);
        let weight = desk.weight + waiting.weight();
        if weight > self.settings.queue_bytes && !desk.queue.is_empty() {
            return Err(StoreError::Unavailable);
        }
        desk.weight = weight;
        desk.queue.push_back(waiting);
        self.wake(&mut board, stream);
        Ok(())
    }

    /// Refuses once the store is closed or has stopped.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        match self.board().phase {
            Phase::Open | Phase::Reading => Ok(()),
            Phase::Closing | Phase::Stopped(_) | Phase::Abandoned => Err(StoreError::Stopped),
        }
    }

    /// Makes the stream's committer look at the board.
    pub(super) fn wake(&self, board: &mut Board, stream: Stream) {
        let desk = board.desk(stream);
        desk.poked = true;
        if std::mem::take(&mut desk.asleep) {
            self.committers.of(stream).notify_one();
        }
    }

    /// Makes the preparer look at the board.
    pub(super) fn wake_preparer(&self, board: &mut Board) {
        board.filling = true;
        self.preparer.notify_one();
    }

    /// Makes the keeper look at the board.
    pub(super) fn wake_keeper(&self, board: &mut Board) {
        board.keeping = true;
        self.keeper.notify_one();
    }

    /// Makes the indexer look at the board.
    pub(super) fn wake_indexer(&self, board: &mut Board) {
        board.indexing = true;
        self.indexer.notify_one();
    }

    /// Changes the phase, for everybody to see; a store that is stopped stays so.
    pub(super) fn enter(&self, phase: Phase) {
        let mut board = self.board();
        if let Phase::Stopped(_) = board.phase {
            return;
        }
        if let Phase::Stopped(reason) = &phase {
            self.stopped.send_replace(Some(Arc::clone(reason)));
        }
        board.phase = phase;
        for stream in Stream::ALL {
            self.wake(&mut board, stream);
        }
        self.wake_preparer(&mut board);
        self.wake_keeper(&mut board);
        self.wake_indexer(&mut board);
        self.scrubber.notify_all();
    }

    /// Tells whoever waits for the store's end that it was closed, unless it failed before.
    pub(super) fn tell_closed(&self) {
        self.stopped.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert_with(|| "it was closed".into());
            first
        });
    }

    /// The store has failed: nothing is written from now on.
    pub(super) fn stop(&self, reason: &str) {
        tracing::error!(reason, "the store has stopped");
        self.enter(Phase::Stopped(reason.into()));
    }

    /// The stream's committer writes no more: its clean frame is durable, so that the other stream
    /// may write its own, or it has given up.
    pub(super) fn ended(&self, stream: Stream) {
        let mut board = self.board();
        board.desk(stream).ended = true;
        self.wake(&mut board, stream.other());
        self.wake_preparer(&mut board);
        self.wake_keeper(&mut board);
        self.wake_indexer(&mut board);
    }

    /// The stream's committer has ended: what still waits learns that it was not written.
    pub(super) fn end(&self, stream: Stream) {
        let mut left = Vec::new();
        {
            let mut board = self.board();
            while let Some(waiting) = board.desk(stream).pop() {
                left.push(waiting);
            }
        }
        self.ended(stream);
        for waiting in left {
            waiting.answer(Err(StoreError::Stopped));
        }
    }

    /// Waits until the stream's committer has something to look at, or until `until`.
    pub(super) fn wait(&self, stream: Stream, until: Option<Instant>) {
        let mut board = self.board();
        while !std::mem::take(&mut board.desk(stream).poked) {
            let Some(left) = left(until) else {
                return;
            };
            board.desk(stream).asleep = true;
            let waited = self.committers.of(stream).wait_timeout(board, left);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
            board.desk(stream).asleep = false;
        }
    }

    /// Waits until the keeper has something to look at, or until `until`.
    pub(super) fn wait_keeper(&self, until: Option<Instant>) {
        let mut board = self.board();
        while !std::mem::take(&mut board.keeping) {
            let Some(left) = left(until) else {
                return;
            };
            let waited = self.keeper.wait_timeout(board, left);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the preparer has something to look at, or until `until`.
    pub(super) fn wait_preparer(&self, until: Option<Instant>) {
        let mut board = self.board();
        while !std::mem::take(&mut board.filling) {
            let Some(left) = left(until) else {
                return;
            };
            let waited = self.preparer.wait_timeout(board, left);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the indexer has something to look at, or until `until`.
    pub(super) fn wait_indexer(&self, until: Option<Instant>) {
        let mut board = self.board();
        while !std::mem::take(&mut board.indexing) {
            let Some(left) = left(until) else {
                return;
            };
            let waited = self.indexer.wait_timeout(board, left);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until then; answers whether the store is still open.
    pub(super) fn rest(&self, until: Instant) -> bool {
        let mut board = self.board();
        while board.phase == Phase::Open {
            let Some(left) = left(Some(until)) else {
                return true;
            };
            let waited = self.scrubber.wait_timeout(board, left);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

/// See [`Shared::slot_len`].
pub(super) fn slot_len(settings: &Settings, stream: Stream, number: u32) -> u64 {
    let first = settings.first_slot;
    match stream {
        Stream::State => {
            let most = settings.state_log_bytes.max(2 * settings.least_slot());
            first.min(most.next_multiple_of(PAGE))
        }
        Stream::Entries => {
            let doubled = first.saturating_mul(1u64.checked_shl(number).unwrap_or(u64::MAX));
            doubled.min(settings.max_slot.max(first)) / PAGE * PAGE
        }
    }
}

/// What is left until then; `None` when it has passed.
fn left(until: Option<Instant>) -> Option<Duration> {
    let Some(until) = until else {
        return Some(Duration::from_secs(3_600));
    };
    let left = until.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

/// Waits for the answer of a mutation in the queue.
pub(super) async fn answer(receiver: Receiver<Answer<Done>>) -> Answer<Done> {
    // Its committer is gone in mid-flight.
    receiver.await.unwrap_or(Ok(Outcome::Unknown))
}
