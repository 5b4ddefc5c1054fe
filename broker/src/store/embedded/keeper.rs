//! Takes snapshots while commits go on, and lets go of what they cover (`log.md` 2): positions
//! noted at one moment, the durable maps copied piece by piece, then written, fsynced, read back,
//! renamed. Nothing that goes wrong before the rename stops the store or changes anything.

use std::collections::VecDeque;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tracing::{info, warn};

use super::committer::Turn;
use super::disk::read_whole;
use super::frame::Point;
use super::layout::{Pair, Stream, UNFINISHED};
use super::queue::{Board, Op, Phase, Shared};
use super::repair::FILL;
use super::rules::Bug;
use super::sidecar::SUFFIX;
use super::slots::{Cover, KEPT};
use super::snapshot::{Making, Noted, Snapshot};
use crate::domain::{SubscriptionId, TopicId};
use crate::store::Scope;

/// So many things are copied before commits may apply again.
const PIECE: usize = if cfg!(test) { 2 } else { 256 };
/// A snapshot is taken at a clean stop if it is no larger, in bytes, so that the stop stays short.
const CHEAP: u64 = 64 << 20;
/// A snapshot is taken at a clean stop if the next start would read more than this, in bytes: a
/// short log is read, and so checked, whole.
const WORTH: u64 = if cfg!(test) { 4 << 10 } else { 1 << 20 };
/// How many times longer than for a slot it is waited after a failure.
const PATIENCE: u32 = 30;

/// What is left to copy.
#[derive(Debug)]
enum Rest {
    Begin,
    Topics(Vec<TopicId>),
    Closed(Vec<TopicId>),
    Scopes(Vec<Scope>),
    /// Objects of a scope behind this key.
    Objects(Scope, String, Vec<Scope>),
    Progress(Vec<SubscriptionId>),
}

#[derive(Debug)]
enum Stage {
    Copy(Making, Rest),
    Write(Vec<u8>),
    Sync(Vec<u8>),
    Verify(Vec<u8>),
    Rename(u64),
    SyncDir(u64),
}

/// A snapshot being taken.
#[derive(Debug)]
struct Taking {
    number: u64,
    covers: Pair<Cover>,
    /// How much each stream had written at its position.
    written: Pair<u64>,
    stage: Stage,
}

/// The thread that takes snapshots.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    next: u64,
    /// Numbers of the kept ones, oldest first; 0 is the root file.
    kept: VecDeque<u64>,
    /// How much each stream had written at the newest one's position.
    covered: Pair<u64>,
    /// When to look for dead slots whatever happens.
    look: Option<Instant>,
    retry: Option<Instant>,
    taking: Option<Taking>,
    /// The one at the clean stop was begun, or is not worth it.
    last_begun: bool,
}

/// Stops the store if its thread panics: the logs would grow for ever.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the keeper of snapshots panicked");
        }
    }
}

impl Keeper {
    /// A keeper for an open store: its next snapshot's number and those it has, oldest first.
    pub(super) const fn new(shared: Arc<Shared>, next: u64, kept: VecDeque<u64>) -> Self {
        let covered = Pair { entries: 0, state: 0 };
        let (look, retry, taking) = (None, None, None);
        Self { shared, next, kept, covered, look, retry, taking, last_begun: false }
    }

