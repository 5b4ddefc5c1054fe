//! Why the process ends, and the exit code that says so.

use std::path::Path;

use broker::app::StartError as BrokerError;
use metrics_svc::StartError as MetricsError;
use metrics_svc::db::OpenError;

/// Why the process ends other than well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Arguments, files or environment variables that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The store contradicts itself.
    #[error("{0}")]
    Damaged(String),
    /// The store has stopped for good.
    #[error("the store has stopped: {0}")]
    Stopped(String),
    /// Another process has the directory.
    #[error("{0}")]
    InUse(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Damaged(_) => 3,
            Self::Stopped(_) => 4,
            Self::InUse(_) => 5,
        }
    }

    fn in_use(path: &Path) -> Self {
        let path = path.display();
        Self::InUse(format!(
            "{path} is in use by another process: stop it, or choose another directory with --data"
        ))
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        let text = error.to_string();
        match error {
            BrokerError::InUse(path) => Self::in_use(&path),
            BrokerError::Damaged(_) => Self::Damaged(text),
            BrokerError::Stopped(_) => Self::Stopped(text),
            BrokerError::Settings(_) | BrokerError::Refused(_) => Self::Usage(text),
            BrokerError::Listen { .. } | BrokerError::Other(_) => Self::Other(text),
        }
    }
}

impl From<MetricsError> for Failure {
    fn from(error: MetricsError) -> Self {
        let text = error.to_string();
        match error {
            MetricsError::Open(OpenError::InUse(path)) => Self::in_use(&path),
            MetricsError::Open(OpenError::TooNew { .. } | OpenError::Damaged { .. })
            | MetricsError::Restore(_) => Self::Damaged(text),
            MetricsError::Settings(_) | MetricsError::Secret { .. } => Self::Usage(text),
            MetricsError::Open(OpenError::Directory { .. }) | MetricsError::Listen { .. } => {
                Self::Other(text)
            }
        }
    }
}
