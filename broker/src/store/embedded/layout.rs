//! What lies where: the root file, the slots' header pages, the seal. Final (`log.md` 1).
//!
//! Bytes 0 to 68 of a header page and 0 to 24 of `store` keep their meaning in every later format,
//! so that an older reader can at least say that it is one.

use std::fmt;

/// The unit of writing; page 0 of a slot holds its header alone.
pub(super) const PAGE: u64 = 4_096;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEADER: u64 = 48;
/// Payload of a seal: next slot, its pages, life and generation.
pub(super) const SEAL_PAYLOAD: u64 = 24;
/// Room kept free in every slot at all times, for its seal.
pub(super) const SEAL: u64 = FRAME_HEADER + SEAL_PAYLOAD;
/// The root file's name.
pub(super) const ROOT: &str = "store";
/// Names of snapshots begin with this.
pub(super) const SNAPSHOT: &str = "snap";
/// Names of files that are not finished end with this.
pub(super) const UNFINISHED: &str = ".tmp";

const FORMAT: u32 = 1;
/// The highest minimum reader that this code satisfies.
const READER: u32 = 1;
const SLOT_MAGIC: &[u8; 8] = b"AMSslot\n";
const ROOT_MAGIC: &[u8; 8] = b"AMSroot\n";
const HEADER_CRC_AT: usize = 64;

/// One of the two logs of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Messages: `eNNN`.
    Entries,
    /// Progress and catalogue: `sNNN`.
    State,
}

impl Stream {
    /// Both, in the order of the root file.
    pub(super) const ALL: [Self; 2] = [Self::Entries, Self::State];

    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Entries => Self::State,
            Self::State => Self::Entries,
        }
    }

    const fn number(self) -> u32 {
        match self {
            Self::Entries => 0,
            Self::State => 1,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Entries => 'e',
            Self::State => 's',
        }
    }

    /// The name of a slot's file.
    pub(super) fn file(self, slot: u32) -> String {
        format!("{}{slot:03}", self.letter())
    }

    /// Which slot a file's name means, if it is one.
    pub(super) fn parse(name: &str) -> Option<(Self, u32)> {
        let stream = Self::ALL.into_iter().find(|stream| name.starts_with(stream.letter()))?;
        let slot = name.get(1..)?.parse().ok()?;
        (stream.file(slot) == name).then_some((stream, slot))
    }
}

/// One thing for each stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Pair<T> {
    /// The entry log's.
    pub(super) entries: T,
    /// The state log's.
    pub(super) state: T,
}

impl<T> Pair<T> {
    /// The stream's one.
    pub(super) const fn of(&self, stream: Stream) -> &T {
        match stream {
            Stream::Entries => &self.entries,
            Stream::State => &self.state,
        }
    }

    /// The stream's one, to change.
    pub(super) const fn of_mut(&mut self, stream: Stream) -> &mut T {
        match stream {
            Stream::Entries => &mut self.entries,
            Stream::State => &mut self.state,
        }
    }
}

/// The random number of one use of a slot. A secret (`log.md` 2): who knows the life of the slot
/// about to open can forge a frame, so it shows itself in no text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

impl Life {
    /// A new one.
    pub(super) fn draw() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Life")
    }
}

/// One use of a slot, as its header, its predecessor's seal and the root file tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Which file.
    pub(super) number: u32,
    /// How long the file is.
    pub(super) pages: u32,
    /// Secret of this use.
    pub(super) life: Life,
    /// Counts the uses of slots of this stream, from 1.
    pub(super) generation: u64,
    /// Sequence of its first frame.
    pub(super) first: u64,
    /// CRC of the last frame before it; 0 for the very first.
    pub(super) previous: u32,
}

