//! Cumulative delivery by example: the rows of `ams-contract.md` 19 and the verdicts O1 to O3.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use uuid::Uuid;

use super::*;
use crate::domain::{Head, Holes, TopicId};

pub(super) const DEADLINE: i64 = 10;

pub(super) fn second(seconds: u64) -> Time {
    Time::from_secs(1_000 + seconds)
}

pub(super) fn fresh() -> Progress {
    Progress::fresh(TopicId(Uuid::nil()), Offset(0))
}

pub(super) fn head(start: u64, next: u64) -> Head {
    Head { start: Offset(start), next: Offset(next), ..Head::default() }
}

/// Judges and settles, as the service does; each message has one byte.
pub(super) fn ack(progress: &mut Progress, highest: u64, now: Time) -> AckVerdict {
    let verdict = progress.judge_ack(Offset(highest), DEADLINE, now);
    let bytes = if let AckVerdict::Moves(from, to) = verdict { to.since(from) } else { 0 };
    progress.settle(verdict, bytes, now);
    verdict
}

pub(super) const fn moves(from: u64, to: u64) -> AckVerdict {
    AckVerdict::Moves(Offset(from), Offset(to))
}

#[test]
fn a_partial_ack_moves_the_position_and_leaves_the_rest_of_the_window_open() {
    let mut p = fresh();
    p.hand_out(3, 3, second(0));
    assert_eq!(ack(&mut p, 1, second(1)), moves(0, 2));
    assert_eq!(p.position, Offset(2));
    // AMS answers 500 here; accepting it is verdict O2.
    assert_eq!(ack(&mut p, 2, second(1)), moves(2, 3));
    assert_eq!((p.counters.acked, p.counters.acked_bytes), (3, 3));
}

#[test]
fn acks_of_one_window_work_in_any_order() {
    let mut p = fresh();
    p.hand_out(5, 5, second(0));
    assert_eq!(ack(&mut p, 3, second(1)), moves(0, 4));
    for behind in [0, 1, 2, 3, 0] {
        assert_eq!(ack(&mut p, behind, second(1)), AckVerdict::Repeats);
    }
    assert_eq!(ack(&mut p, 4, second(1)), moves(4, 5));
    assert_eq!((p.counters.acked, p.counters.refused_acks), (5, 0));
}

#[test]
fn a_second_smaller_pull_shrinks_the_window() {
    let mut p = fresh();
    p.hand_out(3, 3, second(0));
    p.hand_out(1, 1, second(0));
    assert_eq!(ack(&mut p, 2, second(0)), AckVerdict::NotInWindow);
    assert_eq!(ack(&mut p, 0, second(0)), moves(0, 1));
    assert_eq!(p.counters.refused_acks, 1);
}

#[test]
fn a_pull_after_a_partial_ack_goes_on_behind_it() {
    let mut p = fresh();
    p.hand_out(3, 3, second(0));
    ack(&mut p, 0, second(0));
    p.hand_out(3, 3, second(1));
    let window = p.window.unwrap();
    assert_eq!((window.start, window.end), (Offset(1), Offset(4)));
    // What was acknowledged in the window before is no part of this one.
    assert_eq!(ack(&mut p, 0, second(1)), AckVerdict::NotInWindow);
    assert_eq!(p.counters.redelivered, 2);
}

#[test]
fn a_late_ack_is_refused_and_the_messages_come_again() {
    let mut p = fresh();
    p.hand_out(2, 2, second(0));
    let before = p.position;
    assert_eq!(ack(&mut p, 1, second(11)), AckVerdict::TooLate);
    assert_eq!((p.position, p.counters.late_acks), (before, 1));
    p.hand_out(2, 2, second(12));
    assert_eq!(p.window.unwrap().start, before);
    assert_eq!(ack(&mut p, 1, second(12)), moves(0, 2));
}

#[test]
fn a_repeated_ack_is_welcome_even_after_the_deadline() {
    let mut p = fresh();
    p.hand_out(2, 2, second(0));
    ack(&mut p, 0, second(0));
    let mut before = p.clone();
    assert_eq!(ack(&mut p, 0, second(1)), AckVerdict::Repeats);
    assert_eq!(ack(&mut p, 0, second(1_000)), AckVerdict::Repeats);
    assert_eq!(p, before);
    // The unacknowledged rest is late all the same.
    assert_eq!(ack(&mut p, 1, second(1_000)), AckVerdict::TooLate);
    before.counters.late_acks = 1;
    assert_eq!(p, before);
}

#[test]
fn a_second_pull_restarts_the_deadline_and_takes_ids_of_the_first() {
    // Verdict O3: republisher.py pulls again to refresh the deadline.
    let mut p = fresh();
    p.hand_out(2, 2, second(0));
    p.hand_out(2, 2, second(9));
    assert_eq!(ack(&mut p, 1, second(19)), moves(0, 2));
}

#[test]
fn nothing_is_pending_before_a_pull_and_after_a_seek() {
    let mut p = fresh();
    assert_eq!(ack(&mut p, 0, second(0)), AckVerdict::NothingPending);
    p.hand_out(2, 2, second(0));
    assert_eq!(p.seek(Offset(0), second(0)), Seek::Nowhere);
    assert_eq!(ack(&mut p, 0, second(0)), AckVerdict::NothingPending);
    assert_eq!(p.counters.refused_acks, 2);
}

