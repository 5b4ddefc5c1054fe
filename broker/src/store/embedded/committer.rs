//! The one thread that writes a stream: takes what waits, writes it as one frame, makes it durable,
//! applies it, answers.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::evaluate::{Effect, Plan, Written, evaluate};
use super::frame::{Kind, Point};
use super::layout::{PAGE, Slot, Stream};
use super::payload::Payload;
use super::queue::{Board, Phase, Shared, Waiting};
use super::topics::{Lies, Sealed};
use super::writer::Writer;
use crate::answers::Round;
use crate::inline;
use crate::store::{Outcome, StoreError};

/// So many sealed slots may wait for their index, in memory.
const UNWRITTEN_INDEXES: usize = 2;

/// What a look at the board says.
enum Step {
    /// Write these.
    Commit(Vec<Waiting>),
    /// No room for this one.
    Refuse(Waiting),
    /// Go on in this slot, of so many pages.
    Switch(u32, u32),
    /// Write an empty frame.
    Mark(Kind),
    /// Nothing to do before this, or a change.
    Idle(Option<Instant>),
    /// Nothing to do ever again.
    End,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was done; look again.
    Worked,
    /// Nothing to do before this, or a change of the board.
    Idle(Option<Instant>),
    /// The committer has ended.
    Ended,
}

/// Writes one stream.
pub(super) struct Committer {
    stream: Stream,
    shared: Arc<Shared>,
    writer: Writer,
    /// Since when the open slot holds messages.
    holding: Option<Instant>,
}

/// Stops the store if its thread panics, so that nobody waits for ever: what was in flight is
/// answered by the loss of its sender, what is queued is refused.
struct Guard<'a>(&'a Shared, Stream);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("a committer panicked");
            self.0.end(self.1);
        }
    }
}

impl Committer {
    /// A committer that goes on where `writer` is; `holding` tells since when the open slot holds
    /// messages.
    pub(super) const fn new(
        stream: Stream,
        shared: Arc<Shared>,
        writer: Writer,
        holding: Option<Instant>,
    ) -> Self {
        Self { stream, shared, writer, holding }
    }

