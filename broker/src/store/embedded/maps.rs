//! The durable state in memory: what the frames on disk add up to, and nothing that is not on disk.

use std::collections::btree_map::BTreeMap;
use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::record::Record;
use crate::domain::{Entry, Head, Offset, Progress, SubscriptionId, Time, TopicId};
use crate::store::{Change, ChangeSet, KEPT_CHANGES, Limits, Scope, ScopeState};

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

/// An open topic life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topic {
    /// Its end and counts.
    pub(super) head: Head,
    /// Its kept entries, in order.
    pub(super) entries: VecDeque<Place>,
}

impl Topic {
    fn append(&mut self, entry: &Entry, place: Place) {
        self.head = self.head.after(entry);
        self.entries.push_back(place);
    }

    /// Moves the start; answers the entries that are behind it now.
    fn trim(&mut self, to: Offset) -> Vec<Place> {
        self.head.start = self.head.start.max(to);
        let start = self.head.start;
        let gone = self.entries.iter().take_while(|entry| entry.end <= start).count();
        self.entries.drain(..gone).collect()
    }

    /// The entries that a scan brings.
    pub(super) fn scan(&self, from: Offset, limits: Limits) -> Vec<Place> {
        let from = from.max(self.head.start);
        let first = self.entries.partition_point(|entry| entry.end <= from);
        let (mut messages, mut bytes, mut found) = (0u64, 0u64, Vec::new());
        for entry in self.entries.range(first..) {
            found.push(*entry);
            messages = messages.saturating_add(entry.end.since(entry.base.max(from)));
            bytes = bytes.saturating_add(entry.packed);
            if messages >= limits.messages || bytes >= limits.bytes {
                break;
            }
        }
        found
    }

    /// The first kept offset whose entry's time is at or after `time`.
    pub(super) fn find_time(&self, time: Time) -> Option<Offset> {
        let first = self.entries.partition_point(|entry| entry.time < time);
        self.entries.get(first).map(|entry| entry.base.max(self.head.start))
    }

    /// Packed bytes of the kept entries.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.packed).sum()
    }

    /// The first kept offset from which the entries hold at most `bytes` packed bytes.
    pub(super) fn find_size(&self, bytes: u64) -> Option<Offset> {
        let mut left = bytes;
        let fits = self.entries.iter().rev().map_while(|entry| {
            left = left.checked_sub(entry.packed)?;
            Some(entry.base.max(self.head.start))
        });
        fits.last()
    }

    /// The kept entry that begins at `base`.
    pub(super) fn at(&self, base: Offset) -> Option<Place> {
        let found = self.entries.partition_point(|entry| entry.base < base);
        self.entries.get(found).filter(|entry| entry.base == base).copied()
    }
}

/// What the entry log adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topics {
    /// Open lives.
    pub(super) open: HashMap<TopicId, Topic>,
    /// Lives that were closed: an id is never used twice.
    pub(super) closed: HashSet<TopicId>,
    /// Lives that replay met without knowing them: each must be closed before it ends.
    unknown: HashSet<TopicId>,
    /// How many kept entries lie in each use of a slot.
    kept: HashMap<u64, u64>,
}

impl Topics {
    /// Whether a use of a slot still holds what a topic needs.
    pub(super) fn holds(&self, generation: u64) -> bool {
        self.kept.contains_key(&generation)
    }

    /// A life as a snapshot has it.
    pub(super) fn restore(&mut self, id: TopicId, topic: Topic) {
        for place in &topic.entries {
            self.keep(place.generation);
        }
        self.open.insert(id, topic);
    }

    fn keep(&mut self, generation: u64) {
        *self.kept.entry(generation).or_default() += 1;
    }

    fn let_go(&mut self, gone: impl IntoIterator<Item = Place>) {
        for place in gone {
            if let Some(kept) = self.kept.get_mut(&place.generation) {
                *kept = kept.saturating_sub(1);
                if *kept == 0 {
                    self.kept.remove(&place.generation);
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
            self.let_go(gone.entries);
        }
        self.unknown.remove(&topic);
        self.closed.insert(topic);
    }

    /// An entry that begins at the head.
    pub(super) fn append(&mut self, topic: TopicId, entry: &Entry, place: Place) {
        if let Some(topic) = self.open.get_mut(&topic) {
            topic.append(entry, place);
            self.keep(place.generation);
        }
    }

    /// The start moves.
    pub(super) fn trim(&mut self, topic: TopicId, to: Offset) {
        if let Some(topic) = self.open.get_mut(&topic) {
            let gone = topic.trim(to);
            self.let_go(gone);
        }
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

/// A scope and its latest commits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ScopeLog {
    /// How many commits it has seen.
    pub(super) version: u64,
    /// Its objects.
    pub(super) objects: BTreeMap<String, Bytes>,
    changes: VecDeque<ChangeSet>,
}

impl ScopeLog {
    /// Applies a commit that makes the next version.
    fn apply(&mut self, set: &ChangeSet) {
        self.version = set.version;
        for change in &set.changes {
            match change {
                Change::Put(key, value) => {
                    self.objects.insert(key.clone(), value.clone());
                }
                Change::Delete(key) => {
                    self.objects.remove(key);
                }
            }
        }
        self.changes.push_back(set.clone());
        if self.changes.len() > KEPT_CHANGES {
            self.changes.pop_front();
        }
    }

    /// The scope as it is.
    pub(super) fn state(&self) -> ScopeState {
        let objects = self.objects.iter().map(|(key, value)| (key.clone(), value.clone()));
        ScopeState { version: self.version, objects: objects.collect() }
    }

    /// The commits after `version`, if all are kept.
    pub(super) fn since(&self, version: u64) -> Option<Vec<ChangeSet>> {
        let missing = usize::try_from(self.version.saturating_sub(version)).ok()?;
        let first = self.changes.len().checked_sub(missing)?;
        Some(self.changes.range(first..).cloned().collect())
    }

    /// The kept commit that made `version`.
    pub(super) fn commit(&self, version: u64) -> Option<&ChangeSet> {
        self.changes.iter().rev().find(|set| set.version == version)
    }
}

/// What the state log adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    /// Every scope ever written.
    pub(super) scopes: HashMap<Scope, ScopeLog>,
    /// Every subscription's record.
    pub(super) progress: HashMap<SubscriptionId, Progress>,
}

impl State {
    /// A scope's next version.
    pub(super) fn commit(&mut self, scope: Scope, set: &ChangeSet) {
        self.scopes.entry(scope).or_default().apply(set);
    }

    /// Applies a record found on disk by the rules of `log.md` 2 step 7.
    ///
    /// # Errors
    /// What is wrong, for the refusal.
    pub(super) fn replay(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Scope(scope, set) => {
                let noted = self.scopes.get(&scope).map_or(0, |scope| scope.version);
                if set.version > noted.saturating_add(1) {
                    return Err(format!("{scope:?} lacks commits before {}", set.version));
                }
                if set.version > noted {
                    self.commit(scope, &set);
                }
            }
            Record::Save(subscription, progress) => {
                let noted = self.progress.get(&subscription).map_or(0, |found| found.version);
                if progress.version > noted {
                    self.progress.insert(subscription, *progress);
                }
            }
            Record::Delete(subscription) => {
                self.progress.remove(&subscription);
            }
            Record::Create(_) | Record::Close(..) | Record::Trim(..) | Record::Entry(..) => {}
        }
        Ok(())
    }
}
