//! The `[broker]` section: composes what each floor declares. Only the cli reads files and the
//! environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{http, report, service, store};

/// Everything that can be set for the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the API is served, https.
    pub listen: SocketAddr,
    /// Where the API is served without TLS, for a balancer that ends it; off by default.
    #[serde(with = "optional_address")]
    pub plain_listen: Option<SocketAddr>,
    /// Certificates.
    pub tls: http::tls::Settings,
    /// The AMS door.
    pub http: http::Settings,
    /// The verbs.
    pub service: Service,
    /// What topics keep.
    pub retention: Retention,
    /// Tokens.
    pub auth: Auth,
    /// Who may call what.
    pub roles: service::RoleSettings,
    /// Where the truth is kept.
    pub store: Store,
    /// What metrics-svc is told.
    pub report: report::Settings,
    /// The user `admin`.
    pub admin: Admin,
}

/// `[broker.service]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Most topics, subscriptions, schemas and snapshots of one project.
    pub objects_per_project: usize,
    /// Most bytes that the topics of one project keep together; 0 = no bound.
    pub bytes_per_project: u64,
    /// Most requests of one user, a second; 0 = no bound. Ten seconds' worth passes at once, and
    /// service admins are not bound; so with the next three.
    pub requests_per_user: u32,
    /// Most requests to one project, a second; 0 = no bound.
    pub requests_per_project: u32,
    /// Most bytes that one user publishes, a second; 0 = no bound.
    pub published_bytes_per_user: u32,
    /// Most bytes published to one project, a second; 0 = no bound.
    pub published_bytes_per_project: u32,
    /// Most objects (projects, topics, subscriptions, schemas, snapshots, users) that one user makes,
    /// a day; 0 = no bound. A day's worth passes at once, and service admins are not bound.
    pub created_objects_per_user: u32,
    /// How long a verb tries to make an unknown outcome definite.
    #[serde(with = "duration")]
    pub deadline: Duration,
    /// Most messages of one pull, whatever the client asks.
    pub pull_messages: u64,
    /// Most bytes of one pull; at least one message is handed out.
    pub pull_bytes: u64,
    /// Most bytes of the bodies of requests in flight.
    pub bodies_bytes: u64,
    /// Most bytes of what pulls and reads hand out and is not sent yet.
    pub answers_bytes: u64,
}

/// `[broker.retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How long a topic keeps its messages where it says nothing; at most [`Self::max`].
    #[serde(with = "duration")]
    pub default: Duration,
    /// The longest that a topic may ask for.
    #[serde(with = "duration")]
    pub max: Duration,
    /// How often at least what is too old goes.
    #[serde(with = "duration")]
    pub every: Duration,
}

/// `[broker.auth]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether the routes that AMS lets show a token show it; else its prefix.
    pub reveal_tokens: bool,
}

/// `[broker.store.KIND]`: which store, with its own keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", from = "Stores")]
pub enum Store {
    /// A directory of this machine.
    Embedded(Embedded),
    /// A ScyllaDB or Cassandra cluster; an experiment, for one broker.
    Scylla(Scylla),
}

/// How [`Store`] is read: an unknown kind beside a known one is an error, not passed over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stores {
    #[serde(default)]
    embedded: Embedded,
    /// Chosen by being there: the defaults do not have it.
    scylla: Option<Scylla>,
}

impl From<Stores> for Store {
    fn from(stores: Stores) -> Self {
        stores.scylla.map_or(Self::Embedded(stores.embedded), Self::Scylla)
    }
}

