//! Records: what a data frame holds. Each has a kind, a version, a length and its own CRC32C, so
//! that a cold read can verify one entry without the whole frame.
//!
//! Layout: crc u32 (over all that follows), body length u32, kind u8, version u8, 0 u16, body.

use super::layout::{Stream, index, u32_at};
use super::payload::{LARGE, Payload, combine};
use crate::domain::codec::{Malformed, Put, Reader};
use crate::domain::{DayFigures, Entry, Offset, Progress, ProjectId, SubscriptionId, TopicId};
use crate::store::{ChangeSet, Scope};

/// Bytes of a record before its body.
pub(super) const RECORD_HEADER: usize = 12;
/// A create, close, trim or delete record is never longer.
pub(super) const SMALL: usize = 64;

const VERSION: u8 = 1;
const CREATE: u8 = 1;
const ENTRY: u8 = 2;
const CLOSE: u8 = 3;
const TRIM: u8 = 4;
const SCOPE: u8 = 16;
const SAVE: u8 = 17;
const DELETE: u8 = 18;

/// A record of either log, read back.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// A topic life begins.
    Create(TopicId),
    /// One commit of messages.
    Entry(TopicId, Entry),
    /// A topic life ends, with the figures of its last day.
    Close(TopicId, Option<DayFigures>),
    /// The start of a topic life moves.
    Trim(TopicId, Offset),
    /// A scope's commit.
    Scope(Scope, ChangeSet),
    /// A subscription's record.
    Save(SubscriptionId, Box<Progress>),
    /// A subscription's record goes.
    Delete(SubscriptionId),
}

/// Why records could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordError {
    /// Not what its kind and version promise.
    Malformed(&'static str),
    /// A kind or version that this program does not know.
    Unknown(u8, u8),
}

impl From<Malformed> for RecordError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.0)
    }
}

/// Begins a record at the end of `out`; [`finish`] completes it.
fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, kind, VERSION, 0, 0]);
    at
}

fn finish(out: &mut [u8], at: usize) {
    finish_before(out, at, 0, 0);
}

