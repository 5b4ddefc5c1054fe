//! What a frame carries. A large batch is not copied into it: it is written from where it lies.

use std::io::IoSlice;

use bytes::Bytes;

/// Batches of so many bytes stay where they are: below, a copy costs less than a part of a write.
/// Tests take both ways with the few bytes that they write.
pub(super) const LARGE: usize = if cfg!(test) { 64 } else { 16 << 10 };

/// Records one behind the other.
#[derive(Debug, Default)]
pub(super) struct Payload {
    /// All but what is large.
    small: Vec<u8>,
    large: Vec<Large>,
    /// Bytes of all that is large.
    large_len: usize,
}

/// Bytes that lie elsewhere.
#[derive(Debug)]
struct Large {
    /// So much of what is small comes before them.
    at: usize,
    bytes: Bytes,
    crc: u32,
}

/// A piece of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Bytes whose CRC nobody knows.
    Small(&'a [u8]),
    /// Bytes and their CRC.
    Large(&'a [u8], u32),
}

impl From<Vec<u8>> for Payload {
    fn from(small: Vec<u8>) -> Self {
        Self { small, large: Vec::new(), large_len: 0 }
    }
}

impl Payload {
    /// Makes room for what is small of `others`.
    pub(super) fn reserve_for<'a>(&mut self, others: impl Iterator<Item = &'a Self>) {
        self.small.reserve(others.map(|other| other.small.len()).sum());
    }

    /// What is small, to append to.
    pub(super) const fn small(&mut self) -> &mut Vec<u8> {
        &mut self.small
    }

    /// Appends `bytes`, whose CRC is `crc`, without a copy.
    pub(super) fn push(&mut self, bytes: Bytes, crc: u32) {
        self.large_len += bytes.len();
        self.large.push(Large { at: self.small.len(), bytes, crc });
    }

    /// Appends all of `other`.
    pub(super) fn append(&mut self, other: Self) {
        let before = self.small.len();
        self.small.extend_from_slice(&other.small);
        self.large_len += other.large_len;
        self.large.extend(other.large.into_iter().map(|Large { at, bytes, crc }| Large {
            at: before + at,
            bytes,
            crc,
        }));
    }

    /// Its length in bytes.
    pub(super) const fn len(&self) -> usize {
        self.small.len() + self.large_len
    }

    /// Whether it holds nothing.
    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The CRC of its first record.
    pub(super) fn first_crc(&self) -> Option<u32> {
        super::layout::u32_at(&self.small, 0)
    }

    /// Bytes of what is large.
    pub(super) const fn large_len(&self) -> usize {
        self.large_len
    }

    /// What it consists of, in order; no part is empty.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.between(&self.small)
    }

    /// What is to be written when what is small of this was copied into `small`, behind `skip`
    /// bytes that come first; what lies behind it there comes last.
    pub(super) fn gather<'a>(&'a self, small: &'a [u8], skip: usize) -> Vec<IoSlice<'a>> {
        let (before, small) = small.split_at_checked(skip).unwrap_or((small, &[]));
        let mut slices = Vec::with_capacity(2 * self.large.len() + 2);
        slices.push(IoSlice::new(before));
        slices.extend(self.between(small).map(|part| match part {
            Part::Small(bytes) | Part::Large(bytes, _) => IoSlice::new(bytes),
        }));
        slices
    }

    fn between<'a>(&'a self, small: &'a [u8]) -> impl Iterator<Item = Part<'a>> {
        let ends = self.large.iter().map(|large| large.at).chain([small.len()]);
        let mut begin = 0;
        let gaps = ends.map(move |end| {
            let gap = small.get(begin..end).unwrap_or_default();
            begin = end;
            Part::Small(gap)
        });
        let large = self.large.iter().map(|large| Some(Part::Large(&large.bytes, large.crc)));
        gaps.zip(large.chain([None]))
            .flat_map(|(gap, large)| [Some(gap), large])
            .flatten()
            .filter(|part| !matches!(part, Part::Small([]) | Part::Large([], _)))
    }
}

/// The CRC of two stretches of bytes one behind the other, of which only the CRCs are known; the
/// second is `len` bytes long. `crc32c_combine` answers the same but squares matrices, which takes
/// longer than reading 100 KiB again.
pub(super) fn combine(first: u32, second: u32, len: usize) -> u32 {
    // 8 zero bits behind a polynomial multiply it by x^8.
    let (mut rest, mut power, mut shift) = (len, X8, ONE);
    while rest > 0 {
        if rest & 1 == 1 {
            shift = multiply(shift, power);
        }
        power = multiply(power, power);
        rest >>= 1;
    }
    multiply(shift, first) ^ second
}

/// The polynomial of CRC32C without its highest term; the highest bit is x^0.
const POLYNOMIAL: u32 = 0x82F6_3B78;
const ONE: u32 = 1 << 31;
const X8: u32 = 1 << 23;

/// The product of two polynomials modulo [`POLYNOMIAL`].
fn multiply(left: u32, right: u32) -> u32 {
    let (mut product, mut right) = (0, right);
    for bit in (0..32).rev() {
        // Masks instead of branches: the bits are random.
        product ^= right & 0u32.wrapping_sub((left >> bit) & 1);
        right = (right >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(right & 1));
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crc_of_two_parts_is_that_of_the_whole() {
        let bytes: Vec<u8> =
            (0..70_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in [0, 1, 2, 7, 8, 63, 64, 4_095, 4_096, 16_384, 65_537] {
            for first in [0, 1, 13, 4_000] {
                let (a, b) = (&bytes[..first], &bytes[first..first + len]);
                let whole = crc32c::crc32c(&bytes[..first + len]);
                assert_eq!(combine(crc32c::crc32c(a), crc32c::crc32c(b), len), whole, "{len}");
                assert_eq!(
                    crc32c::crc32c_combine(crc32c::crc32c(a), crc32c::crc32c(b), len),
                    whole
                );
            }
        }
    }

    #[test]
    fn parts_come_in_the_order_in_which_they_were_appended() {
        let mut record = Payload::from(b"head1 ".to_vec());
        record.push(Bytes::from_static(b"LARGE1 "), 1);
        let mut payload = Payload::default();
        payload.append(Payload::from(b"small ".to_vec()));
        payload.append(record);
        payload.small().extend_from_slice(b"small2 ");
        let mut two = Payload::default();
        two.push(Bytes::from_static(b"LARGE2 "), 2);
        two.push(Bytes::from_static(b"LARGE3 "), 3);
        two.push(Bytes::new(), 4);
        payload.append(two);
        assert_eq!((payload.len(), payload.large_len(), payload.is_empty()), (40, 21, false));
        let parts: Vec<Part<'_>> = payload.parts().collect();
        assert_eq!(
            parts,
            [
                Part::Small(b"small head1 "),
                Part::Large(b"LARGE1 ", 1),
                Part::Small(b"small2 "),
                Part::Large(b"LARGE2 ", 2),
                Part::Large(b"LARGE3 ", 3),
            ]
        );
        let buffer = b"page small head1 small2 000";
        let written: Vec<u8> =
            payload.gather(buffer, 5).iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(written, b"page small head1 LARGE1 small2 LARGE2 LARGE3 000");
    }
}
