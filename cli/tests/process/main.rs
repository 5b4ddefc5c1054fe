//! Everything that starts the real binary: start-up lines, files, exit codes, crashes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
#![allow(clippy::print_stdout, reason = "figures for whoever asks with --nocapture")]

mod bench;
mod cassandra;
mod copies;
mod counts;
mod crash;
mod damage;
mod exits;
mod harness;
mod start;
