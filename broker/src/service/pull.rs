//! Pulling: at once, or woken by a publish (`ams-contract.md` 9.4, 10.3).

use std::sync::Arc;
use std::time::Duration;

use super::deliver::Target;
use super::{Broker, Caller, Error, Pulled};
use crate::domain::records::{AckMode, SubscriptionRecord};
use crate::domain::roles::ProjectRole;
use crate::domain::{Entry, MessageRef, Offset, ProjectName, SubscriptionName, Time};
use crate::store::{Limits, StoreError};

/// Somebody who may pull from one subscription.
pub struct Puller<'a> {
    target: Target,
    caller: &'a Caller,
}

impl Puller<'_> {
    /// Hands out up to `max` >= 1 messages from the position on and opens the window, durably, before it answers. With `wait`,
    /// an empty subscription waits that long for a publish; without, it answers at once. A fully drained pull writes nothing.
    /// Who lost its rights while it waited gets no message: it is answered as if it came anew.
    pub async fn pull(self, max: u64, wait: Option<Duration>) -> Result<Pulled, Error> {
        let outcome = self.pull_or_wait(max, wait).await;
        self.target.state.count(&outcome);
        outcome
    }

    async fn pull_or_wait(&self, max: u64, wait: Option<Duration>) -> Result<Pulled, Error> {
        let target = &self.target;
        let broker = &target.broker;
        if broker.is_draining() {
            return Err(Error::Unavailable);
        }
        // The pull before this one: looking for messages counts as one already.
        let before = target.state.last_pull();
        let until = tokio::time::Instant::now() + wait.unwrap_or_default();
        loop {
            let Some(topic) = target.place(target.now())?.topic else {
                return Err(Error::TopicGone);
            };
            let mut moved = std::pin::pin!(topic.moved());
            // Listening before looking: a publish in between is not missed.
            moved.as_mut().enable();
            let pulled = target.pull(max, before).await?;
            if pulled.count > 0 || wait.is_none() {
                return Ok(pulled);
            }
            // What is out at others now may be due before this one's time is over.
            let due = target.next_due()?.map(|wait| tokio::time::Instant::now() + wait);
            let due = due.filter(|due| *due < until);
            let is_over = tokio::select! {
                () = moved => false,
                () = tokio::time::sleep_until(due.unwrap_or(until)) => due.is_none(),
                () = broker.0.draining.cancelled() => return Ok(pulled),
            };
            self.readmit()?;
            if is_over {
                return Ok(pulled);
            }
        }
    }

    /// The gate and [`Broker::puller`] once more.
    fn readmit(&self) -> Result<(), Error> {
        let Self { target, caller } = self;
        let admitted = target.broker.readmit(caller).and_then(|caller| {
            let record = target.broker.subscription_record(target.project, &target.name)?;
            target.broker.may_pull(&caller, &record)
        });
        if matches!(admitted, Err(Error::Forbidden | Error::Unauthorized)) {
            target.state.count_denied();
        }
        admitted
    }
}

impl Target {
    async fn pull_once(&self, max: u64, before: Time) -> Result<Pulled, Error> {
        let settings = &self.broker.0.settings;
        let want = max.min(settings.pull_messages).max(1);
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        loop {
            self.settle(&mut gate).await?;
            let place = self.place_now().await?;
            let topic = place.topic.ok_or(Error::TopicGone)?;
            let mut progress = place.facts.progress;
            let first = progress.position;
            if place.facts.available == 0 {
                self.state.touch(self.now());
                return Ok(Pulled { first, ..Pulled::default() });
            }
            // What was given up is never read, nor in a window with what is behind it.
            let want = place.sound.map_or(want, |end| want.min(end.since(first)));
            let mut share = self.broker.answer_share().await?;
            let bytes = share.limit().min(settings.pull_bytes);
            let limits = Limits { messages: want, bytes };
            let entries = self.broker.0.store.scan(topic.id(), first, limits).await?;
            share.settle(held_by(&entries));
            let cut = cut(&entries, first, want, bytes)?;
            if cut.count == 0 {
                // Trimmed or closed since the head was read; else it is not there although it must.
                if retry.is_late() {
                    let text = format!("topic {}: no message at {first}", topic.id());
                    return Err(StoreError::Corrupt(text.into()).into());
                }
                retry.again().await?;
                continue;
            }
            progress.clocks.last_pull = progress.clocks.last_pull.max(before);
            progress.hand_out(cut.count, cut.ams_bytes, self.now());
            if self.save(&mut gate, progress, &mut retry).await? {
                let share = Some(Arc::new(share));
                return Ok(Pulled { entries, first, count: cut.count, share, ..Pulled::default() });
            }
        }
    }

