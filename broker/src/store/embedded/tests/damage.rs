//! Every single-bit flip and every truncation of two small logs, one with a slot per stream and one
//! with a seal in each, after a clean stop and without one: the start refuses, or finds exactly the
//! history, less at most what residual risk 1 of `log.md` 5 allows after an unclean stop.
//!
//! Flipped: each bit of the root file, of the used slots in full length (header page, frames and
//! the zeros behind them) and of the ready slots' header pages; what else ready slots hold is read
//! by no start, which the disk's own record of reads shows. Cut: each file to each length.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::power::{tiny, waiting};
use super::sim::Sim;
use super::{by, entry};
use crate::domain::{Head, Offset, Progress, SubscriptionId, Time, TopicId};
use crate::store::embedded::layout::{Pair, ROOT, Stream, index, u32_at};
use crate::store::embedded::queue::{Done, Op, Phase};
use crate::store::embedded::record::put_entry;
use crate::store::embedded::recovery::{self, Found};
use crate::store::embedded::rules::{Bug, Rules};
use crate::store::embedded::state::State;
use crate::store::embedded::topics::Topics;
use crate::store::embedded::{OpenError, Recovered, Settings, recover, recover_by};
use crate::store::{Answer, Change, ChangeSet, Outcome, Scope};

/// A log, and what it added up to after each frame.
pub(super) struct Written {
    pub(super) sim: Arc<Sim>,
    topics: Vec<(u64, Topics)>,
    states: Vec<(u64, State)>,
    /// Where each stream's last frame lies: file, begin, end.
    last: Pair<(String, usize, usize)>,
    clean: bool,
}

/// Writes frames one by one and notes what each adds up to.
pub(super) struct Scribe {
    pub(super) sim: Arc<Sim>,
    pub(super) store: Recovered,
    written: Written,
    pub(super) head: Head,
    version: u64,
}

pub(super) const TOPIC: TopicId = TopicId(uuid::Uuid::from_u128(1));
const SUBSCRIPTION: SubscriptionId = SubscriptionId(uuid::Uuid::from_u128(2));

impl Scribe {
    pub(super) fn new(settings: Settings) -> Self {
        Self::by(settings, Rules::default())
    }

    pub(super) fn by(settings: Settings, rules: Rules) -> Self {
        let sim = Sim::new(5);
        let mut store = recover_by(Arc::clone(&sim) as _, settings, rules, Time(0)).unwrap();
        assert!(store.preparer.turn(Instant::now()));
        let written = Written {
            sim: Arc::clone(&sim),
            topics: vec![(0, Topics::default())],
            states: vec![(0, State::default())],
            last: Pair::default(),
            clean: false,
        };
        let mut scribe = Self { sim, store, written, head: Head::default(), version: 0 };
        scribe.write(&Op::Create(TOPIC));
        scribe
    }

    /// Writes a mutation, with the slot switches that it needs.
    pub(super) fn write(&mut self, op: &Op) {
        drop(self.ask(op));
    }

    /// Writes a mutation; answers what it is told.
    fn ask(&mut self, op: &Op) -> Answer<Done> {
        let (waiting, mut receiver) = waiting(op);
        self.store.shared.submit(waiting).unwrap();
        loop {
            if let Some(answer) = receiver.try_recv() {
                return answer;
            }
            self.store.preparer.turn(Instant::now());
            self.turn(op.stream());
        }
    }

    /// Publishes unless it is refused; answers whether it was taken.
    pub(super) fn try_publish(&mut self, size: usize) -> bool {
        let entry = entry(&self.head, self.head.next.0, 1, size);
        let head = self.head.after(&entry);
        let taken = matches!(self.ask(&Op::Commit(TOPIC, entry)), Ok(Outcome::Applied(_)));
        if taken {
            self.head = head;
        }
        taken
    }