/// `[broker.store.embedded]`: sizes in bytes; whole 4 KiB pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Embedded {
    /// Size of the first file of each log; those of the log of acknowledgements and the catalogue
    /// are no longer than that log shall grow, or what takes two of the largest batches.
    pub first_slot_bytes: u64,
    /// Files of the entry log double until they are this large.
    pub max_slot_bytes: u64,
    /// The largest batch that is taken; it must fit the first file.
    pub largest_record_bytes: u64,
    /// How much of what was written last is kept for readers.
    pub cache_bytes: u64,
    /// How large the log of acknowledgements and the catalogue grows, about, before it is used
    /// again from its beginning.
    pub state_log_bytes: u64,
    /// A file that holds messages is completed after this time, so that messages of a quiet
    /// broker can be removed too.
    #[serde(with = "duration")]
    pub roll_after: Duration,
    /// How much the directory may hold, about: publishes are refused before. 0 = all of the disk.
    pub max_bytes: u64,
    /// How fast files are prepared while no publish waits for one, in bytes a second; 0 = as fast
    /// as it goes.
    pub fill_bytes_per_second: u64,
    /// Whether what is written goes past the kernel's page cache, where the file system can.
    pub direct_writes: bool,
    /// How much of the indexes of full files is kept in memory.
    pub index_cache_bytes: u64,
    /// How many reads may wait for the disk at once.
    pub cold_reads: usize,
    /// How fast full files are read again, once a day at most, to meet damage before somebody
    /// needs what it took, in bytes a second; 0 = never.
    pub scrub_bytes_per_second: u64,
}

/// `[broker.store.scylla]`: its presence chooses it over the embedded store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scylla {
    /// Some nodes of the cluster, `HOST:PORT`: a list, or a text with commas.
    #[serde(deserialize_with = "texts")]
    pub contact_points: Vec<String>,
    /// Made, with its tables, if it is missing.
    #[serde(default = "defaults::keyspace")]
    pub keyspace: String,
    /// The cluster's one data centre.
    #[serde(default = "defaults::datacenter")]
    pub datacenter: String,
    /// Replicas of a keyspace that is made.
    #[serde(default = "defaults::replication")]
    pub replication: u16,
    /// PEM file of the authority that signed the nodes' certificates; empty = no TLS.
    #[serde(default)]
    pub ca_file: PathBuf,
    /// Who the broker is to the cluster; empty = nobody asks.
    #[serde(default)]
    pub user: String,
    /// The file with that user's password.
    #[serde(default)]
    pub password_file: PathBuf,
    /// How long one statement may take before its outcome is unknown.
    #[serde(default = "defaults::request_timeout", with = "duration")]
    pub request_timeout: Duration,
}

/// `[broker.admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Mail address of the user `admin`, may be empty.
    pub email: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443),
            plain_listen: None,
            tls: http::tls::Settings::default(),
            http: http::Settings::default(),
            service: Service::default(),
            retention: Retention::default(),
            auth: Auth::default(),
            roles: service::RoleSettings::default(),
            store: Store::Embedded(Embedded::default()),
            report: report::Settings::default(),
            admin: Admin::default(),
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            objects_per_project: 50_000,
            bytes_per_project: 0,
            requests_per_user: 0,
            requests_per_project: 0,
            published_bytes_per_user: 0,
            published_bytes_per_project: 0,
            created_objects_per_user: 0,
            deadline: Duration::from_secs(10),
            pull_messages: 10_000,
            pull_bytes: 32 * 1024 * 1024,
            bodies_bytes: 96 * 1024 * 1024,
            answers_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            default: DAY.saturating_mul(7),
            max: DAY.saturating_mul(30),
            every: Duration::from_secs(60),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { reveal_tokens: true }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        let store = store::EmbeddedSettings::default();
        Self {
            first_slot_bytes: store.first_slot,
            max_slot_bytes: store.max_slot,
            largest_record_bytes: store.largest_record,
            cache_bytes: store.cache_bytes,
            state_log_bytes: store.state_log_bytes,
            roll_after: store.roll_after,
            max_bytes: store.max_bytes.unwrap_or_default(),
            fill_bytes_per_second: store.fill_bytes_per_second,
            direct_writes: store.direct_writes,
            index_cache_bytes: store.index_cache_bytes,
            cold_reads: store.cold_reads,
            scrub_bytes_per_second: store.scrub_bytes_per_second,
        }
    }
}

/// What an entry of one batch needs beside its messages, and more.
const ENTRY_ROOM: u64 = 4_096;

