//! Where a topic life stands: its segments, the head in the last one, and how it is found.

use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::ScyllaStore;
use super::cql::Cas;
use crate::domain::codec::{Malformed, Put as _, Reader};
use crate::domain::{Head, Offset, Time, TopicId};
use crate::store::StoreError;

/// The state word of a segment.
pub(super) const OPEN: i8 = 0;
pub(super) const SEALED: i8 = 1;
const CLOSED: i8 = 2;

/// How often a life is looked for anew because it moved meanwhile.
pub(super) const ATTEMPTS: u32 = 16;

/// What this process knows of one life.
pub(super) struct Slot {
    /// Mutations of a life go one behind the other, in the order of asking.
    pub(super) turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Clone)]
enum Known {
    /// It must be looked for.
    Nothing,
    Open(Arc<Position>),
    Closed,
}

/// The end of an open life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// All segments, ascending; the last is the open one.
    pub(super) segments: Arc<[Segment]>,
    pub(super) head: Head,
    /// Packed bytes of all entries of the life.
    pub(super) packed: u64,
    /// Bytes and entries in the open segment.
    pub(super) bytes: u64,
    pub(super) entries: u32,
}

/// One partition of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: i32,
    pub(super) base: Offset,
    /// Time of the last entry before it.
    pub(super) base_time: Time,
    /// Packed bytes of all entries before it.
    pub(super) packed: u64,
}

impl Segment {
    /// Of every life.
    pub(super) const FIRST: Self =
        Self { number: 0, base: Offset(0), base_time: Time(0), packed: 0 };
}

impl Position {
    /// The open segment's number.
    pub(super) fn segment(&self) -> i32 {
        self.segments.last().map_or(0, |segment| segment.number)
    }

    /// The place among the segments of the one that holds `offset`.
    pub(super) fn holding(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    /// The offset behind the segment at `place`.
    pub(super) fn end(&self, place: usize) -> Offset {
        self.segments.get(place + 1).map_or(self.head.next, |next| next.base)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self { turn: tokio::sync::Mutex::new(()), known: Mutex::new(Known::Nothing) }
    }
}

impl Slot {
    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Whether the life is open, if this process knows.
    pub(super) fn is_open(&self) -> Option<bool> {
        match self.known() {
            Known::Nothing => None,
            Known::Open(_) => Some(true),
            Known::Closed => Some(false),
        }
    }

    /// Begins a mutation whose outcome must be settled, or the life is looked for anew.
    pub(super) const fn mutate(&self) -> Unsettled<'_> {
        Unsettled { slot: self, settled: false }
    }
}

/// A mutation in flight. Dropped unsettled (no definite answer, a caller that went away) it makes
/// the process forget where the life stands.
pub(super) struct Unsettled<'a> {
    slot: &'a Slot,
    settled: bool,
}

impl Unsettled<'_> {
    /// It stands here now.
    pub(super) fn settle(mut self, position: Position) {
        self.slot.learn(Known::Open(Arc::new(position)));
        self.settled = true;
    }

    /// It is closed now.
    pub(super) fn settle_closed(mut self) {
        self.slot.learn(Known::Closed);
        self.settled = true;
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.slot.learn(Known::Nothing);
        }
    }
}

type SegmentRow = (Option<i64>, Option<i8>, Option<i64>, Option<Vec<u8>>, Option<i64>, Option<i32>);

/// One segment as it was read.
pub(super) struct Read {
    pub(super) state: i8,
    head: Head,
    packed: u64,
    bytes: u64,
    entries: u32,
}

