//! The scrubber: what it reads, what it says, and that it says it once.

use std::sync::Arc;
use std::time::Duration;

use super::entry;
use super::indexes::Filled;
use super::sim::Sim;
use crate::domain::{Head, Hole, Holes, Offset, Time, TopicId};
use crate::store::embedded::scrub::Scrubber;
use crate::store::embedded::{Settings, open, recover};
use crate::store::{Limits, MessageLog, Outcome, Store, StoreError};

const ALL: Limits = Limits { messages: u64::MAX, bytes: u64::MAX };

/// Reads all sealed slots again; answers how many bytes that were.
fn pass(filled: &Filled) -> u64 {
    let mut read = 0;
    let scrubber = Scrubber::new(Arc::clone(&filled.shared));
    assert!(scrubber.pass(&mut |bytes| {
        read += bytes;
        true
    }));
    read
}

fn found(filled: &Filled) -> (u64, u64) {
    (filled.store.damage_found(), filled.shared.damage.ranges())
}

#[tokio::test]
async fn what_is_sound_is_read_whole_and_nothing_is_said() {
    let filled = Filled::new().await;
    let sealed: u64 = {
        let board = filled.shared.board();
        let (_, sealed) = board.desks.entries.slots.live.split_last().unwrap();
        assert!(sealed.len() >= 2);
        sealed.iter().map(|slot| slot.len()).sum()
    };
    // But for the header pages and what was left behind the seals.
    let read = pass(&filled);
    assert!(read <= sealed && read > sealed * 8 / 10, "{read} of {sealed}");
    assert_eq!(found(&filled), (0, 0));
    filled.is_whole().await;
    // It stops where it is told to.
    let scrubber = Scrubber::new(Arc::clone(&filled.shared));
    assert!(!scrubber.pass(&mut |_| false));
}

#[tokio::test]
async fn a_damaged_entry_is_found_once_with_its_topic_and_offsets() {
    let filled = Filled::new().await;
    let at = filled.flip("10/1:");
    for _ in 0..2 {
        pass(&filled);
        assert_eq!(found(&filled), (1, 1));
    }
    // The read that wants it meets the same range.
    let one = Limits { messages: 1, bytes: u64::MAX };
    let lost = &filled.written[0][5];
    match filled.store.scan(filled.topics[0], lost.base, one).await {
        Err(StoreError::Corrupt(what)) => {
            let (topic, from, to) = (filled.topics[0], lost.base, lost.end());
            let wanted = format!("the entry is damaged: messages {from} to {to} of topic {topic}");
            assert!(what.starts_with("e000 at offset ") && what.ends_with(&wanted), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(found(&filled), (1, 1));
    let range = Hole { from: lost.base, to: lost.end() };
    assert_eq!(filled.store.damaged(), [(filled.topics[0], range)]);
    let others = filled.store.scan(filled.topics[1], Offset(0), ALL).await.unwrap();
    assert_eq!(others, filled.written[1]);
    filled.flip_at(at);
    filled.is_sound_again().await;
}

#[tokio::test]
async fn what_the_disk_holds_counts_not_what_is_remembered_of_it() {
    let sim = Sim::new(3);
    let forgetful = Settings { cache_bytes: 0, ..Settings::small() };
    let recovered = recover(sim.clone(), forgetful, Time(0)).unwrap();
    let shared = Arc::clone(&recovered.shared);
    let store = recovered.start(None).unwrap();
    let (topic, mut head) = (TopicId::random(), Head::default());
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    for tag in 0..150 {
        let entry = entry(&head, tag, 2, 500);
        head = head.after(&entry);
        let outcome = store.commit(topic, entry).await.unwrap();
        assert_eq!(outcome, Outcome::Applied(head.clone()));
    }
    let scrubber = Scrubber::new(Arc::clone(&shared));
    assert!(scrubber.pass(&mut |_| true));
    assert_eq!(store.damage_found(), 0);
    sim.rot("e000", 8 * 10_000);
    // Who reads it now sees what it was.
    assert!(store.scan(topic, Offset(0), ALL).await.is_ok());
    assert!(scrubber.pass(&mut |_| true));
    assert_eq!(store.damage_found(), 1);
}

#[tokio::test]
async fn without_an_index_the_frame_that_cannot_be_told_is_the_range() {
    let filled = Filled::new().await;
    filled.flip("10/1:");
    filled.remove_indexes();
    pass(&filled);
    assert_eq!(found(&filled), (1, 1));
}

#[tokio::test]
async fn damage_that_takes_no_message_is_said_too() {
    let filled = Filled::new().await;
    // The life in the first frame's header, which holds the first topic's beginning.
    filled.flip_at(4_096 + 8);
    pass(&filled);
    assert_eq!(found(&filled), (1, 1));
    assert_eq!(filled.store.damaged(), []);
    filled.flip_at(4_096 + 8);
    filled.is_sound_again().await;
    // A slot that cannot be read at all: each of its topics has lost what it had there.
    filled.flip_at(20);
    pass(&filled);
    assert_eq!(found(&filled), (3, 3));
}

#[tokio::test]
async fn what_was_given_up_is_no_news() {
    let filled = Filled::new().await;
    filled.flip("10/1:");
    let mut holes = Holes::default();
    holes.add(Hole { from: Offset(0), to: Offset(300) });
    filled.store.give_up(filled.topics[0], &holes);
    pass(&filled);
    assert_eq!(found(&filled), (0, 0));
}

#[tokio::test]
async fn what_was_trimmed_is_nobodys_loss() {
    let filled = Filled::new().await;
    filled.flip("10/1:");
    for (topic, to) in filled.topics.iter().zip([12, 12]) {
        assert!(filled.store.trim(*topic, Offset(to)).await.is_ok());
    }
    pass(&filled);
    assert_eq!(found(&filled), (1, 1), "the frame is damaged all the same");
    let kept = filled.store.scan(filled.topics[0], Offset(0), ALL).await.unwrap();
    assert_eq!(kept, filled.written[0][6..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_store_finds_it_by_itself_at_the_rate_that_is_set() {
    let filled = Filled::new().await;
    filled.store.close_store().await.unwrap();
    filled.flip("10/1:");
    let settings = Settings { scrub_bytes_per_second: 64 << 20, ..Settings::small() };
    let store = open(filled.dir.path(), settings).await.unwrap();
    for _ in 0..1_000 {
        if store.damage_found() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.damage_found(), 1);
    // It does not hold up the end.
    tokio::time::timeout(Duration::from_secs(5), store.close_store()).await.unwrap().unwrap();
}
