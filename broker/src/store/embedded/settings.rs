//! How large things are. None of it is part of the format: a store opened with other settings goes
//! on with them from its next slot on.

use std::time::Duration;

use super::OpenError;
use super::layout::{FRAME_HEADER, PAGE, SEAL};

/// Settings of an embedded store. All sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Length of the first slot of each log, in whole 4 KiB pages. Slots of the state log are all
    /// as long, but no longer than that log shall grow, or what takes two of the largest records.
    pub first_slot: u64,
    /// Slots of the entry log double until they are this long; less than 2 GiB.
    pub max_slot: u64,
    /// The largest record, i.e. entry, that is taken; a larger one is answered `Full`. It must fit
    /// the first slot.
    pub largest_record: u64,
    /// A frame gathers about this much.
    pub frame_bytes: u64,
    /// How much may wait in each log's queue; beyond it, mutations are answered `Unavailable`.
    pub queue_bytes: u64,
    /// How much of what was written last, and a quarter of it of what was read back last, is kept
    /// for readers.
    pub cache_bytes: u64,
    /// How much of the indexes of sealed slots is kept in memory.
    pub index_cache_bytes: u64,
    /// How many reads may wait for the disk at once: 1 to 1,024.
    pub cold_reads: usize,
    /// How fast sealed slots are read again to meet damage early, in bytes a second. 0 = never.
    pub scrub_bytes_per_second: u64,
    /// How long from the beginning of one such pass to that of the next, at least.
    pub scrub_every: Duration,
    /// When one log was written and the other not for this long, the other writes a witness frame.
    pub witness_after: Duration,
    /// When to try again to prepare a slot or take a snapshot after there was no room.
    pub retry_after: Duration,
    /// How large the state log grows, about: at half of it a snapshot is taken, and what two
    /// snapshots cover is used again.
    pub state_log_bytes: u64,
    /// How fast new slots are filled while no commit waits for one, in bytes a second: a faster
    /// fill delays commits. 0 = as fast as it goes.
    pub fill_bytes_per_second: u64,
    /// Whether commits go past the kernel's page cache, where the file system can: cheaper and
    /// sooner durable, but a reader behind `cache_bytes` is the first to read it from the disk.
    pub direct_writes: bool,
    /// An open slot of the entry log that holds messages is sealed after this time, so that a
    /// quiet store forgets too; also how long dead slots wait for a snapshot.
    pub roll_after: Duration,
    /// How much the directory may hold, about; publishes are refused first. `None` = the disk.
    pub max_bytes: Option<u64>,
}

const MIB: u64 = 1 << 20;

impl Default for Settings {
    fn default() -> Self {
        Self {
            first_slot: 16 * MIB,
            max_slot: 256 * MIB,
            largest_record: 12 * MIB,
            frame_bytes: 4 * MIB,
            queue_bytes: 64 * MIB,
            cache_bytes: 64 * MIB,
            index_cache_bytes: 32 * MIB,
            cold_reads: 8,
            scrub_bytes_per_second: 4 * MIB,
            scrub_every: Duration::from_secs(86_400),
            witness_after: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
            state_log_bytes: 64 * MIB,
            fill_bytes_per_second: 128 * MIB,
            direct_writes: true,
            roll_after: Duration::from_secs(3_600),
            max_bytes: None,
        }
    }
}

/// What a slot with a single frame holds besides its payload: header page, seal, frame header.
const SLOT_OVERHEAD: u64 = PAGE + SEAL + FRAME_HEADER;

impl Settings {
    /// The shortest slot that takes the largest record, in bytes.
    pub(super) const fn least_slot(&self) -> u64 {
        self.largest_record.next_multiple_of(8).saturating_add(SLOT_OVERHEAD)
    }

    /// The part of `cache_bytes` that is for what was read back from the disk.
    pub(super) const fn read_back_bytes(&self) -> u64 {
        self.cache_bytes / 4
    }

    /// Refuses what cannot be kept: above all a record whose frame does not fit one slot.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let refuse = |text: String| Err(OpenError::Settings(text));
        let Self { first_slot, max_slot, largest_record, .. } = *self;
        if !first_slot.is_multiple_of(PAGE) || first_slot < 2 * PAGE {
            return refuse(format!("a slot of {first_slot} bytes is not two or more 4 KiB pages"));
        }
        if max_slot < first_slot || max_slot >= 1 << 31 {
            return refuse(format!(
                "the largest slot of {max_slot} bytes is smaller than the first or not below 2 GiB"
            ));
        }
        let room = first_slot - SLOT_OVERHEAD;
        if largest_record > room {
            return refuse(format!(
                "an entry of {largest_record} bytes does not fit a slot of {first_slot}, which has \
                 room for {room}"
            ));
        }
        if !(1..=1_024).contains(&self.cold_reads) {
            return refuse(format!("{} cold reads at once are not 1 to 1,024", self.cold_reads));
        }
        Ok(())
    }

    /// Small files, for tests.
    #[cfg(test)]
    pub(crate) fn small() -> Self {
        Self {
            first_slot: 64 << 10,
            max_slot: 256 << 10,
            largest_record: 48 << 10,
            frame_bytes: 16 << 10,
            retry_after: Duration::from_millis(10),
            state_log_bytes: 256 << 10,
            scrub_bytes_per_second: 0,
            fill_bytes_per_second: 0,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_whose_frame_does_not_fit_a_slot_are_refused() {
        let good = Settings::default();
        assert!(good.check().is_ok() && Settings::small().check().is_ok());
        for bad in [
            Settings { largest_record: 16 * MIB - 4_000, ..good.clone() },
            Settings { first_slot: 5_000, largest_record: 1, ..good.clone() },
            Settings { first_slot: 4_096, largest_record: 1, ..good.clone() },
            Settings { max_slot: MIB, ..good.clone() },
            Settings { cold_reads: 0, ..good.clone() },
            Settings { max_slot: 1 << 31, ..good },
        ] {
            assert!(matches!(bad.check(), Err(OpenError::Settings(_))), "{bad:?}");
        }
    }
}
