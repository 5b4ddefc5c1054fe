//! Points in time, and time as a dependency, so that tests can hold it still.

mod time;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

pub use time::Time;
use time::nanos;

/// Where the time comes from.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// The wall clock, for stamps that people read. It may be set back by an administrator.
    fn wall(&self) -> Time;

    /// The boot-time clock anchored to the wall clock at start, for deadlines: never goes back.
    fn steady(&self) -> Time;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    wall_at_start: Time,
    boot_at_start: Duration,
}

impl SystemClock {
    /// Anchors the steady clock to the wall clock, now.
    pub fn start() -> Arc<Self> {
        Arc::new(Self { wall_at_start: wall(), boot_at_start: boot() })
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Time {
        wall()
    }

    fn steady(&self) -> Time {
        self.wall_at_start.plus(boot().saturating_sub(self.boot_at_start))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::default().plus(since)
}

fn boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    steady: AtomicU64,
    wall: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Time) -> Arc<Self> {
        Arc::new(Self { steady: AtomicU64::new(now.0), wall: AtomicU64::new(now.0) })
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.steady.fetch_add(nanos(by), Ordering::SeqCst);
        self.wall.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an administrator may.
    pub fn set_wall(&self, to: Time) {
        self.wall.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Time {
        Time(self.wall.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Time {
        Time(self.steady.load(Ordering::SeqCst))
    }
}
