//! Snapshots: what both logs add up to at a position of each, so that a start reads only what lies
//! behind (`log.md` 1 and 2).
//!
//! A file `snapNNNNNN`: magic, CRC over all that follows it, format, minimum reader, length, store
//! id, number (that of its name); per stream position, end and slots in use; then items, each with
//! a tag, in any order but that a scope comes before its objects.
//!
//! Of a topic it has the head, a line for each sealed slot, and the places of its entries in the
//! slot that is open when it is copied, so that nothing before the position is read again. (Format
//! 1 had the places in all slots; it is read, not written.) Closed topic ids stay for ever, 16
//! bytes each: an id that was closed must never be usable again, whoever repeats an old request,
//! and a bound in time would make that promise depend on clocks.

use super::frame::Point;
use super::layout::{PAGE, Root, SEAL_PAYLOAD, Slot, Stream, index, u32_at, u64_at};
use super::layout::{Pair, SNAPSHOT};
use super::slots::Cover;
use super::squeezed::Squeezed;
use super::state::State;
use super::topics::{Part, Place, Topic, Topics};
use crate::domain::codec::{Malformed, Put, Reader};
use crate::domain::{Head, Offset, Progress, ProjectId, SubscriptionId, Time, TopicId};
use crate::store::Scope;

const MAGIC: &[u8; 8] = b"AMSsnap\n";
const FORMAT: u32 = 2;
/// The highest minimum reader that this code satisfies.
const READER: u32 = 2;
/// The format whose topics have all their places.
const ALL_PLACES: u32 = 1;
/// Where what the CRC covers begins.
const UNDER_CRC: usize = 12;
const LENGTH_AT: usize = 24;
const STORE_AT: usize = 32;
const STREAMS_AT: usize = 48;

const TOPIC: u8 = 1;
const CLOSED: u8 = 2;
const SCOPE: u8 = 3;
const OBJECT: u8 = 4;
const PROGRESS: u8 = 5;

/// A place in a stream behind which everything must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// The slot.
    pub(super) generation: u64,
    /// Where the next frame begins in it.
    pub(super) offset: u64,
    /// The last frame before it.
    pub(super) last: Point,
}

/// What a snapshot notes of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    /// Up to here its content is in the snapshot, perhaps with some of what follows.
    pub(super) position: Position,
    /// The slots in use at that moment, in order; the last is that of the position.
    pub(super) slots: Vec<Slot>,
    /// The last durable frame when the snapshot was finished.
    pub(super) end: Point,
}

impl Noted {
    /// What a stream needs kept for this snapshot's sake.
    pub(super) fn cover(&self) -> Cover {
        let listed = self.slots.iter().map(|slot| slot.number).collect();
        Cover { generation: self.position.generation, listed }
    }
}

/// A snapshot read back.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The streams.
    pub(super) streams: Pair<Noted>,
    /// The entry log's maps.
    pub(super) topics: Topics,
    /// The state log's maps.
    pub(super) state: State,
}

/// Why a snapshot is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotError {
    /// It is not intact, or not of this store and name.
    Damaged,
    /// A later version wrote it.
    Newer,
}

impl From<Malformed> for SnapshotError {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

impl Snapshot {
    /// The root file as a snapshot: nothing yet.
    pub(super) fn of_root(root: &Root) -> Self {
        let noted = |slot: &Slot| {
            let last = Point { sequence: slot.first.saturating_sub(1), crc: slot.previous };
            let position = Position { generation: slot.generation, offset: PAGE, last };
            Noted { position, slots: vec![slot.clone()], end: last }
        };
        Self {
            streams: Pair { entries: noted(&root.entries), state: noted(&root.state) },
            topics: Topics::default(),
            state: State::default(),
        }
    }

    /// The name of the snapshot with this number.
    pub(super) fn file(number: u64) -> String {
        format!("{SNAPSHOT}{number:06}")
    }

    /// Which snapshot a file's name means, if it is one.
    pub(super) fn parse_name(name: &str) -> Option<u64> {
        let number = name.strip_prefix(SNAPSHOT)?.parse().ok()?;
        (Self::file(number) == name).then_some(number)
    }

    /// Makes the content of a file one of the store with this id.
    pub(super) fn adopt(file: &mut [u8], store: u64) {
        overwrite(file, STORE_AT, &store.to_le_bytes());
        let crc = crc32c::crc32c(file.get(UNDER_CRC..).unwrap_or_default());
        overwrite(file, 8, &crc.to_le_bytes());
    }

    /// What the file of this number notes of the streams, if it is intact: what a start needs to
    /// know of a snapshot that it keeps and does not use.
    pub(super) fn notes(
        file: &[u8],
        store: u64,
        number: u64,
    ) -> Result<Pair<Noted>, SnapshotError> {
        Self::begin(file, store, number).map(|(streams, _)| streams)
    }

