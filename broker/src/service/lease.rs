//! `ackMode: individual`: leasing messages, acknowledging each, extending and giving back.

use std::sync::Arc;

use super::ack::Acker;
use super::deliver::{Place, Target};
use super::pull::{held_by, size_of};
use super::{Error, Pulled};
use crate::domain::individual::lease_end;
use crate::domain::{Entry, LeaseId, Offset, Progress, Time, TopicId};
use crate::store::{Limits, StoreError};

/// What lies between two wanted messages is read along with them up to this many messages.
const NEAR: u64 = 100;

/// One handing out of one message, as a puller may name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckId {
    /// Part of the subscription's id: one that is deleted and made again under its name counts
    /// its leases anew.
    pub life: u32,
    /// Which lease.
    pub lease: LeaseId,
}

impl Acker {
    /// Acknowledges each of the messages, durably; what is acknowledged already is again. Ids of
    /// leases that another one replaced are counted and change nothing: their messages are out
    /// at somebody else, or due again.
    pub async fn acknowledge_each(self, ids: Vec<AckId>) -> Result<(), Error> {
        let target = self.into_target();
        let broker = target.broker.clone();
        broker.run(async move { target.acknowledge_each(&ids).await }).await
    }

    /// Lets each lease that still holds end in `seconds` from now; 0 gives the message back. What
    /// does not hold any more is passed over.
    pub async fn extend_each(self, ids: Vec<AckId>, seconds: i64) -> Result<(), Error> {
        let target = self.into_target();
        let broker = target.broker.clone();
        broker.run(async move { target.extend_each(&ids, seconds).await }).await
    }
}

impl Target {
    fn life(&self) -> u32 {
        self.state.id().0.as_fields().0
    }

    /// What the ids name. Of another life it is a lease that never was: numbers begin at 1.
    fn leases(&self, ids: &[AckId]) -> Vec<LeaseId> {
        let life = self.life();
        let lease = |id: &AckId| match id.life == life {
            true => id.lease,
            false => LeaseId { number: 0, ..id.lease },
        };
        ids.iter().map(lease).collect()
    }

    /// Hands out up to `max` messages, those that are due again first. Whoever pulls meanwhile
    /// waits for this one's save, never for its leases.
    pub(super) async fn lease_once(&self, max: u64, before: Time) -> Result<Pulled, Error> {
        let settings = &self.broker.0.settings;
        let want = max.min(settings.pull_messages).max(1);
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        loop {
            self.settle(&mut gate).await?;
            let place = self.place_now().await?;
            let buried = self.bury(&place).await;
            if !buried.is_empty() {
                let mut progress = place.facts.progress;
                progress.bury(&buried, self.now());
                self.save(&mut gate, progress, &mut retry).await?;
                continue;
            }
            let Place { record, topic, head, facts, holes, .. } = place;
            let topic = topic.ok_or(Error::TopicGone)?;
            let mut progress = facts.progress;
            let runs = progress.takeable(want, &head, &holes);
            let Some((first, _)) = runs.first().copied() else {
                self.state.touch(self.now());
                return Ok(Pulled { first: progress.position, ..Pulled::default() });
            };
            let mut share = self.broker.answer_share().await?;
            let bytes = share.limit().min(settings.pull_bytes);
            let picked = self.pick(topic.id(), &runs, bytes).await?;
            share.settle(held_by(&picked.entries));
            if picked.taken.is_empty() {
                // Trimmed or closed since the head was read; else it is not there although it must.
                if retry.is_late() {
                    let text = format!("topic {}: no message at {first}", topic.id());
                    return Err(StoreError::Corrupt(text.into()).into());
                }
                retry.again().await?;
                continue;
            }
            let now = self.now();
            progress.clocks.last_pull = progress.clocks.last_pull.max(before);
            let until = lease_end(now, record.ack_deadline_seconds);
            let leased = progress.lease_out(&picked.taken, until, now);
            if self.save(&mut gate, progress, &mut retry).await? {
                let (entries, count) = (picked.entries, leased.len() as u64);
                let (life, share) = (self.life(), Some(Arc::new(share)));
                return Ok(Pulled { entries, first, count, leased, life, share });
            }
        }
    }

