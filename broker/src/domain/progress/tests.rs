//! The stored form of a progress: every value comes back, nothing else is accepted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use proptest::prelude::*;
use uuid::Uuid;

use super::stored::FIRST;
use super::*;

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset)
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time)
}

prop_compose! {
    fn window()(
        start in offset(),
        end in offset(),
        pulled_at in time(),
        ams_bytes: u64,
        expired: bool,
    ) -> Window {
        Window { start, end, pulled_at, ams_bytes, expired }
    }
}

prop_compose! {
    fn counters()(n: [u64; 15], lost: [u64; 5]) -> Counters {
        Counters {
            enqueued_before: n[0],
            delivered: n[1],
            delivered_bytes: n[2],
            redelivered: n[3],
            acked: n[4],
            acked_bytes: n[5],
            late_acks: n[6],
            refused_acks: n[7],
            nacks: n[8],
            extensions: n[9],
            expired: n[10],
            dead_lettered: n[11],
            skipped: n[12],
            replayed: n[13],
            lost_never_acked: n[14],
            lost: Lost {
                retention: lost[0],
                overflow: lost[1],
                topic_deleted: lost[2],
                damage: lost[3],
                purge: lost[4],
            },
        }
    }
}

prop_compose! {
    fn clocks()(n: [u64; 7]) -> Clocks {
        Clocks {
            front_attempts: n[0],
            last_pull: Time(n[1]),
            last_delivery: Time(n[2]),
            last_ack: Time(n[3]),
            last_progress: Time(n[4]),
            last_backward_seek: Time(n[5]),
            excusing_seek: Time(n[6]),
        }
    }
}

prop_compose! {
    fn progress()(
        (version, topic, offsets) in (any::<u64>(), any::<u128>(), any::<[u64; 4]>()),
        window in prop::option::of(window()),
        acked_ahead in prop::collection::vec((offset(), offset()), 0..4),
        leases in prop::collection::vec((offset(), time(), any::<u32>(), any::<[u64; 2]>()), 0..4),
        numbered: bool,
        counters in counters(),
        clocks in clocks(),
        last_handed_out in prop::option::of(any::<(u64, u64)>()),
        last_dead_letter in prop::option::of((offset(), time())),
        writers in prop::collection::vec(any::<(u64, u64)>(), 0..4),
        requests in prop::collection::vec(any::<[u8; 16]>(), 0..4),
    ) -> Progress {
        let leases = leases
            .into_iter()
            .map(|(offset, until, attempts, [number, ams_bytes])| {
                let old = Lease { offset, until, attempts, ..Lease::default() };
                if numbered { Lease { number, ams_bytes, ..old } } else { old }
            })
            .collect();
        let last_handed_out =
            last_handed_out.map(|(messages, after)| HandedOut { messages, after: Time(after) });
        let last_dead_letter = last_dead_letter.map(|(offset, at)| DeadLetter { offset, at });
        Progress {
            version,
            topic: TopicId(Uuid::from_u128(topic)),
            origin: Offset(offsets[0]),
            position: Offset(offsets[1]),
            frontier: Offset(offsets[2]),
            high_water: Offset(offsets[3]),
            window,
            acked_ahead,
            leases,
            counters,
            clocks,
            last_handed_out,
            last_dead_letter,
            writers,
            requests,
        }
    }
}

fn encoded(progress: &Progress) -> Vec<u8> {
    let mut bytes = Vec::new();
    progress.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn every_progress_comes_back(progress in progress()) {
        prop_assert_eq!(Progress::decode(&encoded(&progress)), Ok(progress));
    }

    #[test]
    fn a_cut_or_prolonged_progress_is_refused(progress in progress(), more: u8) {
        let mut bytes = encoded(&progress);
        for len in 0..bytes.len() {
            prop_assert!(Progress::decode(&bytes[..len]).is_err(), "cut to {}", len);
        }
        bytes.push(more);
        prop_assert!(Progress::decode(&bytes).is_err());
    }

    #[test]
    fn what_is_read_is_what_would_be_written(bytes: Vec<u8>, version in FIRST..5) {
        let mut bytes = bytes;
        bytes.insert(0, version);
        if let Ok(progress) = Progress::decode(&bytes) {
            prop_assert_eq!(encoded(&progress), bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_flipped_bit_never_panics_and_never_reads_as_the_same(progress in progress()) {
        let bytes = encoded(&progress);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Progress::decode(&flipped) {
                prop_assert_ne!(&other, &progress);
                prop_assert_eq!(encoded(&other), flipped);
            }
        }
    }
}

#[test]
fn an_unknown_version_or_flag_is_refused() {
    let mut fresh = Progress::fresh(TopicId(Uuid::nil()), Offset(0));
    let mut bytes = encoded(&fresh);
    assert!(Progress::decode(&bytes).is_ok());
    // version, saves, topic, four offsets, then whether there is a window.
    let flag = 1 + 1 + 16 + 4;
    assert_eq!(bytes[flag], 0);
    bytes[flag] = 2;
    assert!(Progress::decode(&bytes).is_err());
    bytes[flag] = 0;
    for version in (0..=u8::MAX).filter(|version| *version != FIRST) {
        bytes[0] = version;
        assert!(Progress::decode(&bytes).is_err(), "version {version}");
    }
    let (start, end) = (Offset(0), Offset(0));
    let window = Window { start, end, pulled_at: Time(0), ams_bytes: 0, expired: true };
    fresh.window = Some(window);
    let mut bytes = encoded(&fresh);
    assert_eq!(bytes[flag + 5], 1);
    bytes[flag + 5] = 2;
    assert!(Progress::decode(&bytes).is_err());
}

#[test]
fn a_count_beyond_what_follows_is_refused() {
    let mut bytes = encoded(&Progress::fresh(TopicId(Uuid::nil()), Offset(0)));
    // The last field counts the requests.
    assert_eq!(bytes.pop(), Some(0));
    bytes.put_varint(u64::MAX);
    assert!(Progress::decode(&bytes).is_err());
}
