//! Decides what each waiting mutation becomes, in order, against the durable state and what the
//! ones before it in the same frame would make of it. One frame is in flight per stream, so
//! nothing else is undecided.

use std::collections::HashMap;
use std::sync::Arc;

use super::layout::Stream;
use super::payload::Payload;
use super::queue::{Done, Op, Reply, Shared, Waiting};
use super::state::State;
use super::topics::Topics;
use super::{read, record};
use crate::domain::{Entry, Head, Offset, Progress, SubscriptionId, TopicId};
use crate::store::{Answer, ChangeSet, Outcome, Scope, StoreError};

/// A change to the maps, made when its frame is durable.
#[derive(Debug)]
pub(super) enum Effect {
    /// A topic life begins.
    Create(TopicId),
    /// A topic life ends.
    Close(TopicId),
    /// Its start moves.
    Trim(TopicId, Offset),
    /// An entry; where its record begins in the payload, its length and CRC.
    Append(TopicId, Arc<Entry>, Written),
    /// A scope's commit.
    Scope(Scope, ChangeSet),
    /// A subscription's record.
    Save(SubscriptionId, Box<Progress>),
    /// It goes.
    Delete(SubscriptionId),
}

/// A record in a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Where it begins.
    pub(super) at: usize,
    /// Its length.
    pub(super) len: usize,
    /// Its CRC.
    pub(super) crc: u32,
}

/// A frame's content and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The records; empty when nothing is to be written.
    pub(super) payload: Payload,
    /// What changes, in order.
    pub(super) effects: Vec<Effect>,
    /// Who is told what.
    pub(super) answers: Vec<(Reply, Answer<Done>)>,
}

/// Decides `batch`, whose mutations are all of `stream`.
pub(super) fn evaluate(shared: &Shared, stream: Stream, batch: Vec<Waiting>) -> Plan {
    let mut plan = Plan::default();
    plan.payload.reserve_for(batch.iter().map(|waiting| &waiting.record));
    match stream {
        Stream::Entries => {
            let topics = shared.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut overlay = TopicsOverlay { shared, durable: &topics, changed: HashMap::new() };
            for waiting in batch {
                let Waiting { op, record, reply, .. } = waiting;
                let answer = overlay.decide(op, record, &mut plan);
                plan.answers.push((reply, answer));
            }
        }
        Stream::State => {
            let state = shared.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut overlay =
                StateOverlay { durable: &state, scopes: HashMap::new(), progress: HashMap::new() };
            for waiting in batch {
                let Waiting { op, record, reply, .. } = waiting;
                let answer = overlay.decide(op, record, &mut plan);
                plan.answers.push((reply, answer));
            }
        }
    }
    plan
}

fn at(head: Head) -> Answer<Done> {
    Ok(Outcome::Applied(Done::At(Box::new(head))))
}

/// What the frame would make of a topic.
struct Changed {
    /// `None` = closed.
    head: Option<Head>,
    entries: Vec<Arc<Entry>>,
}

struct TopicsOverlay<'a> {
    shared: &'a Shared,
    durable: &'a Topics,
    changed: HashMap<TopicId, Changed>,
}

