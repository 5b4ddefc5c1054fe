//! Snapshots and what they let go of, case by case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::damage::{Scribe, TOPIC, Written, read};
use super::directed::{change, refusal, start};
use super::power::{tiny, waiting};
use super::sim::{Rng, Sim};
use crate::store::embedded::committer::Turn;
use crate::store::embedded::indexes::Indexes;
use crate::store::embedded::layout::{Pair, ROOT, Stream, u32_at, u64_at};
use crate::store::embedded::queue::Op;
use crate::store::embedded::rules::Rules;
use crate::store::embedded::snapshot::{Making, Snapshot, SnapshotError};
use crate::store::embedded::topics::Topic;
use crate::store::embedded::{OpenError, Settings};

/// Three slots of entries and a little state.
fn scribe() -> Scribe {
    let mut scribe = Scribe::new(tiny());
    for round in 1..6 {
        scribe.publish(5_000);
        scribe.save();
        scribe.change(round, 100);
    }
    scribe
}

fn live(scribe: &Scribe, stream: Stream) -> Vec<u64> {
    let board = scribe.store.shared.board();
    board.desks.of(stream).slots.live.iter().map(|slot| slot.generation).collect()
}

fn ready(scribe: &Scribe, stream: Stream) -> Vec<u32> {
    scribe.store.shared.board().desks.of(stream).slots.ready_numbers()
}

fn store_id(sim: &Sim) -> u64 {
    u64_at(&sim.content(ROOT), 24).unwrap()
}

#[test]
fn a_start_reads_the_snapshot_and_what_lies_behind_it_only() {
    let mut scribe = scribe();
    scribe.store.keeper.take_now();
    scribe.publish(100);
    let (topics, state) = (
        scribe.store.shared.topics.read().unwrap().clone(),
        scribe.store.shared.state.read().unwrap().clone(),
    );
    let sim = scribe.stop(false).sim;
    sim.state().read.clear();
    let found = read(&sim, Rules::default()).unwrap().unwrap();
    assert_eq!(found.topics, topics);
    assert_eq!(found.state.progress, state.progress);
    assert!(found.entries_end.slot.generation > 2);
    assert_eq!(found.entries_end.live.len() as u64, found.entries_end.slot.generation);
    // Of sealed slots only the header page.
    for slot in found.entries_end.live.split_last().unwrap().1 {
        assert_eq!(sim.state().read[&Stream::Entries.file(slot.number)], 4_096);
    }
    drop(start(&sim, tiny()).unwrap());
}

#[test]
fn a_dead_slot_is_free_when_the_second_snapshot_lets_go_of_it() {
    let mut scribe = scribe();
    let sealed = live(&scribe, Stream::Entries);
    assert!(sealed.len() >= 3);
    scribe.trim();
    let before = ready(&scribe, Stream::Entries);
    scribe.store.keeper.take_now();
    // The root file still holds everything.
    assert_eq!(ready(&scribe, Stream::Entries), before);
    assert_eq!(live(&scribe, Stream::Entries).len(), 1);
    scribe.store.keeper.take_now();
    let after = ready(&scribe, Stream::Entries);
    assert!(after.contains(&0) && after.contains(&1), "{after:?}");
    // Used again, with what they held before still in them.
    for round in 6..16 {
        scribe.publish(5_000);
        scribe.change(round, 1_000);
    }
    let head = scribe.head.clone();
    let written = scribe.stop(false);
    let found = read(&written.sim, Rules::default()).unwrap().unwrap();
    let again =
        |slot: &crate::store::embedded::layout::Slot| u64::from(slot.number) + 1 < slot.generation;
    assert!(found.entries_end.live.iter().any(again));
    assert_eq!(found.topics.open[&TOPIC].head, head);
    let store = start(&written.sim, tiny()).unwrap();
    assert!(!written.sim.names().iter().any(|name| name.contains("torn")));
    drop(store);
}

