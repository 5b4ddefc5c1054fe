//! Rules that chance rarely puts to the test: each holds in a case made for it, and breaking it
//! there is seen.

use std::sync::Arc;
use std::time::Instant;

use super::damage::{Scribe, TOPIC, frames, read};
use super::directed::{change, refusal, scribe, sealed};
use super::power::{tiny, waiting};
use super::sim::Sim;
use crate::domain::{Time, TopicId};
use crate::store::Outcome;
use crate::store::embedded::committer::Turn;
use crate::store::embedded::frame::{self, Kind, Making, Point};
use crate::store::embedded::layout::{Life, Stream, u64_at};
use crate::store::embedded::queue::{Op, Phase};
use crate::store::embedded::recover_by;
use crate::store::embedded::rules::{Bug, Rules};

const fn broken(bug: Bug) -> Rules {
    Rules { planted: Some(bug) }
}

#[test]
fn a_frame_behind_one_broken_frame_proves_damage() {
    let mut scribe = Scribe::new(tiny());
    for _ in 0..3 {
        scribe.publish(300);
    }
    let sim = scribe.stop(false).sim;
    let found = frames(&sim.content("e000"));
    let (at, _) = found[found.len() - 2];
    change(&sim, "e000", |content| content[at] ^= 1);
    assert!(refusal(&sim).contains("is broken, but frame"));
    assert!(read(&sim, broken(Bug::S3Rule)).is_ok());
}

#[test]
fn a_damaged_header_in_front_of_frames_is_no_switch_that_was_cut() {
    let sim = sealed().stop(false).sim;
    change(&sim, "e002", |content| content[..4_096].fill(0));
    assert!(refusal(&sim).contains("e002 at offset 0: the header is damaged"));
    assert!(read(&sim, broken(Bug::NoSeal)).is_ok());
}

#[test]
fn what_the_other_log_witnessed_must_be_there() {
    let mut scribe = scribe();
    let stale = scribe.sim.content("e000");
    scribe.publish(50);
    scribe.save();
    let sim = scribe.stop(true).sim;
    sim.put("e000", Some(stale));
    assert!(refusal(&sim).contains("was durable"));
    // The position's topic has fewer messages by now; that alone is no proof for the log.
    assert!(
        !matches!(read(&sim, broken(Bug::NoWitness)), Err(error) if error.to_string().contains("was durable"))
    );
}

#[test]
fn an_intact_frame_in_a_payload_of_the_torn_commit_proves_nothing() {
    // Somebody who read a live backup knows the life; S+1 inside S+1 still proves nothing.
    let mut scribe = scribe();
    scribe.publish(2_000);
    let sim = scribe.stop(false).sim;
    change(&sim, "e000", |content| {
        let (last, _) = *frames(content).last().unwrap();
        let making = Making {
            life: Life(u64_at(content, 40).unwrap()),
            sequence: u64_at(content, last + 16).unwrap(),
            witness: Point::default(),
            previous: 0,
            kind: Kind::Data,
        };
        let mut frame = Vec::new();
        frame::build(&mut frame, &making, &b"mine".to_vec().into());
        content[last + 512..last + 512 + frame.len()].copy_from_slice(&frame);
    });
    assert!(read(&sim, Rules::default()).is_ok());
    assert!(read(&sim, broken(Bug::AnyRule)).is_err());
}

/// A frame that a crash undid, put back where another one took its place.
#[test]
fn a_frame_of_an_undone_timeline_is_refused() {
    let mut scribe = scribe();
    let undone = scribe.sim.copy();
    let mut other =
        recover_by(Arc::clone(&undone) as _, tiny(), Rules::default(), Time(1)).unwrap();
    let entry = super::entry(&scribe.head, 77, 1, 300);
    let (waiting, _receiver) = waiting(&Op::Commit(TOPIC, entry));
    other.shared.submit(waiting).unwrap();
    other.entries.turn(Instant::now());
    let ghost = undone.content("e000");
    scribe.publish(300);
    scribe.publish(300);
    let sim = scribe.stop(false).sim;
    let found = frames(&sim.content("e000"));
    let (at, end) = found[found.len() - 2];
    assert_eq!(frames(&ghost).last(), Some(&(at, end)));
    change(&sim, "e000", |content| content[at..end].copy_from_slice(&ghost[at..end]));
    assert!(refusal(&sim).contains("does not follow the frame before it"));
}

