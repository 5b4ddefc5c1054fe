//! Bytes in flight: what bodies on their way in and answers on their way out may take together,
//! however many clients there are and however slow.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Broker, Error};

/// What is counted as one.
const UNIT: u64 = 1024;
/// How long an answer waits for room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Room for an answer of unknown size, at least; less where there is less in all.
const LEAST: u64 = 8 << 20;

/// A bound on the bytes of one direction. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    room: Arc<Semaphore>,
    whole: u32,
}

/// Bytes that are held; given back when dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Semaphore>,
    whole: usize,
    held: OwnedSemaphorePermit,
}

/// Units that hold `bytes`.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        let whole = units(bytes).max(1);
        Self { room: Arc::new(Semaphore::new(whole as usize)), whole }
    }

    /// A share of at most `most` bytes and of no more than half of what is left, so that few large
    /// ones leave room for others.
    async fn part(&self, most: u64) -> Result<Share, Error> {
        let left = u32::try_from(self.room.available_permits() / 2).unwrap_or(u32::MAX);
        let least = units(LEAST).min(units(most)).min(self.whole);
        let wanted = left.min(units(most)).max(least);
        let held = timeout(PATIENCE, Arc::clone(&self.room).acquire_many_owned(wanted)).await;
        match held {
            Ok(Ok(held)) => Ok(self.share(held)),
            // Nobody closes the semaphore.
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable),
        }
    }

    /// A share that holds nothing yet.
    fn nothing(&self) -> Option<Share> {
        let held = Arc::clone(&self.room).try_acquire_many_owned(0).ok()?;
        Some(self.share(held))
    }

    fn share(&self, held: OwnedSemaphorePermit) -> Share {
        Share { room: Arc::clone(&self.room), whole: self.whole as usize, held }
    }
}

impl Share {
    fn bytes(&self) -> u64 {
        (self.held.num_permits() as u64).saturating_mul(UNIT)
    }

    /// Holds `bytes` at least; `false`, and nothing changes, when there is no room for more.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes());
        if more == 0 {
            return true;
        }
        match Arc::clone(&self.room).try_acquire_many_owned(units(more)) {
            Ok(permit) => self.held.merge(permit),
            Err(_) => return false,
        }
        true
    }

    /// Whether less than a quarter of the room is left.
    pub fn is_short(&self) -> bool {
        self.room.available_permits() < self.whole / 4
    }

    /// Holds what turned out to be needed: less, or as much more as there is.
    pub fn settle(&mut self, bytes: u64) {
        let needed = units(bytes) as usize;
        if let Some(too_many) = self.held.num_permits().checked_sub(needed) {
            drop(self.held.split(too_many));
        } else {
            let left = (self.room.available_permits() as u64).saturating_mul(UNIT);
            // Who took it meanwhile has it: the bound is a little late then.
            let _grown = self.grow(bytes.min(self.bytes().saturating_add(left)));
        }
    }
}

impl Broker {
    /// What a request's body is counted with; holds nothing yet.
    pub fn body_share(&self) -> Option<Share> {
        self.0.bodies.nothing()
    }

    /// Room for what a pull or a read hands out, at most `pull_bytes`.
    ///
    /// # Errors
    /// There is none, and none came for 2 s: [`Error::Unavailable`].
    pub(super) async fn answer_share(&self) -> Result<Share, Error> {
        self.0.answers.part(self.0.settings.pull_bytes).await
    }
}

impl Share {
    /// Most bytes that whoever got this by [`Broker::answer_share`] may read.
    pub(super) fn limit(&self) -> u64 {
        self.bytes().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let memory = Memory::new(10 * UNIT);
        let (mut one, mut other) = (memory.nothing().unwrap(), memory.nothing().unwrap());
        assert!(one.grow(4 * UNIT) && one.grow(3 * UNIT) && one.grow(6 * UNIT - 5));
        assert!(!other.grow(4 * UNIT + 1), "6 of 10 are held");
        assert!(other.grow(4 * UNIT));
        assert!(!one.grow(6 * UNIT + 1) && one.is_short());
        drop(other);
        assert!(!one.is_short());
        assert!(one.grow(10 * UNIT));
        one.settle(1);
        assert_eq!(memory.room.available_permits(), 9);
        one.settle(50 * UNIT);
        assert_eq!(memory.room.available_permits(), 0, "as much more as there is");
        drop(one);
        assert_eq!(memory.room.available_permits(), 10);
    }

    #[tokio::test]
    async fn few_large_answers_leave_room_and_the_last_waits_and_is_refused() {
        let memory = Memory::new(64 * MIB);
        let mut held = Vec::new();
        for size in [32, 16, 8, 8] {
            let share = memory.part(32 * MIB).await.unwrap();
            assert_eq!(share.limit(), size * MIB);
            held.push(share);
        }
        assert!(matches!(memory.part(32 * MIB).await, Err(Error::Unavailable)));
        let (late, ()) = tokio::join!(memory.part(32 * MIB), async { held[0].settle(MIB) });
        assert_eq!(late.unwrap().limit(), 8 * MIB, "it waits for the least that helps");
        assert_eq!(memory.part(32 * MIB).await.unwrap().limit(), 31 * MIB / 2);
        assert_eq!(memory.part(5).await.unwrap().limit(), UNIT, "a small bound is enough");
    }

    #[tokio::test]
    async fn a_bound_below_the_least_still_lets_one_pass() {
        let share = Memory::new(MIB).part(32 * MIB).await.unwrap();
        assert_eq!(share.limit(), MIB);
    }
}
