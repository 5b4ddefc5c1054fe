//! Messages, packed: one buffer for a whole batch, no object per message.
//!
//! A message is a flags byte, its attributes if it has any, and its data. Data that is standard
//! base64 exactly as an encoder writes it is stored decoded and encoded again on the way out (a
//! quarter less disk); anything else is stored verbatim, because AMS never checks (O12).

use base64_simd::STANDARD;
use bytes::Bytes;

use super::codec::{Malformed, Put, Reader};

const HAS_ATTRIBUTES: u8 = 1;
const DATA_IS_DECODED: u8 = 2;
const KNOWN_FLAGS: u8 = HAS_ATTRIBUTES | DATA_IS_DECODED;

/// Two marks lie at least so many messages apart and, where a batch was appended, less than twice
/// as many: a walk to any message passes fewer.
const MARK_EVERY: u32 = 64;

/// Where a message of a batch begins, so that whoever wants those from it on need not walk all
/// before: a consumer that pulls one at a time from a large batch would walk it over and over.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    message: u32,
    at: u32,
}

/// A sequence of messages in packed form, immutable and cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    packed: Bytes,
    count: u32,
    ams_bytes: u64,
    bytes: u64,
    /// In order; where they are depends on how the batch came about.
    marks: Vec<Mark>,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        let figures = |batch: &Self| (batch.count, batch.ams_bytes, batch.bytes);
        figures(self) == figures(other) && self.packed == other.packed
    }
}

impl Eq for Batch {}

impl Batch {
    /// Reads a stored batch back. Every message is walked, so a batch in hand is sound and its
    /// figures are true.
    pub fn from_packed(packed: Bytes, count: u32) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&packed, "message");
        let (mut seen, mut ams_bytes, mut bytes) = (0u32, 0, 0);
        let mut marks = Vec::new();
        while !reader.is_empty() {
            mark(&mut marks, seen, packed.len() - reader.remaining());
            let message = read(&mut reader)?;
            ams_bytes += message.data.text_len();
            bytes += message.bytes();
            seen = seen.saturating_add(1);
        }
        if seen != count {
            return Err(Malformed("batch"));
        }
        Ok(Self { packed, count, ams_bytes, bytes, marks })
    }

    /// The packed form, as stored.
    pub const fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// How many messages.
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is no message.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes as AMS counts them: the length of the `data` texts, attributes not counted.
    pub const fn ams_bytes(&self) -> u64 {
        self.ams_bytes
    }

    /// True bytes: payload as stored, attribute keys and values.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The messages, in order. Ends after the first malformed one.
    pub fn messages(&self) -> Messages<'_> {
        self.messages_from(0)
    }

    /// The messages from the one with this index on (the first has 0), in order; none when there
    /// are no more than that. Costs the same wherever it begins.
    pub fn messages_from(&self, first: u64) -> Messages<'_> {
        let behind = self.marks.partition_point(|mark| u64::from(mark.message) <= first);
        let mark = behind.checked_sub(1).and_then(|last| self.marks.get(last));
        let Mark { message, at } = mark.copied().unwrap_or_default();
        let rest = usize::try_from(at).ok().and_then(|at| self.packed.get(at..));
        let reader = rest.map(|rest| Reader::new(rest, "message"));
        Messages { reader, skip: first - u64::from(message) }
    }
}

/// Notes where the message with this index begins, unless a mark is near.
fn mark(marks: &mut Vec<Mark>, message: u32, at: usize) {
    let last = marks.last().map_or(0, |mark| mark.message);
    // What lies beyond 4 GiB has no mark; no store takes such a batch.
    if message.saturating_sub(last) >= MARK_EVERY
        && let Ok(at) = u32::try_from(at)
    {
        marks.push(Mark { message, at });
    }
}

/// Walks the messages of a batch.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    reader: Option<Reader<'a>>,
    /// How many are passed over first.
    skip: u64,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<MessageRef<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let reader = self.reader.as_mut().filter(|reader| !reader.is_empty())?;
            let message = read(reader);
            if message.is_err() {
                self.reader = None;
            } else if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            return Some(message);
        }
    }
}

/// One message of a batch, borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// Attribute keys and values, sorted by key, each key once.
    pub attributes: Vec<(&'a str, &'a str)>,
    /// The payload.
    pub data: Data<'a>,
}

impl MessageRef<'_> {
    fn bytes(&self) -> u64 {
        let attributes: usize = self.attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
        (attributes + self.data.stored().len()) as u64
    }
}

