//! How long, and how much, a topic keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert::DurationText;
use clock::Time;

/// What an owner says about what a topic keeps; what is not set is the operator's to say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// How long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<DurationText>,
    /// How much: packed bytes, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl RetentionSettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The age in force: the topic's, else `default`; at most `max`.
    pub fn age_in_force(&self, default: Duration, max: Duration) -> Duration {
        self.age.as_ref().map_or(default, DurationText::value).min(max)
    }
}

/// Wall clock and steady clock may differ by this much before nothing is trimmed by age or size.
pub const CLOCKS_MAY_DIFFER: Duration = Duration::from_secs(60);
/// A stored stamp further ahead than this is a clock fault.
pub const STAMP_MAY_LEAD: Duration = Duration::from_secs(5);

/// The time to judge ages by, or how far the clocks are apart when they are in doubt.
///
/// # Errors
/// They differ by more than [`CLOCKS_MAY_DIFFER`].
pub fn trusted_now(wall: Time, steady: Time) -> Result<Time, Duration> {
    let apart = wall.since(steady).max(steady.since(wall));
    // The earlier one keeps more.
    if apart > CLOCKS_MAY_DIFFER { Err(apart) } else { Ok(wall.min(steady)) }
}

/// Before which time one sweep may drop: what is older than `age`, and never more than an eighth
/// of `age` beyond `oldest`, the time of the oldest message kept. So a clock that lies, or a
/// setting that was lowered by mistake, does not take everything at once.
pub fn drop_before(now: Time, oldest: Time, age: Duration) -> Time {
    let step = (age / 8).max(Duration::from_nanos(1));
    now.minus(age).min(oldest.plus(step))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn clocks_that_differ_by_more_than_a_minute_are_not_trusted() {
        let at = Time::from_secs;
        assert_eq!(trusted_now(at(1_000), at(1_060)), Ok(at(1_000)));
        assert_eq!(trusted_now(at(1_060), at(1_000)), Ok(at(1_000)));
        assert_eq!(trusted_now(at(1_061), at(1_000)), Err(Duration::from_secs(61)));
        assert_eq!(trusted_now(at(1_000), at(1_061)), Err(Duration::from_secs(61)));
    }

    #[test]
    fn a_sweep_drops_at_most_an_eighth_of_the_age() {
        let start = Time::from_secs(1_000_000);
        let age = 8 * HOUR;
        assert_eq!(drop_before(start.plus(age), start, age), start, "nothing is too old");
        assert_eq!(drop_before(start.plus(age + HOUR / 2), start, age), start.plus(HOUR / 2));
        assert_eq!(drop_before(start.plus(100 * age), start, age), start.plus(HOUR));
        // However short the age, the oldest message can go.
        let short = Duration::from_nanos(3);
        assert!(drop_before(start.plus(HOUR), start, short) > start);
        assert_eq!(drop_before(Time(0), start, age), Time(0));
    }

    #[test]
    fn the_age_in_force_is_bounded() {
        let age = |text: &str| RetentionSettings {
            age: Some(text.to_owned().try_into().unwrap()),
            bytes: None,
        };
        let in_force = |settings: RetentionSettings| settings.age_in_force(7 * HOUR, 30 * HOUR);
        assert_eq!(in_force(RetentionSettings::default()), 7 * HOUR);
        assert_eq!(in_force(age("3h")), 3 * HOUR);
        assert_eq!(in_force(age("31h")), 30 * HOUR);
    }
}