    async fn pull(&self, max: u64, before: Time) -> Result<Pulled, Error> {
        // An idle poll, the commonest call of all, costs neither a task nor a lock.
        let now = self.now();
        let place = self.place(now)?;
        if place.topic.is_some() && place.facts.available == 0 {
            self.state.touch(now);
            let first = place.facts.progress.position;
            return Ok(Pulled { first, ..Pulled::default() });
        }
        let (target, mode) = (self.clone(), place.record.ack_mode);
        let work = async move {
            match mode {
                AckMode::Cumulative => target.pull_once(max, before).await,
                AckMode::Individual => target.lease_once(max, before).await,
            }
        };
        self.broker.run(work).await
    }

    /// How long it is until the next lease runs out, if one holds; never nothing.
    fn next_due(&self) -> Result<Option<Duration>, Error> {
        let now = self.now();
        let next = self.place(now)?.facts.progress.next_expiry();
        Ok(next.map(|next| next.since(now).max(Duration::from_millis(1))))
    }
}

/// How much of what a scan brought is handed out.
pub(super) struct Cut {
    pub(super) count: u64,
    ams_bytes: u64,
}

/// Up to `want` messages and about `bytes` bytes from `first` on, without a gap, at least one.
pub(super) fn cut(
    entries: &[Arc<Entry>],
    first: Offset,
    want: u64,
    bytes: u64,
) -> Result<Cut, StoreError> {
    let end = first.plus(want);
    let mut cut = Cut { count: 0, ams_bytes: 0 };
    let mut room = bytes;
    for entry in entries {
        let next = first.plus(cut.count);
        if entry.base > next {
            break;
        }
        let size = entry.batch.packed().len() as u64;
        if entry.base == next && entry.end() <= end && size <= room {
            cut.count += u64::from(entry.batch.len());
            cut.ams_bytes += entry.batch.ams_bytes();
            room -= size;
            continue;
        }
        let messages = entry.batch.messages_from(next.since(entry.base));
        for (message, at) in messages.zip(next.0..) {
            let message = message?;
            let size = size_of(&message);
            if at >= end.0 || (cut.count > 0 && size > room) {
                return Ok(cut);
            }
            cut.count += 1;
            cut.ams_bytes += message.data.text_len();
            room = room.saturating_sub(size);
        }
    }
    Ok(cut)
}

/// Bytes of entries in memory.
pub(super) fn held_by(entries: &[Arc<Entry>]) -> u64 {
    entries.iter().map(|entry| entry.batch.packed().len() as u64).sum()
}

/// Bytes of a message, as a pull's bound counts them.
pub(super) fn size_of(message: &MessageRef<'_>) -> u64 {
    let attributes = message.attributes.iter().map(|(key, value)| key.len() + value.len());
    attributes.sum::<usize>().saturating_add(message.data.stored().len()) as u64
}

impl Broker {
    /// Existence, rights (what is pushed, few may pull), ACL and the topic (`TopicGone`), before the
    /// door reads the body. A pull that these refuse is counted here.
    pub fn puller<'a>(
        &self,
        caller: &'a Caller,
        name: &SubscriptionName,
    ) -> Result<Puller<'a>, Error> {
        let (target, record) = self.target(caller.project()?, name)?;
        if let Err(denied) = self.may_pull(caller, &record) {
            target.state.count_denied();
            return Err(denied);
        }
        self.topic_record(target.project, &record.topic).map_err(|_| Error::TopicGone)?;
        Ok(Puller { target, caller })
    }

    fn may_pull(&self, caller: &Caller, record: &SubscriptionRecord) -> Result<(), Error> {
        self.passes_push(caller, record)?;
        caller.passes(&ProjectRole::Consumer, &record.acl)
    }

    /// Counts a pull that the gate refused, 403 or a token that is not known (so that metrics can say `pull_denied`).
    pub fn pull_denied(&self, project: &ProjectName, subscription: &SubscriptionName) {
        let project = self.0.service.read().index.project(project).map(|project| project.id);
        if let Some(Ok((target, _))) = project.map(|id| self.target(id, subscription)) {
            target.state.count_denied();
        }
    }
}
