//! Unknown outcomes on a real connection, what an append costs, and two processes on one store.

use std::sync::Arc;
use std::time::Duration;

use super::proxy::{Loss, Proxy};
use super::{Cassandra, node};
use crate::domain::{BatchBuilder, Entry, Head, Offset, Progress, SubscriptionId, Time, TopicId};
use crate::store::scylla::{ScyllaStore, Settings, life, make};
use crate::store::{
    Answer, By, Catalog as _, Change, Limits, MessageLog as _, Outcome, ProgressLog as _, Scope,
    StoreError,
};

const ALL: Limits = Limits { messages: u64::MAX, bytes: u64::MAX };

fn entry(head: &Head, text: &str) -> Arc<Entry> {
    let mut builder = BatchBuilder::default();
    builder.push::<&str, &str>(&[], text);
    Arc::new(head.entry(Time::from_secs(1_750_000_000), builder.finish(), Vec::new()))
}

#[track_caller]
fn applied<T: std::fmt::Debug>(answer: Answer<T>) -> T {
    match answer {
        Ok(Outcome::Applied(value)) => value,
        other => panic!("expected Applied, got {other:?}"),
    }
}

#[track_caller]
fn unknown<T: std::fmt::Debug>(answer: Answer<T>) {
    assert!(matches!(answer, Ok(Outcome::Unknown)), "expected Unknown, got {answer:?}");
}

/// A store behind a relay, that gives up soon.
async fn behind_a_proxy(segment_entries: u32) -> (Proxy, ScyllaStore) {
    let proxy = Proxy::before(&node()).await;
    let settings = Settings {
        contact_points: vec![proxy.address.to_string()],
        request_timeout: Duration::from_secs(2),
        segment_entries,
        ..Cassandra::new().settings
    };
    (proxy, make(settings).await.unwrap())
}

/// Asks again while there is no connection: nothing was tried then.
async fn answered<T, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> T {
    for _ in 0..200 {
        match ask().await {
            Err(StoreError::Unavailable) => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return answer.unwrap(),
        }
    }
    panic!("no connection came back");
}

/// Sends again until the answer is definite; whether that was more than once. The lost connection
/// may have taken others with it, and a busy node may be too slow again. It waits between two
/// tries: while a pool is being filled again, the driver's answers come at once.
async fn definite<T, F: Future<Output = Answer<T>>>(ask: impl Fn() -> F) -> (Outcome<T>, bool) {
    for tried in 0..200 {
        match answered(&ask).await {
            Outcome::Unknown => tokio::time::sleep(Duration::from_millis(50)).await,
            outcome => return (outcome, tried > 0),
        }
    }
    panic!("it never became definite");
}

