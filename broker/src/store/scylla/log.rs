//! The messages of every topic: one conditional write an entry.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use scylla::value::MaybeUnset;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::ScyllaStore;
use super::cql::Cas;
use super::life::{ATTEMPTS, OPEN, Position, SEALED, Segment, Slot, encode_head};
use crate::domain::{Entry, Head, Offset, Time, TopicId};
use crate::store::{Answer, Limits, MessageLog, Outcome, StoreError};

/// A part of a payload is one row.
const PART: usize = 512 << 10;

/// An entry in its stored form, and its digest: what tells it from another in its place.
pub(super) struct Packed {
    pub(super) id: Uuid,
    bytes: Vec<u8>,
}

impl Packed {
    fn new(entry: &Entry) -> Self {
        let mut bytes = Vec::with_capacity(entry.batch.packed().len() + 128);
        entry.encode(&mut bytes);
        Self { id: digest(&bytes), bytes }
    }
}

/// The first 16 bytes of the SHA-256 of an entry's stored form.
pub(super) fn digest(bytes: &[u8]) -> Uuid {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(Sha256::digest(bytes)) {
        *to = from;
    }
    Uuid::from_bytes(id)
}

impl ScyllaStore {
    /// Writes the payload beside the log if it is too large to go through it; the number of its
    /// parts. Repeating it changes nothing: its place is its digest.
    async fn stage(&self, topic: TopicId, packed: &Packed) -> Result<Option<i32>, StoreError> {
        if packed.bytes.len() <= self.settings.inline_bytes {
            return Ok(None);
        }
        let parts = packed.bytes.chunks(PART);
        let count = i32::try_from(parts.len()).map_err(|_| StoreError::Full)?;
        let statement = &self.cql.say.put_part;
        let writes = (0..count)
            .zip(parts)
            .map(|(part, data)| self.cql.write(statement, (topic.0, packed.id, part, data)));
        try_join_all(writes).await?;
        Ok(Some(count))
    }

    /// The commit of `entry` at the end of the open segment: what became of it, where the life
    /// stands if it is applied, and whether the segment is full by it.
    async fn append(
        &self,
        topic: TopicId,
        at: &Position,
        entry: &Entry,
        packed: &Packed,
        parts: Option<i32>,
    ) -> Result<(Cas, Position, bool), StoreError> {
        let head = at.head.after(entry);
        let total = at.packed.saturating_add(entry.batch.packed().len() as u64);
        let size = if parts.is_some() { 0 } else { packed.bytes.len() as u64 };
        let (bytes, entries) = (at.bytes.saturating_add(size), at.entries.saturating_add(1));
        let seals =
            bytes >= self.settings.segment_bytes || entries >= self.settings.segment_entries;
        let inline = match parts {
            None => MaybeUnset::Set(packed.bytes.as_slice()),
            Some(_) => MaybeUnset::Unset,
        };
        let values = (
            head.next.0.cast_signed(),
            encode_head(&head, total),
            if seals { SEALED } else { OPEN },
            bytes.cast_signed(),
            entries.cast_signed(),
            entry.batch.len().cast_signed(),
            entry.time.0.cast_signed(),
            at.packed.cast_signed(),
            packed.id,
            inline,
            parts.map_or(MaybeUnset::Unset, MaybeUnset::Set),
            topic.0,
            at.segment(),
            entry.base.0.cast_signed(),
            at.head.next.0.cast_signed(),
        );
        let outcome = self.cql.cas(&self.cql.say.append, values).await?;
        let segments = Arc::clone(&at.segments);
        let after = Position { segments, head, packed: total, bytes, entries };
        Ok((outcome, after, seals))
    }

    /// Whether the entry at `base` is this one. Asked after a conditional write was refused, or for
    /// an entry behind the head: what is there is there for ever.
    async fn is_there(
        &self,
        topic: TopicId,
        at: &Position,
        base: Offset,
        id: Uuid,
    ) -> Result<bool, StoreError> {
        let Some(segment) = at.segments.get(at.holding(base)) else { return Ok(false) };
        let values = (topic.0, segment.number, base.0.cast_signed());
        let found: Option<(Option<Uuid>,)> = self.cql.row(&self.cql.say.entry_id, values).await?;
        Ok(found.is_some_and(|(found,)| found == Some(id)))
    }

    /// One attempt at a condition on the open segment: `None` = look again.
    async fn settle_on_segment(
        &self,
        topic: TopicId,
        slot: &Slot,
        to: Option<Offset>,
    ) -> Result<Option<Outcome<Head>>, StoreError> {
        let Some(at) = self.find(topic, slot).await? else { return Ok(Some(Outcome::Closed)) };
        let (next, start) = (at.head.next.0.cast_signed(), at.head.start.0.cast_signed());
        let segment = at.segment();
        let mutation = slot.mutate();
        let Some(to) = to else {
            let values = (topic.0, segment, next, start);
            return match self.cql.cas(&self.cql.say.close, values).await? {
                Cas::Applied => {
                    // Closed it is. What is left to do is done by whoever meets it again.
                    match self.finish_close(topic, segment).await {
                        Ok(()) => mutation.settle_closed(),
                        Err(_) => drop(mutation),
                    }
                    Ok(Some(Outcome::Applied(at.head.clone())))
                }
                Cas::Refused => Ok(None),
                Cas::Unknown => Ok(Some(Outcome::Unknown)),
            };
        };
        let mut position = Position::clone(&at);
        let to = to.min(at.head.next);
        if to <= at.head.start {
            mutation.settle(position);
            return Ok(Some(Outcome::Applied(at.head.clone())));
        }
        let values = (to.0.cast_signed(), topic.0, segment, next, start);
        match self.cql.cas(&self.cql.say.trim, values).await? {
            Cas::Applied => {
                position.head.start = to;
                let head = position.head.clone();
                mutation.settle(position);
                Ok(Some(Outcome::Applied(head)))
            }
            Cas::Refused => Ok(None),
            Cas::Unknown => Ok(Some(Outcome::Unknown)),
        }
    }

