//! Power cuts, kills and failed fsyncs at any call, also in recovery: what was answered is there,
//! nothing is invented, a frame is there whole or not at all, and no legal crash refuses a start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::sim::{Rng, Sim};
use super::{by, entry};
use crate::answers::{Receiver, channel};
use crate::domain::{Entry, Head, Offset, Progress, SubscriptionId, Time, TopicId};
use crate::store::embedded::committer::Turn;
use crate::store::embedded::disk::{Disk as _, read_whole};
use crate::store::embedded::layout::{Pair, Slot, Stream};
use crate::store::embedded::payload::Payload;
use crate::store::embedded::queue::{Done, Op, Phase, Waiting};
use crate::store::embedded::read::{self, Access};
use crate::store::embedded::rules::{Bug, Rules};
use crate::store::embedded::snapshot::Snapshot;
use crate::store::embedded::{OpenError, Recovered, Settings, record, recover_by};
use crate::store::{Answer, Change, ChangeSet, Limits, Outcome, Scope, ScopeState};

/// Slots of four pages, so that there are many switches.
pub(super) fn tiny() -> Settings {
    Settings {
        first_slot: 16 << 10,
        max_slot: 16 << 10,
        largest_record: 6 << 10,
        frame_bytes: 4 << 10,
        cache_bytes: 0,
        witness_after: Duration::ZERO,
        retry_after: Duration::ZERO,
        state_log_bytes: 8 << 10,
        fill_bytes_per_second: 0,
        ..Settings::default()
    }
}

/// A topic life: `None` = closed.
type Life = Option<(Head, Vec<Arc<Entry>>)>;

/// What the store must be, by the simplest means.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    topics: BTreeMap<TopicId, Life>,
    progress: BTreeMap<SubscriptionId, Progress>,
    scopes: BTreeMap<Scope, ScopeState>,
}

impl Model {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(topic) => {
                self.topics.entry(*topic).or_insert(Some(Default::default()));
            }
            Op::Close(topic) => {
                if let Some(life) = self.topics.get_mut(topic) {
                    *life = None;
                }
            }
            Op::Trim(topic, to) => {
                if let Some(Some((head, entries))) = self.topics.get_mut(topic) {
                    head.start = head.start.max((*to).min(head.next));
                    entries.retain(|entry| entry.end() > head.start);
                }
            }
            Op::Commit(topic, entry) => {
                if let Some(Some((head, entries))) = self.topics.get_mut(topic)
                    && entry.base == head.next
                {
                    *head = head.after(entry);
                    entries.push(Arc::clone(entry));
                }
            }
            Op::Save(subscription, progress) => {
                let version = self.progress.get(subscription).map_or(0, |found| found.version);
                if progress.version == version + 1 {
                    self.progress.insert(*subscription, (**progress).clone());
                }
            }
            Op::Delete(subscription) => {
                self.progress.remove(subscription);
            }
            Op::Scope(scope, set) => {
                let found = self.scopes.entry(*scope).or_default();
                if set.version == found.version + 1 {
                    found.version = set.version;
                    for change in &set.changes {
                        let (Change::Put(key, _) | Change::Delete(key)) = change;
                        found.objects.retain(|(other, _)| other != key);
                        if let Change::Put(key, value) = change {
                            found.objects.push((key.clone(), value.clone()));
                        }
                    }
                    found.objects.sort();
                }
            }
        }
    }

    /// What a store that was just read back is.
    fn of(store: &Recovered, stream: Stream) -> Self {
        let mut model = Self::default();
        let shared = &store.shared;
        if stream == Stream::Entries {
            let topics = shared.topics.read().unwrap();
            model.topics.extend(topics.closed.iter().map(|topic| (*topic, None)));
            for (topic, found) in &topics.open {
                let all = Limits { messages: u64::MAX, bytes: u64::MAX };
                let entries = read::scan(shared, *topic, Offset(0), all, Access::Disk);
                let entries = entries.unwrap().unwrap();
                model.topics.insert(*topic, Some((found.head.clone(), entries)));
            }
        } else {
            let state = shared.state.read().unwrap();
            model.progress.extend(state.progress.iter().map(|(id, found)| (*id, found.clone())));
            model.scopes.extend(state.scopes.iter().map(|(scope, found)| (*scope, found.state())));
        }
        model
    }
}

struct World {
    sim: Arc<Sim>,
    rules: Rules,
    rng: Rng,
    /// What was answered.
    sure: Pair<Model>,
    /// What the frame in flight at the crash would make of it.
    perhaps: Pair<Model>,
    tag: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    recoveries: u64,
    cut_recoveries: u64,
    applied: u64,
    unknown: u64,
    switches: u64,
    snapshots: u64,
    spoilt: u64,
    recycled: u64,
}

