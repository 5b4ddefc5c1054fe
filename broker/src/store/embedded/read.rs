//! Reads entries back, from memory or from the disk; what is damaged fails alone.

use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Cache;
use super::damage::Lost;
use super::disk::Disk;
use super::indexes::Indexes;
use super::layout::{PAGE, Stream};
use super::queue::Shared;
use super::record::{self, Record};
use super::topics::{Look, Part, Place, Places, Topic};
use crate::domain::{Entry, Offset, Time, TopicId};
use crate::store::{Limits, StoreError};

/// Whether a read may touch the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It may not.
    Memory,
    /// It may.
    Disk,
}

/// What is said of messages that have no place in their slot.
const MISSING: &str = "entries are missing";

/// What a read came to; `None` when it needs the disk and may not touch it.
pub(super) type Read<T> = Result<Option<T>, StoreError>;

/// What `MessageLog::scan` promises.
///
/// # Errors
/// [`StoreError::Corrupt`] with file and offset when the first entry asked for is damaged; what
/// lies before damage is answered without it.
pub(super) fn scan(
    shared: &Shared,
    topic: TopicId,
    from: Offset,
    limits: Limits,
    access: Access,
) -> Read<Vec<Arc<Entry>>> {
    let (mut at, mut left, mut found) = (from, limits, Vec::new());
    loop {
        let places = match gather(shared, topic, at, left, access) {
            Ok(Some((from, places))) if !places.is_empty() => {
                at = from;
                places
            }
            Ok(None) => return Ok(None),
            Err(error) if found.is_empty() => return Err(error),
            Ok(Some(_)) | Err(_) => return Ok(Some(found)),
        };
        for place in places {
            let read = match cached(shared, &place) {
                Some(entry) => Ok(entry),
                None if access == Access::Memory => return Ok(None),
                None => read_back(shared, topic, &place),
            };
            match read {
                Ok(entry) => {
                    let messages = place.end.since(place.base.max(at));
                    left.messages = left.messages.saturating_sub(messages);
                    left.bytes = left.bytes.saturating_sub(place.packed);
                    found.push(entry);
                    if left.messages == 0 || left.bytes == 0 {
                        return Ok(Some(found));
                    }
                }
                // Trimmed since, and the slot perhaps used again.
                Err(_) if !is_kept(shared, topic, place.end) => {}
                Err(what) => {
                    let lost = (topic, place.base, place.end);
                    let error =
                        shared.damage.met(place.generation, place.slot, place.at, lost, &what);
                    return if found.is_empty() { Err(error) } else { Ok(Some(found)) };
                }
            }
            at = place.end;
        }
    }
}

/// The places of the next kept entries from `from` on that lie in one slot, without a gap, as many
/// as `limits` ask for; empty when there are none. With them, from where on they were asked for:
/// not before the start.
fn gather(
    shared: &Shared,
    topic: TopicId,
    from: Offset,
    limits: Limits,
    access: Access,
) -> Read<(Offset, Vec<Place>)> {
    let (part, from) = {
        let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = topics.open.get(&topic) else { return Ok(Some((from, Vec::new()))) };
        let from = from.max(found.head.start);
        match found.look(from) {
            None => return Ok(Some((from, Vec::new()))),
            Some(Look::Open(first)) => {
                return Ok(Some((from, enough(found.open.range(first..), from, limits))));
            }
            Some(Look::Sealed(part)) => (part, from.max(part.base)),
        }
    };
    let Some(places) = places(shared, topic, &part, access)? else { return Ok(None) };
    let first = places.partition_point(|place| place.end <= from);
    let found = enough(places.get(first..).unwrap_or_default(), from, limits);
    if found.is_empty() && !is_kept(shared, topic, part.end) {
        return gather(shared, topic, from, limits, access);
    }
    if found.is_empty() {
        let (at, lost) = gap(topic, &part, &places, from);
        return Err(shared.damage.met(part.generation, part.slot, at, lost, MISSING));
    }
    Ok(Some((from, found)))
}

