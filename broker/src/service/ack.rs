//! Acknowledging, seeking, and saying where a subscription is (`ams-contract.md` 9.5, 9.7, 10.4).

use std::sync::Arc;

use super::catalogue::{Cell, ProjectIndex};
use super::deliver::{Place, Target};
use super::{Broker, Caller, Error, Offsets};
use crate::domain::records::AckMode;
use crate::domain::{
    AckVerdict, Entry, Offset, Progress, Seek, SnapshotName, SubscriptionName, Time, TopicId,
};
use crate::store::{By, Limits, StoreError};

/// How much is read at once to count the bytes of acknowledged messages.
const PIECE: Limits = Limits { messages: 1_000, bytes: 8 << 20 };

/// Somebody who may acknowledge in one subscription.
pub struct Acker(Target, AckMode);

impl Acker {
    /// How it is done here: [`Acker::acknowledge`] or [`Acker::acknowledge_each`].
    pub const fn ack_mode(&self) -> AckMode {
        self.1
    }

    pub(super) fn into_target(self) -> Target {
        self.0
    }

    /// Acknowledges everything up to and including `highest` of the given offsets.
    pub async fn acknowledge(self, highest: Offset) -> Result<(), Error> {
        let target = self.into_target();
        let broker = target.broker.clone();
        broker.run(async move { target.acknowledge(highest).await }).await
    }
}

impl Broker {
    /// Existence, before the door judges the ack ids (`ams-contract.md` 9.5).
    pub fn acker(&self, caller: &Caller, name: &SubscriptionName) -> Result<Acker, Error> {
        let (target, record) = self.target(caller.project()?, name)?;
        Ok(Acker(target, record.ack_mode))
    }

    /// Its place. Like AMS, one that fell behind the start is moved there (and that is saved). Of
    /// a deleted topic nothing is kept: what is unacknowledged begins at the position.
    pub async fn offsets(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
    ) -> Result<Offsets, Error> {
        let (target, _) = self.target(caller.project()?, name)?;
        self.run(async move { target.offsets().await }).await
    }

    /// Moves the position; `OffsetOutOfBounds` outside min..=max.
    pub async fn seek(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        to: Offset,
    ) -> Result<(), Error> {
        self.move_to(caller, name, To::Offset(to)).await
    }

    /// Moves the position to the first message at or after `time`, to the end past the last one;
    /// `TopicGone` where there is no topic to look in.
    pub async fn seek_to_time(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        time: Time,
    ) -> Result<(), Error> {
        self.move_to(caller, name, To::Time(time)).await
    }

    /// Moves the position to where a snapshot of the same topic was taken; to the oldest kept message
    /// if that is gone. `SnapshotNotFound`, `SnapshotOfAnother`, `TopicGone`.
    pub async fn seek_to_snapshot(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        snapshot: &SnapshotName,
    ) -> Result<(), Error> {
        let project = caller.project()?;
        self.subscription_record(project, name)?;
        let record = self.snapshot_record(project, snapshot)?;
        self.move_to(caller, name, To::Life(record.topic_id, record.position)).await
    }

    async fn move_to(&self, caller: &Caller, name: &SubscriptionName, to: To) -> Result<(), Error> {
        let project = caller.project()?;
        let (target, _) = self.target(project, name)?;
        let mover =
            Mover { cell: self.project_cell(project)?, by: self.by(caller), name: name.clone() };
        self.run(async move { target.seek(to, &mover).await }).await
    }

    /// The first offset at or after `time`; `TimeOutOfBounds` past the last message.
    pub async fn offset_at(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        time: Time,
    ) -> Result<Offset, Error> {
        let project = caller.project()?;
        let record = self.subscription_record(project, name)?;
        let topic = self.topic_record(project, &record.topic);
        let topic = topic.map_err(|_| Error::TimeOutOfBounds)?;
        self.0.store.find_time(topic.id, time).await?.ok_or(Error::TimeOutOfBounds)
    }
}

impl Target {
    async fn acknowledge(&self, highest: Offset) -> Result<(), Error> {
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        loop {
            self.settle(&mut gate).await?;
            let Place { record, facts, .. } = self.place_now().await?;
            let mut progress = facts.progress;
            let now = self.now();
            let verdict = progress.judge_ack(highest, record.ack_deadline_seconds, now);
            let answer = match verdict {
                AckVerdict::Moves(..) => Ok(()),
                AckVerdict::Repeats => return Ok(()),
                AckVerdict::TooLate => Err(Error::AckTimeout),
                AckVerdict::NothingPending => Err(Error::NoAckPending),
                AckVerdict::NotInWindow => Err(Error::WrongAck),
            };
            let ams_bytes = match verdict {
                AckVerdict::Moves(from, to) => self.ams_bytes(&progress, from, to).await?,
                _ => 0,
            };
            progress.settle(verdict, ams_bytes, now);
            if self.save(&mut gate, progress, &mut retry).await? {
                return answer;
            }
        }
    }

