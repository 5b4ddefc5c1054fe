//! The cases that chance rarely meets: each rule of recovery, alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::damage::{Scribe, TOPIC, frames, read};
use super::power::{tiny, waiting};
use super::sim::Sim;
use crate::domain::{Offset, Time, TopicId};
use crate::store::embedded::committer::Turn;
use crate::store::embedded::frame::{self, Kind, Making, Point};
use crate::store::embedded::layout::{Life, ROOT, Slot, Stream, u32_at, u64_at};
use crate::store::embedded::payload::Payload;
use crate::store::embedded::queue::{Op, Phase};
use crate::store::embedded::rules::Rules;
use crate::store::embedded::{OpenError, Recovered, Settings, recover};
use crate::store::{Outcome, Store, StoreError};

pub(super) fn start(sim: &Arc<Sim>, settings: Settings) -> Result<Recovered, OpenError> {
    recover(Arc::clone(sim) as _, settings, Time::from_secs(9))
}

/// The text of the refusal, which there must be and which must tell no life.
#[track_caller]
pub(super) fn refusal(sim: &Sim) -> String {
    let text = match read(sim, Rules::default()) {
        Err(error @ (OpenError::Damaged(_) | OpenError::Newer(_))) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    };
    for name in sim.names() {
        let content = sim.content(&name);
        if content.len() > 4_096 && content[..8] != [0; 8] {
            let life = u64_at(&content, 40).unwrap();
            let told = text.contains(&life.to_string()) || text.contains(&format!("{life:x}"));
            assert!(!told, "{text}");
        }
    }
    text
}

pub(super) fn change(sim: &Sim, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = sim.content(name);
    change(&mut content);
    sim.put(name, Some(content));
}

/// A scribe with one slot per stream in use.
pub(super) fn scribe() -> Scribe {
    let mut scribe = Scribe::new(Settings::small());
    for _ in 0..5 {
        scribe.publish(600);
        scribe.save();
    }
    scribe
}

/// A scribe whose entry log is in its third slot.
pub(super) fn sealed() -> Scribe {
    let mut scribe = Scribe::new(tiny());
    for _ in 0..6 {
        scribe.publish(5_000);
    }
    scribe
}

#[test]
fn a_hole_in_the_middle_is_refused() {
    let written = scribe().stop(false);
    let first = frames(&written.sim.content("e000"))[2].0;
    change(&written.sim, "e000", |content| content[first..first + 512].fill(0));
    assert!(refusal(&written.sim).contains(&format!("e000 at offset {first}: frame 3 is broken")));
}

#[test]
fn swapped_slots_are_refused() {
    let written = sealed().stop(true);
    let (first, second) = (written.sim.content("e000"), written.sim.content("e001"));
    written.sim.put("e000", Some(second.clone()));
    written.sim.put("e001", Some(first));
    refusal(&written.sim);
    // Or one copied over the other.
    written.sim.put("e000", Some(second.clone()));
    written.sim.put("e001", Some(second));
    refusal(&written.sim);
}

#[test]
fn a_stale_copy_of_the_last_slot_is_refused_after_a_clean_stop() {
    let mut scribe = scribe();
    let (entries, state) = (scribe.sim.content("e000"), scribe.sim.content("s000"));
    scribe.publish(50);
    scribe.save();
    let written = scribe.stop(true);
    let sim = written.sim.copy();
    sim.put("e000", Some(entries));
    assert!(refusal(&sim).contains("was durable"));
    let sim = written.sim.copy();
    sim.put("s000", Some(state));
    assert!(refusal(&sim).contains("was durable"));
}

#[test]
fn a_deleted_newest_slot_is_refused() {
    let written = sealed().stop(true);
    written.sim.put("e002", None);
    assert!(refusal(&written.sim).contains("e002 at offset 0: a seal names this slot"));
}