    /// Reads the messages of the runs, up to about `bytes` bytes, at least one.
    pub(super) async fn pick(
        &self,
        topic: TopicId,
        runs: &[(Offset, Offset)],
        bytes: u64,
    ) -> Result<Picked, StoreError> {
        let mut picked = Picked::default();
        let mut room = bytes;
        let mut read: Vec<Arc<Entry>> = Vec::new();
        for (place, (from, to)) in runs.iter().enumerate() {
            let mut at = *from;
            while at < *to {
                let holder = |read: &[Arc<Entry>]| {
                    let behind = read.partition_point(|entry| entry.base <= at);
                    let entry = behind.checked_sub(1).and_then(|last| read.get(last));
                    entry.filter(|entry| at < entry.end()).cloned()
                };
                let mut entry = holder(&read);
                if entry.is_none() {
                    let messages = stretch(runs.get(place..).unwrap_or_default()).since(at);
                    let limits = Limits { messages, bytes };
                    read = self.broker.0.store.scan(topic, at, limits).await?;
                    entry = holder(&read);
                }
                let Some(entry) = entry else { return Ok(picked) };
                let messages = entry.batch.messages_from(at.since(entry.base));
                let before = at;
                for message in messages.take(usize::try_from(to.since(at)).unwrap_or(usize::MAX)) {
                    let message = message?;
                    let size = size_of(&message);
                    if !picked.taken.is_empty() && size > room {
                        return Ok(picked);
                    }
                    room = room.saturating_sub(size);
                    picked.taken.push((at, message.data.text_len()));
                    at = at.plus(1);
                    if picked.entries.last().is_none_or(|last| last.base != entry.base) {
                        picked.entries.push(Arc::clone(&entry));
                    }
                }
                if at == before {
                    return Ok(picked);
                }
            }
        }
        Ok(picked)
    }

    async fn acknowledge_each(&self, ids: &[AckId]) -> Result<(), Error> {
        let ids = self.leases(ids);
        // Where a bound kept new messages back, there may be room for some now.
        let wakes = |before: &Progress, after: &Progress| before.is_full() && !after.is_full();
        self.change(|progress, now| progress.ack_each(&ids, now), wakes).await
    }

    async fn extend_each(&self, ids: &[AckId], seconds: i64) -> Result<(), Error> {
        let ids = self.leases(ids);
        let change = |progress: &mut Progress, now| {
            let until = (seconds > 0).then(|| lease_end(now, seconds));
            progress.extend_each(&ids, until) > 0
        };
        // A waiting pull may be handed what is given back, and not for longer than it is out.
        self.change(change, |_, _| true).await
    }

    /// Saves what `change` makes of the progress, if it says that it did anything; wakes the pulls
    /// that wait where `wakes` says so.
    async fn change(
        &self,
        change: impl Fn(&mut Progress, Time) -> bool + Send + Sync,
        wakes: impl Fn(&Progress, &Progress) -> bool + Send + Sync,
    ) -> Result<(), Error> {
        let mut gate = self.state.gate().await;
        let mut retry = self.broker.retry();
        loop {
            self.settle(&mut gate).await?;
            let Place { topic, facts, .. } = self.place_now().await?;
            let before = facts.progress;
            let mut after = before.clone();
            if !change(&mut after, self.now()) {
                return Ok(());
            }
            let woken = topic.filter(|_| wakes(&before, &after));
            if self.save(&mut gate, after, &mut retry).await? {
                if let Some(topic) = woken {
                    topic.wake();
                }
                return Ok(());
            }
        }
    }
}

/// Messages of a pull.
#[derive(Default)]
pub(super) struct Picked {
    /// What they lie in, ascending, and nothing else.
    pub(super) entries: Vec<Arc<Entry>>,
    /// Offset and AMS bytes of each.
    pub(super) taken: Vec<(Offset, u64)>,
}

/// Where the first of the runs ends, or one behind it that is reached by small gaps.
fn stretch(runs: &[(Offset, Offset)]) -> Offset {
    let mut runs = runs.iter();
    let mut end = runs.next().map_or(Offset(0), |(_, to)| *to);
    for (from, to) in runs {
        if from.since(end) > NEAR {
            break;
        }
        end = *to;
    }
    end
}