impl World {
    fn new(seed: u64, rules: Rules) -> Self {
        let mut rng = Rng(seed);
        let sim = Sim::new(rng.next());
        sim.state().rots = 10;
        let (sure, perhaps) = <(Pair<Model>, Pair<Model>)>::default();
        Self { sim, rules, rng, sure, perhaps, tag: 0, counts: Counts::default() }
    }

    /// Starts the store; the start itself is cut now and then.
    fn start(&mut self) -> Recovered {
        for tries in 0.. {
            if tries < 4 {
                let mut state = self.sim.state();
                state.fuse = self.rng.percent(35).then(|| self.rng.below(24) as u64);
                state.fail_sync = self.rng.percent(10).then(|| self.rng.below(6) as u64);
            }
            self.counts.recoveries += 1;
            let now = Time::from_secs(tries);
            let recovered = recover_by(Arc::clone(&self.sim) as _, tiny(), self.rules, now);
            match recovered {
                Ok(store) => {
                    let mut state = self.sim.state();
                    (state.fuse, state.fail_sync) = (None, None);
                    return store;
                }
                Err(OpenError::Io(..) | OpenError::Stopped(_)) => {
                    assert_eq!(self.sim.state().syncs_after_failure, 0);
                    self.counts.cut_recoveries += 1;
                    self.crash(50);
                }
                Err(refused) => panic!("a legal crash refuses: {refused}"),
            }
        }
        unreachable!()
    }

    fn crash(&mut self, power: usize) {
        if self.rng.percent(power) { self.sim.power_cut() } else { self.sim.kill() }
    }

