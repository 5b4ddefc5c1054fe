//! The store on a real directory: what is written is there, also after a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::power::{tiny, waiting};
use super::sim::Sim;
use super::{by, entry};
use crate::domain::{Head, Offset, Progress, SubscriptionId, Time, TopicId};
use crate::store::embedded::queue::Op;
use crate::store::embedded::{OpenError, Settings, lock, open, recover};
use crate::store::{Change, Limits, Outcome, Scope, Store, StoreError};

const ALL: Limits = Limits { messages: u64::MAX, bytes: u64::MAX };

async fn reopen(dir: &Path) -> Arc<dyn Store> {
    open(dir, Settings::small()).await.unwrap()
}

#[tokio::test]
async fn what_is_committed_is_scanned_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = reopen(dir.path()).await;
    let (topic, subscription) = (TopicId::random(), SubscriptionId::random());
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    let mut head = Head::default();
    let mut written = Vec::new();
    // Several slots' worth.
    for tag in 0..200 {
        let entry = entry(&head, tag, 3, 500);
        head = head.after(&entry);
        let outcome = store.commit(topic, Arc::clone(&entry)).await.unwrap();
        assert_eq!(outcome, Outcome::Applied(head.clone()));
        written.push(entry);
    }
    let mut progress = Progress::fresh(topic, Offset(0));
    progress.version = 1;
    assert_eq!(store.save(subscription, &progress).await.unwrap(), Outcome::Applied(()));
    let put = vec![Change::Put(String::from("k"), Bytes::from_static(b"v"))];
    let outcome = store.commit_scope(Scope::Service, 0, put.clone(), by()).await.unwrap();
    assert_eq!(outcome, Outcome::Applied(1));
    // Sent again it is the same commit, as long as the process runs.
    let again = store.commit_scope(Scope::Service, 0, put, by()).await.unwrap();
    assert_eq!(again, Outcome::Applied(1));

    let id = store.id();
    assert_eq!(store.scan(topic, Offset(0), ALL).await.unwrap(), written);
    store.close_store().await.unwrap();
    store.close_store().await.unwrap();
    assert!(matches!(store.head(topic).await, Err(StoreError::Stopped)));
    assert!(matches!(store.create(topic).await, Err(StoreError::Stopped)));
    drop(store);
    let store = reopen(dir.path()).await;
    assert_eq!(store.id(), id);
    assert_eq!(store.head(topic).await.unwrap(), Some(head.clone()));
    assert_eq!(store.scan(topic, Offset(0), ALL).await.unwrap(), written);
    assert_eq!(store.load(subscription).await.unwrap(), Some(progress));
    assert_eq!(store.load_scope(Scope::Service).await.unwrap().version, 1);
    // The same things again are answered as applied; others in their place are not.
    let again = store.commit(topic, Arc::clone(&written[7])).await.unwrap();
    assert_eq!(again, Outcome::Applied(head));
    let other = entry(&Head::default(), 9_999, 3, 500);
    assert_eq!(store.commit(topic, other).await.unwrap(), Outcome::Conflict);
    let other = store.commit_scope(Scope::Service, 0, Vec::new(), by()).await.unwrap();
    assert_eq!(other, Outcome::Conflict);
    drop(store);
    // Dropped without a clean stop.
    let store = reopen(dir.path()).await;
    assert_eq!(store.scan(topic, Offset(0), ALL).await.unwrap(), written);
}

#[tokio::test]
async fn a_second_opening_of_a_directory_is_refused_until_the_first_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = reopen(dir.path()).await;
    let second = open(dir.path(), Settings::small()).await;
    assert!(matches!(second.err(), Some(OpenError::InUse(path)) if path == dir.path()));
    store.close_store().await.unwrap();
    let second = reopen(dir.path()).await;
    drop(store);
    drop(second);
    reopen(dir.path()).await;
}

