//! Laws of [`MessageLog`](crate::store::MessageLog): lost replies and restarts.

use futures_util::future::join_all;

use super::message_log::{chain, is_closed};
use super::*;
use crate::store::{Call, Fault, FaultyStore, MessageLog as _};

pub(crate) async fn a_lost_reply_makes_no_second_entry<F: Fixture>(fixture: &F) {
    let store = FaultyStore::over(fixture.open().await);
    let topic = new_topic(&*store).await;
    let mut entries = vec![publish(&*store, topic, at(0), &["a"]).await];
    for round in 1..5 {
        let head = store.head(topic).await.unwrap().unwrap();
        let wanted = entry(&head, at(round), &[format!("{round}"), "x".to_owned()]);
        for lost in 1..=round {
            store.fail(Call::Commit, lost, Fault::LoseReply);
        }
        for _ in 1..=round {
            unknown(store.commit(topic, Arc::clone(&wanted)).await);
        }
        assert_eq!(applied(store.commit(topic, Arc::clone(&wanted)).await), head.after(&wanted));
        entries.push(wanted);
    }
    assert_eq!(everything(&*store, topic).await, entries);
}

pub(crate) async fn a_lost_request_leaves_no_entry<F: Fixture>(fixture: &F) {
    let store = FaultyStore::over(fixture.open().await);
    let topic = new_topic(&*store).await;
    let wanted = entry(&Head::default(), at(0), &["a"]);
    store.fail(Call::Commit, 1, Fault::LoseRequest);
    unknown(store.commit(topic, Arc::clone(&wanted)).await);
    assert_eq!(store.head(topic).await.unwrap(), Some(Head::default()));
    // Another one took its place meanwhile: now it is definite that the first is not there.
    let other = publish(&*store, topic, at(0), &["b"]).await;
    conflict(store.commit(topic, wanted).await);
    assert_eq!(everything(&*store, topic).await, [other]);
}

pub(crate) async fn unknown_becomes_definite_for_create_and_trim<F: Fixture>(fixture: &F) {
    let store = FaultyStore::over(fixture.open().await);
    let topic = TopicId::random();
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        store.fail(Call::Create, 1, fault);
        unknown(store.create(topic).await);
        applied(store.create(topic).await);
    }
    publish(&*store, topic, at(0), &["a", "b", "c"]).await;
    for (to, fault) in [(1, Fault::LoseReply), (2, Fault::LoseRequest)] {
        store.fail(Call::Trim, 1, fault);
        unknown(store.trim(topic, Offset(to)).await);
        assert_eq!(applied(store.trim(topic, Offset(to)).await).start, Offset(to));
    }
    // A close that took effect answers `Closed` when it is sent again: definite, but headless.
    store.fail(Call::Close, 1, Fault::LoseReply);
    unknown(store.close(topic).await);
    closed(store.close(topic).await);
}

pub(crate) async fn a_restart_keeps_messages_heads_and_starts<F: Fixture>(fixture: &F) {
    let mut store = fixture.open().await;
    let empty = new_topic(&*store).await;
    let trimmed = new_topic(&*store).await;
    let full = new_topic(&*store).await;
    for n in 0..6 {
        // Over several days, so that the figures of days are part of it.
        publish(&*store, trimmed, at(n * 50_000), &["t", "QUFB"]).await;
        publish(&*store, full, at(n * 50_000), &[format!("{n}")]).await;
    }
    applied(store.trim(trimmed, Offset(5)).await);
    let topics = [empty, trimmed, full];
    let mut before = Vec::new();
    for topic in topics {
        before.push((store.head(topic).await.unwrap(), everything(&*store, topic).await));
    }
    for how in Restart::BOTH {
        store = how.of(fixture, store).await;
        for (topic, (head, entries)) in topics.into_iter().zip(&before) {
            assert_eq!(store.head(topic).await.unwrap(), *head, "{how:?}");
            assert_eq!(everything(&*store, topic).await, *entries, "{how:?}");
        }
        assert_eq!(store.topics().await.unwrap().len(), topics.len());
        assert_eq!(store.find_time(trimmed, Time(0)).await.unwrap(), Some(Offset(5)));
        // A start never moves back, whoever asks.
        assert_eq!(applied(store.trim(trimmed, Offset(1)).await).start, Offset(5));
    }
    // And it goes on where it was.
    assert_eq!(publish(&*store, empty, at(0), &["first"]).await.base, Offset(0));
    assert_eq!(publish(&*store, full, at(400_000), &["next"]).await.base, Offset(6));
}

pub(crate) async fn a_restart_keeps_what_was_submitted_one_behind_the_other<F: Fixture>(
    fixture: &F,
) {
    let mut store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let mut written = Vec::new();
    for how in Restart::BOTH {
        let head = store.head(topic).await.unwrap().unwrap();
        let entries = chain(head, 20);
        let commits = entries.iter().map(|entry| store.commit(topic, Arc::clone(entry)));
        for answer in within(join_all(commits)).await {
            applied(answer);
        }
        written.extend(entries);
        store = how.of(fixture, store).await;
        assert_eq!(everything(&*store, topic).await, written, "{how:?}");
    }
}

pub(crate) async fn a_closed_life_stays_closed_after_a_restart<F: Fixture>(fixture: &F) {
    let mut store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let first = publish(&*store, topic, at(0), &["a"]).await;
    let open = new_topic(&*store).await;
    let head = applied(store.close(topic).await);
    for how in Restart::BOTH {
        store = how.of(fixture, store).await;
        is_closed(&*store, topic, &head, &first).await;
        assert_eq!(store.topics().await.unwrap(), [open]);
    }
}

pub(crate) async fn an_entry_from_before_a_restart_is_known<F: Fixture>(fixture: &F) {
    let mut store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let first = publish(&*store, topic, at(0), &["a"]).await;
    let second = publish(&*store, topic, at(0), &["b"]).await;
    let head = store.head(topic).await.unwrap().unwrap();
    for how in Restart::BOTH {
        store = how.of(fixture, store).await;
        for again in [&second, &first] {
            assert_eq!(applied(store.commit(topic, Arc::clone(again)).await), head);
        }
        let other = Entry { batch: batch(&["x"]), ..(*first).clone() };
        conflict(store.commit(topic, Arc::new(other)).await);
        assert_eq!(everything(&*store, topic).await, [Arc::clone(&first), Arc::clone(&second)]);
    }
}
