//! The store's promises, on a disk that loses at every restart what was not synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sim::Sim;
use crate::domain::Time;
use crate::store::Store;
use crate::store::conformance::{Fixture, suite};
use crate::store::embedded::{Settings, recover};

struct Embedded {
    sim: Arc<Sim>,
    starts: AtomicU64,
}

impl Embedded {
    fn new() -> Self {
        Self { sim: Sim::new(1), starts: AtomicU64::new(0) }
    }
}

impl Fixture for Embedded {
    async fn open(&self) -> Arc<dyn Store> {
        self.sim.power_cut();
        let now = Time::from_secs(self.starts.fetch_add(1, Ordering::Relaxed));
        let settings =
            Settings { first_slot: 3 << 20, largest_record: 5 << 19, ..Settings::small() };
        let settings = Settings { max_slot: 3 << 20, ..settings };
        recover(Arc::clone(&self.sim) as _, settings, now).unwrap().start(None).unwrap()
    }
}

suite!(Embedded::new());
