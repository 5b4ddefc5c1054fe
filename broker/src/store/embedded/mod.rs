//! The embedded store: two logs of our own in one directory (`design.md` 3, `log.md`).
//!
//! The entry log holds messages, the state log progress and catalogue; each has one committer
//! thread that gathers what waits into a frame, writes it, makes it durable and only then applies
//! and answers. What lies on the disk is in [`layout`], [`frame`] and [`record`] and is final, and
//! in [`snapshot`] and [`sidecar`], which are versioned. [`keeper`] takes snapshots, so that a start
//! reads them and what lies behind, and [`slots`] knows which files they let go of. In memory are
//! the heads ([`topics`]) and what lies in the open slot; [`indexes`] finds what lies in the others,
//! and [`scrub`] reads those again now and then.

mod api;
mod cache;
mod committer;
mod copy;
mod damage;
mod direct;
mod disk;
mod evaluate;
mod frame;
mod indexer;
mod indexes;
mod keeper;
mod layout;
mod payload;
mod prepare;
mod queue;
mod read;
mod reading;
mod record;
mod recovery;
mod repair;
mod rules;
mod scrub;
mod settings;
mod sidecar;
mod sizes;
mod slots;
mod snapshot;
mod squeezed;
mod state;
mod topics;
mod walk;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::api::EmbeddedStore;
use self::committer::Committer;
pub use self::copy::{
    Checked, Copied, CopyError, Damage, Messages, Stage as CopyStage, backup, check, check_backup,
    restore,
};
use self::disk::{Disk, RealDisk};
use self::indexer::Indexer;
use self::keeper::Keeper;
use self::layout::{Pair, Stream};
use self::prepare::Preparer;
use self::queue::{Desk, Shared};
use self::reading::Tail;
use self::recovery::{Found, Others};
use self::rules::Rules;
use self::scrub::Scrubber;
pub use self::settings::Settings;
use self::slots::{Cover, Slots, Used};
use self::snapshot::Position;
use self::writer::Writer;
use crate::clock::{Clock, SystemClock};
use crate::domain::Time;
use crate::store::Store;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// What is stored is not what was written: file, offset, what is wrong. Nothing was changed.
    #[error("the stored data is damaged: {0}")]
    Damaged(String),
    /// A later version wrote here; this one cannot read it. Nothing was changed.
    #[error("the stored data needs a later version of this program: {0}")]
    Newer(String),
    /// Settings that cannot be kept.
    #[error("{0}")]
    Settings(String),
    /// The directory cannot be read or written.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// A failed fsync: nobody knows what is on the disk. Start again.
    #[error("the store has stopped: {0}")]
    Stopped(String),
}

/// Opens the store in `dir`: lock, recovery, threads.
pub(super) async fn open(dir: &Path, settings: Settings) -> Result<Arc<dyn Store>, OpenError> {
    settings.check()?;
    let dir = dir.to_owned();
    let opening = tokio::task::spawn_blocking(move || {
        let disk = RealDisk::open(&dir)
            .map_err(|error| OpenError::Io(format!("cannot open {}", dir.display()), error))?
            .writing(settings.direct_writes);
        let lock = lock(&dir)?;
        let now = SystemClock::start().wall();
        recover(Arc::new(disk), settings, now)?.start(Some(lock))
    });
    let store = opening
        .await
        .map_err(|error| OpenError::Io(String::from("opening was given up"), error.into()))??;
    Ok(store)
}

