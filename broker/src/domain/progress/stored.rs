//! The stored form of a progress. It is written in the oldest version that can say all of it, so
//! that what has nothing new to say keeps its bytes.

use super::{Clocks, Counters, DeadLetter, HandedOut, Lease, Progress, Window};
use crate::domain::codec::{Malformed, Put, Reader};
use crate::domain::ids::{Offset, TopicId};
use clock::Time;

pub(super) const FIRST: u8 = 1;
/// The same, ended by what the last pull handed out; written only where there is that to say.
const WITH_HANDED_OUT: u8 = 2;
/// Leases have numbers and bytes and are told by what differs from the one before (five bytes or
/// so each); whether the end of version 2 follows is told. Written only where there are such leases.
const WITH_NUMBERED_LEASES: u8 = 3;
/// The same, ended by the last dead letter; written only where there is one.
const WITH_DEAD_LETTER: u8 = 4;

impl Progress {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let version = match self.last_handed_out {
            _ if self.last_dead_letter.is_some() => WITH_DEAD_LETTER,
            _ if self.leases.iter().any(is_numbered) => WITH_NUMBERED_LEASES,
            None => FIRST,
            Some(_) => WITH_HANDED_OUT,
        };
        out.put_u8(version);
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
        let mut last = Lease::default();
        for lease in &self.leases {
            if version >= WITH_NUMBERED_LEASES {
                put_numbered(out, lease, &last);
            } else {
                out.put_varint(lease.offset.0);
                out.put_varint(lease.until.0);
                out.put_varint(u64::from(lease.attempts));
            }
            last = *lease;
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
        if version >= WITH_NUMBERED_LEASES {
            out.put_u8(u8::from(self.last_handed_out.is_some()));
        }
        if let Some(last) = &self.last_handed_out {
            out.put_varint(last.messages);
            out.put_varint(last.after.0);
        }
        if let Some(letter) = &self.last_dead_letter {
            out.put_varint(letter.offset.0);
            out.put_varint(letter.at.0);
        }
    }

    /// Reads the stored form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "progress");
        let r = &mut reader;
        let version = r.u8()?;
        if !(FIRST..=WITH_DEAD_LETTER).contains(&version) {
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
                    expired: flag(r)?,
                }),
                _ => return Err(r.malformed()),
            },
            acked_ahead: Vec::new(),
            leases: Vec::new(),
            counters: Counters::default(),
            clocks: Clocks::default(),
            last_handed_out: None,
            last_dead_letter: None,
            writers: Vec::new(),
            requests: Vec::new(),
        };
        for _ in 0..r.count()? {
            progress.acked_ahead.push((Offset(r.varint()?), Offset(r.varint()?)));
        }
        for _ in 0..r.count()? {
            let lease = if version >= WITH_NUMBERED_LEASES {
                let last = progress.leases.last().copied().unwrap_or_default();
                numbered(r, &last)?
            } else {
                Lease {
                    offset: Offset(r.varint()?),
                    until: Time(r.varint()?),
                    attempts: r.u32()?,
                    ..Lease::default()
                }
            };
            progress.leases.push(lease);
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
        let handed_out = match version {
            FIRST => false,
            WITH_HANDED_OUT => true,
            _ => flag(r)?,
        };
        if version == WITH_NUMBERED_LEASES && !progress.leases.iter().any(is_numbered) {
            return Err(r.malformed());
        }
        if handed_out {
            progress.last_handed_out =
                Some(HandedOut { messages: r.varint()?, after: Time(r.varint()?) });
        }
        if version == WITH_DEAD_LETTER {
            let letter = DeadLetter { offset: Offset(r.varint()?), at: Time(r.varint()?) };
            progress.last_dead_letter = Some(letter);
        }
        reader.end()?;
        Ok(progress)
    }
}

const fn is_numbered(lease: &Lease) -> bool {
    lease.number != 0 || lease.ams_bytes != 0
}

fn put_numbered(out: &mut Vec<u8>, lease: &Lease, last: &Lease) {
    out.put_varint(lease.offset.0.wrapping_sub(last.offset.0));
    out.put_varint(difference(last.until.0, lease.until.0));
    out.put_varint(u64::from(lease.attempts));
    out.put_varint(difference(last.number, lease.number));
    out.put_varint(lease.ams_bytes);
}

fn numbered(r: &mut Reader<'_>, last: &Lease) -> Result<Lease, Malformed> {
    Ok(Lease {
        offset: Offset(last.offset.0.wrapping_add(r.varint()?)),
        until: Time(apply(last.until.0, r.varint()?)),
        attempts: r.u32()?,
        number: apply(last.number, r.varint()?),
        ams_bytes: r.varint()?,
    })
}

fn flag(r: &mut Reader<'_>) -> Result<bool, Malformed> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.malformed()),
    }
}

/// How `to` differs from `from`, small where they are near in either direction.
const fn difference(from: u64, to: u64) -> u64 {
    let steps = to.wrapping_sub(from);
    // The sign goes to the lowest bit.
    (steps << 1) ^ (if steps >> 63 == 1 { u64::MAX } else { 0 })
}

/// The inverse of [`difference`].
const fn apply(from: u64, difference: u64) -> u64 {
    let steps = (difference >> 1) ^ (if difference & 1 == 1 { u64::MAX } else { 0 });
    from.wrapping_add(steps)
}