/// The clean frame straddles a page, so that its halves reach the disk apart, and its fsync fails.
fn clean_frame_across_a_page(seed: u64, rules: Rules) -> bool {
    let start = |sim: &Arc<Sim>| recover_by(Arc::clone(sim) as _, tiny(), rules, Time(9));
    let mut scribe = Scribe::new(tiny());
    scribe.publish(1_000);
    scribe.publish_up_to(4_056);
    scribe.sim.power_cut();
    scribe.sim.state().fail_sync = Some(0);
    scribe.sim.reseed(seed);
    scribe.store.shared.enter(Phase::Closing);
    while scribe.store.entries.turn(Instant::now()) != Turn::Ended {}
    // The next process starts from the page cache and sees a clean stop.
    scribe.sim.kill_keeping_cache();
    let mut store = start(&scribe.sim).unwrap();
    store.preparer.turn(Instant::now());
    let entry = super::entry(&scribe.head, 1, 1, 100);
    let head = scribe.head.after(&entry);
    let (waiting, mut receiver) = waiting(&Op::Commit(TOPIC, entry));
    store.shared.submit(waiting).unwrap();
    store.entries.turn(Instant::now());
    assert!(matches!(receiver.try_recv(), Some(Ok(Outcome::Applied(_)))));
    scribe.sim.power_cut();
    start(&scribe.sim)
        .is_ok_and(|store| store.shared.topics.read().unwrap().open[&TOPIC].head == head)
}

#[test]
fn a_clean_frame_whose_fsync_failed_is_written_again() {
    assert!((0..60).all(|seed| clean_frame_across_a_page(seed, Rules::default())));
    assert!(!(0..60).all(|seed| clean_frame_across_a_page(seed, broken(Bug::NoRewriteClean))));
}

/// Snapshot N, then state through several slots, snapshot N+1, then enough for every free slot to
/// be used again; N+1 is damaged. The start must not need what N lost.
fn starts_from_the_older_snapshot(rules: Rules) -> bool {
    let mut scribe = Scribe::by(tiny(), rules);
    let mut version = 0;
    let mut write = |scribe: &mut Scribe, count: u64| {
        for _ in 0..count {
            version += 1;
            scribe.change(version, 3_000);
        }
    };
    for _ in 0..2 {
        write(&mut scribe, 4);
        scribe.store.keeper.take_now();
    }
    // At least one slot is opened and sealed between the two.
    write(&mut scribe, 12);
    scribe.store.keeper.take_now();
    write(&mut scribe, 40);
    let sim = scribe.stop(false).sim;
    change(&sim, "snap000003", |content| content[60] ^= 1);
    recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(1)).is_ok_and(|store| {
        let state = store.shared.state.read().unwrap();
        state.scopes[&crate::store::Scope::Service].version == version
    })
}

#[test]
fn a_slot_is_used_again_only_when_every_kept_snapshot_lets_go_of_it() {
    assert!(starts_from_the_older_snapshot(Rules::default()));
    for bug in [Bug::RecycleEarly, Bug::OneCover, Bug::ListOnlyCover] {
        assert!(!starts_from_the_older_snapshot(broken(bug)), "{bug:?}");
    }
}

/// Snapshots, so that their slots are used again, and a power cut.
fn starts_after_snapshots(seed: u64, rots: usize, rounds: [u64; 3], rules: Rules) -> bool {
    let mut scribe = Scribe::by(tiny(), rules);
    scribe.sim.reseed(seed);
    scribe.sim.state().rots = rots;
    let mut version = 0;
    for (round, changes) in rounds.into_iter().enumerate() {
        for _ in 0..changes {
            version += 1;
            scribe.change(version, 3_000);
        }
        if round < 2 {
            scribe.store.keeper.take_now();
        }
    }
    let sim = Arc::clone(&scribe.sim);
    drop(scribe);
    sim.power_cut();
    recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(1)).is_ok_and(|store| {
        let state = store.shared.state.read().unwrap();
        state.scopes[&crate::store::Scope::Service].version == version
    })
}

#[test]
fn a_snapshot_counts_only_when_it_is_read_back_and_its_name_is_durable() {
    let rotten = |rules| (0..20).all(|seed| starts_after_snapshots(seed, 100, [12, 12, 12], rules));
    assert!(rotten(Rules::default()));
    assert!(!rotten(broken(Bug::NoVerify)));
    // Nothing else syncs the directory between the two and the second use of what they free.
    let named = |rules| (0..20).all(|seed| starts_after_snapshots(seed, 0, [12, 0, 8], rules));
    assert!(named(Rules::default()));
    assert!(!named(broken(Bug::NoDirSyncSnapshot)));
}

/// A topic is closed while the snapshot is taken, before its turn: its entries are replayed onto
/// nothing.
fn starts_after_a_close_in_mid_snapshot(rules: Rules) -> bool {
    let mut scribe = Scribe::by(tiny(), rules);
    scribe.publish(100);
    scribe.store.keeper.begin_now();
    scribe.publish(100);
    scribe.write(&Op::Close(TOPIC));
    scribe.store.keeper.take_now();
    let sim = Arc::clone(&scribe.sim);
    drop(scribe);
    sim.power_cut();
    assert!(sim.names().contains(&String::from("snap000001")));
    let start = recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(1));
    start.is_ok_and(|store| {
        let topics = store.shared.topics.read().unwrap();
        topics.open.is_empty() && topics.closed.contains(&TOPIC)
    })
}

