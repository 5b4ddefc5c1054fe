//! Laws of [`ProgressLog`](crate::store::ProgressLog).

use std::collections::BTreeSet;

use tokio_util::task::TaskTracker;

use super::*;
use crate::domain::progress::{Clocks, Lease};
use crate::domain::{Counters, DeadLetter, HandedOut, Lost, Window};
use crate::store::{Call, Fault, FaultyStore, ProgressLog as _};

pub(crate) async fn a_record_never_saved_is_absent<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    assert_eq!(store.load(new_subscription()).await.unwrap(), None);
    assert_eq!(store.subscriptions().await.unwrap(), []);
}

/// A record in which no field has the value of another, or the one of a fresh record.
fn every_field() -> Progress {
    Progress {
        version: 1,
        topic: TopicId(uuid::Uuid::from_u128(2)),
        origin: Offset(3),
        position: Offset(4),
        frontier: Offset(5),
        high_water: Offset(6),
        window: Some(Window {
            start: Offset(7),
            end: Offset(8),
            pulled_at: Time(9),
            ams_bytes: 10,
            expired: true,
        }),
        acked_ahead: vec![(Offset(11), Offset(12)), (Offset(13), Offset(u64::MAX))],
        leases: vec![Lease {
            offset: Offset(14),
            until: Time(15),
            attempts: 16,
            number: 51,
            ams_bytes: 52,
        }],
        counters: Counters {
            enqueued_before: 17,
            delivered: 18,
            delivered_bytes: 19,
            redelivered: 20,
            acked: 21,
            acked_bytes: 22,
            late_acks: 23,
            refused_acks: 24,
            nacks: 25,
            extensions: 26,
            expired: 27,
            dead_lettered: 28,
            skipped: 29,
            replayed: 30,
            lost_never_acked: 31,
            lost: Lost { retention: 32, overflow: 33, topic_deleted: 34, damage: 35, purge: 36 },
        },
        clocks: Clocks {
            front_attempts: 37,
            last_pull: Time(38),
            last_delivery: Time(39),
            last_ack: Time(40),
            last_progress: Time(41),
            last_backward_seek: Time(42),
            excusing_seek: Time(43),
        },
        last_handed_out: Some(HandedOut { messages: 49, after: Time(50) }),
        last_dead_letter: Some(DeadLetter { offset: Offset(51), at: Time(52) }),
        writers: vec![(44, 45), (u64::MAX, 46)],
        requests: vec![[47; 16], [48; 16]],
    }
}

pub(crate) async fn a_record_comes_back_with_every_field<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let subscription = new_subscription();
    let first = every_field();
    applied(store.save(subscription, &first).await);
    assert_eq!(store.load(subscription).await.unwrap(), Some(first));
    // The next one replaces it as a whole.
    let second = progress(2, 100);
    applied(store.save(subscription, &second).await);
    assert_eq!(store.load(subscription).await.unwrap(), Some(second));
}

pub(crate) async fn saving_needs_the_version_before<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let subscription = new_subscription();
    for wrong in [0, 2, u64::MAX] {
        conflict(store.save(subscription, &progress(wrong, 9)).await);
        assert_eq!(store.load(subscription).await.unwrap(), None);
    }
    assert_eq!(store.subscriptions().await.unwrap(), []);
    applied(store.save(subscription, &progress(1, 1)).await);
    applied(store.save(subscription, &progress(2, 2)).await);
    for wrong in [0, 1, 2, 4, u64::MAX] {
        conflict(store.save(subscription, &progress(wrong, 9)).await);
        assert_eq!(store.load(subscription).await.unwrap(), Some(progress(2, 2)));
    }
    applied(store.save(subscription, &progress(3, 3)).await);
}

pub(crate) async fn of_concurrent_saves_one_is_applied<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let subscription = new_subscription();
    for version in 1..=5 {
        let tasks = TaskTracker::new();
        let savers: Vec<_> = (0..16)
            .map(|n| {
                let store = Arc::clone(&store);
                tasks.spawn(async move {
                    let mine = progress(version, n);
                    match store.save(subscription, &mine).await.unwrap() {
                        Outcome::Applied(()) => Some(mine),
                        Outcome::Conflict => None,
                        other => panic!("{other:?}"),
                    }
                })
            })
            .collect();
        let mut won = Vec::new();
        for saver in savers {
            won.extend(within(saver).await.unwrap());
        }
        assert_eq!(won.len(), 1);
        assert_eq!(store.load(subscription).await.unwrap(), won.pop());
    }
}

