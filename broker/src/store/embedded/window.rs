//! A slot's content from a moving place on, a piece at a time: a start must not hold a slot of
//! hundreds of MiB, and what lies before the place is over.

use std::io;

use super::disk::Disk;
use super::frame::{self, Frame};
use super::layout::{FRAME_HEADER, Life, index, u32_at, u64_at};

/// So much is read at once, in bytes; a multiple of 8.
const PIECE: u64 = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// A part of a slot in memory.
pub(super) struct Window<'a> {
    disk: &'a dyn Disk,
    file: String,
    /// The slot's length.
    len: u64,
    /// Where `bytes` begin.
    from: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Of a file of `len` bytes; nothing before `from` will be asked for but by
    /// [`Self::find_intact`].
    pub(super) const fn new(disk: &'a dyn Disk, file: String, len: u64, from: u64) -> Self {
        Self { disk, file, len, from, bytes: Vec::new() }
    }

    /// Reads on until what lies before `end` is here, or all of the slot; lets go of what lies
    /// before `keep`.
    fn load(&mut self, keep: u64, end: u64) -> io::Result<()> {
        let loaded = self.from + self.bytes.len() as u64;
        let end = end.min(self.len);
        if end <= loaded {
            return Ok(());
        }
        let over = index(keep.saturating_sub(self.from)).min(self.bytes.len());
        self.bytes.drain(..over);
        self.from += over as u64;
        let end = end.max(loaded.saturating_add(PIECE)).min(self.len);
        let known = self.bytes.len();
        self.bytes.resize(index(end - self.from), 0);
        let read = self.bytes.get_mut(known..).unwrap_or_default();
        self.disk.read(&self.file, loaded, read).inspect_err(|_| self.bytes.truncate(known))
    }

    /// What is here from `from` up to `to`; empty if that is not all here.
    pub(super) fn part(&self, from: u64, to: u64) -> &[u8] {
        let part = from.checked_sub(self.from).zip(to.checked_sub(self.from));
        part.and_then(|(from, to)| self.bytes.get(index(from)..index(to))).unwrap_or_default()
    }

    /// The frame at `at`, if it is intact by itself; lets go of what lies before `keep`.
    ///
    /// # Errors
    /// The slot cannot be read.
    pub(super) fn frame(&mut self, at: u64, life: Life, keep: u64) -> io::Result<Option<Frame>> {
        let Some(end) = self.claim(at, life, keep)?.filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        self.load(keep, end)?;
        Ok(frame::parse(self.part(at, end), 0, life).map(|frame| frame.moved(at)))
    }

    /// Where a frame at `at`, torn perhaps, ends by what is left of its header; `at` if nothing is.
    ///
    /// # Errors
    /// The slot cannot be read.
    pub(super) fn claimed_end(&mut self, at: u64, life: Life, keep: u64) -> io::Result<u64> {
        Ok(self.claim(at, life, keep)?.unwrap_or(at).min(self.len))
    }

    fn claim(&mut self, at: u64, life: Life, keep: u64) -> io::Result<Option<u64>> {
        self.load(keep, at + FRAME_HEADER)?;
        let head = self.part(at, self.len.min(at + FRAME_HEADER));
        Ok(claimed(head, life).map(|len| at + len))
    }

    /// The bytes from `from` up to `to`; lets go of what lies before them.
    ///
    /// # Errors
    /// The slot cannot be read, or some of them were let go of.
    pub(super) fn read(&mut self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        self.load(from, to)?;
        let part = self.part(from, to);
        if part.len() as u64 == to.saturating_sub(from) {
            Ok(part.to_vec())
        } else {
            Err(io::Error::other("it is not in memory any more"))
        }
    }

    /// The first intact frame of `life` at an 8-byte boundary from `from` on whose sequence is at
    /// least `least`.
    ///
    /// # Errors
    /// The slot cannot be read.
    pub(super) fn find_intact(
        &self,
        from: u64,
        life: Life,
        least: u64,
    ) -> io::Result<Option<Frame>> {
        let wanted = life.0.to_le_bytes();
        let mut piece = Vec::new();
        let mut at = from.next_multiple_of(8) + 8;
        while at < self.len {
            let end = self.len.min(at + PIECE);
            piece.resize(index(end - at), 0);
            self.disk.read(&self.file, at, &mut piece)?;
            let words = piece.chunks_exact(8).enumerate();
            for (i, _) in words.filter(|(_, word)| **word == wanted) {
                let found = self.frame_alone(at + 8 * i as u64 - 8, life)?;
                if let Some(frame) = found.filter(|frame| frame.sequence >= least) {
                    return Ok(Some(frame));
                }
            }
            at = end;
        }
        Ok(None)
    }

    /// The intact frame at `at`, read beside what is here.
    fn frame_alone(&self, at: u64, life: Life) -> io::Result<Option<Frame>> {
        let left = self.len.saturating_sub(at);
        let mut head = vec![0; index(left.min(FRAME_HEADER))];
        self.disk.read(&self.file, at, &mut head)?;
        let Some(len) = claimed(&head, life).filter(|len| *len <= left) else { return Ok(None) };
        let mut bytes = vec![0; index(len)];
        self.disk.read(&self.file, at, &mut bytes)?;
        Ok(frame::parse(&bytes, 0, life).map(|frame| frame.moved(at)))
    }
}

