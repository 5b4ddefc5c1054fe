//! How much a topic keeps, and from where on it would keep less.

use std::sync::PoisonError;

use super::queue::Shared;
use super::read::{Access, Read, places};
use super::topics::{Part, Place};
use crate::domain::{Offset, TopicId};

/// What `MessageLog::kept_bytes` promises; what damage took counts nothing.
///
/// # Errors
/// As [`places`].
pub(super) fn kept_bytes(shared: &Shared, topic: TopicId, access: Access) -> Read<u64> {
    let (cut, start, whole) = {
        let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = topics.open.get(&topic) else { return Ok(Some(0)) };
        let start = found.head.start;
        let cut = found.sealed.front().filter(|part| part.base < start).copied();
        let sealed = found.sealed.iter().skip(usize::from(cut.is_some()));
        let sealed: u64 = sealed.map(|part| part.packed).sum();
        let open: u64 = found.open.iter().map(|place| place.packed).sum();
        (cut, start, sealed + open)
    };
    let Some(cut) = cut else { return Ok(Some(whole)) };
    let places = places(shared, topic, &cut, access)?;
    let kept = |places: &[Place]| -> u64 {
        places.iter().filter(|place| place.end > start).map(|place| place.packed).sum()
    };
    Ok(places.map(|places| whole + kept(&places)))
}

/// What `MessageLog::find_size` promises; what damage took counts nothing.
///
/// # Errors
/// As [`places`].
pub(super) fn find_size(
    shared: &Shared,
    topic: TopicId,
    bytes: u64,
    access: Access,
) -> Read<Option<Offset>> {
    let mut fits = Fits { left: bytes, from: None };
    let (part, start) = {
        let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = topics.open.get(&topic) else { return Ok(Some(None)) };
        let start = found.head.start;
        if !fits.take(found.open.iter().rev(), start) {
            return Ok(Some(fits.from));
        }
        match found.sealed.iter().rev().find(|part| !fits.take_whole(part, start)) {
            None => return Ok(Some(fits.from)),
            Some(part) => (*part, start),
        }
    };
    let Some(places) = places(shared, topic, &part, access)? else { return Ok(None) };
    fits.take(places.iter().rev().filter(|place| place.end > start), start);
    Ok(Some(fits.from))
}

/// Entries taken from the end on, as long as they fit.
struct Fits {
    left: u64,
    from: Option<Offset>,
}

impl Fits {
    /// Takes entries; `false` if one does not fit.
    fn take<'a>(&mut self, entries: impl Iterator<Item = &'a Place>, start: Offset) -> bool {
        for entry in entries {
            let Some(left) = self.left.checked_sub(entry.packed) else { return false };
            *self = Self { left, from: Some(entry.base.max(start)) };
        }
        true
    }

    /// Takes all of a slot, if it fits and is kept whole.
    fn take_whole(&mut self, part: &Part, start: Offset) -> bool {
        match self.left.checked_sub(part.packed) {
            Some(left) if part.base >= start => {
                *self = Self { left, from: Some(part.base) };
                true
            }
            _ => false,
        }
    }
}
