//! What the reporter reads: counts since the start, facts of durable state, changes of scopes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalogue::{Cell, Index};
use super::deliver::locate;
use super::{
    Broker, CallCounts, Deleted, Error, ProjectFacts, ScopeChange, StoreFault, StoreFaultCounts,
    SubscriptionFacts, TopicFacts, Verb,
};
use crate::domain::records::Record;
use crate::domain::{Head, Hole, Holes, Malformed, Time, TopicId, TopicName};
use crate::store::{By, Change, ChangeSet, Limits, Scope, StoreError};

/// Calls by verb and outcome.
#[derive(Debug, Default)]
pub(super) struct Calls {
    publish: Counted,
    pull: Counted,
    acknowledge: Counted,
}

/// Faults of the store by what is wrong.
#[derive(Debug, Default)]
pub(super) struct StoreFaults {
    full: AtomicU64,
    stopped: AtomicU64,
    damaged: AtomicU64,
    clock: AtomicU64,
}

#[derive(Debug, Default)]
struct Counted {
    ok: AtomicU64,
    refused: AtomicU64,
    fault: AtomicU64,
}

impl Calls {
    const fn of(&self, verb: Verb) -> &Counted {
        match verb {
            Verb::Publish => &self.publish,
            Verb::Pull => &self.pull,
            Verb::Acknowledge => &self.acknowledge,
        }
    }
}

