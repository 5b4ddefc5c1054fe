//! The laws of individual delivery over any story, against a model that knows each message.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::tests::{DEADLINE, head, second};
use super::*;
use crate::domain::cumulative::laws::figures;
use crate::domain::{Counters, Facts, Hole, TopicId};

/// What may happen to a subscription. Ids are chosen among all that were ever handed out.
#[derive(Debug, Clone)]
enum Event {
    Publish(u64),
    Pull(u64),
    Ack(Vec<u16>),
    /// Of the latest pull.
    AckLatest(u8),
    Nack(Vec<u16>),
    Bury(u32),
    Extend(Vec<u16>, u64),
    Wait(u64),
    Seek(u8),
    Trim(u8),
    Damage(u8, u8),
    Recreate,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let ids = || prop::collection::vec(any::<u16>(), 1..5);
    let event = prop_oneof![
        5 => (1..9u64).prop_map(Event::Publish),
        7 => (1..7u64).prop_map(Event::Pull),
        4 => ids().prop_map(Event::Ack),
        6 => any::<u8>().prop_map(Event::AckLatest),
        3 => ids().prop_map(Event::Nack),
        2 => (1..4u32).prop_map(Event::Bury),
        3 => (ids(), 1..30u64).prop_map(|(ids, seconds)| Event::Extend(ids, seconds)),
        4 => (0..9u64).prop_map(Event::Wait),
        1 => any::<u8>().prop_map(Event::Seek),
        1 => any::<u8>().prop_map(Event::Trim),
        1 => (any::<u8>(), 1..4u8).prop_map(|(from, len)| Event::Damage(from, len)),
        1 => Just(Event::Recreate),
    ];
    prop::collection::vec(event, 1..90)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Acked,
    Buried,
    Skipped,
    Lost,
}

/// The latest lease of a message: number, end (`None` = it is due), attempts.
type Latest = (u64, Option<Time>, u32);

struct World {
    now: Time,
    head: Head,
    holes: Holes,
    progress: Progress,
    fates: Vec<Fate>,
    latest: BTreeMap<u64, Latest>,
    ids: Vec<LeaseId>,
    /// Where in `ids` the latest pull begins.
    pulled: usize,
    acked: u64,
    buried: u64,
    expired: u64,
    delivered: u64,
    late: u64,
    refused: u64,
    nacks: u64,
    extensions: u64,
}

impl World {
    fn new() -> Self {
        Self {
            now: second(0),
            head: head(0, 0),
            holes: Holes::default(),
            progress: Progress::fresh(TopicId(Uuid::nil()), Offset(0)),
            fates: Vec::new(),
            latest: BTreeMap::new(),
            ids: Vec::new(),
            pulled: 0,
            acked: 0,
            buried: 0,
            expired: 0,
            delivered: 0,
            late: 0,
            refused: 0,
            nacks: 0,
            extensions: 0,
        }
    }

    fn facts(&self) -> Facts {
        self.progress.facts(self.now, &self.head, &self.holes, DEADLINE)
    }

    fn fate(&mut self, offset: u64) -> &mut Fate {
        &mut self.fates[usize::try_from(offset).unwrap()]
    }

    fn pending(&self) -> impl Iterator<Item = u64> {
        let fates = (0..).zip(&self.fates);
        fates.filter(|(_, fate)| **fate == Fate::Pending).map(|(at, _)| at)
    }

    fn front(&self) -> Option<u64> {
        self.pending().next()
    }

    fn is_hole(&self, offset: u64) -> bool {
        self.holes.pass(Offset(offset)) != Offset(offset)
    }

