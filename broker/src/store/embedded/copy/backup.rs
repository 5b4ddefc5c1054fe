//! A consistent copy of a store that runs.

use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::check::check;
use super::manifest::{MANIFEST, Manifest, Member};
use super::restore::BackupDisk;
use super::{Copied, CopyError, Progress, Stage, failed};
use crate::clock::{Clock as _, SystemClock};
use crate::store::embedded::disk::{Disk, RealDisk, read_whole};
use crate::store::embedded::layout::{Header, PAGE, Pair, ROOT, Slot, Stream, UNFINISHED, index};
use crate::store::embedded::queue::{Phase, Shared};
use crate::store::embedded::reading::Tail;
use crate::store::embedded::recovery::Found;
use crate::store::embedded::repair::FILL;
use crate::store::embedded::snapshot::{Position, Snapshot};

/// How long a moment is sought at which nothing is half-way.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);

/// While it lives no snapshot is taken, so no file that one let go of is used again.
struct Pin<'a>(&'a Shared);

impl<'a> Pin<'a> {
    /// Waits for the snapshot that is being taken.
    fn take(shared: &'a Shared) -> Result<Self, CopyError> {
        shared.board().pins += 1;
        let pin = Self(shared);
        wait_until(shared, |shared| (!shared.board().snapshotting).then_some(()))?;
        Ok(pin)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut board = self.0.board();
        board.pins = board.pins.saturating_sub(1);
        self.0.wake_keeper(&mut board);
    }
}

