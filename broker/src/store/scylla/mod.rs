//! The store on ScyllaDB or Apache Cassandra, over plain CQL. An experiment: one broker, and
//! nothing gives space back yet.
//!
//! Every mutation is one conditional write on one partition, so that two brokers that do not know
//! of each other cannot both succeed: no lease and no clock has a part in that. What has no
//! definite answer is [`Outcome::Unknown`](crate::store::Outcome) and is sent again as it was.
//! `docs/adr/0004-cql-store.md` says why it looks as it does.

mod catalog;
mod cql;
mod life;
mod log;
mod progress;
mod reading;
mod schema;
mod statements;
mod tls;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, watch};

use self::cql::Cql;
use self::life::Slot;
use super::{Store, StoreError};
use crate::domain::TopicId;

/// Which cluster, and what the store does there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the first nodes are found, `HOST:PORT`; the others are learnt from them.
    pub contact_points: Vec<String>,
    /// Lower-case letters, digits and `_`; made if it is missing.
    pub keyspace: String,
    /// The one data centre.
    pub datacenter: String,
    /// How many replicas a keyspace gets when it is made.
    pub replication: u16,
    /// The authority that signed the nodes' certificates (PEM); without it nothing is encrypted.
    pub ca_file: Option<PathBuf>,
    /// Who we are; empty = nobody asks.
    pub user: String,
    /// A file with that user's password.
    pub password_file: Option<PathBuf>,
    /// How long one statement may take before its outcome counts as unknown. Longer than the
    /// servers' own time-outs.
    pub request_timeout: Duration,
    /// Entries up to this many bytes travel through the consensus; larger ones are written beside
    /// it first.
    pub inline_bytes: usize,
    /// A segment ends with the entry that reaches this many bytes in it,
    pub segment_bytes: u64,
    /// or this many entries.
    pub segment_entries: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "ams".to_owned(),
            datacenter: "datacenter1".to_owned(),
            replication: 3,
            ca_file: None,
            user: String::new(),
            password_file: None,
            request_timeout: Duration::from_secs(5),
            inline_bytes: 16 << 10,
            segment_bytes: 32 << 20,
            segment_entries: 20_000,
        }
    }
}

impl Settings {
    /// Names go into statements as they are: only what needs no quoting.
    fn check(&self) -> Result<(), OpenError> {
        let refuse = |what: &str| Err(OpenError::Settings(what.to_owned()));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !self.keyspace.starts_with(|c: char| c.is_ascii_lowercase())
            || self.keyspace.len() > 48
            || !self.keyspace.chars().all(plain)
        {
            return refuse("keyspace: 1 to 48 of a-z, 0-9 and _, a letter first");
        }
        let lawful = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.datacenter.is_empty() || !self.datacenter.chars().all(lawful) {
            return refuse("datacenter: letters, digits, -, _ and . only");
        }
        if self.contact_points.is_empty() {
            return refuse("contact_points: at least one HOST:PORT");
        }
        Ok(())
    }

    /// The password, from its file.
    fn password(&self) -> Result<String, OpenError> {
        let Some(path) = &self.password_file else {
            return Err(OpenError::Settings("user without a password_file".to_owned()));
        };
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| OpenError::Settings(format!("password_file: {error}")))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Why the store on a cluster was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Settings that cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The cluster cannot be reached, or refused what it was asked.
    #[error("the database: {0}")]
    Cluster(String),
    /// More than one data centre: their conditions would be decided apart.
    #[error("the cluster has more than one data centre ({0}); only one is supported")]
    Datacenters(String),
    /// Acknowledged writes would be lost when a node is killed.
    #[error("commitlog_sync is `periodic`, which loses acknowledged writes; set batch or group")]
    Periodic,
    /// The tables are of another version.
    #[error("the tables have format {0}, which this version does not know")]
    Newer(i32),
}

impl OpenError {
    fn cluster(error: impl std::fmt::Display) -> Self {
        Self::Cluster(error.to_string())
    }
}

/// Connects; makes what is missing. The database must have one data centre and keep what it
/// acknowledged.
pub(super) async fn open(settings: Settings) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Arc::new(make(settings).await?))
}

async fn make(settings: Settings) -> Result<ScyllaStore, OpenError> {
    let (cql, id) = Cql::open(&settings).await?;
    Ok(ScyllaStore {
        cql,
        id,
        settings,
        gate: RwLock::new(false),
        closed: watch::Sender::new(false),
        slots: StdMutex::default(),
        turns: std::array::from_fn(|_| Mutex::new(())),
        hash: RandomState::new(),
    })
}

/// How many subscriptions and scopes are written side by side by one process.
const TURNS: usize = 64;

/// The store on a cluster.
struct ScyllaStore {
    cql: Cql,
    id: u64,
    settings: Settings,
    /// Whether it is closed; held for reading by every call, so that closing waits for them.
    gate: RwLock<bool>,
    closed: watch::Sender<bool>,
    slots: StdMutex<HashMap<TopicId, Arc<Slot>>>,
    /// Conditional writes of one partition go one behind the other, or they starve each other.
    turns: [Mutex<()>; TURNS],
    hash: RandomState,
}

impl ScyllaStore {
    /// Passes while the store is open.
    async fn enter(&self) -> Result<RwLockReadGuard<'_, bool>, StoreError> {
        let gate = self.gate.read().await;
        if *gate { Err(StoreError::Stopped) } else { Ok(gate) }
    }

    /// The turn of a partition, in the order of asking; some share one.
    async fn turn(&self, partition: impl Hash + Send) -> Result<MutexGuard<'_, ()>, StoreError> {
        let at = usize::try_from(self.hash.hash_one(partition) % TURNS as u64).unwrap_or_default();
        let turn = self.turns.get(at).ok_or(StoreError::Unavailable)?;
        Ok(turn.lock().await)
    }
}

#[async_trait]
impl Store for ScyllaStore {
    fn id(&self) -> u64 {
        self.id
    }

    async fn stopped(&self) -> Arc<str> {
        let mut closed = self.closed.subscribe();
        drop(closed.wait_for(|closed| *closed).await);
        "closed".into()
    }

    async fn close_store(&self) -> Result<(), StoreError> {
        *self.gate.write().await = true;
        self.closed.send_replace(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
