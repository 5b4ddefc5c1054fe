//! F5: a full disk. Publishes are refused with a name, everything else goes on, and nobody has to
//! do more than make room.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Ams, Api, FREE_PORTS};
use crate::history::{Content, History, Outcome, Publish};
use crate::report;
use crate::storm::SMALL_SLOTS;

/// With the state log as large as usual there would never be room on a disk so small.
const SMALL_STATE: (&str, &str) = ("AMS_BROKER__STORE__EMBEDDED__STATE_LOG_BYTES", "4194304");

/// It tries again every second.
const SOON: Duration = Duration::from_secs(15);

/// `program`, run as root.
fn as_root(program: &str) -> Command {
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// A file system of its own in memory; gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, megabytes: u64) -> Self {
        std::fs::create_dir(at).unwrap();
        // Ours also where another user mounts it.
        let options = format!("mode=1777,size={megabytes}m");
        let mut mount = as_root("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        assert!(mount.status().unwrap().success(), "mount needs root");
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(as_root("umount").arg("-l").arg(&self.0).status());
    }
}

/// One publisher that writes down what it was told.
struct Publisher {
    client: Api,
    seed: u64,
    history: History,
}

impl Publisher {
    /// Status and message of the answer.
    async fn publish(&mut self) -> (u16, Value) {
        let number = u32::try_from(self.history.publishes.len()).unwrap();
        let now = u64::from(number) * 2;
        let mut publish = Publish {
            topic: 0,
            client: 0,
            number,
            count: 100,
            began: now,
            ended: now + 1,
            outcome: Outcome::Unknown,
        };
        // A hundred short messages beside one long attribute: about 64 KiB.
        let attributes = json!({"filling": "x".repeat(500)});
        let messages: Vec<Value> = (0..publish.count)
            .map(|index| {
                json!({"data": publish.name(index).text(self.seed), "attributes": attributes})
            })
            .collect();
        let body = json!({"messages": messages});
        let path = "projects/P/topics/t:publish";
        let (status, answer) = self.client.try_call(Method::POST, path, &body).await.unwrap();
        publish.outcome = match status {
            200 => {
                let told = answer["messageIds"].as_array().unwrap().iter();
                Outcome::Ok(told.map(|id| id.as_str().unwrap().parse().unwrap()).collect())
            }
            503 if answer["error"]["message"] == "Storage is full" => Outcome::Refused,
            _ => Outcome::Unknown,
        };
        self.history.publishes.push(publish);
        (status, answer["error"]["message"].clone())
    }

    async fn pull_and_acknowledge(&self, subscription: &str) -> Vec<(u64, Content)> {
        let path = format!("projects/P/subscriptions/{subscription}");
        let body = json!({"maxMessages": "1000"});
        let pulled = self.client.post(&format!("{path}:pull"), body).await;
        let messages = pulled["receivedMessages"].as_array().unwrap();
        if let Some(last) = messages.last() {
            let body = json!({"ackIds": [last["ackId"]]});
            self.client.post(&format!("{path}:acknowledge"), body).await;
        }
        let read = |message: &Value| {
            let message = &message["message"];
            let offset = message["messageId"].as_str().unwrap().parse().unwrap();
            (offset, Content::read(message["data"].as_str().unwrap(), self.seed))
        };
        messages.iter().map(read).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, for a tmpfs"]
async fn a_full_disk_refuses_publishes_alone_and_room_is_all_it_takes() {
    fill_again_and_again(&[]).await;
}

/// `more` is what the program finds in its environment besides.
pub(super) async fn fill_again_and_again(more: &[(&str, &str)]) {
    let (begun, seed) = (Instant::now(), report::seed());
    let rounds = report::number("ROUNDS", 3);
    let home = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(&home.path().join("disk"), 24 + 8 * rounds);
    let ballast: Vec<PathBuf> =
        (0..rounds).map(|round| disk.0.join(format!("ballast{round}"))).collect();
    for file in &ballast {
        std::fs::write(file, vec![0; 8 << 20]).unwrap();
    }
    std::fs::create_dir(disk.0.join("data")).unwrap();
    // What it logs goes elsewhere.
    let dir = home.path().join("data");
    std::os::unix::fs::symlink(disk.0.join("data"), &dir).unwrap();
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let settings = [SMALL_SLOTS, &[SMALL_STATE], more].concat();
    let ams = Ams::start(&dir, &arguments, &settings);
    let client = ams.api();
    client.furnish(&["t"]).await;
    let history = History { subscriptions: vec![0], ..History::default() };
    let mut publisher = Publisher { client: client.clone(), seed, history };
    let reader = json!({"topic": "projects/P/topics/t", "ackDeadlineSeconds": 600});
    client.call(Method::PUT, "projects/P/subscriptions/reader", reader).await;
    let (mut refusals, mut slowest, mut recovered) = (0, Duration::ZERO, Vec::new());
    for (round, file) in ballast.iter().enumerate() {
        let extra = format!("projects/P/topics/extra{round}");
        client.call(Method::PUT, &extra, json!({})).await;
        let mut accepted = 0;
        let message = loop {
            let asked = Instant::now();
            let (status, message) = publisher.publish().await;
            if status != 200 {
                assert_eq!(status, 503, "{message}");
                slowest = slowest.max(asked.elapsed());
                break message;
            }
            accepted += 1;
            assert!(accepted < 10_000, "the disk does not fill");
        };
        assert_eq!(message, "Storage is full");
        refusals += 1;
        // Acknowledgements, pulls, deletions: all that needs little room.
        for _ in 0..20 {
            publisher.pull_and_acknowledge("t").await;
        }
        client.call(Method::DELETE, &extra, Value::Null).await;
        let (status, _) = publisher.publish().await;
        refusals += u64::from(status == 503);

        std::fs::remove_file(file).unwrap();
        let freed = Instant::now();
        while publisher.publish().await.0 != 200 {
            refusals += 1;
            assert!(freed.elapsed() < SOON, "it does not recover");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        recovered.push(freed.elapsed());
    }
    // A restart in the end, so that what is read is what is on the disk.
    assert_eq!(ams.terminate().0.code(), Some(0));
    let ams = Ams::start(&dir, &arguments, &settings);
    publisher.client = ams.api();
    let mut stored = Vec::new();
    loop {
        let messages = publisher.pull_and_acknowledge("reader").await;
        if messages.is_empty() {
            break;
        }
        stored.extend(messages);
    }
    publisher.history.stored.push(stored);
    let longest = recovered.iter().max().unwrap();
    report::judge(
        "F5",
        &publisher.history,
        &json!({
            "what": "a full disk (tmpfs)",
            "rounds": rounds,
            "refused_storage_is_full": refusals,
            "slowest_refusal_ms": slowest.as_millis(),
            "recovery_max_ms": longest.as_millis(),
            "seed": seed,
            "seconds": begun.elapsed().as_secs(),
        }),
    );
}