#[test]
fn the_newest_two_snapshots_are_kept() {
    let mut scribe = scribe();
    for _ in 0..4 {
        scribe.store.keeper.take_now();
    }
    let sim = scribe.stop(true).sim;
    let snapshots: Vec<String> =
        sim.names().into_iter().filter(|name| name.starts_with("snap")).collect();
    assert_eq!(snapshots, ["snap000003", "snap000004"]);
}

#[test]
fn a_damaged_snapshot_is_put_aside_and_the_one_before_it_used() {
    let mut scribe = scribe();
    scribe.store.keeper.take_now();
    scribe.trim();
    scribe.store.keeper.take_now();
    scribe.publish(5_000);
    let head = scribe.head.clone();
    let sim = scribe.stop(true).sim;
    let id = store_id(&sim);
    let content = sim.content("snap000002");
    for bit in 0..content.len() * 8 {
        let mut bad = content.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Snapshot::decode(&bad, id, 2).err(), Some(SnapshotError::Damaged));
    }
    for len in 0..content.len() {
        assert!(Snapshot::decode(&content[..len], id, 2).is_err());
    }
    assert!(
        Snapshot::decode(&content, id, 3).is_err() && Snapshot::decode(&content, 7, 2).is_err()
    );

    change(&sim, "snap000002", |content| content[100] ^= 1);
    let store = start(&sim, tiny()).unwrap();
    assert_eq!(store.shared.topics.read().unwrap().open[&TOPIC].head, head);
    assert!(sim.names().contains(&String::from("snap000002.damaged")));
    assert!(!sim.names().contains(&String::from("snap000002")));
    drop(store);
    drop(start(&sim, tiny()).unwrap());
}

#[test]
fn a_snapshot_of_a_later_version_is_refused() {
    let mut scribe = scribe();
    scribe.store.keeper.take_now();
    let sim = scribe.stop(true).sim;
    change(&sim, "snap000001", |content| {
        content[16] = 3;
        let crc = crc32c::crc32c(&content[12..]).to_le_bytes();
        content[8..12].copy_from_slice(&crc);
    });
    assert!(matches!(read(&sim, Rules::default()), Err(OpenError::Newer(_))));
}

#[test]
fn a_snapshot_of_the_first_format_is_read() {
    let mut scribe = scribe();
    scribe.store.keeper.take_now();
    scribe.publish(100);
    let topics = scribe.store.shared.topics.read().unwrap().clone();
    let sim = scribe.stop(false).sim;
    let id = store_id(&sim);
    let found = Snapshot::decode(&sim.content("snap000001"), id, 1).unwrap();
    let mut making = Making::new(id, 1, &found.streams).in_first_format();
    let indexes = Indexes::new(0, Rules::default());
    for (of, topic) in &found.topics.open {
        assert!(topic.sealed.len() >= 2 && !topic.open.is_empty());
        let mut all = Topic { head: topic.head.clone(), ..Topic::default() };
        for part in &topic.sealed {
            all.open.extend(indexes.load(sim.as_ref(), id, *of, part).unwrap().iter());
        }
        all.open.extend(&topic.open);
        making.topic(*of, &all);
    }
    for (scope, log) in &found.state.scopes {
        making.scope(*scope, log.version);
        log.objects.iter().for_each(|(key, value)| making.object(key, &value.value()));
    }
    found.state.progress.iter().for_each(|(id, progress)| making.progress(*id, progress));
    let Pair { entries, state } = &found.streams;
    let first = making.finish(&Pair { entries: entries.end, state: state.end });
    assert_eq!(u32_at(&first, 12), Some(1));
    sim.put("snap000001", Some(first));
    let store = start(&sim, tiny()).unwrap();
    assert_eq!(*store.shared.topics.read().unwrap(), topics);
}

