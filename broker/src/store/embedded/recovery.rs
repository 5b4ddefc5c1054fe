//! Reads a store back: steps 1 to 7 of `log.md` 2. Writes nothing.
//!
//! A torn tail is cut only if nothing says that more was durable; everything else that is not as it
//! was written refuses the start, with file, offset and what is wrong - never with a life.

use std::collections::BTreeMap;

use tracing::warn;

use super::OpenError;
use super::disk::{Disk, read_whole};
use super::layout::{Header, PAGE, Pair, ROOT, Root, RootError, Stream, UNFINISHED, index};
use super::reading::{Reading, Tail, damaged, failed};
use super::record::{self, Record, RecordError};
use super::rules::{Bug, Rules};
use super::slots::{Cover, KEPT, Used};
use super::snapshot::{Noted, Snapshot, SnapshotError};
use super::state::State;
use super::topics::{Lies, Topics};
use crate::domain::Time;

/// What is on the disk.
pub(super) struct Found {
    /// The store's id.
    pub(super) store: u64,
    /// What the entry log adds up to.
    pub(super) topics: Topics,
    /// What the state log adds up to.
    pub(super) state: State,
    /// Where the entry log ends.
    pub(super) entries_end: Tail,
    /// Where the state log ends.
    pub(super) state_end: Tail,
    /// What is in the directory beside.
    pub(super) others: Others,
    /// Time of the first entry read in the open slot.
    pub(super) open_since: Option<Time>,
}

/// Files that are not read, and what is to become of them.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// What the kept snapshots need, oldest first.
    pub(super) covers: Vec<Pair<Cover>>,
    /// Numbers of the kept snapshots, oldest first; 0 is the root file.
    pub(super) kept: Vec<u64>,
    /// Number of the next snapshot.
    pub(super) next_snapshot: u64,
    /// Snapshots that are not intact.
    pub(super) damaged: Vec<String>,
    /// Snapshots older than the kept ones.
    pub(super) old: Vec<String>,
    /// Slot files of full length that were used before.
    pub(super) files: Pair<BTreeMap<u32, Used>>,
    /// Slots without a header that nobody names: their fill may have been cut.
    pub(super) headless: Vec<(Stream, u32)>,
    /// Slots that were used before, and are not of their length any more.
    pub(super) broken: Vec<String>,
    /// Files that were never finished.
    pub(super) unfinished: Vec<String>,
}

/// Reads the store in `disk`; `None` if there is none.
///
/// # Errors
/// [`OpenError::Damaged`], [`OpenError::Newer`], [`OpenError::Io`].
pub(super) fn read(disk: &dyn Disk, rules: Rules) -> Result<Option<Found>, OpenError> {
    let mut names = disk.list().map_err(failed("list", "the directory"))?;
    names.sort_unstable();
    if !names.iter().any(|name| name == ROOT) {
        return nothing_is_lost(disk, &names).map(|()| None);
    }
    let content = read_whole(disk, ROOT).map_err(failed("read", ROOT))?;
    let root = match Root::decode(&content) {
        Ok(root) => root,
        Err(RootError::Damaged) => return damaged(ROOT, 0, "the root file is damaged"),
        Err(RootError::Newer) => return Err(OpenError::Newer(format!("{ROOT} names its format"))),
    };
    let slots: Vec<(Stream, u32)> = names.iter().filter_map(|name| Stream::parse(name)).collect();
    let mut others = Others::default();
    let used = snapshots(disk, &root, &names, &mut others)?;
    let Snapshot { streams, mut topics, mut state } = used;
    let reader = |stream| Reading::new(disk, root.store, streams.of(stream), stream, &slots, rules);

    let mut entries = reader(Stream::Entries)?;
    let mut open_since = (0, None);
    let mut open = 0;
    entries.run(|slot, at, payload| {
        if open != slot.generation {
            open = slot.generation;
            // Indexes are there, or are made when they are needed.
            topics.seal_before(open);
        }
        for placed in read_records(payload, Stream::Entries, slot.number, at)? {
            let at = at + placed.at as u64;
            let (generation, number) = (slot.generation, slot.number);
            let lies = Lies { generation, slot: number, at, len: placed.len, crc: placed.crc };
            if let Record::Entry(_, entry) = &placed.record
                && open_since.0 != generation
            {
                open_since = (generation, Some(entry.time));
            }
            if let Err(what) = topics.replay(&placed.record, lies) {
                return damaged(&Stream::Entries.file(slot.number), at, &what);
            }
            if rules.plants(Bug::UnknownLifeRefuse) {
                known(&topics)?;
            }
        }
        Ok(())
    })?;
    let mut states = reader(Stream::State)?;
    states.run(|slot, at, payload| {
        for placed in read_records(payload, Stream::State, slot.number, at)? {
            if let Err(what) = state.replay(placed.record) {
                return damaged(&Stream::State.file(slot.number), at + placed.at as u64, &what);
            }
        }
        Ok(())
    })?;

    entries.vouched_by(&states)?;
    states.vouched_by(&entries)?;
    agree(&topics, &state)?;
    sort_files(disk, &entries, Stream::Entries, &mut others)?;
    sort_files(disk, &states, Stream::State, &mut others)?;
    others.unfinished = names.into_iter().filter(|name| name.ends_with(UNFINISHED)).collect();
    let (entries_end, state_end) = (entries.tail()?, states.tail()?);
    let in_open = open_since.0 == entries_end.slot.generation;
    let open_since = open_since.1.filter(|_| in_open);
    topics.seal_before(entries_end.slot.generation);
    let store = root.store;
    Ok(Some(Found { store, topics, state, entries_end, state_end, others, open_since }))
}