    async fn on_segment(&self, topic: TopicId, to: Option<Offset>) -> Answer<Head> {
        let _open = self.enter().await?;
        let slot = self.slot(topic);
        let _turn = slot.turn.lock().await;
        for _ in 0..ATTEMPTS {
            if let Some(outcome) = self.settle_on_segment(topic, &slot, to).await? {
                return Ok(outcome);
            }
        }
        Err(StoreError::Unavailable)
    }
}

#[async_trait]
impl MessageLog for ScyllaStore {
    async fn create(&self, topic: TopicId) -> Answer {
        let _open = self.enter().await?;
        let slot = self.slot(topic);
        let _turn = slot.turn.lock().await;
        match slot.is_open() {
            Some(true) => return Ok(Outcome::Applied(())),
            Some(false) => return Ok(Outcome::Closed),
            None => {}
        }
        // The index first: a life that is not in it would never be listed. If the life never
        // begins, or is closed, whoever lists sees that.
        self.put_index(topic, &Segment::FIRST).await?;
        let mutation = slot.mutate();
        match self.create_segment(topic, Segment::FIRST, &Head::default()).await? {
            Cas::Applied => {
                let (segments, head) = (Arc::new([Segment::FIRST]), Head::default());
                mutation.settle(Position { segments, head, packed: 0, bytes: 0, entries: 0 });
                Ok(Outcome::Applied(()))
            }
            Cas::Refused => {
                drop(mutation);
                let found = self.find(topic, &slot).await?;
                Ok(found.map_or(Outcome::Closed, |_| Outcome::Applied(())))
            }
            Cas::Unknown => Ok(Outcome::Unknown),
        }
    }

    async fn close(&self, topic: TopicId) -> Answer<Head> {
        self.on_segment(topic, None).await
    }

    async fn commit(&self, topic: TopicId, entry: Arc<Entry>) -> Answer<Head> {
        let _open = self.enter().await?;
        let slot = self.slot(topic);
        let _turn = slot.turn.lock().await;
        let packed = Packed::new(&entry);
        for attempt in 0..ATTEMPTS {
            let Some(at) = self.find(topic, &slot).await? else { return Ok(Outcome::Closed) };
            if entry.batch.is_empty() {
                return Ok(Outcome::Conflict);
            }
            if entry.base > at.head.next {
                if attempt > 0 {
                    return Ok(Outcome::Conflict);
                }
                // Another process may have moved the head there: look once.
                drop(slot.mutate());
                continue;
            }
            if entry.base < at.head.next {
                let is_there = self.is_there(topic, &at, entry.base, packed.id).await?;
                let head = || Outcome::Applied(at.head.clone());
                return Ok(if is_there { head() } else { Outcome::Conflict });
            }
            let parts = self.stage(topic, &packed).await?;
            let mutation = slot.mutate();
            match self.append(topic, &at, &entry, &packed, parts).await? {
                (Cas::Applied, after, seals) => {
                    let head = after.head.clone();
                    if seals {
                        // The next segment is made when the life is looked for.
                        drop(mutation);
                    } else {
                        mutation.settle(after);
                    }
                    return Ok(Outcome::Applied(head));
                }
                // Somebody else moved the head, sealed, or closed: look, and judge again.
                (Cas::Refused, ..) => drop(mutation),
                (Cas::Unknown, ..) => return Ok(Outcome::Unknown),
            }
        }
        Err(StoreError::Unavailable)
    }

    async fn head(&self, topic: TopicId) -> Result<Option<Head>, StoreError> {
        let _open = self.enter().await?;
        Ok(self.position(topic).await?.map(|at| at.head.clone()))
    }

    async fn scan(
        &self,
        topic: TopicId,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let _open = self.enter().await?;
        match self.position(topic).await? {
            Some(at) => self.read_entries(topic, &at, from, limits).await,
            None => Ok(Vec::new()),
        }
    }

    async fn find_time(&self, topic: TopicId, time: Time) -> Result<Option<Offset>, StoreError> {
        let _open = self.enter().await?;
        match self.position(topic).await? {
            Some(at) => self.read_time(topic, &at, time).await,
            None => Ok(None),
        }
    }

    async fn kept_bytes(&self, topic: TopicId) -> Result<u64, StoreError> {
        let _open = self.enter().await?;
        match self.position(topic).await? {
            Some(at) => self.read_kept(topic, &at).await,
            None => Ok(0),
        }
    }

    async fn find_size(&self, topic: TopicId, bytes: u64) -> Result<Option<Offset>, StoreError> {
        let _open = self.enter().await?;
        match self.position(topic).await? {
            Some(at) => self.read_size(topic, &at, bytes).await,
            None => Ok(None),
        }
    }

    async fn trim(&self, topic: TopicId, to: Offset) -> Answer<Head> {
        self.on_segment(topic, Some(to)).await
    }

    async fn topics(&self) -> Result<Vec<TopicId>, StoreError> {
        let _open = self.enter().await?;
        let mut open = Vec::new();
        for topic in self.indexed().await? {
            if self.position(topic).await?.is_some() {
                open.push(topic);
            }
        }
        Ok(open)
    }
}