#[test]
fn a_slot_that_the_snapshot_lists_must_be_as_it_says() {
    let mut scribe = scribe();
    scribe.store.keeper.take_now();
    let sim = scribe.stop(true).sim;
    let damaged = sim.copy();
    change(&damaged, "e000", |content| content[..4_096].fill(0));
    assert!(refusal(&damaged).contains("the header is not the one that the snapshot names"));
    sim.put("e000", None);
    assert!(refusal(&sim).contains("the slot in use is missing or not of its length"));
}

#[test]
fn what_was_durable_when_the_snapshot_was_finished_must_be_there() {
    let mut scribe = scribe();
    // Two frames become durable while it is taken.
    let before = scribe.store.shared.board().desks.state.slots.live.last().unwrap().number;
    scribe.store.keeper.begin_now();
    let stale = scribe.sim.content(&Stream::State.file(before));
    scribe.save();
    scribe.store.keeper.take_now();
    let sim = scribe.stop(false).sim;
    assert!(read(&sim, Rules::default()).is_ok());
    sim.put(&Stream::State.file(before), Some(stale));
    assert!(refusal(&sim).contains("was durable"));
}

#[test]
fn a_snapshot_that_cannot_be_written_stops_nothing_and_is_tried_again() {
    let mut scribe = scribe();
    scribe.sim.state().full_for = Some(String::from("snap000001.tmp"));
    scribe.store.keeper.take_now();
    assert!(!scribe.sim.names().iter().any(|name| name.starts_with("snap")));
    // Its fsync fails.
    scribe.sim.state().fail_sync = Some(0);
    scribe.store.keeper.take_now();
    assert!(!scribe.sim.names().iter().any(|name| name.starts_with("snap")));
    scribe.publish(100);
    scribe.store.keeper.take_now();
    assert!(scribe.sim.names().contains(&String::from("snap000003")));
}

#[test]
fn an_open_slot_that_holds_messages_is_sealed_when_it_is_old() {
    let mut scribe = Scribe::new(tiny());
    scribe.publish(100);
    let soon = Instant::now() + Duration::from_secs(60);
    let late = Instant::now() + Duration::from_secs(3_700);
    assert!(matches!(scribe.store.entries.turn(soon), Turn::Idle(Some(_)) | Turn::Worked));
    for _ in 0..4 {
        scribe.store.entries.turn(late);
        scribe.store.preparer.turn(late);
    }
    assert_eq!(live(&scribe, Stream::Entries), [1, 2]);
    // And no more while it is empty.
    for _ in 0..4 {
        scribe.store.entries.turn(late + Duration::from_secs(9_999));
    }
    assert_eq!(live(&scribe, Stream::Entries), [1, 2]);
}

#[test]
fn ids_of_closed_topics_stay_closed() {
    let mut scribe = scribe();
    let (first, mut closed) = waiting(&Op::Close(TOPIC));
    scribe.store.shared.submit(first).unwrap();
    scribe.store.entries.turn(Instant::now());
    assert!(closed.try_recv().is_some());
    scribe.store.keeper.take_now();
    scribe.store.keeper.take_now();
    let sim = Arc::clone(&scribe.sim);
    drop(scribe);
    sim.power_cut();
    let mut store = start(&sim, tiny()).unwrap();
    let (again, mut answer) = waiting(&Op::Create(TOPIC));
    store.shared.submit(again).unwrap();
    store.entries.turn(Instant::now());
    assert!(matches!(answer.try_recv(), Some(Ok(crate::store::Outcome::Closed))));
    assert_eq!(store.shared.topics.read().unwrap().open.get(&TOPIC), None);
}

