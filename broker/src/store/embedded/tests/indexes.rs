//! Sealed slots: found by their index, which is made again whenever it is not the right one; damage
//! in them is a bounded loss.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::damage::{Scribe, TOPIC};
use super::entry;
use super::power::tiny;
use crate::domain::{Entry, Head, Offset, Time, TopicId};
use crate::store::embedded::api::EmbeddedStore;
use crate::store::embedded::disk::RealDisk;
use crate::store::embedded::queue::Shared;
use crate::store::embedded::read::{self, Access};
use crate::store::embedded::rules::{Bug, Rules};
use crate::store::embedded::topics::Look;
use crate::store::embedded::{Settings, recover, recover_by};
use crate::store::{Limits, MessageLog, Outcome, Store, StoreError};

const ALL: Limits = Limits { messages: u64::MAX, bytes: u64::MAX };

/// Nothing is remembered: every read is a cold one.
fn forgetful() -> Settings {
    Settings { cache_bytes: 0, index_cache_bytes: 0, ..Settings::small() }
}

fn start(dir: &Path) -> (Arc<EmbeddedStore>, Arc<Shared>) {
    let disk = Arc::new(RealDisk::open(dir).unwrap());
    let recovered = recover(disk, forgetful(), Time(0)).unwrap();
    let shared = Arc::clone(&recovered.shared);
    (recovered.start(None).unwrap(), shared)
}

/// A store with two topics whose entries share several slots.
pub(super) struct Filled {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Arc<EmbeddedStore>,
    pub(super) shared: Arc<Shared>,
    pub(super) topics: [TopicId; 2],
    pub(super) written: [Vec<Arc<Entry>>; 2],
}

