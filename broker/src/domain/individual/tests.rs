//! Individual delivery by example: order, bounds, stale ids, clocks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use uuid::Uuid;

use super::*;
use crate::domain::{Hole, TopicId};

pub(super) const DEADLINE: i64 = 10;

pub(super) fn second(seconds: u64) -> Time {
    Time::from_secs(1_000 + seconds)
}

pub(super) fn head(start: u64, next: u64) -> Head {
    Head { start: Offset(start), next: Offset(next), ..Head::default() }
}

fn fresh() -> Progress {
    Progress::fresh(TopicId(Uuid::nil()), Offset(0))
}

/// Folds, takes and leases, as the service does; each message has one byte.
fn pull(progress: &mut Progress, max: u64, head: &Head, now: Time) -> Vec<Leased> {
    let none = Holes::default();
    *progress = progress.facts(now, head, &none, DEADLINE).progress;
    let runs = progress.takeable(max, head, &none);
    let taken: Vec<(Offset, u64)> =
        runs.iter().flat_map(|(from, to)| (from.0..to.0).map(|at| (Offset(at), 1))).collect();
    progress.lease_out(&taken, lease_end(now, DEADLINE), now)
}

fn ids(leased: &[Leased]) -> Vec<LeaseId> {
    leased.iter().map(|leased| leased.id).collect()
}

fn offsets(leased: &[Leased]) -> Vec<u64> {
    leased.iter().map(|leased| leased.id.offset.0).collect()
}

#[test]
fn two_pulls_hand_out_different_messages() {
    let (mut p, topic) = (fresh(), head(0, 5));
    assert_eq!(offsets(&pull(&mut p, 2, &topic, second(0))), [0, 1]);
    assert_eq!(offsets(&pull(&mut p, 9, &topic, second(0))), [2, 3, 4]);
    assert_eq!(offsets(&pull(&mut p, 9, &topic, second(9))), [0; 0]);
    assert_eq!(offsets(&pull(&mut p, 9, &topic, second(10))), [0, 1, 2, 3, 4]);
    assert_eq!((p.counters.expired, p.counters.redelivered), (5, 5));
}

#[test]
fn acks_in_any_order_move_the_position_once_all_below_is_acked() {
    let (mut p, topic) = (fresh(), head(0, 5));
    let ids = ids(&pull(&mut p, 5, &topic, second(0)));
    for at in [3, 1, 4] {
        assert!(p.ack_each(&ids[at..=at], second(1)));
        assert_eq!(p.position, Offset(0));
    }
    assert_eq!(p.acked_ahead, [(Offset(1), Offset(2)), (Offset(3), Offset(5))]);
    assert!(p.ack_each(&ids[0..1], second(1)));
    assert_eq!((p.position, p.high_water), (Offset(2), Offset(2)));
    assert!(!p.ack_each(&ids[0..2], second(2)), "a repeated ack changes nothing");
    assert!(p.ack_each(&ids, second(2)));
    assert_eq!((p.position, p.counters.acked, p.counters.late_acks), (Offset(5), 5, 0));
    assert!(p.leases.is_empty() && p.acked_ahead.is_empty());
}

#[test]
fn an_ack_of_a_lease_that_ran_out_counts_until_the_message_comes_again() {
    let (mut p, topic) = (fresh(), head(0, 2));
    let first = ids(&pull(&mut p, 2, &topic, second(0)));
    p = p.facts(second(20), &topic, &Holes::default(), DEADLINE).progress;
    p.ack_each(&first[0..1], second(20));
    assert_eq!((p.position, p.counters.acked), (Offset(1), 1));
    let second_pull = pull(&mut p, 2, &topic, second(21));
    assert_eq!((offsets(&second_pull), second_pull[0].attempt), (vec![1], 2));
    p.ack_each(&first[1..2], second(22));
    assert_eq!((p.position, p.counters.late_acks), (Offset(1), 1));
    p.ack_each(&ids(&second_pull), second(22));
    assert_eq!(p.position, Offset(2));
}

