//! Individual delivery (Google Pub/Sub's semantics): each message is leased to one puller until its
//! deadline and acknowledged by itself, in any order; what runs out or is given back comes again.
//!
//! A plain state machine over [`Progress`] (`design.md` 4), the other policy beside
//! [`super::cumulative`]. The caller folds time in first ([`Progress::facts`]).
//!
//! What holds between any two calls: the position is the oldest message that is not acknowledged;
//! every message between it and the first new one is acknowledged ahead, or has a lease (which may
//! have run out), or lies in a hole. So there are never more ranges than leases, and both are
//! bounded: where a bound is met nothing new is handed out until something is acknowledged.

use std::time::Duration;

use super::cumulative::Seek;
use super::entry::Head;
use super::holes::Holes;
use super::ids::Offset;
use super::progress::{DeadLetter, HandedOut, Lease, Progress};
use clock::Time;

/// Most messages that are handed out and not acknowledged, those that are due again included.
pub const MAX_LEASES: usize = 1_000;

/// With this many ranges acknowledged ahead of the position nothing new is handed out.
pub const MAX_RANGES: usize = 512;

/// Longest deadline that a lease is given later (`ams-contract.md` 9.6). One that ends later than
/// this, or the subscription's own deadline, from now was made by a clock that has gone back.
pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(600);

/// One message, handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// Which lease.
    pub id: LeaseId,
    /// How often the message was handed out, from 1.
    pub attempt: u32,
}

/// What names one handing out of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseId {
    /// Which message.
    pub offset: Offset,
    /// Which of all that the subscription ever handed out: another for each attempt.
    pub number: u64,
}

impl Progress {
    /// What a pull of at most `want` messages is to be handed: runs (first, behind the last),
    /// ascending, none empty. What is due again comes first, then what is new.
    pub fn takeable(&self, want: u64, head: &Head, holes: &Holes) -> Vec<(Offset, Offset)> {
        let mut runs: Vec<(Offset, Offset)> = Vec::new();
        let mut left = want;
        for lease in self.leases.iter().filter(|lease| is_due(lease)) {
            if left == 0 {
                return runs;
            }
            left -= 1;
            push(&mut runs, lease.offset, lease.offset.plus(1));
        }
        left = left.min(self.room());
        let mut at = self.first_new();
        while left > 0 {
            at = holes.pass(at);
            let end = holes.next_at(at).map_or(head.next, |hole| hole.min(head.next));
            let count = end.since(at).min(left);
            if count == 0 {
                break;
            }
            push(&mut runs, at, at.plus(count));
            left -= count;
            at = end;
        }
        runs
    }

    /// Leases each of the messages, told by offset and AMS bytes, until `until`. They are the
    /// first ones of what [`Progress::takeable`] told, in its order.
    pub fn lease_out(&mut self, taken: &[(Offset, u64)], until: Time, now: Time) -> Vec<Leased> {
        let mut out = Vec::with_capacity(taken.len());
        for (offset, ams_bytes) in taken {
            let (offset, ams_bytes) = (*offset, *ams_bytes);
            self.counters.delivered += 1;
            self.counters.delivered_bytes += ams_bytes;
            self.counters.redelivered += u64::from(offset < self.frontier);
            self.frontier = self.frontier.max(offset.plus(1));
            let number = self.counters.delivered;
            let place = self.leases.binary_search_by_key(&offset, |lease| lease.offset);
            let before = place.ok().and_then(|at| self.leases.get_mut(at));
            let attempt = before.as_ref().map_or(1, |lease| lease.attempts.saturating_add(1));
            let lease = Lease { offset, until, attempts: attempt, number, ams_bytes };
            match (before, place) {
                (Some(before), _) => *before = lease,
                (None, Ok(at) | Err(at)) => self.leases.insert(at, lease),
            }
            out.push(Leased { id: LeaseId { offset, number }, attempt });
        }
        let messages = out.len() as u64;
        self.last_handed_out = Some(HandedOut { messages, after: self.clocks.last_pull });
        self.clocks.last_pull = self.clocks.last_pull.max(now);
        self.clocks.last_delivery = now;
        self.note_front();
        out
    }

