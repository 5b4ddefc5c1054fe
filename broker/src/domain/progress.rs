//! What one subscription has done: position, window, counters and clocks, in one versioned record.
//!
//! The counters live beside the state they count, so one save keeps both and they are exact
//! whatever is killed. Two policies share the record (`design.md` 4); see [`super::cumulative`].

use super::codec::{Malformed, Put, Reader};
use super::entry::Head;
use super::holes::Holes;
use super::ids::{Offset, TopicId};
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
    /// Ranges acknowledged ahead of the position (`ackMode: individual`), ascending, at most 512.
    pub acked_ahead: Vec<(Offset, Offset)>,
    /// Messages leased to a puller (`ackMode: individual`), at most 1,000.
    pub leases: Vec<Lease>,
    /// What was counted, over all topic lives.
    pub counters: Counters,
    /// When what happened last.
    pub clocks: Clocks,
    /// The last pull that handed something out; `None` also where a record is older than this
    /// field.
    pub last_handed_out: Option<HandedOut>,
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
    /// (`ams-contract.md` 10.4): a deadline of 10 fails from the 11th second on.
    pub fn holds(&self, now: Time, deadline_seconds: i64) -> bool {
        let waited = now.secs().saturating_sub(self.pulled_at.secs());
        i64::try_from(waited).is_ok_and(|waited| waited <= deadline_seconds)
    }
}

/// One message out at one puller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which message.
    pub offset: Offset,
    /// Until when, on the steady clock.
    pub until: Time,
    /// How often it was handed out.
    pub attempts: u32,
}

/// What one pull handed out, for the rate of consumption. It outlives the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOut {
    /// How many messages.
    pub messages: u64,
    /// The pull before it, also an empty one; the epoch = it was the first.
    pub after: Time,
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
    /// Acknowledgements answered 408.
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

