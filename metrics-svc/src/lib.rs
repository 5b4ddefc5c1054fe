//! Receives what brokers report, judges every subscription, serves Prometheus and mails.
//!
//! Each floor uses only those after it: `app`, `config`, `http`, `watch`, `notify`, `db`, `alert`,
//! `decode`, `series`, `clock`, `varint` (held by `tests/tidy.rs`).

pub mod alert;
mod app;
pub use clock;
pub mod config;
pub mod db;
pub mod decode;
pub mod http;
pub mod notify;
pub mod series;
mod varint;
pub mod watch;

pub use app::{Running, StartError, start};
