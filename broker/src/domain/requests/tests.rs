//! What is remembered is what a reader of the whole log would find.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use proptest::prelude::*;

use super::*;
use crate::domain::BatchBuilder;

fn user(n: u128) -> UserId {
    UserId(uuid::Uuid::from_u128(n))
}

fn batch(texts: &[&str]) -> Batch {
    let mut builder = BatchBuilder::default();
    texts.iter().for_each(|text| builder.push::<&str, &str>(&[], text));
    builder.finish()
}

#[test]
fn a_request_is_its_user_its_key_and_its_messages() {
    let request = Request::new(user(1), b"key", &batch(&["aa", "bb"]));
    assert_eq!(request, Request::new(user(1), b"key", &batch(&["aa", "bb"])));
    for other in [
        Request::new(user(2), b"key", &batch(&["aa", "bb"])),
        Request::new(user(1), b"kez", &batch(&["aa", "bb"])),
    ] {
        assert!(!request.is_named_as(&other));
    }
    let other = Request::new(user(1), b"key", &batch(&["aabb"]));
    assert!(request.is_named_as(&other) && request != other);
}

/// A log whose entries hold requests of four ids and two bodies, at times that never go back.
#[derive(Debug, Clone)]
struct Log(Vec<Entry>);

prop_compose! {
    fn log()(
        steps in prop::collection::vec(
            (0u64..400, prop::collection::vec((0u128..4, any::<bool>()), 0..3)),
            0..30,
        ),
    ) -> Log {
        let (mut entries, mut time, mut base) = (Vec::<Entry>::new(), Time::from_secs(1_000), 0);
        for (seconds, requests) in steps {
            time = time.plus(Duration::from_secs(seconds));
            let (mut marks, mut messages) = (Vec::new(), vec!["AAAA"]);
            for (id, body) in requests {
                let request = request(id, body);
                let known = naive(&entries, &request, time);
                if known == Known::New && marks.iter().all(|mark: &Mark| mark.id != request.id) {
                    marks.push(request.mark(u32::try_from(messages.len()).unwrap(), 1));
                    messages.push("BBBB");
                }
            }
            let batch = batch(&messages);
            let entry = Entry { base: Offset(base), time, batch, marks, closed_day: None };
            base = entry.end().0;
            entries.push(entry);
        }
        Log(entries)
    }
}

fn request(id: u128, body: bool) -> Request {
    Request::new(user(id), b"k", &batch(&[if body { "AAAA" } else { "BBBB" }]))
}

/// Reads everything, as nobody would.
fn naive(entries: &[Entry], request: &Request, now: Time) -> Known {
    for entry in entries.iter().rev().filter(|entry| now.since(entry.time) < WINDOW) {
        if let Some(mark) = entry.marks.iter().find(|mark| mark.id == request.id) {
            return match mark.digest == request.digest {
                true => Known::Repeat(entry.base.plus(u64::from(mark.first))),
                false => Known::Other,
            };
        }
    }
    Known::New
}

proptest! {
    #[test]
    fn nothing_is_forgotten_too_early_and_nothing_known_too_late(
        log in log(),
        begin in 0usize..30,
        again in 0usize..30,
        later in 0u64..1_500,
    ) {
        let Log(entries) = log;
        // Whoever begins in the middle of the log knows what came from there on.
        let begin = begin.min(entries.len());
        let mut requests = Requests::default();
        requests.pass(entries.get(begin).map_or(Offset(0), |entry| entry.base));
        for (n, entry) in entries.iter().enumerate().skip(begin) {
            match n % 2 {
                0 => requests.read(entry),
                _ => requests.written(entry),
            }
            // What is read once more, and what has a gap before it, changes nothing.
            requests.read(&entries[again % (n + 1)]);
            if let Some(gap) = entries.get(n + 2) {
                requests.written(gap);
            }
            let now = entry.time.plus(Duration::from_secs(later % 700));
            for id in 0..4 {
                let known = naive(&entries[begin..=n], &request(id, true), now);
                prop_assert_eq!(requests.find(&request(id, true), now), known);
            }
        }
        if let Some(last) = entries.last() {
            let now = last.time.plus(Duration::from_secs(later));
            requests.forget(now);
            let alive = |id: &u128| naive(&entries[begin..], &request(*id, true), now) != Known::New;
            prop_assert_eq!(requests.len(), (0..4).filter(alive).count());
        }
    }
}
