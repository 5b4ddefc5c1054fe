//! F1: kill -9 in a publish storm, over and over on one directory.
//!
//! `AMS_FAULT_CYCLES` says how often (default 10), `AMS_FAULT_SEED` what is sent and when it dies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Ams, Dice, FREE_PORTS, PATIENCE};
use crate::report;
use crate::storm::{SMALL_SLOTS, Storm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_undone_by_kill_9() {
    run(report::number("CYCLES", 10), &[]).await;
}

/// Kills `cycles` times; `more` is what the program finds in its environment besides.
pub(super) async fn run(cycles: u64, more: &[(&str, &str)]) {
    let (begun, seed) = (Instant::now(), report::seed());
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let settings = [SMALL_SLOTS, &[("AMS_BROKER__REPORT__EVERY", "200ms")], more].concat();
    let start = || {
        let begun = Instant::now();
        let ams = Ams::start(&dir, FREE_PORTS, &settings);
        (ams, begun.elapsed())
    };
    let (storm, mut dice) = (Arc::new(Storm::new(seed)), Dice(seed | 1));
    let (mut ams, _) = start();
    storm.prepare(&ams.api()).await;
    let mut restarts = Vec::new();
    for cycle in 0..cycles {
        let mut tasks = storm.rage(&ams, u32::try_from(cycle).unwrap());
        let (before, waiting) = (storm.answered(), Instant::now());
        while storm.answered() == before {
            assert!(waiting.elapsed() < PATIENCE, "nothing is accepted after start {cycle}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(50, 1_000))).await;
        ams.kill();
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        let (again, took) = start();
        ams = again;
        restarts.push(took);
    }
    let history = storm.drain(&ams, storm.so_far()).await;
    restarts.sort_unstable();
    let slowest = restarts.last().copied().unwrap_or_default();
    report::judge(
        "F1",
        &history,
        &json!({
            "what": "kill -9 in a publish storm",
            "cycles": cycles,
            "seed": seed,
            "pulls": history.pulls.len(),
            "acks": history.acks.len(),
            "restart_p50_ms": restarts[restarts.len() / 2].as_millis(),
            "restart_max_ms": slowest.as_millis(),
            "seconds": begun.elapsed().as_secs(),
        }),
    );
    let storm = history.acknowledged() > 0 && history.unknown() > 0 && !history.acks.is_empty();
    assert!(storm, "no storm at all");
    assert_eq!(ams.terminate().0.code(), Some(0));
}
