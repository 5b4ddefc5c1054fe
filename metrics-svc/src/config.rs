//! The `[metrics]` section: what can be set, in plain types that any provider can fill.
//!
//! Sits above every other floor and turns texts into what those floors take. Only the cli reads
//! files and the environment; here nothing does but [`Settings::relay`] (password and CA files).
//! Both `Debug` and `Serialize` mask secrets, so a printed configuration can be shown to anybody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::notify::{self, Links, Pace, Relay, RelayError};

/// Everything that can be set for metrics-svc.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where `/metrics`, `/v1/subscriptions`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
    /// The listener that brokers report to.
    pub ingest: Ingest,
    /// The mail relay.
    pub smtp: Smtp,
    /// When and whom to alert.
    pub alert: Alert,
    /// How readers of a mail reach [`Settings::listen`]; empty = `http://` and that address.
    pub public_url: String,
    /// How readers of a mail reach the broker's API, for the commands in it.
    pub api_url: String,
    /// Grafana's base URL for links; empty = no such link.
    pub grafana_url: String,
}

/// `[metrics.ingest]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// The address.
    pub listen: SocketAddr,
    /// The file with the secret brokers show; empty = `ingest.secret` in the data directory. A
    /// missing file inside the data directory is made.
    pub secret_file: PathBuf,
}

/// `[metrics.smtp]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// `smtp://` (plain), `smtp+starttls://` or `smtps://`, `[USER[:PASSWORD]@]HOST[:PORT]`;
    /// empty = mails are off.
    pub url: RelayUrl,
    /// A file with the password; its line end is not part of it.
    pub password_file: PathBuf,
    /// The sender.
    pub from: String,
    /// How long each step of the exchange may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// PEM certificates trusted beside the system's.
    pub ca_file: PathBuf,
}

/// `[metrics.alert]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alert {
    /// The operators' addresses: a list, or one comma-separated text.
    #[serde(deserialize_with = "addresses")]
    pub to: Vec<String>,
    /// Replaces the 10 minute floor of the stall clock and the other fixed times of the judgement;
    /// evaluation, holds, group waits and retries never exceed it. Unset in production.
    #[serde(with = "optional_duration")]
    pub min_stall: Option<Duration>,
    /// How often every subscription is judged.
    #[serde(with = "duration")]
    pub evaluate_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464),
            ingest: Ingest::default(),
            smtp: Smtp::default(),
            alert: Alert::default(),
            public_url: String::new(),
            api_url: String::from("https://localhost:8443"),
            grafana_url: String::new(),
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9465),
            secret_file: PathBuf::new(),
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            url: RelayUrl::default(),
            password_file: PathBuf::new(),
            from: String::from("AMS <ams@localhost>"),
            timeout: Duration::from_secs(30),
            ca_file: PathBuf::new(),
        }
    }
}

impl Default for Alert {
    fn default() -> Self {
        Self { to: Vec::new(), min_stall: None, evaluate_every: Duration::from_secs(15) }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The relay's URL, sender or certificate.
    #[error("metrics.{0}")]
    Relay(#[from] RelayError),
    /// A file that a setting names cannot be read.
    #[error("metrics.smtp: cannot read {path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Settings {
    /// The relay, or `None` when mails are off. Reads the password and CA files.
    ///
    /// # Errors
    /// A file cannot be read, or what is set is no relay.
    pub fn relay(&self) -> Result<Option<Relay>, SettingsError> {
        let smtp = &self.smtp;
        if smtp.url.0.is_empty() {
            return Ok(None);
        }
        let password = match smtp.password_file.as_os_str().is_empty() {
            true => None,
            false => Some(String::from_utf8_lossy(&read(&smtp.password_file)?).into_owned()),
        };
        let ca = match smtp.ca_file.as_os_str().is_empty() {
            true => None,
            false => Some(read(&smtp.ca_file)?),
        };
        let password = password.as_deref().map(|text| text.trim_end_matches(['\r', '\n']));
        let relay = Relay::new(&smtp.url.0, password, ca.as_deref(), &smtp.from, smtp.timeout)?;
        Ok(Some(relay))
    }

    /// How often to judge: [`Alert::evaluate_every`], never above [`Alert::min_stall`].
    pub fn evaluate_every(&self) -> Duration {
        let floor = self.alert.min_stall.unwrap_or(Duration::MAX);
        self.alert.evaluate_every.min(floor).max(Duration::from_millis(10))
    }

    /// The waits of the mail worker.
    pub fn pace(&self) -> Pace {
        Pace::bounded_by(self.alert.min_stall)
    }

    /// The links in mails; `listening` is where the metrics listener really is.
    pub fn links(&self, listening: SocketAddr) -> Links {
        let public = match self.public_url.is_empty() {
            true => format!("http://{listening}"),
            false => self.public_url.clone(),
        };
        let trim = |url: &str| url.trim_end_matches('/').to_owned();
        Links {
            public: trim(&public),
            api: trim(&self.api_url),
            grafana: Some(trim(&self.grafana_url)).filter(|url| !url.is_empty()),
        }
    }

    /// The file with the ingest secret.
    pub fn secret_file(&self, data_dir: &Path) -> PathBuf {
        match self.ingest.secret_file.as_os_str().is_empty() {
            true => data_dir.join("ingest.secret"),
            false => self.ingest.secret_file.clone(),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|source| SettingsError::File { path: path.to_owned(), source })
}

/// The relay's URL. May hold a password, so it is only shown masked.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct RelayUrl(String);

impl From<String> for RelayUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(if self.0.is_empty() { "" } else { "***" });
        };
        match rest.rsplit_once('@') {
            None => f.write_str(&self.0),
            Some((login, place)) => match login.split_once(':') {
                None => f.write_str(&self.0),
                Some((user, _)) => write!(f, "{scheme}://{user}:***@{place}"),
            },
        }
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for RelayUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Addresses;

    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of mail addresses, or one comma-separated text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(lawful).collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                all.push(lawful(&text)?);
            }
            Ok(all)
        }
    }

    fn lawful<E: serde::de::Error>(text: &str) -> Result<String, E> {
        match notify::is_address(text) {
            true => Ok(text.to_owned()),
            false => Err(E::custom(format!("`{text}` is not a mail address"))),
        }
    }

    deserializer.deserialize_any(Addresses)
}

