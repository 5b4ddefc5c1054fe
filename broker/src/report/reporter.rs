//! The loop: what changed since metrics-svc last accepted it, every so often.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::{Accepted, Client, ClientError};
use super::encode::{Record, Request, Sender};
use super::{Settings, directory};
use crate::domain::records::TopicRecord;
use crate::domain::{Offset, Time, TopicId, TopicName};
use crate::service::{Broker, Error, Scope, SubscriptionFacts, Verb};

/// The last report at a shutdown takes at most this long.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// Reports one broker to one metrics-svc. It reads durable state only, and nobody waits for it.
pub struct Reporter {
    broker: Broker,
    client: Client,
    sender: Sender,
    sequence: u64,
    /// Version of each scope that was accepted.
    scopes: HashMap<Scope, u64>,
    /// What was accepted of each resource.
    held: HashMap<Key, Held>,
    /// Rounds that failed since the last that did not.
    failures: u64,
}

/// A resource, or what the broker counts of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Resource(Uuid),
    Calls(u8),
    StoreFaults,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    fingerprint: u64,
    /// The round that saw it last: what is not seen any more is forgotten.
    round: u64,
    front: Option<Front>,
}

/// Publish time of a subscription's oldest unacknowledged message; it never changes for one place.
#[derive(Debug, Clone, Copy)]
struct Front {
    topic: TopicId,
    offset: Offset,
    time: Time,
}

/// Why a round was not completed: it is tried again next time, whole.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the catalogue cannot be read: {0}")]
    Broker(#[from] Error),
}

/// A record to be sent, and what is remembered when it is accepted.
struct Pending {
    key: Key,
    record: Record,
    held: Option<Held>,
}

