//! Backup, restore, check: on real directories, under load, with damage.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry;
use crate::domain::{Head, Offset, TopicId};
use crate::store::embedded::{
    CopyError, CopyStage, Settings, backup, check, check_backup, open, restore,
};
use crate::store::{CopyProgress, Damage, Limits, Outcome, Store};

fn silent() -> CopyProgress {
    Arc::new(|_, _, _| {})
}

/// Slots so small that a few hundred entries switch them often.
fn settings() -> Settings {
    Settings { ..Settings::small() }
}

async fn publish(store: &Arc<dyn Store>, topic: TopicId, head: &Head, tag: u64) -> Head {
    match store.commit(topic, entry(head, tag, 3, 700)).await.unwrap() {
        Outcome::Applied(head) => head,
        other => panic!("{other:?}"),
    }
}

/// What the topic holds, each entry as its messages' bytes.
async fn content(store: &Arc<dyn Store>, topic: TopicId) -> Vec<Vec<u8>> {
    let all = Limits { messages: u64::MAX, bytes: u64::MAX };
    let entries = store.scan(topic, Offset(0), all).await.unwrap();
    entries.iter().map(|entry| entry.batch.packed().to_vec()).collect()
}

/// A closed store with a few slots of messages in one topic.
async fn made(dir: &Path, entries: u64) -> TopicId {
    let store = open(dir, settings()).await.unwrap();
    let topic = TopicId::random();
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    let mut head = Head::default();
    for tag in 0..entries {
        head = publish(&store, topic, &head, tag).await;
    }
    store.close_store().await.unwrap();
    topic
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_a_prefix_that_holds_all_that_was_answered_before() {
    let home = tempfile::tempdir().unwrap();
    let live = home.path().join("live");
    let store = open(&live, settings()).await.unwrap();
    let topic = TopicId::random();
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    let mut head = Head::default();
    for tag in 0..400 {
        head = publish(&store, topic, &head, tag).await;
    }
    let go_on = Arc::new(AtomicBool::new(true));
    let writer = {
        let (store, go_on, mut head) = (Arc::clone(&store), Arc::clone(&go_on), head.clone());
        tokio_util::task::TaskTracker::new().spawn(async move {
            let mut tag = 400;
            while go_on.load(Ordering::Relaxed) {
                head = publish(&store, topic, &head, tag).await;
                tag += 1;
            }
        })
    };
    for round in 0..3 {
        let answered = store.head(topic).await.unwrap().unwrap();
        let copy = home.path().join(format!("copy{round}"));
        let planned = store.backup(&copy, true, silent()).await.unwrap();
        assert!(planned.bytes > 0 && !copy.exists(), "a dry run writes nothing");
        let copied = store.backup(&copy, false, silent()).await.unwrap();
        assert_eq!(copied.checked.damage, vec![]);
        let back = home.path().join(format!("back{round}"));
        restore(&copy, Some(&back), silent()).await.unwrap();
        let restored = open(&back, settings()).await.unwrap();
        assert_ne!(restored.id(), store.id(), "a store of its own");
        let end = restored.head(topic).await.unwrap().unwrap();
        assert!(end.next >= answered.next, "what was answered before the cut is in it");
        let (now, then) = (content(&store, topic).await, content(&restored, topic).await);
        assert_eq!(now[..then.len()], then, "a prefix of the history");
        // It is a store like any other.
        publish(&restored, topic, &end, 1_000_000).await;
        restored.close_store().await.unwrap();
        assert!(open(&back, settings()).await.unwrap().head(topic).await.unwrap().is_some());
    }
    go_on.store(false, Ordering::Relaxed);
    writer.await.unwrap();
    store.close_store().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_is_copied_too_and_never_over_something() {
    let home = tempfile::tempdir().unwrap();
    let (live, copy, back) =
        (home.path().join("live"), home.path().join("copy"), home.path().join("back"));
    let topic = made(&live, 200).await;
    backup(&live, &copy, false, silent()).await.unwrap();
    let again = backup(&live, &copy, false, silent()).await;
    assert!(matches!(again, Err(CopyError::NotEmpty(_))), "{again:?}");
    let dry = restore(&copy, None, silent()).await.unwrap();
    assert_eq!(dry.checked.topics, 1);
    // Indexes are not copied: they are made again.
    assert!(live.join("e000.idx").exists() && !copy.join("e000.idx").exists());
    restore(&copy, Some(&back), silent()).await.unwrap();
    let over = restore(&copy, Some(&live), silent()).await;
    assert!(matches!(over, Err(CopyError::NotEmpty(_))), "{over:?}");
    let store = open(&live, settings()).await.unwrap();
    let restored = open(&back, settings()).await.unwrap();
    assert_eq!(content(&store, topic).await, content(&restored, topic).await);
    let in_use = backup(&live, &home.path().join("no"), false, silent()).await;
    assert!(
        matches!(in_use, Err(CopyError::Open(crate::store::OpenError::InUse(_)))),
        "{in_use:?}"
    );
    let none = backup(&home.path().join("absent"), &copy, false, silent()).await;
    assert!(matches!(none, Err(CopyError::Refused(_))), "{none:?}");
    assert!(!home.path().join("absent").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_a_cut_or_a_lost_file_of_a_backup_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (live, copy) = (home.path().join("live"), home.path().join("copy"));
    made(&live, 300).await;
    let copied = backup(&live, &copy, false, silent()).await.unwrap();
    assert!(copied.files >= 4, "several slots: {copied:?}");
    let back = home.path().join("back");
    let refused = async |what: &str| {
        let outcome = restore(&copy, Some(&back), silent()).await;
        assert!(outcome.is_err(), "{what} was taken");
        assert!(check_backup(&copy, silent()).await.is_err(), "{what} passed the check");
        assert!(!back.exists(), "{what}: nothing was written");
    };
    for file in std::fs::read_dir(&copy).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let good = std::fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            refused(&format!("a flip of {name} at {at}")).await;
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        refused(&format!("a cut of {name}")).await;
        std::fs::remove_file(&path).unwrap();
        refused(&format!("the loss of {name}")).await;
        std::fs::write(&path, &good).unwrap();
    }
    restore(&copy, Some(&back), silent()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_damage_that_no_start_reads_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let live = home.path().join("live");
    let topic = made(&live, 400).await;
    let stages = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stages);
    let progress: CopyProgress = Arc::new(move |stage, done, all| {
        assert!(done <= all);
        seen.fetch_or(stage == CopyStage::Checking && done == all, Ordering::Relaxed);
    });
    let (image, sound) = check(&live, progress).await.unwrap();
    assert!(stages.load(Ordering::Relaxed), "progress was told to the end");
    assert_eq!(sound.damage, vec![]);
    assert_eq!((sound.topics, sound.entries), (1, 400));
    assert!(image.create(TopicId::random()).await.is_err(), "it is for reading only");
    drop(image);

    // The first slot is sealed long since: a snapshot covers it.
    let slot = live.join("e000");
    let good = std::fs::read(&slot).unwrap();
    let mut bad = good.clone();
    bad[30_000] ^= 4;
    std::fs::write(&slot, &bad).unwrap();
    std::fs::remove_file(live.join("e001.idx")).unwrap();
    let before: Vec<_> = listing(&live);
    let (image, damaged) = check(&live, silent()).await.unwrap();
    let all = Limits { messages: u64::MAX, bytes: u64::MAX };
    let behind = image.scan(topic, Offset(0), all).await.unwrap();
    assert!(behind.len() < 400, "up to the damage");
    assert!(!image.scan(topic, Offset(600), all).await.unwrap().is_empty());
    let frame = &damaged.damage[0];
    assert!(frame.to_string().starts_with("e000 at offset"), "{:?}", damaged.damage);
    // One entry of three messages lies there; those behind it in the file can still be read.
    let lost: Vec<_> = damaged.damage.iter().filter_map(|damage| damage.messages).collect();
    assert!(matches!(lost[..], [one] if one.to.since(one.from) == 3), "{lost:?}");
    assert_eq!(listing(&live), before);
    drop(image);

    // Such a backup says so, and can be restored all the same.
    let (copy, back) = (home.path().join("copy"), home.path().join("back"));
    let copied = backup(&live, &copy, false, silent()).await.unwrap();
    // It has no index, so it knows no better than that the entry is not there.
    let of = |damage: &[Damage]| damage.iter().map(|one| one.messages).collect::<Vec<_>>();
    assert_eq!(of(&copied.checked.damage), of(&damaged.damage));
    assert_eq!(restore(&copy, Some(&back), silent()).await.unwrap().checked, copied.checked);
}

fn listing(dir: &Path) -> Vec<(String, u64)> {
    let mut found: Vec<(String, u64)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), file.metadata().unwrap().len())
        })
        .collect();
    found.sort();
    found
}
