//! A broker for one round, furnished: users with roles, topics and subscriptions with ACLs.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::connection::{Connection, request};
use super::load::{self, Actor, Done, Plan, check};
use super::process::Process;
use super::workloads::{KIBIBYTE, PROJECT, publishers};
use crate::failure::Failure;

/// How long the files of a store may take to get ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// Connections that fill a topic.
const FILLING: u64 = 8;
/// Messages of each of their requests.
const FILLED_AT_ONCE: u64 = 500;

/// A broker on an empty store.
pub(super) struct House {
    process: Process,
    api: Connection,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) admin: String,
    /// A user that may publish where an ACL says so.
    pub(super) publisher: String,
    /// A user that may pull where an ACL says so.
    pub(super) consumer: String,
}

impl House {
    /// Starts one on `data`, which holds nothing but perhaps certificates.
    pub(super) async fn open(data: &Path) -> Result<Self, Failure> {
        Self::furnish(Process::ams(data).await?, data).await
    }

    /// The same with files of `slot_bytes` in the message log, and waits until those that come
    /// next are filled and durable.
    pub(super) async fn open_ready(data: &Path, slot_bytes: u64) -> Result<Self, Failure> {
        let store = [
            ("FIRST_SLOT_BYTES", slot_bytes),
            ("MAX_SLOT_BYTES", slot_bytes),
            // Nothing waits for it yet.
            ("FILL_BYTES_PER_SECOND", 0),
        ];
        let process = Process::ams_with(data, &store).await?;
        let store = data.join("broker");
        for log in ["s", "e"] {
            next_is_ready(&store, log).await?;
        }
        Self::furnish(process, data).await
    }

    /// The same with the broker alone in its process, which reports to `ingest`.
    pub(super) async fn open_alone(data: &Path, ingest: SocketAddr) -> Result<Self, Failure> {
        Self::furnish(Process::broker(data, ingest).await?, data).await
    }

    /// Kills it as `kill -9` does and starts it again on the same `data`, with the moment at which
    /// that start began.
    pub(super) async fn start_again(self, data: &Path) -> Result<(Self, Instant), Failure> {
        let Self { process, admin, publisher, consumer, .. } = self;
        drop(process);
        let begun = Instant::now();
        let process = Process::ams(data).await?;
        let (plain, tls) = (process.address("plain API ")?, process.address("| API ")?);
        let api = Connection::open(plain).await.map_err(|error| refused("connect", &error))?;
        Ok((Self { process, api, plain, tls, admin, publisher, consumer }, begun))
    }

    async fn furnish(process: Process, data: &Path) -> Result<Self, Failure> {
        let (plain, tls) = (process.address("plain API ")?, process.address("| API ")?);
        let admin = std::fs::read_to_string(data.join("admin.token"))
            .map_err(|error| Failure::Other(format!("admin.token: {error}")))?;
        let api = Connection::open(plain).await.map_err(|error| refused("connect", &error))?;
        let (publisher, consumer) = (String::new(), String::new());
        let mut house = Self { process, api, plain, tls, admin, publisher, consumer };
        house.project(PROJECT).await?;
        house.publisher = house.user("publisher").await?;
        house.consumer = house.user("consumer").await?;
        Ok(house)
    }