    pub(super) fn turn(&mut self, stream: Stream) {
        let before = self.end(stream);
        match stream {
            Stream::Entries => self.store.entries.turn(Instant::now()),
            Stream::State => self.store.state.turn(Instant::now()),
        };
        let after = self.end(stream);
        if before == after {
            return;
        }
        match stream {
            Stream::Entries => {
                let topics = self.store.shared.topics.read().unwrap().clone();
                self.written.topics.push((after, topics));
            }
            Stream::State => {
                let state = self.store.shared.state.read().unwrap().clone();
                self.written.states.push((after, state));
            }
        }
    }

    /// Publishes until the next entry frame begins at `wanted` in its page.
    pub(super) fn publish_up_to(&mut self, wanted: usize) {
        loop {
            let found = read(&self.sim, Rules::default()).unwrap().unwrap();
            let missing = (4_096 + wanted - found.entries_end.page.len()) % 4_096;
            if missing == 0 {
                return;
            }
            let frame = |size: &usize| {
                let mut record = Vec::new();
                put_entry(&mut record, TOPIC, &entry(&self.head, self.head.next.0, 1, *size));
                48 + record.len().next_multiple_of(8)
            };
            let size = (20..missing).find(|size| frame(size) == missing);
            self.publish(size.unwrap_or(200));
        }
    }

    fn end(&self, stream: Stream) -> u64 {
        self.store.shared.board().desk(stream).end.sequence
    }

    pub(super) fn publish(&mut self, size: usize) {
        let entry = entry(&self.head, self.head.next.0, 1, size);
        self.head = self.head.after(&entry);
        self.write(&Op::Commit(TOPIC, entry));
    }

    /// Moves the topic's start to its head.
    pub(super) fn trim(&mut self) {
        self.head.start = self.head.next;
        self.write(&Op::Trim(TOPIC, self.head.next));
    }

    pub(super) fn save(&mut self) {
        self.version += 1;
        let mut progress = Progress::fresh(TOPIC, Offset(0));
        progress.version = self.version;
        progress.position = self.head.next;
        self.write(&Op::Save(SUBSCRIPTION, Box::new(progress)));
    }

    pub(super) fn change(&mut self, version: u64, size: usize) {
        let changes = vec![Change::Put(String::from("key"), vec![3; size].into())];
        self.write(&Op::Scope(Scope::Service, ChangeSet { version, changes, by: by() }));
    }

    /// Stops, with clean frames or without.
    pub(super) fn stop(mut self, clean: bool) -> Written {
        if clean {
            self.store.shared.enter(Phase::Closing);
            for _ in 0..2 {
                self.turn(Stream::Entries);
            }
            for _ in 0..2 {
                self.turn(Stream::State);
            }
        }
        self.written.clean = clean;
        let found = read(&self.sim, Rules::default()).unwrap().unwrap();
        for tail in [&found.entries_end, &found.state_end] {
            let Some(last) = tail.last.as_ref() else { continue };
            let end = if last.slot == tail.slot.number { index(tail.at) } else { usize::MAX };
            let file = tail.stream.file(last.slot);
            *self.written.last.of_mut(tail.stream) = (file, index(last.from), end);
        }
        self.written
    }
}

pub(super) fn read(sim: &Sim, rules: Rules) -> Result<Option<Found>, OpenError> {
    recovery::read(sim, rules)
}

impl Written {
    /// Whether a start may come to this. `hit` is what was damaged: file and offset, if one place.
    pub(super) fn judge(
        &self,
        found: Result<Option<Found>, OpenError>,
        hit: Option<(&str, usize)>,
    ) -> Result<(), String> {
        let found = match found {
            Err(OpenError::Damaged(_) | OpenError::Newer(_)) => return Ok(()),
            Err(other) => return Err(format!("neither refused nor found: {other}")),
            Ok(None) => return Err(String::from("taken for no store at all")),
            Ok(Some(found)) => found,
        };
        let shorter = [
            shorter(&self.topics, found.entries_end.end.sequence, &found.topics)?,
            shorter(&self.states, found.state_end.end.sequence, &found.state)?,
        ];
        for (stream, lost) in Stream::ALL.into_iter().zip(shorter) {
            let (file, from, to) = self.last.of(stream);
            let in_last = hit.is_some_and(|(of, at)| of == file && *from <= at && at < *to);
            match lost {
                0 => {}
                1 if !self.clean && in_last => {}
                lost => return Err(format!("{stream:?} is silently shorter by {lost}")),
            }
        }
        Ok(())
    }
}

