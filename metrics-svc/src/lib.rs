//! Receives what brokers report, judges every subscription, serves Prometheus and mails.

pub mod alert;
pub mod clock;
pub mod decode;
pub mod series;
