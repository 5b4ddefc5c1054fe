//! Laws of [`MessageLog`](crate::store::MessageLog): writing and reading.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tokio_util::task::TaskTracker;

use super::*;
use crate::domain::{DayFigures, Mark};

pub(crate) async fn creating_a_log_that_exists_is_applied<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    assert_eq!(store.head(topic).await.unwrap(), Some(Head::default()));
    publish(&*store, topic, at(0), &["a"]).await;
    applied(store.create(topic).await);
    assert_eq!(texts(&everything(&*store, topic).await), ["a"]);
}

pub(crate) async fn a_life_that_was_never_created_is_closed<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = TopicId::random();
    closed(store.commit(topic, entry(&Head::default(), at(0), &["a"])).await);
    closed(store.trim(topic, Offset(0)).await);
    closed(store.close(topic).await);
    reads_as_nothing(&*store, topic).await;
    // Nothing of that was written: the life can still begin.
    applied(store.create(topic).await);
    publish(&*store, topic, at(0), &["a"]).await;
}

pub(crate) async fn a_closed_life_is_closed_for_good<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let first = publish(&*store, topic, at(0), &["a"]).await;
    let head = applied(store.close(topic).await);
    is_closed(&*store, topic, &head, &first).await;
}

/// Every mutation of a closed life is refused, also one that repeats what was there.
pub(super) async fn is_closed(store: &dyn Store, topic: TopicId, head: &Head, first: &Arc<Entry>) {
    closed(store.create(topic).await);
    closed(store.commit(topic, entry(head, at(1), &["b"])).await);
    closed(store.commit(topic, entry(&Head::default(), at(1), &["b"])).await);
    closed(store.commit(topic, Arc::clone(first)).await);
    closed(store.trim(topic, head.next).await);
    closed(store.close(topic).await);
    reads_as_nothing(store, topic).await;
}

async fn reads_as_nothing(store: &dyn Store, topic: TopicId) {
    assert_eq!(store.head(topic).await.unwrap(), None);
    assert_eq!(store.scan(topic, Offset(0), ALL).await.unwrap(), []);
    assert_eq!(store.find_time(topic, Time(0)).await.unwrap(), None);
    assert_eq!(store.kept_bytes(topic).await.unwrap(), 0);
    assert_eq!(store.find_size(topic, u64::MAX).await.unwrap(), None);
    assert!(!store.topics().await.unwrap().contains(&topic));
}

pub(crate) async fn closing_answers_the_final_head<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    publish(&*store, topic, at(0), &["a", "b"]).await;
    publish(&*store, topic, at(90_000), &["c"]).await;
    let head = applied(store.trim(topic, Offset(1)).await);
    assert_eq!(applied(store.close(topic).await), head);
    let empty = new_topic(&*store).await;
    assert_eq!(applied(store.close(empty).await), Head::default());
}

pub(crate) async fn a_life_never_sees_the_data_of_another<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let old = new_topic(&*store).await;
    let other = new_topic(&*store).await;
    publish(&*store, old, at(0), &["old 0", "old 1"]).await;
    publish(&*store, other, at(1), &["other 0"]).await;
    publish(&*store, old, at(2), &["old 2"]).await;
    applied(store.trim(old, Offset(1)).await);
    applied(store.close(old).await);
    // The same name again is another life, from 0.
    let new = new_topic(&*store).await;
    assert_eq!(store.head(new).await.unwrap(), Some(Head::default()));
    assert_eq!(everything(&*store, new).await, []);
    publish(&*store, new, at(3), &["new 0"]).await;
    assert_eq!(texts(&everything(&*store, new).await), ["new 0"]);
    assert_eq!(texts(&everything(&*store, other).await), ["other 0"]);
}

pub(crate) async fn offsets_are_dense_from_0<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    for count in [1, 3, 2, 1] {
        publish(&*store, topic, at(0), &vec!["x"; count]).await;
    }
    let entries = everything(&*store, topic).await;
    let ranges: Vec<_> = entries.iter().map(|entry| (entry.base.0, entry.end().0)).collect();
    assert_eq!(ranges, [(0, 1), (1, 4), (4, 6), (6, 7)]);
}