#[test]
fn a_seal_whose_next_slot_is_empty_is_a_switch_that_was_cut() {
    let mut scribe = Scribe::new(tiny());
    scribe.publish(5_000);
    scribe.publish(5_000);
    // The seal is durable, the header's write never happened.
    let mut cut = None;
    for calls in 0..20 {
        let copy = scribe.sim.copy();
        let mut store = start(&copy, tiny()).unwrap();
        store.preparer.turn(Instant::now());
        copy.state().fuse = Some(calls);
        let entry = super::entry(&scribe.head, 9, 1, 5_000);
        let (waiting, _receiver) = waiting(&Op::Commit(TOPIC, entry));
        store.shared.submit(waiting).unwrap();
        while store.shared.board().phase == Phase::Open {
            store.entries.turn(Instant::now());
            if matches!(store.entries.turn(Instant::now()), Turn::Idle(_)) {
                break;
            }
        }
        copy.power_cut();
        let found = read(&copy, Rules::default()).unwrap().unwrap();
        if found.entries_end.slot.generation == 2 && copy.content("e001")[..8] == [0; 8] {
            cut = Some(copy);
        }
    }
    let sim = cut.expect("one of the cuts falls between seal and header");
    let store = start(&sim, tiny()).unwrap();
    assert_eq!(store.shared.topics.read().unwrap().open[&TOPIC].head, scribe.head);
    assert_ne!(sim.content("e001")[..8], [0; 8]);
}

#[test]
fn a_damaged_header_of_a_slot_that_holds_frames_is_refused() {
    let written = sealed().stop(true);
    change(&written.sim, "e002", |content| content[..4_096].fill(0));
    assert!(refusal(&written.sim).contains("e002 at offset 0: the header is damaged"));
}

#[test]
fn a_header_without_the_seal_before_it_is_refused() {
    let mut scribe = scribe();
    scribe.publish(50);
    let written = scribe.stop(false);
    let root = written.sim.content(ROOT);
    let store = u64_at(&root, 24).unwrap();
    let found = read(&written.sim, Rules::default()).unwrap().unwrap();
    assert_eq!(store, found.store);
    let end = found.entries_end.end;
    let header = Slot {
        number: 1,
        pages: 32,
        life: Life::draw(),
        generation: 2,
        first: end.sequence + 1,
        previous: end.crc,
    };
    change(&written.sim, "e001", |content| {
        content[..4_096].copy_from_slice(&header.header(Stream::Entries, store));
    });
    assert!(refusal(&written.sim).contains("but e001 is newer"));
}

/// Appends an intact frame behind the last one of a slot.
fn forge(sim: &Sim, name: &str, making: impl FnOnce(Life, Point) -> Making) {
    change(sim, name, |content| {
        let (last, end) = *frames(content).last().unwrap();
        let life = Life(u64_at(content, 40).unwrap());
        let point = Point {
            sequence: u64_at(content, last + 16).unwrap(),
            crc: u32_at(content, last).unwrap(),
        };
        let mut frame = Vec::new();
        frame::build(&mut frame, &making(life, point), &Payload::default());
        content[end..end + frame.len()].copy_from_slice(&frame);
    });
}

#[test]
fn an_intact_frame_that_does_not_follow_the_last_is_refused() {
    let written = scribe().stop(false);
    forge(&written.sim, "e000", |life, last| Making {
        life,
        sequence: last.sequence + 1,
        witness: Point::default(),
        previous: last.crc ^ 1,
        kind: Kind::Witness,
    });
    assert!(refusal(&written.sim).contains("does not follow the frame before it"));
}

#[test]
fn a_witness_of_more_than_there_is_or_of_another_frame_is_refused() {
    let written = scribe().stop(false);
    let found = read(&written.sim, Rules::default()).unwrap().unwrap();
    let end = found.entries_end.end;
    for (witness, text) in [
        (Point { sequence: end.sequence + 1, crc: 0 }, "was durable"),
        (Point { crc: end.crc ^ 1, ..end }, "is not the one that was durable"),
    ] {
        let sim = written.sim.copy();
        forge(&sim, "s000", |life, last| Making {
            life,
            sequence: last.sequence + 1,
            witness,
            previous: last.crc,
            kind: Kind::Witness,
        });
        assert!(refusal(&sim).contains(text));
    }
}

