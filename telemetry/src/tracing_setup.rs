//! Where log lines go and what they look like. The subscriber is the one global thing there is.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Tracing could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one.
    #[error("invalid log filter `{0}`")]
    Filter(String),
    /// There is a subscriber already.
    #[error("tracing was started twice")]
    Twice,
}

/// Sends log lines that pass `filter` (`info`, `broker=debug,info`, ...) to standard error.
///
/// # Errors
/// The filter cannot be read, or tracing was started before in this process.
pub fn init(filter: &str, format: Format) -> Result<(), InitError> {
    let parsed =
        EnvFilter::builder().parse(filter).map_err(|_| InitError::Filter(filter.to_owned()))?;
    let base = tracing_subscriber::registry().with(parsed);
    let started = match format {
        Format::Text => base
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false))
            .try_init(),
        Format::Json => base
            .with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr))
            .try_init(),
    };
    started.map_err(|_| InitError::Twice)
}
