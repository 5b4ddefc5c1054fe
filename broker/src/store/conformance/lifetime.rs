//! Laws of [`Store`]: identity, closing, and the three promises over many restarts.

use futures_util::poll;

use super::*;
use crate::store::StoreError;

pub(crate) async fn an_id_survives_a_restart<F: Fixture>(fixture: &F) {
    let mut store = fixture.open().await;
    let id = store.id();
    for how in Restart::BOTH {
        store = how.of(fixture, store).await;
        assert_eq!(store.id(), id, "{how:?}");
    }
    assert_ne!(crate::store::memory().id(), id);
}

pub(crate) async fn an_open_store_has_not_stopped<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    new_topic(&*store).await;
    let mut stopped = store.stopped();
    assert!(poll!(&mut stopped).is_pending());
    store.close_store().await.unwrap();
    // With a reason for the log.
    assert_ne!(&*within(stopped).await, "");
    assert_ne!(&*within(store.stopped()).await, "");
}

pub(crate) async fn a_closed_store_answers_stopped<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let (subscription, scope) = (new_subscription(), Scope::Service);
    let first = publish(&*store, topic, at(0), &["a"]).await;
    applied(store.save(subscription, &progress(1, 0)).await);
    applied(store.commit_scope(scope, 0, vec![put("a", "1")], by("x")).await);
    store.close_store().await.unwrap();
    let s = &*store;
    stopped(s.create(topic).await);
    stopped(s.create(TopicId::random()).await);
    stopped(s.commit(topic, first).await);
    stopped(s.head(topic).await);
    stopped(s.scan(topic, Offset(0), ALL).await);
    stopped(s.find_time(topic, at(0)).await);
    stopped(s.trim(topic, Offset(0)).await);
    stopped(s.topics().await);
    stopped(s.close(topic).await);
    stopped(s.load(subscription).await);
    stopped(s.save(subscription, &progress(2, 0)).await);
    stopped(s.delete(subscription).await);
    stopped(s.subscriptions().await);
    stopped(s.load_scope(scope).await);
    stopped(s.changes_since(scope, 0).await);
    stopped(s.commit_scope(scope, 1, vec![delete("a")], by("x")).await);
    stopped(s.scopes().await);
    // None of that was written.
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.topics().await.unwrap(), [topic]);
    assert_eq!(texts(&everything(&*store, topic).await), ["a"]);
    assert_eq!(store.load(subscription).await.unwrap(), Some(progress(1, 0)));
    assert_eq!(store.load_scope(scope).await.unwrap().version, 1);
}

#[track_caller]
fn stopped<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Stopped)), "expected Stopped, got {answer:?}");
}

pub(crate) async fn closing_twice_is_lawful<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let topic = new_topic(&*store).await;
    store.close_store().await.unwrap();
    within(store.close_store()).await.unwrap();
    drop(store);
    assert_eq!(fixture.open().await.topics().await.unwrap(), [topic]);
}

pub(crate) async fn what_was_confirmed_survives_restart_after_restart<F: Fixture>(fixture: &F) {
    let mut store = fixture.open().await;
    let topic = new_topic(&*store).await;
    let subscription = new_subscription();
    let mut entries = Vec::new();
    for round in 0..12 {
        assert_eq!(everything(&*store, topic).await, entries);
        entries.push(publish(&*store, topic, at(round), &[format!("{round}")]).await);
        applied(store.save(subscription, &progress(round + 1, round)).await);
        let changes = vec![put("round", &round.to_string())];
        applied(store.commit_scope(Scope::Service, round, changes, by("x")).await);
        let how = if round % 3 == 0 { Restart::Clean } else { Restart::Abrupt };
        store = how.of(fixture, store).await;
        assert_eq!(store.load(subscription).await.unwrap(), Some(progress(round + 1, round)));
        assert_eq!(store.load_scope(Scope::Service).await.unwrap().version, round + 1);
    }
}