pub(crate) async fn the_head_counts_what_was_published<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let day = at(0).day();
    publish(&*store, topic, at(0), &["QUFB", "not base64"]).await;
    publish(&*store, topic, at(10), &["x"]).await;
    // Two idle days, and a clock that was set back afterwards.
    let later = publish(&*store, topic, at(3 * 86_400), &["four"]).await;
    assert_eq!(later.closed_day, Some(DayFigures { day, messages: 3, ams_bytes: 15 }));
    publish(&*store, topic, at(5), &["y", "z"]).await;
    let head = store.head(topic).await.unwrap().unwrap();
    assert_eq!(
        head,
        Head {
            start: Offset(0),
            next: Offset(6),
            ams_bytes: 21,
            // "QUFB" and "four" are canonical base64 of 3 bytes.
            bytes: 19,
            last_time: at(3 * 86_400),
            last_two: [(at(3 * 86_400), 1), (at(3 * 86_400), 2)],
            day: day + 3,
            day_messages: 3,
            day_ams_bytes: 15,
        }
    );
}

pub(crate) async fn an_entry_comes_back_bit_for_bit<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let mut builder = BatchBuilder::default();
    builder.push(&[("κλειδί", "τιμή\0\n\"\\"), ("", "")], "QUJD");
    builder.push(&[("a", "b")], "plain, ünï 🦀");
    builder.push::<&str, &str>(&[], "");
    let entry = Arc::new(Entry {
        base: Offset(0),
        time: Time(at(3).0 + 123_456_789),
        batch: builder.finish(),
        marks: vec![
            Mark { id: [1; 16], first: 0, count: 2, digest: [2; 16] },
            Mark { id: [3; 16], first: 2, count: 1, digest: [255; 16] },
        ],
        closed_day: Some(DayFigures { day: 20_000, messages: u64::MAX, ams_bytes: 0 }),
    });
    applied(store.commit(topic, Arc::clone(&entry)).await);
    assert_eq!(everything(&*store, topic).await, [entry]);
}

pub(crate) async fn a_large_entry_comes_back_whole<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let text: String = ('!'..='~').cycle().take(2 << 20).collect();
    let large = publish(&*store, topic, at(0), &[text.as_str(), "small"]).await;
    let next = publish(&*store, topic, at(0), &["next"]).await;
    assert_eq!(everything(&*store, topic).await, [large, next]);
}

pub(crate) async fn an_entry_without_a_message_is_a_conflict<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    conflict(store.commit(topic, entry::<&str>(&Head::default(), at(0), &[])).await);
    assert_eq!(store.head(topic).await.unwrap(), Some(Head::default()));
}

pub(crate) async fn a_commit_not_at_the_head_is_a_conflict_and_writes_nothing<F: Fixture>(
    fixture: &F,
) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    publish(&*store, topic, at(0), &["a", "b"]).await;
    let head = publish_and_head(&*store, topic, "c").await;
    for base in [0, 1, 2, 4, u64::MAX - 1] {
        let mut wrong = (*entry(&head, at(1), &["x"])).clone();
        wrong.base = Offset(base);
        conflict(store.commit(topic, Arc::new(wrong)).await);
    }
    assert_eq!(store.head(topic).await.unwrap(), Some(head));
    assert_eq!(texts(&everything(&*store, topic).await), ["a", "b", "c"]);
}

async fn publish_and_head(store: &dyn Store, topic: TopicId, text: &str) -> Head {
    publish(store, topic, at(0), &[text]).await;
    store.head(topic).await.unwrap().unwrap()
}

pub(crate) async fn an_entry_that_is_already_there_is_applied_once<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let first = publish(&*store, topic, at(0), &["a", "b"]).await;
    let second = publish(&*store, topic, at(1), &["c"]).await;
    let head = store.head(topic).await.unwrap().unwrap();
    for again in [&second, &first, &second] {
        // Not the same memory: another reading of the same bytes.
        let again = Arc::new((**again).clone());
        assert_eq!(applied(store.commit(topic, again).await), head);
    }
    assert_eq!(store.head(topic).await.unwrap(), Some(head));
    assert_eq!(everything(&*store, topic).await, [first, second]);
}