/// Step 2: all snapshots; the newest intact one is used, the root file if there is none.
fn snapshots(
    disk: &dyn Disk,
    root: &Root,
    names: &[String],
    others: &mut Others,
) -> Result<Snapshot, OpenError> {
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| Snapshot::parse_name(name)).collect();
    numbers.sort_unstable();
    others.next_snapshot = numbers.last().map_or(1, |last| last.saturating_add(1));
    let mut used: Option<Snapshot> = None;
    let mut covers = Vec::new();
    while let Some(number) = numbers.pop() {
        let name = Snapshot::file(number);
        if covers.len() >= KEPT {
            others.old.push(name);
            continue;
        }
        let content = read_whole(disk, &name).map_err(failed("read", &name))?;
        let streams = match used {
            None => Snapshot::decode(&content, root.store, number)
                .map(|found| used.insert(found).streams.clone()),
            Some(_) => Snapshot::notes(&content, root.store, number),
        };
        match streams {
            Ok(streams) => {
                covers.push(covers_of(&streams));
                others.kept.insert(0, number);
            }
            Err(SnapshotError::Damaged) => {
                warn!(name, "a snapshot is damaged: the one before it is used");
                others.damaged.push(name);
            }
            Err(SnapshotError::Newer) => {
                return Err(OpenError::Newer(format!("{name} names its format")));
            }
        }
    }
    let of_root = Snapshot::of_root(root);
    if covers.len() < KEPT {
        covers.push(covers_of(&of_root.streams));
        others.kept.insert(0, 0);
    }
    covers.reverse();
    others.covers = covers;
    Ok(used.unwrap_or(of_root))
}

fn covers_of(streams: &Pair<Noted>) -> Pair<Cover> {
    let Pair { entries, state } = streams;
    Pair { entries: entries.cover(), state: state.cover() }
}

/// What is to become of the stream's files that are not in use.
fn sort_files(
    disk: &dyn Disk,
    reading: &Reading<'_>,
    stream: Stream,
    others: &mut Others,
) -> Result<(), OpenError> {
    for (number, header) in reading.unused() {
        let file = stream.file(number);
        let listed = others.covers.iter().any(|cover| cover.of(stream).listed.contains(&number));
        let Header::Intact(slot) = header else {
            // Damage to what only an older snapshot needs is left for whoever looks into it.
            if !listed {
                others.headless.push((stream, number));
            }
            continue;
        };
        if disk.len(&file).map_err(failed("read", &file))? == slot.len() {
            let used = Used { pages: slot.pages, generation: slot.generation };
            others.files.of_mut(stream).insert(number, used);
        } else if !listed {
            others.broken.push(file);
        }
    }
    Ok(())
}

/// Without a root file there is no store; but a directory that holds frames has lost it.
fn nothing_is_lost(disk: &dyn Disk, names: &[String]) -> Result<(), OpenError> {
    if let Some(name) = names.iter().find(|name| Snapshot::parse_name(name).is_some()) {
        return damaged(ROOT, 0, &format!("the root file is missing, but {name} is there"));
    }
    for name in names.iter().filter(|name| Stream::parse(name).is_some()) {
        let content = read_whole(disk, name).map_err(failed("read", name))?;
        let behind_header = content.get(index(PAGE)..).unwrap_or_default();
        if behind_header.iter().any(|byte| *byte != 0) {
            return damaged(ROOT, 0, &format!("the root file is missing, but {name} holds data"));
        }
    }
    Ok(())
}

fn read_records(
    payload: &[u8],
    stream: Stream,
    slot: u32,
    at: u64,
) -> Result<Vec<record::Placed>, OpenError> {
    record::read_all(payload, stream).map_err(|error| match error {
        RecordError::Malformed(what) => {
            OpenError::Damaged(format!("{} at offset {at}: malformed {what}", stream.file(slot)))
        }
        RecordError::Unknown(kind, version) => OpenError::Newer(format!(
            "{} at offset {at}: record kind {kind} version {version}",
            stream.file(slot)
        )),
    })
}

fn known(topics: &Topics) -> Result<(), OpenError> {
    let Some(topic) = topics.unknown() else { return Ok(()) };
    let file = Stream::Entries.file(0);
    damaged(&file, PAGE, &format!("topic {topic} has entries but no beginning"))
}

/// Step 7, as far as the store understands its own content.
fn agree(topics: &Topics, state: &State) -> Result<(), OpenError> {
    known(topics)?;
    for (subscription, progress) in &state.progress {
        let head = topics.open.get(&progress.topic).map(|topic| &topic.head);
        if let Some(head) = head.filter(|head| progress.position > head.next) {
            return Err(OpenError::Damaged(format!(
                "{}: the position {} of subscription {subscription} is past the head {} of topic {}",
                Stream::Entries.file(0),
                progress.position,
                head.next,
                progress.topic
            )));
        }
    }
    Ok(())
}
