//! The AMS broker: projects, topics, subscriptions; publish, pull, acknowledge.

pub mod clock;
pub mod domain;
pub mod store;
pub mod service;
pub mod files;
pub mod http;