impl Slot {
    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.pages) * PAGE
    }

    /// Its header page.
    pub(super) fn header(&self, stream: Stream, store: u64) -> Vec<u8> {
        let mut page = Vec::with_capacity(index(PAGE));
        page.extend_from_slice(SLOT_MAGIC);
        for value in [FORMAT, READER, stream.number(), self.number, self.pages, self.previous] {
            page.extend_from_slice(&value.to_le_bytes());
        }
        for value in [store, self.life.0, self.generation, self.first] {
            page.extend_from_slice(&value.to_le_bytes());
        }
        page.extend_from_slice(&crc32c::crc32c(&page).to_le_bytes());
        page.resize(index(PAGE), 0);
        page
    }

    /// What `page` says it is.
    pub(super) fn parse_header(page: &[u8], stream: Stream, store: u64, number: u32) -> Header {
        Self::parse(page, stream, number).map_or(Header::None, |(slot, of, reader)| {
            if of != store {
                Header::None
            } else if reader > READER {
                Header::Newer
            } else {
                Header::Intact(slot)
            }
        })
    }

    fn parse(page: &[u8], stream: Stream, number: u32) -> Option<(Self, u64, u32)> {
        let under_crc = page.get(..HEADER_CRC_AT)?;
        if !under_crc.starts_with(SLOT_MAGIC)
            || u32_at(page, HEADER_CRC_AT)? != crc32c::crc32c(under_crc)
            || u32_at(page, 16)? != stream.number()
            || u32_at(page, 20)? != number
        {
            return None;
        }
        let slot = Self {
            number,
            pages: u32_at(page, 24)?,
            previous: u32_at(page, 28)?,
            life: Life(u64_at(page, 40)?),
            generation: u64_at(page, 48)?,
            first: u64_at(page, 56)?,
        };
        Some((slot, u64_at(page, 32)?, u32_at(page, 12)?))
    }

    /// The payload of the seal that names this slot.
    pub(super) fn seal(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(index(SEAL_PAYLOAD));
        payload.extend_from_slice(&self.number.to_le_bytes());
        payload.extend_from_slice(&self.pages.to_le_bytes());
        payload.extend_from_slice(&self.life.0.to_le_bytes());
        payload.extend_from_slice(&self.generation.to_le_bytes());
        payload
    }

    /// The slot that a seal with this payload, sequence and CRC names.
    pub(super) fn parse_seal(payload: &[u8], sequence: u64, crc: u32) -> Option<Self> {
        if payload.len() != index(SEAL_PAYLOAD) {
            return None;
        }
        Some(Self {
            number: u32_at(payload, 0)?,
            pages: u32_at(payload, 4)?,
            life: Life(u64_at(payload, 8)?),
            generation: u64_at(payload, 16)?,
            first: sequence.saturating_add(1),
            previous: crc,
        })
    }
}

/// What a header page turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Header {
    /// A header of this store, stream and slot.
    Intact(Slot),
    /// One that a later version wrote and this one must not read.
    Newer,
    /// None: never written, of another store, or damaged.
    None,
}

/// The root file: which store this is and where it begins. Snapshot number 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    /// Random id of the store.
    pub(super) store: u64,
    /// The first slot of the entry log.
    pub(super) entries: Slot,
    /// The first slot of the state log.
    pub(super) state: Slot,
}

/// Why a root file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RootError {
    /// It is not intact.
    Damaged,
    /// A later version wrote it.
    Newer,
}

impl Root {
    /// The stream's first slot.
    pub(super) const fn first(&self, stream: Stream) -> &Slot {
        match stream {
            Stream::Entries => &self.entries,
            Stream::State => &self.state,
        }
    }