/// The payload of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// Text that is not canonical base64, verbatim.
    Verbatim(&'a str),
    /// The bytes that canonical base64 stood for.
    Decoded(&'a [u8]),
}

impl<'a> Data<'a> {
    /// The bytes as stored.
    pub const fn stored(self) -> &'a [u8] {
        match self {
            Self::Verbatim(text) => text.as_bytes(),
            Self::Decoded(bytes) => bytes,
        }
    }

    /// The length of the text a client sent and will get back.
    pub const fn text_len(self) -> u64 {
        match self {
            Self::Verbatim(text) => text.len() as u64,
            Self::Decoded(bytes) => (bytes.len().div_ceil(3) * 4) as u64,
        }
    }

    /// Appends the text a client sent, byte for byte, to `out`.
    pub fn write_text(self, out: &mut String) {
        match self {
            Self::Verbatim(text) => out.push_str(text),
            Self::Decoded(bytes) => {
                // The encoder makes room for no more than this text.
                out.reserve(bytes.len().div_ceil(3) * 4);
                STANDARD.encode_append(bytes, out);
            }
        }
    }
}

fn read<'a>(reader: &mut Reader<'a>) -> Result<MessageRef<'a>, Malformed> {
    let flags = reader.u8()?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(reader.malformed());
    }
    let mut attributes = Vec::new();
    if flags & HAS_ATTRIBUTES != 0 {
        for _ in 0..reader.count()? {
            attributes.push((reader.text()?, reader.text()?));
        }
    }
    let data = if flags & DATA_IS_DECODED == 0 {
        Data::Verbatim(reader.text()?)
    } else {
        Data::Decoded(reader.bytes()?)
    };
    Ok(MessageRef { attributes, data })
}

/// Packs messages one after the other.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    packed: Vec<u8>,
    count: u32,
    ams_bytes: u64,
    bytes: u64,
    marks: Vec<Mark>,
}

impl BatchBuilder {
    /// A builder with room for about `bytes` bytes, packed.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { packed: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// How many messages were pushed.
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether none was pushed.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a message. `attributes` are in any order; of equal keys the last one wins. `data` is
    /// the client's text, returned byte for byte.
    pub fn push<K: AsRef<str>, V: AsRef<str>>(&mut self, attributes: &[(K, V)], data: &str) {
        let mut sorted: Vec<(&str, &str)> =
            attributes.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
        // Stable, and reversed first: of equal keys the last one given comes first and is kept.
        sorted.reverse();
        sorted.sort_by_key(|(key, _)| *key);
        sorted.dedup_by_key(|(key, _)| *key);

        let flags_at = self.packed.len();
        mark(&mut self.marks, self.count, flags_at);
        let flags = if sorted.is_empty() { 0 } else { HAS_ATTRIBUTES };
        self.packed.put_u8(flags | DATA_IS_DECODED);
        if !sorted.is_empty() {
            self.packed.put_varint(sorted.len() as u64);
            for (key, value) in &sorted {
                self.packed.put_bytes(key.as_bytes());
                self.packed.put_bytes(value.as_bytes());
                self.bytes += (key.len() + value.len()) as u64;
            }
        }
        let length_at = self.packed.len();
        if let Some(stored) = self.put_decoded(data) {
            self.bytes += stored;
        } else {
            self.packed.truncate(length_at);
            if let Some(byte) = self.packed.get_mut(flags_at) {
                *byte = flags;
            }
            self.packed.put_bytes(data.as_bytes());
            self.bytes += data.len() as u64;
        }
        self.count = self.count.saturating_add(1);
        self.ams_bytes += data.len() as u64;
    }

    /// Appends what `data` stands for, straight into its place, and says how many bytes that is;
    /// `None`, with anything appended, when it is not what the encoder would write. The strict
    /// decoder refuses missing padding, foreign characters and stray trailing bits.
    fn put_decoded(&mut self, data: &str) -> Option<u64> {
        let padding = data.bytes().rev().take(2).take_while(|byte| *byte == b'=').count();
        let len = (data.len() / 4 * 3).checked_sub(padding)?;
        self.packed.put_varint(len as u64);
        // The decoder itself makes room for no more than this message, each time.
        self.packed.reserve(len);
        let begin = self.packed.len();
        STANDARD.decode_append(data, &mut self.packed).ok()?;
        (self.packed.len() - begin == len).then_some(len as u64)
    }

    /// Appends all messages of `batch`.
    pub fn append(&mut self, batch: &Batch) {
        let (before, begin) = (self.count, self.packed.len());
        mark(&mut self.marks, before, begin);
        let moved = |mark: &Mark| {
            let at = u32::try_from(begin).ok()?.checked_add(mark.at)?;
            Some(Mark { message: before.checked_add(mark.message)?, at })
        };
        self.marks.extend(batch.marks.iter().filter_map(moved));
        self.packed.extend_from_slice(&batch.packed);
        self.count = self.count.saturating_add(batch.count);
        self.ams_bytes += batch.ams_bytes;
        self.bytes += batch.bytes;
    }

    /// The packed batch.
    pub fn finish(mut self) -> Batch {
        // Whoever keeps a batch pins its whole buffer and counts its length.
        if self.packed.capacity() - self.packed.len() > self.packed.len() / 8 {
            self.packed.shrink_to_fit();
        }
        Batch {
            packed: self.packed.into(),
            count: self.count,
            ams_bytes: self.ams_bytes,
            bytes: self.bytes,
            marks: self.marks,
        }
    }
}

#[cfg(test)]
mod tests;
