//! What each of these tests is worth: the program with a bug on purpose must fail it.

#![allow(clippy::disallowed_methods, reason = "a panic is to be caught")]

use std::future::Future;
use std::time::Instant;

use serde_json::json;

use super::disk_full::Short;
use super::{backup, disk_full, flipped, kill_storm, power_cuts, syscalls, two_processes};
use crate::report;

/// Runs a fault test against the bug and answers what it complained of.
async fn complaint(test: impl Future<Output = ()> + Send + 'static) -> Option<String> {
    let panic = tokio::spawn(test).await.err()?.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap())
}

/// The bug's test fails, and for the reason that it should.
async fn caught(
    bug: &'static str,
    reasons: &[&str],
    test: impl Future<Output = ()> + Send + 'static,
) {
    let begun = Instant::now();
    let complaint = complaint(test).await;
    let complaint = complaint.unwrap_or_else(|| panic!("{bug} is not caught"));
    let named = reasons.iter().find(|reason| complaint.contains(**reason));
    let named = named.unwrap_or_else(|| panic!("{bug} is caught for another reason: {complaint}"));
    let (name, as_what) = (format!("planted {bug}"), named.trim().trim_end_matches(':'));
    let seconds = begun.elapsed().as_secs();
    let row = json!({"what": "a bug on purpose", "caught": as_what, "seconds": seconds});
    report::write(&name, row);
}

const CYCLES: u64 = 8;

macro_rules! in_a_storm {
    ($($bug:ident: $($reason:literal)|+;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $bug() {
                let bug = stringify!($bug);
                let test = kill_storm::run(CYCLES, &[("AMS_PLANTED_BUG", stringify!($bug))]);
                caught(bug, &[$($reason),+], test).await;
            }
        )+
    };
}

in_a_storm! {
    ack_before_write: "\nlost: ";
    torn_batch: "\ntorn: ";
    reuse_offset_after_crash: "\nlost: " | "\nmoved: ";
    ack_regress: "\nack lost: ";
    drop_counter: "\ncounters: ";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lenient_recovery() {
    let test = flipped::between_two_starts(&[("AMS_PLANTED_BUG", "lenient_recovery")]);
    caught("lenient_recovery", &["is taken for none"], test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn skip_fsync() {
    let test = async {
        let nothing = |_: &str| Vec::new();
        syscalls::strike(1, nothing, &[("AMS_PLANTED_BUG", "skip_fsync")]).await;
    };
    caught("skip_fsync", &["fsyncs for"], test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn retry_fsync() {
    let test = async {
        let failing = |call: &str| match call {
            "fdatasync" => vec!["error=EIO".to_owned()],
            _ => Vec::new(),
        };
        syscalls::strike(3, failing, &[("AMS_PLANTED_BUG", "retry_fsync")]).await;
    };
    caught("retry_fsync", &["it goes on after"], test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, for a tmpfs"]
async fn full_for_ever() {
    let test =
        disk_full::fill_again_and_again(Short::Memory, &[("AMS_PLANTED_BUG", "full_for_ever")]);
    caught("full_for_ever", &["it does not recover"], test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skip_crc() {
    let test = flipped::under_the_running_program(&[("AMS_PLANTED_BUG", "skip_crc")]);
    caught("skip_crc", &["damage is served"], test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lock() {
    let test = two_processes::beside_each_other(&[("AMS_PLANTED_BUG", "no_lock")]);
    caught("no_lock", &["a second process was let in"], test).await;
}

/// What was answered and not written is in no backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ack_before_write_and_backup() {
    let test = backup::while_published(1, &[("AMS_PLANTED_BUG", "ack_before_write")]);
    caught("ack_before_write (F22)", &["\nlost: "], test).await;
}

/// Each is found in what a power cut leaves.
macro_rules! in_what_a_power_cut_leaves {
    ($($test:ident: $bug:literal, $name:literal => $($reason:literal)|+;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs strace"]
            async fn $test() {
                let test = power_cuts::run(IMAGES, &[("AMS_PLANTED_BUG", $bug)]);
                caught($name, &[$($reason),+], test).await;
            }
        )+
    };
}

const IMAGES: u64 = 100;

in_what_a_power_cut_leaves! {
    torn_batch_and_power: "torn_batch", "torn_batch (F2)" => "\ntorn: ";
    skip_fsync_and_power: "skip_fsync", "skip_fsync (F2)" => "is refused" | "is lost" | "\nlost: ";
    skip_dir_fsync: "skip_dir_fsync", "skip_dir_fsync" => "is lost" | "is refused" | "\nlost: ";
    skip_small_fsync: "skip_small_fsync", "skip_small_fsync" => "is lost";
}
