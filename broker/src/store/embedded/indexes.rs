//! Finds where a topic's entries lie in a sealed slot: from memory, from the slot's index, or from
//! the slot itself, whose index is then made again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::cache::Cache;
use super::disk::{Disk, read_whole};
use super::layout::Slot;
use super::record::Record;
use super::rules::Rules;
use super::sidecar::{self, Index};
use super::topics::{Lies, Part, Place, Places, Sealed};
use super::walk::{self, Met, Walk};
use crate::domain::TopicId;

/// The indexes of sealed slots.
#[derive(Debug)]
pub(super) struct Indexes {
    loaded: Mutex<Cache<(u64, TopicId), Places>>,
    /// Slots whose index is not written yet: who reads at the end of a topic waits for no disk.
    fresh: Mutex<Vec<Arc<Sealed>>>,
    /// One index is written at a time, so that no slot is read twice for it.
    writing: Mutex<()>,
    /// None is written: the store is only read.
    read_only: AtomicBool,
    rules: Rules,
}

impl Indexes {
    /// None loaded; of those that are at most `bytes` bytes are kept.
    pub(super) fn new(bytes: u64, rules: Rules) -> Self {
        let (loaded, fresh) = (Mutex::new(Cache::new(bytes)), Mutex::default());
        Self { loaded, fresh, writing: Mutex::new(()), read_only: AtomicBool::new(false), rules }
    }

    /// From now on nothing is written.
    pub(super) fn only_read(&self) {
        self.read_only.store(true, Ordering::Relaxed);
    }

    /// The places of a topic in a slot, if they are in memory.
    pub(super) fn loaded(&self, topic: TopicId, part: &Part) -> Option<Places> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = loaded.get((part.generation, topic)) {
            return Some(places);
        }
        drop(loaded);
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = fresh.iter().find(|sealed| sealed.slot.generation == part.generation)?;
        let found = sealed.topics.binary_search_by_key(&topic.0, |(topic, _)| topic.0).ok()?;
        sealed.topics.get(found).map(|(_, places)| Arc::clone(places))
    }

    /// A slot was sealed whose index somebody is about to [`write`](Self::write).
    pub(super) fn sealed(&self, sealed: Arc<Sealed>) {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push(sealed);
    }

    /// The places of a topic in a slot, in order. What damage took is not among them. Reads the
    /// disk.
    ///
    /// # Errors
    /// What is wrong, when the slot cannot be read at all.
    pub(super) fn load(
        &self,
        disk: &dyn Disk,
        store: u64,
        topic: TopicId,
        part: &Part,
    ) -> Result<Places, String> {
        if let Some(places) = self.loaded(topic, part) {
            return Ok(places);
        }
        let slot = walk::header(disk, store, part.slot, part.generation)?;
        if let Some(places) = stored(disk, store, &slot, topic, self.rules) {
            return Ok(self.keep(topic, part.generation, places.into()));
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have made it meanwhile.
        if let Some(places) = stored(disk, store, &slot, topic, self.rules) {
            return Ok(self.keep(topic, part.generation, places.into()));
        }
        let (topics, whole) = build(disk, store, &slot)?;
        // A slot may be mended from a copy; an index with a hole would hide that.
        if whole && !self.read_only.load(Ordering::Relaxed) {
            let file = sidecar::file(slot.number);
            info!(file, "an index was made again from its slot");
            write(disk, store, &slot, &topics);
        }
        let found = topics.into_iter().find(|(of, _)| *of == topic);
        let places = found.map(|(_, places)| places).unwrap_or_default();
        Ok(self.keep(topic, part.generation, places))
    }

    fn keep(&self, topic: TopicId, generation: u64, places: Places) -> Places {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = size_of_val(&*places);
        loaded.insert((generation, topic), Arc::clone(&places), bytes);
        places
    }

    /// Writes the index of a slot that was just [`sealed`](Self::sealed).
    pub(super) fn write(&self, disk: &dyn Disk, store: u64, sealed: &Sealed) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be in its next use already.
        if walk::header(disk, store, sealed.slot.number, sealed.slot.generation).is_ok() {
            write(disk, store, &sealed.slot, &sealed.topics);
        }
        let generation = sealed.slot.generation;
        for (topic, places) in &sealed.topics {
            self.keep(*topic, generation, Arc::clone(places));
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.retain(|sealed| sealed.slot.generation != generation);
    }
}

/// What a slot's index says; `None` if there is none of this use.
fn stored(
    disk: &dyn Disk,
    store: u64,
    slot: &Slot,
    topic: TopicId,
    rules: Rules,
) -> Option<Vec<Place>> {
    let content = read_whole(disk, &sidecar::file(slot.number)).ok()?;
    Index::read(&content, store, slot, rules)?.places(topic)
}

/// An index that cannot be written is made again when it is needed.
fn write(disk: &dyn Disk, store: u64, slot: &Slot, topics: &[(TopicId, Places)]) {
    let file = sidecar::file(slot.number);
    let content = sidecar::encode(store, slot, topics);
    if let Err(error) = disk.create(&file).and_then(|()| disk.write(&file, 0, &content)) {
        warn!(file, %error, "an index could not be written");
        if let Err(error) = disk.remove(&file) {
            warn!(file, %error, "an unfinished index stays");
        }
    }
}

type Built = (Vec<(TopicId, Places)>, bool);

/// Reads a slot for its index; `false` if something in it is damaged.
fn build(disk: &dyn Disk, store: u64, slot: &Slot) -> Result<Built, String> {
    let mut topics: BTreeMap<TopicId, Vec<Place>> = BTreeMap::new();
    let mut walk = Walk::open(disk, store, slot.number, slot.generation)?;
    let (generation, number) = (slot.generation, slot.number);
    let mut whole = true;
    while let Some(met) = walk.step().map_err(|error| error.to_string())? {
        let (at, payload) = match met {
            Met::Frame(at, payload) => (at, payload),
            Met::Broken(at, payload) => {
                whole = false;
                (at, payload)
            }
        };
        whole &= walk::records(&payload, at, |at, len, crc, record| {
            if let Record::Entry(topic, entry) = record {
                let places = topics.entry(*topic).or_default();
                if places.last().is_none_or(|last| last.end <= entry.base) {
                    let lies = Lies { generation, slot: number, at, len, crc };
                    places.push(lies.place(entry));
                }
            }
        });
    }
    Ok((topics.into_iter().map(|(topic, places)| (topic, places.into())).collect(), whole))
}
