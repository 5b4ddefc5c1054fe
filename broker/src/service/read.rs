//! Reading a topic without a subscription: what an operator or `tail` looks at. Nothing moves, nothing
//! is counted, nobody is kept waiting by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pull::{cut, held_by};
use super::{Broker, Caller, Error, Pulled};
use crate::domain::{Head, Offset, TopicName};
use crate::store::{Limits, StoreError};

/// Where to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// An offset; the oldest kept message if that is later.
    Offset(u64),
    /// So many messages before the end; the oldest kept one if there are fewer.
    End(u64),
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Read {
    /// The messages.
    pub messages: Pulled,
    /// The oldest offset kept.
    pub min: Offset,
    /// The end: the offset of the next message published.
    pub max: Offset,
    /// Where to go on. What was given up as damaged is passed over.
    pub next: Offset,
}

impl Broker {
    /// Up to `most` >= 1 messages of a topic from `from` on, at most what one pull hands out. With
    /// `wait`, the end waits that long for a publish; who lost its rights meanwhile is answered as if
    /// it came anew.
    ///
    /// # Errors
    /// No such topic; an offset beyond its end (`OffsetOutOfBounds`); the store.
    pub async fn read_topic(
        &self,
        caller: &Caller,
        name: &TopicName,
        from: From,
        most: u64,
        wait: Option<Duration>,
    ) -> Result<Read, Error> {
        let project = caller.project()?;
        let until = Instant::now() + wait.unwrap_or_default();
        let mut from = from;
        loop {
            let record = self.topic_record(project, name)?;
            let state = self.topic_state(record.id).await?.ok_or(Error::TopicNotFound)?;
            let mut moved = std::pin::pin!(state.moved());
            // Listening before looking: a publish in between is not missed.
            moved.as_mut().enable();
            let head = self.0.store.head(record.id).await?.ok_or(Error::TopicNotFound)?;
            let first = record.holes.pass(start(from, &head)?);
            let bound = record.holes.next_at(first).unwrap_or(head.next).min(head.next);
            let messages = self.read_entries(record.id, first, most, bound).await?;
            let next = record.holes.pass(first.plus(messages.count));
            if messages.count > 0 || wait.is_none() || Instant::now() >= until {
                return Ok(Read { messages, min: head.start, max: head.next, next });
            }
            from = From::Offset(first.0);
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep_until(until) => {}
                () = self.0.draining.cancelled() => return Err(Error::Unavailable),
            }
            self.readmit(caller)?;
        }
    }

    async fn read_entries(
        &self,
        topic: crate::domain::TopicId,
        first: Offset,
        most: u64,
        bound: Offset,
    ) -> Result<Pulled, Error> {
        let settings = &self.0.settings;
        let want = most.min(settings.pull_messages).max(1).min(bound.since(first));
        if want == 0 {
            return Ok(Pulled { first, ..Pulled::default() });
        }
        let mut share = self.answer_share().await?;
        let bytes = share.limit().min(settings.pull_bytes);
        let limits = Limits { messages: want, bytes };
        let entries = self.0.store.scan(topic, first, limits).await?;
        share.settle(held_by(&entries));
        let cut = cut(&entries, first, want, bytes)?;
        if cut.count == 0 {
            // Trimmed or closed since the head was read: the next try sees it.
            return Err(self.unless_trimmed(topic, first).await?);
        }
        let share = Some(Arc::new(share));
        Ok(Pulled { entries, first, count: cut.count, share, ..Pulled::default() })
    }

    /// Why there is no message at `at`, which lies between a head's start and end.
    async fn unless_trimmed(
        &self,
        topic: crate::domain::TopicId,
        at: Offset,
    ) -> Result<Error, Error> {
        match self.0.store.head(topic).await? {
            None => Ok(Error::TopicNotFound),
            Some(head) if head.start > at => Ok(Error::Unavailable),
            Some(_) => {
                let text = format!("topic {topic}: no message at {at}");
                Ok(StoreError::Corrupt(text.into()).into())
            }
        }
    }
}

fn start(from: From, head: &Head) -> Result<Offset, Error> {
    match from {
        From::Offset(at) if at > head.next.0 => Err(Error::OffsetOutOfBounds),
        From::Offset(at) => Ok(Offset(at).max(head.start)),
        From::End(back) => Ok(Offset(head.next.0.saturating_sub(back)).max(head.start)),
    }
}