/// The length of a frame by its header, that included.
fn claimed(head: &[u8], life: Life) -> Option<u64> {
    let len = u64::from(u32_at(head, 4)?);
    (u64_at(head, 8)? == life.0).then_some(FRAME_HEADER + len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::disk::RealDisk;
    use crate::store::embedded::frame::{Kind, Making, Point, build};

    const LIFE: Life = Life(77);

    fn making(sequence: u64) -> Making {
        let witness = Point::default();
        Making { life: LIFE, sequence, witness, previous: 0, kind: Kind::Data }
    }

    /// Frames with payloads of these lengths, with zeros behind them.
    fn slot(payloads: &[usize], len: usize) -> Vec<u8> {
        let mut slot = Vec::new();
        for (sequence, payload) in (1..).zip(payloads) {
            build(&mut slot, &making(sequence), &vec![7; *payload].into());
        }
        slot.resize(len, 0);
        slot
    }

    fn with<T>(content: &[u8], from: u64, look: impl FnOnce(&mut Window<'_>) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        disk.create("e000").unwrap();
        disk.write("e000", 0, content).unwrap();
        look(&mut Window::new(&disk, String::from("e000"), content.len() as u64, from))
    }

    #[test]
    fn frames_are_read_one_after_the_other_whatever_their_length() {
        let lengths = [0, 8, 4_000, 4_096, 40, 20_000, 1, 4_048, 100];
        let content = slot(&lengths, 64 << 10);
        with(&content, 0, |window| {
            let (mut at, mut keep) = (0, 0);
            for (sequence, len) in (1..).zip(lengths) {
                let found = window.frame(at, LIFE, keep).unwrap().unwrap();
                assert_eq!((found.sequence, found.at), (sequence, at));
                let payload = window.part(found.at + FRAME_HEADER, found.end);
                assert_eq!(payload.len(), len.next_multiple_of(8));
                assert!(payload[..len].iter().all(|byte| *byte == 7));
                // All of the frame before is still here.
                assert_eq!(window.part(keep, at).len() as u64, at - keep);
                (keep, at) = (at, found.end);
            }
            assert_eq!(window.frame(at, LIFE, keep).unwrap(), None);
            assert_eq!(window.claimed_end(at, LIFE, keep).unwrap(), at);
            assert!(window.bytes.len() < 20_000, "what is over was let go of");
            assert!(window.read(0, 8).is_err());
        });
    }

    #[test]
    fn a_frame_is_found_across_pieces_and_up_to_the_end() {
        let mut content = slot(&[], 16 << 10);
        for at in [4_088, 4_096, 8_176, 8_184, (16 << 10) - 56] {
            let mut one = Vec::new();
            build(&mut one, &making(9), &b"payload".to_vec().into());
            let mut content = content.clone();
            content[at..at + one.len()].copy_from_slice(&one);
            let found = |from, least| {
                with(&content, 0, |window| window.find_intact(from, LIFE, least).unwrap())
            };
            assert_eq!(found(0, 9).unwrap().at, at as u64);
            assert_eq!(found(at as u64, 9).unwrap().at, at as u64);
            assert_eq!(found(0, 10), None);
            assert_eq!(found(at as u64 + 8, 0), None);
        }
        // A header whose frame would end behind the slot.
        let end = content.len();
        content[end - 48 + 4..end - 48 + 8].copy_from_slice(&8_u32.to_le_bytes());
        content[end - 48 + 8..end - 48 + 16].copy_from_slice(&77_u64.to_le_bytes());
        content[end - 8..].copy_from_slice(&77_u64.to_le_bytes());
        with(&content, 0, |window| {
            assert_eq!(window.find_intact(0, LIFE, 0).unwrap(), None);
            let at = end as u64 - 48;
            assert_eq!(window.frame(at, LIFE, at).unwrap(), None);
            assert_eq!(window.claimed_end(at, LIFE, at).unwrap(), end as u64);
        });
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_the_end() {
        let content = slot(&[100, 100], 8 << 10);
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        disk.create("e000").unwrap();
        disk.write("e000", 0, &content[..100]).unwrap();
        let mut window = Window::new(&disk, String::from("e000"), content.len() as u64, 0);
        assert!(window.frame(0, LIFE, 0).is_err());
        assert!(window.find_intact(0, LIFE, 0).is_err());
    }
}
