//! Reads everything a store still needs and says what is not as it was written: what a start reads,
//! and the sealed slots that it does not. Writes nothing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Progress, Stage};
use crate::domain::{Entry, Offset, TopicId};
use crate::store::embedded::OpenError;
use crate::store::embedded::disk::{Disk, read_whole};
use crate::store::embedded::frame::{self, Kind};
use crate::store::embedded::layout::{FRAME_HEADER, Header, PAGE, Slot, Stream, index};
use crate::store::embedded::reading::{Tail, failed};
use crate::store::embedded::record::{self, Record};
use crate::store::embedded::recovery::{self, Found};
use crate::store::embedded::rules::Rules;
use crate::store::embedded::topics::{Topic, Topics};

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
    /// What is wrong: file, offset, what. Empty = sound.
    pub damage: Vec<String>,
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
    for (id, topic) in &found.topics.open {
        for (generation, slot, base, end) in held(topic) {
            let file = Stream::Entries.file(slot);
            for (from, to) in seen.missing(generation, *id, base, end) {
                let what = format!("{file}: messages {from} to {to} of topic {id} are not there");
                checked.damage.push(what);
            }
        }
    }
    Ok((found, checked))
}

/// What a topic keeps in each slot: its use, the slot, and from where to where.
fn held(topic: &Topic) -> impl Iterator<Item = (u64, u32, Offset, Offset)> {
    let start = topic.head.start;
    let sealed = topic.sealed.iter().map(|part| (part.generation, part.slot, part.base, part.end));
    let open = topic.open.iter().map(|at| (at.generation, at.slot, at.base, at.end));
    sealed
        .chain(open)
        .map(move |(generation, slot, base, end)| (generation, slot, base.max(start), end))
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

    /// What of a range was not met.
    fn missing(
        &self,
        generation: u64,
        id: TopicId,
        base: Offset,
        end: Offset,
    ) -> Vec<(Offset, Offset)> {
        let (mut from, mut missing) = (base, Vec::new());
        for (begin, behind) in self.ranges.get(&(generation, id)).into_iter().flatten() {
            if from < *begin && from < end {
                missing.push((from, end.min(*begin)));
            }
            from = from.max(*behind);
        }
        if from < end {
            missing.push((from, end));
        }
        missing
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
        checked.damage.push(format!("{file} at offset 0: the header is not the slot's"));
        return Ok(());
    }
    let (mut at, mut sequence, mut previous) = (PAGE, slot.first, slot.previous);
    while !open || at < tail.at {
        let frame = frame::parse(&content, at, slot.life)
            .filter(|frame| frame.sequence == sequence && frame.previous == previous);
        let Some(frame) = frame else {
            checked.damage.push(format!("{file} at offset {at}: frame {sequence} is damaged"));
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
                Err(_) => checked
                    .damage
                    .push(format!("{file} at offset {payload_at}: its records cannot be read")),
            }
        }
        (at, sequence, previous) = (frame.end, frame.sequence + 1, frame.crc);
        if kind == Some(Kind::Seal) {
            return Ok(());
        }
        if index(at) >= content.len() {
            checked.damage.push(format!("{file} at offset {at}: the slot ends without a seal"));
            return Ok(());
        }
    }
    Ok(())
}