#[test]
fn what_is_given_back_comes_before_what_is_new() {
    let (mut p, topic) = (fresh(), head(0, 9));
    let ids = ids(&pull(&mut p, 4, &topic, second(0)));
    assert_eq!(p.extend_each(&[ids[1], ids[3], ids[3]], None), 2);
    assert_eq!(p.counters.nacks, 2);
    assert_eq!(offsets(&pull(&mut p, 3, &topic, second(0))), [1, 3, 4]);
    assert_eq!(p.extend_each(&ids[0..2], Some(second(60))), 1, "the other has a later lease");
    assert_eq!(offsets(&pull(&mut p, 9, &topic, second(30))), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(p.next_expiry(), Some(second(40)));
}

#[test]
fn nothing_new_comes_beyond_a_thousand_leases() {
    let (mut p, topic) = (fresh(), head(0, 3_000));
    let ids = ids(&pull(&mut p, 5_000, &topic, second(0)));
    assert_eq!(ids.len(), MAX_LEASES);
    let facts = p.facts(second(1), &topic, &Holes::default(), DEADLINE);
    assert_eq!((facts.available, facts.outstanding, facts.backlog), (0, 1_000, 3_000));
    assert!(p.is_full() && pull(&mut p, 1, &topic, second(1)).is_empty());
    p.ack_each(&ids[500..502], second(1));
    assert_eq!(offsets(&pull(&mut p, 9, &topic, second(1))), [1_000, 1_001]);
    // What is due comes all the same.
    assert_eq!(pull(&mut p, 5_000, &topic, second(60)).len(), MAX_LEASES);
}

#[test]
fn nothing_new_comes_beyond_so_many_ranges_and_the_record_stays_small() {
    let (mut p, topic) = (fresh(), head(0, 10_000));
    let mut now = 0;
    loop {
        let leased = pull(&mut p, 5_000, &topic, second(now));
        let new: Vec<LeaseId> =
            ids(&leased).into_iter().filter(|id| id.offset.0 % 2 == 1).collect();
        if new.is_empty() {
            break;
        }
        p.ack_each(&new, second(now));
        now += 1;
    }
    assert!(p.acked_ahead.len() >= MAX_RANGES && p.acked_ahead.len() <= p.leases.len());
    assert!(p.leases.len() <= MAX_LEASES);
    let mut bytes = Vec::new();
    p.encode(&mut bytes);
    assert!(bytes.len() < 12_000, "{} bytes", bytes.len());
    // Only what is due, until the front is acknowledged.
    let due = pull(&mut p, 5_000, &topic, second(100));
    assert!(due.iter().all(|leased| leased.attempt > 1));
    p.ack_each(&ids(&due), second(100));
    assert!(p.leases.is_empty() && p.acked_ahead.is_empty());
    assert!(!pull(&mut p, 1, &topic, second(100)).is_empty());
}

#[test]
fn a_seek_forgets_leases_and_what_was_acked_ahead() {
    let (mut p, topic) = (fresh(), head(0, 9));
    let old = ids(&pull(&mut p, 9, &topic, second(0)));
    p.ack_each(&[old[2], old[3], old[7]], second(0));
    assert_eq!(p.seek_each(Offset(3), second(1)), Seek::Forward(2));
    assert_eq!((p.counters.skipped, p.counters.replayed), (2, 2));
    assert_eq!(p.extend_each(&old, None), 0);
    p.ack_each(&old[3..4], second(1));
    assert_eq!((p.counters.refused_acks, p.position), (1, Offset(3)));
    let again = pull(&mut p, 9, &topic, second(1));
    assert_eq!((offsets(&again), again[0].attempt), (vec![3, 4, 5, 6, 7, 8], 1));
    p.ack_each(&old[4..5], second(1));
    assert_eq!(p.counters.late_acks, 1, "an id from before the seek names nothing now");
    p.ack_each(&ids(&again)[1..2], second(1));
    assert_eq!(p.seek_each(Offset(3), second(2)), Seek::Backward(1));
    assert_eq!(p.seek_each(Offset(3), second(2)), Seek::Nowhere);
    assert_eq!(p.seek_each(Offset(0), second(2)), Seek::Backward(3));
}

#[test]
fn a_trim_takes_ranges_and_leases_and_loses_only_what_was_not_acked() {
    let (mut p, topic) = (fresh(), head(0, 9));
    let ids = ids(&pull(&mut p, 9, &topic, second(0)));
    p.ack_each(&[ids[1], ids[4], ids[5]], second(0));
    let facts = p.facts(second(0), &head(5, 9), &Holes::default(), DEADLINE);
    let p = facts.progress;
    assert_eq!((p.position, p.counters.lost.retention), (Offset(6), 3));
    assert_eq!((p.leases.len(), facts.backlog, facts.outstanding), (3, 3, 3));
    assert!(p.acked_ahead.is_empty());
}

#[test]
fn holes_are_passed_over_and_counted_when_the_position_meets_them() {
    let (mut p, topic) = (fresh(), head(0, 9));
    let mut holes = Holes::default();
    for (from, to) in [(2, 4), (5, 6)] {
        holes.add(Hole { from: Offset(from), to: Offset(to) });
    }
    let runs = p.takeable(5, &topic, &holes);
    let expected = [(0, 2), (4, 5), (6, 8)].map(|(from, to)| (Offset(from), Offset(to)));
    assert_eq!(runs, expected);
    let taken = [0, 1, 4, 6, 7].map(|at| (Offset(at), 1));
    let leased = ids(&p.lease_out(&taken, second(10), second(0)));
    p.ack_each(&leased[0..3], second(0));
    let facts = p.facts(second(0), &topic, &holes, DEADLINE);
    assert_eq!((facts.progress.position, facts.progress.counters.lost.damage), (Offset(6), 3));
    assert_eq!((facts.backlog, facts.outstanding, facts.available), (3, 2, 1));
}

#[test]
fn a_lease_from_a_clock_that_has_gone_back_does_not_hold_a_message_for_ever() {
    let (mut p, topic) = (fresh(), head(0, 1));
    pull(&mut p, 1, &topic, second(100_000));
    let due = |now| p.facts(now, &topic, &Holes::default(), DEADLINE).available;
    assert_eq!((due(second(0)), due(second(100_009)), due(second(100_010))), (1, 0, 1));
}
