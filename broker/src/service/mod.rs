//! The verbs: what a caller may do, and what then happens. Knows neither a status code nor a JSON
//! field; both doors call it.
//!
//! The catalogue lives in memory, one cell per scope (`catalogue`); every change of it is a
//! command against one version (`commit`). Each topic has one queue of publishes (`publish`),
//! each subscription one critical section (`deliver`). Verbs that write run as tasks of their
//! own: a client that hangs up leaves nothing half done.

mod ack;
mod audit;
mod catalogue;
mod check;
mod commit;
mod create;
mod dead_letters;
mod deliver;
mod error;
mod facts;
mod feed;
mod figures;
mod lease;
mod members;
mod memory;
mod node;
mod open;
mod projects;
mod publish;
mod pull;
mod push;
mod queue;
mod quotas;
mod read;
mod registrations;
mod requests;
mod retention;
mod rights;
mod roles;
mod routes;
mod schemas;
mod shown;
mod snapshots;
mod subscriptions;
mod sweep;
#[cfg(test)]
mod tests;
mod tokens;
mod topics;
mod traces;
mod usage;
mod users;
mod views;
mod volumes;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use ack::Acker;
pub use audit::AuditFilter;
pub use check::{Loss, check, give_up, losses, tell_recorded};
pub use error::{Error, StoreFault};
pub use facts::{
    CallCounts, Deleted, Peer, ProjectFacts, PullCounts, ScopeChange, StoreFaultCounts,
    SubscriptionFacts, TopicFacts, Verb,
};
pub use figures::{DayCount, ProjectFigures, Rate, SubscriptionFigures, TopicFigures};
pub use lease::AckId;
pub use memory::Share;
pub use node::{NodeFigures, nodes};
pub use publish::Publisher;
pub use pull::Puller;
pub use quotas::{Rate as Bounded, Rates};
pub use read::{From as ReadFrom, Read};
pub use rights::Caller;
pub use roles::{RoleSettings, Roles};
pub use routes::Route;
pub use views::{
    MembershipView, NewRegistration, NewSubscription, NewUser, Offsets, Page, PageRequest,
    ProjectView, Pulled, PushView, RegistrationFilter, RegistrationView, SchemaEdit, SchemaView,
    SnapshotView, SubscriptionView, TopicView, UserChange, UserView,
};
pub use volumes::{Days, ProjectVolume};

use crate::clock::Clock;
use crate::domain::records::TopicRecord;
use crate::domain::{ProjectId, SubscriptionId, TopicId};
use crate::store::Store;
use catalogue::{Cell, ProjectIndex, ServiceIndex};
use deliver::SubscriptionState;
use feed::{Calls, StoreFaults};
use memory::Memory;
use queue::TopicState;
use quotas::Quotas;
use tokens::Seal;

/// Why a message is refused by its schema; doors tell it.
pub use crate::schema::{Invalid, Kind, NotBase64, Violation};
/// What a store may answer; doors translate it.
pub use crate::store::{Checked, Copied, CopyError, CopyProgress, CopyStage, Scope, StoreError};

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most objects (topics, subscriptions, schemas and snapshots) of one project.
    pub objects_per_project: usize,
    /// How long a verb tries to make an unknown outcome definite.
    pub deadline: Duration,
    /// Whether routes that AMS lets show a token show its text; else its prefix.
    pub reveal_tokens: bool,
    /// Who may call what.
    pub roles: Roles,
    /// Most messages that one pull hands out, whatever the client asks.
    pub pull_messages: u64,
    /// Most bytes (packed) that one pull hands out, at least one message.
    pub pull_bytes: u64,
    /// Whether subscriptions may be pushed. Nobody delivers yet: on in tests alone.
    pub push_enabled: bool,
    /// What topics keep.
    pub retention: Retention,
    /// Most packed bytes that the topics of one project keep together; 0 = no bound.
    pub bytes_per_project: u64,
    /// How often somebody may ask.
    pub rates: Rates,
    /// Most bytes of the bodies of requests in flight; beyond: [`Error::Unavailable`].
    pub bodies_bytes: u64,
    /// Most bytes of what pulls and reads hand out and is not sent yet; beyond they wait, then:
    /// [`Error::Unavailable`].
    pub answers_bytes: u64,
}