impl Reporter {
    /// A reporter for `broker`; `secret_file` stands in where the settings name none. `None` when
    /// nothing is to be reported.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(
        settings: &Settings,
        secret_file: PathBuf,
        broker: Broker,
    ) -> Result<Option<Self>, ClientError> {
        if settings.url.is_empty() {
            return Ok(None);
        }
        let file = match settings.secret_file.as_os_str().is_empty() {
            true => secret_file,
            false => settings.secret_file.clone(),
        };
        let sender = Sender {
            instance: format!("{:016x}", rand::random::<u64>()),
            store: broker.store_id(),
            started: broker.clock().wall(),
            interval: settings.every,
        };
        Ok(Some(Self {
            client: Client::new(&settings.url, file)?,
            broker,
            sender,
            sequence: 0,
            scopes: HashMap::new(),
            held: HashMap::new(),
            failures: 0,
        }))
    }

    /// Reports at once, then at every interval; when `stop` is cancelled a last time, bounded.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut round: u64 = 0;
        loop {
            round += 1;
            let stopped = tokio::select! {
                () = self.report(round) => stop.is_cancelled(),
                () = stop.cancelled() => true,
            };
            let waited = async {
                tokio::select! {
                    () = tokio::time::sleep(self.sender.interval) => false,
                    () = stop.cancelled() => true,
                }
            };
            if stopped || waited.await {
                break;
            }
        }
        if tokio::time::timeout(LAST_REPORT, self.report(round + 1)).await.is_err() {
            tracing::warn!("the last report was not accepted in time");
        }
    }

    /// One round, and another one at once if everything is wanted again.
    pub(super) async fn report(&mut self, round: u64) {
        let mut outcome = self.round(round).await;
        if matches!(outcome, Ok(true)) {
            outcome = self.round(round).await;
        }
        match outcome {
            Ok(_) => {
                if self.failures > 0 {
                    tracing::info!(failures = self.failures, "reports are accepted again");
                }
                self.failures = 0;
            }
            Err(error) => {
                self.failures += 1;
                if self.failures.is_power_of_two() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, failures = self.failures, "report not accepted");
                }
            }
        }
    }

    /// Directory, then records; whether metrics-svc wants everything again.
    async fn round(&mut self, round: u64) -> Result<bool, RoundError> {
        match self.send_directory().await {
            Ok(false) => {}
            Ok(true) => {
                self.forget();
                return Ok(true);
            }
            Err(error @ RoundError::Broker(_)) => {
                // What the broker counts of itself needs no store, and says why there is none.
                let looked = self.broker.clock().wall();
                let pending = self.collect_own(round);
                self.send_records(pending, looked).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        let looked = self.broker.clock().wall();
        let pending = self.collect(round).await;
        let resync = self.send_records(pending, looked).await?;
        // A resource that is gone was not visited; its record dies with its directory entry.
        self.held.retain(|_, held| held.round == round);
        if resync {
            self.forget();
        }
        Ok(resync)
    }

    /// Everything is to be sent next. Where fronts are stays known.
    fn forget(&mut self) {
        self.scopes.clear();
        for held in self.held.values_mut() {
            // No record has this one except by a chance of 2^-64, and then it is sent when it changes.
            held.fingerprint = 0;
        }
    }

    async fn send_directory(&mut self) -> Result<bool, RoundError> {
        let scopes = self.broker.scopes();
        self.scopes.retain(|scope, _| scopes.contains(scope));
        for scope in scopes {
            let accepted = self.scopes.get(&scope).copied();
            if accepted == Some(self.broker.scope_version(scope)) {
                continue;
            }
            let mut change = self.broker.scope_change(scope, accepted).await?;
            let store = self.sender.store;
            let broker = &self.broker;
            let life = |name: &TopicName| broker.topic_life(scope, name);
            let keeps = |topic: &TopicRecord| broker.topic_keeps(topic);
            let mut requests = directory::requests(store, scope, &change, &life, &keeps);
            if requests.is_none() {
                change = self.broker.scope_change(scope, None).await?;
                requests = directory::requests(store, scope, &change, &life, &keeps);
            }
            for request in requests.unwrap_or_default() {
                if self.client.directory(request).await?.resync {
                    return Ok(true);
                }
            }
            self.scopes.insert(scope, change.to);
        }
        Ok(false)
    }

    /// What the broker counts of itself, where it differs from what was accepted.
    fn collect_own(&mut self, round: u64) -> Vec<Pending> {
        let mut pending = Vec::new();
        let held = &mut self.held;
        for (at, verb) in [Verb::Publish, Verb::Pull, Verb::Acknowledge].into_iter().enumerate() {
            let record = Record::calls(verb, self.broker.calls(verb));
            let key = Key::Calls(u8::try_from(at).unwrap_or_default());
            pending.extend(changed(held, round, key, record, None));
        }
        let record = Record::store_faults(self.broker.store_faults());
        pending.extend(changed(held, round, Key::StoreFaults, record, None));
        pending
    }

    /// The records that differ from what was accepted.
    async fn collect(&mut self, round: u64) -> Vec<Pending> {
        self.broker.refresh_heads().await;
        let mut pending = self.collect_own(round);
        let held = &mut self.held;
        self.broker.visit_projects(&mut |facts| {
            let record = Record::project(&facts);
            pending.extend(changed(held, round, Key::Resource(record.id), record, None));
        });
        self.broker.visit_topics(&mut |facts| {
            let record = Record::topic(&facts);
            pending.extend(changed(held, round, Key::Resource(record.id), record, None));
        });
        // The time of a front may have to be read from disk, which nobody may wait for in a visit.
        let mut unread = Vec::new();
        let now = self.broker.clock().steady();
        self.broker.visit_subscriptions(now, &mut |facts| {
            let key = Key::Resource(facts.id.0);
            let front = match facts.facts.backlog {
                0 => Some(None),
                _ => held.get(&key).and_then(|held| held.front).and_then(|front| front.of(&facts)),
            };
            match front {
                Some(front) => {
                    let record = Record::subscription(&facts, front.map(|front| front.time));
                    pending.extend(changed(held, round, key, record, front));
                }
                None => unread.push(facts),
            }
        });
        for facts in unread {
            let key = Key::Resource(facts.id.0);
            let time = self.broker.front_time(&facts).await;
            let front = time.map(|time| Front {
                topic: facts.topic,
                offset: facts.facts.progress.position,
                time,
            });
            let record = Record::subscription(&facts, time);
            let mut found = changed(&mut self.held, round, key, record, front);
            if let (None, Some(found)) = (front, &mut found) {
                // It could not be read: sent as it is, and again next time.
                found.held = None;
            }
            pending.extend(found);
        }
        pending
    }

    /// Sends records, or the heartbeat if there are none.
    async fn send_records(
        &mut self,
        pending: Vec<Pending>,
        looked: Time,
    ) -> Result<bool, RoundError> {
        let mut resync = false;
        let mut request = Request::new();
        let mut carried = Vec::new();
        for next in pending {
            if !request.add(&next.record, &self.sender, looked) {
                let full = std::mem::replace(&mut request, Request::new());
                resync |= self.send(full, std::mem::take(&mut carried), looked).await?;
                request.add(&next.record, &self.sender, looked);
            }
            carried.push((next.key, next.held));
        }
        resync |= self.send(request, carried, looked).await?;
        Ok(resync)
    }

    async fn send(
        &mut self,
        request: Request,
        carried: Vec<(Key, Option<Held>)>,
        looked: Time,
    ) -> Result<bool, RoundError> {
        self.sequence += 1;
        let body = request.encode(&self.sender, self.sequence, looked);
        let Accepted { resync, rejected } = self.client.metrics(body).await?;
        if rejected > 0 {
            tracing::warn!(rejected, "metrics-svc could not read some points of a report");
        }
        for (key, held) in carried {
            if let Some(held) = held {
                self.held.insert(key, held);
            }
        }
        Ok(resync)
    }
}

impl Front {
    /// `Some(Some)` if this is still the front of `facts`; `None`: it is to be read.
    fn of(self, facts: &SubscriptionFacts) -> Option<Option<Self>> {
        let same = self.topic == facts.topic && self.offset == facts.facts.progress.position;
        same.then_some(Some(self))
    }
}

/// The record, if it differs from what was accepted; else that it was seen is noted.
fn changed(
    held: &mut HashMap<Key, Held>,
    round: u64,
    key: Key,
    record: Record,
    front: Option<Front>,
) -> Option<Pending> {
    let fingerprint = record.fingerprint();
    if let Some(known) = held.get_mut(&key) {
        known.round = round;
        known.front = front.or(known.front);
        if known.fingerprint == fingerprint {
            return None;
        }
    }
    Some(Pending { key, record, held: Some(Held { fingerprint, round, front }) })
}
