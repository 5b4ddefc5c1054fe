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

#[derive(Debug, Clone)]
struct Held {
    fingerprint: u64,
    /// The round that saw it last: what is not seen any more is forgotten.
    round: u64,
    /// In a box: most have none.
    front: Option<Box<Front>>,
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

/// The records of one round on their way: those of one request at a time, however many there are.
struct Outgoing {
    /// When the reporter looked.
    looked: Time,
    request: Request,
    carried: Vec<(Key, Option<Held>)>,
    /// Everything is wanted again.
    resync: bool,
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
                let mut out = Outgoing::new(self.broker.clock().wall());
                self.add_own(round, &mut out).await?;
                self.send(&mut out).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        let mut out = Outgoing::new(self.broker.clock().wall());
        self.add_all(round, &mut out).await?;
        // The heartbeat, if nothing changed.
        self.send(&mut out).await?;
        let resync = out.resync;
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
            let change = self.broker.scope_change(scope, accepted).await?;
            let store = self.sender.store;
            let broker = &self.broker;
            let life = |name: &TopicName| broker.topic_life(scope, name);
            let keeps = |topic: &TopicRecord| broker.topic_keeps(topic);
            let whole;
            let requests = directory::requests(store, scope, &change, &life, &keeps);
            let (requests, to) = match requests {
                Some(requests) => (Some(requests), change.to),
                None => {
                    whole = broker.scope_change(scope, None).await?;
                    (directory::requests(store, scope, &whole, &life, &keeps), whole.to)
                }
            };
            for request in requests.into_iter().flatten() {
                if self.client.directory(request).await?.resync {
                    return Ok(true);
                }
            }
            self.scopes.insert(scope, to);
        }
        Ok(false)
    }

    /// What the broker counts of itself, where it differs from what was accepted.
    async fn add_own(&mut self, round: u64, out: &mut Outgoing) -> Result<(), RoundError> {
        for (at, verb) in [Verb::Publish, Verb::Pull, Verb::Acknowledge].into_iter().enumerate() {
            let record = Record::calls(verb, self.broker.calls(verb));
            let key = Key::Calls(u8::try_from(at).unwrap_or_default());
            let found = changed(&mut self.held, round, key, record, None);
            self.add(found, out).await?;
        }
        let record = Record::store_faults(self.broker.store_faults());
        let found = changed(&mut self.held, round, Key::StoreFaults, record, None);
        self.add(found, out).await
    }

    /// The records that differ from what was accepted.
    async fn add_all(&mut self, round: u64, out: &mut Outgoing) -> Result<(), RoundError> {
        self.broker.refresh_heads().await;
        self.add_own(round, out).await?;
        let broker = self.broker.clone();
        for facts in broker.project_facts() {
            let record = Record::project(&facts);
            let key = Key::Resource(record.id);
            let found = changed(&mut self.held, round, key, record, None);
            self.add(found, out).await?;
        }
        for facts in broker.topic_facts() {
            let record = Record::topic(&facts);
            let key = Key::Resource(record.id);
            let found = changed(&mut self.held, round, key, record, None);
            self.add(found, out).await?;
        }
        for facts in broker.subscription_facts(broker.clock().steady()) {
            let key = Key::Resource(facts.id.0);
            let known = self.held.get(&key).and_then(|held| held.front.as_deref());
            let known = known.filter(|front| front.is_of(&facts)).copied();
            let read = facts.facts.backlog > 0 && known.is_none();
            let front = match (facts.facts.backlog, known) {
                (0, _) => None,
                (_, Some(known)) => Some(known),
                (_, None) => broker.front_time(&facts).await.map(|time| Front {
                    topic: facts.topic,
                    offset: facts.facts.progress.position,
                    time,
                }),
            };
            let record = Record::subscription(&facts, front.map(|front| front.time));
            let mut found = changed(&mut self.held, round, key, record, front);
            if let (true, None, Some(found)) = (read, front, &mut found) {
                // It could not be read: sent as it is, and again next time.
                found.held = None;
            }
            self.add(found, out).await?;
        }
        Ok(())
    }

    /// Adds a record, and sends those before it when they fill a request.
    async fn add(&mut self, next: Option<Pending>, out: &mut Outgoing) -> Result<(), RoundError> {
        let Some(next) = next else { return Ok(()) };
        if !out.request.add(&next.record, &self.sender, out.looked) {
            self.send(out).await?;
            out.request.add(&next.record, &self.sender, out.looked);
        }
        out.carried.push((next.key, next.held));
        Ok(())
    }

    /// Sends what there is, be it nothing.
    async fn send(&mut self, out: &mut Outgoing) -> Result<(), RoundError> {
        self.sequence += 1;
        let request = std::mem::take(&mut out.request);
        let body = request.encode(&self.sender, self.sequence, out.looked);
        let Accepted { resync, rejected } = self.client.metrics(body).await?;
        if rejected > 0 {
            tracing::warn!(rejected, "metrics-svc could not read some points of a report");
        }
        for (key, held) in out.carried.drain(..) {
            if let Some(held) = held {
                self.held.insert(key, held);
            }
        }
        out.resync |= resync;
        Ok(())
    }
}

impl Outgoing {
    fn new(looked: Time) -> Self {
        Self { looked, request: Request::new(), carried: Vec::new(), resync: false }
    }
}

impl Front {
    /// Whether this is still the front of `facts`.
    fn is_of(&self, facts: &SubscriptionFacts) -> bool {
        self.topic == facts.topic && self.offset == facts.facts.progress.position
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
        if let Some(front) = front {
            known.front = Some(Box::new(front));
        }
        if known.fingerprint == fingerprint {
            return None;
        }
    }
    let held = Held { fingerprint, round, front: front.map(Box::new) };
    Some(Pending { key, record, held: Some(held) })
}