    /// The file's content: magic, CRC over what follows, format, minimum reader, then the fields.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend_from_slice(&FORMAT.to_le_bytes());
        rest.extend_from_slice(&READER.to_le_bytes());
        rest.extend_from_slice(&0u32.to_le_bytes());
        rest.extend_from_slice(&self.store.to_le_bytes());
        for stream in Stream::ALL {
            let slot = self.first(stream);
            rest.extend_from_slice(&slot.seal());
            rest.extend_from_slice(&slot.first.to_le_bytes());
            rest.extend_from_slice(&slot.previous.to_le_bytes());
            rest.extend_from_slice(&0u32.to_le_bytes());
        }
        let mut file = ROOT_MAGIC.to_vec();
        file.extend_from_slice(&crc32c::crc32c(&rest).to_le_bytes());
        file.extend_from_slice(&rest);
        file
    }

    /// Reads the file's content.
    pub(super) fn decode(file: &[u8]) -> Result<Self, RootError> {
        let rest = file.get(12..).ok_or(RootError::Damaged)?;
        if !file.starts_with(ROOT_MAGIC) || u32_at(file, 8) != Some(crc32c::crc32c(rest)) {
            return Err(RootError::Damaged);
        }
        if u32_at(rest, 4).ok_or(RootError::Damaged)? > READER {
            return Err(RootError::Newer);
        }
        let slot = |at: usize| {
            let mut slot = Slot::parse_seal(rest.get(at..at + index(SEAL_PAYLOAD))?, 0, 0)?;
            slot.first = u64_at(rest, at + 24)?;
            slot.previous = u32_at(rest, at + 32)?;
            Some(slot)
        };
        let parse = || {
            let root = Self { store: u64_at(rest, 12)?, entries: slot(20)?, state: slot(60)? };
            (rest.len() == 100).then_some(root)
        };
        parse().ok_or(RootError::Damaged)
    }
}

/// A file position as an index into a buffer.
pub(super) fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// `at` rounded up to whole pages.
pub(super) const fn page_up(at: u64) -> u64 {
    at.next_multiple_of(PAGE)
}

/// `at` rounded down to whole pages.
pub(super) const fn page_down(at: u64) -> u64 {
    at - at % PAGE
}

/// The little-endian number at `at`, if it lies inside.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The little-endian number at `at`, if it lies inside.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot { number: 7, pages: 16, life: Life(99), generation: 3, first: 41, previous: 0xdead }
    }

    #[test]
    fn a_header_is_read_back_by_its_own_store_stream_and_slot_only() {
        let page = slot().header(Stream::State, 5);
        assert_eq!(page.len(), 4_096);
        assert!(page[68..].iter().all(|byte| *byte == 0));
        assert_eq!(Slot::parse_header(&page, Stream::State, 5, 7), Header::Intact(slot()));
        assert_eq!(Slot::parse_header(&page, Stream::Entries, 5, 7), Header::None);
        assert_eq!(Slot::parse_header(&page, Stream::State, 6, 7), Header::None);
        assert_eq!(Slot::parse_header(&page, Stream::State, 5, 8), Header::None);
    }

    #[test]
    fn a_header_or_root_that_wants_a_later_reader_says_so() {
        let mut page = slot().header(Stream::State, 5);
        page[12] = 2;
        let crc = crc32c::crc32c(&page[..64]).to_le_bytes();
        page[64..68].copy_from_slice(&crc);
        assert_eq!(Slot::parse_header(&page, Stream::State, 5, 7), Header::Newer);

        let mut file = Root { store: 1, entries: slot(), state: slot() }.encode();
        file[16] = 2;
        let crc = crc32c::crc32c(&file[12..]).to_le_bytes();
        file[8..12].copy_from_slice(&crc);
        assert_eq!(Root::decode(&file), Err(RootError::Newer));
    }

    #[test]
    fn a_root_is_read_back_and_any_flip_or_cut_is_seen() {
        let root = Root { store: 1, entries: slot(), state: Slot { number: 0, ..slot() } };
        let file = root.encode();
        assert_eq!(Root::decode(&file), Ok(root));
        for bit in 0..file.len() * 8 {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Root::decode(&bad), Err(RootError::Damaged));
        }
        for len in 0..file.len() {
            assert_eq!(Root::decode(&file[..len]), Err(RootError::Damaged));
        }
    }

    #[test]
    fn a_life_shows_itself_in_no_text() {
        let text = format!("{:?}", Slot { life: Life(123_456_789), ..slot() });
        assert!(!text.contains("123456789"), "{text}");
    }

    #[test]
    fn only_whole_slot_names_are_slots() {
        assert_eq!(Stream::parse("e007"), Some((Stream::Entries, 7)));
        assert_eq!(Stream::parse("s1234"), Some((Stream::State, 1_234)));
        for name in ["e07", "e0007", "e007.torn-5", "store", "snap000001", "e", "e+07", "lock"] {
            assert_eq!(Stream::parse(name), None, "{name}");
        }
    }
}
