//! Publishing: one queue per topic, whose waiting batches share an entry.
//!
//! A publish leaves its batch and waits; whoever finds no committer is one: it takes what waits,
//! commits it, answers, and leaves what came meanwhile to a task, which goes on, where the store
//! answers it, until nothing waits. The batch belongs to the queue from then on: a client that hangs up takes nothing back
//! and holds nobody up.

use std::sync::{Arc, PoisonError};

use super::catalogue::{Cell, KnownSchema, ProjectIndex, signed};
use super::commit::{Errand, Retry};
use super::queue::{TopicState, Waiting};
use super::{Broker, Caller, Error};
use crate::answers::{Round, channel};
use crate::domain::records::TopicRecord;
use crate::domain::requests::Requests;
use crate::domain::roles::ProjectRole;
use crate::domain::{
    Batch, BatchBuilder, Head, Holes, Known, Mark, Offset, ProjectId, Request, TopicId, TopicName,
    UserId,
};
use crate::inline;
use crate::store::{Outcome, StoreError};

/// Somebody who may publish to one topic.
pub struct Publisher {
    broker: Broker,
    project: Arc<Cell<ProjectIndex>>,
    record: Arc<TopicRecord>,
    schema: Option<Arc<KnownSchema>>,
    user: UserId,
    project_id: ProjectId,
    /// Whether rates hold for it.
    bounded: bool,
}

impl Publisher {
    /// Appends `batch` whole or not at all and answers the offset of its first message, when it is durable. An empty batch
    /// is lawful and writes nothing. Where the topic has a schema, every message is judged before any is written. Concurrent publishes of one topic share an entry.
    ///
    /// With a `key`, the user's publishes under it within ten minutes are one: later ones are
    /// answered as the first was, through restarts, as long as its messages are kept.
    ///
    /// # Errors
    /// `KeyReused`: the key was used for other messages. `KeyQuota`: too many keys. The schema's
    /// findings, `ByteQuota`, `TopicNotFound`, `Unavailable`, the store.
    pub async fn publish(self, batch: Batch, key: Option<&[u8]>) -> Result<Offset, Error> {
        let Self { broker, project, record, schema, user, project_id, bounded } = self;
        if broker.is_draining() {
            return Err(Error::Unavailable);
        }
        let request = key.filter(|_| !batch.is_empty());
        let request = request.map(|key| Request::new(user, key, &batch));
        if let Some(request) = request {
            match broker.known_before(&record, request).await? {
                Known::New => {}
                Known::Repeat(first) => return Ok(first),
                Known::Other => return Err(Error::KeyReused),
            }
        }
        if let Some(schema) = schema {
            schema.judge(&batch)?;
        }
        if batch.is_empty() {
            let topic = broker.topic_state(record.id).await?.ok_or(Error::TopicNotFound)?;
            return Ok(topic.head().next);
        }
        if bounded {
            let bytes = batch.packed().len() as u64;
            broker.0.quotas.publish(user, project_id, bytes)?;
        }
        broker.append_batch(project, &record, batch, request).await
    }
}

impl Broker {
    /// Appends a batch that is not empty, if the project has room, and waits for it until the
    /// deadline.
    pub(super) async fn append_batch(
        &self,
        project: Arc<Cell<ProjectIndex>>,
        record: &TopicRecord,
        batch: Batch,
        request: Option<Request>,
    ) -> Result<Offset, Error> {
        let topic = self.topic_state(record.id).await?.ok_or(Error::TopicNotFound)?;
        let quota = self.0.settings.bytes_per_project;
        // What is on its way is not counted yet: the quota may be passed by as much.
        let size = signed(batch.packed().len() as u64);
        if quota > 0 && project.stored().saturating_add(size) > signed(quota) {
            return Err(Error::ByteQuota);
        }
        let deadline = self.0.settings.deadline;
        let (answer, answered) = channel();
        let commits = topic.enter(Waiting { batch, request, answer, repeats: Vec::new() })?;
        let answered = async {
            if commits {
                let first = commit_first(self.clone(), project, topic);
                Errand::new(self.clone(), first).await;
            }
            answered.await
        };
        match tokio::time::timeout(deadline, answered).await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(_) => Err(Error::Unavailable),
        }
    }
}

