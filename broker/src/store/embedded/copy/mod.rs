//! Copies of a store: backup, restore, and the check that both end with.
//!
//! A backup is a cut: the newest snapshot, the slots it lists and those opened since, each as far
//! as it was durable at one moment of both logs. So it is what a start after a power cut at that
//! moment would have found, and it is read back by the same code. While it is copied the keeper
//! takes no snapshot, so no file of it is used again.

mod backup;
mod check;
mod manifest;
mod restore;

pub use self::check::{Checked, Damage, Messages};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::backup::Cut;
use self::restore::BackupDisk;
use super::api::EmbeddedStore;
use super::disk::{Disk, RealDisk};
use super::queue::{Phase, Shared};
use super::recovery::{self, Found};
use super::rules::Rules;
use super::{OpenError, Settings, lock};
use crate::store::{CopyProgress, Store};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Files are copied out of a store.
    Copying,
    /// Files of a backup are compared with its manifest.
    Verifying,
    /// Frames, records and references are read.
    Checking,
    /// Files of a new store are written.
    Writing,
}

/// Is told (what is being done, bytes done, bytes to do) now and then.
type Progress<'a> = &'a (dyn Fn(Stage, u64, u64) + Sync);

/// What a copy holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What reading it back found.
    pub checked: Checked,
}

/// Why there is no copy. What was written of it so far is left where it is.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is something already.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// It is no backup, or not as it was written.
    #[error("{0}")]
    Damaged(String),
    /// A later version wrote it.
    #[error("{0}")]
    Newer(String),
    /// The store has stopped, or is of a kind that has other tools.
    #[error("{0}")]
    Refused(String),
    /// The disk's.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// The store itself cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Attaches what was being done to an I/O error.
fn failed<'a>(doing: &'a str, name: &'a str) -> impl FnOnce(io::Error) -> CopyError + 'a {
    move |error| CopyError::Io(format!("cannot {doing} {name}"), error)
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Runs what waits for the disk where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CopyError> + Send + 'static,
) -> Result<T, CopyError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(CopyError::Refused(format!("the copy was given up: {error}"))))
}

/// Copies a store that serves.
pub(super) async fn backup_open(
    shared: &Arc<Shared>,
    to: &Path,
    dry_run: bool,
    progress: CopyProgress,
) -> Result<Copied, CopyError> {
    let (shared, to) = (Arc::clone(shared), to.to_owned());
    blocking(move || backup::of_open(&shared, &to, dry_run, progress.as_ref())).await
}

/// Copies the store in `dir`, which no process serves, to `to` (absent or empty) as
/// [`Store::backup`] does. Takes the directory's lock; writes nothing into it.
///
/// # Errors
/// See [`CopyError`]; the store cannot be opened.
pub async fn backup(
    dir: &Path,
    to: &Path,
    dry_run: bool,
    progress: CopyProgress,
) -> Result<Copied, CopyError> {
    let (dir, to) = (dir.to_owned(), to.to_owned());
    blocking(move || {
        let (_lock, disk, found) = found(&dir)?;
        let cut = Cut::of_closed(&found);
        backup::copy(&disk, found.store, &cut, &to, dry_run, progress.as_ref())
    })
    .await
}

/// Verifies the backup `from` and makes of it the store in `dir` (absent or empty), with an id of
/// its own; without `dir` it only verifies. A restore that was cut leaves no store.
///
/// # Errors
/// See [`CopyError`].
pub async fn restore(
    from: &Path,
    dir: Option<&Path>,
    progress: CopyProgress,
) -> Result<Copied, CopyError> {
    let (from, dir) = (from.to_owned(), dir.map(Path::to_owned));
    blocking(move || restore::restore(&from, dir.as_deref(), progress.as_ref())).await
}

/// Reads everything that the store in `dir`, which no process serves, still needs; answers what
/// it found and the store itself, as it is, for reading only.
///
/// # Errors
/// See [`CopyError`]; the store cannot be opened.
pub async fn check(
    dir: &Path,
    progress: CopyProgress,
) -> Result<(Arc<dyn Store>, Checked), CopyError> {
    let dir = dir.to_owned();
    blocking(move || {
        let disk = opened(&dir)?;
        let lock = lock(&dir)?;
        let (found, checked) = check::check(&disk, progress.as_ref())?;
        Ok((image(Arc::new(disk), found, Some(Arc::new(lock))), checked))
    })
    .await
}

/// [`check()`] for the backup in `dir`; its files are compared with its manifest first.
///
/// # Errors
/// See [`CopyError`].
pub async fn check_backup(
    dir: &Path,
    progress: CopyProgress,
) -> Result<(Arc<dyn Store>, Checked), CopyError> {
    let dir = dir.to_owned();
    blocking(move || {
        let disk = BackupDisk::open(&dir)?;
        disk.verify(progress.as_ref())?;
        let (found, checked) = check::check(&disk, progress.as_ref())?;
        Ok((image(Arc::new(disk), found, None), checked))
    })
    .await
}

/// Opens a directory that must be there.
fn opened(dir: &Path) -> Result<RealDisk, CopyError> {
    let shown = dir.display().to_string();
    if !dir.is_dir() {
        return Err(CopyError::Refused(format!("there is no store in {shown}")));
    }
    RealDisk::open(dir).map_err(failed("open", &shown))
}

fn found(dir: &Path) -> Result<(std::fs::File, RealDisk, Found), CopyError> {
    let disk = opened(dir)?;
    let lock = lock(dir)?;
    let found = recovery::read(&disk, Rules::default())?;
    let shown = dir.display();
    let found = found.ok_or_else(|| CopyError::Refused(format!("there is no store in {shown}")))?;
    Ok((lock, disk, found))
}

/// What was found, as a store that takes nothing.
fn image(disk: Arc<dyn Disk>, found: Found, lock: Option<Arc<std::fs::File>>) -> Arc<dyn Store> {
    let how = (Settings::default(), Rules::default());
    let maps = (found.topics, found.state);
    let shared = Arc::new(Shared::new(disk, found.store, how, maps, Default::default()));
    shared.indexes.only_read();
    shared.enter(Phase::Reading);
    EmbeddedStore::new(shared, Vec::new(), lock)
}
