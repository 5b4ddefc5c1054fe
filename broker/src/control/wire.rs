//! What goes through the control socket, one JSON text a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::service::{Copied, CopyError, CopyStage};

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// A copy of the store.
    Backup {
        /// An absolute path; absent or an empty directory.
        to: PathBuf,
        /// Only say how much it would be.
        #[serde(default)]
        dry_run: bool,
    },
}

/// What is answered: any number of [`Answer::Progress`], then one of the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// How far it is.
    Progress {
        /// What is being done.
        stage: CopyStage,
        /// Bytes.
        done: u64,
        /// Bytes.
        all: u64,
    },
    /// It is done.
    Copied(Copied),
    /// It is not.
    Error {
        /// By meaning.
        kind: ErrorKind,
        /// For people.
        text: String,
    },
}

/// Why there is no copy, by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorKind {
    /// The request cannot be met as it is.
    Refused,
    /// What is stored is damaged.
    Damaged,
    /// The disk's.
    Failed,
}

impl Answer {
    /// How far it is.
    pub(super) const fn progress(stage: CopyStage, done: u64, all: u64) -> Self {
        Self::Progress { stage, done, all }
    }

    /// The request cannot be met.
    pub(super) fn refused(text: &str) -> Self {
        Self::Error { kind: ErrorKind::Refused, text: text.to_owned() }
    }

    /// The failure in this dialect.
    pub(super) fn error(error: &CopyError) -> Self {
        let kind = match error {
            CopyError::NotEmpty(_) | CopyError::Refused(_) => ErrorKind::Refused,
            CopyError::Damaged(_) | CopyError::Newer(_) | CopyError::Open(_) => ErrorKind::Damaged,
            CopyError::Io(..) => ErrorKind::Failed,
        };
        Self::Error { kind, text: error.to_string() }
    }
}
