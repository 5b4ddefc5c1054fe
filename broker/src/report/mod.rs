//! Sends facts to metrics-svc: what there is (the directory) and what happened to it (records).
//!
//! Everything is absolute and versioned, so a report that is lost, repeated or late harms nothing,
//! and a metrics-svc that is away costs nobody a request (`design.md` 5; the wire is ADR 0003).

mod client;
mod directory;
mod encode;
mod reporter;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use client::ClientError;
pub use reporter::Reporter;

/// `[broker.report]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where metrics-svc takes reports (`http://HOST:PORT`); empty = nothing is reported.
    pub url: String,
    /// The file with the secret it wants; empty = `ingest.secret` in the data directory. It is
    /// read again after a refusal, so a metrics-svc that makes it may start later.
    pub secret_file: PathBuf,
    /// How often; longer than zero.
    #[serde(deserialize_with = "read_duration", serialize_with = "write_duration")]
    pub every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: String::new(), secret_file: PathBuf::new(), every: Duration::from_secs(10) }
    }
}

fn read_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    match humantime::parse_duration(&text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(serde::de::Error::custom(format!(
            "`{text}` is not a duration such as 90s, 15m or 7d"
        ))),
    }
}

fn write_duration<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_duration(*duration))
}