#[test]
fn an_intact_frame_in_a_payload_of_the_torn_commit_is_no_evidence() {
    // Somebody who read a live backup knows the life; S+1 inside S+1 still proves nothing.
    let mut scribe = scribe();
    scribe.publish(2_000);
    let written = scribe.stop(false);
    change(&written.sim, "e000", |content| {
        let (last, _) = *frames(content).last().unwrap();
        let life = Life(u64_at(content, 40).unwrap());
        let making = Making {
            life,
            sequence: u64_at(content, last + 16).unwrap(),
            witness: Point::default(),
            previous: 0,
            kind: Kind::Data,
        };
        let mut frame = Vec::new();
        frame::build(&mut frame, &making, &b"mine".to_vec().into());
        content[last + 512..last + 512 + frame.len()].copy_from_slice(&frame);
    });
    assert!(read(&written.sim, Rules::default()).is_ok());
}

#[test]
fn unknown_files_kinds_and_missing_roots_are_refused() {
    let written = scribe().stop(true);
    let sim = written.sim.copy();
    sim.put(ROOT, None);
    sim.put("snap000001", Some(vec![1]));
    assert!(refusal(&sim).contains("the root file is missing, but snap000001 is there"));

    let sim = written.sim.copy();
    sim.put(ROOT, None);
    assert!(refusal(&sim).contains("the root file is missing, but e000 holds data"));

    let sim = written.sim.copy();
    change(&sim, "e000", |content| {
        let (last, end) = *frames(content).last().unwrap();
        content[last + 40] = 9;
        let crc = crc32c::crc32c(&content[last + 4..end]).to_le_bytes();
        content[last..last + 4].copy_from_slice(&crc);
    });
    assert!(refusal(&sim).contains("frame kind 9"));
}

#[test]
fn a_position_past_the_head_of_its_own_life_is_refused() {
    let mut scribe = scribe();
    scribe.head.next = Offset(1_000);
    scribe.save();
    assert!(refusal(&scribe.sim).contains("is past the head 5"));
}

#[test]
fn a_failed_fsync_leaves_unknown_and_stopped_and_no_further_fsync() {
    let sim = Sim::new(3);
    let mut store = start(&sim, tiny()).unwrap();
    store.preparer.turn(Instant::now());
    let ask = |store: &Recovered, topic| {
        let (waiting, receiver) = waiting(&Op::Create(topic));
        store.shared.submit(waiting).map(|()| receiver)
    };
    let mut first = ask(&store, TOPIC).unwrap();
    sim.state().fail_sync = Some(0);
    store.entries.turn(Instant::now());
    assert_eq!(first.try_recv().unwrap().unwrap(), Outcome::Unknown);
    assert!(matches!(ask(&store, TopicId::random()), Err(StoreError::Stopped)));
    assert_eq!(store.state.turn(Instant::now()), Turn::Ended);
    assert!(!store.preparer.turn(Instant::now()));
    assert_eq!(sim.state().syncs_after_failure, 0);
    assert!(store.shared.stopped.borrow().as_ref().unwrap().contains("e000"));
}

#[tokio::test]
async fn a_store_that_stops_says_why_and_cannot_be_closed_cleanly() {
    let sim = Sim::new(3);
    let store = start(&sim, tiny()).unwrap().start(None).unwrap();
    sim.state().fail_sync = Some(0);
    // Whichever thread meets it first.
    let outcome = crate::store::MessageLog::create(&*store, TOPIC).await;
    assert!(matches!(
        outcome,
        Ok(Outcome::Unknown | Outcome::Applied(())) | Err(StoreError::Stopped)
    ));
    assert!(
        store.stopped().await.contains("cannot write or fsync")
            || store.stopped().await.contains("cannot fsync")
    );
    assert!(matches!(store.close_store().await, Err(StoreError::Stopped)));
}

