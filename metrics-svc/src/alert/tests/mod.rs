//! The judge in a simulated world: a broker, subscriptions and consumers on one clock, reports
//! as real bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod letters;
mod properties;
mod recipients;
mod scenarios;
mod service;
mod settings;
mod store;
mod world;