impl Broker {
    /// Counts a call's outcome: `Ok`, or an error with whether it is our fault
    /// ([`Error::is_fault`]).
    pub fn count_call(&self, verb: Verb, outcome: Result<(), bool>) {
        let counted = self.0.calls.of(verb);
        let counter = match outcome {
            Ok(()) => &counted.ok,
            Err(false) => &counted.refused,
            Err(true) => &counted.fault,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls since the start.
    pub fn calls(&self, verb: Verb) -> CallCounts {
        let counted = self.0.calls.of(verb);
        CallCounts {
            ok: counted.ok.load(Ordering::Relaxed),
            refused: counted.refused.load(Ordering::Relaxed),
            fault: counted.fault.load(Ordering::Relaxed),
        }
    }

    /// Counts a request that the store failed, the store's own stop, or a sweep that met clocks in
    /// doubt.
    pub fn count_store_fault(&self, fault: StoreFault) {
        let faults = &self.0.store_faults;
        let counter = match fault {
            StoreFault::Full => &faults.full,
            StoreFault::Stopped => &faults.stopped,
            StoreFault::Damaged => &faults.damaged,
            StoreFault::Clock => &faults.clock,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Faults of the store since the start, damage that it found by itself among them.
    pub fn store_faults(&self) -> StoreFaultCounts {
        let faults = &self.0.store_faults;
        StoreFaultCounts {
            full: faults.full.load(Ordering::Relaxed),
            stopped: faults.stopped.load(Ordering::Relaxed),
            damaged: faults.damaged.load(Ordering::Relaxed) + self.0.store.damage_found(),
            clock: faults.clock.load(Ordering::Relaxed),
        }
    }

    /// Every project's facts, each read when it is asked for.
    pub fn project_facts(&self) -> impl Iterator<Item = ProjectFacts> + Send {
        self.project_cells().into_iter().filter_map(|(id, cell)| {
            let record = self.0.service.read().index.projects.get(&id).cloned()?;
            Some(ProjectFacts {
                id,
                name: record.name.clone(),
                created: record.created,
                stored: u64::try_from(cell.stored()).unwrap_or_default(),
                quota: self.0.settings.bytes_per_project,
            })
        })
    }

    /// Every topic's facts, each read when it is asked for.
    pub fn topic_facts(&self) -> impl Iterator<Item = TopicFacts> + Send {
        let mut damaged: HashMap<TopicId, Holes> = HashMap::new();
        for (topic, run) in self.0.store.damaged() {
            damaged.entry(topic).or_default().add(run);
        }
        let records = self.project_cells().into_iter().flat_map(|(id, cell)| {
            let project = self.project_name(id).ok();
            let records: Vec<_> = cell.read().index.live_topics().cloned().collect();
            records.into_iter().filter_map(move |record| Some((project.clone()?, record)))
        });
        records.filter_map(move |(project, record)| {
            let head = self.known_topic(record.id)?.head();
            let met = damaged.get(&record.id);
            Some(TopicFacts {
                id: record.id,
                project,
                name: record.name.clone(),
                created: record.created,
                damaged: met.map_or(0, |met| unrepaired(met, &record.holes, &head)),
                given_up: record.holes.count(head.start, head.next),
                head,
            })
        })
    }

    /// The facts of every subscription whose topic exists or existed (on its last life then), each
    /// read when it is asked for; `now` is the steady clock's.
    pub fn subscription_facts(&self, now: Time) -> impl Iterator<Item = SubscriptionFacts> + Send {
        let records = self.project_cells().into_iter().flat_map(|(id, cell)| {
            let project = self.project_name(id).ok();
            let records: Vec<_> = {
                let state = cell.read();
                let named = |name| state.index.topic(name).cloned();
                let records = state.index.subscriptions_in_order.values();
                records.map(|record| (Arc::clone(record), named(&record.topic))).collect()
            };
            let of_project = move |(record, named)| Some((project.clone()?, record, named));
            records.into_iter().filter_map(of_project)
        });
        records.filter_map(move |(project, record, named)| {
            let state = self.known_subscription(record.id)?;
            let topic = named.as_ref().and_then(|named| self.known_topic(named.id));
            // The progress first: the head read after it is never behind it.
            let (last_pull, durable) = (state.last_pull(), state.durable());
            let head = topic.map(|topic| topic.head());
            let current = named.as_deref().zip(head.as_ref());
            let (facts, head) = locate(&record, durable.as_deref(), current, now);
            Some(SubscriptionFacts {
                id: record.id,
                project,
                name: record.name.clone(),
                created: record.created,
                topic: facts.progress.topic,
                head: head.next,
                facts,
                last_pull,
                pulls: state.pulls(),
                letters_failed: state.letters_failed(),
            })
        })
    }

    /// Publish time of the oldest unacknowledged message of `facts`; `None` when nothing waits or it cannot be read.
    pub async fn front_time(&self, facts: &SubscriptionFacts) -> Option<Time> {
        if facts.facts.backlog == 0 {
            return None;
        }
        let front = facts.facts.progress.position;
        let limits = Limits { messages: 1, bytes: 1 };
        let scanned = self.0.store.scan(facts.topic, front, limits).await.map_err(Error::from);
        if let Some(fault) = scanned.as_ref().err().and_then(Error::store_fault) {
            self.count_store_fault(fault);
        }
        let entries = scanned.ok()?;
        entries.first().filter(|entry| entry.base <= front).map(|entry| entry.time)
    }

    /// Reads every topic's durable head again: what was trimmed below this floor is seen then.
    pub async fn refresh_heads(&self) {
        let lives: Vec<TopicId> = {
            let topics = self.0.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            topics.keys().copied().collect()
        };
        for life in lives {
            if let Some(topic) = self.known_topic(life)
                && let Ok(Some(head)) = self.0.store.head(life).await
                && head != topic.head()
            {
                topic.advance(head);
            }
        }
    }

    /// The scopes there are: the service's first.
    pub fn scopes(&self) -> Vec<Scope> {
        let state = self.0.service.read();
        let projects = state.index.projects_in_order.values().map(|id| Scope::Project(*id));
        std::iter::once(Scope::Service).chain(projects).collect()
    }

    /// A scope's present version; 0 of one that is gone.
    pub fn scope_version(&self, scope: Scope) -> u64 {
        match scope {
            Scope::Service => self.0.service.read().version,
            Scope::Project(id) => self.project_cell(id).map_or(0, |cell| cell.read().version),
        }
    }

    /// What changed in a scope since `from` (`None`, or changes no longer kept: all of it).
    pub async fn scope_change(
        &self,
        scope: Scope,
        from: Option<u64>,
    ) -> Result<ScopeChange, Error> {
        if let Some(from) = from
            && from <= self.scope_version(scope)
            && let Some(sets) = self.0.store.changes_since(scope, from).await?
        {
            return self.digest(scope, from, sets);
        }
        let (to, records) = match scope {
            Scope::Service => whole(&self.0.service, |index| {
                let projects = index.projects_in_order.values();
                let projects = projects.filter_map(|id| index.projects.get(id));
                let projects = projects.map(|record| Record::Project(record.as_ref().clone()));
                let users = index.users.values();
                projects.chain(users.map(|record| Record::User(record.as_ref().clone()))).collect()
            }),
            Scope::Project(id) => whole(self.project_cell(id)?.as_ref(), |index| {
                let topics = index.live_topics();
                let topics = topics.map(|record| Record::Topic(record.as_ref().clone()));
                let all = index.subscriptions_in_order.values();
                let all = all.map(|record| Record::Subscription(record.as_ref().clone()));
                topics.chain(all).collect()
            }),
        };
        Ok(ScopeChange { from: None, to, records, deleted: Vec::new() })
    }

    /// The last state of each key that the sets touch; what was thrown away is what is gone.
    fn digest(&self, scope: Scope, from: u64, sets: Vec<ChangeSet>) -> Result<ScopeChange, Error> {
        let (mut records, mut deleted, mut to) = (BTreeMap::new(), Vec::new(), from);
        for ChangeSet { version, changes, by } in sets {
            to = version;
            for change in changes {
                match change {
                    Change::Delete(key) => {
                        let last = records.remove(&key);
                        let id = key.strip_prefix("user/").and_then(|id| id.parse().ok());
                        // Users leave no trash: their key is all that tells that they are gone.
                        if let (Scope::Service, Some(id)) = (scope, id) {
                            let name = match last {
                                Some(Record::User(user)) => user.name.as_str().to_owned(),
                                _ => String::new(),
                            };
                            let (by, at) = (self.deleter(&by), by.time);
                            deleted.push(Deleted { kind: "user", id, name, by, at });
                        }
                    }
                    Change::Put(key, value) => match Record::decode(&value).map_err(damaged)? {
                        Record::Trash(trash) => {
                            let id = key.strip_prefix("trash/").and_then(|id| id.parse().ok());
                            let id = id.ok_or_else(|| damaged(Malformed("trash key")))?;
                            let kind = match (scope, trash.subscription) {
                                (Scope::Service, _) => "project",
                                (Scope::Project(_), Some(_)) => "subscription",
                                (Scope::Project(_), None) => "topic",
                            };
                            let at = trash.deleted;
                            let by = self.deleter(&by);
                            deleted.push(Deleted { kind, id, name: trash.name, by, at });
                        }
                        // Figures, positions, definitions and wishes, not who and what there is.
                        Record::Usage(_)
                        | Record::Audit(_)
                        | Record::Snapshot(_)
                        | Record::Schema(_)
                        | Record::Registration(_) => {}
                        // To be deleted: from now on it answers as absent.
                        Record::Topic(topic) if topic.marked => {
                            records.remove(&key);
                        }
                        record => {
                            records.insert(key, record);
                        }
                    },
                }
            }
        }
        Ok(ScopeChange { from: Some(from), to, records: records.into_values().collect(), deleted })
    }

    /// The name of whoever did it; empty if it was no user, or one that is gone.
    fn deleter(&self, by: &By) -> String {
        let name = self.0.service.read().index.user_name(by.user);
        name.map(|name| name.as_str().to_owned()).unwrap_or_default()
    }

    /// The present life of a topic name in a project's scope, for the reporter's directory.
    pub fn topic_life(&self, scope: Scope, name: &TopicName) -> Option<TopicId> {
        let Scope::Project(id) = scope else { return None };
        let cell = self.project_cell(id).ok()?;
        let state = cell.read();
        state.index.topic(name).map(|topic| topic.id)
    }
}

/// How many kept messages were met damaged and are not given up.
fn unrepaired(met: &Holes, given_up: &Holes, head: &Head) -> u64 {
    let kept = |run: Hole| (run.from.max(head.start), run.to.min(head.next));
    let runs = met.iter().map(kept).filter(|(from, to)| from < to);
    runs.map(|(from, to)| to.since(from).saturating_sub(given_up.count(from, to))).sum()
}

fn whole<I: Index>(cell: &Cell<I>, records: impl FnOnce(&I) -> Vec<Record>) -> (u64, Vec<Record>) {
    let state = cell.read();
    (state.version, records(&state.index))
}

fn damaged(error: Malformed) -> Error {
    StoreError::from(error).into()
}