#[test]
fn the_silent_log_witnesses_the_other_once_and_then_both_are_idle() {
    let settings = Settings { witness_after: Duration::from_secs(1), ..tiny() };
    let sim = Sim::new(3);
    let mut store = start(&sim, settings).unwrap();
    store.preparer.turn(Instant::now());
    let (waiting, _receiver) = waiting(&Op::Create(TOPIC));
    store.shared.submit(waiting).unwrap();
    let now = Instant::now();
    assert_eq!(store.entries.turn(now), Turn::Worked);
    assert!(matches!(store.state.turn(now), Turn::Idle(Some(_))));
    let later = now + Duration::from_secs(60);
    assert_eq!(store.state.turn(later), Turn::Worked);
    let syncs = sim.state().syncs;
    for _ in 0..3 {
        assert_eq!(store.entries.turn(later), Turn::Idle(None));
        assert_eq!(store.state.turn(later), Turn::Idle(None));
    }
    assert_eq!(sim.state().syncs, syncs);
    drop(store);
    // What was witnessed is refused when it is gone, clean stop or not.
    change(&sim, "e000", |content| content[4_096..].fill(0));
    assert!(refusal(&sim).contains("was durable"));
}

#[test]
fn what_a_cut_clean_stop_left_unwitnessed_is_witnessed_after_the_next_start() {
    let mut scribe = scribe();
    scribe.publish(600);
    // The entry log has its clean frame, the state log nothing of what came last.
    scribe.store.shared.enter(Phase::Closing);
    scribe.turn(Stream::Entries);
    let sim = Arc::clone(&scribe.sim);
    drop(scribe);
    sim.kill_keeping_cache();
    let stale = sim.content("e000");
    let found = read(&sim, Rules::default()).unwrap().unwrap();
    assert!(found.state_end.witness.sequence + 2 <= found.entries_end.end.sequence);

    let mut store = start(&sim, Settings::small()).unwrap();
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(store.state.turn(later), Turn::Worked);
    assert!(matches!(store.entries.turn(later), Turn::Idle(_)));
    drop(store);
    let at = frames(&stale).iter().nth_back(1).unwrap().0;
    change(&sim, "e000", |content| content[at..].fill(0));
    assert!(refusal(&sim).contains("was durable"));
}

#[test]
fn a_full_disk_refuses_publishes_first_and_recovers_by_itself() {
    let sim = Sim::new(3);
    let mut store = start(&sim, tiny()).unwrap();
    store.preparer.turn(Instant::now());
    // No room for another slot.
    sim.state().capacity = 5 * (16 << 10);
    let mut head = crate::domain::Head::default();
    let answer = |store: &mut Recovered, op: &Op| {
        let (waiting, mut receiver) = waiting(op);
        store.shared.submit(waiting).unwrap();
        loop {
            let turn = match op.stream() {
                Stream::Entries => store.entries.turn(Instant::now()),
                Stream::State => store.state.turn(Instant::now()),
            };
            store.preparer.turn(Instant::now());
            if let Some(answer) = receiver.try_recv() {
                return answer;
            }
            assert_ne!(turn, Turn::Ended);
        }
    };
    assert!(matches!(answer(&mut store, &Op::Create(TOPIC)), Ok(Outcome::Applied(_))));
    let refused = loop {
        let entry = super::entry(&head, head.next.0, 1, 3_000);
        let next = head.after(&entry);
        match answer(&mut store, &Op::Commit(TOPIC, entry)) {
            Ok(Outcome::Applied(_)) => head = next,
            other => break other,
        }
        assert!(head.next.0 < 100);
    };
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    // Trims, creates and closes go on for long, in the reserved slot too.
    let mut topics = Vec::new();
    for _ in 0..150 {
        let topic = TopicId::random();
        assert!(matches!(answer(&mut store, &Op::Create(topic)), Ok(Outcome::Applied(_))));
        topics.push(topic);
    }
    assert!(store.shared.board().desk(Stream::Entries).slots.ready() == 0, "the reserve was used");
    let trim = answer(&mut store, &Op::Trim(TOPIC, Offset(1)));
    assert!(matches!(trim, Ok(Outcome::Applied(_))));
    head.start = Offset(1);
    assert!(matches!(answer(&mut store, &Op::Close(topics[0])), Ok(Outcome::Applied(_))));
    // There is room again.
    sim.state().capacity = usize::MAX;
    assert!(store.preparer.turn(Instant::now()));
    let entry = super::entry(&head, 77, 1, 5_000);
    head = head.after(&entry);
    assert!(matches!(answer(&mut store, &Op::Commit(TOPIC, entry)), Ok(Outcome::Applied(_))));
    drop(store);
    sim.power_cut();
    let store = start(&sim, tiny()).unwrap();
    assert_eq!(store.shared.topics.read().unwrap().open[&TOPIC].head, head);
}

