//! Reads everything a store still needs and says what is not as it was written: what a start reads,
//! and the sealed slots that it does not. Writes nothing.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Progress, Stage};
use crate::domain::{Entry, Offset, TopicId};
use crate::store::embedded::OpenError;
use crate::store::embedded::damage::Lost;
use crate::store::embedded::disk::{Disk, read_whole};
use crate::store::embedded::frame::{self, Kind};
use crate::store::embedded::indexes::Indexes;
use crate::store::embedded::layout::{FRAME_HEADER, Header, PAGE, Slot, Stream, index};
use crate::store::embedded::read;
use crate::store::embedded::reading::{Tail, failed};
use crate::store::embedded::record::{self, Record};
use crate::store::embedded::recovery::{self, Found};
use crate::store::embedded::rules::Rules;
use crate::store::embedded::topics::Topics;

/// How many bytes of indexes a check keeps in memory.
const INDEXES: u64 = 1 << 20;

/// What a check read and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Open topic lives.
    pub topics: u64,
    /// Entries that the topics keep.
    pub entries: u64,
    /// Subscriptions with a record.
    pub subscriptions: u64,
    /// Parts of the catalogue.
    pub scopes: u64,
    /// Frames whose checksums were verified.
    pub frames: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong. Empty = sound.
    pub damage: Vec<Damage>,
    /// Damage that an operator gave up already. The store does not know: whoever reads the
    /// catalogue moves it here.
    pub recorded: Vec<Damage>,
    /// What the catalogue names and is not there, for people; as above.
    pub references: Vec<String>,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub at: u64,
    /// What is wrong, for people.
    pub what: String,
    /// The messages that it costs; `None` if none can be named.
    pub messages: Option<Messages>,
}

/// Messages of one topic life, `from` to before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// The topic life.
    pub topic: TopicId,
    /// The first.
    pub from: Offset,
    /// Behind the last.
    pub to: Offset,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.file, self.at, self.what)
    }
}

impl Checked {
    fn damaged(&mut self, file: &str, at: u64, what: impl Into<String>) {
        let (file, what) = (file.to_owned(), what.into());
        self.damage.push(Damage { file, at, what, messages: None });
    }

    /// What lies before `start` is lost to nobody.
    fn lost(&mut self, file: &str, at: u64, (topic, from, to): Lost, start: Offset, what: &str) {
        let from = from.max(start);
        let what = format!("messages {from} to {to} of topic {topic} cannot be read: {what}");
        let messages = Some(Messages { topic, from, to });
        self.damage.push(Damage { file: file.to_owned(), at, what, messages });
    }
}

/// Checks the store in `disk`; `progress` is told as it reads.
///
/// # Errors
/// Damage that keeps a store from being opened at all; a disk that cannot be read.
pub(super) fn check(
    disk: &dyn Disk,
    progress: Progress<'_>,
) -> Result<(Found, Checked), OpenError> {
    let found = recovery::read(disk, Rules::default())?
        .ok_or_else(|| OpenError::Damaged(String::from("there is no store")))?;
    let mut checked = Checked {
        topics: found.topics.open.len() as u64,
        subscriptions: found.state.progress.len() as u64,
        scopes: found.state.scopes.len() as u64,
        ..Checked::default()
    };
    let tails = [&found.entries_end, &found.state_end];
    let all: u64 = tails.iter().flat_map(|tail| &tail.live).map(Slot::len).sum();
    let mut seen = Seen::default();
    for tail in tails {
        for slot in &tail.live {
            let mut note = |topic, entry: &Entry| {
                seen.note(&found.topics, slot.generation, topic, entry);
            };
            walk(disk, found.store, tail, slot, &mut checked, &mut note)?;
            checked.bytes += slot.len();
            progress(Stage::Checking, checked.bytes, all);
        }
    }
    checked.entries = seen.entries;
    let indexes = Indexes::new(INDEXES, Rules::default());
    indexes.only_read();
    for (id, topic) in &found.topics.open {
        let start = topic.head.start;
        for part in &topic.sealed {
            // Behind a damaged frame no frame is met, but a read may find its entries.
            if seen.all(part.generation, *id, part.base.max(start), part.end) {
                continue;
            }
            let kept = |end| end > start;
            let file = Stream::Entries.file(part.slot);
            let mut note = |at, lost: Lost, what: &str| checked.lost(&file, at, lost, start, what);
            read::examine(disk, found.store, &indexes, *id, part, &kept, &mut note);
        }
        for place in topic.open.iter().filter(|place| place.end > start) {
            if seen.all(place.generation, *id, place.base.max(start), place.end) {
                continue;
            }
            if let Err(what) = read::fetch(disk, *id, place) {
                let (file, lost) = (Stream::Entries.file(place.slot), (*id, place.base, place.end));
                checked.lost(&file, place.at, lost, start, &what);
            }
        }
    }
    Ok((found, checked))
}