#[test]
fn an_ack_outside_the_window_is_wrong() {
    let mut p = fresh();
    p.seek(Offset(5), second(0));
    p.hand_out(2, 2, second(0));
    for wrong in [0, 4, 7, u64::MAX] {
        assert_eq!(ack(&mut p, wrong, second(0)), AckVerdict::NotInWindow, "{wrong}");
        // Wrong comes before late.
        assert_eq!(ack(&mut p, wrong, second(100)), AckVerdict::NotInWindow, "{wrong}");
    }
}

#[test]
fn a_deadline_is_compared_in_whole_seconds() {
    let nanos = |nanos| Time(second(0).0 + nanos);
    // (pulled at, deadline, now, still holds)
    for (pulled_at, deadline, now, holds) in [
        (nanos(0), 10, second(10), true),
        (nanos(0), 10, nanos(10_999_999_999), true),
        (nanos(0), 10, second(11), false),
        (nanos(999_999_999), 10, nanos(10_999_999_999), true),
        (nanos(999_999_999), 10, second(11), false),
        (nanos(0), 0, nanos(999_999_999), true),
        (nanos(999_999_999), 0, second(1), false),
        (nanos(0), -1, nanos(0), false),
        (nanos(0), i64::MIN, nanos(0), false),
        (nanos(0), i64::MAX, Time(u64::MAX), true),
        // A clock that went back never makes anything late.
        (second(5), 0, second(0), true),
        (second(600), 0, second(0), true),
        // But by more than any deadline it was wrong.
        (second(601), 0, second(0), false),
        (second(30 * 86_400), 600, second(0), false),
    ] {
        let mut p = fresh();
        p.hand_out(1, 1, pulled_at);
        let expected = if holds { moves(0, 1) } else { AckVerdict::TooLate };
        assert_eq!(p.judge_ack(Offset(0), deadline, now), expected, "{pulled_at:?} {now:?}");
    }
}

#[test]
fn a_raised_deadline_rescues_a_late_batch() {
    let mut p = fresh();
    p.hand_out(1, 1, second(0));
    assert_eq!(p.judge_ack(Offset(0), 10, second(30)), AckVerdict::TooLate);
    assert_eq!(p.judge_ack(Offset(0), 30, second(30)), moves(0, 1));
}

#[test]
fn a_window_expires_once() {
    let mut p = fresh();
    p.hand_out(2, 2, second(0));
    let topic = head(0, 5);
    let expired = |p: &Progress, now| {
        p.facts(now, &topic, &Holes::default(), DEADLINE).progress.counters.expired
    };
    assert_eq!(expired(&p, second(10)), 0);
    p = p.facts(second(11), &topic, &Holes::default(), DEADLINE).progress;
    assert_eq!((expired(&p, second(11)), expired(&p, second(99))), (1, 1));
    p.hand_out(2, 2, second(100));
    assert_eq!((expired(&p, second(100)), expired(&p, second(111))), (1, 2));
    // One that is wholly acknowledged never does.
    ack(&mut p, 1, second(100));
    assert_eq!(expired(&p, second(999)), 1);
}

#[test]
fn losses_tell_what_was_acknowledged_before() {
    let mut p = fresh();
    p.hand_out(4, 4, second(0));
    ack(&mut p, 3, second(0));
    p.seek(Offset(1), second(0));
    // 1..4 were acknowledged once, 4..6 never.
    let facts = p.facts(second(0), &head(6, 9), &Holes::default(), DEADLINE);
    assert_eq!(facts.progress.counters.lost.retention, 5);
    assert_eq!(facts.progress.counters.lost_never_acked, 2);
    assert_eq!((facts.progress.position, facts.backlog), (Offset(6), 3));
    let mut followed = p.clone();
    followed.follow(Offset(9), TopicId(Uuid::max()), Offset(0));
    assert_eq!(followed.counters.lost.topic_deleted, 8);
    assert_eq!(followed.counters.lost_never_acked, 5);
}

#[test]
fn only_a_rewind_after_progress_excuses_a_standstill() {
    let mut p = fresh();
    p.hand_out(4, 4, second(1));
    ack(&mut p, 3, second(2));
    assert_eq!(p.seek(Offset(0), second(3)), Seek::Backward(4));
    assert_eq!((p.clocks.last_backward_seek, p.clocks.excusing_seek), (second(3), second(3)));
    // The script that rewinds each hour while its consumer is dead.
    p.hand_out(4, 4, second(4));
    p.position = Offset(2);
    p.seek(Offset(0), second(5));
    assert_eq!((p.clocks.last_backward_seek, p.clocks.excusing_seek), (second(5), second(3)));
    assert_eq!(p.seek(Offset(1), second(6)), Seek::Forward(1));
    p.seek(Offset(0), second(7));
    assert_eq!(p.clocks.excusing_seek, second(7));
    assert_eq!(p.clocks.last_progress, second(6));
}

#[test]
fn the_first_rewind_of_all_excuses_a_standstill_once() {
    let mut p = Progress::fresh(TopicId(Uuid::nil()), Offset(5));
    p.seek(Offset(3), second(1));
    assert_eq!(p.clocks.excusing_seek, second(1));
    p.seek(Offset(2), second(2));
    assert_eq!(p.clocks.excusing_seek, second(1));
}

#[test]
fn the_front_message_counts_its_deliveries() {
    let mut p = fresh();
    for expected in 1..=3 {
        p.hand_out(2, 2, second(0));
        assert_eq!(p.clocks.front_attempts, expected);
    }
    ack(&mut p, 0, second(0));
    assert_eq!(p.clocks.front_attempts, 0);
    p.hand_out(2, 2, second(0));
    p.seek(p.position, second(0));
    assert_eq!(p.clocks.front_attempts, 1);
    p.seek(Offset(0), second(0));
    assert_eq!(p.clocks.front_attempts, 0);
}
