//! Tests of the whole store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod copy;
mod damage;
mod directed;
mod fixture;
mod indexes;
mod planted;
mod power;
mod scrub;
mod sim;
mod snapshots;
mod suite;
mod topics;
mod whole;

use std::sync::Arc;

use crate::domain::{BatchBuilder, Entry, Head, Time, UserId};
use crate::store::By;

/// Figures for the fault report: `.ci/run faults` gathers these lines.
#[expect(clippy::print_stdout, reason = "for whoever asks with --nocapture")]
fn figures(fault: &str, row: &serde_json::Value) {
    println!("{fault} {row}");
}

/// An entry of `count` messages of about `size` bytes, in which `tag` can be told apart.
fn entry(head: &Head, tag: u64, count: usize, size: usize) -> Arc<Entry> {
    let mut batch = BatchBuilder::default();
    for i in 0..count {
        let mut text = format!("{tag}/{i}:");
        while text.len() < size {
            text.push(char::from(b'a' + u8::try_from((tag + text.len() as u64) % 26).unwrap()));
        }
        batch.push(&[("tag", format!("{tag}"))], &text);
    }
    Arc::new(head.entry(Time::from_secs(1_000_000 + tag), batch.finish(), Vec::new()))
}

fn by() -> By {
    By {
        user: Some(UserId(uuid::Uuid::from_u128(7))),
        verb: String::from("topics:create"),
        time: Time(5),
        address: String::from("127.0.0.1"),
    }
}
