//! F5: a full disk. Publishes are refused with a name, everything else goes on, and nobody has to
//! do more than make room.

use std::io::Write as _;
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

/// What there is too little of, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// Bytes of a tmpfs.
    Memory,
    /// Bytes of an ext4 on a loop device.
    Bytes,
    /// Inodes of one: room for files, but for no more of them.
    Inodes,
}

/// Free bytes, or inodes, before the program has made its first file.
const BYTES: u64 = 24 * MIB;
const INODES: u64 = 40;
/// What becomes free in a round: bytes in one file, or that many files.
const BYTES_BACK: u64 = 8 * MIB;
const INODES_BACK: u64 = 4;
const MIB: u64 = 1 << 20;

impl Short {
    const fn fault(self) -> &'static str {
        match self {
            Self::Memory => "F5",
            Self::Bytes => "F5 (ext4)",
            Self::Inodes => "F5 (inodes)",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Memory => "a full disk (tmpfs)",
            Self::Bytes => "a full disk (ext4)",
            Self::Inodes => "no inode left (ext4)",
        }
    }
}

/// A file system of its own; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, short: Short, rounds: u64) -> Self {
        std::fs::create_dir(at).unwrap();
        let mut mount = as_root("mount");
        if short == Short::Memory {
            // Ours also where another user mounts it.
            let bytes = BYTES + BYTES_BACK * rounds;
            mount.args(["-t", "tmpfs", "-o", &format!("mode=1777,size={bytes}"), "tmpfs"]);
        } else {
            let image = at.with_extension("img");
            make_ext4(&image, 200 * MIB + 16 * MIB * rounds);
            mount.args(["-o", "loop"]).arg(image);
        }
        assert!(mount.arg(at).status().unwrap().success(), "mount needs root");
        Self(at.to_owned())
    }

    /// How many files and bytes there is room for.
    fn left(&self) -> (u64, u64) {
        let found = rustix::fs::statvfs(&self.0).unwrap();
        (found.f_favail, found.f_bavail * found.f_frsize)
    }

    /// Leaves as much as a start takes and a little more; answers which files of `rounds` rounds
    /// take the rest.
    fn occupy(&self, short: Short, rounds: u64) -> Vec<Vec<PathBuf>> {
        let dir = self.0.join("ballast");
        std::fs::create_dir(&dir).unwrap();
        let (files, bytes) = self.left();
        let each = if short == Short::Inodes { INODES_BACK } else { 1 };
        let rest = dir.join("rest");
        if short == Short::Inodes {
            std::fs::create_dir(&rest).unwrap();
            let files = files.saturating_sub(1 + INODES + INODES_BACK * rounds);
            (0..files).for_each(|number| touch(&rest.join(number.to_string())));
        } else {
            fill(&rest, bytes.saturating_sub(BYTES + BYTES_BACK * rounds));
        }
        let file = |round: u64, number: u64| dir.join(format!("{round}-{number}"));
        let files = |round: u64| (0..each).map(|number| file(round, number)).collect();
        let files: Vec<Vec<PathBuf>> = (0..rounds).map(files).collect();
        for file in files.iter().flatten() {
            if short == Short::Inodes {
                touch(file);
            } else {
                fill(file, BYTES_BACK);
            }
        }
        files
    }
}

fn make_ext4(image: &Path, bytes: u64) {
    std::fs::File::create(image).unwrap().set_len(bytes).unwrap();
    let us = std::fs::metadata(image).unwrap();
    let owner = format!("root_owner={}:{}", us.uid(), us.gid());
    // No room for root alone: whoever tests may be root.
    let mut make = as_root("mkfs.ext4");
    make.args(["-q", "-F", "-m", "0", "-N", "512", "-E", &owner]).arg(image);
    assert!(make.status().unwrap().success(), "mkfs.ext4");
}

fn touch(file: &Path) {
    std::fs::File::create_new(file).unwrap();
}

fn fill(file: &Path, bytes: u64) {
    let mut file = std::fs::File::create_new(file).unwrap();
    let zeros = vec![0; usize::try_from(MIB).unwrap()];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left.min(MIB)).unwrap();
        file.write_all(&zeros[..part]).unwrap();
        left -= part as u64;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The loop device, if there is one, goes with it.
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
    fill_again_and_again(Short::Memory, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, for a loop device"]
async fn a_full_ext4_refuses_publishes_alone_and_room_is_all_it_takes() {
    fill_again_and_again(Short::Bytes, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, for a loop device"]
async fn a_disk_without_an_inode_refuses_publishes_alone_and_some_are_all_it_takes() {
    fill_again_and_again(Short::Inodes, &[]).await;
}

/// `more` is what the program finds in its environment besides.
pub(super) async fn fill_again_and_again(short: Short, more: &[(&str, &str)]) {
    let (begun, seed) = (Instant::now(), report::seed());
    let rounds = report::number("ROUNDS", 3);
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&home.path().join("disk"), short, rounds);
    let ballast = disk.occupy(short, rounds);
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
    for (round, files) in ballast.iter().enumerate() {
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
        let (inodes, bytes) = disk.left();
        assert!(short != Short::Inodes || inodes < 2 && bytes > 16 * MIB, "{inodes}, {bytes}");
        refusals += 1;
        // Acknowledgements, pulls, deletions: all that needs little room.
        for _ in 0..20 {
            publisher.pull_and_acknowledge("t").await;
        }
        client.call(Method::DELETE, &extra, Value::Null).await;
        let (status, _) = publisher.publish().await;
        refusals += u64::from(status == 503);

        files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
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
        short.fault(),
        &publisher.history,
        &json!({
            "what": short.what(),
            "rounds": rounds,
            "refused_storage_is_full": refusals,
            "slowest_refusal_ms": slowest.as_millis(),
            "recovery_max_ms": longest.as_millis(),
            "seed": seed,
            "seconds": begun.elapsed().as_secs(),
        }),
    );
}