/// Commits what waits now; what came meanwhile is not for whoever publishes to wait for.
async fn commit_first(broker: Broker, project: Arc<Cell<ProjectIndex>>, topic: Arc<TopicState>) {
    if let Some(waiting) = topic.take() {
        commit_entry(&broker, &project, &topic, waiting).await;
        if topic.goes_on() {
            let rest = commit_waiting(broker.clone(), project, topic);
            inline::spawn(&broker.0.home, broker.0.tasks.track_future(rest));
        }
    }
}

async fn commit_waiting(broker: Broker, project: Arc<Cell<ProjectIndex>>, topic: Arc<TopicState>) {
    while let Some(waiting) = topic.take() {
        commit_entry(&broker, &project, &topic, waiting).await;
    }
}

async fn commit_entry(
    broker: &Broker,
    project: &Cell<ProjectIndex>,
    topic: &TopicState,
    mut waiting: Vec<Waiting>,
) {
    let mut retry = broker.retry();
    let base = loop {
        waiting = broker.answer_repeats(topic, waiting).await;
        if waiting.is_empty() {
            return;
        }
        let batch = pack(&waiting);
        let bytes = signed(batch.packed().len() as u64);
        match broker.append(topic, batch, marks(&waiting), &mut retry).await {
            Ok(None) => {}
            Ok(Some(base)) => {
                project.add_stored(bytes);
                break Ok(base);
            }
            Err(error) => break Err(error),
        }
    };
    let (mut place, mut round) = (0, Round::default());
    for one in waiting {
        let count = u64::from(one.batch.len());
        one.answer(&base.clone().map(|base| base.plus(place)), &mut round);
        place += count;
    }
}

/// How those are recognised who ask for it.
fn marks(waiting: &[Waiting]) -> Vec<Mark> {
    let mut first = 0;
    let mark = |one: &Waiting| {
        let (at, count) = (first, one.batch.len());
        first += count;
        one.request.map(|request| request.mark(at, count))
    };
    waiting.iter().filter_map(mark).collect()
}

fn pack(waiting: &[Waiting]) -> Batch {
    if let [only] = waiting {
        return only.batch.clone();
    }
    let bytes = waiting.iter().map(|one| one.batch.packed().len()).sum();
    let mut together = BatchBuilder::with_capacity(bytes);
    waiting.iter().for_each(|one| together.append(&one.batch));
    together.finish()
}

impl Broker {
    /// Existence and ACL, before the door reads the body.
    pub fn publisher(&self, caller: &Caller, name: &TopicName) -> Result<Publisher, Error> {
        let project = self.project_cell(caller.project()?)?;
        let (record, schema) = {
            let state = project.read();
            let record = state.index.topic(name).cloned().ok_or(Error::TopicNotFound)?;
            let schema = state.index.schema_of(&record).cloned();
            (record, schema)
        };
        caller.passes(&ProjectRole::Publisher, &record.acl)?;
        Ok(Publisher {
            broker: self.clone(),
            project,
            record,
            schema,
            user: caller.user(),
            project_id: caller.project()?,
            bounded: !caller.is_service_admin(),
        })
    }

    /// What is known of a request whose topic may not have been met yet. It is found out by a task of
    /// its own: whoever hangs up leaves its result to the next one.
    pub(super) async fn known_before(
        &self,
        record: &TopicRecord,
        request: Request,
    ) -> Result<Known, Error> {
        let (broker, id, holes) = (self.clone(), record.id, record.holes.clone());
        self.run(async move {
            let topic = broker.topic_state(id).await?.ok_or(Error::TopicNotFound)?;
            broker.known(&topic, &request, &holes).await
        })
        .await
    }

