//! Frames: the unit of writing and of damage, one per fsync (`log.md` 1).

use super::layout::{FRAME_HEADER, Life, index, u32_at, u64_at};
use super::payload::{Part, Payload, combine};

/// A durable frame, as the other stream's frames witness it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Point {
    /// Its sequence; 0 = before the first.
    pub(super) sequence: u64,
    /// Its CRC.
    pub(super) crc: u32,
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records.
    Data,
    /// The last of a full slot; names the next one.
    Seal,
    /// The last of a clean stop.
    Clean,
    /// Empty: it only witnesses the other stream.
    Witness,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Data => 1,
            Self::Seal => 2,
            Self::Clean => 3,
            Self::Witness => 4,
        }
    }

    /// The kind with this number, if this version knows it.
    pub(super) fn known(number: u32) -> Option<Self> {
        [Self::Data, Self::Seal, Self::Clean, Self::Witness]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// An intact frame: life, length and CRC hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where it begins in its slot.
    pub(super) at: u64,
    /// Where it ends.
    pub(super) end: u64,
    /// Counts the frames of the stream, from 1, through all slots.
    pub(super) sequence: u64,
    /// The last durable frame of the other stream when this one was built.
    pub(super) witness: Point,
    /// CRC of the frame before it.
    pub(super) previous: u32,
    /// Its own.
    pub(super) crc: u32,
    /// [`Kind`], perhaps one of a later version.
    pub(super) kind: u32,
}

impl Frame {
    /// The same frame of a slot that begins `by` bytes earlier than what it was parsed from.
    pub(super) const fn moved(self, by: u64) -> Self {
        Self { at: self.at + by, end: self.end + by, ..self }
    }
}

/// What a frame is built from, but for its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Making {
    /// The slot's.
    pub(super) life: Life,
    /// This frame's.
    pub(super) sequence: u64,
    /// The other stream's last durable frame.
    pub(super) witness: Point,
    /// CRC of the frame before.
    pub(super) previous: u32,
    /// What it is for.
    pub(super) kind: Kind,
}

/// Appends the frame to `out`, but for what is large in its payload, and answers its CRC. The
/// payload is padded with zeros to 8 bytes.
pub(super) fn build(out: &mut Vec<u8>, making: &Making, payload: &Payload) -> u32 {
    let padded = payload.len().next_multiple_of(8);
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    // A payload fits a slot, and a slot is less than 2 GiB.
    out.extend_from_slice(&u32::try_from(padded).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&making.life.0.to_le_bytes());
    out.extend_from_slice(&making.sequence.to_le_bytes());
    out.extend_from_slice(&making.witness.sequence.to_le_bytes());
    for value in [making.witness.crc, making.previous, making.kind.number(), 0] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    let mut crc = crc32c::crc32c(out.get(begin + 4..).unwrap_or_default());
    for part in payload.parts() {
        match part {
            Part::Small(bytes) => {
                crc = crc32c::crc32c_append(crc, bytes);
                out.extend_from_slice(bytes);
            }
            Part::Large(bytes, known) => crc = combine(crc, known, bytes.len()),
        }
    }
    let padding = padded - payload.len();
    crc = crc32c::crc32c_append(crc, [0; 8].get(..padding).unwrap_or_default());
    out.resize(out.len() + padding, 0);
    if let Some(field) = out.get_mut(begin..begin + 4) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    crc
}

/// The frame at `at`, if it is intact by itself: its predecessor is not needed to judge it.
pub(super) fn parse(slot: &[u8], at: u64, life: Life) -> Option<Frame> {
    let bytes = slot.get(index(at)..)?;
    if u64_at(bytes, 8)? != life.0 {
        return None;
    }
    let len = u64::from(u32_at(bytes, 4)?);
    if len % 8 != 0 {
        return None;
    }
    let under_crc = bytes.get(4..index(FRAME_HEADER + len))?;
    let crc = u32_at(bytes, 0)?;
    if crc32c::crc32c(under_crc) != crc {
        return None;
    }
    Some(Frame {
        at,
        end: at + FRAME_HEADER + len,
        sequence: u64_at(bytes, 16)?,
        witness: Point { sequence: u64_at(bytes, 24)?, crc: u32_at(bytes, 32)? },
        previous: u32_at(bytes, 36)?,
        crc,
        kind: u32_at(bytes, 40)?,
    })
}

/// The payload of an intact frame, padding included.
pub(super) fn payload<'a>(slot: &'a [u8], frame: &Frame) -> &'a [u8] {
    slot.get(index(frame.at + FRAME_HEADER)..index(frame.end)).unwrap_or_default()
}

/// The first intact frame of `life` at an 8-byte boundary from `from` on whose sequence is at
/// least `least`.
pub(super) fn find_intact(slot: &[u8], from: u64, life: Life, least: u64) -> Option<Frame> {
    let from = from.next_multiple_of(8);
    let wanted = life.0.to_le_bytes();
    let words = slot.get(index(from) + 8..)?.chunks_exact(8);
    words
        .enumerate()
        .filter(|(_, word)| **word == wanted)
        .filter_map(|(i, _)| parse(slot, from + 8 * i as u64, life))
        .find(|frame| frame.sequence >= least)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKING: Making = Making {
        life: Life(77),
        sequence: 5,
        witness: Point { sequence: 3, crc: 33 },
        previous: 44,
        kind: Kind::Data,
    };

    #[test]
    fn a_frame_is_read_back_and_every_flip_in_it_is_seen() {
        let mut slot = vec![0; 16];
        let crc = build(&mut slot, &MAKING, &b"hello, log".to_vec().into());
        assert_eq!(slot.len(), 16 + 48 + 16);
        let frame = parse(&slot, 16, Life(77)).unwrap();
        assert_eq!((frame.sequence, frame.crc, frame.end), (5, crc, 80));
        assert_eq!((frame.witness, frame.previous), (MAKING.witness, 44));
        assert_eq!(Kind::known(frame.kind), Some(Kind::Data));
        assert_eq!(payload(&slot, &frame), b"hello, log\0\0\0\0\0\0");
        for bit in 16 * 8..slot.len() * 8 {
            slot[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&slot, 16, Life(77)), None);
            slot[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn an_intact_frame_is_found_behind_damage_by_its_sequence() {
        let mut slot = Vec::new();
        build(&mut slot, &MAKING, &b"one".to_vec().into());
        let second = slot.len() as u64;
        build(&mut slot, &Making { sequence: 6, ..MAKING }, &b"two".to_vec().into());
        slot[0] ^= 1;
        assert_eq!(find_intact(&slot, 0, Life(77), 6).unwrap().at, second);
        assert_eq!(find_intact(&slot, 0, Life(77), 7), None);
        assert_eq!(find_intact(&slot, 0, Life(78), 0), None);
    }
}