    /// What time, retention and damage did, in the model and in the progress.
    fn fold(&mut self) {
        for (_, end, _) in self.latest.values_mut() {
            if end.is_some_and(|end| end <= self.now) {
                *end = None;
                self.expired += 1;
            }
        }
        while let Some(front) = self.front() {
            if front >= self.head.start.0 && !self.is_hole(front) {
                break;
            }
            *self.fate(front) = Fate::Lost;
        }
        let front = self.front().unwrap_or(self.head.next.0);
        self.latest.retain(|offset, _| *offset >= front);
        let holes = &self.holes;
        let there = |offset: u64| holes.pass(Offset(offset)) == Offset(offset);
        self.latest.retain(|offset, (_, end, _)| end.is_some() || there(*offset));
        self.progress = self.facts().progress;
    }

    fn place(&self, part: u8) -> u64 {
        self.head.start.0 + self.head.kept() * u64::from(part) / 255
    }

    /// Due ones, oldest first, then new ones.
    fn expected(&self, max: u64) -> Vec<u64> {
        let due = self.latest.iter().filter(|(_, (_, end, _))| end.is_none());
        let due: Vec<u64> = due.map(|(offset, _)| *offset).collect();
        let new = self.pending().filter(|at| !self.latest.contains_key(at) && !self.is_hole(*at));
        due.into_iter().chain(new).take(usize::try_from(max).unwrap()).collect()
    }

    fn pull(&mut self, max: u64) -> u64 {
        self.fold();
        let runs = self.progress.takeable(max, &self.head, &self.holes);
        let taken: Vec<(Offset, u64)> =
            runs.iter().flat_map(|(from, to)| (from.0..to.0).map(|at| (Offset(at), 1))).collect();
        let offsets: Vec<u64> = taken.iter().map(|(at, _)| at.0).collect();
        assert_eq!(offsets, self.expected(max));
        assert_eq!(self.facts().available > 0, !taken.is_empty());
        if taken.is_empty() {
            return 0;
        }
        let until = lease_end(self.now, DEADLINE);
        let leased = self.progress.lease_out(&taken, until, self.now);
        self.pulled = self.ids.len();
        for (leased, offset) in leased.iter().zip(offsets) {
            assert_eq!(leased.id.offset.0, offset);
            assert_eq!(*self.fate(offset), Fate::Pending, "what is settled never comes again");
            let before = self.latest.get(&offset);
            assert!(before.is_none_or(|(_, end, _)| end.is_none()), "leased to one puller only");
            let attempt = before.map_or(1, |(_, _, attempts)| attempts + 1);
            assert_eq!(leased.attempt, attempt);
            assert!(!self.ids.iter().any(|id| id.number == leased.id.number));
            self.latest.insert(offset, (leased.id.number, Some(until), attempt));
            self.ids.push(leased.id);
            self.delivered += 1;
        }
        leased.len() as u64
    }

    fn ack(&mut self, ids: &[LeaseId]) {
        self.fold();
        for id in ids {
            let offset = id.offset.0;
            let fate = self.fates.get(usize::try_from(offset).unwrap());
            if fate.is_some_and(|fate| *fate != Fate::Pending) {
                continue;
            }
            match self.latest.get(&offset) {
                Some((number, ..)) if *number == id.number => {
                    self.latest.remove(&offset);
                    *self.fate(offset) = Fate::Acked;
                    self.acked += 1;
                }
                Some(_) => self.late += 1,
                None => self.refused += 1,
            }
        }
        self.progress.ack_each(ids, self.now);
    }

    fn extend(&mut self, ids: &[LeaseId], seconds: Option<u64>) {
        self.fold();
        let until = seconds.map(|seconds| self.now.plus(Duration::from_secs(seconds)));
        for id in ids {
            if let Some((number, end, _)) = self.latest.get_mut(&id.offset.0)
                && *number == id.number
                && end.is_some()
            {
                *end = until;
                *(if until.is_some() { &mut self.extensions } else { &mut self.nacks }) += 1;
            }
        }
        self.progress.extend_each(ids, until);
    }

