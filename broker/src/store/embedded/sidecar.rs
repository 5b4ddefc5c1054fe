//! The index of a sealed slot, `eNNN.idx`: where the entries of each topic lie in it. It is never
//! needed: what is missing, damaged or stale is made again from the slot, so it is never fsynced.
//!
//! Layout, little endian: magic, CRC over all that follows, format, minimum reader, number of
//! topics, key of the use (16 bytes), a directory {topic, begin, length} sorted by topic, then the
//! places of each topic, dense.
//!
//! The key is a hash of store, slot, generation and life, so that an index of another use, also of
//! one that an older copy of the directory brings back, is not taken for this one's. The life
//! itself is not in it, although who can read this file can read the slot's header: an index is
//! what one copies to somebody without a second thought.

use sha2::{Digest as _, Sha256};

use super::layout::{Slot, Stream, index, u32_at};
use super::rules::{Bug, Rules};
use super::topics::{Place, Places};
use crate::domain::codec::{Malformed, Put, Reader};
use crate::domain::{Offset, Time, TopicId};

/// Names of indexes end with this.
pub(super) const SUFFIX: &str = ".idx";

const MAGIC: &[u8; 8] = b"AMSindx\n";
const FORMAT: u32 = 1;
/// The highest minimum reader that this code satisfies.
const READER: u32 = 1;
const UNDER_CRC: usize = 12;
const KEY_AT: usize = 24;
const DIRECTORY_AT: usize = 40;
/// Topic, begin and length.
const ROW: usize = 24;

/// The name of a slot's index.
pub(super) fn file(slot: u32) -> String {
    format!("{}{SUFFIX}", Stream::Entries.file(slot))
}

fn key(store: u64, slot: &Slot) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"AMS index of a slot\n");
    hash.update(store.to_le_bytes());
    hash.update(slot.number.to_le_bytes());
    hash.update(slot.generation.to_le_bytes());
    hash.update(slot.life.0.to_le_bytes());
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

/// An index's content; `topics` are in order of their ids.
pub(super) fn encode(store: u64, slot: &Slot, topics: &[(TopicId, Places)]) -> Vec<u8> {
    let count = u32::try_from(topics.len()).unwrap_or(u32::MAX);
    let mut places = Vec::new();
    let mut out = MAGIC.to_vec();
    for value in [0, FORMAT, READER, count] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&key(store, slot));
    for (topic, of) in topics {
        let begin = places.len();
        put_places(&mut places, of);
        out.put_uuid(topic.0);
        for value in [begin, places.len() - begin] {
            // A place takes less room than its record, and a slot is less than 2 GiB.
            out.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    out.append(&mut places);
    let crc = crc32c::crc32c(out.get(UNDER_CRC..).unwrap_or_default());
    if let Some(field) = out.get_mut(8..UNDER_CRC) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    out
}

/// An intact index of a use of a slot.
pub(super) struct Index<'a> {
    slot: &'a Slot,
    rows: &'a [u8],
    places: &'a [u8],
}

impl<'a> Index<'a> {
    /// Reads an index; `None` if it is damaged, of a later format or of another use.
    pub(super) fn read(
        content: &'a [u8],
        store: u64,
        slot: &'a Slot,
        rules: Rules,
    ) -> Option<Self> {
        let under_crc = content.get(UNDER_CRC..)?;
        let verified = u32_at(content, 8)? == crc32c::crc32c(under_crc);
        let intact = content.starts_with(MAGIC) && (verified || rules.plants(Bug::IndexUnverified));
        let of_use =
            content.get(KEY_AT..DIRECTORY_AT)? == key(store, slot) || rules.plants(Bug::StaleIndex);
        if !intact || u32_at(content, 16)? > READER || !of_use {
            return None;
        }
        let rows = index(u64::from(u32_at(content, 20)?)).checked_mul(ROW)?;
        let (rows, places) = content.get(DIRECTORY_AT..)?.split_at_checked(rows)?;
        Some(Self { slot, rows, places })
    }

    /// The entries of a topic, in order; `None` if they cannot be read.
    pub(super) fn places(&self, topic: TopicId) -> Option<Vec<Place>> {
        let (rows, _) = self.rows.as_chunks::<ROW>();
        let Ok(found) = rows.binary_search_by(|row| row[..16].cmp(topic.0.as_bytes())) else {
            return Some(Vec::new());
        };
        let row = rows.get(found)?;
        let begin = index(u64::from(u32_at(row, 16)?));
        let len = index(u64::from(u32_at(row, 20)?));
        read_places(self.places.get(begin..begin.checked_add(len)?)?, self.slot).ok()
    }
}

