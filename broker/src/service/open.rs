//! Starting: load what is, check it against the logs, finish what was cut.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::catalogue::{Cell, Index, ProjectIndex, ServiceIndex};
use super::deliver::SubscriptionState;
use super::feed::{Calls, StoreFaults};
use super::memory::Memory;
use super::quotas::Quotas;
use super::tokens::Seal;
use super::{Broker, Error, Inner, OpenError, Settings};
use crate::clock::Clock;
use crate::domain::records::SubscriptionRecord;
use crate::domain::{Head, Malformed, Offset, ProjectId, SubscriptionId, TopicId};
use crate::store::{Scope, ScopeState, Store, StoreError};

impl Broker {
    /// Loads the catalogue, checks it against the logs, finishes what was cut (deletions, orphaned
    /// logs). `key` seals tokens. Tasks run on `tasks`, so that shutdown can wait for them; those
    /// that serve more than one caller on the runtime this is called on, which must outlive all.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        key: [u8; 32],
        settings: Settings,
        tasks: TaskTracker,
    ) -> Result<Self, OpenError> {
        let service: Cell<ServiceIndex> = load(&store, Scope::Service).await?;
        let mut projects = load_projects(&store).await?;
        // A project without anything in it has no scope yet.
        for id in service.read().index.projects.keys() {
            let empty = || Arc::new(Cell::new(Scope::Project(*id)));
            projects.entry(*id).or_insert_with(empty);
        }
        let subscriptions = load_progress(&store, &projects).await?;
        let quotas = Quotas::new(settings.rates, Arc::clone(&clock));
        let broker = Self(Arc::new(Inner {
            store,
            clock,
            seal: Seal::new(key),
            bodies: Memory::new(settings.bodies_bytes),
            answers: Memory::new(settings.answers_bytes),
            settings,
            tasks,
            home: tokio::runtime::Handle::current(),
            serving: AtomicBool::new(false),
            draining: CancellationToken::new(),
            sweep: Notify::new(),
            service,
            projects: RwLock::new(projects),
            topics: RwLock::default(),
            subscriptions: RwLock::new(subscriptions),
            calls: Calls::default(),
            clock_fault: AtomicBool::new(false),
            store_faults: StoreFaults::default(),
            audited: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            quotas,
            admin_refreshed: Notify::new(),
        }));
        broker.find_last_audit();
        broker.finish_projects().await.map_err(refusal)?;
        broker.check_topics().await?;
        broker.finish_topics().await.map_err(refusal)?;
        for (_, cell) in broker.project_cells() {
            broker.count_stored(&cell).await.map_err(refusal)?;
        }
        broker.check_subscriptions()?;
        broker.close_orphans().await.map_err(refusal)?;
        broker.0.serving.store(true, Ordering::Release);
        broker.0.tasks.spawn(broker.clone().housekeep());
        broker.0.tasks.spawn(broker.clone().keep_retention());
        Ok(broker)
    }

    /// Clears the scopes of projects whose name is gone.
    async fn finish_projects(&self) -> Result<(), Error> {
        let trash: Vec<String> = self.0.service.read().index.trash.keys().cloned().collect();
        for key in trash {
            self.sweep_deleted_project(&key).await?;
        }
        for (id, cell) in self.project_cells() {
            let is_named = self.0.service.read().index.projects.contains_key(&id);
            if !is_named {
                self.clear_project(&cell).await?;
                self.remove_cell(id);
            }
        }
        Ok(())
    }

    /// Every topic that answers to its name has an open log.
    async fn check_topics(&self) -> Result<(), OpenError> {
        for (project, cell) in self.project_cells() {
            let topics: Vec<_> = cell.read().index.live_topics().cloned().collect();
            for topic in topics {
                let Some(head) = self.0.store.head(topic.id).await? else {
                    let text = format!(
                        "topic {} of project {project} has no open log ({})",
                        topic.name, topic.id
                    );
                    return Err(OpenError::Damaged(text));
                };
                if !topic.holes.is_empty() {
                    self.0.store.give_up(topic.id, &topic.holes);
                }
                self.insert_topic_state(topic.id, head);
            }
        }
        Ok(())
    }

    /// Finishes the deletions that were cut, and empties the trash.
    async fn finish_topics(&self) -> Result<(), Error> {
        for (_, cell) in self.project_cells() {
            // What was a marked topic is trash after the first round.
            self.sweep_project(&cell).await?;
            self.sweep_project(&cell).await?;
        }
        Ok(())
    }

    /// No subscription lies past the end of its topic: such a log lost its tail.
    fn check_subscriptions(&self) -> Result<(), OpenError> {
        for (project, cell) in self.project_cells() {
            let state = cell.read();
            for record in state.index.subscriptions.values() {
                let topic = state.index.topic(&record.topic);
                let topic = topic.and_then(|topic| self.known_topic(topic.id));
                let current = topic.map(|topic| (topic.id(), topic.head()));
                let Some(state) = self.known_subscription(record.id) else { continue };
                if let Err(what) = farthest_is_known(record, &state, current) {
                    let name = &record.name;
                    let text = format!("subscription {name} of project {project}: {what}");
                    return Err(OpenError::Damaged(text));
                }
            }
        }
        Ok(())
    }

    /// Logs and progress that nothing names: of a creation or a deletion that was cut.
    async fn close_orphans(&self) -> Result<(), Error> {
        let (mut topics, mut subscriptions) = (HashSet::new(), HashSet::new());
        for (_, cell) in self.project_cells() {
            let state = cell.read();
            topics.extend(state.index.topics.values().map(|topic| topic.id));
            subscriptions.extend(state.index.subscriptions.values().map(|record| record.id));
        }
        for life in self.0.store.topics().await? {
            if !topics.contains(&life) {
                tracing::info!(topic = %life, "closing a log that no record names");
                self.forget(Some(life), None).await?;
            }
        }
        for id in self.0.store.subscriptions().await? {
            if !subscriptions.contains(&id) {
                tracing::info!(subscription = %id, "forgetting progress that no record names");
                self.forget(None, Some(id)).await?;
            }
        }
        Ok(())
    }
}