fn wait_until<T>(shared: &Shared, ready: impl Fn(&Shared) -> Option<T>) -> Result<T, CopyError> {
    let until = Instant::now() + PATIENCE;
    loop {
        if shared.board().phase != Phase::Open {
            return Err(CopyError::Refused(String::from("the store is not open")));
        }
        if let Some(found) = ready(shared) {
            return Ok(found);
        }
        if Instant::now() >= until {
            return Err(CopyError::Refused(String::from("the store is too busy for a cut")));
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// Where both logs end in a copy, and in which file.
pub(super) struct Cut(Pair<(Position, u32)>);

impl Cut {
    /// Where both logs were durable, and everything durable applied, at one moment: so no frame
    /// before it witnesses one behind it.
    fn of_open(shared: &Shared) -> Result<Self, CopyError> {
        wait_until(shared, |shared| {
            let board = shared.board();
            let settled = |stream| {
                let desk = board.desks.of(stream);
                let open = desk.slots.live.last()?;
                let settled = desk.position.last == desk.end
                    && !desk.slots.is_switching()
                    && open.generation == desk.position.generation;
                settled.then_some((desk.position, open.number))
            };
            let entries = settled(Stream::Entries)?;
            Some(Self(Pair { entries, state: settled(Stream::State)? }))
        })
    }

    /// Where the logs of a store that nobody serves end.
    pub(super) fn of_closed(found: &Found) -> Self {
        let end = |tail: &Tail| {
            let generation = tail.slot.generation;
            (Position { generation, offset: tail.at, last: tail.end }, tail.slot.number)
        };
        Self(Pair { entries: end(&found.entries_end), state: end(&found.state_end) })
    }
}

/// A file to be copied, and how much of it.
struct Part {
    name: String,
    length: u64,
    bytes: u64,
}

/// Copies a cut of a store that serves.
pub(super) fn of_open(
    shared: &Shared,
    to: &Path,
    dry_run: bool,
    progress: Progress<'_>,
) -> Result<Copied, CopyError> {
    let _pin = Pin::take(shared)?;
    let cut = Cut::of_open(shared)?;
    copy(shared.disk.as_ref(), shared.store, &cut, to, dry_run, progress)
}

/// Copies what lies before `cut` to `to`, which must be absent or empty, and reads it back.
///
/// # Errors
/// See [`CopyError`].
pub(super) fn copy(
    source: &dyn Disk,
    store: u64,
    cut: &Cut,
    to: &Path,
    dry_run: bool,
    progress: Progress<'_>,
) -> Result<Copied, CopyError> {
    let parts = parts(source, store, cut)?;
    let all = parts.iter().map(|part| part.bytes).sum();
    let files = parts.len() as u64;
    if dry_run {
        return Ok(Copied { files, bytes: all, ..Copied::default() });
    }
    let target = empty(to)?;
    let (mut done, mut members) = (0, Vec::new());
    for part in parts {
        let member = copy_file(source, &target, part, |bytes| {
            done += bytes;
            progress(Stage::Copying, done, all);
        })?;
        members.push(member);
    }
    target.sync_dir().map_err(failed("fsync", "the backup's directory"))?;
    let manifest = Manifest::new(store, SystemClock::start().wall(), members);
    let unencoded = |error| CopyError::Refused(format!("cannot write the manifest: {error}"));
    let content = manifest.encode().map_err(unencoded)?;
    let unfinished = format!("{MANIFEST}{UNFINISHED}");
    target
        .create(&unfinished)
        .and_then(|()| target.write(&unfinished, 0, &content))
        .and_then(|()| target.sync(&unfinished))
        .and_then(|()| target.rename(&unfinished, MANIFEST))
        .and_then(|()| target.sync_dir())
        .map_err(failed("write", MANIFEST))?;
    let (_, checked) = check(&BackupDisk::open(to)?, progress)?;
    Ok(Copied { files, bytes: all, checked })
}

/// Opens `dir`, which must be absent or empty.
fn empty(dir: &Path) -> Result<RealDisk, CopyError> {
    let shown = dir.display().to_string();
    let disk = RealDisk::open(dir).map_err(failed("open", &shown))?;
    match std::fs::read_dir(dir).map(|mut found| found.next().is_none()) {
        Ok(true) => Ok(disk),
        Ok(false) => Err(CopyError::NotEmpty(dir.to_owned())),
        Err(error) => Err(failed("list", &shown)(error)),
    }
}

/// What a start needs that finds the cut: root, newest snapshot, its slots and all later ones. Those
/// are found by their headers: one that died behind the snapshot is in no list, but is replayed.
fn parts(disk: &dyn Disk, store: u64, Cut(cut): &Cut) -> Result<Vec<Part>, CopyError> {
    let names = disk.list().map_err(failed("list", "the directory"))?;
    let mut parts = Vec::new();
    let root_len = disk.len(ROOT).map_err(failed("read", ROOT))?;
    parts.push(Part { name: String::from(ROOT), length: root_len, bytes: root_len });
    let mut covered: Pair<(u64, Vec<u32>)> = Pair::default();
    let mut snapshots: Vec<u64> =
        names.iter().filter_map(|name| Snapshot::parse_name(name)).collect();
    snapshots.sort_unstable();
    for number in snapshots.into_iter().rev() {
        let name = Snapshot::file(number);
        let content = read_whole(disk, &name).map_err(failed("read", &name))?;
        // A damaged one is what the one before it is kept for.
        if let Ok(found) = Snapshot::decode(&content, store, number) {
            for stream in Stream::ALL {
                let noted = found.streams.of(stream);
                let listed = noted.slots.iter().map(|slot| slot.number).collect();
                *covered.of_mut(stream) = (noted.position.generation, listed);
            }
            let length = content.len() as u64;
            parts.push(Part { name, length, bytes: length });
            break;
        }
    }
    for (stream, number) in names.iter().filter_map(|name| Stream::parse(name)) {
        let file = stream.file(number);
        let (from, listed) = covered.of(stream);
        let (to, open) = cut.of(stream);
        let length = disk.len(&file).map_err(failed("read", &file))?;
        // Perhaps without a header yet, if its switch was cut.
        if number == *open {
            parts.push(Part { name: file, length, bytes: to.offset });
            continue;
        }
        let slot = header(disk, store, stream, number).map_err(failed("read", &file))?;
        let needed = |slot: &Slot| {
            listed.contains(&number) || (*from..to.generation).contains(&slot.generation)
        };
        if slot.as_ref().is_some_and(needed) {
            parts.push(Part { name: file, length, bytes: length });
        }
    }
    Ok(parts)
}

fn header(
    disk: &dyn Disk,
    store: u64,
    stream: Stream,
    number: u32,
) -> std::io::Result<Option<Slot>> {
    let file = stream.file(number);
    // A short one is being made.
    if disk.len(&file)? < PAGE {
        return Ok(None);
    }
    let mut page = vec![0; index(PAGE)];
    disk.read(&file, 0, &mut page)?;
    match Slot::parse_header(&page, stream, store, number) {
        Header::Intact(slot) => Ok(Some(slot)),
        Header::Newer | Header::None => Ok(None),
    }
}

/// Copies and hashes; told after each piece how large it was.
fn copy_file(
    source: &dyn Disk,
    target: &dyn Disk,
    part: Part,
    mut copied: impl FnMut(u64),
) -> Result<Member, CopyError> {
    let Part { name, length, bytes } = part;
    let mut hash = Sha256::new();
    let mut piece = vec![0; index(FILL)];
    target.create(&name).map_err(failed("create", &name))?;
    let mut at = 0;
    while at < bytes {
        let len = index(FILL.min(bytes - at));
        let piece = piece.get_mut(..len).unwrap_or_default();
        source.read(&name, at, piece).map_err(failed("read", &name))?;
        hash.update(&*piece);
        target.write(&name, at, piece).map_err(failed("write the copy of", &name))?;
        at += len as u64;
        copied(len as u64);
    }
    target.sync(&name).map_err(failed("fsync the copy of", &name))?;
    Ok(Member { name, length, bytes, sha256: super::hex(&hash.finalize()) })
}
