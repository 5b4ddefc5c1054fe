//! What one subscription has done: position, window, counters and clocks, in one versioned record.
//!
//! The counters live beside the state they count, so one save keeps both and they are exact
//! whatever is killed. Two policies share the record (`design.md` 4); see [`super::cumulative`] and
//! [`super::individual`]: what one of them alone uses is empty under the other.

use super::codec::{Malformed, Put, Reader};
use super::entry::Head;
use super::holes::Holes;
use super::ids::{Offset, TopicId};
use super::individual::MAX_DEADLINE;
use clock::Time;

/// The saved state of one subscription. An absent record means [`Progress::fresh`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How often it was saved; 0 = never.
    pub version: u64,
    /// The topic life that the offsets below belong to.
    pub topic: TopicId,
    /// Where the subscription began in this life.
    pub origin: Offset,
    /// Everything below is acknowledged, skipped or lost.
    pub position: Offset,
    /// End of the highest window ever handed out: what lies below is a redelivery.
    pub frontier: Offset,
    /// Highest position ever reached by acknowledging.
    pub high_water: Offset,
    /// What the last pull handed out (`ackMode: cumulative`).
    pub window: Option<Window>,
    /// Ranges acknowledged ahead of the position (`ackMode: individual`), ascending, none touching
    /// another or the position. Never more than there are leases.
    pub acked_ahead: Vec<(Offset, Offset)>,
    /// Messages handed out and not acknowledged (`ackMode: individual`), ascending, at most
    /// [`super::individual::MAX_LEASES`].
    pub leases: Vec<Lease>,
    /// What was counted, over all topic lives.
    pub counters: Counters,
    /// When what happened last.
    pub clocks: Clocks,
    /// The last pull that handed something out; `None` also where a record is older than this
    /// field.
    pub last_handed_out: Option<HandedOut>,
    /// The last message moved to the dead-letter topic in this life of the topic; `None` also where
    /// a record is older than this field.
    pub last_dead_letter: Option<DeadLetter>,
    /// Last saved sequence of each broker, at most 8.
    pub writers: Vec<(u64, u64)>,
    /// The last 16 forwarded requests that are in this state.
    pub requests: Vec<[u8; 16]>,
}

/// What a pull handed out, until its deadline or the next pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First offset handed out.
    pub start: Offset,
    /// Behind the last offset handed out.
    pub end: Offset,
    /// When the pull finished, on the steady clock.
    pub pulled_at: Time,
    /// Bytes of all its messages, as AMS counts.
    pub ams_bytes: u64,
    /// Its deadline passed with messages unacknowledged, and that is counted.
    pub expired: bool,
}

impl Window {
    /// Whether its deadline still holds. Whole seconds are compared, as AMS does
    /// (`ams-contract.md` 10.4): a deadline of 10 fails from the 11th second on. A clock that went
    /// back makes nothing late, but by more than the longest deadline: then it was wrong, as for
    /// leases, and the window would stay open until that time comes.
    pub fn holds(&self, now: Time, deadline_seconds: i64) -> bool {
        let ahead = self.pulled_at.secs().saturating_sub(now.secs());
        let waited = now.secs().saturating_sub(self.pulled_at.secs());
        ahead <= MAX_DEADLINE.as_secs()
            && i64::try_from(waited).is_ok_and(|waited| waited <= deadline_seconds)
    }
}

/// One message that was handed out and is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    /// Which message.
    pub offset: Offset,
    /// Until when, on the steady clock; the epoch = it ran out or was given back, and the message
    /// is due again.
    pub until: Time,
    /// How often it was handed out.
    pub attempts: u32,
    /// Which of all that the subscription ever handed out it is, from 1: what tells the latest
    /// lease of a message from those before. 0 in records older than this field.
    pub number: u64,
    /// The message's bytes, as AMS counts; 0 in records older than this field.
    pub ams_bytes: u64,
}

/// What one pull handed out, for the rate of consumption. It outlives the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOut {
    /// How many messages.
    pub messages: u64,
    /// The pull before it, also an empty one; the epoch = it was the first.
    pub after: Time,
}

/// A message that was moved to the dead-letter topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which message.
    pub offset: Offset,
    /// When it was settled.
    pub at: Time,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident),+ $(,)?) => {
        /// Cumulative counts of a subscription, over all lives of its topic. Never go down.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $field: u64,)+
            /// Messages that went without being acknowledged, by reason.
            pub lost: Lost,
        }

        impl Counters {
            fn encode(&self, out: &mut Vec<u8>) {
                $(out.put_varint(self.$field);)+
                self.lost.encode(out);
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self { $($field: reader.varint()?,)+ lost: Lost::decode(reader)? })
            }
        }
    };
}

counters! {
    /// Messages that became eligible in earlier lives of the topic.
    enqueued_before,
    /// Messages handed out, repeats included.
    delivered,
    /// Bytes handed out, as AMS counts.
    delivered_bytes,
    /// Messages handed out below the frontier.
    redelivered,
    /// Messages that the position passed by an acknowledgement.
    acked,
    /// Their bytes, as AMS counts.
    acked_bytes,
    /// Acknowledgements that came too late: answered 408, or of a lease that another one replaced.
    late_acks,
    /// Acknowledgements refused for another reason.
    refused_acks,
    /// Messages given back.
    nacks,
    /// Deadlines extended.
    extensions,
    /// Deadlines that ran out: leases, or the window once per pull.
    expired,
    /// Messages moved to a dead-letter topic.
    dead_lettered,
    /// Messages passed by seeking forward.
    skipped,
    /// Messages brought back by seeking backward.
    replayed,
    /// Lost messages (any reason) that had never been acknowledged.
    lost_never_acked,
}