impl ScyllaStore {
    /// The slot of a life.
    pub(super) fn slot(&self, topic: TopicId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(topic).or_default())
    }

    /// Where an open life stands, for a reader; `None` when it is closed or was never created.
    pub(super) async fn position(
        &self,
        topic: TopicId,
    ) -> Result<Option<Arc<Position>>, StoreError> {
        let slot = self.slot(topic);
        match slot.known() {
            Known::Open(position) => Ok(Some(position)),
            Known::Closed => Ok(None),
            Known::Nothing => {
                let _turn = slot.turn.lock().await;
                self.find(topic, &slot).await
            }
        }
    }

    /// The same for whoever has the slot's turn.
    pub(super) async fn find(
        &self,
        topic: TopicId,
        slot: &Slot,
    ) -> Result<Option<Arc<Position>>, StoreError> {
        match slot.known() {
            Known::Open(position) => return Ok(Some(position)),
            Known::Closed => return Ok(None),
            Known::Nothing => {}
        }
        for _ in 0..ATTEMPTS {
            match self.look(topic, slot).await? {
                Looked::At(found) => return Ok(found),
                Looked::Moved => {}
            }
        }
        Err(StoreError::Unavailable)
    }

    /// Reads where the life stands. Serially: what was in flight is finished by that.
    async fn look(&self, topic: TopicId, slot: &Slot) -> Result<Looked, StoreError> {
        let index = self.cql.rows::<(i32, i64, i64, i64)>(&self.cql.say.index, (topic.0,)).await?;
        let mut segments: Vec<Segment> = index.into_iter().map(segment).collect();
        let indexed = segments.len();
        if segments.is_empty() {
            segments.push(Segment::FIRST);
        }
        loop {
            let last = segments.last().copied().unwrap_or(Segment::FIRST);
            let Some(read) = self.read_segment(topic, last.number).await? else {
                if last.number > 0 {
                    let text = format!("segment {} of topic life {topic} is gone", last.number);
                    return Err(StoreError::Corrupt(text.into()));
                }
                // Not remembered: it may still begin.
                return Ok(Looked::At(None));
            };
            match read.state {
                OPEN => {
                    // The one before wrote the segment, but perhaps not into the index.
                    for missing in segments.iter().skip(indexed) {
                        self.put_index(topic, missing).await?;
                    }
                    let Read { head, packed, bytes, entries, .. } = read;
                    let segments = segments.into();
                    let position = Arc::new(Position { segments, head, packed, bytes, entries });
                    slot.learn(Known::Open(Arc::clone(&position)));
                    return Ok(Looked::At(Some(position)));
                }
                SEALED => match self.next_segment(topic, last.number, &read).await? {
                    Some(next) => segments.push(next),
                    None => return Ok(Looked::Moved),
                },
                CLOSED => {
                    self.finish_close(topic, last.number).await?;
                    slot.learn(Known::Closed);
                    return Ok(Looked::At(None));
                }
                _ => return Err(Malformed("state of a segment").into()),
            }
        }
    }

    pub(super) async fn read_segment(
        &self,
        topic: TopicId,
        number: i32,
    ) -> Result<Option<Read>, StoreError> {
        let row: Option<SegmentRow> =
            self.cql.row(&self.cql.say.segment, (topic.0, number)).await?;
        let Some((next, state, start, head, bytes, entries)) = row else { return Ok(None) };
        let (Some(next), Some(state), Some(start), Some(head), Some(bytes), Some(entries)) =
            (next, state, start, head, bytes, entries)
        else {
            return Err(Malformed("segment header").into());
        };
        let (head, packed) = decode_head(&head, Offset(start.cast_unsigned()))?;
        if head.next != Offset(next.cast_unsigned()) {
            return Err(Malformed("head of a segment").into());
        }
        let (bytes, entries) = (bytes.cast_unsigned(), entries.cast_unsigned());
        Ok(Some(Read { state, head, packed, bytes, entries }))
    }

    /// Makes the segment behind a sealed one, which says all about it: whoever sees the seal may
    /// do this. `None` when the life moved on or ended meanwhile.
    pub(super) async fn next_segment(
        &self,
        topic: TopicId,
        sealed: i32,
        read: &Read,
    ) -> Result<Option<Segment>, StoreError> {
        let (number, base, base_time) = (sealed + 1, read.head.next, read.head.last_time);
        let next = Segment { number, base, base_time, packed: read.packed };
        let made = self.create_segment(topic, next, &read.head).await?;
        if made == Cas::Unknown {
            return Err(StoreError::Unavailable);
        }
        // A process that slept since it saw the seal may have made a segment of a life that went
        // on and was closed: then the first one says so by now.
        let before = self.read_segment(topic, sealed).await?;
        if before.is_none_or(|before| before.state != SEALED) {
            if made == Cas::Applied {
                self.cql.write(&self.cql.say.drop_segment, (topic.0, next.number)).await?;
            }
            return Ok(None);
        }
        self.put_index(topic, &next).await?;
        Ok(Some(next))
    }

    pub(super) async fn create_segment(
        &self,
        topic: TopicId,
        segment: Segment,
        head: &Head,
    ) -> Result<Cas, StoreError> {
        let (next, start) = (head.next.0.cast_signed(), head.start.0.cast_signed());
        let head = encode_head(head, segment.packed);
        let values = (topic.0, segment.number, next, start, head);
        self.cql.cas(&self.cql.say.create_segment, values).await
    }

    pub(super) async fn put_index(
        &self,
        topic: TopicId,
        segment: &Segment,
    ) -> Result<(), StoreError> {
        let (base, time) = (segment.base.0.cast_signed(), segment.base_time.0.cast_signed());
        let values = (topic.0, segment.number, base, time, segment.packed.cast_signed());
        self.cql.write(&self.cql.say.put_index, values).await
    }

    /// What follows a close: the first segment remembers it, the index forgets the life. Cut at
    /// any line, whoever finds the life next does it again.
    pub(super) async fn finish_close(
        &self,
        topic: TopicId,
        segment: i32,
    ) -> Result<(), StoreError> {
        if segment > 0
            && self.cql.cas(&self.cql.say.close_first_segment, (topic.0,)).await? == Cas::Unknown
        {
            return Err(StoreError::Unavailable);
        }
        self.cql.write(&self.cql.say.drop_index, (topic.0,)).await
    }

    /// Every life that the index names; some may be closed, or never have begun.
    pub(super) async fn indexed(&self) -> Result<Vec<TopicId>, StoreError> {
        let rows = self.cql.rows::<(Uuid,)>(&self.cql.say.indexed_topics, ()).await?;
        Ok(rows.into_iter().map(|(topic,)| TopicId(topic)).collect())
    }
}

enum Looked {
    At(Option<Arc<Position>>),
    /// Somebody else is at work: look again.
    Moved,
}

fn segment((number, base, time, packed): (i32, i64, i64, i64)) -> Segment {
    let (base, base_time) = (Offset(base.cast_unsigned()), Time(time.cast_unsigned()));
    Segment { number, base, base_time, packed: packed.cast_unsigned() }
}

const HEAD_VERSION: u8 = 1;

/// The head but for its start, which moves on its own, and the packed bytes of all entries.
pub(super) fn encode_head(head: &Head, packed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put_u8(HEAD_VERSION);
    head.encode(&mut out);
    out.put_varint(packed);
    out
}

fn decode_head(bytes: &[u8], start: Offset) -> Result<(Head, u64), Malformed> {
    let mut reader = Reader::new(bytes, "head");
    if reader.u8()? != HEAD_VERSION {
        return Err(reader.malformed());
    }
    let head = Head::decode(&mut reader, start)?;
    let packed = reader.varint()?;
    reader.end()?;
    Ok((head, packed))
}
