//! What is left after a deletion was answered, and what was cut before it could be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::{
    Cell, Index, ProjectIndex, Versioned, schema_key, signed, snapshot_key, subscription_key,
    topic_key, trash_key,
};
use super::commit::Plan;
use super::{Broker, Error};
use crate::domain::records::{Record, TopicRecord, TrashRecord};
use crate::domain::{ProjectId, SubscriptionId, TopicId};
use crate::store::{By, Outcome};

/// How often memory-only clocks are saved and forgotten work is looked for.
const ROUND: Duration = Duration::from_secs(60);
/// Most keys removed in one commit.
const PIECE: usize = 1_000;

impl Broker {
    /// Asks for a sweep; the answer does not wait for it.
    pub(super) fn sweep_soon(&self) {
        self.0.sweep.notify_one();
    }

    /// Runs until the broker drains.
    pub(super) async fn housekeep(self) {
        let mut round = tokio::time::interval(ROUND);
        round.tick().await;
        loop {
            tokio::select! {
                () = self.0.draining.cancelled() => break,
                () = self.0.sweep.notified() => self.sweep().await,
                _ = round.tick() => {
                    self.sweep().await;
                    self.refresh_heads().await;
                    self.forget_requests();
                    self.0.quotas.forget();
                    self.save_last_pulls().await;
                }
            }
        }
        self.save_last_pulls().await;
    }

    /// Finishes cut deletions and empties the trash. What fails stays for the next round.
    pub(super) async fn sweep(&self) {
        for (project, cell) in self.project_cells() {
            if !cell.is_gone()
                && let Err(error) = self.sweep_project(&cell).await
            {
                tracing::warn!(%error, %project, "sweeping will be tried again");
            }
        }
        let trash: Vec<String> = self.0.service.read().index.trash.keys().cloned().collect();
        for key in trash {
            if let Err(error) = self.sweep_deleted_project(&key).await {
                tracing::warn!(%error, %key, "sweeping will be tried again");
            }
        }
    }

    pub(super) async fn sweep_project(&self, cell: &Cell<ProjectIndex>) -> Result<(), Error> {
        let (marked, trash) = {
            let state = cell.read();
            let marked: Vec<Arc<TopicRecord>> =
                state.index.topics.values().filter(|topic| topic.marked).cloned().collect();
            (marked, state.index.trash.clone())
        };
        for record in marked {
            self.finish_deletion(cell, &record, &self.by_itself("topics:delete")).await?;
        }
        for record in trash.values() {
            self.forget(record.topic, record.subscription).await?;
        }
        self.remove_keys(cell, trash.into_keys().collect()).await
    }

    /// Removes the log and the progress of what no name leads to any more.
    pub(super) async fn forget(
        &self,
        topic: Option<TopicId>,
        subscription: Option<SubscriptionId>,
    ) -> Result<(), Error> {
        if let Some(life) = topic {
            self.close_log(life).await?;
        }
        if let Some(id) = subscription {
            let state = self.known_subscription(id);
            // A verb that is still at it ends first; a later one finds the record gone.
            let mut gate = match &state {
                Some(state) => Some(state.gate().await),
                None => None,
            };
            if let Some(gate) = &mut gate {
                gate.gone = true;
            }
            let store = &self.0.store;
            drop(self.settle(&mut self.retry(), || store.delete(id)).await?);
            drop(gate);
            self.remove_subscription_state(id);
        }
        Ok(())
    }

    async fn close_log(&self, life: TopicId) -> Result<Option<crate::domain::Head>, Error> {
        let store = &self.0.store;
        let closed = self.settle(&mut self.retry(), || store.close(life)).await?;
        self.remove_topic_state(life);
        Ok(if let Outcome::Applied(head) = closed { Some(head) } else { None })
    }

    async fn remove_keys<I: Index>(&self, cell: &Cell<I>, keys: Vec<String>) -> Result<(), Error> {
        for keys in keys.chunks(PIECE) {
            let plan = |_: &Versioned<I>| {
                let writes = keys.iter().map(|key| (key.clone(), None)).collect();
                Ok(Plan { writes, answer: () })
            };
            self.change(cell, &self.by_itself("broker:sweep"), plan).await?;
        }
        Ok(())
    }

