//! Laws of [`Catalog`](crate::store::Catalog).

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::*;
use crate::domain::UserId;
use crate::store::{Call, Catalog as _, ChangeSet, Fault, FaultyStore, KEPT_CHANGES, ScopeState};

/// The objects of a scope as texts.
async fn objects(store: &dyn Store, scope: Scope) -> Vec<(String, String)> {
    let state = store.load_scope(scope).await.unwrap();
    let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
    state.objects.into_iter().map(|(key, value)| (key, text(value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) async fn a_scope_never_written_is_empty_at_version_0<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    for scope in [Scope::Service, new_scope()] {
        assert_eq!(store.load_scope(scope).await.unwrap(), ScopeState::default());
        assert_eq!(store.changes_since(scope, 0).await.unwrap(), Some(vec![]));
        conflict(store.commit_scope(scope, 1, vec![put("a", "1")], by("x")).await);
    }
    assert_eq!(store.scopes().await.unwrap(), []);
}

pub(crate) async fn changes_are_applied_together<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let scope = new_scope();
    let first = vec![put("a", "1"), put("b", "2"), put("c", "3")];
    assert_eq!(applied(store.commit_scope(scope, 0, first, by("x")).await), 1);
    let second = vec![put("b", "two"), delete("a"), delete("absent"), put("d", "4")];
    assert_eq!(applied(store.commit_scope(scope, 1, second, by("x")).await), 2);
    let state = store.load_scope(scope).await.unwrap();
    assert_eq!(state.version, 2);
    assert_eq!(objects(&*store, scope).await, pairs(&[("b", "two"), ("c", "3"), ("d", "4")]));
}

pub(crate) async fn a_scope_lists_its_objects_ascending_by_key<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let keys = ["topic/b", "topic/a", "topic/B", "sub/z", "é", "topic/a/", "", "topic/10"];
    let changes = keys.iter().map(|key| put(key, key)).collect();
    applied(store.commit_scope(Scope::Service, 0, changes, by("x")).await);
    let mut sorted = keys.map(|key| (key, key));
    sorted.sort_unstable();
    assert_eq!(objects(&*store, Scope::Service).await, pairs(&sorted));
}

pub(crate) async fn keys_and_values_mean_nothing<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let scope = new_scope();
    let value = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let every_byte: Vec<u8> = (0..=255).collect();
    let wanted = vec![
        ("\0\n\"{}".to_owned(), value(b"")),
        ("k".repeat(5_000), value(&every_byte)),
        ("κλειδί".to_owned(), value(&[0; 100_000])),
    ];
    let changes = wanted.iter().map(|(key, value)| Change::Put(key.clone(), value.clone()));
    applied(store.commit_scope(scope, 0, changes.collect(), by("x")).await);
    assert_eq!(store.load_scope(scope).await.unwrap(), ScopeState { version: 1, objects: wanted });
}

pub(crate) async fn a_stale_version_is_a_conflict_and_writes_nothing<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let scope = new_scope();
    applied(store.commit_scope(scope, 0, vec![put("a", "1")], by("x")).await);
    applied(store.commit_scope(scope, 1, vec![put("a", "2")], by("x")).await);
    for wrong in [0, 1, 3, u64::MAX] {
        let changes = vec![put("a", "9"), put("b", "9")];
        conflict(store.commit_scope(scope, wrong, changes, by("y")).await);
    }
    assert_eq!(store.load_scope(scope).await.unwrap().version, 2);
    assert_eq!(objects(&*store, scope).await, pairs(&[("a", "2")]));
    assert_eq!(store.changes_since(scope, 0).await.unwrap().map(|sets| sets.len()), Some(2));
}

pub(crate) async fn of_concurrent_commits_one_is_applied<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    for version in 0..5 {
        let tasks = TaskTracker::new();
        let committers: Vec<_> = (0..16)
            .map(|n| {
                let (store, mine) = (Arc::clone(&store), format!("{n}"));
                tasks.spawn(async move {
                    let changes = vec![put("key", &mine)];
                    let answer = store.commit_scope(Scope::Service, version, changes, by(&mine));
                    match answer.await.unwrap() {
                        Outcome::Applied(after) => Some((after, mine)),
                        Outcome::Conflict => None,
                        other => panic!("{other:?}"),
                    }
                })
            })
            .collect();
        let mut won = Vec::new();
        for committer in committers {
            won.extend(within(committer).await.unwrap());
        }
        let [(after, value)] = won.as_slice() else { panic!("{won:?}") };
        assert_eq!(*after, version + 1);
        assert_eq!(objects(&*store, Scope::Service).await, pairs(&[("key", value)]));
    }
}