    /// Verifies a file, and reads it up to its items.
    fn begin(
        file: &[u8],
        store: u64,
        number: u64,
    ) -> Result<(Pair<Noted>, Reader<'_>), SnapshotError> {
        let damaged = SnapshotError::Damaged;
        let under_crc = file.get(UNDER_CRC..).ok_or(damaged)?;
        if !file.starts_with(MAGIC)
            || u32_at(file, 8) != Some(crc32c::crc32c(under_crc))
            || u64_at(file, LENGTH_AT) != Some(file.len() as u64)
        {
            return Err(damaged);
        }
        if u32_at(file, 16).ok_or(damaged)? > READER {
            return Err(SnapshotError::Newer);
        }
        if u64_at(file, STORE_AT) != Some(store) || u64_at(file, 40) != Some(number) {
            return Err(damaged);
        }
        let mut reader = Reader::new(file.get(STREAMS_AT..).ok_or(damaged)?, "snapshot");
        let streams = Pair { entries: noted(&mut reader)?, state: noted(&mut reader)? };
        Ok((streams, reader))
    }

    /// Reads the content of the file of this number.
    pub(super) fn decode(file: &[u8], store: u64, number: u64) -> Result<Self, SnapshotError> {
        let damaged = SnapshotError::Damaged;
        let (streams, mut reader) = Self::begin(file, store, number)?;
        let (mut topics, mut state) = (Topics::default(), State::default());
        let format = u32_at(file, UNDER_CRC).ok_or(damaged)?;
        let mut scope = None;
        while !reader.is_empty() {
            match reader.u8()? {
                TOPIC => {
                    let id = TopicId(reader.uuid()?);
                    topics.restore(id, read_topic(&mut reader, format == ALL_PLACES)?);
                }
                CLOSED => drop(topics.closed.insert(TopicId(reader.uuid()?))),
                SCOPE => {
                    let read = read_scope(&mut reader)?;
                    let version = reader.varint()?;
                    state.scopes.entry(read).or_default().version = version;
                    put_objects(&mut state, scope.replace((read, Vec::new())));
                }
                OBJECT => {
                    let (_, objects) = scope.as_mut().ok_or(damaged)?;
                    let key = reader.text()?.into();
                    objects.push((key, Squeezed::new(reader.bytes()?)));
                }
                PROGRESS => {
                    let subscription = SubscriptionId(reader.uuid()?);
                    state.progress.insert(subscription, Progress::decode(reader.bytes()?)?);
                }
                _ => return Err(damaged),
            }
        }
        put_objects(&mut state, scope);
        Ok(Self { streams, topics, state })
    }
}

/// Keys and values of a scope.
type Objects = Vec<(Box<str>, Squeezed)>;

/// Puts the objects of a scope where they belong, at once: they come in order.
fn put_objects(state: &mut State, scope: Option<(Scope, Objects)>) {
    if let Some((scope, objects)) = scope {
        let mut objects = objects.into_iter().collect();
        state.scopes.entry(scope).or_default().objects.append(&mut objects);
    }
}

/// A snapshot being written.
#[derive(Debug)]
pub(super) struct Making {
    out: Vec<u8>,
    format: u32,
    ends_at: Pair<usize>,
}

impl Making {
    /// Begins with what was noted at one moment.
    pub(super) fn new(store: u64, number: u64, streams: &Pair<Noted>) -> Self {
        let mut out = MAGIC.to_vec();
        for value in [0, FORMAT, READER, 0] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in [0, store, number] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let mut ends_at = Pair::default();
        for stream in Stream::ALL {
            let noted = streams.of(stream);
            let position = noted.position;
            for value in [position.generation, position.offset] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            put_point(&mut out, position.last);
            *ends_at.of_mut(stream) = out.len();
            put_point(&mut out, noted.end);
            out.put_varint(noted.slots.len() as u64);
            for slot in &noted.slots {
                out.extend_from_slice(&slot.seal());
                out.extend_from_slice(&slot.first.to_le_bytes());
                out.extend_from_slice(&slot.previous.to_le_bytes());
            }
        }
        Self { out, ends_at, format: FORMAT }
    }

    /// Of the first format: each topic is handed in with all its places as those of the open slot.
    #[cfg(test)]
    pub(super) fn in_first_format(mut self) -> Self {
        self.format = ALL_PLACES;
        for at in [UNDER_CRC, UNDER_CRC + 4] {
            overwrite(&mut self.out, at, &ALL_PLACES.to_le_bytes());
        }
        self
    }

    /// An open topic.
    pub(super) fn topic(&mut self, id: TopicId, topic: &Topic) {
        self.out.put_u8(TOPIC);
        self.out.put_uuid(id.0);
        put_topic(&mut self.out, topic, self.format);
    }

    /// A closed one.
    pub(super) fn closed(&mut self, id: TopicId) {
        self.out.put_u8(CLOSED);
        self.out.put_uuid(id.0);
    }

    /// A scope's version; its objects follow.
    pub(super) fn scope(&mut self, scope: Scope, version: u64) {
        self.out.put_u8(SCOPE);
        match scope {
            Scope::Service => self.out.put_u8(0),
            Scope::Project(project) => {
                self.out.put_u8(1);
                self.out.put_uuid(project.0);
            }
        }
        self.out.put_varint(version);
    }