/// Every mutation loses its first conditional write in this way, is unknown by that, and becomes
/// definite when it is sent again.
async fn every_mutation_becomes_definite(loss: Loss) {
    let (proxy, store) = behind_a_proxy(20_000).await;
    let topic = TopicId::random();

    proxy.lose_next(loss);
    unknown(store.create(topic).await);
    applied(Ok(definite(|| store.create(topic)).await.0));

    let mut head = Head::default();
    for text in ["a", "b"] {
        let entry = entry(&head, text);
        proxy.lose_next(loss);
        unknown(store.commit(topic, Arc::clone(&entry)).await);
        assert!(proxy.has_lost());
        head = head.after(&entry);
        let outcome = definite(|| store.commit(topic, Arc::clone(&entry))).await.0;
        assert_eq!(applied(Ok(outcome)), head);
    }
    assert_eq!(store.scan(topic, Offset(0), ALL).await.unwrap().len(), 2, "each is there once");

    proxy.lose_next(loss);
    unknown(store.trim(topic, Offset(1)).await);
    assert_eq!(applied(Ok(definite(|| store.trim(topic, Offset(1))).await.0)).start, Offset(1));

    proxy.lose_next(loss);
    unknown(store.close(topic).await);
    match definite(|| store.close(topic)).await {
        (Outcome::Applied(last), _) if loss == Loss::Request => assert_eq!(last.next, head.next),
        (Outcome::Closed, again) if again || loss != Loss::Request => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(store.head(topic).await.unwrap(), None);

    let subscription = SubscriptionId::random();
    for version in 1..=2 {
        let mut progress = Progress::fresh(topic, Offset(version));
        progress.version = version;
        proxy.lose_next(loss);
        unknown(store.save(subscription, &progress).await);
        // Whoever saves looks for itself.
        while answered(|| store.load(subscription)).await.as_ref() != Some(&progress) {
            assert_eq!(loss, Loss::Request);
            match answered(|| store.save(subscription, &progress)).await {
                Outcome::Applied(()) | Outcome::Unknown => {}
                other => panic!("{other:?}"),
            }
        }
    }
    proxy.lose_next(loss);
    unknown(store.delete(subscription).await);
    applied(Ok(definite(|| store.delete(subscription)).await.0));
    assert_eq!(store.load(subscription).await.unwrap(), None);

    let by =
        By { user: None, verb: "x".to_owned(), time: Time::from_secs(1), address: String::new() };
    let changes = vec![Change::Put("key".to_owned(), "value".into())];
    let commit = || store.commit_scope(Scope::Service, 0, changes.clone(), by.clone());
    proxy.lose_next(loss);
    unknown(commit().await);
    assert_eq!(applied(Ok(definite(commit).await.0)), 1);
    let sets = store.changes_since(Scope::Service, 0).await.unwrap().unwrap();
    assert_eq!(sets.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn a_swallowed_reply_is_unknown_and_found_applied() {
    Box::pin(every_mutation_becomes_definite(Loss::Reply)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn a_lost_request_is_unknown_and_applied_then() {
    Box::pin(every_mutation_becomes_definite(Loss::Request)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn a_broken_connection_is_unknown_and_found_applied() {
    Box::pin(every_mutation_becomes_definite(Loss::Connection)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn an_append_is_one_statement_and_a_large_one_two() {
    let (proxy, store) = behind_a_proxy(20_000).await;
    let topic = TopicId::random();
    applied(store.create(topic).await);
    let mut head = Head::default();
    // Not base64, which would be kept decoded.
    let (large, largest) = ("!".repeat(17 << 10), "!".repeat(1 << 20));
    for (text, expected) in [("!", 1), (large.as_str(), 2), (largest.as_str(), 4)] {
        drop(proxy.executed());
        for _ in 0..10 {
            head = applied(store.commit(topic, entry(&head, text)).await);
        }
        let executed = proxy.executed();
        let count: u64 = executed.iter().map(|(_, count)| count).sum();
        assert_eq!(count, expected * 10, "{executed:#?}");
    }
    // A reader that knows the head asks once for what it wants.
    drop(proxy.executed());
    let limits = Limits { messages: 1, bytes: u64::MAX };
    assert_eq!(store.scan(topic, Offset(3), limits).await.unwrap().len(), 1);
    assert_eq!(store.head(topic).await.unwrap(), Some(head));
    let executed = proxy.executed();
    assert_eq!(executed.iter().map(|(_, count)| count).sum::<u64>(), 1, "{executed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn a_caller_that_goes_away_leaves_nothing_half_known() {
    let store = make(Cassandra::new().settings).await.unwrap();
    let topic = TopicId::random();
    applied(store.create(topic).await);
    let mut head = Head::default();
    for round in 0..40 {
        let entry = entry(&head, &round.to_string());
        let patience = Duration::from_micros(100 * round);
        drop(tokio::time::timeout(patience, store.commit(topic, Arc::clone(&entry))).await);
        head = head.after(&entry);
        assert_eq!(applied(store.commit(topic, entry).await), head);
    }
    assert_eq!(store.scan(topic, Offset(0), ALL).await.unwrap().len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn two_processes_lose_and_double_nothing() {
    let settings = Cassandra::new().settings;
    let stores = [make(settings.clone()).await.unwrap(), make(settings).await.unwrap()];
    let topic = TopicId::random();
    applied(stores[0].create(topic).await);
    let publish = async |store: &ScyllaStore, name: &str| {
        let mut mine = Vec::new();
        for round in 0..20 {
            let text = format!("{name} {round}");
            loop {
                let entry = entry(&store.head(topic).await.unwrap().unwrap(), &text);
                // What is unknown is sent again as it was.
                let outcome = loop {
                    match store.commit(topic, Arc::clone(&entry)).await.unwrap() {
                        Outcome::Unknown => {}
                        outcome => break outcome,
                    }
                };
                match outcome {
                    Outcome::Applied(_) => break mine.push(entry),
                    Outcome::Conflict => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        mine
    };
    let (mut all, more) = tokio::join!(publish(&stores[0], "one"), publish(&stores[1], "two"));
    all.extend(more);
    all.sort_by_key(|entry| entry.base);
    // One of them may not have heard of the last: a commit that is too late tells it.
    let fresh = Head { next: Offset(39), ..Head::default() };
    for store in &stores {
        let late = store.commit(topic, entry(&fresh, "late")).await;
        assert!(matches!(late, Ok(Outcome::Conflict)), "{late:?}");
    }
    for store in &stores {
        assert_eq!(store.scan(topic, Offset(0), ALL).await.unwrap(), all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn who_slept_over_a_close_makes_no_segment_of_the_closed_life() {
    let settings = Settings { segment_entries: 1, ..Cassandra::new().settings };
    let (store, slow) = (make(settings.clone()).await.unwrap(), make(settings).await.unwrap());
    let topic = TopicId::random();
    applied(store.create(topic).await);
    let head = applied(store.commit(topic, entry(&Head::default(), "seals")).await);
    // This one has seen the seal and sleeps.
    let seen = slow.read_segment(topic, 0).await.unwrap().unwrap();
    assert_eq!(seen.state, life::SEALED);
    // Meanwhile the life goes on, is closed, and its later segments are given back.
    assert_eq!(store.head(topic).await.unwrap(), Some(head));
    applied(store.close(topic).await);
    let drop_segment = &store.cql.say.drop_segment;
    store.cql.write(drop_segment, (topic.0, 1)).await.unwrap();

    assert_eq!(slow.next_segment(topic, 0, &seen).await.unwrap(), None);
    assert!(slow.read_segment(topic, 1).await.unwrap().is_none());
    assert_eq!(slow.head(topic).await.unwrap(), None);
    assert!(matches!(slow.create(topic).await, Ok(Outcome::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra"]
async fn a_payload_that_is_gone_is_damage_not_silence() {
    let fixture = Cassandra::new();
    let store = make(fixture.settings.clone()).await.unwrap();
    let topic = TopicId::random();
    applied(store.create(topic).await);
    let head = applied(store.commit(topic, entry(&Head::default(), &"!".repeat(1 << 20))).await);
    applied(store.commit(topic, entry(&head, "after")).await);
    store.cql.session.query_unpaged("TRUNCATE log_payload", ()).await.unwrap();
    let error = store.scan(topic, Offset(0), ALL).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    // What lies behind it can be read.
    assert_eq!(store.scan(topic, Offset(1), ALL).await.unwrap().len(), 1);
}