/// How long topics keep their messages.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Where a topic says nothing.
    pub default: Duration,
    /// However much a topic asks for.
    pub max: Duration,
    /// How often the topics are swept; at most, sooner where a topic keeps less than eight times
    /// this.
    pub every: Duration,
}

/// The broker's verbs. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    seal: Seal,
    settings: Settings,
    bodies: Memory,
    answers: Memory,
    tasks: TaskTracker,
    /// The runtime that opened the broker. It outlives those of the doors' threads, each of which
    /// ends with the tasks on it once its own connections are gone.
    home: Handle,
    /// Whether [`Broker::open`] is done.
    serving: AtomicBool,
    draining: CancellationToken,
    /// There is something to sweep.
    sweep: Notify,
    service: Cell<ServiceIndex>,
    projects: RwLock<HashMap<ProjectId, Arc<Cell<ProjectIndex>>>>,
    topics: RwLock<HashMap<TopicId, Arc<TopicState>>>,
    subscriptions: RwLock<HashMap<SubscriptionId, Arc<SubscriptionState>>>,
    calls: Calls,
    /// Why nothing is trimmed, while nothing is.
    clock_fault: AtomicBool,
    store_faults: StoreFaults,
    /// The last place given in the audit log.
    audited: AtomicU64,
    /// How many requests all topics remember.
    requests: AtomicUsize,
    quotas: Quotas,
    /// The user `admin` has another token.
    admin_refreshed: Notify,
}

/// The broker could not be started on this store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Catalogue and logs contradict each other: name and what.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// The store would not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Broker {
    /// The store's id, for reports.
    pub fn store_id(&self) -> u64 {
        self.0.store.id()
    }

    /// The longest that a topic may keep its messages.
    pub fn longest_retention(&self) -> Duration {
        self.0.settings.retention.max
    }

    /// For how long a topic keeps its messages.
    pub fn topic_keeps(&self, topic: &TopicRecord) -> Duration {
        let Retention { default, max, .. } = self.0.settings.retention;
        topic.retention.age_in_force(default, max)
    }

    /// Copies the store to the directory `to` (absent or empty) while it serves; with `dry_run`
    /// only says how much that would be. For whoever runs this process: no rights are checked.
    ///
    /// # Errors
    /// See [`CopyError`]; the catalogue cannot be read.
    pub async fn backup(
        &self,
        to: &Path,
        dry_run: bool,
        progress: CopyProgress,
    ) -> Result<Copied, CopyError> {
        let mut copied = self.0.store.backup(to, dry_run, progress).await?;
        let told = tell_recorded(&self.0.store, &mut copied.checked).await;
        told.map_err(|error| CopyError::Damaged(error.to_string()))?;
        Ok(copied)
    }

    /// The clock this broker lives by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// From now on verbs answer [`Error::Unavailable`]; waiting pulls are woken and answer empty.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// The topics and subscriptions of a project.
    fn project_cell(&self, id: ProjectId) -> Result<Arc<Cell<ProjectIndex>>, Error> {
        self.any_cell(id).filter(|cell| !cell.is_gone()).ok_or(Error::ProjectNotFound)
    }

    /// The same of a project that may have been deleted and is not yet cleared.
    fn any_cell(&self, id: ProjectId) -> Option<Arc<Cell<ProjectIndex>>> {
        self.0.projects.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All projects' cells, in no order.
    fn project_cells(&self) -> Vec<(ProjectId, Arc<Cell<ProjectIndex>>)> {
        let projects = self.0.projects.read().unwrap_or_else(PoisonError::into_inner);
        projects.iter().map(|(id, cell)| (*id, Arc::clone(cell))).collect()
    }
}