/// What keeps the broker from starting, when a cut verb could not be finished.
fn refusal(error: Error) -> OpenError {
    match error {
        Error::Store(error) => error.into(),
        _ => StoreError::Unavailable.into(),
    }
}

pub(super) fn farthest_is_known(
    record: &SubscriptionRecord,
    state: &SubscriptionState,
    current: Option<(TopicId, Head)>,
) -> Result<(), String> {
    let durable = state.durable();
    let (life, farthest) = durable.as_ref().map_or((record.topic_id, record.start), |progress| {
        let window = progress.window.map_or(Offset(0), |window| window.end);
        (progress.topic, progress.position.max(progress.frontier).max(window))
    });
    let end = match current {
        Some((current, head)) if current == life => Some(head.next),
        _ => record.ended.get(&life).copied(),
    };
    match end {
        None => Err(format!("it is on topic life {life}, which nothing knows")),
        Some(end) if farthest > end => {
            Err(format!("it is at {farthest}, the topic ends at {end} (topic life {life})"))
        }
        Some(_) => Ok(()),
    }
}

type Cells = HashMap<ProjectId, Arc<Cell<ProjectIndex>>>;

/// Loads all projects, as many at once as there are processors to decode them.
async fn load_projects(store: &Arc<dyn Store>) -> Result<Cells, OpenError> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let projects = store.scopes().await?.into_iter().filter_map(|scope| match scope {
        Scope::Project(id) => Some((id, scope)),
        Scope::Service => None,
    });
    let loading = projects.map(|(id, scope)| async move {
        let stored = store.load_scope(scope).await?;
        let decoding = tokio::task::spawn_blocking(move || decode(scope, stored));
        // The runtime is going down, or there is a bug in a decoder.
        let cell = decoding.await.map_err(|_| StoreError::Unavailable)??;
        Ok((id, Arc::new(cell)))
    });
    stream::iter(loading).buffer_unordered(at_once).try_collect().await
}

fn decode<I: Index>(scope: Scope, stored: ScopeState) -> Result<Cell<I>, OpenError> {
    let damaged = |error: Malformed| OpenError::Damaged(format!("{scope:?}: {error}"));
    Cell::load(scope, stored).map_err(damaged)
}

pub(super) async fn load<I: Index>(
    store: &Arc<dyn Store>,
    scope: Scope,
) -> Result<Cell<I>, OpenError> {
    decode(scope, store.load_scope(scope).await?)
}

type Progresses = HashMap<SubscriptionId, Arc<SubscriptionState>>;

async fn load_progress(store: &Arc<dyn Store>, projects: &Cells) -> Result<Progresses, StoreError> {
    let mut progresses = HashMap::new();
    for cell in projects.values() {
        let ids: Vec<SubscriptionId> =
            cell.read().index.subscriptions.values().map(|record| record.id).collect();
        for id in ids {
            let state = SubscriptionState::new(id, store.load(id).await?);
            progresses.insert(id, Arc::new(state));
        }
    }
    Ok(progresses)
}