impl TopicsOverlay<'_> {
    fn head(&self, topic: TopicId) -> Option<Head> {
        match self.changed.get(&topic) {
            Some(changed) => changed.head.clone(),
            None => self.durable.open.get(&topic).map(|found| found.head.clone()),
        }
    }

    fn is_closed(&self, topic: TopicId) -> bool {
        self.durable.closed.contains(&topic)
            || self.changed.get(&topic).is_some_and(|changed| changed.head.is_none())
    }

    fn change(&mut self, topic: TopicId, head: Option<Head>) -> &mut Changed {
        let changed =
            self.changed.entry(topic).or_insert(Changed { head: None, entries: Vec::new() });
        changed.head = head;
        changed
    }

    fn decide(&mut self, op: Op, record: Payload, plan: &mut Plan) -> Answer<Done> {
        match op {
            Op::Create(topic) => {
                if self.is_closed(topic) {
                    return Ok(Outcome::Closed);
                }
                if self.head(topic).is_none() {
                    record::put_create(plan.payload.small(), topic);
                    plan.effects.push(Effect::Create(topic));
                    self.change(topic, Some(Head::default()));
                }
                Ok(Outcome::Applied(Done::Plainly))
            }
            Op::Close(topic) => {
                let Some(head) = self.head(topic) else {
                    return Ok(Outcome::Closed);
                };
                record::put_close(plan.payload.small(), topic, head.day_figures());
                plan.effects.push(Effect::Close(topic));
                self.change(topic, None);
                at(head)
            }
            Op::Trim(topic, to) => {
                let Some(mut head) = self.head(topic) else {
                    return Ok(Outcome::Closed);
                };
                let to = to.min(head.next);
                if to > head.start {
                    record::put_trim(plan.payload.small(), topic, to);
                    plan.effects.push(Effect::Trim(topic, to));
                    head.start = to;
                    self.change(topic, Some(head.clone()));
                }
                at(head)
            }
            Op::Commit(topic, entry) => self.commit(topic, entry, record, plan),
            Op::Scope(..) | Op::Save(..) | Op::Delete(_) => Err(StoreError::Unavailable),
        }
    }

    fn commit(
        &mut self,
        topic: TopicId,
        entry: Arc<Entry>,
        record: Payload,
        plan: &mut Plan,
    ) -> Answer<Done> {
        let Some(head) = self.head(topic) else {
            return Ok(Outcome::Closed);
        };
        if entry.base < head.next {
            let same = self.is_there(topic, &entry, &record)?;
            return if same { at(head) } else { Ok(Outcome::Conflict) };
        }
        if entry.base > head.next || entry.batch.is_empty() {
            return Ok(Outcome::Conflict);
        }
        let written = Written {
            at: plan.payload.len(),
            len: record.len(),
            crc: record.first_crc().unwrap_or_default(),
        };
        plan.payload.append(record);
        let head = head.after(&entry);
        self.change(topic, Some(head.clone())).entries.push(Arc::clone(&entry));
        plan.effects.push(Effect::Append(topic, entry, written));
        at(head)
    }

    /// Whether this very entry is there already, durable or in this frame.
    fn is_there(
        &self,
        topic: TopicId,
        entry: &Entry,
        record: &Payload,
    ) -> Result<bool, StoreError> {
        if let Some(changed) = self.changed.get(&topic)
            && let Some(found) = changed.entries.iter().find(|found| found.base == entry.base)
        {
            return Ok(**found == *entry);
        }
        let Some(durable) = self.durable.open.get(&topic) else { return Ok(false) };
        match read::place_at(self.shared, topic, durable, entry.base)? {
            Some(place) if place.len == record.len() && Some(place.crc) == record.first_crc() => {
                Ok(*read::entry(self.shared, topic, &place)? == *entry)
            }
            _ => Ok(false),
        }
    }
}

struct StateOverlay<'a> {
    durable: &'a State,
    /// The commits in this frame.
    scopes: HashMap<Scope, Vec<ChangeSet>>,
    /// Version; 0 = none.
    progress: HashMap<SubscriptionId, u64>,
}

impl StateOverlay<'_> {
    fn progress(&self, subscription: SubscriptionId) -> u64 {
        self.progress.get(&subscription).copied().unwrap_or_else(|| {
            self.durable.progress.get(&subscription).map_or(0, |found| found.version)
        })
    }

    fn decide(&mut self, op: Op, record: Payload, plan: &mut Plan) -> Answer<Done> {
        match op {
            Op::Scope(scope, set) => return self.commit(scope, set, record, plan),
            Op::Save(subscription, progress) => {
                let next = self.progress(subscription).checked_add(1);
                if Some(progress.version) != next {
                    return Ok(Outcome::Conflict);
                }
                self.progress.insert(subscription, progress.version);
                plan.payload.append(record);
                plan.effects.push(Effect::Save(subscription, progress));
            }
            Op::Delete(subscription) => {
                if self.progress(subscription) > 0 {
                    self.progress.insert(subscription, 0);
                    record::put_delete(plan.payload.small(), subscription);
                    plan.effects.push(Effect::Delete(subscription));
                }
            }
            Op::Create(_) | Op::Close(_) | Op::Trim(..) | Op::Commit(..) => {
                return Err(StoreError::Unavailable);
            }
        }
        Ok(Outcome::Applied(Done::Plainly))
    }

    fn commit(
        &mut self,
        scope: Scope,
        set: ChangeSet,
        record: Payload,
        plan: &mut Plan,
    ) -> Answer<Done> {
        let durable = self.durable.scopes.get(&scope);
        let in_frame = self.scopes.entry(scope).or_default();
        let noted = durable.map_or(0, |found| found.version) + in_frame.len() as u64;
        let version = set.version;
        if version <= noted {
            // The same commit again, after an unknown outcome.
            let made = in_frame
                .iter()
                .find(|made| made.version == version)
                .or_else(|| durable.and_then(|found| found.commit(version)));
            return Ok(if made == Some(&set) {
                Outcome::Applied(Done::Version(version))
            } else {
                Outcome::Conflict
            });
        }
        if version != noted + 1 {
            return Ok(Outcome::Conflict);
        }
        in_frame.push(set.clone());
        plan.payload.append(record);
        plan.effects.push(Effect::Scope(scope, set));
        Ok(Outcome::Applied(Done::Version(version)))
    }
}
