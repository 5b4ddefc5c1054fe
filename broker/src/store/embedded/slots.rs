//! Which file of a stream is in use, which is ready, which is still needed by a snapshot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::layout::Slot;
use super::rules::{Bug, Rules};

/// How many snapshots are kept. The root file counts until there are so many.
pub(super) const KEPT: usize = 2;

/// How many ready files of a stream are kept for their next use; the rest is given back.
pub(super) const SPARE: usize = 4;

/// What a kept snapshot still needs of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cover {
    /// The slot in which its position lies: of this and all later uses nothing may be lost.
    pub(super) generation: u64,
    /// The slots that it lists.
    pub(super) listed: BTreeSet<u32>,
}

/// A file of full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// Its length in 4 KiB pages.
    pub(super) pages: u32,
    /// The generation of its last use; 0 = none yet.
    pub(super) generation: u64,
}

/// The files of one stream.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// The slots in use, in order; the last is open.
    pub(super) live: Vec<Slot>,
    /// What the kept snapshots need, oldest first.
    covers: VecDeque<Cover>,
    files: BTreeMap<u32, Used>,
    /// Files that the next switches may take, in this order: filled and durable, or free.
    ready: VecDeque<u32>,
    /// Files that were found without a use, and their pages: what fills them may not be durable.
    unsure: BTreeMap<u32, u32>,
    /// A switch took this one and is not over.
    naming: Option<u32>,
    /// The number of the next file to be created.
    pub(super) next: u32,
    rules: Rules,
}

impl Slots {
    /// The files that were found at a start; `unsure` are those never used, with their pages.
    pub(super) fn new(
        live: Vec<Slot>,
        covers: Vec<Cover>,
        files: BTreeMap<u32, Used>,
        unsure: BTreeMap<u32, u32>,
        rules: Rules,
    ) -> Self {
        let last = files.keys().chain(unsure.keys()).max();
        let next = last.map_or(0, |last| last.saturating_add(1));
        let (ready, covers) = (VecDeque::new(), covers.into());
        let mut slots = Self { live, covers, files, ready, unsure, naming: None, next, rules };
        if rules.plants(Bug::NoRefill) {
            while let Some((number, pages)) = slots.unsure.pop_first() {
                slots.add(number, pages);
            }
        }
        slots.count_free();
        slots
    }

    /// The first file that must be filled again before it is used.
    pub(super) fn unsure(&self) -> Option<u32> {
        self.unsure.keys().next().copied()
    }

    /// A file that was not sure is gone.
    pub(super) fn forget_unsure(&mut self, number: u32) {
        self.unsure.remove(&number);
    }

    /// How many switches have a file.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The ready files, in order of use.
    #[cfg(test)]
    pub(super) fn ready_numbers(&self) -> Vec<u32> {
        self.ready.iter().copied().collect()
    }

    /// A fresh file is filled and durable.
    pub(super) fn add(&mut self, number: u32, pages: u32) {
        self.unsure.remove(&number);
        self.files.insert(number, Used { pages, generation: 0 });
        self.next = self.next.max(number.saturating_add(1));
        self.ready.push_back(number);
    }

    /// Takes a file for a switch: its number and pages. [`Self::opened`] ends the switch.
    pub(super) fn take(&mut self) -> Option<(u32, u32)> {
        let number = self.ready.pop_front()?;
        self.naming = Some(number);
        let pages = self.files.get(&number)?.pages;
        Some((number, pages))
    }

    /// Whether a switch is half-way.
    pub(super) const fn is_switching(&self) -> bool {
        self.naming.is_some()
    }

    /// The switch is over: the slot is the open one.
    pub(super) fn opened(&mut self, slot: Slot) {
        self.naming = None;
        let used = Used { pages: slot.pages, generation: slot.generation };
        self.files.insert(slot.number, used);
        self.live.push(slot);
    }

    /// Forgets dead slots: of those in use only the open one and those that `needed` says stay.
    pub(super) fn drop_dead(&mut self, needed: impl Fn(&Slot) -> bool) {
        let open = self.live.last().map(|slot| slot.generation);
        self.live.retain(|slot| Some(slot.generation) == open || needed(slot));
    }

    /// Whether files wait to become free: dead ones still in use, or those that only a kept
    /// snapshot holds back.
    pub(super) fn has_dead(&self, needed: impl Fn(&Slot) -> bool) -> bool {
        let sealed = self.live.split_last().map_or(&[][..], |(_, sealed)| sealed);
        sealed.iter().any(|slot| !needed(slot))
            || self.files.keys().any(|number| !self.is_in_use(*number))
    }

    /// A snapshot is kept from now on, and of those before it the newest but one no more. Answers
    /// the files that are to spare; each is forgotten.
    pub(super) fn cover(&mut self, cover: Cover) -> Vec<u32> {
        self.covers.push_back(cover);
        while self.covers.len() > KEPT {
            self.covers.pop_front();
        }
        self.count_free();
        self.give_back()
    }

    /// Removes and answers ready files beyond those that are kept.
    fn give_back(&mut self) -> Vec<u32> {
        let spare = self.ready.split_off(self.ready.len().min(SPARE));
        for number in &spare {
            self.files.remove(number);
        }
        spare.into()
    }

    fn is_in_use(&self, number: u32) -> bool {
        self.naming == Some(number)
            || self.ready.contains(&number)
            || self.live.iter().any(|slot| slot.number == number)
    }

    /// The rule of `log.md` 2: free is what no kept snapshot lists or may replay, and nobody uses.
    fn is_free(&self, number: u32, used: Used) -> bool {
        let newest = self.covers.len().saturating_sub(1);
        let mut covers = self.covers.iter().enumerate();
        let let_go = covers.all(|(at, cover)| {
            if self.rules.plants(Bug::OneCover) && at < newest {
                return true;
            }
            let lists = cover.listed.contains(&number);
            let replays = used.generation >= cover.generation;
            !lists && (!replays || self.rules.plants(Bug::ListOnlyCover))
        });
        let_go && !self.is_in_use(number)
    }

    fn count_free(&mut self) {
        let free = |(number, used): (&u32, &Used)| self.is_free(*number, *used).then_some(*number);
        let free: Vec<u32> = self.files.iter().filter_map(free).collect();
        self.ready.extend(free);
    }

    /// Planted: what the snapshot being taken does not list is free at once.
    pub(super) fn recycle_early(&mut self, cover: Cover) {
        let kept = std::mem::replace(&mut self.covers, VecDeque::from([cover]));
        self.count_free();
        self.covers = kept;
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let pages = self.files.values().map(|used| used.pages).chain(self.unsure.values().copied());
        pages.map(|pages| u64::from(pages) * super::layout::PAGE).sum()
    }
}