pub(crate) async fn another_entry_in_its_place_is_a_conflict<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let present = publish(&*store, topic, at(0), &["a", "b"]).await;
    publish(&*store, topic, at(0), &["c"]).await;
    let others = [
        Entry { time: at(1), ..(*present).clone() },
        Entry { batch: batch(&["a", "B"]), ..(*present).clone() },
        Entry { batch: batch(&["a"]), ..(*present).clone() },
        Entry { batch: batch(&["a", "b", "c"]), ..(*present).clone() },
        Entry {
            marks: vec![Mark { id: [1; 16], first: 0, count: 2, digest: [2; 16] }],
            ..(*present).clone()
        },
        Entry {
            closed_day: Some(DayFigures { day: 1, messages: 0, ams_bytes: 0 }),
            ..(*present).clone()
        },
        Entry { base: Offset(1), batch: batch(&["b"]), ..(*present).clone() },
    ];
    for other in others {
        conflict(store.commit(topic, Arc::new(other)).await);
    }
    assert_eq!(texts(&everything(&*store, topic).await), ["a", "b", "c"]);
}

/// Entries of which each lies behind the one before, from `head` on.
pub(super) fn chain(mut head: Head, count: usize) -> Vec<Arc<Entry>> {
    let mut entries = Vec::new();
    for n in 0..count {
        let next = entry(&head, at(n as u64), &[format!("{n}a"), format!("{n}b")]);
        head = head.after(&next);
        entries.push(next);
    }
    entries
}

pub(crate) async fn commits_may_be_submitted_one_behind_the_other<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let entries = chain(Head::default(), 20);
    // `join_all` polls, and so submits, in order.
    let commits = entries.iter().map(|entry| store.commit(topic, Arc::clone(entry)));
    let answers = within(join_all(commits)).await;
    let mut head = Head::default();
    for (entry, answer) in entries.iter().zip(answers) {
        head = head.after(entry);
        assert_eq!(applied(answer), head);
    }
    assert_eq!(store.head(topic).await.unwrap(), Some(head));
    assert_eq!(everything(&*store, topic).await, entries);
}

pub(crate) async fn commits_behind_a_failed_one_fail<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    publish(&*store, topic, at(0), &["first"]).await;
    // A chain that starts where something else is: its first fails, so none can be there.
    let entries = chain(Head::default(), 10);
    let commits = entries.iter().map(|entry| store.commit(topic, Arc::clone(entry)));
    for answer in within(join_all(commits)).await {
        conflict(answer);
    }
    assert_eq!(texts(&everything(&*store, topic).await), ["first"]);
}

pub(crate) async fn a_commit_behind_a_close_is_closed<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let entries = chain(Head::default(), 2);
    let head = Head::default().after(&entries[0]);
    let before = store.commit(topic, Arc::clone(&entries[0]));
    let behind = store.commit(topic, Arc::clone(&entries[1]));
    let (before, close, behind) =
        within(async { tokio::join!(biased; before, store.close(topic), behind) }).await;
    assert_eq!(applied(before), head);
    assert_eq!(applied(close), head);
    closed(behind);
}

pub(crate) async fn concurrent_appenders_lose_and_double_nothing<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let tasks = TaskTracker::new();
    let appenders: Vec<_> = (0..32)
        .map(|n| {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mine = [format!("{n} first"), format!("{n} second")];
                loop {
                    let head = store.head(topic).await.unwrap().unwrap();
                    let entry = entry(&head, at(0), &mine);
                    match store.commit(topic, Arc::clone(&entry)).await.unwrap() {
                        Outcome::Applied(after) => return (after, entry),
                        Outcome::Conflict => tokio::task::yield_now().await,
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let mut confirmed = Vec::new();
    for appender in appenders {
        let (after, entry) = within(appender).await.unwrap();
        assert_eq!(after.next, entry.end());
        confirmed.push(entry);
    }
    confirmed.sort_by_key(|entry| entry.base);
    assert_eq!(everything(&*store, topic).await, confirmed);
    let bases: Vec<_> = confirmed.iter().map(|entry| entry.base.0).collect();
    assert_eq!(bases, (0..64).step_by(2).collect::<Vec<_>>());
    assert_eq!(texts(&confirmed).into_iter().collect::<BTreeSet<_>>().len(), 64);
}

pub(crate) async fn topics_are_appended_to_side_by_side<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let tasks = TaskTracker::new();
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let topic = new_topic(&*store).await;
                let entries = chain(Head::default(), 8);
                for entry in &entries {
                    applied(store.commit(topic, Arc::clone(entry)).await);
                }
                (topic, entries)
            })
        })
        .collect();
    for writer in writers {
        let (topic, entries) = within(writer).await.unwrap();
        assert_eq!(everything(&*store, topic).await, entries);
    }
}

