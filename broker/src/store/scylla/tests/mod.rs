//! Against a real Apache Cassandra, whose contact point is in `AMS_TEST_CASSANDRA` (`HOST:PORT`).
//! Every fixture has a keyspace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod outcomes;
mod proxy;
mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Settings, open};
use crate::store::Store;
use crate::store::conformance::Fixture;

/// One store in a keyspace of its own.
struct Cassandra {
    settings: Settings,
}

/// The node's address.
#[expect(clippy::disallowed_methods, reason = "the node is named from outside")]
fn node() -> String {
    std::env::var("AMS_TEST_CASSANDRA").expect("AMS_TEST_CASSANDRA = HOST:PORT")
}

impl Cassandra {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let keyspace = format!("t{}_{number}", std::process::id());
        let settings = Settings {
            contact_points: vec![node()],
            keyspace,
            replication: 1,
            // A machine that builds beside it makes a node slow.
            request_timeout: Duration::from_secs(20),
            // Rolls often.
            segment_entries: 3,
            ..Settings::default()
        };
        Self { settings }
    }
}

impl Fixture for Cassandra {
    async fn open(&self) -> Arc<dyn Store> {
        open(self.settings.clone()).await.unwrap()
    }
}
