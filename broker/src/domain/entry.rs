//! Entries, the unit of the message log, and the head that counts them.

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::codec::{Malformed, Put, Reader};
use super::ids::Offset;
use clock::Time;

/// One commit of n packed messages to one topic life. Immutable from its first attempt on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the first message.
    pub base: Offset,
    /// When the entry was made: the `publishTime` of all its messages. Never goes back in a topic.
    pub time: Time,
    /// The messages.
    pub batch: Batch,
    /// The requests that asked to be recognised when they are sent again.
    pub marks: Vec<Mark>,
    /// The figures of the topic's last day, in the first entry of a later one.
    pub closed_day: Option<DayFigures>,
}

/// A request recognised by its id, should it come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The request's id.
    pub id: [u8; 16],
    /// Its first message, counted from the entry's first.
    pub first: u32,
    /// How many messages it brought.
    pub count: u32,
    /// First 16 bytes of SHA-256 of its body: the same id with another body is a conflict.
    pub digest: [u8; 16],
}

/// What one UTC day brought to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayFigures {
    /// Days since 1970-01-01.
    pub day: u32,
    /// Messages published on it.
    pub messages: u64,
    /// Their bytes, as AMS counts.
    pub ams_bytes: u64,
}

const ENTRY_VERSION: u8 = 1;

impl Entry {
    /// Bytes that it takes in memory, about.
    pub const fn pinned(&self) -> usize {
        size_of::<Self>() + self.batch.packed().len() + self.marks.capacity() * size_of::<Mark>()
    }

    /// The offset behind the last message.
    pub const fn end(&self) -> Offset {
        self.base.plus(self.batch.len() as u64)
    }

    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        out.extend_from_slice(self.batch.packed());
    }

    /// Appends the stored form but for the packed messages, which come last.
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        out.put_u8(ENTRY_VERSION);
        out.put_varint(self.base.0);
        out.put_varint(self.time.0);
        out.put_varint(self.marks.len() as u64);
        for mark in &self.marks {
            out.extend_from_slice(&mark.id);
            out.put_varint(u64::from(mark.first));
            out.put_varint(u64::from(mark.count));
            out.extend_from_slice(&mark.digest);
        }
        match &self.closed_day {
            None => out.put_u8(0),
            Some(day) => {
                out.put_u8(1);
                day.encode(out);
            }
        }
        out.put_varint(u64::from(self.batch.len()));
        out.put_varint(self.batch.packed().len() as u64);
    }

    /// Reads the stored form back; copies the messages.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "entry");
        if reader.u8()? != ENTRY_VERSION {
            return Err(reader.malformed());
        }
        let base = Offset(reader.varint()?);
        let time = Time(reader.varint()?);
        let mut marks = Vec::new();
        for _ in 0..reader.count()? {
            marks.push(Mark {
                id: reader.array16()?,
                first: reader.u32()?,
                count: reader.u32()?,
                digest: reader.array16()?,
            });
        }
        let closed_day = match reader.u8()? {
            0 => None,
            1 => Some(DayFigures::decode(&mut reader)?),
            _ => return Err(reader.malformed()),
        };
        let count = reader.u32()?;
        let packed = bytes::Bytes::copy_from_slice(reader.bytes()?);
        reader.end()?;
        let batch = Batch::from_packed(packed, count)?;
        Ok(Self { base, time, batch, marks, closed_day })
    }
}

impl DayFigures {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.day));
        out.put_varint(self.messages);
        out.put_varint(self.ams_bytes);
    }

    /// Reads the stored form.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { day: reader.u32()?, messages: reader.varint()?, ams_bytes: reader.varint()? })
    }
}

/// The end of a topic life and what was counted on the way there; a pure fold over its entries,
/// so a topic's counters cost no write and are exact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Oldest offset still kept. Moves only by a recorded trim.
    pub start: Offset,
    /// Next offset to be assigned; also the number of messages ever published to this life.
    pub next: Offset,
    /// Bytes published, as AMS counts them (base64 text, no attributes).
    pub ams_bytes: u64,
    /// True bytes published (payload and attributes).
    pub bytes: u64,
    /// Time of the last entry; the epoch before the first.
    pub last_time: Time,
    /// Time and message count of the last entry but one and of the last, for the rate.
    pub last_two: [(Time, u32); 2],
    /// UTC day of the last entry.
    pub day: u32,
    /// `next` when that day began.
    pub day_messages: u64,
    /// `ams_bytes` when that day began.
    pub day_ams_bytes: u64,
}

impl Head {
    /// How many messages are kept.
    pub const fn kept(&self) -> u64 {
        self.next.since(self.start)
    }

    /// The entry that `batch` becomes at `now`: log time never goes back, and the first entry of
    /// a later day carries the figures of the topic's last one.
    pub fn entry(&self, now: Time, batch: Batch, marks: Vec<Mark>) -> Entry {
        let time = now.max(self.last_time);
        let closed_day = if time.day() > self.day { self.day_figures() } else { None };
        Entry { base: self.next, time, batch, marks, closed_day }
    }

    /// What the day of the last entry brought so far; `None` before the first entry.
    pub const fn day_figures(&self) -> Option<DayFigures> {
        if self.next.0 == 0 {
            return None;
        }
        Some(DayFigures {
            day: self.day,
            messages: self.next.0.saturating_sub(self.day_messages),
            ams_bytes: self.ams_bytes.saturating_sub(self.day_ams_bytes),
        })
    }

    /// The head after `entry`, which begins at `self.next`.
    #[must_use]
    pub fn after(&self, entry: &Entry) -> Self {
        let mut head = self.clone();
        if entry.time.day() > self.day || self.next == Offset(0) {
            head.day = entry.time.day();
            head.day_messages = self.next.0;
            head.day_ams_bytes = self.ams_bytes;
        }
        head.next = entry.end();
        head.ams_bytes += entry.batch.ams_bytes();
        head.bytes += entry.batch.bytes();
        head.last_time = entry.time;
        let [_, last] = self.last_two;
        head.last_two = [last, (entry.time, entry.batch.len())];
        head
    }

    /// Appends the stored form: all but [`Self::start`], which every store keeps where it moves.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for value in [self.next.0, self.ams_bytes, self.bytes, self.last_time.0] {
            out.put_varint(value);
        }
        for (time, count) in self.last_two {
            out.put_varint(time.0);
            out.put_varint(u64::from(count));
        }
        out.put_varint(u64::from(self.day));
        out.put_varint(self.day_messages);
        out.put_varint(self.day_ams_bytes);
    }

    /// Reads the stored form of a head that starts at `start`.
    pub fn decode(reader: &mut Reader<'_>, start: Offset) -> Result<Self, Malformed> {
        Ok(Self {
            start,
            next: Offset(reader.varint()?),
            ams_bytes: reader.varint()?,
            bytes: reader.varint()?,
            last_time: Time(reader.varint()?),
            last_two: [
                (Time(reader.varint()?), reader.u32()?),
                (Time(reader.varint()?), reader.u32()?),
            ],
            day: reader.u32()?,
            day_messages: reader.varint()?,
            day_ams_bytes: reader.varint()?,
        })
    }
}

#[cfg(test)]
mod tests;