fn put_places(out: &mut Vec<u8>, places: &[Place]) {
    let (mut end, mut time, mut at) = (0, 0, 0);
    for place in places {
        for value in [
            place.base.since(Offset(end)),
            place.end.since(place.base),
            place.time.0.saturating_sub(time),
            place.packed,
            place.at.saturating_sub(at),
            place.len as u64,
        ] {
            out.put_varint(value);
        }
        out.extend_from_slice(&place.crc.to_le_bytes());
        (end, time, at) = (place.end.0, place.time.0, place.at + place.len as u64);
    }
}

fn read_places(bytes: &[u8], slot: &Slot) -> Result<Vec<Place>, Malformed> {
    let mut reader = Reader::new(bytes, "index");
    let mut places = Vec::new();
    let (mut end, mut time, mut at) = (0u64, 0u64, 0u64);
    while !reader.is_empty() {
        let mut next = |from: u64| {
            let more = reader.varint()?;
            from.checked_add(more).ok_or(reader.malformed())
        };
        let base = next(end)?;
        end = next(base)?;
        time = next(time)?;
        let packed = next(0)?;
        let begin = next(at)?;
        let len = next(0)?;
        at = begin.checked_add(len).ok_or(reader.malformed())?;
        let crc = u32_at(reader.take(4)?, 0).ok_or(reader.malformed())?;
        places.push(Place {
            base: Offset(base),
            end: Offset(end),
            time: Time(time),
            packed,
            generation: slot.generation,
            slot: slot.number,
            at: begin,
            len: index(len),
            crc,
        });
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::layout::Life;

    fn slot() -> Slot {
        Slot { number: 7, pages: 16, life: Life(99), generation: 3, first: 41, previous: 5 }
    }

    fn place(base: u64, at: u64) -> Place {
        let (generation, slot, crc) = (3, 7, 0xfeed);
        let (base, end) = (Offset(base), Offset(base + 3));
        Place { base, end, time: Time(base.0), packed: 9, generation, slot, at, len: 300, crc }
    }

    fn written() -> (Vec<(TopicId, Places)>, Vec<u8>) {
        let dense = Places::from([place(5, 4_144), place(8, 5_000)]);
        let mut topics: Vec<_> = (0..9).map(|_| (TopicId::random(), dense.clone())).collect();
        topics[3].1 = Places::from([place(0, 9_000)]);
        topics.sort_unstable_by_key(|(topic, _)| topic.0);
        let content = encode(1, &slot(), &topics);
        (topics, content)
    }

    #[test]
    fn an_index_is_read_back_topic_by_topic() {
        let (topics, content) = written();
        let of = slot();
        let index = Index::read(&content, 1, &of, Rules::default()).unwrap();
        for (topic, places) in &topics {
            assert_eq!(index.places(*topic).unwrap(), **places);
        }
        assert_eq!(index.places(TopicId::random()), Some(Vec::new()));
    }

    #[test]
    fn an_index_of_another_use_or_a_later_format_is_not_taken() {
        let (_, mut content) = written();
        for other in [
            Slot { life: Life(98), ..slot() },
            Slot { generation: 4, ..slot() },
            Slot { number: 6, ..slot() },
        ] {
            assert!(Index::read(&content, 1, &other, Rules::default()).is_none(), "{other:?}");
        }
        assert!(Index::read(&content, 2, &slot(), Rules::default()).is_none());
        content[16] = 2;
        let crc = crc32c::crc32c(&content[12..]).to_le_bytes();
        content[8..12].copy_from_slice(&crc);
        assert!(Index::read(&content, 1, &slot(), Rules::default()).is_none());
    }

    #[test]
    fn every_flip_and_cut_is_seen_and_the_life_is_not_in_it() {
        let (_, content) = written();
        for bit in 0..content.len() * 8 {
            let mut bad = content.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Index::read(&bad, 1, &slot(), Rules::default()).is_none());
        }
        for len in 0..content.len() {
            assert!(Index::read(&content[..len], 1, &slot(), Rules::default()).is_none());
        }
        let secret = Slot { life: Life(0x1234_5678_9abc_def0), ..slot() };
        let content = encode(1, &secret, &[]);
        let life = secret.life.0.to_le_bytes();
        assert!(!content.windows(8).any(|bytes| bytes == life));
    }
}
