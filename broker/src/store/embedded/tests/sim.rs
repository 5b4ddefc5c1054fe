//! A disk whose power can be cut: a page cache over 512-byte sectors, names apart from contents,
//! and a failure at the n-th call.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::embedded::disk::Disk;

const SECTOR: usize = 512;
const PAGE: usize = 4_096;

/// SplitMix64: the same seed, the same run.
#[derive(Debug, Clone)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

#[derive(Debug, Clone, Default)]
struct SimFile {
    /// What surely survives.
    disk: Vec<u8>,
    /// What a read sees.
    cache: Vec<u8>,
    /// By sector, the versions written since the last fsync.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
}

#[derive(Debug, Clone)]
enum NameOp {
    Set(String, u64),
    Rename(String, String, u64),
    Remove(String),
}

#[derive(Debug, Clone)]
pub(super) struct State {
    files: HashMap<u64, SimFile>,
    next: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending: Vec<NameOp>,
    rng: Rng,
    /// The process dies at this many calls from now.
    pub(super) fuse: Option<u64>,
    /// This many fsyncs from now one fails.
    pub(super) fail_sync: Option<u64>,
    /// How many bytes all files may have.
    pub(super) capacity: usize,
    /// The process is dead: every call fails.
    pub(super) dead: bool,
    /// How many fsyncs there were after one failed.
    pub(super) syncs_after_failure: u64,
    failed: bool,
    /// Answered fsyncs.
    pub(super) syncs: u64,
    /// How far each file was read.
    pub(super) read: BTreeMap<String, usize>,
    /// This file takes no write: its blocks would be new ones.
    pub(super) full_for: Option<String>,
    /// Every write panics.
    pub(super) panics: bool,
    /// How many snapshots of a hundred rot as they are written.
    pub(super) rots: usize,
}

#[derive(Debug)]
pub(super) struct Sim(Mutex<State>);

