//! The AMS door: JSON over HTTP, byte for byte what existing AMS clients expect.
//!
//! It translates and knows no rule of the broker: a request finds its row in one table
//! (`routes`), passes the `gate` (names, token, rights) and calls one verb of the service. The
//! dialect itself (`ams-contract.md`) lives here alone: key order, indentation, error texts and
//! their order of precedence.

mod acl;
mod alert;
mod audit;
mod body;
mod call;
mod connection;
mod cors;
mod error;
mod gate;
mod inflate;
mod json;
mod leases;
mod members;
mod metrics;
mod openapi;
mod paging;
mod path;
mod projects;
mod publish;
mod pull;
mod push;
mod read;
mod registrations;
mod reply;
mod retention;
mod routes;
mod schemas;
mod seek;
mod server;
mod service_info;
mod settings;
mod snapshots;
mod subscriptions;
pub mod tls;
mod topics;
mod usage_report;
mod users;
mod zulu;

pub use gate::Door;
pub use server::{Server, ServerHandle, configure, serve};
pub use settings::{AuthOption, Settings};