/// A duration as text: `90s`, `15m`, `7d`. Longer than zero.
mod duration {
    use super::{Deserialize, Deserializer, Duration};
    use serde::de::Error as _;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    pub(super) fn serialize<S: serde::Serializer>(
        duration: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*duration))
    }
}

/// The same, where empty text means unset.
mod optional_duration {
    use super::{Deserialize, Deserializer, Duration};
    use serde::de::Error as _;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        match Option::<String>::deserialize(from)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => super::parse(text).map(Some).map_err(D::Error::custom),
        }
    }

    pub(super) fn serialize<S: serde::Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, to),
            None => to.serialize_str(""),
        }
    }
}

fn parse(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("`{text}` is not a duration such as 90s, 15m or 7d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn unknown_keys_are_errors_that_name_the_key() {
        for bad in [
            r#"{"listne":"127.0.0.1:1"}"#,
            r#"{"smtp":{"listne":1}}"#,
            r#"{"alert":{"listne":1}}"#,
            r#"{"ingest":{"listne":1}}"#,
        ] {
            assert!(read(bad).unwrap_err().to_string().contains("listne"), "{bad}");
        }
    }

    #[test]
    fn lists_are_lists_or_comma_separated() {
        let both =
            [r#"{"alert":{"to":"a@x.org, b@x.org"}}"#, r#"{"alert":{"to":["a@x.org","b@x.org"]}}"#];
        for text in both {
            assert_eq!(read(text).unwrap().alert.to, ["a@x.org", "b@x.org"]);
        }
        assert!(read(r#"{"alert":{"to":""}}"#).unwrap().alert.to.is_empty());
        assert!(read(r#"{"alert":{"to":"a@x.org,nobody"}}"#).is_err());
    }

    #[test]
    fn durations_are_texts_and_the_judge_is_never_slower_than_min_stall() {
        let settings = read(r#"{"alert":{"min_stall":"2s"},"smtp":{"timeout":"1m"}}"#).unwrap();
        assert_eq!(settings.evaluate_every(), Duration::from_secs(2));
        assert_eq!(settings.smtp.timeout, Duration::from_secs(60));
        assert_eq!(read(r#"{"alert":{"min_stall":""}}"#).unwrap().alert.min_stall, None);
        for bad in ["0s", "ten", "5"] {
            let text = format!(r#"{{"alert":{{"min_stall":"{bad}"}}}}"#);
            assert!(read(&text).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_printed_configuration_shows_no_secret_and_reads_back() {
        let settings = read(r#"{"smtp":{"url":"smtp://me:hunter2@mail:25"}}"#).unwrap();
        let shown = serde_json::to_string(&settings).unwrap();
        assert!(shown.contains("smtp://me:***@mail:25"), "{shown}");
        assert!(!shown.contains("hunter2") && !format!("{settings:?}").contains("hunter2"));
        let plain = Settings::default();
        assert_eq!(read(&serde_json::to_string(&plain).unwrap()).unwrap(), plain);
    }

    #[test]
    fn the_relay_is_absent_without_a_url_and_its_password_may_come_from_a_file() {
        assert!(Settings::default().relay().unwrap().is_none());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "secret\n").unwrap();
        let mut settings = Settings::default();
        settings.smtp.url = RelayUrl(String::from("smtp://me@mail"));
        settings.smtp.password_file = file;
        assert!(settings.relay().unwrap().is_some());
        settings.smtp.password_file = dir.path().join("none");
        assert!(matches!(settings.relay(), Err(SettingsError::File { .. })));
    }
}
