//! F22: `ams backup` in the middle of a storm. What is restored from it is a cut: everything that
//! was answered before the backup began, nothing that began after it ended, every batch whole.
//!
//! `AMS_FAULT_BACKUPS` says how many (default 3).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Ams, Dice, FREE_PORTS, PATIENCE, run};
use crate::history::{Content, History, Outcome};
use crate::report;
use crate::storm::{SMALL_SLOTS, Storm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_in_a_storm_is_a_cut_of_it() {
    while_published(report::number("BACKUPS", 3), &[]).await;
}

/// Runs the program to its end without holding anybody up; answers how long that took.
async fn ran(dir: &Path, arguments: &[&str]) -> Duration {
    let begun = Instant::now();
    let dir = dir.to_owned();
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&dir, &arguments, &[])
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("no damage found"), "{out}");
    begun.elapsed()
}

/// What `history` was to a backup that was made from `began` to `ended`.
fn cut(mut history: History, (began, ended): (u64, u64)) -> History {
    for publish in &mut history.publishes {
        if publish.began > ended {
            publish.outcome = Outcome::Refused;
        }
    }
    history.pulls.retain(|pull| pull.ended < began);
    for ack in &mut history.acks {
        if ack.began > ended {
            ack.outcome = Outcome::Refused;
        } else if ack.ended > began {
            ack.outcome = Outcome::Unknown;
        }
    }
    history
}

/// Publishes that were answered while the backup was made may be in it, where their publishers were
/// told, or not.
fn settle(history: &mut History, began: u64) -> u64 {
    let mut undecided = 0;
    for publish in &mut history.publishes {
        let Outcome::Ok(_) = publish.outcome else { continue };
        if publish.ended < began {
            continue;
        }
        undecided += 1;
        let first = Content::Message(publish.name(0));
        if !history.stored[publish.topic].iter().any(|(_, content)| *content == first) {
            publish.outcome = Outcome::Unknown;
        }
    }
    undecided
}

/// Makes `backups` backups in one storm; `more` is what the program finds in its environment
/// besides.
pub(super) async fn while_published(backups: u64, more: &[(&str, &str)]) {
    let (begun, seed) = (Instant::now(), report::seed());
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let settings = [SMALL_SLOTS, &[("AMS_BROKER__REPORT__EVERY", "200ms")], more].concat();
    let (storm, mut dice) = (Arc::new(Storm::new(seed)), Dice(seed | 1));
    let ams = Ams::start(&dir, FREE_PORTS, &settings);
    storm.prepare(&ams.api()).await;
    let mut tasks = storm.rage(&ams, 0);
    let mut made = Vec::new();
    let mut slowest = Duration::ZERO;
    for backup in 0..backups {
        let (before, waiting) = (storm.answered(), Instant::now());
        while storm.answered() == before {
            assert!(waiting.elapsed() < PATIENCE, "nothing is accepted before backup {backup}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(200, 1_000))).await;
        let to = home.path().join(format!("backup{backup}"));
        let began = storm.now();
        let took = ran(&dir, &["backup", to.to_str().unwrap()]).await;
        made.push((to, (began, storm.now())));
        slowest = slowest.max(took);
    }
    // Something that is in none of them.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut ams = ams;
    ams.kill();
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let mut undecided = 0;
    let mut slowest_restore = Duration::ZERO;
    let mut judged = Vec::new();
    for (number, (from, times)) in made.iter().enumerate() {
        let restored = home.path().join(format!("restored{number}"));
        let took = ran(&restored, &["restore", from.to_str().unwrap()]).await;
        slowest_restore = slowest_restore.max(took);
        std::fs::copy(dir.join("token.key"), restored.join("token.key")).unwrap();
        let ams = Ams::start(&restored, FREE_PORTS, &settings);
        let mut history = storm.drain(&ams, cut(storm.so_far(), *times)).await;
        undecided += settle(&mut history, times.0);
        assert_eq!(ams.terminate().0.code(), Some(0));
        ran(&restored, &["check"]).await;
        judged.push(history);
    }
    for (number, history) in judged.iter().enumerate() {
        let figures = json!({
            "what": "a backup in a publish storm, restored",
            "backups": number + 1,
            "answered_meanwhile": undecided,
            "slowest_backup_ms": slowest.as_millis(),
            "slowest_restore_ms": slowest_restore.as_millis(),
            "seed": seed,
            "seconds": begun.elapsed().as_secs(),
        });
        report::judge("F22", history, &figures);
    }
}