/// Completes a record that goes on behind `out` with `more` bytes whose CRC is `more_crc`.
fn finish_before(out: &mut [u8], at: usize, more: usize, more_crc: u32) {
    let Some(record) = out.get_mut(at..) else { return };
    let len = record.len().saturating_sub(RECORD_HEADER) + more;
    // A record fits a slot, and a slot is less than 2 GiB.
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if let Some(field) = record.get_mut(4..8) {
        field.copy_from_slice(&len.to_le_bytes());
    }
    let mut crc = crc32c::crc32c(record.get(4..).unwrap_or_default());
    if more > 0 {
        crc = combine(crc, more_crc, more);
    }
    if let Some(field) = record.get_mut(..4) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

/// An entry's record.
pub(super) fn entry(topic: TopicId, entry: &Entry) -> Payload {
    let packed = entry.batch.packed();
    if packed.len() < LARGE {
        let mut whole = Vec::with_capacity(packed.len() + 128);
        put_entry(&mut whole, topic, entry);
        return whole.into();
    }
    let mut head = Vec::with_capacity(128);
    let at = begin(&mut head, ENTRY);
    head.put_uuid(topic.0);
    entry.encode_head(&mut head);
    let crc = crc32c::crc32c(packed);
    finish_before(&mut head, at, packed.len(), crc);
    let mut record = Payload::from(head);
    record.push(packed.clone(), crc);
    record
}

/// Appends an entry's record.
pub(super) fn put_entry(out: &mut Vec<u8>, topic: TopicId, entry: &Entry) {
    let at = begin(out, ENTRY);
    out.put_uuid(topic.0);
    entry.encode(out);
    finish(out, at);
}

/// Appends a create record.
pub(super) fn put_create(out: &mut Vec<u8>, topic: TopicId) {
    let at = begin(out, CREATE);
    out.put_uuid(topic.0);
    finish(out, at);
}

/// Appends a close record.
pub(super) fn put_close(out: &mut Vec<u8>, topic: TopicId, last_day: Option<DayFigures>) {
    let at = begin(out, CLOSE);
    out.put_uuid(topic.0);
    out.put_u8(u8::from(last_day.is_some()));
    if let Some(day) = last_day {
        day.encode(out);
    }
    finish(out, at);
}

/// Appends a trim record.
pub(super) fn put_trim(out: &mut Vec<u8>, topic: TopicId, to: Offset) {
    let at = begin(out, TRIM);
    out.put_uuid(topic.0);
    out.put_varint(to.0);
    finish(out, at);
}

/// Appends a progress record.
pub(super) fn put_save(out: &mut Vec<u8>, subscription: SubscriptionId, progress: &Progress) {
    let at = begin(out, SAVE);
    out.put_uuid(subscription.0);
    progress.encode(out);
    finish(out, at);
}

/// Appends a progress record's deletion.
pub(super) fn put_delete(out: &mut Vec<u8>, subscription: SubscriptionId) {
    let at = begin(out, DELETE);
    out.put_uuid(subscription.0);
    finish(out, at);
}

/// Appends a scope's commit.
pub(super) fn put_scope(out: &mut Vec<u8>, scope: Scope, set: &ChangeSet) {
    let at = begin(out, SCOPE);
    match scope {
        Scope::Service => out.put_u8(0),
        Scope::Project(project) => {
            out.put_u8(1);
            out.put_uuid(project.0);
        }
    }
    set.encode(out);
    finish(out, at);
}

/// One record of a payload: where it lies and what it is.
#[derive(Debug)]
pub(super) struct Placed {
    /// Where it begins in the payload.
    pub(super) at: usize,
    /// Its length, header included.
    pub(super) len: usize,
    /// Its CRC.
    pub(super) crc: u32,
    /// What it says.
    pub(super) record: Record,
}

/// The first record of `bytes` and its length; it must be intact and of `stream`.
pub(super) fn read(bytes: &[u8], stream: Stream) -> Result<(Record, usize, u32), RecordError> {
    let damaged = RecordError::Malformed("record");
    let crc = u32_at(bytes, 0).ok_or(damaged)?;
    let len = RECORD_HEADER + index(u64::from(u32_at(bytes, 4).ok_or(damaged)?));
    let record = bytes.get(..len).ok_or(damaged)?;
    let sound = crc32c::crc32c(record.get(4..).ok_or(damaged)?) == crc;
    #[cfg(feature = "planted-bugs")]
    let sound = sound || crate::planted::is("skip_crc");
    if !sound {
        return Err(damaged);
    }
    let mut header = Reader::new(record.get(8..).ok_or(damaged)?, "record");
    let (kind, version) = (header.u8()?, header.u8()?);
    header.take(2)?;
    if version != VERSION {
        return Err(RecordError::Unknown(kind, version));
    }
    let body = header.take(header.remaining())?;
    let record = decode(kind, body, stream)?.ok_or(RecordError::Unknown(kind, version))?;
    Ok((record, len, crc))
}

/// All records of a data frame's payload. What is left after the last is less than 8 zero bytes.
pub(super) fn read_all(payload: &[u8], stream: Stream) -> Result<Vec<Placed>, RecordError> {
    let mut found = Vec::new();
    let (mut rest, mut at) = (payload, 0);
    while rest.len() >= 8 {
        let (record, len, crc) = read(rest, stream)?;
        found.push(Placed { at, len, crc, record });
        at += len;
        rest = rest.get(len..).unwrap_or_default();
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err(RecordError::Malformed("padding"));
    }
    Ok(found)
}

fn decode(kind: u8, body: &[u8], stream: Stream) -> Result<Option<Record>, Malformed> {
    let mut reader = Reader::new(body, "record body");
    let record = match (stream, kind) {
        (Stream::Entries, CREATE) => Record::Create(topic(&mut reader)?),
        (Stream::Entries, ENTRY) => {
            let topic = topic(&mut reader)?;
            Record::Entry(topic, Entry::decode(reader.take(reader.remaining())?)?)
        }
        (Stream::Entries, CLOSE) => {
            let topic = topic(&mut reader)?;
            let day = flag(&mut reader)?.then(|| DayFigures::decode(&mut reader)).transpose()?;
            Record::Close(topic, day)
        }
        (Stream::Entries, TRIM) => Record::Trim(topic(&mut reader)?, Offset(reader.varint()?)),
        (Stream::State, SCOPE) => scope(&mut reader)?,
        (Stream::State, SAVE) => {
            let subscription = SubscriptionId(reader.uuid()?);
            let progress = Progress::decode(reader.take(reader.remaining())?)?;
            Record::Save(subscription, Box::new(progress))
        }
        (Stream::State, DELETE) => Record::Delete(SubscriptionId(reader.uuid()?)),
        _ => return Ok(None),
    };
    reader.end()?;
    Ok(Some(record))
}

fn topic(reader: &mut Reader<'_>) -> Result<TopicId, Malformed> {
    reader.uuid().map(TopicId)
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed()),
    }
}