/// What must be the same: all but what a snapshot may forget.
pub(super) trait Same {
    fn same(&self, other: &Self) -> bool;
}

impl Same for Topics {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Same for State {
    fn same(&self, other: &Self) -> bool {
        let scopes = |state: &Self| {
            let scopes = state.scopes.iter().map(|(scope, found)| (*scope, found.state()));
            scopes.collect::<std::collections::BTreeMap<_, _>>()
        };
        self.progress == other.progress && scopes(self) == scopes(other)
    }
}

/// How many frames that changed something are missing; an error if what is there is not history.
fn shorter<T: Same>(history: &[(u64, T)], end: u64, found: &T) -> Result<usize, String> {
    let at = history.iter().position(|(sequence, _)| *sequence == end);
    let at = at.ok_or_else(|| format!("frame {end} was never written"))?;
    if !history[at].1.same(found) {
        return Err(format!("wrong content behind frame {end}"));
    }
    Ok(history[at..].windows(2).filter(|pair| !pair[0].1.same(&pair[1].1)).count())
}

/// Slots of one page of frames, the smallest there are, so that every bit can have its turn.
fn smallest() -> Settings {
    Settings {
        first_slot: 8 << 10,
        max_slot: 8 << 10,
        largest_record: 3 << 10,
        witness_after: tiny().witness_after,
        ..Settings::small()
    }
}

/// One slot per stream with a few frames, and a ready one.
fn small_log(clean: bool) -> Written {
    let mut scribe = Scribe::new(smallest());
    for round in 1..4 {
        scribe.publish(40);
        scribe.publish(150);
        scribe.save();
        scribe.change(round, 60);
    }
    scribe.publish(20);
    let found = read(&scribe.sim, Rules::default()).unwrap().unwrap();
    assert!(found.entries_end.slot.generation == 1 && found.state_end.slot.generation == 1);
    scribe.stop(clean)
}

/// A seal in each stream, frames on both sides of it.
fn sealed_log(clean: bool) -> Written {
    let mut scribe = Scribe::new(smallest());
    for round in 1..4 {
        scribe.publish(1_500);
        scribe.change(round, 1_500);
    }
    scribe.save();
    let found = read(&scribe.sim, Rules::default()).unwrap().unwrap();
    assert!(found.entries_end.slot.generation == 2 && found.state_end.slot.generation == 2);
    scribe.stop(clean)
}

/// Every `stride`-th bit that a start reads, by file. A flip of one that it does not read (of a
/// ready slot behind its header page) changes nothing: the start cannot know of it.
fn bits(sim: &Sim, stride: usize) -> Vec<(String, usize)> {
    sim.state().read.clear();
    read(sim, Rules::default()).unwrap().unwrap();
    let read = sim.state().read.clone();
    let bits = |(name, to): (String, usize)| {
        (0..to * 8).step_by(stride).map(move |bit| (name.clone(), bit))
    };
    read.into_iter().flat_map(bits).collect()
}

/// Flips bits one by one; answers how many starts were judged and what was wrong.
fn flip_all(written: &Written, rules: Rules, stride: usize) -> (usize, Vec<String>) {
    let bits = bits(&written.sim, stride);
    let flip = |bits: &[(String, usize)]| {
        let sim = written.sim.copy();
        let mut wrong = Vec::new();
        for (name, bit) in bits {
            sim.flip(name, *bit);
            let verdict = written.judge(read(&sim, rules), Some((name, bit / 8)));
            sim.flip(name, *bit);
            if let Err(what) = verdict {
                wrong.push(format!("{name} bit {bit}: {what}"));
            }
        }
        wrong
    };
    let wrong = std::thread::scope(|scope| {
        let (front, back) = bits.split_at(bits.len() / 2);
        let front = scope.spawn(|| flip(front));
        let mut wrong = flip(back);
        wrong.extend(front.join().unwrap());
        wrong
    });
    (bits.len(), wrong)
}

/// Every bit of the root, of every used slot in full length, and of every header page.
fn no_flip_is_unnoticed(written: &Written, used: &[&str]) {
    let (judged, wrong) = flip_all(written, Rules::default(), 1);
    let mut all = 0;
    for name in written.sim.names() {
        let whole = used.contains(&name.as_str()) || name == ROOT;
        all += 8 * if whole { written.sim.content(&name).len() } else { 4_096 };
    }
    assert_eq!(judged, all);
    assert!(wrong.is_empty(), "{} of {judged}: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    super::figures("F6", &json!({"what": DAMAGE, "flips": judged, "unnoticed": 0}));
}

const DAMAGE: &str = "every bit flipped, every shorter length (small log, simulated disk)";

#[test]
fn no_bit_flip_is_unnoticed_after_a_clean_stop() {
    no_flip_is_unnoticed(&small_log(true), &["e000", "s000"]);
}

#[test]
fn no_bit_flip_is_unnoticed_after_an_unclean_stop() {
    no_flip_is_unnoticed(&small_log(false), &["e000", "s000"]);
}

#[test]
fn no_bit_flip_is_unnoticed_in_sealed_slots_after_a_clean_stop() {
    no_flip_is_unnoticed(&sealed_log(true), &["e000", "e001", "s000", "s001"]);
}

#[test]
fn no_bit_flip_is_unnoticed_in_sealed_slots_after_an_unclean_stop() {
    no_flip_is_unnoticed(&sealed_log(false), &["e000", "e001", "s000", "s001"]);
}

/// Every file is cut to every shorter length, and removed.
#[test]
fn no_truncation_or_deletion_is_unnoticed() {
    let mut lengths = 0;
    for written in [small_log(true), small_log(false), sealed_log(true), sealed_log(false)] {
        for name in written.sim.names() {
            let sim = written.sim.copy();
            for len in (0..sim.content(&name).len()).rev() {
                sim.cut(&name, len);
                let verdict = written.judge(read(&sim, Rules::default()), None);
                assert_eq!(verdict, Ok(()), "{name} cut to {len}");
            }
            sim.put(&name, None);
            assert_eq!(written.judge(read(&sim, Rules::default()), None), Ok(()), "{name} gone");
            lengths += written.sim.content(&name).len();
        }
    }
    super::figures("F6", &json!({"what": DAMAGE, "lengths": lengths, "unnoticed": 0}));
}

/// A sample: about one byte in 31 of what a start reads.
#[test]
fn what_a_flip_leaves_is_repaired_for_good() {
    for clean in [true, false] {
        let written = small_log(clean);
        for (name, bit) in bits(&written.sim, 251) {
            let sim = written.sim.copy();
            sim.flip(&name, bit);
            let Ok(store) = recover(Arc::clone(&sim) as _, smallest(), Time(0)) else {
                continue;
            };
            drop(store);
            sim.power_cut();
            let hit = Some((name.as_str(), bit / 8));
            assert_eq!(written.judge(read(&sim, Rules::default()), hit), Ok(()));
        }
    }
}

#[test]
fn the_flips_catch_a_recovery_that_takes_every_damage_for_a_torn_tail() {
    for clean in [true, false] {
        let (judged, wrong) = flip_all(&small_log(clean), Rules { planted: Some(Bug::Lenient) }, 8);
        assert!(wrong.len() > 500, "{} of {judged}", wrong.len());
        assert!(wrong.iter().any(|what| what.contains("silently shorter")), "{:?}", wrong.first());
    }
}

/// The frames of a slot, as (begin, end), by walking their lengths.
pub(super) fn frames(content: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (4_096, Vec::new());
    while let Some(len) = u32_at(content, at + 4)
        && content[at..at + 4] != [0; 4]
    {
        let end = at + 48 + usize::try_from(len).unwrap();
        found.push((at, end));
        at = end;
    }
    found
}
