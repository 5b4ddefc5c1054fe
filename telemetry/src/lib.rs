//! Every metric name, unit and help text, spelt once; tracing start-up. Words, never types of
//! another crate.

pub mod names;
mod tracing_setup;

pub use tracing_setup::{Format, InitError, init};