#[test]
fn a_limit_of_the_directory_refuses_publishes_alone_until_slots_are_free() {
    let most = 400 << 10;
    let mut scribe = Scribe::new(Settings { max_bytes: Some(most), ..tiny() });
    let taken = (0..100).take_while(|_| scribe.try_publish(5_000)).count();
    assert!((10..100).contains(&taken), "{taken}");
    let used =
        |sim: &Sim| sim.names().iter().map(|name| sim.content(name).len() as u64).sum::<u64>();
    assert!(used(&scribe.sim) < most);
    // Acknowledgements, trims and snapshots go on, and what they free is used again.
    scribe.save();
    scribe.trim();
    for _ in 0..2_000 {
        scribe.store.preparer.turn(Instant::now());
        scribe.store.keeper.turn(Instant::now());
    }
    assert!((0..10).all(|_| scribe.try_publish(5_000)));
    assert!(used(&scribe.sim) < most);
}

#[test]
fn new_entry_slots_leave_room_for_the_state_log_and_two_snapshots() {
    let mut scribe = Scribe::new(tiny());
    scribe.sim.state().capacity = 400 << 10;
    assert!((0..100).take_while(|_| scribe.try_publish(5_000)).count() < 100);
    // The state log turns over many times in what is left.
    for version in 1..100 {
        scribe.change(version, 3_000);
        for _ in 0..30 {
            scribe.store.keeper.turn(Instant::now());
        }
    }
    let sim = scribe.stop(false).sim;
    let found = read(&sim, Rules::default()).unwrap().unwrap();
    assert!(found.state_end.slot.generation > 20 && found.state_end.slot.number < 10);
}

/// A log with snapshots and slots used again, and a copy of it from before its last slots.
fn recycled() -> (Written, Arc<Sim>) {
    let mut scribe = Scribe::new(tiny());
    let mut version = 0;
    for round in 0..5 {
        for _ in 0..4 {
            version += 1;
            scribe.publish(5_000);
            scribe.change(version, 3_000);
        }
        scribe.save();
        if round < 4 {
            scribe.trim();
            scribe.store.keeper.take_now();
        }
    }
    let stale = scribe.sim.copy();
    for _ in 0..3 {
        version += 1;
        scribe.publish(5_000);
        scribe.change(version, 3_000);
        scribe.save();
    }
    let written = scribe.stop(true);
    let found = read(&written.sim, Rules::default()).unwrap().unwrap();
    for tail in [&found.entries_end, &found.state_end] {
        assert!(u64::from(tail.slot.number) + 1 < tail.slot.generation, "it is used again");
    }
    (written, stale)
}

/// One damage of a kind that disks, file systems and people do.
fn damage(sim: &Sim, stale: &Sim, rng: &mut Rng) -> String {
    let names = sim.names();
    let name = names[rng.below(names.len())].clone();
    let mut content = sim.content(&name);
    let at = rng.below(content.len());
    let kind = rng.below(8);
    match kind {
        0 | 1 => content[at] ^= 1 << rng.below(8),
        2 => {
            let len = if rng.percent(50) { 512 } else { 4_096 };
            let (from, to) = (at / len * len, (at / len * len + len).min(content.len()));
            content[from..to].fill(0);
        }
        3 => content.truncate(at),
        4 => content[at..].fill(0),
        5 | 6 => {
            let other = if kind == 5 { sim } else { stale };
            let names = other.names();
            let from = if kind == 5 { &names[rng.below(names.len())] } else { &name };
            if names.contains(from) {
                content = other.content(from);
            }
        }
        _ => {
            sim.put(&name, None);
            return format!("{name} removed");
        }
    }
    sim.put(&name, Some(content));
    format!("{name} kind {kind} at {at}")
}

#[test]
fn no_damage_to_a_log_with_snapshots_is_unnoticed_after_a_clean_stop() {
    let (written, stale) = recycled();
    let mut rng = Rng(11);
    let mut refused = 0;
    for _ in 0..3_000 {
        let sim = written.sim.copy();
        let what = damage(&sim, &stale, &mut rng);
        let found = read(&sim, Rules::default());
        refused += usize::from(found.is_err());
        assert_eq!(written.judge(found, None), Ok(()), "{what}");
    }
    assert!(refused > 500, "{refused}");
}
