//! The one binary codec: little-endian integers, LEB128 varints, length-prefixed bytes.
//!
//! Reading never panics and never allocates more than what lies before it; whatever does not fit is
//! [`Malformed`].

use uuid::Uuid;

/// Stored bytes that are not what their kind and version promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(
    /// What was being read.
    pub &'static str,
);

/// Appends values to a buffer.
pub trait Put {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// A varint, 1 to 10 bytes.
    fn put_varint(&mut self, value: u64);
    /// 16 raw bytes.
    fn put_uuid(&mut self, value: Uuid);
    /// A varint length and that many bytes.
    fn put_bytes(&mut self, value: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_varint(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).unwrap_or_default();
            value >>= 7;
            if value == 0 {
                return self.push(low);
            }
            self.push(low | 0x80);
        }
    }

    fn put_uuid(&mut self, value: Uuid) {
        self.extend_from_slice(value.as_bytes());
    }

    fn put_bytes(&mut self, value: &[u8]) {
        self.put_varint(value.len() as u64);
        self.extend_from_slice(value);
    }
}

/// Reads values from the front of a slice; `what` names the record in errors.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`.
    pub const fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// The error of this record.
    pub const fn malformed(&self) -> Malformed {
        Malformed(self.what)
    }

    /// Whether everything was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Refuses bytes behind the last field.
    pub const fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed(self.what)) }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed(self.what))?;
        self.rest = rest;
        Ok(*first)
    }

    /// A varint; one that is longer than needed or exceeds 64 bits is malformed.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7f);
            let placed = low.checked_shl(shift).ok_or(self.malformed())?;
            if placed >> shift != low || (byte == 0 && shift > 0) {
                return Err(self.malformed());
            }
            value |= placed;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    /// A varint that counts things of at least one byte each, so it cannot exceed what is left.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| self.malformed())?;
        if count > self.rest.len() { Err(self.malformed()) } else { Ok(count) }
    }

    /// A varint that must fit 32 bits.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| self.malformed())
    }

    /// 16 raw bytes.
    pub fn array16(&mut self) -> Result<[u8; 16], Malformed> {
        self.take(16)?.try_into().map_err(|_| self.malformed())
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Result<Uuid, Malformed> {
        self.array16().map(Uuid::from_bytes)
    }

    /// Length-prefixed bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count()?;
        self.take(len)
    }

    /// Length-prefixed UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.malformed())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test may fail loudly")]

    use proptest::prelude::*;

    use super::*;

    const WHAT: Malformed = Malformed("test");

    fn varint(bytes: &[u8]) -> Result<u64, Malformed> {
        let mut reader = Reader::new(bytes, "test");
        let value = reader.varint()?;
        reader.end()?;
        Ok(value)
    }

    #[test]
    fn varints_are_as_long_as_needed() {
        for (value, len) in [
            (0, 1),
            (0x7f, 1),
            (0x80, 2),
            (0x3fff, 2),
            (0x4000, 3),
            (u64::from(u32::MAX), 5),
            (1 << 63, 10),
            (u64::MAX, 10),
        ] {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            assert_eq!((bytes.len(), varint(&bytes)), (len, Ok(value)));
        }
    }

    #[test]
    fn an_overlong_or_overflowing_varint_is_refused() {
        let refused: [&[u8]; 8] = [
            &[],
            &[0x80],
            &[0x80, 0x00],
            &[0xff, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            // 65 bits, then 11 bytes.
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        for bytes in refused {
            assert_eq!(varint(bytes), Err(WHAT), "{bytes:x?}");
        }
    }

    #[test]
    fn what_counts_more_than_is_left_is_refused() {
        assert_eq!(Reader::new(&[3, 1, 2], "test").count(), Err(WHAT));
        assert_eq!(Reader::new(&[2, 1, 2], "test").count(), Ok(2));
        assert_eq!(Reader::new(&[3, 1, 2], "test").bytes(), Err(WHAT));
        assert_eq!(Reader::new(&[2, 0xc3, 0x28], "test").text(), Err(WHAT));
        assert_eq!(Reader::new(&[0; 15], "test").array16(), Err(WHAT));
        let mut five_bytes = Vec::new();
        five_bytes.put_varint(1 << 32);
        assert_eq!(Reader::new(&five_bytes, "test").u32(), Err(WHAT));
    }

    proptest! {
        #[test]
        fn values_come_back_in_order(
            number: u64,
            byte: u8,
            id: u128,
            raw: Vec<u8>,
            text: String,
        ) {
            let mut bytes = Vec::new();
            bytes.put_varint(number);
            bytes.put_u8(byte);
            bytes.put_uuid(Uuid::from_u128(id));
            bytes.put_bytes(&raw);
            bytes.put_bytes(text.as_bytes());
            let mut reader = Reader::new(&bytes, "test");
            prop_assert_eq!(reader.remaining(), bytes.len());
            prop_assert_eq!(reader.varint(), Ok(number));
            prop_assert_eq!(reader.u8(), Ok(byte));
            prop_assert_eq!(reader.uuid(), Ok(Uuid::from_u128(id)));
            prop_assert_eq!(reader.bytes(), Ok(raw.as_slice()));
            prop_assert_eq!(reader.end(), Err(WHAT));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert!(reader.is_empty() && reader.end().is_ok());
        }

        #[test]
        fn a_varint_that_is_read_is_the_one_that_would_be_written(bytes in
            prop::collection::vec(prop_oneof![any::<u8>(), Just(0x80), Just(0xff)], 0..12)
        ) {
            let mut reader = Reader::new(&bytes, "test");
            if let Ok(value) = reader.varint() {
                let mut again = Vec::new();
                again.put_varint(value);
                prop_assert_eq!(&again, &bytes[..bytes.len() - reader.remaining()]);
            }
        }
    }
}
