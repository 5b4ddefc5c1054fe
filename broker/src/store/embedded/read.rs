//! Reads entries back, from memory or from the disk; what is damaged fails alone.

use std::sync::{Arc, PoisonError};

use super::layout::Stream;
use super::maps::Place;
use super::queue::Shared;
use super::record::{self, Record};
use crate::domain::{Entry, TopicId};
use crate::store::StoreError;

/// The cached entry of a place.
pub(super) fn cached(shared: &Shared, place: &Place) -> Option<Arc<Entry>> {
    let cache = shared.cache.lock().unwrap_or_else(PoisonError::into_inner);
    cache.get((place.generation, place.at))
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
    if let Some(entry) = cached(shared, place) {
        return Ok(entry);
    }
    let file = Stream::Entries.file(place.slot);
    let corrupt =
        |what: &str| StoreError::Corrupt(format!("{file} at offset {}: {what}", place.at).into());
    let mut bytes = vec![0; place.len];
    shared.disk.read(&file, place.at, &mut bytes).map_err(|error| corrupt(&error.to_string()))?;
    let read = parse(&bytes, topic, place).ok_or_else(|| corrupt("the entry is damaged"))?;
    Ok(Arc::new(read))
}

/// The entry that `bytes`, read at `place`, hold; `None` if they are not what was written.
pub(super) fn parse(bytes: &[u8], topic: TopicId, place: &Place) -> Option<Entry> {
    match record::read(bytes, Stream::Entries) {
        // The CRC is the one noted when it was written or replayed: a stale copy differs.
        Ok((Record::Entry(of, entry), _, crc))
            if of == topic && crc == place.crc && entry.base == place.base =>
        {
            Some(entry)
        }
        _ => None,
    }
}

/// The entry of a place taken a while ago; `None` if it was trimmed or its topic closed since, and
/// the slot perhaps used again.
///
/// # Errors
/// As [`entry`].
pub(super) fn entry_if_kept(
    shared: &Shared,
    topic: TopicId,
    place: &Place,
) -> Result<Option<Arc<Entry>>, StoreError> {
    let read = entry(shared, topic, place);
    if read.is_err() {
        let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        if topics.open.get(&topic).is_none_or(|found| found.head.start >= place.end) {
            return Ok(None);
        }
    }
    read.map(Some)
}
