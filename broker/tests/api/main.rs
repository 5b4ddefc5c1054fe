//! The AMS dialect, in process: status, headers and exact bytes of every route.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod api;
mod bad_input;
mod contract;
mod figures;
mod logs;
mod matrix;
mod messages;
mod mutated;
mod openapi;
mod projects;
mod push;
mod rights;
mod routing;
mod schemas;
mod subscriptions;
mod tls;
mod topics;
mod transcript;
mod users;
mod walk;
mod wire;
