//! Points in time, as stored and as shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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

    /// Whole seconds since the epoch, cut off.
    pub const fn secs(self) -> u64 {
        self.0 / SECOND
    }

    /// The time of a Unix stamp as reports carry it; `None` when it is not finite or out of range.
    pub fn from_unix_seconds(seconds: f64) -> Option<Self> {
        let since = Duration::try_from_secs_f64(seconds).ok()?;
        u64::try_from(since.as_nanos()).ok().map(Self)
    }

    /// Unix seconds with their fraction, as Prometheus wants them.
    pub const fn unix_seconds(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }

    /// UTC days since the epoch.
    pub fn day(self) -> u32 {
        u32::try_from(self.secs() / 86_400).unwrap_or(u32::MAX)
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

    /// `YYYY-MM-DDTHH:MM:SSZ`: the form of all resource stamps (`ams-contract.md` 1.5).
    pub fn to_seconds_text(self) -> String {
        Self(self.secs().saturating_mul(SECOND)).to_nanos_text()
    }

    /// RFC 3339 with up to nine fractional digits, trailing zeros cut: the form of `publishTime`.
    pub fn to_nanos_text(self) -> String {
        Timestamp::from_nanosecond(i128::from(self.0))
            .map_or_else(|_| String::from("2554-07-21T23:34:33Z"), |stamp| stamp.to_string())
    }

    /// Parses RFC 3339 text in UTC (`...T..:..:..Z`, at most nine fractional digits); `None` when
    /// it is not one, or before 1970 or after 2554.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let stamp: Timestamp = has_rfc3339_shape(text).then(|| text.parse().ok())??;
        u64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The parser behind reads all of ISO 8601 and more (offsets, zones, missing seconds).
fn has_rfc3339_shape(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let Some(text) = text.strip_suffix('Z') else { return false };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    whole.len() == SHAPE.len()
        && whole.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *shape,
        })
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_publish_time_has_the_digits_it_needs() {
        let base = 1_700_000_000 * SECOND;
        for (nanos, expected) in [
            (0, "2023-11-14T22:13:20Z"),
            (1, "2023-11-14T22:13:20.000000001Z"),
            (10, "2023-11-14T22:13:20.00000001Z"),
            (123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (120_000_000, "2023-11-14T22:13:20.12Z"),
            (100_000, "2023-11-14T22:13:20.0001Z"),
            (500_000_000, "2023-11-14T22:13:20.5Z"),
        ] {
            assert_eq!(Time(base + nanos).to_nanos_text(), expected);
            assert_eq!(Time(base + nanos).to_seconds_text(), "2023-11-14T22:13:20Z");
        }
        assert_eq!(Time(0).to_nanos_text(), "1970-01-01T00:00:00Z");
        assert_eq!(Time(u64::MAX).to_nanos_text(), "2554-07-21T23:34:33.709551615Z");
        assert_eq!(Time(u64::MAX).to_seconds_text(), "2554-07-21T23:34:33Z");
    }

    #[test]
    fn what_is_no_rfc_3339_time_in_utc_is_refused() {
        for text in [
            "",
            "now",
            "1700000000",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13Z",
            "2023-11-14T22Z",
            "20231114T221320Z",
            "2023-11-14T221320Z",
            "2023-11-14T22:13:20+02:00",
            "2023-11-14T22:13:20Z[UTC]",
            "2023-11-14T22:13:20Z[Europe/Athens]",
            "2023-11-14T22:13:20,5Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20.1234567890Z",
            "2023-11-14T24:00:00Z",
            "2023-02-29T00:00:00Z",
            " 2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20Z ",
            "+002023-11-14T22:13:20Z",
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(Time::parse_rfc3339(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_unix_stamp_survives_the_road_to_a_time_and_back() {
        let time = Time::from_unix_seconds(1_790_000_000.25).unwrap();
        assert_eq!(time.to_nanos_text(), "2026-09-21T14:13:20.25Z");
        assert!((time.unix_seconds() - 1_790_000_000.25).abs() < 1e-6);
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            assert_eq!(Time::from_unix_seconds(bad), None);
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Time(u64::MAX).plus(Duration::MAX), Time(u64::MAX));
        assert_eq!(Time::from_secs(u64::MAX), Time(u64::MAX));
        assert_eq!(Time(1).since(Time(2)), Duration::ZERO);
        assert_eq!(Time(5).since(Time(2)), Duration::from_nanos(3));
        assert_eq!(Time::from_secs(86_399).day(), 0);
        assert_eq!(Time::from_secs(86_400).day(), 1);
    }

    proptest! {
        #[test]
        fn a_written_time_reads_back(nanos: u64) {
            let time = Time(nanos);
            prop_assert_eq!(Time::parse_rfc3339(&time.to_nanos_text()), Some(time));
            let cut = Time::from_secs(time.secs());
            prop_assert_eq!(Time::parse_rfc3339(&time.to_seconds_text()), Some(cut));
        }
    }
}
