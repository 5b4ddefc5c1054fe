//! Retention: what is older, or more, than a topic keeps goes by recorded trims.
//!
//! A trim cannot be taken back, so nothing is trimmed while the clocks are in doubt, before the
//! daily figures of what goes are recorded, or faster than an eighth of the age in one sweep.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::catalogue::{Cell, ProjectIndex};
use super::{Broker, Error, StoreFault};
use crate::domain::records::TopicRecord;
use crate::domain::retention::{STAMP_MAY_LEAD, drop_before, trusted_now};
use crate::domain::{Offset, Time};
use crate::store::{Limits, Outcome};

/// However short the retention of a topic, sweeps are this far apart.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

impl Broker {
    /// Sweeps until the broker drains.
    pub(super) async fn keep_retention(self) {
        let mut pause = self.pause(self.0.settings.retention.default);
        loop {
            tokio::select! {
                () = self.0.draining.cancelled() => break,
                () = tokio::time::sleep(pause) => pause = self.retain().await,
            }
        }
    }

    /// How long to wait where `shortest` is the shortest age in force: an eighth goes at once.
    fn pause(&self, shortest: Duration) -> Duration {
        self.0.settings.retention.every.min(shortest / 8).max(LEAST_PAUSE)
    }

    /// Trims every topic to what it may keep and answers how long to wait for the next sweep. What
    /// fails is tried again then. Nothing is trimmed while the clocks contradict each other.
    pub(super) async fn retain(&self) -> Duration {
        let settings = self.0.settings.retention;
        let mut shortest = settings.default;
        let clock = &self.0.clock;
        let now = match trusted_now(clock.wall(), clock.steady()) {
            Ok(now) => now,
            Err(apart) => {
                self.clocks_are_in_doubt(true, || format!("they are {} s apart", apart.as_secs()));
                return self.pause(shortest);
            }
        };
        let mut ahead = 0u64;
        for (project, cell) in self.project_cells() {
            if cell.is_gone() {
                continue;
            }
            let topics: Vec<_> = cell.read().index.live_topics().cloned().collect();
            for topic in topics {
                if self.is_draining() {
                    return LEAST_PAUSE;
                }
                let age = self.topic_keeps(&topic);
                shortest = shortest.min(age);
                match self.retain_topic(&cell, &topic, age, now).await {
                    Ok(is_ahead) => ahead += u64::from(is_ahead),
                    Err(error) => {
                        tracing::warn!(%error, %project, topic = %topic.name, "not trimmed");
                    }
                }
            }
            if let Err(error) = self.count_stored(&cell).await {
                tracing::warn!(%error, %project, "stored bytes not counted");
            }
        }
        let stamps = || format!("the last messages of {ahead} topics were stamped in the future");
        self.clocks_are_in_doubt(ahead > 0, stamps);
        self.pause(shortest)
    }

    /// Says once that the clocks are in doubt, and once that they are not any more; counts each
    /// sweep in which they are, so that operators are told as long as it lasts.
    fn clocks_are_in_doubt(&self, doubt: bool, why: impl FnOnce() -> String) {
        if doubt {
            self.count_store_fault(StoreFault::Clock);
        }
        if self.0.clock_fault.swap(doubt, Ordering::Relaxed) != doubt {
            if doubt {
                tracing::error!(why = why(), "clock fault: what is in doubt is not trimmed");
            } else {
                tracing::info!("the clocks agree again: messages are trimmed as usual");
            }
        }
    }

    /// One topic. Answers whether its last message is stamped in the future: log time never goes
    /// back, so its messages stay until their stamps are old enough.
    async fn retain_topic(
        &self,
        cell: &Cell<ProjectIndex>,
        record: &TopicRecord,
        age: Duration,
        now: Time,
    ) -> Result<bool, Error> {
        let Some(topic) = self.topic_state(record.id).await? else { return Ok(false) };
        let head = topic.head();
        self.record_usage(cell, record, &head, now).await?;
        if head.kept() > 0 {
            let by_age = self.too_old(record, head.start, age, now).await?;
            let by_size = self.too_much(record).await?;
            // Only what was there when the figures were recorded.
            let to = by_age.max(by_size).min(head.next);
            if to > head.start {
                let store = &self.0.store;
                let sent = || store.trim(record.id, to);
                if let Outcome::Applied(head) = self.settle(&mut self.retry(), sent).await? {
                    tracing::debug!(topic = %record.name, %to, "trimmed");
                    topic.advance(head);
                }
            }
        }
        Ok(head.last_time.since(now) > STAMP_MAY_LEAD)
    }

    /// Where the messages begin that `age` lets stay, as far as one sweep may go.
    async fn too_old(
        &self,
        record: &TopicRecord,
        start: Offset,
        age: Duration,
        now: Time,
    ) -> Result<Offset, Error> {
        let store = &self.0.store;
        let end = Offset(u64::MAX);
        let expired = store.find_time(record.id, now.minus(age)).await?.unwrap_or(end);
        if expired <= start {
            return Ok(start);
        }
        // Only now is the time of the oldest message worth a read.
        let oldest = record.holes.pass(start);
        if expired <= oldest {
            return Ok(expired);
        }
        let oldest = store.scan(record.id, oldest, Limits { messages: 1, bytes: 1 }).await?;
        let Some(oldest) = oldest.first() else { return Ok(start) };
        let limit = drop_before(now, oldest.time, age);
        Ok(store.find_time(record.id, limit).await?.unwrap_or(end))
    }

    /// Counts what the topics of a project keep.
    pub(super) async fn count_stored(&self, cell: &Cell<ProjectIndex>) -> Result<(), Error> {
        let before = cell.stored();
        let topics: Vec<_> = cell.read().index.topics.values().map(|topic| topic.id).collect();
        let mut kept = 0u64;
        for topic in topics {
            kept = kept.saturating_add(self.0.store.kept_bytes(topic).await?);
        }
        cell.correct_stored(before, kept);
        Ok(())
    }

    /// Where the messages begin that the topic's size lets stay.
    async fn too_much(&self, record: &TopicRecord) -> Result<Offset, Error> {
        let Some(bytes) = record.retention.bytes else { return Ok(Offset(0)) };
        let found = self.0.store.find_size(record.id, bytes).await?;
        Ok(found.unwrap_or(Offset(u64::MAX)))
    }
}