pub(crate) async fn concurrent_savers_lose_no_update<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let subscription = new_subscription();
    let tasks = TaskTracker::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            loop {
                let loaded = store.load(subscription).await.unwrap();
                let mut mine = loaded.unwrap_or_else(|| progress(0, 0));
                mine.version += 1;
                mine.counters.acked += 1;
                match store.save(subscription, &mine).await.unwrap() {
                    Outcome::Applied(()) => return,
                    Outcome::Conflict => tokio::task::yield_now().await,
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    tasks.close();
    within(tasks.wait()).await;
    let last = store.load(subscription).await.unwrap().unwrap();
    assert_eq!((last.version, last.counters.acked), (16, 16));
}

pub(crate) async fn records_do_not_mix<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (one, two) = (new_subscription(), new_subscription());
    applied(store.save(one, &progress(1, 10)).await);
    applied(store.save(one, &progress(2, 11)).await);
    applied(store.save(two, &progress(1, 20)).await);
    applied(store.delete(one).await);
    assert_eq!(store.load(one).await.unwrap(), None);
    assert_eq!(store.load(two).await.unwrap(), Some(progress(1, 20)));
}

pub(crate) async fn a_deleted_record_is_forgotten<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let subscription = new_subscription();
    applied(store.delete(subscription).await);
    applied(store.save(subscription, &progress(1, 1)).await);
    applied(store.save(subscription, &progress(2, 2)).await);
    applied(store.delete(subscription).await);
    applied(store.delete(subscription).await);
    assert_eq!(store.load(subscription).await.unwrap(), None);
    conflict(store.save(subscription, &progress(3, 3)).await);
    applied(store.save(subscription, &progress(1, 4)).await);
    assert_eq!(store.load(subscription).await.unwrap(), Some(progress(1, 4)));
}

pub(crate) async fn every_subscription_with_a_record_is_listed<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let mut saved = BTreeSet::new();
    for _ in 0..5 {
        let subscription = new_subscription();
        applied(store.save(subscription, &progress(1, 0)).await);
        applied(store.save(subscription, &progress(2, 0)).await);
        saved.insert(subscription);
    }
    let deleted = saved.pop_first().unwrap();
    applied(store.delete(deleted).await);
    let listed = store.subscriptions().await.unwrap();
    assert_eq!(listed.len(), saved.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), saved);
}

pub(crate) async fn a_lost_reply_of_a_save_shows_when_it_is_loaded<F: Fixture>(fixture: &F) {
    let store = FaultyStore::over(fixture.open().await);
    let subscription = new_subscription();
    store.fail(Call::Save, 1, Fault::LoseReply);
    unknown(store.save(subscription, &progress(1, 1)).await);
    assert_eq!(store.load(subscription).await.unwrap(), Some(progress(1, 1)));
    conflict(store.save(subscription, &progress(1, 1)).await);
    store.fail(Call::Save, 1, Fault::LoseRequest);
    unknown(store.save(subscription, &progress(2, 2)).await);
    assert_eq!(store.load(subscription).await.unwrap(), Some(progress(1, 1)));
    applied(store.save(subscription, &progress(2, 2)).await);
    store.fail(Call::Delete, 1, Fault::LoseReply);
    unknown(store.delete(subscription).await);
    applied(store.delete(subscription).await);
    assert_eq!(store.load(subscription).await.unwrap(), None);
}

pub(crate) async fn a_restart_keeps_records_and_deletions<F: Fixture>(fixture: &F) {
    let mut store = fixture.open().await;
    let (full, changed, deleted) = (new_subscription(), new_subscription(), new_subscription());
    applied(store.save(full, &every_field()).await);
    applied(store.save(changed, &progress(1, 1)).await);
    applied(store.save(deleted, &progress(1, 1)).await);
    applied(store.delete(deleted).await);
    for (version, how) in (2..).zip(Restart::BOTH) {
        applied(store.save(changed, &progress(version, version)).await);
        store = how.of(fixture, store).await;
        assert_eq!(store.load(full).await.unwrap(), Some(every_field()), "{how:?}");
        assert_eq!(store.load(changed).await.unwrap(), Some(progress(version, version)));
        assert_eq!(store.load(deleted).await.unwrap(), None, "{how:?}");
        let listed: BTreeSet<_> = store.subscriptions().await.unwrap().into_iter().collect();
        assert_eq!(listed, BTreeSet::from([full, changed]));
        conflict(store.save(changed, &progress(version, 9)).await);
    }
    applied(store.save(deleted, &progress(1, 5)).await);
}