pub(crate) async fn concurrent_committers_lose_no_change<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let scope = new_scope();
    let tasks = TaskTracker::new();
    for n in 0..16 {
        let (store, key) = (Arc::clone(&store), format!("{n:02}"));
        tasks.spawn(async move {
            loop {
                let version = store.load_scope(scope).await.unwrap().version;
                let changes = vec![put(&key, "x")];
                match store.commit_scope(scope, version, changes, by(&key)).await.unwrap() {
                    Outcome::Applied(_) => return,
                    Outcome::Conflict => tokio::task::yield_now().await,
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    tasks.close();
    within(tasks.wait()).await;
    let state = store.load_scope(scope).await.unwrap();
    assert_eq!((state.version, state.objects.len()), (16, 16));
}

pub(crate) async fn changes_since_a_version_are_complete_and_in_order<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let scope = new_scope();
    let mut written = Vec::new();
    for version in 1..=5 {
        let user = (version % 2 == 0).then(UserId::random);
        let address = format!("192.0.2.{version}");
        let by = By { user, verb: format!("verb {version}"), time: at(version), address };
        let changes = vec![put("a", &version.to_string()), delete("b")];
        applied(store.commit_scope(scope, version - 1, changes.clone(), by.clone()).await);
        written.push(ChangeSet { version, changes, by });
    }
    for since in 0..=5 {
        let found = store.changes_since(scope, since as u64).await.unwrap();
        assert_eq!(found.as_deref(), Some(&written[since..]), "since {since}");
    }
}

pub(crate) async fn the_last_changes_are_kept<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let scope = new_scope();
    let last = KEPT_CHANGES as u64 + 50;
    for version in 0..last {
        let changes = vec![put(&format!("{}", version % 10), &version.to_string())];
        applied(store.commit_scope(scope, version, changes, by("x")).await);
    }
    let kept = store.changes_since(scope, 50).await.unwrap().expect("the last are kept");
    let versions: Vec<_> = kept.iter().map(|set| set.version).collect();
    assert_eq!(versions, (51..=last).collect::<Vec<_>>());
    // Further back it is all or nothing.
    if let Some(all) = store.changes_since(scope, 0).await.unwrap() {
        assert_eq!(all.len() as u64, last);
    }
}

pub(crate) async fn scopes_do_not_mix<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (one, two) = (new_scope(), new_scope());
    for (scope, value) in [(Scope::Service, "service"), (one, "one"), (two, "two")] {
        applied(store.commit_scope(scope, 0, vec![put("key", value)], by(value)).await);
    }
    applied(store.commit_scope(two, 1, vec![delete("key")], by("two")).await);
    assert_eq!(objects(&*store, Scope::Service).await, pairs(&[("key", "service")]));
    assert_eq!(objects(&*store, one).await, pairs(&[("key", "one")]));
    assert_eq!(objects(&*store, two).await, []);
    assert_eq!(store.changes_since(one, 0).await.unwrap().unwrap().len(), 1);
}

pub(crate) async fn every_scope_ever_written_is_listed<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (kept, emptied) = (new_scope(), new_scope());
    applied(store.commit_scope(kept, 0, vec![put("a", "1")], by("x")).await);
    applied(store.commit_scope(emptied, 0, vec![put("a", "1")], by("x")).await);
    applied(store.commit_scope(emptied, 1, vec![delete("a")], by("x")).await);
    let listed = store.scopes().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(BTreeSet::from_iter(listed), BTreeSet::from([kept, emptied]));
}

pub(crate) async fn a_lost_reply_of_a_commit_applies_it_once<F: Fixture>(fixture: &F) {
    let store = FaultyStore::over(fixture.open().await);
    let scope = new_scope();
    let mine = || store.commit_scope(scope, 0, vec![put("a", "mine")], by("mine"));
    store.fail(Call::CommitScope, 1, Fault::LoseReply);
    unknown(mine().await);
    assert_eq!(applied(mine().await), 1);
    // Also when somebody else has come behind it; and it is not written over that.
    applied(store.commit_scope(scope, 1, vec![put("a", "other")], by("other")).await);
    assert_eq!(applied(mine().await), 1);
    assert_eq!(objects(&*store, scope).await, pairs(&[("a", "other")]));
    assert_eq!(store.load_scope(scope).await.unwrap().version, 2);
    // The same changes by another hand are another commit.
    conflict(store.commit_scope(scope, 0, vec![put("a", "mine")], by("not me")).await);
    // A lost request has left nothing.
    let lost = || store.commit_scope(scope, 2, vec![delete("a")], by("mine"));
    store.fail(Call::CommitScope, 1, Fault::LoseRequest);
    unknown(lost().await);
    assert_eq!(store.load_scope(scope).await.unwrap().version, 2);
    assert_eq!(applied(lost().await), 3);
}

pub(crate) async fn a_restart_keeps_scopes<F: Fixture>(fixture: &F) {
    let mut store = fixture.open().await;
    let (full, emptied) = (new_scope(), new_scope());
    applied(store.commit_scope(emptied, 0, vec![put("a", "1")], by("x")).await);
    applied(store.commit_scope(emptied, 1, vec![delete("a")], by("x")).await);
    for (version, how) in (0..).zip(Restart::BOTH) {
        let changes = vec![put("same", &version.to_string()), put(&version.to_string(), "new")];
        applied(store.commit_scope(full, version, changes, by("x")).await);
        let before = store.load_scope(full).await.unwrap();
        store = how.of(fixture, store).await;
        assert_eq!(store.load_scope(full).await.unwrap(), before, "{how:?}");
        let state = ScopeState { version: 2, objects: Vec::new() };
        assert_eq!(store.load_scope(emptied).await.unwrap(), state, "{how:?}");
        let listed = BTreeSet::from_iter(store.scopes().await.unwrap());
        assert_eq!(listed, BTreeSet::from([full, emptied]), "{how:?}");
        // Never a part of the changes.
        if let Some(changes) = store.changes_since(full, 0).await.unwrap() {
            assert_eq!(changes.len() as u64, version + 1, "{how:?}");
        }
        let now = store.changes_since(full, version + 1).await.unwrap();
        assert!(now.is_none_or(|changes| changes.is_empty()));
        conflict(store.commit_scope(full, version, vec![delete("same")], by("y")).await);
    }
}