/// What is lost from `from` on, where no place begins, and behind what it must have lain.
fn gap(topic: TopicId, part: &Part, places: &[Place], from: Offset) -> (u64, Lost) {
    let first = places.partition_point(|place| place.end <= from);
    let before = first.checked_sub(1).and_then(|before| places.get(before));
    let at = before.map_or(PAGE, |place| place.at + place.len as u64);
    let base = before.map_or(part.base, |place| place.end);
    let end = places.get(first).map_or(part.end, |place| place.base);
    (at, (topic, base, end))
}

/// Reads all that a topic keeps in a sealed slot and notes what damage took as found by the
/// scrubber; answers how many ranges that are.
pub(super) fn verify(shared: &Shared, topic: TopicId, part: &Part) -> u64 {
    let kept = |end| is_kept(shared, topic, end);
    let mut ranges = 0;
    let mut note = |at, lost: Lost, what: &str| {
        shared.damage.scrubbed(part.generation, part.slot, at, Some(lost), what);
        ranges += 1;
    };
    let (disk, store) = (shared.disk.as_ref(), shared.store);
    examine(disk, store, &shared.indexes, topic, part, &kept, &mut note);
    ranges
}

/// Reads all that a topic keeps in a sealed slot. `note` is told what damage took: where, what is
/// lost, what is wrong; `kept` says whether what ends there is still needed.
pub(super) fn examine(
    disk: &dyn Disk,
    store: u64,
    indexes: &Indexes,
    topic: TopicId,
    part: &Part,
    kept: &dyn Fn(Offset) -> bool,
    note: &mut dyn FnMut(u64, Lost, &str),
) {
    let places = match indexes.load(disk, store, topic, part) {
        Ok(places) => places,
        Err(what) => {
            if kept(part.end) {
                note(0, (topic, part.base, part.end), &what);
            }
            return;
        }
    };
    let mut from = part.base;
    for place in places.iter() {
        if place.base > from && kept(place.base) {
            let (at, lost) = gap(topic, part, &places, from);
            note(at, lost, MISSING);
        }
        from = place.end;
        if let Err(what) = fetch(disk, topic, place)
            && kept(place.end)
        {
            note(place.at, (topic, place.base, place.end), &what);
        }
    }
    if from < part.end && kept(part.end) {
        let (at, lost) = gap(topic, part, &places, from);
        note(at, lost, MISSING);
    }
}

/// Of places in order, those that lie together from `from` on, until `limits` are reached.
fn enough<'a>(
    places: impl IntoIterator<Item = &'a Place>,
    from: Offset,
    limits: Limits,
) -> Vec<Place> {
    let (mut messages, mut bytes, mut found) = (0u64, 0u64, Vec::new());
    let mut end = from;
    for place in places {
        if place.base > end {
            break;
        }
        found.push(*place);
        messages = messages.saturating_add(place.end.since(place.base.max(from)));
        bytes = bytes.saturating_add(place.packed);
        if messages >= limits.messages || bytes >= limits.bytes {
            break;
        }
        end = place.end;
    }
    found
}

/// The places of a topic in a sealed slot.
///
/// # Errors
/// [`StoreError::Corrupt`] when the slot cannot be read at all.
pub(super) fn places(shared: &Shared, topic: TopicId, part: &Part, access: Access) -> Read<Places> {
    if access == Access::Memory {
        return Ok(shared.indexes.loaded(topic, part));
    }
    match shared.indexes.load(shared.disk.as_ref(), shared.store, topic, part) {
        Ok(places) => Ok(Some(places)),
        Err(_) if !is_kept(shared, topic, part.end) => Ok(Some(Places::default())),
        Err(what) => Err(unreadable(shared, topic, part, &what)),
    }
}

fn unreadable(shared: &Shared, topic: TopicId, part: &Part, what: &str) -> StoreError {
    shared.damage.met(part.generation, part.slot, 0, (topic, part.base, part.end), what)
}

/// Whether what ends at `end` is still needed.
fn is_kept(shared: &Shared, topic: TopicId, end: Offset) -> bool {
    let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
    topics.open.get(&topic).is_some_and(|found| found.head.start < end)
}