    /// Works until both committers have ended.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _guard = Guard(&shared);
        loop {
            match self.turn(Instant::now()) {
                Turn::Worked => {}
                Turn::Idle(until) => self.shared.wait_keeper(until),
                Turn::Ended => return,
            }
        }
    }

    /// Begins one, due or not.
    #[cfg(test)]
    pub(super) fn begin_now(&mut self) {
        assert!(self.begin(), "no switch is half-way");
    }

    /// Takes one whole, due or not.
    #[cfg(test)]
    pub(super) fn take_now(&mut self) {
        if self.taking.is_none() {
            self.begin_now();
        }
        while let Some(taking) = self.taking.take() {
            self.go_on(taking, Instant::now());
        }
    }

    /// Does one thing.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        let closing = match self.shared.board().phase {
            Phase::Open => false,
            Phase::Closing => true,
            Phase::Stopped(_) | Phase::Abandoned | Phase::Reading => return Turn::Ended,
        };
        if let Some(taking) = self.taking.take() {
            self.go_on(taking, now);
            return Turn::Worked;
        }
        if closing {
            return self.at_the_end();
        }
        let look = *self.look.get_or_insert_with(|| now + self.shared.settings.roll_after);
        if let Some(retry) = self.retry.filter(|retry| now < *retry) {
            return Turn::Idle(Some(retry));
        }
        self.retry = None;
        let timed = now >= look;
        if timed {
            self.look = None;
        }
        self.begin_if_due(timed).map_or(Turn::Worked, |busy| {
            // A switch is over in a moment, and then somebody wakes us.
            Turn::Idle(if busy { None } else { self.look })
        })
    }

    /// The last snapshot, so that the next start reads next to nothing.
    fn at_the_end(&mut self) -> Turn {
        let mut board = self.shared.board();
        if !board.desks.entries.ended || !board.desks.state.ended {
            return Turn::Idle(None);
        }
        let written = written(&mut board);
        let behind = written.entries - self.covered.entries + written.state - self.covered.state;
        let cheap = board.snapshot_bytes <= CHEAP && behind > WORTH.max(board.snapshot_bytes);
        drop(board);
        if self.last_begun || !cheap {
            return Turn::Ended;
        }
        self.last_begun = true;
        self.begin();
        Turn::Worked
    }

    /// Begins a snapshot if one is due; else answers whether it must wait for a switch.
    fn begin_if_due(&mut self, timed: bool) -> Option<bool> {
        let due = {
            let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
            let mut board = self.shared.board();
            let settings = &self.shared.settings;
            let written = written(&mut board);
            let state = written.state - self.covered.state;
            let entries = written.entries - self.covered.entries;
            let wanted = std::mem::take(&mut board.snapshot_wanted) || timed;
            let slots = &board.desks.entries.slots;
            state >= settings.state_log_bytes / 2
                || entries >= settings.max_slot.max(8 * board.snapshot_bytes)
                || wanted && slots.has_dead(|slot| topics.holds(slot.generation))
        };
        if !due {
            return Some(false);
        }
        if self.begin() {
            return None;
        }
        self.shared.board().snapshot_wanted = true;
        Some(true)
    }

    /// Notes both positions and the slots in use at one moment; `false` while a switch is half-way.
    fn begin(&mut self) -> bool {
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut board = self.shared.board();
        let half_way = Stream::ALL.into_iter().any(|stream| {
            let desk = board.desk(stream);
            let open = desk.slots.live.last().map(|slot| slot.generation);
            desk.slots.is_switching() || open != Some(desk.position.generation)
        });
        if half_way || board.pins > 0 {
            return false;
        }
        board.snapshotting = true;
        board.desks.entries.slots.drop_dead(|slot| topics.holds(slot.generation));
        board.desks.state.slots.drop_dead(|_| false);
        let noted = |stream| {
            let desk = board.desks.of(stream);
            let slots = desk.slots.live.clone();
            Noted { position: desk.position, slots, end: desk.end }
        };
        let streams = Pair { entries: noted(Stream::Entries), state: noted(Stream::State) };
        let covers = Pair { entries: streams.entries.cover(), state: streams.state.cover() };
        if self.shared.rules.plants(Bug::RecycleEarly) {
            for stream in Stream::ALL {
                board.desk(stream).slots.recycle_early(covers.of(stream).clone());
            }
        }
        let making = Making::new(self.shared.store, self.next, &streams);
        let stage = Stage::Copy(making, Rest::Begin);
        let written = written(&mut board);
        self.taking = Some(Taking { number: self.next, covers, written, stage });
        self.next += 1;
        true
    }

    fn go_on(&mut self, taking: Taking, now: Instant) {
        let Taking { number, covers, written, stage } = taking;
        let unfinished = format!("{}{UNFINISHED}", Snapshot::file(number));
        let stage = match stage {
            Stage::SyncDir(len) => {
                if let Err(error) = self.sync_dir() {
                    return self.shared.stop(&format!("cannot fsync the directory: {error}"));
                }
                return self.kept(number, &covers, written, len);
            }
            stage => self.step(&unfinished, number, stage),
        };
        match stage {
            Ok(stage) => self.taking = Some(Taking { number, covers, written, stage }),
            Err(error) => {
                self.shared.board().snapshotting = false;
                warn!(snapshot = number, %error, "no snapshot was taken; it is tried again");
                if let Err(error) = self.shared.disk.remove(&unfinished)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    warn!(unfinished, %error, "an unfinished snapshot stays");
                }
                self.retry = Some(now + self.shared.settings.retry_after * PATIENCE);
            }
        }
    }

    /// One step of a snapshot that is not renamed yet.
    fn step(&self, unfinished: &str, number: u64, stage: Stage) -> io::Result<Stage> {
        let disk = self.shared.disk.as_ref();
        Ok(match stage {
            Stage::Copy(mut making, rest) => match self.copy(&mut making, rest) {
                Some(rest) => Stage::Copy(making, rest),
                None => Stage::Write(making.finish(&self.ends())),
            },
            Stage::Write(content) => {
                disk.create(unfinished)?;
                let mut at = 0;
                for part in content.chunks(super::layout::index(FILL)) {
                    disk.write(unfinished, at, part)?;
                    at += part.len() as u64;
                }
                Stage::Sync(content)
            }
            Stage::Sync(content) => {
                disk.sync(unfinished)?;
                Stage::Verify(content)
            }
            Stage::Verify(content) => {
                if !self.shared.rules.plants(Bug::NoVerify) {
                    let found = read_whole(disk, unfinished)?;
                    let intact = Snapshot::decode(&found, self.shared.store, number).is_ok();
                    if found != content || !intact {
                        return Err(io::Error::other("it is not read back as it was written"));
                    }
                }
                Stage::Rename(content.len() as u64)
            }
            Stage::Rename(len) | Stage::SyncDir(len) => {
                disk.rename(unfinished, &Snapshot::file(number))?;
                Stage::SyncDir(len)
            }
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.shared.rules.plants(Bug::NoDirSyncSnapshot) {
            return Ok(());
        }
        self.shared.disk.sync_dir()
    }

    /// The last durable frames: whatever is in the maps is of them or of frames before.
    fn ends(&self) -> Pair<Point> {
        let board = self.shared.board();
        Pair { entries: board.desks.entries.end, state: board.desks.state.end }
    }

    /// Copies a piece of the durable maps; answers what is left.
    fn copy(&self, making: &mut Making, rest: Rest) -> Option<Rest> {
        match rest {
            Rest::Begin => {
                let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
                Some(Rest::Topics(topics.open.keys().copied().collect()))
            }
            Rest::Topics(mut left) => {
                let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
                for id in take(&mut left) {
                    // One that was closed since is closed in the log behind the position too.
                    if let Some(topic) = topics.open.get(&id) {
                        if self.shared.rules.plants(Bug::SpecSnapshot) {
                            let mut topic = topic.clone();
                            self.speculate(id, &mut topic.head);
                            making.topic(id, &topic);
                        } else {
                            making.topic(id, topic);
                        }
                    }
                }
                Some(match left.is_empty() {
                    true => Rest::Closed(topics.closed.iter().copied().collect()),
                    false => Rest::Topics(left),
                })
            }
            Rest::Closed(left) => {
                left.into_iter().for_each(|id| making.closed(id));
                let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
                Some(Rest::Scopes(state.scopes.keys().copied().collect()))
            }
            Rest::Scopes(mut left) => {
                let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
                let Some(scope) = left.pop() else {
                    return Some(Rest::Progress(state.progress.keys().copied().collect()));
                };
                // The version first: what is copied behind a later commit is replayed whole.
                making.scope(scope, state.scopes.get(&scope).map_or(0, |found| found.version));
                Some(Rest::Objects(scope, String::new(), left))
            }
            Rest::Objects(scope, behind, left) => {
                Some(self.copy_objects(making, scope, behind, left))
            }
            Rest::Progress(mut left) => {
                let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
                for id in take(&mut left) {
                    if let Some(progress) = state.progress.get(&id) {
                        making.progress(id, progress);
                    }
                }
                (!left.is_empty()).then_some(Rest::Progress(left))
            }
        }
    }

    fn copy_objects(
        &self,
        making: &mut Making,
        scope: Scope,
        behind: String,
        left: Vec<Scope>,
    ) -> Rest {
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = state.scopes.get(&scope) else { return Rest::Scopes(left) };
        // No key is empty.
        let from = (Bound::Excluded(behind.as_str()), Bound::Unbounded);
        let mut last = None;
        for (key, value) in found.objects.range::<str, _>(from).take(PIECE) {
            making.object(key, &value.value());
            last = Some(String::from(&**key));
        }
        if last.is_none() && self.shared.rules.plants(Bug::ScopeLate) {
            making.scope(scope, found.version);
        }
        last.map_or(Rest::Scopes(left.clone()), |last| Rest::Objects(scope, last, left))
    }

    /// Planted: the head that the queue would make.
    fn speculate(&self, id: TopicId, head: &mut crate::domain::Head) {
        for waiting in &self.shared.board().desks.entries.queue {
            if let Op::Commit(topic, entry) = &waiting.op
                && *topic == id
                && entry.base == head.next
            {
                *head = head.after(entry);
            }
        }
    }

    /// The snapshot counts: what only older ones need is free.
    fn kept(&mut self, number: u64, covers: &Pair<Cover>, written: Pair<u64>, len: u64) {
        info!(snapshot = number, bytes = len, "a snapshot was taken");
        self.covered = written;
        self.kept.push_back(number);
        while self.kept.len() > KEPT {
            if let Some(old) = self.kept.pop_front().filter(|old| *old != 0) {
                self.remove(&Snapshot::file(old));
            }
        }
        let mut spare = Vec::new();
        {
            let mut board = self.shared.board();
            board.snapshot_bytes = len;
            board.snapshotting = false;
            for stream in Stream::ALL {
                let slots = &mut board.desk(stream).slots;
                let of = slots.cover(covers.of(stream).clone()).into_iter();
                spare.extend(of.map(|number| stream.file(number)));
                self.shared.wake(&mut board, stream);
            }
            self.shared.wake_preparer(&mut board);
        }
        for file in spare {
            self.remove(&file);
            // Slots of the state log have none; nor have all of the other.
            drop(self.shared.disk.remove(&format!("{file}{SUFFIX}")));
        }
    }

    fn remove(&self, file: &str) {
        if let Err(error) = self.shared.disk.remove(file) {
            warn!(file, %error, "a file that nobody needs stays");
        }
    }
}

/// Takes a piece off the list.
fn take<T>(left: &mut Vec<T>) -> Vec<T> {
    left.split_off(left.len().saturating_sub(PIECE))
}

fn written(board: &mut Board) -> Pair<u64> {
    Pair { entries: board.desks.entries.written, state: board.desks.state.written }
}
