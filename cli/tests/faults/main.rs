//! The built program under faults, from outside. What clients were told and saw is written down and
//! judged by one checker (`history`); each test that finds nothing writes its figures to the file
//! `AMS_FAULT_REPORT` names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
#![allow(clippy::print_stdout, reason = "figures for whoever asks with --nocapture")]

mod catalogue;
#[path = "../process/harness.rs"]
#[allow(dead_code, reason = "shared with the other tests of the program")]
mod harness;
mod history;
mod power;
mod report;
mod script;
mod storm;