#[test]
fn a_slot_whose_fill_was_cut_is_filled_again_or_removed() {
    let sim = Sim::new(3);
    drop(start(&sim, tiny()).unwrap());
    sim.put("e001", Some(vec![1; 16 << 10]));
    sim.put("s001", Some(vec![1; 9_000]));
    let mut store = start(&sim, tiny()).unwrap();
    assert!(!sim.names().contains(&String::from("s001")));
    let ready =
        |store: &Recovered| store.shared.board().desk(Stream::Entries).slots.ready_numbers();
    assert!(ready(&store).is_empty(), "nobody knows yet whether its fill is durable");
    // Nothing is served before the start ends, and filling takes long.
    assert!(sim.content("e001").iter().all(|byte| *byte == 1));
    store.preparer.turn(Instant::now());
    assert!(sim.content("e001").iter().all(|byte| *byte == 0));
    assert_eq!(ready(&store), [1]);
}

#[test]
fn a_torn_tail_is_kept_aside_and_cut() {
    let scribe = scribe();
    let head = scribe.head.clone();
    let written = scribe.stop(false);
    let end = frames(&written.sim.content("e000")).last().unwrap().1;
    change(&written.sim, "e000", |content| content[end..end + 100].fill(7));
    let store = start(&written.sim, Settings::small()).unwrap();
    assert_eq!(store.shared.topics.read().unwrap().open[&TOPIC].head, head);
    let kept = written.sim.content("e000.torn-9");
    assert_eq!(kept[..100], [7; 100]);
    assert!(written.sim.content("e000")[end..].iter().all(|byte| *byte == 0));
}

#[test]
fn recovery_needs_no_room() {
    let written = scribe().stop(false);
    let sim = written.sim.copy();
    let end = frames(&sim.content("e000")).last().unwrap().1;
    change(&sim, "e000", |content| content[end..end + 100].fill(7));
    sim.state().capacity = 0;
    assert!(start(&sim, Settings::small()).is_ok());
    assert!(!sim.names().iter().any(|name| name.contains("torn")));
}

#[test]
fn a_full_disk_that_cannot_refill_an_unused_slot_does_not_stop_recovery() {
    let scribe = sealed();
    let (sim, ready) = (
        Arc::clone(&scribe.sim),
        scribe.store.shared.board().desks.entries.slots.ready_numbers()[0],
    );
    drop(scribe);
    let file = Stream::Entries.file(ready);
    assert!(sim.names().contains(&file));
    sim.state().full_for = Some(file.clone());
    let mut store = start(&sim, tiny()).unwrap();
    assert!(store.preparer.turn(Instant::now()));
    assert!(!store.shared.board().desks.entries.slots.ready_numbers().contains(&ready));
    assert!(!sim.names().contains(&file));
}
