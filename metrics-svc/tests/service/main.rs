//! metrics-svc from outside: real listeners, a real SMTP exchange, a real database file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may fail loudly"
)]

mod broker;
mod ingest;
mod look;
mod mails;
mod relay;
mod story;
mod tls;
