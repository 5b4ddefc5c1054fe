//! Reads everything a store still needs and says what is not as it was written: what a start reads,
//! and the sealed slots that it does not. Writes nothing.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Progress, Stage};
use crate::domain::{Offset, TopicId};
use crate::store::embedded::OpenError;
use crate::store::embedded::disk::{Disk, read_whole};
use crate::store::embedded::frame::{self, Kind};
use crate::store::embedded::layout::{FRAME_HEADER, Header, PAGE, Slot, Stream, index};
use crate::store::embedded::maps::Place;
use crate::store::embedded::read;
use crate::store::embedded::reading::{Tail, failed};
use crate::store::embedded::record::{self, Record};
use crate::store::embedded::recovery::{self, Found};
use crate::store::embedded::rules::Rules;

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
    let mut records = HashSet::new();
    for tail in tails {
        for slot in &tail.live {
            walk(disk, found.store, tail, slot, &mut checked, &mut records)?;
            checked.bytes += slot.len();
            progress(Stage::Checking, checked.bytes, all);
        }
    }
    for (topic, kept) in &found.topics.open {
        for place in &kept.entries {
            checked.entries += 1;
            let seen = records.contains(&(place.slot, place.at, place.crc));
            // Behind a damaged frame no frame is found, but a read may find its entries.
            if !seen && !is_readable(disk, *topic, place) {
                let (from, to) = (place.base.max(kept.head.start), place.end);
                checked.damage.push(Damage {
                    file: Stream::Entries.file(place.slot),
                    at: place.at,
                    what: format!("messages {from} to {to} of topic {topic} cannot be read"),
                    messages: Some(Messages { topic: *topic, from, to }),
                });
            }
        }
    }
    Ok((found, checked))
}

/// Whether a read of the store would find the entry of `place`.
fn is_readable(disk: &dyn Disk, topic: TopicId, place: &Place) -> bool {
    let mut bytes = vec![0; place.len];
    let read = disk.read(&Stream::Entries.file(place.slot), place.at, &mut bytes);
    read.is_ok() && read::parse(&bytes, topic, place).is_some()
}

/// Every frame of one slot, from its header to its seal or to the tail.
fn walk(
    disk: &dyn Disk,
    store: u64,
    tail: &Tail,
    slot: &Slot,
    checked: &mut Checked,
    records: &mut HashSet<(u32, u64, u32)>,
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
                Ok(placed) => records.extend(placed.iter().filter_map(|placed| {
                    matches!(placed.record, Record::Entry(..)).then_some((
                        slot.number,
                        payload_at + placed.at as u64,
                        placed.crc,
                    ))
                })),
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
