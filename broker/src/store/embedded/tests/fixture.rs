//! Data directories of earlier versions, which every later one must open: that of the first landing, and
//! one with a snapshot and an index.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::by;
use crate::domain::progress::Lease;
use crate::domain::{
    BatchBuilder, DayFigures, Entry, Head, Mark, Offset, Progress, ProjectId, SubscriptionId, Time,
    TopicId, Window,
};
use crate::store::embedded::{Settings, open};
use crate::store::{Change, Limits, Outcome, Scope, Store};

const FIRST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/first-landing");
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/snapshot");
const ALL: Limits = Limits { messages: u64::MAX, bytes: u64::MAX };
const DAY: u64 = 86_400;

const fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(0x10 + number))
}

const fn subscription(number: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(0x20 + number))
}

const PROJECT: Scope = Scope::Project(ProjectId(Uuid::from_u128(0x30)));

/// 60 entries over three days, with attributes, base64 and verbatim data, and marks.
fn entries() -> (Vec<Arc<Entry>>, Head) {
    let mut head = Head::default();
    let mut entries = Vec::new();
    for number in 0..60u32 {
        let mut batch = BatchBuilder::default();
        for message in 0..=number % 4 {
            let text = format!("message {message} of entry {number} ").repeat(8);
            match message % 3 {
                0 => {
                    let attributes = [("number", number.to_string()), ("µ", String::new())];
                    batch.push(&attributes, "aGVsbG8=");
                }
                1 => batch.push::<&str, &str>(&[], &text),
                _ => batch.push(&[("long", text.as_str())], ""),
            }
        }
        let mark = Mark {
            id: [u8::try_from(number).unwrap(); 16],
            first: 0,
            count: number % 4 + 1,
            digest: [0xd1; 16],
        };
        let marks = if number % 5 == 0 { vec![mark] } else { Vec::new() };
        let now = Time::from_secs(1_790_000_000 + u64::from(number) * DAY / 20);
        let entry = Arc::new(head.entry(now, batch.finish(), marks));
        head = head.after(&entry);
        entries.push(entry);
    }
    (entries, head)
}

fn progress(number: u64) -> Progress {
    let mut progress = Progress::fresh(topic(0), Offset(3));
    progress.version = number + 1;
    progress.position = Offset(10 + number);
    progress.frontier = Offset(30);
    progress.high_water = Offset(12 + number);
    let pulled_at = Time::from_secs(1_790_000_100);
    progress.window = Some(Window {
        start: Offset(10),
        end: Offset(30),
        pulled_at,
        ams_bytes: 99,
        expired: true,
    });
    progress.acked_ahead = vec![(Offset(14), Offset(16)), (Offset(20), Offset(21))];
    progress.leases =
        vec![Lease { offset: Offset(17), until: Time(5), attempts: 2, ..Lease::default() }];
    progress.counters.delivered = 20 + number;
    progress.counters.lost.retention = 3;
    progress.clocks.front_attempts = number;
    progress.clocks.last_ack = Time::from_secs(1_790_000_200);
    progress.writers = vec![(7, number)];
    progress.requests = vec![[9; 16]];
    progress
}

fn changes(version: u64) -> Vec<Change> {
    let key = |number: u64| format!("topics/t{number}");
    let value = format!(r#"{{"version":{version}}}"#).repeat(20);
    let mut changes = vec![Change::Put(key(version), Bytes::from(value))];
    if version % 3 == 2 {
        changes.push(Change::Delete(key(version - 1)));
    }
    changes
}

const SCOPE_VERSIONS: u64 = 160;
const SAVES: u64 = 20;

/// Slots that never grow.
fn settings() -> Settings {
    Settings { max_slot: 64 << 10, ..Settings::small() }
}

/// What the fixtures hold, each written once and never again; here it shows that this version still
/// writes what it reads.
#[tokio::test]
async fn what_the_fixtures_hold_is_read_back_when_it_is_written_today() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), settings()).await.unwrap();
    for number in 0..4 {
        assert_eq!(store.create(topic(number)).await.unwrap(), Outcome::Applied(()));
    }
    let mut version = 0;
    for (number, entry) in (0..).zip(entries().0) {
        for topic in [topic(0), topic(1), topic(2)] {
            let answer = store.commit(topic, Arc::clone(&entry)).await.unwrap();
            assert!(matches!(answer, Outcome::Applied(_)));
        }
        if number < SAVES {
            for which in 0..3 {
                let answer = store.save(subscription(which), &progress(number)).await.unwrap();
                assert_eq!(answer, Outcome::Applied(()));
            }
        }
        while version < (number + 1) * SCOPE_VERSIONS / 60 {
            let answer = store.commit_scope(PROJECT, version, changes(version), by()).await;
            version += 1;
            assert_eq!(answer.unwrap(), Outcome::Applied(version));
        }
    }
    let answer = store.commit_scope(Scope::Service, 0, changes(2), by()).await.unwrap();
    assert_eq!(answer, Outcome::Applied(1));
    assert!(matches!(store.trim(topic(1), Offset(41)).await.unwrap(), Outcome::Applied(_)));
    assert!(matches!(store.close(topic(2)).await.unwrap(), Outcome::Applied(_)));
    assert_eq!(store.delete(subscription(1)).await.unwrap(), Outcome::Applied(()));
    is_as_written(&*store).await;
    store.close_store().await.unwrap();
    let store = open(dir.path(), Settings::small()).await.unwrap();
    is_as_written(&*store).await;
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn the_data_of_the_first_landing_is_read_back_whole() {
    let copy = copy_of(Path::new(FIRST));
    // There is a seal in each log: the second slot of each is in use.
    for slot in ["e001", "s001"] {
        assert!(std::fs::read(copy.path().join(slot)).unwrap().starts_with(b"AMSslot\n"));
    }
    is_opened_and_goes_on(copy.path()).await;
}