fn scope(reader: &mut Reader<'_>) -> Result<Record, Malformed> {
    let scope =
        if flag(reader)? { Scope::Project(ProjectId(reader.uuid()?)) } else { Scope::Service };
    Ok(Record::Scope(scope, ChangeSet::decode(reader)?))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{BatchBuilder, Head, Time, UserId};
    use crate::store::{By, Change};

    fn entry() -> Entry {
        let mut batch = BatchBuilder::default();
        batch.push(&[("k", "v")], "aGVsbG8=");
        Head::default().entry(Time(5), batch.finish(), Vec::new())
    }

    fn set() -> ChangeSet {
        ChangeSet {
            version: 3,
            changes: vec![
                Change::Put(String::from("a"), Bytes::from_static(b"1")),
                Change::Delete(String::from("b")),
            ],
            by: By {
                user: Some(UserId(Uuid::from_u128(5))),
                verb: String::from("topics:create"),
                time: Time(9),
                address: String::from("::1"),
            },
        }
    }

    #[test]
    fn every_record_is_read_back_by_its_own_stream_only() {
        let (topic, subscription) = (TopicId::random(), SubscriptionId::random());
        let progress = Progress::fresh(topic, Offset(2));
        let day = Some(DayFigures { day: u32::MAX, messages: u64::MAX, ams_bytes: u64::MAX });
        let mut entries = Vec::new();
        put_create(&mut entries, topic);
        put_entry(&mut entries, topic, &entry());
        let close_at = entries.len();
        put_close(&mut entries, topic, day);
        let trim_at = entries.len();
        assert!(trim_at - close_at <= SMALL);
        put_trim(&mut entries, topic, Offset(u64::MAX));
        assert!(entries.len() - trim_at <= SMALL);
        let mut state = Vec::new();
        put_scope(&mut state, Scope::Project(ProjectId(topic.0)), &set());
        put_scope(&mut state, Scope::Service, &set());
        put_save(&mut state, subscription, &progress);
        put_delete(&mut state, subscription);

        entries.resize(entries.len().next_multiple_of(8), 0);
        state.resize(state.len().next_multiple_of(8), 0);
        let read = |bytes: &[u8], stream| -> Vec<Record> {
            read_all(bytes, stream).unwrap().into_iter().map(|placed| placed.record).collect()
        };
        assert_eq!(
            read(&entries, Stream::Entries),
            [
                Record::Create(topic),
                Record::Entry(topic, entry()),
                Record::Close(topic, day),
                Record::Trim(topic, Offset(u64::MAX)),
            ]
        );
        assert_eq!(
            read(&state, Stream::State),
            [
                Record::Scope(Scope::Project(ProjectId(topic.0)), set()),
                Record::Scope(Scope::Service, set()),
                Record::Save(subscription, Box::new(progress)),
                Record::Delete(subscription),
            ]
        );
        assert_eq!(read_all(&entries, Stream::State).unwrap_err(), RecordError::Unknown(CREATE, 1));
        assert_eq!(read_all(&state, Stream::Entries).unwrap_err(), RecordError::Unknown(SCOPE, 1));
    }

    #[test]
    fn an_unknown_version_is_refused_and_every_flip_is_seen() {
        let mut bytes = Vec::new();
        put_entry(&mut bytes, TopicId::random(), &entry());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes, Stream::Entries).is_err());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[9] = 2;
        finish(&mut bytes, 0);
        let refused = read(&bytes, Stream::Entries).unwrap_err();
        assert_eq!(refused, RecordError::Unknown(ENTRY, 2));
    }
}
