//! What the entry log adds up to in memory, and nothing that is not on disk: of each topic its
//! head, one line for each sealed slot that holds entries of it, and the places of its entries in
//! the open slot. Where entries lie in a sealed slot is in that slot's index.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::layout::Slot;
use super::record::Record;
use crate::domain::{Entry, Head, Offset, Time, TopicId};

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lies {
    /// The use of its slot.
    pub(super) generation: u64,
    /// That slot.
    pub(super) slot: u32,
    /// Where it begins in the slot.
    pub(super) at: u64,
    /// Its length.
    pub(super) len: usize,
    /// Its CRC.
    pub(super) crc: u32,
}

impl Lies {
    /// The place of an entry whose record lies here.
    pub(super) fn place(self, entry: &Entry) -> Place {
        let Self { generation, slot, at, len, crc } = self;
        let packed = entry.batch.packed().len() as u64;
        let (base, end, time) = (entry.base, entry.end(), entry.time);
        Place { base, end, time, packed, generation, slot, at, len, crc }
    }
}

/// Where one entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Offset of its first message.
    pub(super) base: Offset,
    /// Behind its last message.
    pub(super) end: Offset,
    /// Its time.
    pub(super) time: Time,
    /// Packed bytes of its messages.
    pub(super) packed: u64,
    /// The use of the slot of its record.
    pub(super) generation: u64,
    /// That slot.
    pub(super) slot: u32,
    /// Where its record begins in the slot.
    pub(super) at: u64,
    /// The record's length.
    pub(super) len: usize,
    /// The record's CRC.
    pub(super) crc: u32,
}

/// What a topic has in one sealed slot: entries without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The use of the slot.
    pub(super) generation: u64,
    /// That slot.
    pub(super) slot: u32,
    /// Offset of its first message here.
    pub(super) base: Offset,
    /// Behind its last message here.
    pub(super) end: Offset,
    /// Time of its first entry here.
    pub(super) first: Time,
    /// Time of its last entry here.
    pub(super) last: Time,
    /// Packed bytes of its entries here.
    pub(super) packed: u64,
}

/// An open topic life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topic {
    /// Its end and counts.
    pub(super) head: Head,
    /// Its sealed slots, in order; the first may begin before the start.
    pub(super) sealed: VecDeque<Part>,
    /// Its kept entries in the open slot, in order.
    pub(super) open: VecDeque<Place>,
}

/// Where entries are to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// Among those of the open slot, here.
    Open(usize),
    /// In a sealed slot's index.
    Sealed(Part),
}

impl Topic {
    /// Moves the start; answers the uses of slots in which it has nothing any more.
    fn trim(&mut self, to: Offset) -> Vec<u64> {
        self.head.start = self.head.start.max(to);
        let start = self.head.start;
        let mut gone = Vec::new();
        while let Some(part) = self.sealed.pop_front_if(|part| part.end <= start) {
            gone.push(part.generation);
        }
        let last = self.open.back().map(|place| place.generation);
        while self.open.pop_front_if(|place| place.end <= start).is_some() {}
        gone.extend(last.filter(|_| self.open.is_empty()));
        gone
    }

    /// Slots are sealed whose use is before this one; answers the places that their indexes must
    /// hold.
    pub(super) fn seal_before(&mut self, generation: u64) -> VecDeque<Place> {
        let sealed = self.open.partition_point(|place| place.generation < generation);
        let still_open = self.open.split_off(sealed);
        let places = std::mem::replace(&mut self.open, still_open);
        for place in &places {
            match self.sealed.back_mut() {
                Some(part) if part.generation == place.generation => {
                    (part.end, part.last) = (place.end, place.time);
                    part.packed += place.packed;
                }
                _ => self.sealed.push_back(Part {
                    generation: place.generation,
                    slot: place.slot,
                    base: place.base,
                    end: place.end,
                    first: place.time,
                    last: place.time,
                    packed: place.packed,
                }),
            }
        }
        places
    }

    /// Where the first kept entry lies that ends behind `from`.
    pub(super) fn look(&self, from: Offset) -> Option<Look> {
        let from = from.max(self.head.start);
        let part = self.sealed.partition_point(|part| part.end <= from);
        if let Some(part) = self.sealed.get(part) {
            return Some(Look::Sealed(*part));
        }
        let first = self.open.partition_point(|place| place.end <= from);
        (first < self.open.len()).then_some(Look::Open(first))
    }

    /// Where the first kept entry lies whose time is at or after `time`.
    pub(super) fn look_for_time(&self, time: Time) -> Option<Look> {
        let part = self.sealed.partition_point(|part| part.last < time);
        if let Some(part) = self.sealed.get(part) {
            return Some(Look::Sealed(*part));
        }
        let first = self.open.partition_point(|place| place.time < time);
        (first < self.open.len()).then_some(Look::Open(first))
    }
}

/// The places of a topic in a sealed slot, in order.
pub(super) type Places = Arc<[Place]>;

/// The places of a slot that was sealed, for its index.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The slot.
    pub(super) slot: Slot,
    /// Each topic's entries; the topics in order of their ids.
    pub(super) topics: Vec<(TopicId, Places)>,
}

