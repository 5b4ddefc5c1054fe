//! What goes on over a restart of the broker: how long it listens, and how long it pauses.

use std::time::Duration;

/// How long a call that follows waits for a message, s.
pub(super) const FOLLOW: u64 = 30;
/// Shortest and longest pause before another try.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Pauses between tries, each twice as long as the one before, up to a bound.
#[derive(Debug, Default)]
pub(super) struct Pause(Option<Duration>);

impl Pause {
    /// How long to pause now.
    pub(super) fn next(&mut self) -> Duration {
        let next = self.0.map_or(PAUSE.0, |before| (before * 2).min(PAUSE.1));
        *self.0.insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..6).map(|_| pause.next().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
    }
}
