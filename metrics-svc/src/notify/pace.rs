//! How long mails wait.

use std::time::Duration;

use crate::clock::Time;

/// The waits of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// An opening mail waits this long for others to merge with.
    pub group_wait: Duration,
    /// First wait after a failed attempt; doubles.
    pub retry_first: Duration,
    /// The longest.
    pub retry_most: Duration,
    /// A mail is given up after this.
    pub give_up: Duration,
    /// The outbox is looked into at least this often.
    pub look_every: Duration,
}

impl Pace {
    /// The waits in force: 10 s, 30 s doubling to 15 min, a day; none but the last above
    /// `min_stall`.
    pub fn bounded_by(min_stall: Option<Duration>) -> Self {
        let floor = min_stall.unwrap_or(Duration::MAX);
        Self {
            group_wait: Duration::from_secs(10).min(floor),
            retry_first: Duration::from_secs(30).min(floor),
            retry_most: Duration::from_secs(15 * 60).min(floor),
            give_up: Duration::from_secs(24 * 3_600),
            look_every: Duration::from_secs(1).min(floor / 4).max(Duration::from_millis(10)),
        }
    }

    /// The wait after attempt number `attempts` (from 0), with up to a fifth of jitter taken off.
    pub fn retry(&self, attempts: u32) -> Duration {
        let full = self.retry_first.saturating_mul(1_u32 << attempts.min(16)).min(self.retry_most);
        full.mul_f64(1.0 - rand::random_range(0.0..0.2))
    }
}

/// A relay that fails makes all mails wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pause {
    /// When it began, and when it ends.
    since: Time,
    until: Time,
    failures: u32,
}

impl Pause {
    /// Whether nothing is to be tried now. A clock that was set back ends the pause.
    pub fn holds(&self, now: Time) -> bool {
        self.since <= now && now < self.until
    }

    /// The relay works.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// One more failure; returns when to try again.
    pub fn lengthen(&mut self, pace: &Pace, now: Time) -> Time {
        self.since = now;
        self.until = now.plus(pace.retry(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_a_quarter_of_an_hour() {
        let pace = Pace::bounded_by(None);
        for (attempts, want) in [(0, 30), (1, 60), (4, 480), (5, 900), (40, 900)] {
            let wait = pace.retry(attempts).as_secs_f64();
            let want = f64::from(want);
            assert!(wait <= want && wait >= want * 0.8, "{attempts}: {wait}");
        }
    }

    #[test]
    fn no_wait_but_the_last_is_longer_than_min_stall() {
        let pace = Pace::bounded_by(Some(Duration::from_secs(2)));
        assert!(pace.group_wait <= Duration::from_secs(2));
        assert!(pace.retry(9) <= Duration::from_secs(2));
        assert_eq!(pace.give_up, Duration::from_secs(86_400));
    }

    #[test]
    fn a_failing_relay_makes_all_mails_wait_longer_and_longer() {
        let pace = Pace::bounded_by(None);
        let (mut pause, now) = (Pause::default(), Time::from_secs(1_000));
        assert!(!pause.holds(now));
        let first = pause.lengthen(&pace, now);
        assert!(pause.holds(now) && !pause.holds(first));
        assert!(!pause.holds(now.minus(Duration::from_secs(600))), "the clock was set back");
        let second = pause.lengthen(&pace, first);
        assert!(second.since(first) > first.since(now));
        pause.clear();
        assert!(!pause.holds(now));
    }
}