const PROGRESS_VERSION: u8 = 1;
/// The same, ended by what the last pull handed out; written only where there is that to say.
const WITH_HANDED_OUT: u8 = 2;

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
        // What was trimmed, or given up by an operator and is met now, is lost; a position that
        // seeks back loses it again. Each message counts by what became of it and not by what was
        // noticed first, so that no count goes down. Nothing but retention trims today.
        let from = progress.position;
        let to = holes.pass(from.max(head.start)).min(head.next);
        if from < to {
            let lost = progress.lose(to);
            let damage = holes.count(from, to);
            progress.counters.lost.damage += damage;
            progress.counters.lost.retention += lost.saturating_sub(damage);
        }
        let backlog = head.next.since(progress.position);
        let outstanding = progress
            .window
            .filter(|window| window.holds(now, deadline_seconds))
            .map_or(0, |window| window.end.since(progress.position.max(window.start)));
        Facts {
            enqueued: progress.counters.enqueued_before + head.next.since(progress.origin),
            backlog,
            available: backlog,
            outstanding,
            progress,
        }
    }

    /// Moves the position to `to`, past messages that are gone; answers how many, for whoever
    /// counts them by reason.
    fn lose(&mut self, to: Offset) -> u64 {
        let lost = to.since(self.position);
        let known = self.high_water.max(self.position);
        self.counters.lost_never_acked += to.since(known).min(lost);
        self.position = to;
        self.window = None;
        self.clocks.front_attempts = 0;
        lost
    }

    /// Restarts at the start of the topic's next life. What the old life (which ended at
    /// `old_end`) still held is lost; it counts as enqueued.
    pub fn follow(&mut self, old_end: Offset, topic: TopicId, start: Offset) {
        let rest = old_end.since(self.position);
        let known = self.high_water.max(self.position);
        self.counters.enqueued_before += old_end.since(self.origin);
        self.counters.lost.topic_deleted += rest;
        self.counters.lost_never_acked += old_end.since(known).min(rest);
        self.topic = topic;
        self.origin = start;
        self.position = start;
        self.frontier = start;
        self.high_water = start;
        self.window = None;
        self.acked_ahead.clear();
        self.leases.clear();
        self.clocks.front_attempts = 0;
    }

    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(match self.last_handed_out {
            None => PROGRESS_VERSION,
            Some(_) => WITH_HANDED_OUT,
        });
        out.put_varint(self.version);
        out.put_uuid(self.topic.0);
        for offset in [self.origin, self.position, self.frontier, self.high_water] {
            out.put_varint(offset.0);
        }
        match &self.window {
            None => out.put_u8(0),
            Some(window) => {
                out.put_u8(1);
                out.put_varint(window.start.0);
                out.put_varint(window.end.0);
                out.put_varint(window.pulled_at.0);
                out.put_varint(window.ams_bytes);
                out.put_u8(u8::from(window.expired));
            }
        }
        out.put_varint(self.acked_ahead.len() as u64);
        for (from, to) in &self.acked_ahead {
            out.put_varint(from.0);
            out.put_varint(to.0);
        }
        out.put_varint(self.leases.len() as u64);
        for lease in &self.leases {
            out.put_varint(lease.offset.0);
            out.put_varint(lease.until.0);
            out.put_varint(u64::from(lease.attempts));
        }
        self.counters.encode(out);
        let clocks = &self.clocks;
        out.put_varint(clocks.front_attempts);
        for time in [
            clocks.last_pull,
            clocks.last_delivery,
            clocks.last_ack,
            clocks.last_progress,
            clocks.last_backward_seek,
            clocks.excusing_seek,
        ] {
            out.put_varint(time.0);
        }
        out.put_varint(self.writers.len() as u64);
        for (broker, sequence) in &self.writers {
            out.put_varint(*broker);
            out.put_varint(*sequence);
        }
        out.put_varint(self.requests.len() as u64);
        for request in &self.requests {
            out.extend_from_slice(request);
        }
        if let Some(last) = &self.last_handed_out {
            out.put_varint(last.messages);
            out.put_varint(last.after.0);
        }
    }

    /// Reads the stored form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "progress");
        let r = &mut reader;
        let version = r.u8()?;
        if !matches!(version, PROGRESS_VERSION | WITH_HANDED_OUT) {
            return Err(r.malformed());
        }
        let mut progress = Self {
            version: r.varint()?,
            topic: TopicId(r.uuid()?),
            origin: Offset(r.varint()?),
            position: Offset(r.varint()?),
            frontier: Offset(r.varint()?),
            high_water: Offset(r.varint()?),
            window: match r.u8()? {
                0 => None,
                1 => Some(Window {
                    start: Offset(r.varint()?),
                    end: Offset(r.varint()?),
                    pulled_at: Time(r.varint()?),
                    ams_bytes: r.varint()?,
                    expired: match r.u8()? {
                        0 => false,
                        1 => true,
                        _ => return Err(r.malformed()),
                    },
                }),
                _ => return Err(r.malformed()),
            },
            acked_ahead: Vec::new(),
            leases: Vec::new(),
            counters: Counters::default(),
            clocks: Clocks::default(),
            last_handed_out: None,
            writers: Vec::new(),
            requests: Vec::new(),
        };
        for _ in 0..r.count()? {
            progress.acked_ahead.push((Offset(r.varint()?), Offset(r.varint()?)));
        }
        for _ in 0..r.count()? {
            progress.leases.push(Lease {
                offset: Offset(r.varint()?),
                until: Time(r.varint()?),
                attempts: r.u32()?,
            });
        }
        progress.counters = Counters::decode(r)?;
        progress.clocks = Clocks {
            front_attempts: r.varint()?,
            last_pull: Time(r.varint()?),
            last_delivery: Time(r.varint()?),
            last_ack: Time(r.varint()?),
            last_progress: Time(r.varint()?),
            last_backward_seek: Time(r.varint()?),
            excusing_seek: Time(r.varint()?),
        };
        for _ in 0..r.count()? {
            progress.writers.push((r.varint()?, r.varint()?));
        }
        for _ in 0..r.count()? {
            progress.requests.push(r.array16()?);
        }
        if version == WITH_HANDED_OUT {
            progress.last_handed_out =
                Some(HandedOut { messages: r.varint()?, after: Time(r.varint()?) });
        }
        reader.end()?;
        Ok(progress)
    }
}

#[cfg(test)]
mod tests;