/// Three entries over the offsets 0..2, 2..5 and 5..6, at 0, 10 and 20 seconds.
pub(super) async fn three_entries(store: &dyn Store) -> (TopicId, [Arc<Entry>; 3]) {
    let topic = new_topic(store).await;
    let first = publish(store, topic, at(0), &["a", "b"]).await;
    let second = publish(store, topic, at(10), &["c", "d", "e"]).await;
    let third = publish(store, topic, at(20), &["f"]).await;
    (topic, [first, second, third])
}

pub(crate) async fn a_scan_brings_what_lies_from_the_offset_on<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, entries) = three_entries(&*store).await;
    // Whole entries, also from inside one; nothing at or past the head.
    for (from, skipped) in [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (6, 3), (7, 3), (u64::MAX, 3)] {
        let found = store.scan(topic, Offset(from), ALL).await.unwrap();
        assert_eq!(found, entries[skipped..], "from {from}");
    }
    // From below the start: as from the start.
    applied(store.trim(topic, Offset(2)).await);
    for from in [0, 1, 2] {
        assert_eq!(store.scan(topic, Offset(from), ALL).await.unwrap(), entries[1..]);
    }
    let empty = new_topic(&*store).await;
    assert_eq!(everything(&*store, empty).await, []);
}

pub(crate) async fn a_scan_stops_after_the_entry_that_reaches_a_limit<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, entries) = three_entries(&*store).await;
    // (from, messages, entries): what lies before `from` does not count.
    let by_messages =
        [(0, 1, 1), (0, 2, 1), (0, 3, 2), (0, 5, 2), (0, 6, 3), (0, 7, 3), (1, 1, 1), (1, 2, 2)];
    for (from, messages, count) in by_messages.into_iter().chain([(3, 2, 1), (3, 3, 2)]) {
        let limits = Limits { messages, ..ALL };
        let found = store.scan(topic, Offset(from), limits).await.unwrap();
        let skipped = if from < 2 { 0 } else { 1 };
        assert_eq!(found, entries[skipped..skipped + count], "{messages} messages from {from}");
    }
    let [first, second, _] = entries.each_ref().map(|entry| entry.batch.packed().len() as u64);
    for (bytes, count) in
        [(1, 1), (first, 1), (first + 1, 2), (first + second, 2), (first + second + 1, 3)]
    {
        let found = store.scan(topic, Offset(0), Limits { bytes, ..ALL }).await.unwrap();
        assert_eq!(found, entries[..count], "{bytes} bytes");
    }
    // Either limit ends it; below the start, counting begins at the start.
    let found = store.scan(topic, Offset(0), Limits { messages: 3, bytes: 1 }).await.unwrap();
    assert_eq!(found, entries[..1]);
    applied(store.trim(topic, Offset(4)).await);
    let found = store.scan(topic, Offset(0), Limits { messages: 2, ..ALL }).await.unwrap();
    assert_eq!(found, entries[1..]);
}

pub(crate) async fn a_scan_brings_at_least_one_entry<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, entries) = three_entries(&*store).await;
    let nothing = Limits { messages: 0, bytes: 0 };
    assert_eq!(store.scan(topic, Offset(3), nothing).await.unwrap(), entries[1..2]);
    assert_eq!(store.scan(topic, Offset(6), nothing).await.unwrap(), []);
}

pub(crate) async fn all_open_lives_are_listed<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    assert_eq!(store.topics().await.unwrap(), []);
    let mut open = BTreeSet::new();
    for _ in 0..5 {
        open.insert(new_topic(&*store).await);
    }
    let gone = new_topic(&*store).await;
    applied(store.close(gone).await);
    let listed = store.topics().await.unwrap();
    assert_eq!(listed.len(), open.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), open);
}