/// Takes the directory's lock, held until the file is closed. A lock file that is there is evidence
/// of nothing.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let cannot = |error| OpenError::Io(format!("cannot lock {}", path.display()), error);
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is("no_lock") {
        return Ok(file);
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// A store that was read back and repaired, but whose threads do not run yet.
struct Recovered {
    shared: Arc<Shared>,
    entries: Committer,
    state: Committer,
    preparer: Preparer,
    keeper: Keeper,
    indexer: Indexer,
    scrubber: Scrubber,
}

/// Steps 1 to 8 of `log.md` 2; makes the store if there is none.
fn recover(disk: Arc<dyn Disk>, settings: Settings, now: Time) -> Result<Recovered, OpenError> {
    #[cfg(not(feature = "planted-bugs"))]
    let chosen = Rules::default();
    #[cfg(feature = "planted-bugs")]
    let chosen =
        Rules { planted: crate::planted::is("lenient_recovery").then_some(rules::Bug::Lenient) };
    recover_by(disk, settings, chosen, now)
}

fn recover_by(
    disk: Arc<dyn Disk>,
    settings: Settings,
    rules: Rules,
    now: Time,
) -> Result<Recovered, OpenError> {
    let mut found = recovery::read(disk.as_ref(), rules)?;
    if found.is_none() {
        repair::init(disk.as_ref(), &settings)?;
        found = recovery::read(disk.as_ref(), rules)?;
    }
    let found =
        found.ok_or_else(|| OpenError::Damaged(String::from("the new store is not there")))?;
    let slot_len = |stream, number| queue::slot_len(&settings, stream, number);
    let unsure = repair::repair(disk.as_ref(), &found, rules, now, slot_len)?;
    Ok(assemble(&disk, (settings, rules, now), found, &unsure))
}

/// The files of a stream: those in use, those used before, those never used.
fn slots(
    disk: &dyn Disk,
    others: &Others,
    tail: &Tail,
    unsure: &[(Stream, u32)],
    rules: Rules,
) -> Slots {
    let mut files = others.files.of(tail.stream).clone();
    for slot in &tail.live {
        let used = Used { pages: slot.pages, generation: slot.generation };
        files.insert(slot.number, used);
    }
    let unsure = unsure.iter().filter(|(stream, number)| {
        // One that a seal named is in use, whatever its header says.
        *stream == tail.stream && !files.contains_key(number)
    });
    let unsure = unsure.filter_map(|(stream, number)| {
        let len = disk.len(&stream.file(*number)).unwrap_or_default();
        let pages = u32::try_from(len / layout::PAGE).unwrap_or(u32::MAX);
        (pages > 1).then_some((*number, pages))
    });
    let unsure = unsure.collect();
    let covers: Vec<Cover> =
        others.covers.iter().map(|cover| cover.of(tail.stream).clone()).collect();
    Slots::new(tail.live.clone(), covers, files, unsure, rules)
}

fn assemble(
    disk: &Arc<dyn Disk>,
    (settings, rules, now): (Settings, Rules, Time),
    found: Found,
    unsure: &[(Stream, u32)],
) -> Recovered {
    let started = Instant::now();
    let others = found.others;
    let desk = |tail: &Tail, other: &Tail| {
        // Marks may lie behind it: the process may have died between the two clean frames.
        let vouched = tail.spoke <= other.witness.sequence;
        let mut desk = Desk::default();
        desk.slots = slots(disk.as_ref(), &others, tail, unsure, rules);
        desk.end = tail.end;
        desk.position =
            Position { generation: tail.slot.generation, offset: tail.at, last: tail.end };
        desk.written = tail.read;
        desk.unvouched = (!vouched).then_some(started);
        desk
    };
    let (entries, state) = (&found.entries_end, &found.state_end);
    let desks = Pair { entries: desk(entries, state), state: desk(state, entries) };
    let store = found.store;
    let maps = (found.topics, found.state);
    let shared = Arc::new(Shared::new(Arc::clone(disk), store, (settings, rules), maps, desks));
    // As old as its first entry, whatever the clock has done since.
    let age = found
        .open_since
        .map(|since| Duration::from_secs(now.secs() - since.secs().min(now.secs())));
    let holding = age.map(|age| started.checked_sub(age).unwrap_or(started));
    let committer = |tail: Tail, holding| {
        let of = (tail.stream, store, rules);
        let writer = Writer::new(Arc::clone(disk), of, tail.slot, tail.at, tail.end, tail.page);
        Committer::new(tail.stream, Arc::clone(&shared), writer, holding)
    };
    Recovered {
        entries: committer(found.entries_end, holding),
        state: committer(found.state_end, None),
        preparer: Preparer::new(Arc::clone(&shared)),
        keeper: Keeper::new(Arc::clone(&shared), others.next_snapshot, others.kept.into()),
        indexer: Indexer::new(Arc::clone(&shared)),
        scrubber: Scrubber::new(Arc::clone(&shared)),
        shared,
    }
}

impl Recovered {
    /// Starts the threads.
    ///
    /// Each holds the lock, so that it is free only when none can write any more.
    fn start(self, lock: Option<File>) -> Result<Arc<EmbeddedStore>, OpenError> {
        let Self { shared, entries, state, preparer, keeper, indexer, scrubber } = self;
        let mut threads = Vec::new();
        let lock = lock.map(Arc::new);
        // On an error the store that is made so far ends the threads that run.
        let spawned = spawn(&mut threads, "entry-log", lock.clone(), move || entries.run())
            .and_then(|()| spawn(&mut threads, "state-log", lock.clone(), move || state.run()))
            .and_then(|()| spawn(&mut threads, "slots", lock.clone(), move || preparer.run()))
            .and_then(|()| spawn(&mut threads, "snapshots", lock.clone(), move || keeper.run()))
            .and_then(|()| spawn(&mut threads, "indexes", lock.clone(), move || indexer.run()))
            .and_then(|()| spawn(&mut threads, "scrubber", lock.clone(), move || scrubber.run()));
        let store = EmbeddedStore::new(shared, threads, lock);
        spawned.map(|()| store).map_err(|error| {
            OpenError::Io(String::from("cannot start the threads of the store"), error)
        })
    }
}

fn spawn(
    threads: &mut Vec<JoinHandle<()>>,
    name: &str,
    lock: Option<Arc<File>>,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        run();
        drop(lock);
    };
    threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
    Ok(())
}
