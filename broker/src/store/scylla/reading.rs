//! Reading entries back, and finding a time among them.

use std::sync::Arc;

use uuid::Uuid;

use super::ScyllaStore;
use super::life::Position;
use super::log::digest;
use crate::domain::{Entry, Offset, Time, TopicId};
use crate::store::{Limits, StoreError};

/// Most entries of one read; 1 MiB when each is as large as fits into the row.
const PAGE: u64 = 64;

/// base, digest, payload in the row, or the number of its parts elsewhere.
type EntryRow = (i64, Option<Uuid>, Option<Vec<u8>>, Option<i32>);

impl ScyllaStore {
    /// What [`MessageLog::scan`](crate::store::MessageLog::scan) promises, of an open life.
    pub(super) async fn read_entries(
        &self,
        topic: TopicId,
        at: &Position,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let from = from.max(at.head.start);
        let mut found = Vec::new();
        if from >= at.head.next {
            return Ok(found);
        }
        let (mut messages, mut bytes) = (0, 0);
        let mut place = at.holding(from);
        // The first may begin before `from`, nobody knows where.
        let mut rows = self.entry_over(topic, at, place, from).await?;
        loop {
            for row in rows {
                let base = Offset(row.0.cast_unsigned());
                // Several replicas are no snapshot: an entry may be seen a moment before the one
                // in front of it. Never beyond a gap, nor beyond the head this began with.
                let wanted = found.last().map_or(base.min(from), |last: &Arc<Entry>| last.end());
                if base != wanted || base >= at.head.next {
                    return Ok(found);
                }
                let entry = self.unpack(topic, row).await?;
                // Of the first row it is only known that it begins at or before `from`.
                if entry.base != base || entry.end() <= from {
                    return Err(damage(topic, base));
                }
                messages += entry.end().since(entry.base.max(from));
                bytes += entry.batch.packed().len() as u64;
                found.push(entry);
                if messages >= limits.messages || bytes >= limits.bytes {
                    return Ok(found);
                }
            }
            let Some(next) = found.last().map(|last| last.end()) else {
                return Err(damage(topic, from));
            };
            if next >= at.head.next {
                return Ok(found);
            }
            if next >= at.end(place) {
                place += 1;
            }
            let Some(segment) = at.segments.get(place) else { return Ok(found) };
            let page = limits.messages.saturating_sub(messages).clamp(1, PAGE);
            let page = i32::try_from(page).unwrap_or(1);
            let values = (topic.0, segment.number, next.0.cast_signed(), page);
            rows = self.cql.rows::<EntryRow>(&self.cql.say.entries_from, values).await?;
            if rows.is_empty() {
                return Err(damage(topic, next));
            }
        }
    }

    /// The entry of the segment at `place` that holds `offset`.
    async fn entry_over(
        &self,
        topic: TopicId,
        at: &Position,
        place: usize,
        offset: Offset,
    ) -> Result<Vec<EntryRow>, StoreError> {
        let Some(segment) = at.segments.get(place) else { return Ok(Vec::new()) };
        let values = (topic.0, segment.number, offset.0.cast_signed());
        let row = self.cql.row::<EntryRow>(&self.cql.say.entry_over, values).await?;
        Ok(row.into_iter().collect())
    }

    async fn unpack(&self, topic: TopicId, row: EntryRow) -> Result<Arc<Entry>, StoreError> {
        let (base, id, inline, parts) = row;
        let base = Offset(base.cast_unsigned());
        let id = id.ok_or_else(|| damage(topic, base))?;
        let bytes = match (inline, parts) {
            (Some(bytes), None) => bytes,
            (None, Some(parts)) => {
                let parts = usize::try_from(parts).map_err(|_| damage(topic, base))?;
                let whole = self.parts(topic, id, parts).await?;
                whole.ok_or_else(|| damage(topic, base))?
            }
            _ => return Err(damage(topic, base)),
        };
        if digest(&bytes) != id {
            return Err(damage(topic, base));
        }
        Ok(Arc::new(Entry::decode(&bytes)?))
    }

