//! The laws of cumulative delivery over any story: nothing is lost, and the books balance.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::tests::{DEADLINE, ack, fresh, head, moves, second};
use super::*;
use crate::domain::{Counters, Facts, Head, Hole, Holes, Lost, TopicId};

/// What may happen to a subscription. Places are parts of the topic, so that they hit it often.
#[derive(Debug, Clone)]
enum Event {
    Publish(u64),
    Pull(u64),
    /// Near the position.
    Ack(i64),
    Wait(u64),
    Seek(u8),
    Trim(u8),
    /// An operator gives messages up.
    Damage(u8, u8),
    /// The topic is deleted and made again; it holds and has dropped some when it is noticed.
    Recreate(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1..8u64).prop_map(Event::Publish),
        5 => (1..6u64).prop_map(Event::Pull),
        8 => (-4..8i64).prop_map(Event::Ack),
        4 => (0..14u64).prop_map(Event::Wait),
        2 => any::<u8>().prop_map(Event::Seek),
        2 => any::<u8>().prop_map(Event::Trim),
        1 => (any::<u8>(), 1..6u8).prop_map(|(from, len)| Event::Damage(from, len)),
        1 => (0..6u64).prop_map(Event::Recreate),
    ];
    prop::collection::vec(event, 1..80)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Acked,
    Skipped,
    Lost,
}

/// One topic and one subscription, with the fate of each message told by the documents.
struct World {
    now: Time,
    head: Head,
    holes: Holes,
    progress: Progress,
    /// Of each message of this life.
    fates: Vec<Fate>,
    /// First, behind the last, second of the pull, counted as expired.
    window: Option<(u64, u64, u64, bool)>,
    acked: u64,
    expired: u64,
    delivered: u64,
    late: u64,
    refused: u64,
    /// Whether the progress is folded and looked at after each event, or only when it must be.
    watched: bool,
}

impl World {
    fn new(start: u64, watched: bool) -> Self {
        Self {
            now: second(0),
            head: head(0, start),
            holes: Holes::default(),
            progress: Progress::fresh(TopicId(Uuid::nil()), Offset(start)),
            // What was there before the subscription is none of its business.
            fates: vec![Fate::Skipped; usize::try_from(start).unwrap()],
            window: None,
            acked: 0,
            expired: 0,
            delivered: 0,
            late: 0,
            refused: 0,
            watched,
        }
    }

    /// What time and retention did, in the progress and in the model.
    fn fold(&mut self) {
        let position = self.position();
        if let Some((_, end, pulled, expired)) = &mut self.window {
            let late = self.now.secs() - *pulled > DEADLINE.unsigned_abs();
            if late && !*expired && position < *end {
                *expired = true;
                self.expired += 1;
            }
        }
        let start = self.head.start.0;
        if position < start {
            self.window = None;
            self.mark(position, start, Fate::Lost);
        }
        let behind = self.holes.pass(Offset(position.max(start))).0;
        if position.max(start) < behind {
            self.window = None;
            self.mark(position, behind, Fate::Lost);
        }
        self.progress = self.facts().progress;
    }

    fn facts(&self) -> Facts {
        self.progress.facts(self.now, &self.head, &self.holes, DEADLINE)
    }

    fn position(&self) -> u64 {
        self.progress.position.0
    }

    fn mark(&mut self, from: u64, to: u64, fate: Fate) {
        let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
        self.fates[range].fill(fate);
    }