    /// Answers those whose request was done before, and lets those who ask the same share one
    /// answer; the others are still to be written.
    async fn answer_repeats(&self, topic: &TopicState, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let requests: Vec<Request> = waiting.iter().filter_map(|one| one.request).collect();
        if requests.is_empty() {
            return waiting;
        }
        // What was given up was passed over when each of them was looked for.
        let read = self.remember(topic, &Holes::default()).await.map_err(Error::from);
        let mut known = self.find_requests(topic, &requests).into_iter();
        let mut left: Vec<Waiting> = Vec::with_capacity(waiting.len());
        let mut round = Round::default();
        for one in waiting {
            let Some(request) = one.request else {
                left.push(one);
                continue;
            };
            let twin = |other: &&mut Waiting| {
                other.request.is_some_and(|other| other.is_named_as(&request))
            };
            match (&read, known.next()) {
                (Err(error), _) => one.answer(&Err(error.clone()), &mut round),
                (Ok(()), Some(Known::Repeat(first))) => one.answer(&Ok(first), &mut round),
                (Ok(()), Some(Known::Other)) => one.answer(&Err(Error::KeyReused), &mut round),
                (Ok(()), Some(Known::New) | None) => match left.iter_mut().find(twin) {
                    None => left.push(one),
                    Some(twin) if twin.request == one.request => {
                        twin.repeats.extend(one.repeats.into_iter().chain([one.answer]));
                    }
                    Some(_) => one.answer(&Err(Error::KeyReused), &mut round),
                },
            }
        }
        left
    }

    /// Commits one entry and answers its first offset; `None` when another one is in its place, so
    /// that what was not written must be built anew on the new head. The entry does not change while
    /// its outcome is unknown.
    async fn append(
        &self,
        topic: &TopicState,
        batch: Batch,
        marks: Vec<Mark>,
        retry: &mut Retry<'_>,
    ) -> Result<Option<Offset>, Error> {
        let store = &self.0.store;
        let entry = Arc::new(topic.head().entry(self.0.clock.wall(), batch, marks));
        let sent = || store.commit(topic.id(), Arc::clone(&entry));
        match self.settle(retry, sent).await? {
            Outcome::Applied(head) => {
                self.requests(topic, |requests| requests.written(&entry));
                topic.advance(head);
                Ok(Some(entry.base))
            }
            Outcome::Conflict => {
                let head = store.head(topic.id()).await?.ok_or(Error::TopicNotFound)?;
                topic.advance(head);
                retry.again().await?;
                Ok(None)
            }
            Outcome::Closed | Outcome::Unknown => Err(Error::TopicNotFound),
        }
    }

    /// A topic life that this broker has seen.
    pub(super) fn known_topic(&self, id: TopicId) -> Option<Arc<TopicState>> {
        self.0.topics.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All topic lives that this broker has seen.
    pub(super) fn known_topics(&self) -> Vec<Arc<TopicState>> {
        self.0.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A topic life; `None` when its log is closed.
    pub(super) async fn topic_state(
        &self,
        id: TopicId,
    ) -> Result<Option<Arc<TopicState>>, StoreError> {
        if let Some(known) = self.known_topic(id) {
            return Ok(Some(known));
        }
        let head = self.0.store.head(id).await?;
        Ok(head.map(|head| self.insert_topic_state(id, head)))
    }

    pub(super) fn insert_topic_state(&self, id: TopicId, head: Head) -> Arc<TopicState> {
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        let state = topics.entry(id).or_insert_with(|| Arc::new(TopicState::new(id, head)));
        Arc::clone(state)
    }

    pub(super) fn remove_topic_state(&self, id: TopicId) {
        let removed = self.0.topics.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(topic) = removed {
            self.requests(&topic, |requests| *requests = Requests::default());
            topic.end();
        }
    }
}
