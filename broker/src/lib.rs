//! The AMS broker: projects, topics, subscriptions; publish, pull, acknowledge.

mod answers;
pub mod app;
pub use clock;
pub mod config;
pub mod control;
pub mod domain;
mod files;
pub mod http;
mod inline;
#[cfg(feature = "planted-bugs")]
mod planted;
pub mod push;
pub mod report;
pub mod schema;
pub mod service;
pub mod store;
