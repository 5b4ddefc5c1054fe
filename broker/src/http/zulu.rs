//! The time format of `:timeToOffset` (`ams-contract.md` 9.7), as Go's layout
//! `2006-01-02T15:04:05.000Z` takes it.

use jiff::Timestamp;

use crate::domain::Time;

/// `YYYY-MM-DDThh:mm:ss.mmmZ` with exactly three fraction digits; the hour may have one digit, a
/// comma may stand for the dot, and a blank for the `T`, as the Python library sends it (O57).
/// A time before 1970 is the oldest one.
pub(super) fn parse(text: &str) -> Option<Time> {
    let (date, time) = text.strip_suffix('Z')?.split_once(['T', ' '])?;
    let date: Vec<_> = date.split('-').collect();
    let [year, month, day] = date.as_slice() else { return None };
    let time: Vec<_> = time.split(':').collect();
    let [hour, minute, second] = time.as_slice() else { return None };
    let (second, fraction) = second.split_once(['.', ','])?;
    let has = |text: &str, digits| text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    let is_sound = has(year, 4)
        && [month, day, minute].into_iter().all(|text| has(text, 2))
        && (has(hour, 1) || has(hour, 2))
        && has(second, 2)
        // jiff takes a leap second; Go does not.
        && second != "60"
        && has(fraction, 3);
    if !is_sound {
        return None;
    }
    let text = format!("{year}-{month}-{day}T{hour:0>2}:{minute}:{second}.{fraction}Z");
    let stamp = text.parse::<Timestamp>().ok()?.as_nanosecond();
    Some(Time(u64::try_from(stamp.max(0)).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_the_one_format_is_taken() {
        let at = |text| parse(text).map(|time| time.to_nanos_text());
        let good = Some(String::from("2019-06-10T09:38:30.5Z"));
        assert_eq!(at("2019-06-10T09:38:30.500Z"), good);
        assert_eq!(at("2019-06-10T9:38:30.500Z"), good);
        assert_eq!(at("2019-06-10T09:38:30,500Z"), good);
        assert_eq!(at("2019-06-10 09:38:30.500Z"), good);
        assert_eq!(at("1969-12-31T23:59:59.999Z").as_deref(), Some("1970-01-01T00:00:00Z"));
        for bad in [
            "",
            "2019-06-10T09:38:30Z",
            "2019-06-10T09:38:30.50Z",
            "2019-06-10T09:38:30.5000Z",
            "2019-06-10T09:38:30.500",
            "2019-06-10T09:38:30.500z",
            "2019-06-10T09:38:30.500+00:00",
            "2019-6-10T09:38:30.500Z",
            "2019-02-30T09:38:30.500Z",
            "2019-06-10T24:38:30.500Z",
            "2019-06-10T09:38:60.500Z",
            "2019-06-10TT9:38:30.500Z",
            "+019-06-10T09:38:30.500Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