    /// Bytes, as AMS counts, of the messages that an acknowledgement passes. Those of a topic that
    /// was deleted meanwhile are known only for a whole window.
    async fn ams_bytes(
        &self,
        progress: &Progress,
        from: Offset,
        to: Offset,
    ) -> Result<u64, StoreError> {
        if let Some(window) = progress.window
            && (window.start, window.end) == (from, to)
        {
            return Ok(window.ams_bytes);
        }
        let (mut at, mut sum) = (from, 0);
        while at < to {
            let limits = Limits { messages: PIECE.messages.min(to.since(at)), ..PIECE };
            let entries = self.scan(progress.topic, at, limits).await?;
            let Some(end) = entries.last().map(|entry| entry.end()) else { break };
            sum += ams_bytes_of(&entries, at, to)?;
            at = end;
        }
        Ok(sum)
    }

    async fn scan(
        &self,
        topic: TopicId,
        from: Offset,
        limits: Limits,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.broker.0.store.scan(topic, from, limits).await
    }

    async fn offsets(&self) -> Result<Offsets, Error> {
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        loop {
            self.settle(&mut gate).await?;
            let place = self.place_now().await?;
            let (min, max) = bounds(&place);
            let progress = place.facts.progress;
            let offsets = Offsets { max, min, current: progress.position };
            let stands = self
                .state
                .durable()
                .map_or((place.record.topic_id, place.record.start), |durable| {
                    (durable.topic, durable.position)
                });
            if stands == (progress.topic, progress.position)
                || self.save(&mut gate, progress, &mut retry).await?
            {
                return Ok(offsets);
            }
        }
    }

    /// Moves the position. The audit log is told before anything moves: there may be a trace of a
    /// move that then failed, never a move without its trace.
    async fn seek(&self, to: To, mover: &Mover) -> Result<(), Error> {
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        let mut last = None;
        loop {
            self.settle(&mut gate).await?;
            let place = self.place_now().await?;
            let (min, max) = bounds(&place);
            let to = match (to, &place.topic) {
                (To::Offset(to), _) if (min..=max).contains(&to) => to,
                (To::Offset(_), _) => return Err(Error::OffsetOutOfBounds),
                (To::Time(_) | To::Life(..), None) => return Err(Error::TopicGone),
                (To::Life(life, to), Some(topic)) if topic.id() == life => to.clamp(min, max),
                (To::Life(..), Some(_)) => return Err(Error::SnapshotOfAnother),
                (To::Time(time), Some(topic)) => {
                    let found = self.broker.0.store.find_time(topic.id(), time).await?;
                    found.unwrap_or(max).clamp(min, max)
                }
            };
            let mut progress = place.facts.progress;
            let from = progress.position;
            if from != to && last != Some((from, to)) {
                let Mover { cell, by, name } = mover;
                self.broker.audit_move(cell, by, name, from, to).await?;
                last = Some((from, to));
            }
            let each = place.record.ack_mode == AckMode::Individual;
            let seek = match each {
                true => progress.seek_each(to, self.now()),
                false => progress.seek(to, self.now()),
            };
            if self.save(&mut gate, progress, &mut retry).await? {
                // Pulls that wait for a message have one now: what was out is forgotten, too.
                if let Some(topic) = place.topic
                    && (each || matches!(seek, Seek::Backward(_)))
                {
                    topic.wake();
                }
                return Ok(());
            }
        }
    }
}

/// Who moves a position, for the audit log.
struct Mover {
    cell: Arc<Cell<ProjectIndex>>,
    by: By,
    name: SubscriptionName,
}

/// Where a position is moved.
#[derive(Clone, Copy)]
enum To {
    /// Within the bounds, or refused.
    Offset(Offset),
    /// To the first message at or after it.
    Time(Time),
    /// Within the bounds of this life of the topic, as near as there is something.
    Life(TopicId, Offset),
}

/// Oldest and next offset that the position may be moved to.
fn bounds(place: &Place) -> (Offset, Offset) {
    let position = place.facts.progress.position;
    let min = if place.topic.is_some() { place.head.start } else { position };
    (min, place.head.next)
}

fn ams_bytes_of(entries: &[Arc<Entry>], from: Offset, to: Offset) -> Result<u64, StoreError> {
    let mut sum = 0;
    for entry in entries {
        if from <= entry.base && entry.end() <= to {
            sum += entry.batch.ams_bytes();
            continue;
        }
        let first = from.max(entry.base);
        let messages = entry.batch.messages_from(first.since(entry.base));
        for (message, _) in messages.zip(first.0..to.0) {
            sum += message?.data.text_len();
        }
    }
    Ok(sum)
}