    fn bury(&mut self, attempts: u32) {
        self.fold();
        let spent = self.latest.iter().filter(|(_, (_, end, n))| end.is_none() && *n >= attempts);
        let spent: Vec<(Offset, u32)> =
            spent.map(|(offset, (_, _, n))| (Offset(*offset), *n)).take(2).collect();
        assert_eq!(self.progress.spent(attempts, 2), spent);
        let spent: Vec<Offset> = spent.into_iter().map(|(offset, _)| offset).collect();
        for offset in &spent {
            self.latest.remove(&offset.0);
            *self.fate(offset.0) = Fate::Buried;
            self.buried += 1;
        }
        self.progress.bury(&spent, self.now);
    }

    fn chosen(&self, which: &[u16]) -> Vec<LeaseId> {
        let id = |which: &u16| self.ids.get(usize::from(*which) % self.ids.len().max(1)).copied();
        which.iter().filter_map(id).collect()
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Publish(count) => {
                self.head.next = self.head.next.plus(*count);
                let len = usize::try_from(self.head.next.0).unwrap();
                self.fates.resize(len, Fate::Pending);
            }
            Event::Wait(seconds) => {
                self.now = self.now.plus(Duration::from_millis(seconds * 1_000 + 137));
            }
            Event::Pull(max) => drop(self.pull(*max)),
            Event::Ack(which) => self.ack(&self.chosen(which)),
            Event::AckLatest(some) => {
                let latest = self.ids[self.pulled..].iter().enumerate();
                let ids: Vec<LeaseId> =
                    latest.filter(|(at, _)| some >> (at % 8) & 1 == 1).map(|(_, id)| *id).collect();
                self.ack(&ids);
            }
            Event::Bury(attempts) => self.bury(*attempts),
            Event::Nack(which) => self.extend(&self.chosen(which), None),
            Event::Extend(which, seconds) => self.extend(&self.chosen(which), Some(*seconds)),
            Event::Trim(part) => self.head.start = Offset(self.place(*part)),
            Event::Damage(from, len) => {
                let from = self.place(*from);
                let to = from.saturating_add(u64::from(*len)).min(self.head.next.0);
                self.holes.add(Hole { from: Offset(from), to: Offset(to) });
            }
            Event::Seek(part) => {
                self.fold();
                let to = self.place(*part);
                self.progress.seek_each(Offset(to), self.now);
                self.latest.clear();
                let start = self.progress.origin.0.min(to);
                for offset in start..self.head.next.0 {
                    let pending = *self.fate(offset) == Fate::Pending;
                    match offset < to {
                        true if pending => *self.fate(offset) = Fate::Skipped,
                        true => {}
                        false => *self.fate(offset) = Fate::Pending,
                    }
                }
            }
            Event::Recreate => {
                self.fold();
                self.progress.follow(self.head.next, TopicId(Uuid::max()), Offset(0));
                self.head = head(0, 0);
                self.holes = Holes::default();
                self.fates.clear();
                self.latest.clear();
            }
        }
    }

    fn check(&self, before: &Counters) {
        let facts = self.facts();
        let p = &facts.progress;
        let c = &p.counters;
        let gone = c.acked + c.dead_lettered + c.skipped + c.lost.total();
        assert_eq!(facts.backlog + gone, facts.enqueued + c.replayed, "the books balance");
        assert!(p.position <= self.head.next && p.position >= self.head.start);
        assert!(p.frontier <= self.head.next);
        assert!(facts.outstanding + facts.available <= facts.backlog);
        assert!(c.lost_never_acked <= c.lost.total() && c.redelivered <= c.delivered);
        for (before, after) in figures(before).into_iter().zip(figures(c)) {
            assert!(before <= after, "no counter goes down");
        }
        let again = p.facts(self.now, &self.head, &self.holes, DEADLINE);
        assert_eq!(again, facts, "reading again changes nothing");
        // The shape that the record promises.
        assert!(p.leases.is_sorted_by(|one, next| one.offset < next.offset));
        assert!(p.leases.first().is_none_or(|lease| lease.offset >= p.position));
        assert!(p.acked_ahead.iter().all(|(from, to)| from < to));
        assert!(p.acked_ahead.is_sorted_by(|one, next| one.1 < next.0));
        assert!(p.acked_ahead.first().is_none_or(|(from, _)| *from > p.position));
        assert!(p.acked_ahead.last().is_none_or(|(_, to)| *to <= p.frontier));
        assert!(p.leases.iter().all(|lease| !p.is_acked(lease.offset)));
        let mut bytes = Vec::new();
        p.encode(&mut bytes);
        assert_eq!(Progress::decode(&bytes).as_ref(), Ok(p), "it is saved as it is");
    }

    /// The model and the progress say the same of each message.
    fn compare(&mut self) {
        self.fold();
        let facts = self.facts();
        let p = &facts.progress;
        let pending: Vec<u64> = self.pending().collect();
        assert_eq!(facts.backlog, pending.len() as u64);
        assert_eq!(p.position.0, pending.first().copied().unwrap_or(self.head.next.0));
        let unacked = p.unacked(p.position, self.head.next);
        let unacked: Vec<u64> = unacked.iter().flat_map(|(from, to)| from.0..to.0).collect();
        assert_eq!(unacked, pending, "nothing is lost, what is acked stays so");
        let leases = p.leases.iter().map(|lease| {
            let end = Some(lease.until).filter(|end| end.0 > 0);
            (lease.offset.0, (lease.number, end, lease.attempts))
        });
        assert_eq!(leases.collect::<BTreeMap<u64, Latest>>(), self.latest);
        let front = self.latest.get(&p.position.0).map_or(0, |(_, _, attempts)| *attempts);
        assert_eq!(p.clocks.front_attempts, u64::from(front));
        let held = self.latest.values().filter(|(_, end, _)| end.is_some()).count();
        assert_eq!(facts.outstanding, held as u64);
        let c = &p.counters;
        assert_eq!((c.acked, c.acked_bytes, c.expired), (self.acked, self.acked, self.expired));
        assert_eq!((c.delivered, c.delivered_bytes), (self.delivered, self.delivered));
        assert_eq!((c.late_acks, c.refused_acks), (self.late, self.refused));
        assert_eq!((c.nacks, c.extensions), (self.nacks, self.extensions));
        assert_eq!(c.dead_lettered, self.buried);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_message_is_where_the_model_says(events in events()) {
        let mut world = World::new();
        for event in &events {
            let before = world.facts().progress.counters;
            world.happens(event);
            world.check(&before);
            world.compare();
        }
    }

    #[test]
    fn being_watched_makes_no_difference(events in events()) {
        let (mut watched, mut left_alone) = (World::new(), World::new());
        for event in &events {
            watched.happens(event);
            watched.fold();
            left_alone.happens(event);
            let (mut one, mut other) = (watched.facts(), left_alone.facts());
            // When a trim and a deadline both took a lease, only who looked knows which was first;
            // who did not counts it as expired.
            let expired = |facts: &mut Facts| std::mem::take(&mut facts.progress.counters.expired);
            prop_assert!(expired(&mut one) <= expired(&mut other));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn whatever_happened_all_that_is_left_comes_and_then_nothing(events in events()) {
        let mut world = World::new();
        for event in &events {
            world.happens(event);
        }
        let mut rounds = 0;
        loop {
            world.now = world.now.plus(Duration::from_secs(700));
            if world.pull(5) == 0 {
                break;
            }
            let ids = world.ids[world.pulled..].to_vec();
            world.ack(&ids);
            rounds += 1;
            prop_assert!(rounds < 1_000, "it ends");
        }
        world.compare();
        prop_assert!(world.pending().next().is_none());
        let p = world.facts().progress;
        prop_assert!(p.leases.is_empty() && p.acked_ahead.is_empty());
    }
}