/// The kept entries that were met, by the use of their slot and topic, as ranges in order.
#[derive(Default)]
struct Seen {
    ranges: HashMap<(u64, TopicId), Vec<(Offset, Offset)>>,
    entries: u64,
}

impl Seen {
    fn note(&mut self, topics: &Topics, generation: u64, id: TopicId, entry: &Entry) {
        let kept = topics.open.get(&id).is_some_and(|topic| topic.head.start < entry.end());
        if !kept {
            return;
        }
        self.entries += 1;
        let ranges = self.ranges.entry((generation, id)).or_default();
        match ranges.last_mut() {
            Some(last) if last.1 == entry.base => last.1 = entry.end(),
            _ => ranges.push((entry.base, entry.end())),
        }
    }

    /// Whether all of a range was met.
    fn all(&self, generation: u64, id: TopicId, base: Offset, end: Offset) -> bool {
        let mut from = base;
        for (begin, behind) in self.ranges.get(&(generation, id)).into_iter().flatten() {
            if *begin <= from {
                from = from.max(*behind);
            }
        }
        from >= end
    }
}

/// Every frame of one slot, from its header to its seal or to the tail.
fn walk(
    disk: &dyn Disk,
    store: u64,
    tail: &Tail,
    slot: &Slot,
    checked: &mut Checked,
    note: &mut dyn FnMut(TopicId, &Entry),
) -> Result<(), OpenError> {
    let stream = tail.stream;
    let file = stream.file(slot.number);
    let content = read_whole(disk, &file).map_err(failed("read", &file))?;
    let open = *slot == tail.slot;
    let header = Slot::parse_header(&content, stream, store, slot.number);
    // A switch that was cut left no header; the next start writes it.
    if header != Header::Intact(slot.clone()) && (tail.headed || !open) {
        checked.damaged(&file, 0, "the header is not the slot's");
        return Ok(());
    }
    let (mut at, mut sequence, mut previous) = (PAGE, slot.first, slot.previous);
    while !open || at < tail.at {
        let frame = frame::parse(&content, at, slot.life)
            .filter(|frame| frame.sequence == sequence && frame.previous == previous);
        let Some(frame) = frame else {
            checked.damaged(&file, at, format!("frame {sequence} is damaged"));
            return Ok(());
        };
        checked.frames += 1;
        let kind = Kind::known(frame.kind);
        if kind == Some(Kind::Data) {
            let payload_at = frame.at + FRAME_HEADER;
            match record::read_all(frame::payload(&content, &frame), stream) {
                Ok(placed) => placed.iter().for_each(|placed| {
                    if let Record::Entry(topic, entry) = &placed.record {
                        note(*topic, entry);
                    }
                }),
                Err(_) => checked.damaged(&file, payload_at, "its records cannot be read"),
            }
        }
        (at, sequence, previous) = (frame.end, frame.sequence + 1, frame.crc);
        if kind == Some(Kind::Seal) {
            return Ok(());
        }
        if index(at) >= content.len() {
            checked.damaged(&file, at, "the slot ends without a seal");
            return Ok(());
        }
    }
    Ok(())
}
