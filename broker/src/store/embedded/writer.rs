//! Appends frames to one stream: whole pages from the tail page on, one fsync each, seals between
//! slots (`log.md` 2, commit and switch).

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::disk::Disk;
use super::frame::{self, Kind, Making, Point};
use super::layout::{FRAME_HEADER, Life, PAGE, SEAL, Slot, Stream, index, page_down};
use super::payload::Payload;
use super::rules::{Bug, Rules};
use super::snapshot::Position;

/// The end of one stream. After an error it must not be used again.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    stream: Stream,
    store: u64,
    rules: Rules,
    slot: Slot,
    /// Where the next frame begins.
    at: u64,
    /// The last durable frame.
    end: Point,
    /// Content of the tail page before `at`.
    page: Vec<u8>,
    /// Reused; of a frame all but what is large.
    buffer: Vec<u8>,
}

impl Writer {
    /// A writer that goes on at `at` in `slot`, behind the frame `end`; `page` is what the page
    /// of `at` holds before it.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        (stream, store, rules): (Stream, u64, Rules),
        slot: Slot,
        at: u64,
        end: Point,
        page: Vec<u8>,
    ) -> Self {
        Self { disk, stream, store, rules, slot, at, end, page, buffer: Vec::new() }
    }

    /// The last durable frame.
    pub(super) const fn end(&self) -> Point {
        self.end
    }

    /// The slot being written.
    pub(super) const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Behind the last durable frame.
    pub(super) const fn position(&self) -> Position {
        Position { generation: self.slot.generation, offset: self.at, last: self.end }
    }

    /// How large a payload may be, padded, so that a seal still fits behind it; `None` when not
    /// even an empty frame has room.
    pub(super) fn room(&self) -> Option<u64> {
        self.slot.len().checked_sub(self.at + SEAL + FRAME_HEADER)
    }

    /// Whether more than half of the slot is used.
    pub(super) fn half_full(&self) -> bool {
        self.at > self.slot.len() / 2
    }

    /// Writes a frame and makes it durable; answers where its payload begins in the slot. The
    /// payload must not exceed [`Self::room`].
    pub(super) fn append(
        &mut self,
        kind: Kind,
        payload: &Payload,
        witness: Point,
    ) -> io::Result<u64> {
        let start = page_down(self.at);
        let making = Making {
            life: self.slot.life,
            sequence: self.end.sequence + 1,
            witness,
            previous: self.end.crc,
            kind,
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.page);
        let crc = frame::build(&mut self.buffer, &making, payload);
        let len = self.buffer.len() + payload.large_len();
        let padding = len.next_multiple_of(index(PAGE)) - len;
        self.buffer.resize(self.buffer.len() + padding, 0);

        let begin = self.page.len() + index(FRAME_HEADER);
        let mut parts = payload.gather(&self.buffer, begin);
        let end = start + len as u64;
        keep_tail(&mut self.page, &parts, len);
        let file = self.stream.file(self.slot.number);
        self.disk.write_parts(&file, start, &mut parts)?;
        if !(kind == Kind::Data && self.rules.plants(Bug::AckEarly)) {
            match self.disk.sync(&file) {
                Err(_) if self.rules.plants(Bug::RetryFsync) => self.disk.sync(&file)?,
                synced => synced?,
            }
        }
        let payload_at = self.at + FRAME_HEADER;
        self.at = end;
        self.end = Point { sequence: making.sequence, crc };
        // A large commit must not keep its memory for ever.
        self.buffer.shrink_to(1 << 20);
        Ok(payload_at)
    }

    /// Seals the slot and opens the ready slot `number`: seal, fsync, header, fsync; never the
    /// header first.
    pub(super) fn switch(&mut self, number: u32, pages: u32, witness: Point) -> io::Result<()> {
        let generation = self.slot.generation + 1;
        let mut next =
            Slot { number, pages, life: Life::draw(), generation, first: 0, previous: 0 };
        if self.rules.plants(Bug::HeaderFirst) {
            next.first = self.end.sequence + 2;
            self.open(&next)?;
        }
        self.append(Kind::Seal, &next.seal().into(), witness)?;
        next.first = self.end.sequence + 1;
        next.previous = self.end.crc;
        self.open(&next)?;
        self.slot = next;
        self.at = PAGE;
        self.page.clear();
        Ok(())
    }

    fn open(&self, next: &Slot) -> io::Result<()> {
        let file = self.stream.file(next.number);
        self.disk.write(&file, 0, &next.header(self.stream, self.store))?;
        self.disk.sync(&file)
    }
}

/// Puts into `page` what the last, unfinished page of the first `len` bytes of `parts` holds.
fn keep_tail(page: &mut Vec<u8>, parts: &[IoSlice<'_>], len: usize) {
    let begin = index(page_down(len as u64));
    let mut skip = begin;
    page.clear();
    for part in parts {
        let from = skip.min(part.len());
        skip -= from;
        page.extend_from_slice(part.get(from..).unwrap_or_default());
    }
    page.truncate(len - begin);
}