    /// Acknowledges each message whose latest lease is named, run out or not: whoever has it done
    /// last was first. One that is acknowledged is so again; an id of a lease that another one
    /// replaced counts as late; of what was never handed out, or not since a seek, as refused.
    /// Neither changes anything else. Answers whether anything is to be saved.
    pub fn ack_each(&mut self, ids: &[LeaseId], now: Time) -> bool {
        let mut changed = false;
        for id in ids {
            if self.is_acked(id.offset) {
                continue;
            }
            changed = true;
            match self.lease_at(id.offset) {
                Ok(at) => match self.leases.get(at).copied() {
                    Some(lease) if lease.number == id.number => {
                        self.leases.remove(at);
                        self.counters.acked += 1;
                        self.counters.acked_bytes += lease.ams_bytes;
                        self.clocks.last_ack = now;
                        self.clocks.last_progress = now;
                        self.settle_one(id.offset);
                    }
                    _ => self.counters.late_acks += 1,
                },
                Err(_) => self.counters.refused_acks += 1,
            }
        }
        self.note_front();
        changed
    }

    /// Which messages are due again after `attempts` attempts or more: at most `most`, ascending,
    /// with the attempts of each.
    pub fn spent(&self, attempts: u32, most: usize) -> Vec<(Offset, u32)> {
        let spent = self.leases.iter().filter(|lease| is_due(lease) && lease.attempts >= attempts);
        spent.map(|lease| (lease.offset, lease.attempts)).take(most).collect()
    }

    /// Settles each of these messages, all due, as moved to the dead-letter topic.
    pub fn bury(&mut self, offsets: &[Offset], now: Time) {
        for offset in offsets {
            if let Ok(at) = self.lease_at(*offset) {
                self.leases.remove(at);
                self.counters.dead_lettered += 1;
                self.last_dead_letter = Some(DeadLetter { offset: *offset, at: now });
                self.clocks.last_progress = now;
                self.settle_one(*offset);
            }
        }
        self.note_front();
    }

    /// Lets each named lease that still holds end at `until` instead; `None` gives the message
    /// back: it is due at once. What does not hold any more is passed over. Answers how many held.
    pub fn extend_each(&mut self, ids: &[LeaseId], until: Option<Time>) -> u64 {
        let mut held = 0;
        for id in ids {
            let at = self.lease_at(id.offset).ok();
            let lease = at.and_then(|at| self.leases.get_mut(at));
            let Some(lease) = lease.filter(|lease| lease.number == id.number && !is_due(lease))
            else {
                continue;
            };
            held += 1;
            match until {
                Some(until) => {
                    lease.until = until;
                    self.counters.extensions += 1;
                }
                None => {
                    lease.until = Time(0);
                    self.counters.nacks += 1;
                }
            }
        }
        held
    }

    /// Moves the position to `to`, which lies within the topic, and forgets all leases: what lies
    /// below is settled, what lies above comes again, acknowledged ahead or not.
    pub fn seek_each(&mut self, to: Offset, now: Time) -> Seek {
        let from = self.position;
        let skipped: u64 = self.unacked(from, to).iter().map(|(from, to)| to.since(*from)).sum();
        let above = |(first, end): &(Offset, Offset)| end.since(to.max(*first));
        let again: u64 = self.acked_ahead.iter().map(above).sum();
        self.acked_ahead.clear();
        self.leases.clear();
        let seek = self.seek(to, now);
        self.clocks.front_attempts = 0;
        // The bare position knows nothing of what was acknowledged ahead of it.
        self.counters.replayed += again;
        match seek {
            Seek::Forward(passed) => {
                self.counters.skipped -= passed - skipped;
                Seek::Forward(skipped)
            }
            Seek::Backward(replayed) => Seek::Backward(replayed + again),
            Seek::Nowhere if again > 0 => Seek::Backward(again),
            Seek::Nowhere => Seek::Nowhere,
        }
    }

    /// When the next lease runs out, if one holds.
    pub fn next_expiry(&self) -> Option<Time> {
        self.leases.iter().filter(|lease| !is_due(lease)).map(|lease| lease.until).min()
    }

    /// Whether a bound keeps new messages back.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// How many new messages may be handed out.
    fn room(&self) -> u64 {
        if self.acked_ahead.len() >= MAX_RANGES {
            return 0;
        }
        MAX_LEASES.saturating_sub(self.leases.len()) as u64
    }

    /// Behind all that was handed out since the last seek.
    fn first_new(&self) -> Offset {
        let leased = self.leases.last().map_or(self.position, |lease| lease.offset.plus(1));
        let acked = self.acked_ahead.last().map_or(self.position, |(_, end)| *end);
        leased.max(acked)
    }

    fn lease_at(&self, offset: Offset) -> Result<usize, usize> {
        self.leases.binary_search_by_key(&offset, |lease| lease.offset)
    }

    fn is_acked(&self, offset: Offset) -> bool {
        let behind = self.acked_ahead.partition_point(|(first, _)| *first <= offset);
        let range = behind.checked_sub(1).and_then(|at| self.acked_ahead.get(at));
        offset < self.position || range.is_some_and(|(_, end)| offset < *end)
    }