#[test]
fn entries_of_a_life_that_is_closed_behind_them_are_lawful() {
    assert!(starts_after_a_close_in_mid_snapshot(Rules::default()));
    assert!(!starts_after_a_close_in_mid_snapshot(broken(Bug::UnknownLifeRefuse)));
    // But without the close it is damage.
    let mut scribe = Scribe::new(tiny());
    scribe.publish(100);
    let sim = scribe.stop(false).sim;
    change(&sim, "e000", |content| {
        // The create's record names another topic.
        let (at, end) = frames(content)[0];
        content[at + 48 + 12] ^= 1;
        let record = crc32c::crc32c(&content[at + 48 + 4..at + 48 + 28]).to_le_bytes();
        content[at + 48..at + 52].copy_from_slice(&record);
        let crc = crc32c::crc32c(&content[at + 4..end]).to_le_bytes();
        content[at..at + 4].copy_from_slice(&crc);
        let (at, end) = frames(content)[1];
        content[at + 36..at + 40].copy_from_slice(&crc);
        let crc = crc32c::crc32c(&content[at + 4..end]).to_le_bytes();
        content[at..at + 4].copy_from_slice(&crc);
    });
    assert!(refusal(&sim).contains("has entries but no beginning"));
}

/// Goes through one switch with a failure at each call, a restart from the page cache, a commit,
/// a power cut and another start.
fn survives_a_switch(fails: impl Fn(&Sim, u64), calls: u64, rules: Rules) -> bool {
    (0..calls).all(|call| {
        (0..12).all(|seed| {
            let mut scribe = Scribe::by(tiny(), rules);
            scribe.publish(5_000);
            scribe.publish(5_000);
            let sim = Arc::clone(&scribe.sim);
            sim.reseed(seed);
            fails(&sim, call);
            let submit = |store: &crate::store::embedded::Recovered, op: &Op| {
                let (waiting, receiver) = waiting(op);
                drop(store.shared.submit(waiting));
                receiver
            };
            let _first =
                submit(&scribe.store, &Op::Commit(TOPIC, super::entry(&scribe.head, 8, 1, 5_900)));
            for _ in 0..6 {
                scribe.store.preparer.turn(Instant::now());
                scribe.store.entries.turn(Instant::now());
            }
            drop(scribe);
            sim.kill_keeping_cache();
            let Ok(mut store) = recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(1)) else {
                return false;
            };
            let topic = TopicId::random();
            let mut second = submit(&store, &Op::Create(topic));
            for _ in 0..4 {
                store.preparer.turn(Instant::now());
                store.entries.turn(Instant::now());
            }
            let applied = matches!(second.try_recv(), Some(Ok(Outcome::Applied(_))));
            drop(store);
            sim.power_cut();
            recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(2)).is_ok_and(|store| {
                !applied || store.shared.topics.read().unwrap().open.contains_key(&topic)
            })
        })
    })
}

#[test]
fn a_header_whose_fsync_failed_is_written_again() {
    let fails = |sim: &Sim, call| sim.state().fail_sync = Some(call);
    assert!(survives_a_switch(fails, 8, Rules::default()));
    assert!(!survives_a_switch(fails, 8, broken(Bug::NoHeaderRewrite)));
}

/// The process dies between a slot's fill and its fsync; the next one uses it, and the power goes
/// between seal and header.
fn survives_a_fill_that_was_cut(rules: Rules) -> bool {
    (0..12).all(|call| {
        (0..8).all(|seed| {
            let sim = Sim::new(seed);
            drop(recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(0)).unwrap());
            // Filled, but for the fsync: its content is in the page cache alone.
            for file in [Stream::Entries.file(1), Stream::Entries.file(2)] {
                use crate::store::embedded::disk::Disk;
                sim.create(&file).unwrap();
                sim.write(&file, 0, &vec![0; 16 << 10]).unwrap();
            }
            sim.kill_keeping_cache();
            let Ok(mut store) = recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(1)) else {
                return false;
            };
            store.preparer.turn(Instant::now());
            let mut head = crate::domain::Head::default();
            let submit = |store: &crate::store::embedded::Recovered, op: &Op| {
                let (waiting, receiver) = waiting(op);
                drop(store.shared.submit(waiting));
                drop(receiver);
            };
            submit(&store, &Op::Create(TOPIC));
            for tag in 0..2 {
                let entry = super::entry(&head, tag, 1, 5_000);
                head = head.after(&entry);
                submit(&store, &Op::Commit(TOPIC, entry));
            }
            for _ in 0..3 {
                store.entries.turn(Instant::now());
            }
            sim.state().fuse = Some(call);
            submit(&store, &Op::Commit(TOPIC, super::entry(&head, 9, 1, 5_900)));
            for _ in 0..3 {
                store.entries.turn(Instant::now());
            }
            drop(store);
            sim.power_cut();
            recover_by(Arc::clone(&sim) as _, tiny(), rules, Time(2)).is_ok()
        })
    })
}

#[test]
fn a_slot_whose_fill_was_never_synced_is_filled_again() {
    assert!(survives_a_fill_that_was_cut(Rules::default()));
    assert!(!survives_a_fill_that_was_cut(broken(Bug::NoRefill)));
}
