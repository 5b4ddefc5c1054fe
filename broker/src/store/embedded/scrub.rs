//! The thread that reads sealed slots again, slowly, so that damage is known before somebody needs
//! what it took.
//!
//! What the operating system remembers of a slot is forgotten before: what counts is on the disk.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::layout::{Slot, Stream};
use super::queue::Shared;
use super::read;
use super::topics::Part;
use super::walk::{Met, Walk};
use crate::domain::TopicId;

/// It rests so many times a second.
const RESTS: u64 = 10;

/// Reads sealed slots again.
pub(super) struct Scrubber {
    shared: Arc<Shared>,
}

/// What is wrong with a slot, where.
type Wrong = (u64, String);

impl Scrubber {
    /// A scrubber for an open store.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Works until the store is closed. Should it panic, damage is met by the reads that want it.
    pub(super) fn run(self) {
        let settings = &self.shared.settings;
        let rate = settings.scrub_bytes_per_second;
        if rate == 0 {
            return;
        }
        let mut unpaid = 0u64;
        let mut rest = |bytes: u64| {
            unpaid = unpaid.saturating_add(bytes);
            if unpaid < rate / RESTS {
                return true;
            }
            let pause = Duration::from_micros(unpaid.saturating_mul(1_000_000) / rate);
            unpaid = 0;
            self.shared.rest(Instant::now() + pause)
        };
        loop {
            let began = Instant::now();
            if !self.pass(&mut rest) || !self.shared.rest(began + settings.scrub_every) {
                return;
            }
        }
    }

    /// Reads every sealed slot that there is, oldest first; `rest` is told how many bytes were read
    /// and answers whether to go on. Answers whether it got to the end.
    pub(super) fn pass(&self, rest: &mut dyn FnMut(u64) -> bool) -> bool {
        let mut behind = 0;
        while let Some(slot) = self.next(behind) {
            behind = slot.generation;
            let Some(wrong) = self.read(&slot, rest) else { return false };
            if !wrong.is_empty() {
                self.judge(&slot, &wrong);
            }
        }
        true
    }

    /// The sealed slot in use after this one.
    fn next(&self, behind: u64) -> Option<Slot> {
        let board = self.shared.board();
        let (_, sealed) = board.desks.entries.slots.live.split_last()?;
        sealed.iter().find(|slot| slot.generation > behind).cloned()
    }

    /// Verifies every frame; `None` if it shall not go on.
    fn read(&self, slot: &Slot, rest: &mut dyn FnMut(u64) -> bool) -> Option<Vec<Wrong>> {
        let (disk, store) = (self.shared.disk.as_ref(), self.shared.store);
        // Where it cannot be, what is remembered is better than nothing.
        let _remembered = disk.uncache(&Stream::Entries.file(slot.number));
        let mut walk = match Walk::open(disk, store, slot.number, slot.generation) {
            Ok(walk) => walk,
            Err(what) => return Some(vec![(0, what)]),
        };
        let mut wrong = Vec::new();
        loop {
            let at = walk.at();
            match walk.step() {
                Ok(None) => return Some(wrong),
                Ok(Some(Met::Frame(..))) => {}
                Ok(Some(Met::Broken(..))) => wrong.push((at, String::from("a frame is damaged"))),
                Err(error) => {
                    wrong.push((at, error.to_string()));
                    return Some(wrong);
                }
            }
            if !rest(walk.at().saturating_sub(at)) {
                return None;
            }
        }
    }

    /// Says which messages damage took; where it took none that are kept, that it is there.
    fn judge(&self, slot: &Slot, wrong: &[Wrong]) {
        let parts: Vec<(TopicId, Part)> = {
            let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
            let kept = topics.open.iter().flat_map(|(id, topic)| {
                let of_slot = topic.sealed.iter().filter(|part| part.generation == slot.generation);
                of_slot.map(|part| (*id, *part))
            });
            kept.collect()
        };
        let lost: u64 = parts.iter().map(|(id, part)| read::verify(&self.shared, *id, part)).sum();
        let in_use = {
            let board = self.shared.board();
            let live = &board.desks.entries.slots.live;
            live.iter().any(|live| live.generation == slot.generation)
        };
        // Not if it is in its next use by now.
        if lost == 0 && in_use {
            for (at, what) in wrong {
                let what = format!("{what}; no kept message is lost");
                self.shared.damage.scrubbed(slot.generation, slot.number, *at, None, &what);
            }
        }
    }
}
