//! Walks the frames of a sealed slot, one in memory at a time, and goes on behind what is damaged.

use std::io;

use super::disk::Disk;
use super::frame::{self, Kind};
use super::layout::{FRAME_HEADER, Header, PAGE, Slot, Stream, index, u32_at, u64_at};
use super::record::{self, Record};

/// What lies next in a slot.
#[derive(Debug)]
pub(super) enum Met {
    /// An intact frame: where its payload begins in the slot, and that.
    Frame(u64, Vec<u8>),
    /// A damaged one: where its payload would begin, and that; empty if it cannot be told.
    Broken(u64, Vec<u8>),
}

/// A walk through a slot of the entry log.
pub(super) struct Walk<'a> {
    disk: &'a dyn Disk,
    file: String,
    slot: Slot,
    at: u64,
    /// Sequence of the next frame.
    next: u64,
    /// CRC of the frame before, if that was read.
    previous: Option<u32>,
    over: bool,
}

impl<'a> Walk<'a> {
    /// The use `generation` of a slot from its first frame on.
    ///
    /// # Errors
    /// What is wrong, when its header is not there or not of this use.
    pub(super) fn open(
        disk: &'a dyn Disk,
        store: u64,
        number: u32,
        generation: u64,
    ) -> Result<Self, String> {
        let slot = header(disk, store, number, generation)?;
        let file = Stream::Entries.file(number);
        let (next, previous) = (slot.first, Some(slot.previous));
        Ok(Self { disk, file, slot, at: PAGE, next, previous, over: false })
    }

    /// Where the next frame begins; at the end of the slot, nothing is left.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// What lies next; `None` behind the seal.
    ///
    /// # Errors
    /// The slot cannot be read here.
    pub(super) fn step(&mut self) -> io::Result<Option<Met>> {
        if self.over {
            return Ok(None);
        }
        let claimed = self.claimed()?;
        let good = frame::parse(&claimed, 0, self.slot.life).filter(|frame| {
            frame.sequence == self.next && self.previous.is_none_or(|crc| crc == frame.previous)
        });
        let payload = claimed.get(index(FRAME_HEADER)..).unwrap_or_default();
        let Some(good) = good else {
            let of_next = u64_at(&claimed, 16) == Some(self.next);
            let payload = if of_next { payload.to_vec() } else { Vec::new() };
            return self.broken(payload).map(Some);
        };
        let met = Met::Frame(self.at + FRAME_HEADER, payload.to_vec());
        self.at += good.end;
        self.next += 1;
        self.previous = Some(good.crc);
        self.over = Kind::known(good.kind) == Some(Kind::Seal);
        Ok(Some(if self.over { Met::Frame(self.at, Vec::new()) } else { met }))
    }

    /// The bytes that the frame header here claims; empty if there is none of this life.
    fn claimed(&self) -> io::Result<Vec<u8>> {
        let left = self.slot.len().saturating_sub(self.at);
        if left < FRAME_HEADER {
            return Ok(Vec::new());
        }
        let mut header = vec![0; index(FRAME_HEADER)];
        self.disk.read(&self.file, self.at, &mut header)?;
        let len = FRAME_HEADER + u64::from(u32_at(&header, 4).unwrap_or_default());
        if u64_at(&header, 8) != Some(self.slot.life.0) || len > left {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; index(len)];
        self.disk.read(&self.file, self.at, &mut bytes)?;
        Ok(bytes)
    }

    /// Goes on with the next intact frame, if there is one.
    fn broken(&mut self, payload: Vec<u8>) -> io::Result<Met> {
        let from = self.at;
        let mut rest = vec![0; index(self.slot.len().saturating_sub(from))];
        self.disk.read(&self.file, from, &mut rest)?;
        let least = self.next.saturating_add(1);
        let behind = frame::find_intact(&rest, 8, self.slot.life, least);
        self.at = behind.map_or(self.slot.len(), |frame| from + frame.at);
        self.next = behind.map_or(self.next, |frame| frame.sequence);
        self.previous = None;
        self.over = behind.is_none();
        Ok(Met::Broken(from + FRAME_HEADER, payload))
    }
}

/// The header of a slot in its use `generation`.
///
/// # Errors
/// What is wrong, when its header is not there or not of this use.
pub(super) fn header(
    disk: &dyn Disk,
    store: u64,
    number: u32,
    generation: u64,
) -> Result<Slot, String> {
    let file = Stream::Entries.file(number);
    let mut page = vec![0; index(PAGE)];
    disk.read(&file, 0, &mut page).map_err(|error| error.to_string())?;
    let len = disk.len(&file).map_err(|error| error.to_string())?;
    match Slot::parse_header(&page, Stream::Entries, store, number) {
        Header::Intact(slot) if slot.generation == generation && slot.len() == len => Ok(slot),
        _ => Err(String::from("the header of the slot is not the one of its use")),
    }
}

/// Hands out the records of a payload that begins at `at`, up to the first that is damaged;
/// answers whether none is.
///
/// What lies behind a damaged one is not looked for: its length may be what is wrong, and then the
/// next "record" may be bytes that a publisher chose.
pub(super) fn records(
    payload: &[u8],
    at: u64,
    mut each: impl FnMut(u64, usize, u32, &Record),
) -> bool {
    let (mut rest, mut at) = (payload, at);
    while rest.len() >= 8 {
        let Ok((record, len, crc)) = record::read(rest, Stream::Entries) else { return false };
        each(at, len, crc, &record);
        at += len as u64;
        rest = rest.get(len..).unwrap_or_default();
    }
    true
}