    /// The payload kept in `count` parts. It is missing only if every replica says so.
    async fn parts(
        &self,
        topic: TopicId,
        id: Uuid,
        count: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for statement in [&self.cql.say.parts, &self.cql.say.parts_everywhere] {
            let parts = self.cql.rows::<(Vec<u8>,)>(statement, (topic.0, id)).await?;
            if parts.len() == count {
                return Ok(Some(parts.into_iter().flat_map(|(part,)| part).collect()));
            }
        }
        Ok(None)
    }

    /// What [`MessageLog::find_time`](crate::store::MessageLog::find_time) promises, of an open
    /// life: time never goes back in a log.
    pub(super) async fn read_time(
        &self,
        topic: TopicId,
        at: &Position,
        time: Time,
    ) -> Result<Option<Offset>, StoreError> {
        if time > at.head.last_time {
            return Ok(None);
        }
        // The first segment by whose end that time has come.
        let later = at.segments.get(1..).unwrap_or_default();
        let place = later.partition_point(|segment| segment.base_time < time);
        self.first(topic, at, place, |row| Time(row.time) >= time).await
    }

    /// What [`MessageLog::kept_bytes`](crate::store::MessageLog::kept_bytes) promises, of an open
    /// life.
    pub(super) async fn read_kept(&self, topic: TopicId, at: &Position) -> Result<u64, StoreError> {
        let start = at.head.start;
        match at.segments.get(at.holding(start)).filter(|_| start < at.head.next) {
            Some(segment) => {
                let first = self.measures_over(topic, segment.number, start).await?;
                Ok(at.packed.saturating_sub(first.packed))
            }
            None => Ok(0),
        }
    }

    /// What [`MessageLog::find_size`](crate::store::MessageLog::find_size) promises, of an open
    /// life.
    pub(super) async fn read_size(
        &self,
        topic: TopicId,
        at: &Position,
        bytes: u64,
    ) -> Result<Option<Offset>, StoreError> {
        let fits = |before: u64| at.packed.saturating_sub(before) <= bytes;
        // The first segment by whose end the rest fits.
        let later = at.segments.get(1..).unwrap_or_default();
        let place = later.partition_point(|segment| !fits(segment.packed));
        self.first(topic, at, place, |row| fits(row.packed)).await
    }

    /// The first kept offset from which on `wanted` holds of the entries, by halves. It does not in
    /// the segments before the one at `place`, and does in those behind it.
    async fn first(
        &self,
        topic: TopicId,
        at: &Position,
        place: usize,
        wanted: impl Fn(&Measures) -> bool + Send,
    ) -> Result<Option<Offset>, StoreError> {
        let (start, next) = (at.head.start, at.head.next);
        let place = place.max(at.holding(start));
        let Some(segment) = at.segments.get(place).filter(|_| start < next) else {
            return Ok(None);
        };
        // The entry sought begins in `low..high`, or at `high`.
        let (mut low, mut high) = (segment.base.max(start), at.end(place));
        while low < high {
            let middle = Offset(low.0 + (high.0 - low.0) / 2);
            let row = self.measures_over(topic, segment.number, middle).await?;
            if wanted(&row) {
                high = row.base;
            } else {
                low = row.base.plus(row.count);
            }
        }
        let found = low.max(high).max(start);
        Ok((found < next).then_some(found))
    }

    /// The measures of the entry that holds `offset`.
    async fn measures_over(
        &self,
        topic: TopicId,
        segment: i32,
        offset: Offset,
    ) -> Result<Measures, StoreError> {
        type Row = (i64, Option<i32>, Option<i64>, Option<i64>);
        let values = (topic.0, segment, offset.0.cast_signed());
        match self.cql.row::<Row>(&self.cql.say.measures_over, values).await? {
            Some((base, Some(count), Some(time), Some(packed))) => Ok(Measures {
                base: Offset(base.cast_unsigned()),
                count: u64::from(count.cast_unsigned()),
                time: time.cast_unsigned(),
                packed: packed.cast_unsigned(),
            }),
            _ => Err(damage(topic, offset)),
        }
    }
}

/// What a row says of its entry without its payload.
struct Measures {
    base: Offset,
    count: u64,
    time: u64,
    /// Packed bytes of all entries before it.
    packed: u64,
}

/// What is stored contradicts itself, or lacks what was acknowledged.
fn damage(topic: TopicId, offset: Offset) -> StoreError {
    StoreError::Corrupt(format!("topic life {topic}, offset {offset}: the entry is lost").into())
}