    fn place(&self, part: u8) -> u64 {
        self.head.start.0 + self.head.kept() * u64::from(part) / 255
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Publish(count) => {
                self.head.next = self.head.next.plus(count);
                self.fates
                    .resize(self.fates.len() + usize::try_from(count).unwrap(), Fate::Pending);
            }
            Event::Wait(seconds) => {
                self.now = self.now.plus(Duration::from_millis(seconds * 1_000 + 137));
            }
            Event::Trim(part) => self.head.start = Offset(self.place(part)),
            Event::Damage(from, len) => {
                let from = self.place(from);
                let to = from.saturating_add(u64::from(len)).min(self.head.next.0);
                self.holes.add(Hole { from: Offset(from), to: Offset(to) });
            }
            Event::Pull(max) => {
                self.fold();
                let start = self.position();
                let hole = self.holes.next_at(Offset(start)).map_or(u64::MAX, |hole| hole.0);
                let count = max.min(self.facts().available).min(hole - start);
                if count > 0 {
                    self.progress.hand_out(count, count, self.now);
                    self.window = Some((start, start + count, self.now.secs(), false));
                    self.delivered += count;
                    assert_eq!(self.position(), start, "a pull moves nothing");
                }
            }
            Event::Ack(near) => {
                self.fold();
                self.ack(self.position().saturating_add_signed(near));
            }
            Event::Seek(part) => {
                self.fold();
                let (from, to) = (self.position(), self.place(part));
                self.progress.seek(Offset(to), self.now);
                self.window = None;
                if to > from {
                    self.mark(from, to, Fate::Skipped);
                } else {
                    self.mark(to, from, Fate::Pending);
                }
            }
            Event::Recreate(start) => {
                self.fold();
                self.progress.follow(self.head.next, TopicId(Uuid::max()), Offset(start));
                self.head = head(start, start);
                self.holes = Holes::default();
                self.fates = vec![Fate::Lost; usize::try_from(start).unwrap()];
                self.window = None;
            }
        }
    }

    /// The table of `ams-contract.md` 10.4 with the verdicts O1 and O2.
    fn ack(&mut self, highest: u64) {
        let position = self.position();
        let expected = match self.window {
            None => AckVerdict::NothingPending,
            Some((start, end, ..)) if !(start..end).contains(&highest) => AckVerdict::NotInWindow,
            Some(_) if highest < position => AckVerdict::Repeats,
            Some((_, _, pulled, _)) if self.now.secs() - pulled > DEADLINE.unsigned_abs() => {
                AckVerdict::TooLate
            }
            Some(_) => moves(position, highest + 1),
        };
        let verdict = ack(&mut self.progress, highest, self.now);
        assert_eq!(verdict, expected);
        match verdict {
            AckVerdict::Moves(from, to) => {
                self.acked += to.since(from);
                self.mark(from.0, to.0, Fate::Acked);
            }
            AckVerdict::TooLate => self.late += 1,
            AckVerdict::NothingPending | AckVerdict::NotInWindow => self.refused += 1,
            AckVerdict::Repeats => {}
        }
    }

    /// What holds at every moment.
    fn check(&self, before: &Counters) {
        let facts = self.facts();
        let p = &facts.progress;
        let c = &p.counters;
        let gone = c.acked + c.skipped + c.lost.total();
        assert_eq!(facts.backlog + gone, facts.enqueued + c.replayed, "the books balance");
        assert_eq!(facts.backlog, self.head.next.0 - p.position.0);
        assert!(p.position <= self.head.next, "no position passes the head");
        assert!(p.position >= self.head.start, "nor lies below the start");
        assert!(facts.outstanding <= facts.backlog && facts.available == facts.backlog);
        assert!(c.lost_never_acked <= c.lost.total());
        for (before, after) in figures(before).into_iter().zip(figures(c)) {
            assert!(before <= after, "no counter goes down");
        }
        // Reading again changes nothing.
        let again = p.facts(self.now, &self.head, &self.holes, DEADLINE);
        assert_eq!((&again, again.backlog), (&facts, facts.backlog));
        // Nothing is lost in silence: what is not settled lies in front of the position.
        let position = usize::try_from(self.position()).unwrap();
        assert!(self.fates[..position].iter().all(|fate| *fate != Fate::Pending));
        assert!(self.fates[position..].iter().all(|fate| *fate == Fate::Pending));
        if let Some(window) = p.window {
            assert!(window.start <= p.position && p.position <= window.end);
            assert!(window.end <= self.head.next && window.end <= p.frontier);
        }
    }

    fn check_counts(&mut self) {
        self.fold();
        let c = &self.progress.counters;
        assert_eq!(
            (c.acked, c.acked_bytes, c.expired, c.delivered, c.delivered_bytes),
            (self.acked, self.acked, self.expired, self.delivered, self.delivered)
        );
        assert_eq!((c.late_acks, c.refused_acks), (self.late, self.refused));
        assert!(c.redelivered <= c.delivered);
    }
}

/// All counters; whoever adds one adds it here.
pub(in crate::domain) fn figures(counters: &Counters) -> [u64; 20] {
    let Counters {
        enqueued_before,
        delivered,
        delivered_bytes,
        redelivered,
        acked,
        acked_bytes,
        late_acks,
        refused_acks,
        nacks,
        extensions,
        expired,
        dead_lettered,
        skipped,
        replayed,
        lost_never_acked,
        lost: Lost { retention, overflow, topic_deleted, damage, purge },
    } = *counters;
    [
        enqueued_before,
        delivered,
        delivered_bytes,
        redelivered,
        acked,
        acked_bytes,
        late_acks,
        refused_acks,
        nacks,
        extensions,
        expired,
        dead_lettered,
        skipped,
        replayed,
        lost_never_acked,
        retention,
        overflow,
        topic_deleted,
        damage,
        purge,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_and_the_books_balance(
        events in events(),
        start in 0..5u64,
        watched: bool,
    ) {
        let mut world = World::new(start, watched);
        for event in &events {
            let before = world.facts().progress.counters;
            world.happens(event);
            if world.watched {
                world.fold();
            }
            world.check(&before);
        }
        world.check_counts();
    }

    #[test]
    fn being_watched_makes_no_difference(events in events(), start in 0..5u64) {
        let (mut watched, mut left_alone) = (World::new(start, true), World::new(start, false));
        for event in &events {
            watched.happens(event);
            watched.fold();
            left_alone.happens(event);
            let (mut one, mut other) = (watched.facts(), left_alone.facts());
            // When a trim and a deadline both took a window, only who looked knows which was
            // first; who did not counts it as expired.
            let expired = |facts: &mut Facts| std::mem::take(&mut facts.progress.counters.expired);
            prop_assert!(expired(&mut one) <= expired(&mut other));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn what_is_pulled_and_acked_to_the_end_is_each_message_once(
        counts in prop::collection::vec(1..9u64, 1..20),
        sizes in prop::collection::vec(1..5u64, 1..200),
    ) {
        let next: u64 = counts.iter().sum();
        let topic = head(0, next);
        let mut p = fresh();
        for size in sizes.into_iter().cycle() {
            let count = size.min(p.facts(second(0), &topic, &Holes::default(), DEADLINE).available);
            if count == 0 {
                break;
            }
            p.hand_out(count, count, second(0));
            let last = p.position.0 + count - 1;
            ack(&mut p, last, second(0));
        }
        let c = &p.counters;
        prop_assert_eq!((c.delivered, c.acked, c.redelivered), (next, next, 0));
        prop_assert_eq!(p.high_water, topic.next);
    }
}