impl Sim {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            files: HashMap::new(),
            next: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            rng: Rng(seed),
            fuse: None,
            fail_sync: None,
            capacity: usize::MAX,
            dead: false,
            syncs_after_failure: 0,
            failed: false,
            syncs: 0,
            read: BTreeMap::new(),
            full_for: None,
            panics: false,
            rots: 0,
        })))
    }

    /// Another disk with the same content.
    pub(super) fn copy(&self) -> Arc<Self> {
        Arc::new(Self(Mutex::new(self.state().clone())))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What was not synced is lost, whole or in part, in any order. The machine is up again.
    pub(super) fn power_cut(&self) {
        let mut state = self.state();
        state.settle_names();
        state.names = state.durable_names.clone();
        let State { files, names, rng, .. } = &mut *state;
        files.retain(|id, _| names.values().any(|named| named == id));
        let mut ids: Vec<u64> = files.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let file = files.get_mut(&id).unwrap();
            file.settle(rng);
            file.cache = file.disk.clone();
        }
        state.revive();
    }

    /// The process died; the page cache lives on, but clean pages may have left it, which shows
    /// what is on the disk after a failed fsync.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        let State { files, rng, .. } = &mut *state;
        let mut ids: Vec<u64> = files.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let file = files.get_mut(&id).unwrap();
            if file.disk != file.cache {
                file.forget(|| rng.percent(50));
            }
        }
        state.revive();
    }

    /// The process died; the page cache is as it was.
    pub(super) fn kill_keeping_cache(&self) {
        self.state().revive();
    }

    /// Another course of events from here on.
    pub(super) fn reseed(&self, seed: u64) {
        self.state().rng = Rng(seed);
    }

    /// The content that a read sees.
    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[&state.names[name]].cache.clone()
    }

    /// Replaces a file's content; `None` deletes it. Durable at once.
    pub(super) fn put(&self, name: &str, content: Option<Vec<u8>>) {
        let mut state = self.state();
        let Some(content) = content else {
            state.names.remove(name);
            state.durable_names.remove(name);
            return;
        };
        let id = state.next;
        state.next += 1;
        let file = SimFile { disk: content.clone(), cache: content, dirty: BTreeMap::new() };
        state.files.insert(id, file);
        state.names.insert(name.to_owned(), id);
        state.durable_names.insert(name.to_owned(), id);
    }

    /// Flips one bit of what a read sees.
    pub(super) fn flip(&self, name: &str, bit: usize) {
        let mut state = self.state();
        let id = state.names[name];
        state.files.get_mut(&id).unwrap().cache[bit / 8] ^= 1 << (bit % 8);
    }

    /// Flips one bit of what is on the disk, under what a read sees.
    pub(super) fn rot(&self, name: &str, bit: usize) {
        let mut state = self.state();
        let id = state.names[name];
        state.files.get_mut(&id).unwrap().disk[bit / 8] ^= 1 << (bit % 8);
    }

    /// Shortens what a read sees.
    pub(super) fn cut(&self, name: &str, len: usize) {
        let mut state = self.state();
        let id = state.names[name];
        state.files.get_mut(&id).unwrap().cache.truncate(len);
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl SimFile {
    /// Each dirty sector reaches the disk in any of its versions, or not.
    /// Clean pages leave the page cache, those that `goes` says.
    fn forget(&mut self, mut goes: impl FnMut() -> bool) {
        for page in 0..self.cache.len().div_ceil(PAGE) {
            let sectors = page * PAGE / SECTOR..(page + 1) * PAGE / SECTOR;
            if self.dirty.range(sectors).next().is_none() && goes() {
                for at in page * PAGE..((page + 1) * PAGE).min(self.cache.len()) {
                    self.cache[at] = self.disk.get(at).copied().unwrap_or(0);
                }
            }
        }
    }

    fn settle(&mut self, rng: &mut Rng) {
        let dirty = std::mem::take(&mut self.dirty);
        if self.disk.len() < self.cache.len() {
            let more = (self.cache.len() - self.disk.len()).div_ceil(SECTOR);
            let len = self.disk.len() + rng.below(more + 1) * SECTOR;
            self.disk.resize(len.min(self.cache.len()), 0);
        }
        let mode = rng.below(6);
        for (sector, versions) in dirty {
            let taken = match mode {
                0 => 0,
                1 => versions.len(),
                2 => versions.len() * usize::from(rng.percent(90)),
                3 => versions.len() * usize::from(rng.percent(10)),
                _ => rng.below(versions.len() + 1),
            };
            let Some(version) = taken.checked_sub(1).map(|taken| &versions[taken]) else {
                continue;
            };
            let from = sector * SECTOR;
            let to = (from + version.len()).min(self.disk.len());
            if from < to {
                self.disk[from..to].copy_from_slice(&version[..to - from]);
            }
        }
    }
}

impl State {
    fn revive(&mut self) {
        (self.dead, self.fuse, self.fail_sync) = (false, None, None);
        (self.failed, self.syncs_after_failure) = (false, 0);
    }

    /// Whether the process dies in this call.
    fn tick(&mut self) -> io::Result<bool> {
        if self.dead {
            return Err(io::Error::other("dead"));
        }
        if let Some(left) = self.fuse {
            self.fuse = left.checked_sub(1);
            self.dead = self.fuse.is_none();
        }
        Ok(self.dead)
    }

    fn alive(&mut self) -> io::Result<()> {
        if self.tick()? { Err(io::Error::other("died")) } else { Ok(()) }
    }

    /// `matters` unless it is a snapshot's content: nothing hangs on that.
    fn sync_fails(&mut self, matters: bool) -> bool {
        if self.failed && matters {
            self.syncs_after_failure += 1;
        }
        self.syncs += 1;
        let Some(left) = self.fail_sync else { return false };
        self.fail_sync = left.checked_sub(1);
        let fails = self.fail_sync.is_none();
        self.failed |= fails && matters;
        fails
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(names: &mut BTreeMap<String, u64>, op: &NameOp) {
        match op {
            NameOp::Set(name, id) => {
                names.insert(name.clone(), *id);
            }
            NameOp::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            NameOp::Remove(name) => {
                names.remove(name);
            }
        }
    }

    fn change_name(&mut self, op: NameOp) {
        Self::apply(&mut self.names, &op);
        self.pending.push(op);
    }

    fn settle_names(&mut self) {
        let mode = self.rng.below(4);
        for op in std::mem::take(&mut self.pending) {
            if mode == 1 || (mode > 1 && self.rng.percent(50)) {
                Self::apply(&mut self.durable_names, &op);
            }
        }
    }
}

impl Disk for Sim {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[&state.id(name)?].cache.len() as u64)
    }

    fn read(&self, name: &str, at: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        let at = usize::try_from(at).unwrap();
        if let Some(read) = state.read.get_mut(name) {
            *read = (*read).max(at + out.len());
        } else {
            state.read.insert(name.to_owned(), at + out.len());
        }
        let content = &state.files[&state.id(name)?].cache;
        let part = content.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let id = state.next;
        state.next += 1;
        state.files.insert(id, SimFile::default());
        state.change_name(NameOp::Set(name.to_owned(), id));
        Ok(())
    }

    fn write(&self, name: &str, at: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.panics {
            drop(state);
            panic!("as the test wants");
        }
        let dies = state.tick()?;
        let id = state.id(name)?;
        let at = usize::try_from(at).unwrap();
        let used: usize = state.names.values().map(|id| state.files[id].cache.len()).sum();
        let more = (at + data.len()).saturating_sub(state.files[&id].cache.len());
        let full = state.full_for.as_deref() == Some(name);
        if full || more > 0 && used + more > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let sectors = data.len().div_ceil(SECTOR);
        let len = if dies { state.rng.below(sectors + 1) * SECTOR } else { data.len() };
        let mut data = data[..len.min(data.len())].to_vec();
        let rots = state.rots;
        if rots > 0 && name.starts_with("snap") && !data.is_empty() && state.rng.percent(rots) {
            let at = state.rng.below(data.len());
            data[at] ^= 16;
        }
        let file = state.files.get_mut(&id).unwrap();
        if file.cache.len() < at + data.len() {
            file.cache.resize(at + data.len(), 0);
        }
        file.cache[at..at + data.len()].copy_from_slice(&data);
        for sector in at / SECTOR..(at + data.len()).div_ceil(SECTOR) {
            let to = ((sector + 1) * SECTOR).min(file.cache.len());
            let version = file.cache[sector * SECTOR..to].to_vec();
            let versions = file.dirty.entry(sector).or_default();
            if versions.last() != Some(&version) {
                versions.push(version);
            }
        }
        if dies { Err(io::Error::other("died")) } else { Ok(()) }
    }

    fn uncache(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let id = state.id(name)?;
        state.files.get_mut(&id).unwrap().forget(|| true);
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let id = state.id(name)?;
        let fails = state.sync_fails(!name.starts_with("snap"));
        let State { files, rng, .. } = &mut *state;
        let file = files.get_mut(&id).unwrap();
        if fails {
            file.settle(rng);
            return Err(io::Error::other("EIO"));
        }
        file.disk.resize(file.cache.len(), 0);
        for (sector, _) in std::mem::take(&mut file.dirty) {
            let to = ((sector + 1) * SECTOR).min(file.cache.len());
            let part = &file.cache[sector * SECTOR..to];
            file.disk[sector * SECTOR..to].copy_from_slice(part);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let id = state.id(from)?;
        state.change_name(NameOp::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        state.id(name)?;
        state.change_name(NameOp::Remove(name.to_owned()));
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.state();
        let used: usize = state.names.values().map(|id| state.files[id].cache.len()).sum();
        Ok(state.capacity.saturating_sub(used) as u64)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.sync_fails(true) {
            state.settle_names();
            return Err(io::Error::other("EIO"));
        }
        state.pending.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}