impl Settings {
    /// Settings that are lawful alone may not fit together; says which and why.
    ///
    /// # Errors
    /// A body that is taken might not be stored: its publisher would be told for ever that the
    /// storage is full. Or topics would keep less than they are promised.
    pub fn check(&self) -> Result<(), String> {
        if self.retention.default > self.retention.max {
            return Err(String::from("retention.default: is longer than broker.retention.max"));
        }
        service::Roles::new(&self.roles)?;
        // What is set aside for a body may be twice its length.
        if self.service.bodies_bytes / 2 < self.http.body_limit as u64 {
            return Err(String::from("service.bodies_bytes: is less than twice http.body_limit"));
        }
        // On a cluster a large payload is cut in parts: any body fits.
        let Store::Embedded(Embedded { largest_record_bytes, .. }) = &self.store else {
            return Ok(());
        };
        let body = self.http.body_limit as u64;
        if body.saturating_add(ENTRY_ROOM) <= *largest_record_bytes {
            return Ok(());
        }
        Err(format!(
            "http.body_limit: a publish of {body} bytes does not fit \
             broker.store.embedded.largest_record_bytes, {largest_record_bytes}, of which \
             {ENTRY_ROOM} are not for messages"
        ))
    }

    /// What the service takes.
    ///
    /// # Errors
    /// The role table is none: see [`Self::check`].
    pub fn service(&self) -> Result<service::Settings, String> {
        Ok(service::Settings {
            roles: service::Roles::new(&self.roles)?,
            objects_per_project: self.service.objects_per_project,
            deadline: self.service.deadline,
            reveal_tokens: self.auth.reveal_tokens,
            pull_messages: self.service.pull_messages,
            pull_bytes: self.service.pull_bytes,
            bodies_bytes: self.service.bodies_bytes,
            answers_bytes: self.service.answers_bytes,
            bytes_per_project: self.service.bytes_per_project,
            rates: service::Rates {
                requests_per_user: self.service.requests_per_user,
                requests_per_project: self.service.requests_per_project,
                published_bytes_per_user: self.service.published_bytes_per_user,
                published_bytes_per_project: self.service.published_bytes_per_project,
                created_objects_per_user: self.service.created_objects_per_user,
            },
            // No key until something delivers: a setting would promise it.
            push_enabled: false,
            retention: service::Retention {
                default: self.retention.default,
                max: self.retention.max,
                every: self.retention.every,
            },
        })
    }
}

impl Embedded {
    /// What the store takes, when messages are kept for `retention`: a file is never open for more
    /// than an eighth of that.
    pub fn store(&self, retention: Duration) -> store::EmbeddedSettings {
        store::EmbeddedSettings {
            first_slot: self.first_slot_bytes,
            max_slot: self.max_slot_bytes,
            largest_record: self.largest_record_bytes,
            cache_bytes: self.cache_bytes,
            state_log_bytes: self.state_log_bytes,
            roll_after: self.roll_after.min(retention / 8),
            max_bytes: (self.max_bytes > 0).then_some(self.max_bytes),
            fill_bytes_per_second: self.fill_bytes_per_second,
            direct_writes: self.direct_writes,
            index_cache_bytes: self.index_cache_bytes,
            cold_reads: self.cold_reads,
            scrub_bytes_per_second: self.scrub_bytes_per_second,
            ..store::EmbeddedSettings::default()
        }
    }
}

impl Scylla {
    /// What the store takes.
    pub fn store(&self) -> store::ScyllaSettings {
        let named = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        store::ScyllaSettings {
            contact_points: self.contact_points.clone(),
            keyspace: self.keyspace.clone(),
            datacenter: self.datacenter.clone(),
            replication: self.replication,
            ca_file: named(&self.ca_file),
            user: self.user.clone(),
            password_file: named(&self.password_file),
            request_timeout: self.request_timeout,
            ..store::ScyllaSettings::default()
        }
    }
}

/// Keys of `[broker.store.scylla]` that may be left out.
mod defaults {
    use std::time::Duration;

    use crate::store::ScyllaSettings;

    pub(super) fn keyspace() -> String {
        ScyllaSettings::default().keyspace
    }

    pub(super) fn datacenter() -> String {
        ScyllaSettings::default().datacenter
    }

    pub(super) fn replication() -> u16 {
        ScyllaSettings::default().replication
    }

    pub(super) fn request_timeout() -> Duration {
        ScyllaSettings::default().request_timeout
    }
}

/// A list of texts, or one text with commas.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    let texts = match Texts::deserialize(from)? {
        Texts::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Texts::Many(texts) => texts,
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

/// An address, or empty text for none.
mod optional_address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is not an address such as 127.0.0.1:8080"))
        })
    }

    pub(super) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => to.collect_str(address),
            None => to.serialize_str(""),
        }
    }
}