/// What `MessageLog::find_time` promises. Where damage hides what was sent when, the answer is
/// where the damage begins: too early rather than too late.
///
/// # Errors
/// [`StoreError::Corrupt`] when the slot cannot be read at all.
pub(super) fn find_time(
    shared: &Shared,
    topic: TopicId,
    time: Time,
    access: Access,
) -> Read<Option<Offset>> {
    let (part, start) = {
        let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = topics.open.get(&topic) else { return Ok(Some(None)) };
        let start = found.head.start;
        match found.look_for_time(time) {
            None => return Ok(Some(None)),
            Some(Look::Open(first)) => {
                return Ok(Some(found.open.get(first).map(|place| place.base.max(start))));
            }
            Some(Look::Sealed(part)) if part.first >= time => {
                return Ok(Some(Some(part.base.max(start))));
            }
            Some(Look::Sealed(part)) => (part, start),
        }
    };
    let Some(places) = places(shared, topic, &part, access)? else { return Ok(None) };
    let first = places.partition_point(|place| place.time < time);
    let behind = first.checked_sub(1).and_then(|before| places.get(before));
    Ok(Some(Some(behind.map_or(part.base, |place| place.end).max(start))))
}

/// The kept entry that begins at `base`. Reads the disk.
///
/// # Errors
/// [`StoreError::Corrupt`] when its slot cannot be read at all.
pub(super) fn place_at(
    shared: &Shared,
    id: TopicId,
    topic: &Topic,
    base: Offset,
) -> Result<Option<Place>, StoreError> {
    let begins = |place: &&Place| place.base == base && place.end > topic.head.start;
    match topic.look(base) {
        None => Ok(None),
        Some(Look::Open(first)) => Ok(topic.open.get(first).filter(begins).copied()),
        Some(Look::Sealed(part)) => {
            let load = shared.indexes.load(shared.disk.as_ref(), shared.store, id, &part);
            let places = load.map_err(|what| unreadable(shared, id, &part, &what))?;
            let found = places.partition_point(|place| place.base < base);
            Ok(places.get(found).filter(begins).copied())
        }
    }
}

/// The entry of a place that a topic keeps. May read the disk.
///
/// # Errors
/// [`StoreError::Corrupt`] with file and offset when it cannot be read or is not what was written.
pub(super) fn entry(
    shared: &Shared,
    topic: TopicId,
    place: &Place,
) -> Result<Arc<Entry>, StoreError> {
    let read = || read_back(shared, topic, place);
    cached(shared, place).map_or_else(read, Ok).map_err(|what| {
        let lost = (topic, place.base, place.end);
        shared.damage.met(place.generation, place.slot, place.at, lost, &what)
    })
}

fn cached(shared: &Shared, place: &Place) -> Option<Arc<Entry>> {
    let key = (place.generation, place.at);
    let look =
        |cache: &Mutex<Cache<_, _>>| cache.lock().unwrap_or_else(PoisonError::into_inner).get(key);
    look(&shared.cache).or_else(|| look(&shared.read_back))
}

/// Reads the entry of `place` from the disk and keeps it for a while.
fn read_back(shared: &Shared, topic: TopicId, place: &Place) -> Result<Arc<Entry>, String> {
    let entry = fetch(shared.disk.as_ref(), topic, place)?;
    let mut kept = shared.read_back.lock().unwrap_or_else(PoisonError::into_inner);
    kept.insert((place.generation, place.at), Arc::clone(&entry), entry.pinned());
    Ok(entry)
}

/// Reads the entry of `place`; else what is wrong.
pub(super) fn fetch(disk: &dyn Disk, topic: TopicId, place: &Place) -> Result<Arc<Entry>, String> {
    let file = Stream::Entries.file(place.slot);
    let mut bytes = vec![0; place.len];
    disk.read(&file, place.at, &mut bytes).map_err(|error| error.to_string())?;
    match record::read(&bytes, Stream::Entries) {
        // The CRC is the one noted when it was written or replayed: a stale copy differs.
        Ok((Record::Entry(of, entry), _, crc))
            if of == topic && crc == place.crc && entry.base == place.base =>
        {
            Ok(Arc::new(entry))
        }
        _ => Err(String::from("the entry is damaged")),
    }
}