    /// Notes a message at or above the position as acknowledged.
    fn settle_one(&mut self, offset: Offset) {
        let next = offset.plus(1);
        if offset == self.position {
            self.pass_to(next);
            self.high_water = self.high_water.max(self.position);
            return;
        }
        let at = self.acked_ahead.partition_point(|(first, _)| *first <= offset);
        let joins_next = self.acked_ahead.get(at).is_some_and(|(first, _)| *first == next);
        let end = self.acked_ahead.get(at).filter(|_| joins_next).map_or(next, |(_, end)| *end);
        let before = at.checked_sub(1).and_then(|at| self.acked_ahead.get_mut(at));
        if let Some(before) = before.filter(|(_, end)| *end == offset) {
            before.1 = end;
            if joins_next {
                self.acked_ahead.remove(at);
            }
        } else if let Some(range) = self.acked_ahead.get_mut(at).filter(|_| joins_next) {
            range.0 = offset;
        } else {
            self.acked_ahead.insert(at, (offset, next));
        }
    }

    /// Moves the position up to `to` and on past what is acknowledged there; what it passes is
    /// forgotten.
    pub(super) fn pass_to(&mut self, to: Offset) {
        self.position = to;
        let passed = self.acked_ahead.partition_point(|(first, _)| *first <= to);
        if let Some((_, end)) = self.acked_ahead.drain(..passed).next_back() {
            self.position = to.max(end);
        }
        let passed = self.leases.partition_point(|lease| lease.offset < self.position);
        self.leases.drain(..passed);
        self.note_front();
    }

    fn note_front(&mut self) {
        let front = self.leases.first().filter(|lease| lease.offset == self.position);
        self.clocks.front_attempts = front.map_or(0, |lease| u64::from(lease.attempts));
    }

    /// What is not acknowledged from `from`, at or above the position, to before `to`: runs,
    /// ascending, none empty.
    pub(super) fn unacked(&self, from: Offset, to: Offset) -> Vec<(Offset, Offset)> {
        let mut runs = Vec::new();
        let mut at = from;
        for (first, end) in &self.acked_ahead {
            push(&mut runs, at, to.min(*first));
            at = at.max(*end);
        }
        push(&mut runs, at, to);
        runs
    }

    /// How many messages are acknowledged ahead of the position.
    pub(super) fn acked_ahead(&self) -> u64 {
        self.acked_ahead.iter().map(|(first, end)| end.since(*first)).sum()
    }

    /// Notes and counts the leases that have run out.
    pub(super) fn expire_leases(&mut self, now: Time, deadline_seconds: i64) {
        let longest = MAX_DEADLINE.max(deadline(deadline_seconds));
        for lease in self.leases.iter_mut().filter(|lease| !is_due(lease)) {
            if lease.until <= now || lease.until > now.plus(longest) {
                lease.until = Time(0);
                self.counters.expired += 1;
            }
        }
    }

    /// Forgets the leases of messages that are due again and cannot be handed out any more.
    pub(super) fn drop_unreadable(&mut self, holes: &Holes) {
        if !holes.is_empty() {
            let is_there = |lease: &Lease| holes.pass(lease.offset) == lease.offset;
            self.leases.retain(|lease| !is_due(lease) || is_there(lease));
        }
    }

    /// How many messages are leased, and how many a pull could be handed; `None` where nothing is
    /// out, so that all of the backlog could be.
    pub(super) fn leased(&self, head: &Head, holes: &Holes) -> Option<(u64, u64)> {
        if self.leases.is_empty() && self.acked_ahead.is_empty() {
            return None;
        }
        let due = self.leases.iter().filter(|lease| is_due(lease)).count() as u64;
        let new = if self.is_full() {
            0
        } else {
            let first = self.first_new();
            head.next.since(first).saturating_sub(holes.count(first, head.next))
        };
        Some(((self.leases.len() as u64).saturating_sub(due), due + new))
    }
}

/// When a lease ends that is made now.
pub fn lease_end(now: Time, deadline_seconds: i64) -> Time {
    now.plus(deadline(deadline_seconds))
}

/// A negative deadline, which AMS takes (O18), is none.
fn deadline(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

const fn is_due(lease: &Lease) -> bool {
    lease.until.0 == 0
}

/// Adds a run, to the last one where they touch; an empty one is none.
fn push(runs: &mut Vec<(Offset, Offset)>, from: Offset, to: Offset) {
    if from >= to {
        return;
    }
    match runs.last_mut().filter(|(_, end)| *end == from) {
        Some(last) => last.1 = to,
        None => runs.push((from, to)),
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
