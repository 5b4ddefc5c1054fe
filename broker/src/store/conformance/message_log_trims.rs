//! Laws of [`MessageLog`](crate::store::MessageLog): times, sizes, trims.

use super::*;

pub(crate) async fn a_time_is_found_at_the_first_entry_at_or_after_it<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, _) = three_entries(&*store).await;
    publish(&*store, topic, at(20), &["same time"]).await;
    let just_after = |seconds| Time(at(seconds).0 + 1);
    for (time, offset) in [
        (Time(0), Some(0)),
        (at(0), Some(0)),
        (just_after(0), Some(2)),
        (at(10), Some(2)),
        (just_after(10), Some(5)),
        (at(20), Some(5)),
        (just_after(20), None),
        (Time(u64::MAX), None),
    ] {
        assert_eq!(store.find_time(topic, time).await.unwrap(), offset.map(Offset), "{time:?}");
    }
    // Inside an entry the first kept offset is the start.
    applied(store.trim(topic, Offset(3)).await);
    assert_eq!(store.find_time(topic, at(0)).await.unwrap(), Some(Offset(3)));
    assert_eq!(store.find_time(topic, at(11)).await.unwrap(), Some(Offset(5)));
    applied(store.trim(topic, Offset(7)).await);
    assert_eq!(store.find_time(topic, at(0)).await.unwrap(), None);
}

fn packed(entries: &[Arc<Entry>]) -> u64 {
    entries.iter().map(|entry| entry.batch.packed().len() as u64).sum()
}

pub(crate) async fn kept_bytes_are_those_of_whole_entries<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, entries) = three_entries(&*store).await;
    assert_eq!(store.kept_bytes(topic).await.unwrap(), packed(&entries));
    // (start, the entry it lies in)
    for (start, skipped) in [(1, 0), (2, 1), (4, 1), (5, 2), (6, 3)] {
        applied(store.trim(topic, Offset(start)).await);
        assert_eq!(store.kept_bytes(topic).await.unwrap(), packed(&entries[skipped..]), "{start}");
    }
    let entry = publish(&*store, topic, at(30), &["g"]).await;
    assert_eq!(store.kept_bytes(topic).await.unwrap(), packed(&[entry]));
}

pub(crate) async fn a_size_is_found_at_the_first_offset_from_which_it_holds<F: Fixture>(
    fixture: &F,
) {
    let store = fixture.open().await;
    let (topic, entries) = three_entries(&*store).await;
    let [all, two, one] = [0, 1, 2].map(|skipped| packed(&entries[skipped..]));
    for (bytes, offset) in [
        (u64::MAX, Some(0)),
        (all, Some(0)),
        (all - 1, Some(2)),
        (two, Some(2)),
        (two - 1, Some(5)),
        (one, Some(5)),
        (one - 1, None),
        (0, None),
    ] {
        let found = store.find_size(topic, bytes).await.unwrap();
        assert_eq!(found, offset.map(Offset), "{bytes} bytes");
    }
    // Inside an entry the first kept offset is the start; the entry counts whole.
    applied(store.trim(topic, Offset(3)).await);
    assert_eq!(store.find_size(topic, u64::MAX).await.unwrap(), Some(Offset(3)));
    assert_eq!(store.find_size(topic, two).await.unwrap(), Some(Offset(3)));
    assert_eq!(store.find_size(topic, two - 1).await.unwrap(), Some(Offset(5)));
    applied(store.trim(topic, Offset(6)).await);
    assert_eq!(store.find_size(topic, u64::MAX).await.unwrap(), None);
}

pub(crate) async fn a_start_moves_forward_only<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, entries) = three_entries(&*store).await;
    let before = store.head(topic).await.unwrap().unwrap();
    let head = applied(store.trim(topic, Offset(2)).await);
    // Nothing else of the head moves.
    assert_eq!(head, Head { start: Offset(2), ..before });
    for to in [0, 1, 2] {
        assert_eq!(applied(store.trim(topic, Offset(to)).await), head);
    }
    assert_eq!(store.head(topic).await.unwrap(), Some(head));
    assert_eq!(everything(&*store, topic).await, entries[1..]);
}

pub(crate) async fn a_start_inside_an_entry_is_lawful<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, entries) = three_entries(&*store).await;
    assert_eq!(applied(store.trim(topic, Offset(4)).await).start, Offset(4));
    assert_eq!(everything(&*store, topic).await, entries[1..]);
    assert_eq!(applied(store.trim(topic, Offset(5)).await).kept(), 1);
    assert_eq!(everything(&*store, topic).await, entries[2..]);
}

pub(crate) async fn a_topic_trimmed_to_its_head_goes_on<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (topic, _) = three_entries(&*store).await;
    // A start is at most the head.
    let head = applied(store.trim(topic, Offset(u64::MAX)).await);
    assert_eq!((head.start, head.next), (Offset(6), Offset(6)));
    assert_eq!(everything(&*store, topic).await, []);
    let entry = publish(&*store, topic, at(30), &["g"]).await;
    assert_eq!(entry.base, Offset(6));
    assert_eq!(everything(&*store, topic).await, [entry]);
}