/// What the entry log adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topics {
    /// Open lives.
    pub(super) open: HashMap<TopicId, Box<Topic>>,
    /// Lives that were closed: an id is never used twice.
    pub(super) closed: HashSet<TopicId>,
    /// Lives that replay met without knowing them: each must be closed before it ends.
    unknown: HashSet<TopicId>,
    /// How many topics keep something in each use of a slot.
    kept: HashMap<u64, u64>,
    /// Lives that have had entries in the open slot.
    in_open: HashSet<TopicId>,
}

impl Topics {
    /// Whether a use of a slot still holds what a topic needs.
    pub(super) fn holds(&self, generation: u64) -> bool {
        self.kept.contains_key(&generation)
    }

    /// A life as a snapshot has it.
    pub(super) fn restore(&mut self, id: TopicId, topic: Topic) {
        let open = topic.open.front().map(|place| place.generation);
        for generation in topic.sealed.iter().map(|part| part.generation).chain(open) {
            *self.kept.entry(generation).or_default() += 1;
        }
        if open.is_some() {
            self.in_open.insert(id);
        }
        self.open.insert(id, Box::new(topic));
    }

    fn let_go(&mut self, gone: impl IntoIterator<Item = u64>) {
        for generation in gone {
            if let Some(kept) = self.kept.get_mut(&generation) {
                *kept = kept.saturating_sub(1);
                if *kept == 0 {
                    self.kept.remove(&generation);
                }
            }
        }
    }

    /// A life begins.
    pub(super) fn create(&mut self, topic: TopicId) {
        self.open.entry(topic).or_default();
    }

    /// A life ends.
    pub(super) fn close(&mut self, topic: TopicId) {
        if let Some(gone) = self.open.remove(&topic) {
            self.let_go(gone.sealed.iter().map(|part| part.generation));
            self.let_go(gone.open.front().map(|place| place.generation));
        }
        self.in_open.remove(&topic);
        self.unknown.remove(&topic);
        self.closed.insert(topic);
    }

    /// An entry that begins at the head, in the open slot.
    pub(super) fn append(&mut self, id: TopicId, entry: &Entry, place: Place) {
        if let Some(topic) = self.open.get_mut(&id) {
            topic.head = topic.head.after(entry);
            if topic.open.is_empty() {
                *self.kept.entry(place.generation).or_default() += 1;
                self.in_open.insert(id);
            }
            topic.open.push_back(place);
        }
    }

    /// The start moves.
    pub(super) fn trim(&mut self, topic: TopicId, to: Offset) {
        if let Some(found) = self.open.get_mut(&topic) {
            let gone = found.trim(to);
            if found.open.is_empty() {
                self.in_open.remove(&topic);
            }
            self.let_go(gone);
        }
    }

    /// Slots are sealed whose use is before this one: what follows lies in this or a later one.
    /// Answers, in order of the topics' ids, what their indexes must hold.
    pub(super) fn seal_before(&mut self, generation: u64) -> Vec<(TopicId, Places)> {
        let mut topics = Vec::with_capacity(self.in_open.len());
        for id in std::mem::take(&mut self.in_open) {
            let Some(topic) = self.open.get_mut(&id) else { continue };
            let places = topic.seal_before(generation);
            if !topic.open.is_empty() {
                self.in_open.insert(id);
            }
            if !places.is_empty() {
                topics.push((id, Places::from(Vec::from(places))));
            }
        }
        topics.sort_unstable_by_key(|(topic, _)| topic.0);
        topics
    }

    /// Applies a record found on disk by the rules of `log.md` 2 step 7; `at` tells where it lies.
    ///
    /// # Errors
    /// What is wrong, for the refusal.
    pub(super) fn replay(&mut self, record: &Record, at: Lies) -> Result<(), String> {
        match record {
            Record::Create(topic) => self.create(*topic),
            Record::Close(topic, _) => self.close(*topic),
            Record::Trim(topic, to) => match self.open.get_mut(topic) {
                None => {
                    self.unknown.insert(*topic);
                }
                Some(found) if *to > found.head.next => {
                    return Err(format!("topic {topic} is trimmed past its head"));
                }
                Some(_) => self.trim(*topic, *to),
            },
            Record::Entry(topic, entry) => match self.open.get_mut(topic) {
                None => {
                    self.unknown.insert(*topic);
                }
                Some(found) if entry.base == found.head.next => {
                    self.append(*topic, entry, at.place(entry));
                }
                Some(found) if entry.base > found.head.next => {
                    return Err(format!("topic {topic} lacks messages before {}", entry.base));
                }
                Some(found) if entry.end() > found.head.next => {
                    return Err(format!("entries of topic {topic} overlap at {}", entry.base));
                }
                Some(_) => {}
            },
            Record::Scope(..) | Record::Save(..) | Record::Delete(_) => {}
        }
        Ok(())
    }

    /// A life that has entries but neither a beginning nor an end.
    pub(super) fn unknown(&self) -> Option<TopicId> {
        self.unknown.iter().next().copied()
    }
}