    /// Works until the store is closed, abandoned or has stopped.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _guard = Guard(&shared, self.stream);
        loop {
            // Whoever was answered may say at once what comes next.
            match inline::carry(|| self.turn(Instant::now())) {
                Turn::Worked => {}
                Turn::Idle(until) => self.shared.wait(self.stream, until),
                Turn::Ended => return,
            }
        }
    }

    /// Does one thing.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        let step = self.look(&mut self.shared.board(), now);
        match step {
            Step::Commit(batch) => self.commit(batch),
            Step::Refuse(waiting) => waiting.answer(Err(StoreError::Full)),
            Step::Switch(number, pages) => self.switch(number, pages),
            Step::Mark(kind) => self.mark(kind),
            Step::Idle(until) => return Turn::Idle(until),
            Step::End => {
                self.shared.end(self.stream);
                return Turn::Ended;
            }
        }
        Turn::Worked
    }

    fn look(&self, board: &mut Board, now: Instant) -> Step {
        let closing = match board.phase {
            Phase::Open => false,
            Phase::Closing => true,
            Phase::Stopped(_) | Phase::Abandoned | Phase::Reading => return Step::End,
        };
        if board.desk(self.stream).ended {
            return Step::End;
        }
        let roll = self.holding.map(|since| since + self.shared.settings.roll_after);
        if !closing
            && roll.is_some_and(|due| due <= now)
            && let Some(step) = self.roll(board)
        {
            return step;
        }
        if !board.desk(self.stream).queue.is_empty() {
            return self.take(board);
        }
        if closing {
            // The state log's clean frame comes last: it witnesses the entry log's.
            if self.stream == Stream::State && !board.desk(Stream::Entries).ended {
                return Step::Idle(None);
            }
            return self.room_or(board, Step::Mark(Kind::Clean), Step::End);
        }
        match board.desk(self.stream.other()).unvouched {
            Some(since) if now >= since + self.shared.settings.witness_after => {
                self.room_or(board, Step::Mark(Kind::Witness), Step::Idle(None))
            }
            unvouched => {
                let witness = unvouched.map(|since| since + self.shared.settings.witness_after);
                let roll = roll.filter(|due| *due > now);
                Step::Idle(witness.into_iter().chain(roll).min())
            }
        }
    }

    /// The open slot is old: goes on in another one, unless that would take the last.
    fn roll(&self, board: &mut Board) -> Option<Step> {
        let desk = board.desk(self.stream);
        if desk.slots.ready() >= 2 {
            return desk.slots.take().map(|(number, pages)| Step::Switch(number, pages));
        }
        if !desk.pressed {
            desk.pressed = true;
            self.shared.wake_preparer(board);
        }
        None
    }

    /// An empty frame needs room too, perhaps in the next slot.
    fn room_or(&self, board: &mut Board, step: Step, without: Step) -> Step {
        if self.writer.room().is_some() {
            return step;
        }
        let taken = board.desk(self.stream).slots.take();
        taken.map_or(without, |(number, pages)| Step::Switch(number, pages))
    }

    /// Takes from the queue what fits one frame, or what must happen before.
    fn take(&self, board: &mut Board) -> Step {
        let closing = board.phase == Phase::Closing;
        let settings = &self.shared.settings;
        let desk = board.desk(self.stream);
        let room = self.writer.room();
        // Padding never exceeds it, because it is a multiple of 8.
        let room_for = |publish: bool, ready: usize| match room {
            Some(room) if publish && ready == 0 => {
                room.checked_sub(reserve(self.writer.slot().len()))
            }
            room => room,
        };
        let (mut batch, mut taken) = (Vec::new(), 0u64);
        while let Some(front) = desk.queue.front() {
            let fits = room_for(front.op.is_publish(), desk.slots.ready())
                .is_some_and(|room| taken + front.bound <= room);
            let enough = taken > 0 && taken + front.bound > settings.frame_bytes;
            if !fits || enough {
                break;
            }
            taken += front.bound;
            batch.extend(desk.pop());
        }
        if !batch.is_empty() {
            return Step::Commit(batch);
        }
        let publish = desk.queue.front().is_some_and(|front| front.op.is_publish());
        // The last ready entry slot is for create, close and trim.
        let needed = if publish { 2 } else { 1 };
        if desk.slots.ready() >= needed
            && let Some((number, pages)) = desk.slots.take()
        {
            desk.starved = false;
            return Step::Switch(number, pages);
        }
        if desk.full || closing {
            return desk.pop().map_or(Step::Idle(None), Step::Refuse);
        }
        // The preparer is at it.
        if !desk.pressed || !desk.starved {
            (desk.pressed, desk.starved) = (true, true);
            self.shared.wake_preparer(board);
        }
        Step::Idle(None)
    }

    /// The other stream's last durable frame, which the frame being built witnesses.
    fn witness(&self) -> Point {
        let mut board = self.shared.board();
        let other = board.desk(self.stream.other());
        other.unvouched = None;
        other.end
    }

    fn commit(&mut self, batch: Vec<Waiting>) {
        let plan = evaluate(&self.shared, self.stream, batch);
        if plan.payload.is_empty() {
            return tell(plan);
        }
        if self.stopped() {
            return self.fail(plan, Err(StoreError::Stopped));
        }
        let witness = self.witness();
        match self.writer.append(Kind::Data, &plan.payload, witness) {
            Ok(at) => {
                self.durable(true);
                let plan = self.apply(plan, at);
                self.applied();
                tell(plan);
            }
            Err(error) => {
                self.failed(&error);
                self.fail(plan, Ok(Outcome::Unknown));
            }
        }
    }

    fn stopped(&self) -> bool {
        matches!(self.shared.board().phase, Phase::Stopped(_))
    }

    fn failed(&self, error: &std::io::Error) {
        let file = self.stream.file(self.writer.slot().number);
        self.shared.stop(&format!("cannot write or fsync {file}: {error}"));
    }

    fn fail(&self, plan: Plan, answer: crate::store::Answer<super::queue::Done>) {
        let mut round = Round::default();
        for (reply, _) in plan.answers {
            round.send(reply, answer.clone());
        }
    }

    /// A frame of this stream is durable. Frames that only witness need no witness themselves.
    fn durable(&self, speaks: bool) {
        let mut board = self.shared.board();
        let half = self.writer.half_full();
        let desk = board.desk(self.stream);
        desk.end = self.writer.end();
        let first = speaks && desk.unvouched.is_none();
        if first {
            desk.unvouched = Some(Instant::now());
        }
        let newly_pressed = half && !desk.pressed;
        desk.pressed |= half;
        if first {
            self.shared.wake(&mut board, self.stream.other());
        }
        if newly_pressed {
            self.shared.wake_preparer(&mut board);
        }
    }

    /// What is durable is in the maps: a snapshot may begin here.
    fn applied(&mut self) {
        let position = self.writer.position();
        let settings = &self.shared.settings;
        let mut board = self.shared.board();
        let desk = board.desk(self.stream);
        let from = if desk.position.generation == position.generation {
            desk.position.offset
        } else {
            PAGE
        };
        let due = match self.stream {
            Stream::Entries => settings.max_slot,
            Stream::State => settings.state_log_bytes / 2,
        };
        let before = desk.written / due.max(1);
        desk.written += position.offset.saturating_sub(from);
        desk.position = position;
        if desk.written / due.max(1) > before {
            self.shared.wake_keeper(&mut board);
        }
    }

    /// Applies what is durable; `at` is where the payload begins.
    fn apply(&mut self, mut plan: Plan, at: u64) -> Plan {
        let (slot, generation) = (self.writer.slot().number, self.writer.slot().generation);
        let effects = std::mem::take(&mut plan.effects);
        let mut written = Vec::new();
        match self.stream {
            Stream::Entries => {
                let mut topics = self.shared.topics.write().unwrap_or_else(PoisonError::into_inner);
                for effect in effects {
                    match effect {
                        Effect::Create(topic) => topics.create(topic),
                        Effect::Close(topic) => topics.close(topic),
                        Effect::Trim(topic, to) => topics.trim(topic, to),
                        Effect::Append(topic, entry, record) => {
                            let at = at + record.at as u64;
                            let Written { len, crc, .. } = record;
                            let lies = Lies { generation, slot, at, len, crc };
                            topics.append(topic, &entry, lies.place(&entry));
                            written.push((at, entry));
                        }
                        Effect::Scope(..) | Effect::Save(..) | Effect::Delete(_) => {}
                    }
                }
            }
            Stream::State => {
                let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
                for effect in effects {
                    match effect {
                        Effect::Scope(scope, set) => state.commit(scope, &set),
                        Effect::Save(subscription, progress) => {
                            state.progress.insert(subscription, *progress);
                        }
                        Effect::Delete(subscription) => {
                            state.progress.remove(&subscription);
                        }
                        Effect::Create(_)
                        | Effect::Close(_)
                        | Effect::Trim(..)
                        | Effect::Append(..) => {}
                    }
                }
            }
        }
        let mut cache = self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, entry) in &written {
            cache.insert((generation, *at), Arc::clone(entry), entry.pinned());
        }
        drop(cache);
        if !written.is_empty() {
            self.holding.get_or_insert_with(Instant::now);
        }
        plan
    }

    fn switch(&mut self, number: u32, pages: u32) {
        if self.stopped() {
            return;
        }
        let witness = self.witness();
        let full = self.writer.slot().clone();
        if let Err(error) = self.writer.switch(number, pages, witness) {
            return self.failed(&error);
        }
        if self.stream == Stream::Entries {
            self.sealed(&full);
        }
        self.holding = None;
        self.durable(true);
        {
            let mut board = self.shared.board();
            let desk = board.desk(self.stream);
            desk.slots.opened(self.writer.slot().clone());
            desk.pressed = false;
            self.shared.wake_preparer(&mut board);
            if self.stream == Stream::Entries {
                // It pays if dead slots wait; the keeper looks.
                board.snapshot_wanted = true;
                self.shared.wake_keeper(&mut board);
            }
        }
        self.applied();
    }

    /// The places of a full slot leave memory; the indexer writes them down.
    fn sealed(&self, full: &Slot) {
        let mut topics = self.shared.topics.write().unwrap_or_else(PoisonError::into_inner);
        let places = topics.seal_before(full.generation.saturating_add(1));
        let sealed = Arc::new(Sealed { slot: full.clone(), topics: places });
        let mut board = self.shared.board();
        // An index that nobody writes now is made from its slot when it is needed.
        if board.sealed.len() < UNWRITTEN_INDEXES {
            self.shared.indexes.sealed(Arc::clone(&sealed));
            board.sealed.push_back(sealed);
            self.shared.wake_indexer(&mut board);
        }
    }

    fn mark(&mut self, kind: Kind) {
        if self.stopped() {
            return;
        }
        let witness = self.witness();
        if let Err(error) = self.writer.append(kind, &Payload::default(), witness) {
            return self.failed(&error);
        }
        self.durable(false);
        self.applied();
        if kind == Kind::Clean {
            self.shared.ended(self.stream);
        }
    }
}

/// What publishes leave free in the open slot when no slot is ready: room to delete something.
fn reserve(slot_len: u64) -> u64 {
    (slot_len / 4).min(1 << 20)
}

fn tell(plan: Plan) {
    let mut round = Round::default();
    for (reply, answer) in plan.answers {
        round.send(reply, answer);
    }
}