    /// Damages the newest snapshot, if the one before it is there: no start may need both.
    fn spoil(&mut self) {
        let names = self.sim.names();
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| Snapshot::parse_name(name)).collect();
        numbers.sort_unstable();
        let id = self.sim.content("store");
        let id = crate::store::embedded::layout::u64_at(&id, 24).unwrap();
        let intact = |number: &u64| {
            let content = self.sim.content(&Snapshot::file(*number));
            Snapshot::decode(&content, id, *number).is_ok()
        };
        let intact: Vec<u64> = numbers.into_iter().filter(intact).collect();
        if let [.., _, newest] = intact[..]
            && self.rng.percent(15)
        {
            let name = Snapshot::file(newest);
            let mut content = self.sim.content(&name);
            let at = self.rng.below(content.len());
            content[at] ^= 1;
            self.sim.put(&name, Some(content));
            self.counts.spoilt += 1;
        }
    }

    /// An index may be as old or as broken as it likes.
    fn spoil_indexes(&mut self) {
        let names = self.sim.list().unwrap();
        let indexes: Vec<&String> = names.iter().filter(|name| name.ends_with(".idx")).collect();
        for name in &indexes {
            let other = indexes[self.rng.below(indexes.len())];
            let content = match self.rng.below(6) {
                // Unless it is removed by now.
                0 => read_whole(self.sim.as_ref(), other).unwrap_or_default(),
                1 => vec![7; self.rng.below(200)],
                2 => {
                    self.sim.remove(name).unwrap();
                    continue;
                }
                3 => {
                    let mut content = read_whole(self.sim.as_ref(), name).unwrap();
                    if !content.is_empty() {
                        let at = self.rng.below(content.len());
                        content[at] ^= 1 << self.rng.below(8);
                    }
                    content
                }
                _ => continue,
            };
            self.sim.create(name).unwrap();
            self.sim.write(name, 0, &content).unwrap();
        }
    }

    fn check(&mut self, store: &Recovered) {
        for stream in Stream::ALL {
            let found = Model::of(store, stream);
            if found == *self.perhaps.of(stream) {
                *self.sure.of_mut(stream) = found;
            } else {
                assert_eq!(found, *self.sure.of(stream), "{stream:?}");
                *self.perhaps.of_mut(stream) = found;
            }
        }
    }

    /// Something to do that makes sense behind what is queued.
    fn op(&mut self, queued: &Pair<Model>) -> Op {
        self.tag += 1;
        let tag = self.tag;
        let id = |n: usize| uuid::Uuid::from_u128(n as u128 + 1);
        let lives = queued.entries.topics.len();
        let topic = TopicId(id(lives.saturating_sub(1 + self.rng.below(3))));
        let subscription = SubscriptionId(id(self.rng.below(4)));
        match self.rng.below(100) {
            0..60 => match queued.entries.topics.get(&topic) {
                Some(Some((head, _))) => {
                    let size = if self.rng.percent(10) { 4_000 } else { self.rng.below(300) };
                    let count = 1 + self.rng.below(3);
                    Op::Commit(topic, entry(head, tag, count, size / count))
                }
                _ => Op::Create(TopicId(id(lives))),
            },
            60..63 => Op::Create(TopicId(id(lives))),
            63..66 => Op::Close(TopicId(id(self.rng.below(lives.max(1))))),
            66..72 => {
                let topic = TopicId(id(self.rng.below(lives.max(1))));
                let next = match queued.entries.topics.get(&topic) {
                    Some(Some((head, _))) => head.next.0,
                    _ => 0,
                };
                let back = self.rng.below(usize::try_from(next).unwrap() + 1);
                let back = if self.rng.percent(70) { back.min(2) } else { back };
                Op::Trim(topic, Offset(next - back as u64))
            }
            72..75 => Op::Delete(subscription),
            75..92 => {
                let stored = queued.state.progress.get(&subscription);
                let mut progress = stored
                    .cloned()
                    .unwrap_or_else(|| Progress::fresh(TopicId(id(1_000)), Offset(0)));
                progress.version += 1;
                progress.position = Offset(tag);
                Op::Save(subscription, Box::new(progress))
            }
            _ => {
                let version = queued.state.scopes.get(&Scope::Service).map_or(0, |s| s.version);
                let key = format!("k{}", self.rng.below(5));
                let change = if self.rng.percent(70) {
                    Change::Put(key, Bytes::from(vec![7; self.rng.below(800)]))
                } else {
                    Change::Delete(key)
                };
                let set = ChangeSet { version: version + 1, changes: vec![change], by: by() };
                Op::Scope(Scope::Service, set)
            }
        }
    }

    /// Lets the store work until it stops, and settles what was answered.
    fn work(&mut self, store: &mut Recovered) {
        let mut queued = self.sure.clone();
        let mut asked: Vec<(Op, Receiver<Answer<Done>>)> = Vec::new();
        let close = self.rng.percent(30);
        if self.rng.percent(60) {
            self.sim.state().fuse = Some(self.rng.below(200) as u64);
        } else if self.rng.percent(50) {
            self.sim.state().fail_sync = Some(self.rng.below(80) as u64);
        }
        for _ in 0..30 + self.rng.below(250) {
            match self.rng.below(13) {
                0..4 => {
                    let op = self.op(&queued);
                    queued.of_mut(op.stream()).apply(&op);
                    let (waiting, receiver) = waiting(&op);
                    if store.shared.submit(waiting).is_err() {
                        break;
                    }
                    asked.push((op, receiver));
                }
                4..7 => drop(store.entries.turn(Instant::now())),
                7..9 => drop(store.state.turn(Instant::now())),
                9..12 => drop(store.keeper.turn(Instant::now())),
                _ => {
                    store.preparer.turn(Instant::now());
                    store.indexer.turn();
                }
            }
            if store.shared.board().phase != Phase::Open {
                break;
            }
        }
        if close {
            store.shared.enter(Phase::Closing);
            let mut ended = [false; 2];
            while ended != [true; 2] {
                for (done, stream) in ended.iter_mut().zip(Stream::ALL) {
                    let committer = match stream {
                        Stream::Entries => &mut store.entries,
                        Stream::State => &mut store.state,
                    };
                    *done = *done || committer.turn(Instant::now()) == Turn::Ended;
                }
            }
            while store.keeper.turn(Instant::now()) != Turn::Ended {}
        }
        self.settle(asked);
    }

    fn settle(&mut self, asked: Vec<(Op, Receiver<Answer<Done>>)>) {
        self.perhaps = self.sure.clone();
        for (op, mut receiver) in asked {
            let stream = op.stream();
            match receiver.try_recv() {
                Some(Ok(Outcome::Applied(_))) => {
                    self.counts.applied += 1;
                    self.sure.of_mut(stream).apply(&op);
                    self.perhaps.of_mut(stream).apply(&op);
                }
                Some(Ok(Outcome::Unknown)) => {
                    self.counts.unknown += 1;
                    self.perhaps.of_mut(stream).apply(&op);
                }
                Some(Ok(Outcome::Conflict | Outcome::Closed) | Err(_)) | None => {}
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..2 + self.rng.below(8) {
            let mut store = self.start();
            self.spoil_indexes();
            self.check(&store);
            self.count(&store);
            self.work(&mut store);
            self.count(&store);
            assert_eq!(self.sim.state().syncs_after_failure, 0, "fsync after a failed one");
            drop(store);
            self.crash(60);
            self.spoil();
        }
        let store = self.start();
        self.check(&store);
    }

    fn count(&mut self, store: &Recovered) {
        let board = store.shared.board();
        for stream in Stream::ALL {
            let live = &board.desks.of(stream).slots.live;
            let open = live.last().unwrap();
            let counts = &mut self.counts;
            counts.switches = counts.switches.max(open.generation - 1);
            let again = |slot: &&Slot| slot.generation > u64::from(slot.number) + 1;
            counts.recycled += live.iter().filter(again).count() as u64;
        }
        let taken = self.sim.names().iter().filter_map(|name| Snapshot::parse_name(name)).max();
        self.counts.snapshots = self.counts.snapshots.max(taken.unwrap_or(0));
    }
}

/// What the store's front does with a mutation.
pub(super) fn waiting(op: &Op) -> (Waiting, Receiver<Answer<Done>>) {
    let mut record = Payload::default();
    let op = match op {
        Op::Create(topic) => Op::Create(*topic),
        Op::Close(topic) => Op::Close(*topic),
        Op::Trim(topic, to) => Op::Trim(*topic, *to),
        Op::Delete(subscription) => Op::Delete(*subscription),
        Op::Commit(topic, entry) => {
            record = record::entry(*topic, entry);
            Op::Commit(*topic, Arc::clone(entry))
        }
        Op::Scope(scope, set) => {
            record::put_scope(record.small(), *scope, set);
            Op::Scope(*scope, set.clone())
        }
        Op::Save(subscription, progress) => {
            record::put_save(record.small(), *subscription, progress);
            Op::Save(*subscription, progress.clone())
        }
    };
    let bound = record.len().max(record::SMALL) as u64;
    let (reply, receiver) = channel();
    (Waiting { op, record, bound, reply }, receiver)
}

/// Runs schedules from `first` on until one fails; answers what it said.
fn schedules(first: u64, count: u64, rules: Rules, total: &mut Counts) -> Result<(), String> {
    for seed in first..first + count {
        let mut world = World::new(seed, rules);
        let run = std::panic::AssertUnwindSafe(|| world.run());
        if let Err(panic) = std::panic::catch_unwind(run) {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            return Err(format!("seed {seed}: {}", what.unwrap_or("panicked")));
        }
        let counts = world.counts;
        total.recoveries += counts.recoveries;
        total.cut_recoveries += counts.cut_recoveries;
        total.applied += counts.applied;
        total.unknown += counts.unknown;
        total.switches += counts.switches;
        total.snapshots += counts.snapshots;
        total.spoilt += counts.spoilt;
        total.recycled += counts.recycled;
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the long form is asked for from outside")]
#[test]
fn no_crash_loses_or_invents_anything_or_refuses_the_next_start() {
    // More by an environment variable: so many schedules.
    let more = std::env::var("AMS_TEST_SCHEDULES").ok().and_then(|more| more.parse().ok());
    let count: u64 = more.unwrap_or(SCHEDULES);
    let mut total = Counts::default();
    let failed = schedules(0, count, Rules::default(), &mut total);
    assert_eq!(failed, Ok(()));
    // The test is worth something only if all of that really happened.
    assert!(total.recoveries > 5 * count, "{total:?}");
    assert!(total.cut_recoveries > count / 2, "{total:?}");
    assert!(total.applied > 20 * count, "{total:?}");
    assert!(total.unknown > count / 4, "{total:?}");
    assert!(total.switches > count / 4, "{total:?}");
    assert!(total.snapshots > count, "{total:?}");
    assert!(total.spoilt > count / 20, "{total:?}");
    assert!(total.recycled > count / 4, "{total:?}");
    let row = serde_json::json!({
        "what": "power cut, kill or failed fsync at any call (simulated disk)",
        "schedules": count,
        "recoveries": total.recoveries,
        "recoveries_cut_themselves": total.cut_recoveries,
        "acknowledged": total.applied,
        "unknown": total.unknown,
        "switches": total.switches,
        "snapshots": total.snapshots,
        "snapshots_spoilt": total.spoilt,
        "slots_used_again": total.recycled,
    });
    super::figures("F2", &row);
}

/// Each mistake, alone, is caught by some schedule.
#[track_caller]
fn is_caught(bug: Bug) {
    let rules = Rules { planted: Some(bug) };
    let caught = schedules(0, 5 * SCHEDULES, rules, &mut Counts::default());
    assert!(caught.is_err(), "{bug:?} was not caught");
}

#[test]
fn schedules_catch_a_snapshot_of_what_was_not_or_not_yet() {
    for bug in [Bug::ScopeLate, Bug::SpecSnapshot] {
        is_caught(bug);
    }
}

#[test]
fn schedules_catch_what_is_answered_or_named_before_it_is_durable() {
    for bug in [Bug::AckEarly, Bug::RetryFsync, Bug::HeaderFirst, Bug::NoDirSyncSlot] {
        is_caught(bug);
    }
}

#[test]
fn schedules_catch_an_index_that_is_believed_unverified_or_of_another_use() {
    for bug in [Bug::StaleIndex, Bug::IndexUnverified] {
        is_caught(bug);
    }
}

const SCHEDULES: u64 = 400;
