//! Points in time, and time as a dependency, so that tests can hold it still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z. Holds until the year 2554.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

const SECOND: u64 = 1_000_000_000;

impl Time {
    /// The time `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// The time of a Unix stamp as reports carry it; `None` when it is not finite or out of range.
    pub fn from_unix_seconds(seconds: f64) -> Option<Self> {
        let since = Duration::try_from_secs_f64(seconds).ok()?;
        u64::try_from(since.as_nanos()).ok().map(Self)
    }

    /// Unix seconds with their fraction, as Prometheus wants them.
    pub fn unix_seconds(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }

    /// Whole seconds since the epoch, cut off.
    pub const fn secs(self) -> u64 {
        self.0 / SECOND
    }

    /// This time plus `duration`, at most the last one that can be written.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// This time less `duration`, at least the epoch.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`.
    pub fn to_seconds_text(self) -> String {
        Self(self.secs().saturating_mul(SECOND)).to_nanos_text()
    }

    /// RFC 3339 with up to nine fractional digits, trailing zeros cut.
    pub fn to_nanos_text(self) -> String {
        Timestamp::from_nanosecond(i128::from(self.0))
            .map_or_else(|_| String::from("2554-07-21T23:34:33Z"), |stamp| stamp.to_string())
    }

    /// Parses RFC 3339 text; `None` when it is not one, or before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let stamp: Timestamp = text.parse().ok()?;
        u64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
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
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Time) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now.0)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Time {
        self.wall()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_stamp_survives_the_road_to_a_time_and_back() {
        let time = Time::from_unix_seconds(1_790_000_000.25).unwrap();
        assert_eq!(time.to_nanos_text(), "2026-09-21T14:13:20.25Z");
        assert!((time.unix_seconds() - 1_790_000_000.25).abs() < 1e-6);
        assert_eq!(Time::parse_rfc3339("2026-09-21T14:13:20.25Z"), Some(time));
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            assert_eq!(Time::from_unix_seconds(bad), None);
        }
    }
}
