//! Reads a store back: steps 1 to 7 of `log.md` 2. Writes nothing.
//!
//! A torn tail is cut only if nothing says that more was durable; everything else that is not as it
//! was written refuses the start, with file, offset and what is wrong - never with a life.

use super::OpenError;
use super::disk::{Disk, read_whole};
use super::layout::{PAGE, ROOT, Root, RootError, SNAPSHOT, Stream, UNFINISHED, index};
use super::maps::{State, Topics};
use super::reading::{Reading, Rules, Tail, damaged, failed};
use super::record::{self, RecordError};

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
    /// Slots without a header that nobody names: their fill may have been cut.
    pub(super) unused: Vec<(Stream, u32)>,
    /// All slot files.
    pub(super) slots: Vec<(Stream, u32)>,
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
    if let Some(name) = names.iter().find(|name| name.starts_with(SNAPSHOT)) {
        return Err(OpenError::Newer(format!("{name} is a snapshot; this version reads none")));
    }
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
    let mut topics = Topics::default();
    let mut state = State::default();
    let reader = |stream| Reading::new(disk, &root, stream, &slots, rules);

    let mut entries = reader(Stream::Entries)?;
    entries.run(|slot, at, payload| {
        for placed in read_records(payload, Stream::Entries, slot, at)? {
            let place = (slot, at + placed.at as u64, placed.len, placed.crc);
            if let Err(what) = topics.replay(&placed.record, place) {
                return damaged(&Stream::Entries.file(slot), place.1, &what);
            }
        }
        Ok(())
    })?;
    let mut states = reader(Stream::State)?;
    states.run(|slot, at, payload| {
        for placed in read_records(payload, Stream::State, slot, at)? {
            if let Err(what) = state.replay(placed.record) {
                return damaged(&Stream::State.file(slot), at + placed.at as u64, &what);
            }
        }
        Ok(())
    })?;

    entries.vouched_by(&states)?;
    states.vouched_by(&entries)?;
    agree(&topics, &state)?;
    let mut unused = entries.unused();
    unused.extend(states.unused());
    let unfinished = names.into_iter().filter(|name| name.ends_with(UNFINISHED)).collect();
    let (entries_end, state_end) = (entries.tail(), states.tail());
    let store = root.store;
    Ok(Some(Found { store, topics, state, entries_end, state_end, unused, slots, unfinished }))
}

/// Without a root file there is no store; but a directory that holds frames has lost it.
fn nothing_is_lost(disk: &dyn Disk, names: &[String]) -> Result<(), OpenError> {
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

/// Step 7, as far as the store understands its own content.
fn agree(topics: &Topics, state: &State) -> Result<(), OpenError> {
    if let Some(topic) = topics.unknown() {
        let file = Stream::Entries.file(0);
        return damaged(&file, PAGE, &format!("topic {topic} has entries but no beginning"));
    }
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
