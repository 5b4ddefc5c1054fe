//! Makes a store and makes one sound again: the first files, and step 8 of `log.md` 2. Nothing is
//! served before it ends, and it needs no new space.

use std::io;

use tracing::warn;

use super::direct::Aligned;
use super::disk::Disk;
use super::layout::{Life, PAGE, ROOT, Root, Slot, Stream, UNFINISHED, index, page_down};
use super::queue::slot_len;
use super::reading::{Tail, failed};
use super::recovery::{Found, Others};
use super::rules::{Bug, Rules};
use super::{OpenError, Settings};
use crate::domain::Time;

/// How much of a fresh slot is filled at once, in bytes.
pub(super) const FILL: u64 = 1 << 20;

/// A failed fsync: nobody knows what is on the disk, so this process must not go on.
fn unsynced<'a>(name: &'a str) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |error| OpenError::Stopped(format!("cannot fsync {name}: {error}"))
}

/// Makes an empty store in `disk`, which holds none. The root file comes last: the store exists
/// when it does.
pub(super) fn init(disk: &dyn Disk, settings: &Settings) -> Result<(), OpenError> {
    for name in disk.list().map_err(failed("list", "the directory"))? {
        if Stream::parse(&name).is_some() || name.ends_with(UNFINISHED) {
            disk.remove(&name).map_err(failed("remove", &name))?;
        }
    }
    let store = rand::random();
    let first = |stream| {
        let pages = u32::try_from(slot_len(settings, stream, 0) / PAGE).unwrap_or(u32::MAX);
        Slot { number: 0, pages, life: Life::draw(), generation: 1, first: 1, previous: 0 }
    };
    let root = Root { store, entries: first(Stream::Entries), state: first(Stream::State) };
    for stream in Stream::ALL {
        let slot = root.first(stream);
        let file = stream.file(slot.number);
        disk.create(&file).map_err(failed("create", &file))?;
        fill(disk, &file, slot.len(), || Ok(true)).map_err(failed("fill", &file))?;
        let header = slot.header(stream, store);
        disk.write(&file, 0, &header).map_err(failed("write", &file))?;
        disk.sync(&file).map_err(unsynced(&file))?;
    }
    disk.sync_dir().map_err(unsynced("the directory"))?;
    let unfinished = format!("{ROOT}{UNFINISHED}");
    disk.create(&unfinished).map_err(failed("create", &unfinished))?;
    disk.write(&unfinished, 0, &root.encode()).map_err(failed("write", &unfinished))?;
    disk.sync(&unfinished).map_err(unsynced(&unfinished))?;
    disk.rename(&unfinished, ROOT).map_err(failed("rename", &unfinished))?;
    disk.sync_dir().map_err(unsynced("the directory"))
}

/// Writes zeros over the first `len` bytes of a file, [`FILL`] at a time as long as `go_on` says
/// so; answers whether it got to the end. Nobody reads them, so they need not go through the page
/// cache: that would cost as much CPU as the messages that replace them.
pub(super) fn fill(
    disk: &dyn Disk,
    file: &str,
    len: u64,
    go_on: impl Fn() -> io::Result<bool>,
) -> io::Result<bool> {
    let zeros = Aligned::zeros(index(FILL.min(len)));
    let mut at = 0;
    while at < len {
        if !go_on()? {
            return Ok(false);
        }
        let part = zeros.bytes().get(..index(FILL.min(len - at))).unwrap_or_default();
        disk.write_direct(file, at, part)?;
        at += part.len() as u64;
    }
    Ok(true)
}

/// Step 8. Answers the slots that were never used and look filled: their fsync may never have
/// happened, so that they must be filled again before they are used.
///
/// `now` names the copy of a torn tail; `slot_len` is how long a slot of this number shall be.
pub(super) fn repair(
    disk: &dyn Disk,
    found: &Found,
    rules: Rules,
    now: Time,
    slot_len: impl Fn(Stream, u32) -> u64,
) -> Result<Vec<(Stream, u32)>, OpenError> {
    for tail in [&found.entries_end, &found.state_end] {
        keep_torn(disk, tail, now);
        rewrite(disk, found.store, tail, rules)?;
    }
    let Others { damaged, old, broken, unfinished, headless, .. } = &found.others;
    for name in damaged {
        let aside = format!("{name}.damaged");
        disk.rename(name, &aside).map_err(failed("rename", name))?;
    }
    for name in old.iter().chain(broken).chain(unfinished) {
        disk.remove(name).map_err(failed("remove", name))?;
    }
    let mut unsure = Vec::new();
    for (stream, number) in headless {
        let file = stream.file(*number);
        if disk.len(&file).map_err(failed("read", &file))? == slot_len(*stream, *number) {
            unsure.push((*stream, *number));
        } else {
            disk.remove(&file).map_err(failed("remove", &file))?;
        }
    }
    disk.sync_dir().map_err(unsynced("the directory"))?;
    Ok(unsure)
}

/// Whether an error only says that the disk is full.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Copies what is about to be cut aside. A full disk must not stop recovery: an error is logged.
fn keep_torn(disk: &dyn Disk, tail: &Tail, now: Time) {
    if tail.torn.is_empty() {
        return;
    }
    let file = tail.stream.file(tail.slot.number);
    let copy = format!("{file}.torn-{}", now.secs());
    let kept = disk.create(&copy).and_then(|()| disk.write(&copy, 0, &tail.torn));
    let bytes = tail.torn.len();
    warn!(file, offset = tail.at, bytes, copy, "a torn tail is cut: no answer was given for it");
    if let Err(error) = kept {
        warn!(copy, %error, "the torn tail could not be kept");
        if let Err(error) = disk.remove(&copy) {
            warn!(copy, %error, "the unfinished copy of a torn tail stays");
        }
    }
}

/// Writes the last intact frame and the last header again, always: a killed process leaves the
/// page cache, not the disk.
fn rewrite(disk: &dyn Disk, store: u64, tail: &Tail, rules: Rules) -> Result<(), OpenError> {
    let file = tail.stream.file(tail.slot.number);
    if let Some(last) = &tail.last
        && !(last.clean && rules.plants(Bug::NoRewriteClean))
    {
        let of = tail.stream.file(last.slot);
        disk.write(&of, last.from, &last.pages).map_err(failed("write", &of))?;
        if last.slot != tail.slot.number {
            disk.sync(&of).map_err(unsynced(&of))?;
        }
    }
    if !tail.torn.is_empty() {
        let mut pages = tail.page.clone();
        pages.resize(pages.len() + tail.torn.len(), 0);
        let from = page_down(tail.at);
        disk.write(&file, from, &pages).map_err(failed("write", &file))?;
    }
    if !(tail.headed && rules.plants(Bug::NoHeaderRewrite)) {
        let header = tail.slot.header(tail.stream, store);
        disk.write(&file, 0, &header).map_err(failed("write", &file))?;
    }
    disk.sync(&file).map_err(unsynced(&file))
}