/// A duration as text: `90s`, `15m`, `7d`. Longer than zero.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        match humantime::parse_duration(&text) {
            Ok(duration) if !duration.is_zero() => Ok(duration),
            _ => Err(serde::de::Error::custom(format!(
                "`{text}` is not a duration such as 90s, 15m or 7d"
            ))),
        }
    }

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn unknown_keys_are_errors_in_every_section() {
        for bad in [
            r#"{"listne":1}"#,
            r#"{"tls":{"listne":1}}"#,
            r#"{"http":{"listne":1}}"#,
            r#"{"service":{"listne":1}}"#,
            r#"{"retention":{"listne":1}}"#,
            r#"{"auth":{"listne":1}}"#,
            r#"{"roles":{"listne":1}}"#,
            r#"{"store":{"embedded":{"listne":1}}}"#,
            r#"{"store":{"listne":{}}}"#,
            r#"{"store":{"embedded":{},"listne":{}}}"#,
            r#"{"store":{"scylla":{"contact_points":["x:1"],"listne":1}}}"#,
            r#"{"report":{"listne":1}}"#,
            r#"{"admin":{"listne":1}}"#,
        ] {
            assert!(read(bad).unwrap_err().to_string().contains("listne"), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let mut settings = Settings::default();
        for plain in [None, Some(SocketAddr::from(([127, 0, 0, 1], 8080)))] {
            settings.plain_listen = plain;
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(read(&text).unwrap(), settings);
        }
    }

    #[test]
    fn a_cluster_is_chosen_by_naming_it() {
        let Store::Embedded(_) = read("{}").unwrap().store else { panic!("not the default") };
        let both = r#"{"store":{"embedded":{},"scylla":{"contact_points":"a:1, b:2"}}}"#;
        let settings = read(both).unwrap();
        let Store::Scylla(scylla) = &settings.store else { panic!("not chosen") };
        assert_eq!(scylla.contact_points, ["a:1", "b:2"]);
        assert_eq!(scylla.store().request_timeout, Duration::from_secs(5));
        assert_eq!(scylla.store().ca_file, None);
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(read(&serde_json::to_string(&settings).unwrap()).unwrap(), settings);
        assert!(read(r#"{"store":{"scylla":{}}}"#).is_err(), "it must be said which");
    }

    #[test]
    fn every_body_that_is_taken_can_be_stored() {
        let mut settings = Settings::default();
        assert_eq!(settings.check(), Ok(()));
        let Store::Embedded(Embedded { largest_record_bytes, .. }) = &settings.store else {
            panic!("not the default")
        };
        let most = usize::try_from(*largest_record_bytes - ENTRY_ROOM).unwrap();
        settings.http.body_limit = most;
        assert_eq!(settings.check(), Ok(()));
        settings.http.body_limit = most + 1;
        assert!(settings.check().unwrap_err().starts_with("http.body_limit: "));
        settings.service.bodies_bytes = 2 * most as u64;
        assert!(settings.check().unwrap_err().starts_with("service.bodies_bytes: "));
    }

    #[test]
    fn no_topic_is_promised_more_than_it_may_keep() {
        let mut settings = read(r#"{"retention":{"default":"2d","max":"2d"}}"#).unwrap();
        assert_eq!(settings.check(), Ok(()));
        let Store::Embedded(embedded) = &settings.store else { panic!("not the default") };
        assert_eq!(embedded.store(settings.retention.default).roll_after.as_secs(), 3_600);
        assert_eq!(embedded.store(Duration::from_secs(80)).roll_after.as_secs(), 10);
        settings.retention.max = Duration::from_secs(86_400);
        assert!(settings.check().unwrap_err().starts_with("retention.default: "));
    }

    #[test]
    fn a_duration_is_a_text_and_longer_than_zero() {
        let settings = read(r#"{"report":{"every":"2s"}}"#).unwrap();
        assert_eq!(settings.report.every, Duration::from_secs(2));
        for bad in [r#""0s""#, r#""soon""#, "5"] {
            assert!(read(&format!(r#"{{"report":{{"every":{bad}}}}}"#)).is_err(), "{bad}");
            assert!(read(&format!(r#"{{"service":{{"deadline":{bad}}}}}"#)).is_err(), "{bad}");
        }
    }
}