/// The lock of a store that was dropped in the middle of its close is still that store's.
#[test]
fn the_lock_is_kept_until_the_last_thread_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, sim) = (tokio::runtime::Runtime::new().unwrap(), Sim::new(4));
    let store = recover(Arc::clone(&sim) as _, tiny(), Time(0)).unwrap();
    // Every thread stands still in its next call of the disk.
    let disk = sim.state();
    let (waiting, _receiver) = waiting(&Op::Create(TopicId::random()));
    store.shared.submit(waiting).unwrap();
    let store = store.start(Some(lock(dir.path()).unwrap())).unwrap();
    runtime.block_on(async {
        let close = tokio::time::timeout(Duration::from_millis(20), store.close_store());
        assert!(close.await.is_err(), "the threads cannot have ended");
    });
    drop(store);
    assert!(matches!(lock(dir.path()), Err(OpenError::InUse(_))));
    drop(disk);
    drop(runtime);
    while let Err(OpenError::InUse(_)) = lock(dir.path()) {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_committer_that_panics_leaves_nobody_waiting() {
    let sim = Sim::new(3);
    // Each mutation is a frame of its own.
    let store =
        recover(Arc::clone(&sim) as _, Settings { frame_bytes: 1, ..tiny() }, Time(0)).unwrap();
    let (first, in_flight) = waiting(&Op::Create(TopicId::random()));
    let (second, queued) = waiting(&Op::Create(TopicId::random()));
    store.shared.submit(first).unwrap();
    store.shared.submit(second).unwrap();
    sim.state().panics = true;
    let store = store.start(None).unwrap();
    let wait = Duration::from_secs(5);
    assert!(store.stopped().await.contains("panicked"));
    // The first was in flight or not even begun; the second was surely not begun.
    let first = tokio::time::timeout(wait, in_flight).await.expect("somebody waits for ever");
    assert!(matches!(first, None | Some(Err(StoreError::Stopped))));
    let second = tokio::time::timeout(wait, queued).await.expect("somebody waits for ever");
    assert!(matches!(second, Some(Err(StoreError::Stopped))));
    assert!(matches!(store.close_store().await, Err(StoreError::Stopped)));
}

#[tokio::test]
async fn damage_met_by_a_read_fails_that_range_alone_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Settings { cache_bytes: 0, ..Settings::small() }).await.unwrap();
    let topic = TopicId::random();
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    let mut head = Head::default();
    for tag in 0..3 {
        let entry = entry(&head, tag, 1, 1_000);
        head = head.after(&entry);
        let outcome = store.commit(topic, entry).await.unwrap();
        assert_eq!(outcome, Outcome::Applied(head.clone()));
    }
    let path = dir.path().join("e000");
    let content = std::fs::read(&path).unwrap();
    let place = content.windows(4).position(|bytes| bytes == b"1/0:").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"9", place as u64).unwrap();

    let one = Limits { messages: 1, bytes: u64::MAX };
    assert_eq!(store.scan(topic, Offset(0), one).await.unwrap().len(), 1);
    assert_eq!(store.scan(topic, Offset(2), one).await.unwrap().len(), 1);
    match store.scan(topic, Offset(1), one).await {
        Err(StoreError::Corrupt(what)) => assert!(what.contains("e000 at offset"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_too_large_is_full_and_a_full_queue_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { queue_bytes: 2_000, ..Settings::small() };
    let store = open(dir.path(), settings).await.unwrap();
    let topic = TopicId::random();
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    let large = entry(&Head::default(), 1, 1, 60_000);
    assert!(matches!(store.commit(topic, large).await, Err(StoreError::Full)));
    // A thousand at once: each is applied or refused by name, none is lost.
    let mut asked = Vec::new();
    for number in 0..1_000 {
        let subscription = SubscriptionId(uuid::Uuid::from_u128(number));
        let mut progress = Progress::fresh(topic, Offset(0));
        progress.version = 1;
        let store = Arc::clone(&store);
        asked.push(async move { (subscription, store.save(subscription, &progress).await) });
    }
    let (mut applied, mut refused) = (0, 0);
    for (subscription, answer) in futures_util::future::join_all(asked).await {
        let stored = store.load(subscription).await.unwrap().is_some();
        match answer {
            Ok(Outcome::Applied(())) => applied += usize::from(stored),
            Err(StoreError::Unavailable) => refused += usize::from(!stored),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(applied + refused, 1_000);
    assert!(applied > 0 && refused > 0, "{applied} {refused}");
}

#[tokio::test]
async fn it_may_be_let_go_of_on_its_own_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (store, topic) = (reopen(dir.path()).await, TopicId::random());
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    let (tell, told) = tokio::sync::oneshot::channel();
    crate::inline::spawn(&tokio::runtime::Handle::current(), async move {
        let outcome = store.commit(topic, entry(&Head::default(), 1, 2, 100)).await;
        drop(store);
        let thread = std::thread::current().name().map(String::from);
        tell.send((outcome, thread)).unwrap();
    });
    let (outcome, thread) = told.await.unwrap();
    assert!(matches!(outcome, Ok(Outcome::Applied(_))));
    assert_eq!(thread.as_deref(), Some("entry-log"));
    // That thread gives the directory back when it has ended.
    let opened = async {
        loop {
            match open(dir.path(), Settings::small()).await {
                Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                opened => return opened.unwrap(),
            }
        }
    };
    let store = tokio::time::timeout(Duration::from_secs(30), opened).await.unwrap();
    assert_eq!(store.head(topic).await.unwrap().map(|head| head.next), Some(Offset(2)));
}