    /// Takes a marked topic from the close of its log to the end. Doing it twice, or from two
    /// sides at once, is lawful.
    pub(super) async fn finish_deletion(
        &self,
        cell: &Cell<ProjectIndex>,
        record: &TopicRecord,
        by: &By,
    ) -> Result<(), Error> {
        let life = record.id;
        if let Some(head) = self.0.store.head(life).await? {
            self.record_last_usage(cell, record, &head).await?;
        }
        let kept = self.0.store.kept_bytes(life).await?;
        let end = self.close_log(life).await?.map(|head| head.next);
        if end.is_some() {
            cell.add_stored(-signed(kept));
        }
        // From the mark on nobody follows the name: these places move no more.
        let attached: Vec<_> = {
            let state = cell.read();
            state.index.attached(&record.name).map(|record| (record.id, record.topic_id)).collect()
        };
        let mut places = HashMap::new();
        for (id, first_life) in attached {
            let Some(state) = self.known_subscription(id) else { continue };
            let gate = state.gate().await;
            places.insert(id, state.durable().map_or(first_life, |progress| progress.topic));
            drop(gate);
        }
        let plan = |state: &Versioned<ProjectIndex>| {
            let present = state.index.topics.get(&record.name);
            if !present.is_some_and(|present| present.id == life && present.marked) {
                return Ok(Plan { writes: Vec::new(), answer: () });
            }
            let trash = TrashRecord {
                name: record.name.as_str().to_owned(),
                deleted: by.time,
                topic: Some(life),
                subscription: None,
            };
            let mut writes = vec![
                (topic_key(&record.name), None),
                (trash_key(life.0), Some(Record::Trash(trash))),
            ];
            for attached in state.index.attached(&record.name) {
                let mut attached = attached.as_ref().clone();
                // Lives that its progress has left are done with. The mark wrote the end already,
                // unless another broker published behind it.
                if places.get(&attached.id) == Some(&life) {
                    attached.ended.retain(|ended, _| *ended == life);
                }
                let known = attached.ended.entry(life).or_default();
                *known = end.map_or(*known, |end| end.max(*known));
                let key = subscription_key(&attached.name);
                writes.push((key, Some(Record::Subscription(attached))));
            }
            Ok(Plan { writes, answer: () })
        };
        self.change(cell, by, plan).await
    }

    pub(super) async fn sweep_deleted_project(&self, key: &str) -> Result<(), Error> {
        let id = key.strip_prefix("trash/").and_then(|id| id.parse().ok()).map(ProjectId);
        let cell = id.and_then(|id| self.any_cell(id));
        if let (Some(id), Some(cell)) = (id, cell) {
            self.clear_project(&cell).await?;
            self.remove_cell(id);
        }
        self.remove_keys(&self.0.service, vec![key.to_owned()]).await
    }

    /// Removes everything in the scope of a project that no name leads to.
    pub(super) async fn clear_project(&self, cell: &Cell<ProjectIndex>) -> Result<(), Error> {
        cell.set_gone();
        // Whoever planned before that is done once the queue is free.
        drop(cell.queue.lock().await);
        let (topics, subscriptions, trash, mut keys) = {
            let state = cell.read();
            let topics: Vec<_> = state.index.topics.values().cloned().collect();
            let subscriptions: Vec<_> = state.index.subscriptions.values().cloned().collect();
            let mut keys: Vec<_> = state.index.usage.keys().cloned().collect();
            keys.extend(state.index.snapshots.keys().map(snapshot_key));
            keys.extend(state.index.schemas.keys().map(|id| schema_key(*id)));
            keys.extend(state.index.audit.keys().cloned());
            (topics, subscriptions, state.index.trash.clone(), keys)
        };
        for topic in topics {
            self.forget(Some(topic.id), None).await?;
            keys.push(topic_key(&topic.name));
        }
        for subscription in subscriptions {
            self.forget(None, Some(subscription.id)).await?;
            keys.push(subscription_key(&subscription.name));
        }
        for (key, record) in trash {
            self.forget(record.topic, record.subscription).await?;
            keys.push(key);
        }
        self.remove_keys(cell, keys).await
    }
}
