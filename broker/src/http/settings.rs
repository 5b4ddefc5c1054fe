//! What an operator may set about the AMS door.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The section `broker.http`. Every key has a default; an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Most bytes of a request body; beyond: 413. Default 10 MiB.
    pub body_limit: usize,
    /// Most messages of one publish. Default 10,000.
    pub messages_per_request: u64,
    /// Most attributes of one message. Default 1,000.
    pub attributes_per_message: u64,
    /// Where a token may stand. Default `both`.
    pub auth_option: AuthOption,
    /// Threads that serve connections. Default: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Most open connections of one worker; beyond, connections wait in the kernel. Default 10,000.
    pub connections_per_worker: usize,
    /// Most TLS handshakes of one worker at a time. Default 256.
    pub handshakes_per_worker: usize,
    /// How long an idle connection is kept. Default 75 s.
    #[serde(with = "duration_text")]
    pub keep_alive: Duration,
    /// How long a request's head and a TLS handshake may take. Default 10 s.
    #[serde(with = "duration_text")]
    pub head_deadline: Duration,
    /// How long a body may take, besides what [`Self::body_rate`] grants. Default 10 s.
    #[serde(with = "duration_text")]
    pub body_deadline: Duration,
    /// Bytes that earn a body another second. Default 16 KiB.
    pub body_rate: u64,
    /// How long a client may take nothing of what it is sent before its connection is dropped.
    /// Default 30 s.
    #[serde(with = "duration_text")]
    pub write_deadline: Duration,
    /// How long open requests may take when the server stops, never more than 5 s. Default 5 s.
    #[serde(with = "duration_text")]
    pub drain_deadline: Duration,
    /// Shown as `hostname` by `GET /v1/version`. Default empty: not shown.
    pub proxy_hostname: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_limit: 10 * 1024 * 1024,
            messages_per_request: 10_000,
            attributes_per_message: 1_000,
            auth_option: AuthOption::Both,
            workers: None,
            connections_per_worker: 10_000,
            handshakes_per_worker: 256,
            keep_alive: Duration::from_secs(75),
            head_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(10),
            body_rate: 16 * 1024,
            write_deadline: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(5),
            proxy_hostname: String::new(),
        }
    }
}

/// Where a token may stand (`ams-contract.md` 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthOption {
    /// Only in `?key=`.
    Key,
    /// Only in the header `x-api-key`.
    Header,
    /// In the header if that is not empty, else in `?key=`.
    Both,
}

/// Durations as people write them: `90s`, `15m`.
mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn settings_survive_a_round_trip_and_refuse_unknown_keys() {
        let text = serde_json::to_string(&Settings::default()).unwrap();
        assert!(text.contains(r#""keep_alive":"1m 15s""#), "{text}");
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), Settings::default());
        let error = serde_json::from_str::<Settings>(r#"{"body_limt": 1}"#).unwrap_err();
        assert!(error.to_string().contains("body_limt"), "{error}");
        let given: Settings =
            serde_json::from_str(r#"{"auth_option": "header", "keep_alive": "5s"}"#).unwrap();
        assert_eq!(given.auth_option, super::AuthOption::Header);
        assert_eq!(given.keep_alive.as_secs(), 5);
    }
}
