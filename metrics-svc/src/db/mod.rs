//! What cannot be asked of a broker again: one SQLite file, `DIR/metrics/metrics.sqlite3`.
//!
//! Judge state, incidents, mails to be sent, deletions, and fifteen days of minute samples. WAL
//! with `synchronous = FULL`: an answer leaves after what it says is on disk. One connection; every
//! call runs on the blocking pool, and whether the last one worked is a gauge.

mod outbox;
mod schema;
mod state;

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use outbox::{Kind, Mail, NewMail, Outcome, Queue};
pub use state::{Closing, Commit, Deletion, IncidentRow, Sample, Saved};

/// How long a write waits for another program that holds the file (an operator's `sqlite3`).
const BUSY: Duration = Duration::from_secs(1);

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Mutex<Connection>,
    up: AtomicBool,
    /// Held for as long as the database is open, or until [`Db::let_go`].
    lock: File,
}

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The directory or a file in it cannot be made, locked or closed to others.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Written by a newer version of this program.
    #[error("{path} has format {found}, this program knows up to {known}")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// SQLite or a row that cannot be read.
    #[error("{path}: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DbError,
    },
}

/// The database refused.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite's reason.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A value that is not what this program writes.
    #[error("database: a row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// The process is shutting down.
    #[error("database: stopped")]
    Stopped,
}

impl Db {
    /// Opens `directory/metrics.sqlite3`, makes it when it is missing, and locks the directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let at = |source| OpenError::Directory { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at)?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(at)?;
        let lock = own_file(&directory.join("lock")).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        let path = directory.join("metrics.sqlite3");
        // SQLite gives its -wal and -shm files the mode of the database.
        own_file(&path).map_err(|source| OpenError::Directory { path: path.clone(), source })?;
        let damaged = |source: DbError| OpenError::Damaged { path: path.clone(), source };
        let mut connection = connect(&path).map_err(|error| damaged(error.into()))?;
        match schema::prepare(&mut connection) {
            Ok(Ok(())) => {}
            Ok(Err(found)) => {
                return Err(OpenError::TooNew { path, found, known: schema::VERSION });
            }
            Err(error) => return Err(damaged(error.into())),
        }
        let inner = Inner { connection: Mutex::new(connection), up: AtomicBool::new(true), lock };
        Ok(Self(Arc::new(inner)))
    }

    /// Gives the directory up: nothing is written any more, though a listener's threads may hold
    /// this a moment longer.
    pub fn let_go(&self) {
        if let Err(error) = self.0.lock.unlock() {
            tracing::warn!(%error, "the data directory stays locked until the process ends");
        }
    }

    /// Whether the last call worked.
    pub fn is_up(&self) -> bool {
        self.0.up.load(Ordering::Relaxed)
    }

    /// Runs `work` in one immediate transaction on the blocking pool; all of it or nothing.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let result = inner.write(work);
            inner.up.store(result.is_ok(), Ordering::Relaxed);
            result
        });
        done.await.unwrap_or(Err(DbError::Stopped))
    }

    /// Runs `work` on the blocking pool, for reading.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&connection)
        });
        done.await.unwrap_or(Err(DbError::Stopped))
    }
}

impl Inner {
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Opens a file that only its owner may read, and makes it where it is missing: mail addresses
/// and hashes of tokens live here.
fn own_file(path: &Path) -> std::io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;

    #[test]
    fn one_process_at_a_time_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Db::open(dir.path()).unwrap();
        assert!(matches!(Db::open(dir.path()), Err(OpenError::InUse(_))));
        drop(first);
        let held = Db::open(dir.path()).unwrap();
        held.let_go();
        assert!(Db::open(dir.path()).is_ok(), "given up by a stop that somebody outlives");
    }

    #[tokio::test]
    async fn nobody_else_on_the_machine_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("new/metrics");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let db = Db::open(&home).unwrap();
        db.write(|_| Ok(())).await.unwrap();
        assert_eq!(mode(&home), 0o700);
        let modes = || {
            let files = std::fs::read_dir(&home).unwrap().map(|file| file.unwrap().path());
            files.map(|path| (mode(&path), path)).collect::<Vec<_>>()
        };
        assert!(modes().len() >= 3, "lock, database and its log: {:?}", modes());
        assert!(modes().iter().all(|(mode, _)| *mode == 0o600), "{:?}", modes());
        drop(db);
        // Made by an earlier version, or restored from a backup.
        let wide = Permissions::from_mode(0o644);
        std::fs::set_permissions(home.join("metrics.sqlite3"), wide).unwrap();
        std::fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
        let db = Db::open(&home).unwrap();
        db.write(|_| Ok(())).await.unwrap();
        assert_eq!(mode(&home), 0o700);
        assert!(modes().iter().all(|(mode, _)| *mode == 0o600), "{:?}", modes());
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_does_not_hold_mails_up() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).unwrap();
        let now = Time::from_secs(1_790_000_000);
        let mail = NewMail {
            incident: uuid::Uuid::new_v4(),
            kind: Kind::Open,
            recipient: String::from("a@example.org"),
            merge_key: String::new(),
            body: String::new(),
            due_at: now.plus(Duration::from_secs(10)),
            expires_at: now.plus(Duration::from_secs(86_400)),
        };
        db.post(vec![mail], now).await.unwrap();
        assert!(db.due(now.plus(Duration::from_secs(1))).await.unwrap().is_empty());
        let back = now.minus(Duration::from_secs(3_600));
        let due = db.due(back).await.unwrap();
        assert_eq!(due.len(), 1);
        // Deferred, it waits its time.
        let retry = Outcome::Retry(back.plus(Duration::from_secs(30)), String::from("451"));
        db.settle(vec![due[0].id], retry, back).await.unwrap();
        assert!(db.due(back.plus(Duration::from_secs(1))).await.unwrap().is_empty());
        assert_eq!(db.due(back.plus(Duration::from_secs(30))).await.unwrap().len(), 1);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Db::open(dir.path()).unwrap());
        let raw = Connection::open(dir.path().join("metrics.sqlite3")).unwrap();
        raw.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
        drop(raw);
        let refused = Db::open(dir.path()).unwrap_err();
        assert!(matches!(refused, OpenError::TooNew { found: 2, known: 1, .. }), "{refused}");
    }

    #[test]
    fn a_file_that_is_no_database_is_reported_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("metrics.sqlite3"), "x".repeat(4096)).unwrap();
        let refused = Db::open(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("metrics.sqlite3"), "{refused}");
    }

    #[tokio::test]
    async fn a_refused_write_is_seen_and_a_later_one_heals_it() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).unwrap();
        let other = Connection::open(dir.path().join("metrics.sqlite3")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(db.write(|_| Ok(())).await.is_err());
        assert!(!db.is_up());
        other.execute_batch("ROLLBACK").unwrap();
        assert!(db.write(|_| Ok(())).await.is_ok());
        assert!(db.is_up());
    }
}