/// Messages lost to a subscription, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// They grew older than the topic keeps.
    pub retention: u64,
    /// The topic outgrew its size.
    pub overflow: u64,
    /// The topic was deleted.
    pub topic_deleted: u64,
    /// They were damaged on disk and an operator recorded the hole.
    pub damage: u64,
    /// Somebody purged them.
    pub purge: u64,
}

impl Lost {
    /// All reasons together.
    pub const fn total(&self) -> u64 {
        self.retention + self.overflow + self.topic_deleted + self.damage + self.purge
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for count in [self.retention, self.overflow, self.topic_deleted, self.damage, self.purge] {
            out.put_varint(count);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            retention: reader.varint()?,
            overflow: reader.varint()?,
            topic_deleted: reader.varint()?,
            damage: reader.varint()?,
            purge: reader.varint()?,
        })
    }
}

/// When what happened last; the epoch = never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// Deliveries of the front message (the oldest unacknowledged one) since it became the front.
    pub front_attempts: u64,
    /// Any admitted pull. An empty one writes nothing: it is saved with the next save.
    pub last_pull: Time,
    /// A pull that handed something out.
    pub last_delivery: Time,
    /// An accepted acknowledgement.
    pub last_ack: Time,
    /// The position moved by an acknowledgement or a forward seek.
    pub last_progress: Time,
    /// A backward seek.
    pub last_backward_seek: Time,
    /// The last backward seek with progress between it and the one before: only such a one
    /// restarts the stall clock, or a script that rewinds each hour would hide a dead consumer.
    pub excusing_seek: Time,
}

/// What can be said about a subscription at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The progress with what time alone did to it folded in; saved with the next save.
    pub progress: Progress,
    /// Messages that became eligible, over all topic lives.
    pub enqueued: u64,
    /// Messages not acknowledged.
    pub backlog: u64,
    /// Messages that a pull could hand out now.
    pub available: u64,
    /// Messages handed out whose deadline still holds.
    pub outstanding: u64,
}

impl Progress {
    /// The state of a subscription that nobody has touched: what an absent record means.
    pub fn fresh(topic: TopicId, start: Offset) -> Self {
        Self {
            version: 0,
            topic,
            origin: start,
            position: start,
            frontier: start,
            high_water: start,
            window: None,
            acked_ahead: Vec::new(),
            leases: Vec::new(),
            counters: Counters::default(),
            clocks: Clocks::default(),
            last_handed_out: None,
            last_dead_letter: None,
            writers: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// What is true at `now`, given the head and the holes of the *same topic life*. Pure: reading
    /// it a hundred times or never makes no difference to what is saved next.
    pub fn facts(&self, now: Time, head: &Head, holes: &Holes, deadline_seconds: i64) -> Facts {
        let mut progress = self.clone();
        if let Some(window) = &mut progress.window
            && !window.expired
            && progress.position < window.end
            && !window.holds(now, deadline_seconds)
        {
            window.expired = true;
            progress.counters.expired += 1;
        }
        progress.expire_leases(now, deadline_seconds);
        // What was trimmed, or given up by an operator and is met now, is lost; a position that
        // seeks back loses it again. Each message counts by what became of it and not by what was
        // noticed first, so that no count goes down. Nothing but retention trims today.
        loop {
            // What was acknowledged ahead may end at the next hole.
            let from = progress.position;
            let to = holes.pass(from.max(head.start)).min(head.next);
            if from >= to {
                break;
            }
            progress.lose(to, holes);
        }
        progress.drop_unreadable(holes);
        let backlog = head.next.since(progress.position).saturating_sub(progress.acked_ahead());
        let in_window = progress
            .window
            .filter(|window| window.holds(now, deadline_seconds))
            .map_or(0, |window| window.end.since(progress.position.max(window.start)));
        let (outstanding, available) = progress.leased(head, holes).unwrap_or((in_window, backlog));
        Facts {
            enqueued: progress.counters.enqueued_before + head.next.since(progress.origin),
            backlog,
            available,
            outstanding,
            progress,
        }
    }

    /// Moves the position to `to`, past messages that are gone, and counts them by reason.
    fn lose(&mut self, to: Offset, holes: &Holes) {
        let known = self.high_water.max(self.position);
        for (from, to) in self.unacked(self.position, to) {
            let (lost, damage) = (to.since(from), holes.count(from, to));
            self.counters.lost.damage += damage;
            self.counters.lost.retention += lost.saturating_sub(damage);
            self.counters.lost_never_acked += to.since(known.max(from));
        }
        self.window = None;
        self.pass_to(to);
    }

    /// Restarts at the start of the topic's next life. What the old life (which ended at
    /// `old_end`) still held is lost; it counts as enqueued.
    pub fn follow(&mut self, old_end: Offset, topic: TopicId, start: Offset) {
        let known = self.high_water.max(self.position);
        self.counters.enqueued_before += old_end.since(self.origin);
        for (from, to) in self.unacked(self.position, old_end) {
            self.counters.lost.topic_deleted += to.since(from);
            self.counters.lost_never_acked += to.since(known.max(from));
        }
        self.topic = topic;
        self.origin = start;
        self.position = start;
        self.frontier = start;
        self.high_water = start;
        self.window = None;
        self.acked_ahead.clear();
        self.leases.clear();
        self.last_dead_letter = None;
        self.clocks.front_attempts = 0;
    }
}

mod stored;
#[cfg(test)]
mod tests;
