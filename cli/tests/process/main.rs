//! Everything that starts the real binary: start-up lines, files, exit codes, counters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
#![allow(clippy::print_stdout, reason = "figures for whoever asks with --nocapture")]

mod apply;
mod bench;
mod cassandra;
mod client;
mod copies;
mod counts;
mod damage;
mod exits;
mod follow;
#[allow(dead_code, reason = "shared with the fault tests")]
mod harness;
mod house;
mod lost;
mod repair;
mod start;
mod status;
