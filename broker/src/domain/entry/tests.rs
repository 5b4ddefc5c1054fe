//! Entries come back as they were; heads count days through silence and clocks that go back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::BatchBuilder;

prop_compose! {
    fn batch(size: std::ops::Range<usize>)(
        messages in prop::collection::vec(
            (prop::collection::vec(any::<(String, String)>(), 0..3), any::<String>()),
            size,
        ),
    ) -> Batch {
        let mut builder = BatchBuilder::default();
        for (attributes, data) in &messages {
            builder.push(attributes, data);
        }
        builder.finish()
    }
}

prop_compose! {
    fn mark()(id: [u8; 16], first: u32, count: u32, digest: [u8; 16]) -> Mark {
        Mark { id, first, count, digest }
    }
}

prop_compose! {
    fn day_figures()(day: u32, messages: u64, ams_bytes: u64) -> DayFigures {
        DayFigures { day, messages, ams_bytes }
    }
}

prop_compose! {
    fn entry()(
        base: u64,
        time: u64,
        batch in batch(0..4),
        marks in prop::collection::vec(mark(), 0..3),
        closed_day in prop::option::of(day_figures()),
    ) -> Entry {
        Entry { base: Offset(base), time: Time(time), batch, marks, closed_day }
    }
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn every_entry_comes_back(entry in entry()) {
        prop_assert_eq!(Entry::decode(&encoded(&entry)), Ok(entry));
    }

    #[test]
    fn a_cut_or_prolonged_entry_is_refused(entry in entry(), more: u8) {
        let mut bytes = encoded(&entry);
        for len in 0..bytes.len() {
            prop_assert!(Entry::decode(&bytes[..len]).is_err(), "cut to {}", len);
        }
        bytes.push(more);
        prop_assert!(Entry::decode(&bytes).is_err());
    }

    #[test]
    fn what_is_read_is_what_would_be_written(bytes: Vec<u8>) {
        let mut bytes = bytes;
        bytes.insert(0, ENTRY_VERSION);
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(encoded(&entry), bytes);
        }
    }

    /// A head is a fold of its entries, whatever the clock shows when they are made.
    #[test]
    fn a_head_counts_each_day_once(
        story in prop::collection::vec((0..6 * 86_400u64, batch(1..4)), 1..40),
    ) {
        let mut head = Head::default();
        let mut days = BTreeMap::<u32, (u64, u64)>::new();
        let mut closed = BTreeMap::new();
        let (mut bytes, mut last_time) = (0, Time(0));
        for (now, batch) in story {
            let now = Time::from_secs(20_000 * 86_400 + now);
            let entry = head.entry(now, batch.clone(), Vec::new());
            prop_assert_eq!(entry.base, head.next);
            prop_assert_eq!(entry.time, now.max(last_time), "log time never goes back");
            if let Some(figures) = entry.closed_day {
                prop_assert!(figures.day < entry.time.day());
                let first = closed.insert(figures.day, (figures.messages, figures.ams_bytes));
                prop_assert_eq!(first, None, "a day is closed once");
            }
            let day = days.entry(entry.time.day()).or_default();
            day.0 += u64::from(batch.len());
            day.1 += batch.ams_bytes();
            bytes += batch.bytes();
            let before = head.clone();
            head = before.after(&entry);
            prop_assert_eq!(head.last_two, [before.last_two[1], (entry.time, batch.len())]);
            prop_assert_eq!(head.last_time, entry.time);
            last_time = entry.time;
        }
        // The last day is open still; all others were closed with what they brought.
        let (day, (messages, ams_bytes)) = days.pop_last().unwrap();
        prop_assert_eq!(head.day_figures(), Some(DayFigures { day, messages, ams_bytes }));
        prop_assert_eq!(&days, &closed);
        let total = days.values().fold((messages, ams_bytes), |sum, day| {
            (sum.0 + day.0, sum.1 + day.1)
        });
        prop_assert_eq!((head.next.0, head.ams_bytes, head.bytes), (total.0, total.1, bytes));
        prop_assert_eq!(head.kept(), total.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_flipped_bit_never_panics_and_never_reads_as_the_same(entry in entry()) {
        let bytes = encoded(&entry);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Entry::decode(&flipped) {
                prop_assert_ne!(&other, &entry);
                prop_assert_eq!(encoded(&other), flipped);
            }
        }
    }
}

#[test]
fn an_unknown_version_or_flag_is_refused() {
    let entry = Head::default().entry(Time(0), Batch::default(), Vec::new());
    let mut bytes = encoded(&entry);
    // version, base, time, marks, then whether a day is closed.
    assert_eq!(bytes, [ENTRY_VERSION, 0, 0, 0, 0, 0, 0]);
    bytes[4] = 2;
    assert!(Entry::decode(&bytes).is_err());
    bytes[4] = 0;
    for version in (0..=u8::MAX).filter(|version| *version != ENTRY_VERSION) {
        bytes[0] = version;
        assert!(Entry::decode(&bytes).is_err(), "version {version}");
    }
}

#[test]
fn a_day_without_a_message_closes_nothing() {
    let day = |day: u64| Time::from_secs(day * 86_400);
    let mut builder = BatchBuilder::default();
    builder.push::<&str, &str>(&[], "four");
    let batch = builder.finish();
    let empty = Head::default();
    assert_eq!(empty.day_figures(), None);
    // The first entry of all has no day before it.
    let first = empty.entry(day(100), batch.clone(), Vec::new());
    assert_eq!(first.closed_day, None);
    let head = empty.after(&first);
    // Many idle days later the last day with messages is named, not the idle ones.
    let second = head.entry(day(107), batch.clone(), Vec::new());
    assert_eq!(second.closed_day, Some(DayFigures { day: 100, messages: 1, ams_bytes: 4 }));
    let head = head.after(&second);
    // The clock is set back: still the later day.
    let third = head.entry(day(90), batch.clone(), Vec::new());
    assert_eq!((third.time, third.closed_day), (day(107), None));
    let head = head.after(&third);
    assert_eq!(head.day_figures(), Some(DayFigures { day: 107, messages: 2, ams_bytes: 8 }));
    // The last instant of a day belongs to it.
    let fourth = head.entry(Time(day(108).0 - 1), batch, Vec::new());
    assert_eq!(fourth.closed_day, None);
}