impl Filled {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, shared) = start(dir.path());
        let topics = [TopicId::random(), TopicId::random()];
        let mut written = [Vec::new(), Vec::new()];
        let mut heads = [Head::default(), Head::default()];
        for topic in topics {
            assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
        }
        for tag in 0..150 {
            for (at, topic) in topics.into_iter().enumerate() {
                let entry = entry(&heads[at], tag * 2 + at as u64, 2, 500);
                heads[at] = heads[at].after(&entry);
                let outcome = store.commit(topic, Arc::clone(&entry)).await.unwrap();
                assert_eq!(outcome, Outcome::Applied(heads[at].clone()));
                written[at].push(entry);
            }
        }
        Self { dir, store, shared, topics, written }
    }

    async fn reopened(self) -> Self {
        let Self { dir, store, shared, topics, written } = self;
        store.close_store().await.unwrap();
        drop((store, shared));
        let (store, shared) = start(dir.path());
        Self { dir, store, shared, topics, written }
    }

    async fn sizes_are_right(&self) {
        let (topic, written) = (self.topics[0], &self.written[0]);
        let start = self.store.head(topic).await.unwrap().unwrap().start;
        let kept: Vec<_> = written.iter().filter(|entry| entry.end() > start).collect();
        let size = |entries: &[&Arc<Entry>]| -> u64 {
            entries.iter().map(|entry| entry.batch.packed().len() as u64).sum()
        };
        assert_eq!(self.store.kept_bytes(topic).await.unwrap(), size(&kept));
        for first in (0..kept.len()).step_by(9) {
            let fits = size(&kept[first..]);
            let from = Some(kept[first].base.max(start));
            assert_eq!(self.store.find_size(topic, fits).await.unwrap(), from);
            let less = kept.get(first + 1).map(|entry| entry.base);
            assert_eq!(self.store.find_size(topic, fits - 1).await.unwrap(), less);
        }
    }

    pub(super) async fn is_whole(&self) {
        for (topic, written) in self.topics.iter().zip(&self.written) {
            assert_eq!(self.store.scan(*topic, Offset(0), ALL).await.unwrap(), *written);
            for entry in written.iter().step_by(7) {
                let found = self.store.find_time(*topic, entry.time).await.unwrap();
                assert_eq!(found, Some(entry.base));
                let inside = entry.base.plus(1);
                let one = Limits { messages: 1, bytes: u64::MAX };
                let found = self.store.scan(*topic, inside, one).await.unwrap();
                assert_eq!(found, std::slice::from_ref(entry));
                // The same commit again is recognised, however long ago it was.
                let again = self.store.commit(*topic, Arc::clone(entry)).await.unwrap();
                assert!(matches!(again, Outcome::Applied(_)));
            }
        }
        assert_eq!(self.shared.damage.ranges(), 0);
    }

    /// Everything is answered; damage that was met before stays counted.
    pub(super) async fn is_sound_again(&self) {
        for (topic, written) in self.topics.iter().zip(&self.written) {
            assert_eq!(self.store.scan(*topic, Offset(0), ALL).await.unwrap(), *written);
        }
    }

    /// The indexes, by name.
    fn indexes(&self) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path());
        let mut found: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|of| of == "idx")).collect();
        found.sort();
        found
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        self.indexes().iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// Flips a byte of the entry with this tag, in the first slot; answers where.
    pub(super) fn flip(&self, text: &str) -> u64 {
        let path = self.dir.path().join("e000");
        let content = std::fs::read(&path).unwrap();
        let at = content.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap();
        self.flip_at(at as u64);
        at as u64
    }

    pub(super) fn flip_at(&self, at: u64) {
        let path = self.dir.path().join("e000");
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    pub(super) fn remove_indexes(&self) {
        self.indexes().iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
}

#[tokio::test]
async fn an_index_that_is_missing_damaged_or_stale_is_made_again() {
    let filled = Filled::new().await;
    filled.is_whole().await;
    {
        let topics = filled.shared.topics.read().unwrap();
        let topic = &topics.open[&filled.topics[0]];
        assert!(topic.sealed.len() >= 2, "{} slots", topic.sealed.len());
        let open = topic.open.front().unwrap().base;
        assert!(matches!(topic.look(Offset(0)), Some(Look::Sealed(part)) if part.end < open));
        assert!(topic.open.len() < filled.written[0].len(), "only the open slot is in memory");
    }
    let filled = filled.reopened().await;
    filled.is_whole().await;
    let right = filled.contents();
    assert!(right.len() >= 2);

    filled.remove_indexes();
    filled.is_whole().await;
    assert_eq!(filled.contents(), right);

    for path in filled.indexes() {
        let mut content = std::fs::read(&path).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        std::fs::write(&path, content).unwrap();
    }
    filled.is_whole().await;
    assert_eq!(filled.contents(), right);

    filled.sizes_are_right().await;
    // The index of another store's slot of the same number and generation, and of another slot.
    let other = Filled::new().await;
    other.is_whole().await;
    std::fs::write(&filled.indexes()[0], &other.contents()[0]).unwrap();
    std::fs::write(&filled.indexes()[1], &right[0]).unwrap();
    filled.is_whole().await;
    assert_eq!(filled.contents(), right);
}

/// Each entry is answered but this one, and the other topic does not notice.
pub(super) async fn only_one_is_lost(filled: &Filled, lost: usize) {
    let one = Limits { messages: 1, bytes: u64::MAX };
    for (at, entry) in filled.written[0].iter().enumerate() {
        let found = filled.store.scan(filled.topics[0], entry.base, one).await;
        if at == lost {
            match found {
                Err(StoreError::Corrupt(what)) => {
                    assert!(what.contains("e000 at offset"), "{what}");
                }
                other => panic!("{other:?}"),
            }
        } else {
            assert_eq!(found.unwrap(), std::slice::from_ref(entry));
        }
    }
    // What lies before the damage is answered without it.
    let found = filled.store.scan(filled.topics[0], Offset(0), ALL).await.unwrap();
    assert_eq!(found, filled.written[0][..lost]);
    let found = filled.store.scan(filled.topics[1], Offset(0), ALL).await.unwrap();
    assert_eq!(found, filled.written[1]);
}

#[tokio::test]
async fn damage_in_a_sealed_slot_loses_what_it_hit_and_is_counted_once() {
    let filled = Filled::new().await;
    // Entry 5 of the first topic.
    let at = filled.flip("10/1:");
    only_one_is_lost(&filled, 5).await;
    assert_eq!(filled.shared.damage.ranges(), 1);
    // The index is not needed to keep the loss so small, and one with a hole is not kept.
    filled.remove_indexes();
    only_one_is_lost(&filled, 5).await;
    let of_first = filled.dir.path().join("e000.idx");
    assert!(!of_first.exists());
    // Mended from a copy, say.
    filled.flip_at(at);
    for (topic, written) in filled.topics.iter().zip(&filled.written) {
        assert_eq!(filled.store.scan(*topic, Offset(0), ALL).await.unwrap(), *written);
    }
    assert!(of_first.exists());
}

#[tokio::test]
async fn a_broken_frame_header_hides_nothing_from_an_index_and_one_frame_from_its_rebuild() {
    let filled = Filled::new().await;
    let place = {
        let topics = filled.shared.topics.read().unwrap();
        let Some(Look::Sealed(part)) = topics.open[&filled.topics[0]].look(Offset(10)) else {
            panic!("not sealed");
        };
        drop(topics);
        let (disk, store) = (filled.shared.disk.as_ref(), filled.shared.store);
        let places = filled.shared.indexes.load(disk, store, filled.topics[0], &part).unwrap();
        *places.iter().find(|place| place.base == Offset(10)).unwrap()
    };
    // Each commit was a frame of its own. Its life is hit: the frame is none any more.
    filled.flip_at(place.at - 48 + 8);
    let found = filled.store.scan(filled.topics[0], Offset(0), ALL).await.unwrap();
    assert_eq!(found, filled.written[0]);
    filled.remove_indexes();
    only_one_is_lost(&filled, 5).await;
}

#[tokio::test]
async fn sizes_are_those_of_whole_entries_also_where_the_start_lies_in_a_sealed_slot() {
    let filled = Filled::new().await;
    // Inside an entry of the first slot, inside the second slot, inside the open one.
    for to in [9, 101, 299] {
        let trimmed = filled.store.trim(filled.topics[0], Offset(to)).await.unwrap();
        assert!(matches!(trimmed, Outcome::Applied(_)));
        filled.sizes_are_right().await;
    }
    let filled = filled.reopened().await;
    filled.sizes_are_right().await;
}

#[test]
fn an_index_of_a_slots_former_use_is_not_believed_nor_one_that_does_not_verify() {
    let mut scribe = Scribe::new(tiny());
    for _ in 0..6 {
        scribe.publish(5_000);
        scribe.store.indexer.turn();
    }
    let former = scribe.sim.content("e000.idx");
    scribe.trim();
    scribe.store.keeper.take_now();
    scribe.store.keeper.take_now();
    for _ in 0..16 {
        scribe.publish(5_000);
        scribe.store.indexer.turn();
    }
    let again = {
        let board = scribe.store.shared.board();
        let live = &board.desks.entries.slots.live;
        live.iter().find(|slot| slot.number == 0).unwrap().generation
    };
    assert!(again > 1, "it is used again");
    let kept = usize::try_from(scribe.head.next.since(scribe.head.start)).unwrap();
    let sim = scribe.stop(false).sim;
    let right = sim.content("e000.idx");
    assert_ne!(right, former);
    let scan = |index: &[u8], planted| {
        let sim = sim.copy();
        sim.put("e000.idx", Some(index.to_vec()));
        let store = recover_by(sim, tiny(), Rules { planted }, Time(9)).unwrap();
        let found = read::scan(&store.shared, TOPIC, Offset(0), ALL, Access::Disk);
        let all = matches!(found, Ok(Some(found)) if found.len() == kept);
        (all, store.shared.damage.ranges())
    };
    let mut flipped = right.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (index, bug) in [(&former, Bug::StaleIndex), (&flipped, Bug::IndexUnverified)] {
        assert_eq!(scan(index, None), (true, 0), "it is made again");
        assert!(!scan(index, Some(bug)).0, "{bug:?}");
    }
    assert_eq!(scan(&right, None), (true, 0));
}

#[test]
fn who_reads_at_the_end_needs_no_disk_when_a_slot_is_sealed() {
    let mut scribe = Scribe::new(tiny());
    let mut newest = 0;
    for _ in 0..20 {
        scribe.publish(3_000);
        let shared = &scribe.store.shared;
        let last = shared.topics.read().unwrap().open[&TOPIC].sealed.back().copied();
        let Some(part) = last else { continue };
        let in_memory = || read::places(shared, TOPIC, &part, Access::Memory).unwrap();
        let before = in_memory().expect("its index is not written yet");
        if part.generation > newest {
            newest = part.generation;
            scribe.store.indexer.turn();
        }
        assert_eq!(in_memory().as_ref(), Some(&before), "nor is it read back");
        assert_eq!((before[0].base, before.last().unwrap().end), (part.base, part.end));
    }
    assert!(newest > 3);
    assert_eq!(scribe.store.shared.board().sealed.len(), 0);
}

#[tokio::test]
async fn what_was_read_back_is_kept_for_a_while_and_not_instead_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap().writing(true));
    // Room for about nine entries that were written and three that were read.
    let settings = Settings { cache_bytes: 16 << 10, ..Settings::small() };
    let store = recover(disk, settings, Time(0)).unwrap().start(None).unwrap();
    let (topic, mut head, mut written) = (TopicId::random(), Head::default(), Vec::new());
    assert_eq!(store.create(topic).await.unwrap(), Outcome::Applied(()));
    for tag in 0..150 {
        let entry = entry(&head, tag, 2, 500);
        head = head.after(&entry);
        let outcome = store.commit(topic, Arc::clone(&entry)).await.unwrap();
        assert_eq!(outcome, Outcome::Applied(head.clone()));
        written.push(entry);
    }
    let read = async |at: usize| -> Arc<Entry> {
        let one = Limits { messages: 1, bytes: u64::MAX };
        let found = store.scan(topic, written[at].base, one).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&written[at]));
        found[0].clone()
    };
    let first = read(0).await;
    assert!(!Arc::ptr_eq(&first, &written[0]), "it came from the disk");
    assert!(Arc::ptr_eq(&first, &read(0).await), "and is still in memory");
    for at in 1..100 {
        read(at).await;
    }
    assert!(!Arc::ptr_eq(&first, &read(0).await), "it had to go for others");
    for at in [145, 149] {
        assert!(Arc::ptr_eq(&written[at], &read(at).await), "{at} was written last");
    }
}
