//! Asks the process that has a data directory.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::wire::{Answer, ErrorKind, Request};
use crate::service::{Copied, CopyStage};

/// Why the process did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No process listens.
    #[error("no process serves this directory")]
    Nobody,
    /// It cannot be done as it was asked.
    #[error("{0}")]
    Refused(String),
    /// What is stored is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The disk's, or the connection's.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        Self::Failed(format!("the connection to the process failed: {error}"))
    }
}

/// Asks the process that serves `dir` for a copy of its store in `to` (an absolute path, absent or
/// empty); `progress` is told what is done, bytes done, bytes to do.
///
/// # Errors
/// See [`ControlError`].
pub async fn backup(
    dir: &Path,
    to: PathBuf,
    dry_run: bool,
    mut progress: impl FnMut(CopyStage, u64, u64),
) -> Result<Copied, ControlError> {
    let mut stream = match UnixStream::connect(super::socket(dir)).await {
        Ok(stream) => stream,
        Err(error) => {
            let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
            return Err(if nobody.contains(&error.kind()) {
                ControlError::Nobody
            } else {
                error.into()
            });
        }
    };
    let request = Request::Backup { to, dry_run };
    let mut line = serde_json::to_vec(&request).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).map_err(io::Error::from)? {
            Answer::Progress { stage, done, all } => progress(stage, done, all),
            Answer::Copied(copied) => return Ok(copied),
            Answer::Error { kind: ErrorKind::Refused, text } => {
                return Err(ControlError::Refused(text));
            }
            Answer::Error { kind: ErrorKind::Damaged, text } => {
                return Err(ControlError::Damaged(text));
            }
            Answer::Error { kind: ErrorKind::Failed, text } => {
                return Err(ControlError::Failed(text));
            }
        }
    }
    Err(ControlError::Failed(String::from("the process ended before the copy did")))
}