    /// An object of the last scope.
    pub(super) fn object(&mut self, key: &str, value: &[u8]) {
        self.out.put_u8(OBJECT);
        self.out.put_bytes(key.as_bytes());
        self.out.put_bytes(value);
    }

    /// A subscription's record.
    pub(super) fn progress(&mut self, id: SubscriptionId, progress: &Progress) {
        let mut record = Vec::with_capacity(256);
        progress.encode(&mut record);
        self.out.put_u8(PROGRESS);
        self.out.put_uuid(id.0);
        self.out.put_bytes(&record);
    }

    /// Ends it: the last durable frames now. Answers the file's content.
    pub(super) fn finish(mut self, ends: &Pair<Point>) -> Vec<u8> {
        for stream in Stream::ALL {
            let mut end = Vec::new();
            put_point(&mut end, *ends.of(stream));
            overwrite(&mut self.out, *self.ends_at.of(stream), &end);
        }
        let len = self.out.len() as u64;
        overwrite(&mut self.out, LENGTH_AT, &len.to_le_bytes());
        let crc = crc32c::crc32c(self.out.get(UNDER_CRC..).unwrap_or_default());
        overwrite(&mut self.out, 8, &crc.to_le_bytes());
        self.out
    }
}

fn overwrite(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = out.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn put_point(out: &mut Vec<u8>, point: Point) {
    out.extend_from_slice(&point.sequence.to_le_bytes());
    out.extend_from_slice(&point.crc.to_le_bytes());
}

fn read_u64(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    u64_at(reader.take(8)?, 0).ok_or(reader.malformed())
}

fn read_u32(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32_at(reader.take(4)?, 0).ok_or(reader.malformed())
}

fn read_point(reader: &mut Reader<'_>) -> Result<Point, Malformed> {
    Ok(Point { sequence: read_u64(reader)?, crc: read_u32(reader)? })
}

fn noted(reader: &mut Reader<'_>) -> Result<Noted, Malformed> {
    let (generation, offset) = (read_u64(reader)?, read_u64(reader)?);
    let position = Position { generation, offset, last: read_point(reader)? };
    let end = read_point(reader)?;
    let mut slots = Vec::new();
    for _ in 0..reader.count()? {
        let seal = reader.take(index(SEAL_PAYLOAD))?;
        let slot = Slot::parse_seal(seal, 0, 0).ok_or(reader.malformed())?;
        slots.push(Slot { first: read_u64(reader)?, previous: read_u32(reader)?, ..slot });
    }
    let last = slots.last().ok_or(reader.malformed())?;
    if last.generation != generation || offset < PAGE || offset > last.len() || offset % 8 != 0 {
        return Err(reader.malformed());
    }
    Ok(Noted { position, slots, end })
}

fn read_scope(reader: &mut Reader<'_>) -> Result<Scope, Malformed> {
    match reader.u8()? {
        0 => Ok(Scope::Service),
        1 => Ok(Scope::Project(ProjectId(reader.uuid()?))),
        _ => Err(reader.malformed()),
    }
}

fn put_topic(out: &mut Vec<u8>, topic: &Topic, format: u32) {
    out.put_varint(topic.head.start.0);
    topic.head.encode(out);
    if format != ALL_PLACES {
        out.put_varint(topic.sealed.len() as u64);
    }
    for part in &topic.sealed {
        for value in [
            part.generation,
            u64::from(part.slot),
            part.base.0,
            part.end.0,
            part.first.0,
            part.last.0,
            part.packed,
        ] {
            out.put_varint(value);
        }
    }
    out.put_varint(topic.open.len() as u64);
    for place in &topic.open {
        for value in [
            place.base.0,
            place.end.0,
            place.time.0,
            place.packed,
            place.generation,
            u64::from(place.slot),
            place.at,
            place.len as u64,
            u64::from(place.crc),
        ] {
            out.put_varint(value);
        }
    }
}

fn read_topic(reader: &mut Reader<'_>, all_places: bool) -> Result<Topic, Malformed> {
    let start = Offset(reader.varint()?);
    let head = Head::decode(reader, start)?;
    let mut topic = Topic { head, ..Topic::default() };
    let parts = if all_places { 0 } else { reader.count()? };
    for _ in 0..parts {
        topic.sealed.push_back(Part {
            generation: reader.varint()?,
            slot: reader.u32()?,
            base: Offset(reader.varint()?),
            end: Offset(reader.varint()?),
            first: Time(reader.varint()?),
            last: Time(reader.varint()?),
            packed: reader.varint()?,
        });
    }
    for _ in 0..reader.count()? {
        topic.open.push_back(Place {
            base: Offset(reader.varint()?),
            end: Offset(reader.varint()?),
            time: Time(reader.varint()?),
            packed: reader.varint()?,
            generation: reader.varint()?,
            slot: reader.u32()?,
            at: reader.varint()?,
            len: index(reader.varint()?),
            crc: reader.u32()?,
        });
    }
    // Only the last of them may lie in the slot that is open.
    if let Some(last) = topic.open.back().map(|place| place.generation) {
        topic.seal_before(last);
    }
    Ok(topic)
}