#[tokio::test]
async fn data_with_a_snapshot_and_an_index_is_read_back_whole() {
    let copy = copy_of(Path::new(SNAPSHOT));
    let names: Vec<String> = std::fs::read_dir(copy.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let begins = |text: &str| names.iter().filter(|name| name.starts_with(text)).count();
    assert_eq!(begins("snap"), 1);
    assert!(names.iter().any(|name| name.ends_with(".idx")), "{names:?}");
    is_opened_and_goes_on(copy.path()).await;
    let row = serde_json::json!({"what": "data of earlier versions is opened", "fixtures": 2});
    super::figures("F25", &row);
}

async fn is_opened_and_goes_on(dir: &Path) {
    // Twice, as it was and as this version left it.
    for _ in 0..2 {
        let store = open(dir, Settings::small()).await.unwrap();
        is_as_written(&*store).await;
        store.close_store().await.unwrap();
    }
    let store = open(dir, Settings::small()).await.unwrap();
    let head = store.head(topic(0)).await.unwrap().unwrap();
    let next = super::entry(&head, 5, 2, 100);
    let answer = store.commit(topic(0), Arc::clone(&next)).await.unwrap();
    assert_eq!(answer, Outcome::Applied(head.after(&next)));
}

async fn is_as_written(store: &dyn Store) {
    let (entries, head) = entries();
    assert_eq!(store.scan(topic(0), Offset(0), ALL).await.unwrap(), entries);
    assert_eq!(store.head(topic(0)).await.unwrap(), Some(head.clone()));
    let days: Vec<DayFigures> = entries.iter().filter_map(|entry| entry.closed_day).collect();
    assert!(days.len() >= 2 && entries.iter().any(|entry| !entry.marks.is_empty()));

    let trimmed = Head { start: Offset(41), ..head.clone() };
    assert_eq!(store.head(topic(1)).await.unwrap(), Some(trimmed));
    let kept: Vec<Arc<Entry>> =
        entries.iter().filter(|entry| entry.end() > Offset(41)).cloned().collect();
    assert_eq!(store.scan(topic(1), Offset(0), ALL).await.unwrap(), kept);
    assert_eq!(store.head(topic(2)).await.unwrap(), None);
    assert_eq!(store.create(topic(2)).await.unwrap(), Outcome::Closed);
    assert_eq!(store.head(topic(3)).await.unwrap(), Some(Head::default()));
    let mut topics = store.topics().await.unwrap();
    topics.sort();
    assert_eq!(topics, [topic(0), topic(1), topic(3)]);
    for entry in &entries {
        let answer = store.commit(topic(0), Arc::clone(entry)).await.unwrap();
        assert_eq!(answer, Outcome::Applied(head.clone()));
    }

    for which in [0, 2] {
        let found = store.load(subscription(which)).await.unwrap();
        assert_eq!(found, Some(progress(SAVES - 1)));
    }
    assert_eq!(store.load(subscription(1)).await.unwrap(), None);

    let mut objects = std::collections::BTreeMap::new();
    for version in 0..SCOPE_VERSIONS {
        for change in changes(version) {
            match change {
                Change::Put(key, value) => drop(objects.insert(key, value)),
                Change::Delete(key) => drop(objects.remove(&key)),
            }
        }
    }
    let found = store.load_scope(PROJECT).await.unwrap();
    assert_eq!(found.version, SCOPE_VERSIONS);
    assert_eq!(found.objects, objects.into_iter().collect::<Vec<_>>());
    // Those that a snapshot covers are not kept over a restart.
    if let Some(last) = store.changes_since(PROJECT, SCOPE_VERSIONS - 1).await.unwrap() {
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].changes, changes(SCOPE_VERSIONS - 1));
        assert_eq!(last[0].by, by());
    }
    assert_eq!(store.load_scope(Scope::Service).await.unwrap().version, 1);
    let mut scopes = store.scopes().await.unwrap();
    scopes.sort();
    assert_eq!(scopes, [Scope::Service, PROJECT]);
}