    /// The id of its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<String, Failure> {
        let request = request(method, path, &self.admin, body.as_bytes());
        let answered = self.api.send(&request).await;
        let status = answered.map_err(|error| refused(path, &error))?;
        check(status, self.api.body()).map_err(|error| refused(path, &error))?;
        Ok(String::from_utf8_lossy(self.api.body()).into_owned())
    }

    async fn user(&mut self, role: &str) -> Result<String, Failure> {
        let body = format!(r#"{{"projects":[{{"project":"{PROJECT}","roles":["{role}"]}}]}}"#);
        let made = self.call("POST", &format!("users/{role}"), &body).await?;
        field(&made, "token").ok_or_else(|| Failure::Other(format!("no token in {made}")))
    }

    /// A project.
    pub(super) async fn project(&mut self, name: &str) -> Result<(), Failure> {
        self.call("POST", &format!("projects/{name}"), "{}").await.map(drop)
    }

    /// A topic of a project that only an admin may use.
    pub(super) async fn bare_topic(&mut self, project: &str, name: &str) -> Result<(), Failure> {
        let path = format!("projects/{project}/topics/{name}");
        self.call("PUT", &path, "{}").await.map(drop)
    }

    /// A topic that the publisher may use.
    pub(super) async fn topic(&mut self, name: &str) -> Result<(), Failure> {
        self.bare_topic(PROJECT, name).await?;
        let path = format!("projects/{PROJECT}/topics/{name}");
        let acl = r#"{"authorized_users":["publisher"]}"#;
        self.call("POST", &format!("{path}:modifyAcl"), acl).await.map(drop)
    }

    /// A subscription that the consumer may use.
    pub(super) async fn subscription(&mut self, name: &str, topic: &str) -> Result<(), Failure> {
        self.bare_subscription(PROJECT, name, topic).await?;
        let acl = r#"{"authorized_users":["consumer"]}"#;
        let path = format!("projects/{PROJECT}/subscriptions/{name}:modifyAcl");
        self.call("POST", &path, acl).await.map(drop)
    }

    /// A subscription of a project that only an admin may use.
    pub(super) async fn bare_subscription(
        &mut self,
        project: &str,
        name: &str,
        topic: &str,
    ) -> Result<(), Failure> {
        let body =
            format!(r#"{{"topic":"projects/{project}/topics/{topic}","ackDeadlineSeconds":600}}"#);
        let path = format!("projects/{project}/subscriptions/{name}");
        self.call("PUT", &path, &body).await.map(drop)
    }

    /// How many messages were ever published to the topic of a subscription, and where that is.
    pub(super) async fn offsets(&mut self, subscription: &str) -> Result<(u64, u64), Failure> {
        let path = format!("projects/{PROJECT}/subscriptions/{subscription}:offsets");
        let text = self.call("GET", &path, "").await?;
        let number = |key| field(&text, key).and_then(|text| text.parse().ok());
        number("max")
            .zip(number("current"))
            .ok_or_else(|| Failure::Other(format!("no offsets in {text}")))
    }

    /// Puts `count` messages of 1 KiB or a few more into a topic; answers how many.
    pub(super) async fn fill(&self, topic: &str, count: u64) -> Result<u64, Failure> {
        let messages = usize::try_from(FILLED_AT_ONCE).unwrap_or_default();
        let body = super::workloads::publish_body(messages, KIBIBYTE);
        let path = format!("projects/{PROJECT}/topics/{topic}:publish");
        let publish: Arc<[u8]> = request("POST", &path, &self.admin, body.as_bytes()).into();
        let publishes = count.div_ceil(FILLED_AT_ONCE);
        let left = Arc::new(AtomicU64::new(publishes));
        let mut filling = JoinSet::new();
        for _ in 0..FILLING.min(publishes) {
            let (address, publish, left) = (self.plain, Arc::clone(&publish), Arc::clone(&left));
            filling.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let one_less = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                    let status = connection.send(&publish).await?;
                    check(status, connection.body())?;
                }
                io::Result::Ok(())
            });
        }
        while let Some(filled) = filling.join_next().await {
            let filled = filled.map_err(io::Error::other).flatten();
            filled.map_err(|error| refused(&path, &error))?;
        }
        Ok(publishes * FILLED_AT_ONCE)
    }

    /// One phase of load on it.
    pub(super) async fn load(
        &self,
        data: &Path,
        actors: Vec<Actor>,
        pace: f64,
        (warm_up, length): (Duration, Duration),
    ) -> Result<Done, Failure> {
        load::run(Plan {
            plain: self.plain,
            tls: None,
            actors,
            pace,
            warm_up,
            length,
            server: self.id(),
            data: data.to_owned(),
        })
        .await
    }

    /// Publishers of the publishing user.
    pub(super) fn publishers(
        &self,
        connections: usize,
        topic: &str,
        batch: (usize, usize),
    ) -> Vec<Actor> {
        publishers(connections, topic, &self.publisher, batch)
    }
}

/// Waits until the second file of a log has its length and all of it is on the disk.
async fn next_is_ready(store: &Path, log: &str) -> Result<(), Failure> {
    let len = |number: u32| {
        std::fs::metadata(store.join(format!("{log}{number:03}"))).map_or(0, |found| found.len())
    };
    let begun = Instant::now();
    while len(1) == 0 || len(1) < len(0) {
        if begun.elapsed() > PATIENCE {
            let text = format!("no file got ready in {} in {PATIENCE:?}", store.display());
            return Err(Failure::Other(text));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let next = store.join(format!("{log}001"));
    let synced = tokio::task::spawn_blocking(move || std::fs::File::open(next)?.sync_all());
    synced.await.map_err(io::Error::other).flatten().map_err(|error| refused("fsync", &error))
}

/// How many files the message log of a broker on `data` has.
pub(super) fn log_files(data: &Path) -> usize {
    let names = std::fs::read_dir(data.join("broker")).into_iter().flatten().flatten();
    let is_one = |name: &str| {
        name.strip_prefix('e').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    names.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).count()
}

fn refused(what: &str, error: &io::Error) -> Failure {
    Failure::Other(format!("{what}: {error}"))
}

/// The value of a key in an answer without nesting of that key.
fn field(json: &str, key: &str) -> Option<String> {
    let value = json.split_once(&format!("\"{key}\": "))?.1;
    let value = value.split([',', '\n', '}']).next()?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_in_the_broker_s_layout() {
        let json = "{\n   \"max\": 12,\n   \"token\": \"abc\",\n   \"current\": 7\n}";
        let found = ["max", "token", "current", "min"].map(|key| field(json, key));
        let expected =
            [Some("12"), Some("abc"), Some("7"), None].map(|text| text.map(str::to_owned));
        assert_eq!(found, expected);
    }
}
