//! A file system whose power can be cut between any two steps of recorded calls: contents in
//! sectors of 512 bytes, names apart from contents, nothing durable before it is synced.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::trace::{Call, Event, Step};
use crate::harness::Dice;

const SECTOR: usize = 512;

/// What of all that was not synced a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    Nothing,
    /// As after a kill.
    Everything,
    /// Any part, in any order.
    Chance,
}

/// The file system.
pub(crate) struct Disk {
    root: PathBuf,
    /// The first is the root directory, which is durable.
    nodes: Vec<Node>,
    /// How many events there were.
    now: usize,
    /// By call: when it returned. What did not return is covered by no sync.
    ended: HashMap<usize, usize>,
    /// By call that has not returned: what it is to come to.
    running: HashMap<usize, Running>,
    /// The first call that came to something else here than it did.
    odd: Option<String>,
}

struct Running {
    /// `None`: on what is no file, such as a socket.
    ok: Option<bool>,
    /// For a sync: of what, and when it began.
    syncs: Option<(usize, usize)>,
}

enum Node {
    File(File),
    Dir(Dir),
}

#[derive(Default)]
struct File {
    /// What surely survives.
    disk: Vec<u8>,
    /// What a read sees.
    cache: Vec<u8>,
    /// By sector: what was written since the last sync, whole sectors, and by which call.
    dirty: BTreeMap<usize, Vec<(usize, Vec<u8>)>>,
    /// Lengths since the last sync.
    lengths: Vec<(usize, usize)>,
}

#[derive(Default)]
struct Dir {
    disk: BTreeMap<String, usize>,
    cache: BTreeMap<String, usize>,
    /// Changes since the last sync.
    pending: Vec<(usize, Change)>,
}

#[derive(Clone)]
enum Change {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Dir {
    fn change(&mut self, call: usize, change: Change) {
        change.apply(&mut self.cache);
        self.pending.push((call, change));
    }

    fn left(&self, survives: Survives, dice: &mut Dice) -> BTreeMap<String, usize> {
        let mut names = self.disk.clone();
        let mode = dice.roll(0, 4);
        for (_, change) in &self.pending {
            let taken = match survives {
                Survives::Nothing => false,
                Survives::Everything => true,
                Survives::Chance => mode == 1 || mode > 1 && dice.roll(0, 2) == 0,
            };
            if taken {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl File {
    fn set_len(&mut self, call: usize, len: usize) {
        let old = self.cache.len();
        if len == old {
            return;
        }
        self.cache.resize(len, 0);
        self.lengths.push((call, len));
        if len < old {
            // Zeros, should it grow again.
            self.touch(call, len, old);
        }
    }

    fn write(&mut self, call: usize, at: usize, data: &[u8]) {
        let end = at + data.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.lengths.push((call, end));
        }
        self.cache[at..end].copy_from_slice(data);
        self.touch(call, at, end);
    }

    /// The sectors of these bytes are other ones now.
    fn touch(&mut self, call: usize, from: usize, to: usize) {
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            let mut content = vec![0; SECTOR];
            let begin = (sector * SECTOR).min(self.cache.len());
            let end = ((sector + 1) * SECTOR).min(self.cache.len());
            content[..end - begin].copy_from_slice(&self.cache[begin..end]);
            self.dirty.entry(sector).or_default().push((call, content));
        }
    }

    /// A sync came back: what `is_covered` is durable.
    fn synced(&mut self, is_covered: impl Fn(usize) -> bool) {
        if let Some(last) = self.lengths.iter().rposition(|(call, _)| is_covered(*call)) {
            self.disk.resize(self.lengths[last].1, 0);
            self.lengths.drain(..=last);
        }
        for (sector, versions) in &mut self.dirty {
            if let Some(last) = versions.iter().rposition(|(call, _)| is_covered(*call)) {
                put(&mut self.disk, *sector, &versions[last].1);
                versions.drain(..=last);
            }
        }
        self.dirty.retain(|_, versions| !versions.is_empty());
    }

    fn left(&self, survives: Survives, dice: &mut Dice) -> Vec<u8> {
        match survives {
            Survives::Nothing => return self.disk.clone(),
            Survives::Everything => return self.cache.clone(),
            Survives::Chance => {}
        }
        let mut below = |bound: usize| usize::try_from(dice.roll(0, bound as u64)).unwrap();
        let mut left = self.disk.clone();
        let mut len = match below(self.lengths.len() + 1) {
            0 => left.len(),
            nth => self.lengths[nth - 1].1,
        };
        if len > left.len() && below(2) == 0 {
            // It grew only in part.
            let sectors = (len - left.len()).div_ceil(SECTOR);
            len = (left.len() + below(sectors + 1) * SECTOR).min(len);
        }
        left.resize(len, 0);
        let mode = below(6);
        for (sector, versions) in &self.dirty {
            let taken = match mode {
                0 => 0,
                1 => versions.len(),
                2 => versions.len() * usize::from(below(10) > 0),
                3 => versions.len() * usize::from(below(10) == 0),
                _ => below(versions.len() + 1),
            };
            if let Some(nth) = taken.checked_sub(1) {
                put(&mut left, *sector, &versions[nth].1);
            }
        }
        left
    }
}

/// Replaces a sector, as far as there is one.
fn put(content: &mut [u8], sector: usize, new: &[u8]) {
    let begin = (sector * SECTOR).min(content.len());
    let end = ((sector + 1) * SECTOR).min(content.len());
    content[begin..end].copy_from_slice(&new[..end - begin]);
}

impl Disk {
    /// An empty one; calls are on what is below `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            nodes: vec![Node::Dir(Dir::default())],
            now: 0,
            ended: HashMap::new(),
            running: HashMap::new(),
            odd: None,
        }
    }

    /// Plays one event. Where the recorded outcome is not the one that this disk has, something was
    /// not recorded, or not in this order: [`Self::differs`] tells.
    pub(crate) fn play(&mut self, event: &Event) {
        self.now += 1;
        match &event.step {
            Step::Begin(call) => {
                let running = self.begin(event.call, call);
                self.running.insert(event.call, running);
            }
            Step::Cut => {
                self.running.remove(&event.call);
                self.ended.insert(event.call, self.now);
            }
            Step::End(ok) => {
                let running = self.running.remove(&event.call).unwrap();
                let expected = running.ok.unwrap_or(*ok);
                if expected != *ok && self.odd.is_none() {
                    self.odd = Some(format!("call {} came to something else", event.call));
                }
                self.ended.insert(event.call, self.now);
                if let Some((node, began)) = running.syncs {
                    self.synced(node, began);
                }
            }
        }
    }

    fn begin(&mut self, number: usize, call: &Call) -> Running {
        let mut syncs = None;
        let ok = match call {
            Call::Open { path, create, exclusive, truncate } => match self.find(path) {
                Some(_) if *create && *exclusive => false,
                Some(node) => {
                    if let Node::File(file) = &mut self.nodes[node]
                        && *truncate
                    {
                        file.set_len(number, 0);
                    }
                    true
                }
                None => *create && self.name(number, path, || Node::File(File::default())),
            },
            Call::Write { path, at, data } => self.file(path).is_some_and(|file| {
                let at = at.map_or(file.cache.len(), |at| usize::try_from(at).unwrap());
                file.write(number, at, data);
                true
            }),
            Call::SetLen { path, len } => self.file(path).is_some_and(|file| {
                file.set_len(number, usize::try_from(*len).unwrap());
                true
            }),
            Call::Sync { path } => {
                syncs = self.find(path).map(|node| (node, self.now));
                syncs.is_some()
            }
            Call::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "a rename to another directory");
                self.find(from).is_some_and(|node| {
                    let change = Change::Rename(name_of(from), name_of(to), node);
                    self.change(number, from, change)
                })
            }
            Call::Remove { path } => {
                self.find(path).is_some()
                    && self.change(number, path, Change::Remove(name_of(path)))
            }
            Call::MakeDir { path } => {
                self.find(path).is_none() && self.name(number, path, || Node::Dir(Dir::default()))
            }
        };
        let unknown = match call {
            Call::Remove { .. } => !ok,
            // It changes nothing, and another call may have come in between.
            Call::Open { create, truncate, .. } => !*create && !*truncate,
            _ => false,
        };
        Running { ok: (!unknown).then_some(ok), syncs }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let names = path.strip_prefix(&self.root).unwrap().iter();
        let mut node = 0;
        for name in names {
            let Node::Dir(dir) = &self.nodes[node] else { return None };
            node = *dir.cache.get(name.to_str().unwrap())?;
        }
        Some(node)
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        let node = self.find(path)?;
        match &mut self.nodes[node] {
            Node::File(file) => Some(file),
            Node::Dir(_) => None,
        }
    }

    /// Changes the directory of `path`; `false` if there is none.
    fn change(&mut self, call: usize, path: &Path, change: Change) -> bool {
        let Some(dir) = self.find(path.parent().unwrap()) else { return false };
        let Node::Dir(dir) = &mut self.nodes[dir] else { return false };
        dir.change(call, change);
        true
    }

    fn name(&mut self, call: usize, path: &Path, node: impl FnOnce() -> Node) -> bool {
        let set = Change::Set(name_of(path), self.nodes.len());
        self.change(call, path, set) && {
            self.nodes.push(node());
            true
        }
    }

    /// What had returned when the sync began is durable.
    fn synced(&mut self, node: usize, began: usize) {
        let ended = &self.ended;
        let is_covered = |call: usize| ended.get(&call).is_some_and(|ended| *ended < began);
        match &mut self.nodes[node] {
            Node::File(file) => file.synced(is_covered),
            Node::Dir(dir) => {
                let Dir { disk, pending, .. } = dir;
                pending.retain(|(call, change)| {
                    let covered = is_covered(*call);
                    if covered {
                        change.apply(disk);
                    }
                    !covered
                });
            }
        }
    }

    /// What is there after a power cut now.
    pub(crate) fn image(&self, survives: Survives, dice: &mut Dice) -> Image {
        let mut image = Image::default();
        self.gather(0, Path::new(""), survives, dice, &mut image);
        image
    }

    fn gather(
        &self,
        node: usize,
        path: &Path,
        survives: Survives,
        dice: &mut Dice,
        image: &mut Image,
    ) {
        match &self.nodes[node] {
            Node::File(file) => {
                image.files.insert(path.to_owned(), file.left(survives, dice));
            }
            Node::Dir(dir) => {
                image.dirs.push(path.to_owned());
                for (name, node) in dir.left(survives, dice) {
                    self.gather(node, &path.join(name), survives, dice, image);
                }
            }
        }
    }

    /// The first call that came to something else, or else the first file `below` that is not as it
    /// is here without a power cut: something was not recorded, or not in this order.
    pub(crate) fn differs(&self, below: &Path) -> Option<String> {
        if self.odd.is_some() {
            return self.odd.clone();
        }
        let image = self.image(Survives::Everything, &mut Dice(1));
        let mut found = BTreeMap::new();
        real_files(below, &mut found);
        let below = below.strip_prefix(&self.root).unwrap();
        let recorded = image.files.iter().filter(|(path, _)| path.starts_with(below));
        for (path, content) in recorded {
            match found.remove(&self.root.join(path)) {
                Some(real) if real == *content => {}
                Some(real) => {
                    let (recorded, real) = (content.len(), real.len());
                    return Some(format!("{}: {recorded} bytes, of {real}", path.display()));
                }
                None => return Some(format!("{} is recorded alone", path.display())),
            }
        }
        found.keys().next().map(|path| format!("{} is not recorded", path.display()))
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn real_files(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            real_files(&entry.path(), found);
        } else if kind.is_file() {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
}

/// Directories and files; paths are relative.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Each behind the one that it is in.
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    /// Writes it into `dir`, which is there.
    pub(crate) fn write(&self, dir: &Path) {
        for path in self.dirs.iter().skip(1) {
            std::fs::DirBuilder::new().mode(0o700).create(dir.join(path)).unwrap();
        }
        for (path, content) in &self.files {
            use std::io::Write as _;
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(dir.join(path));
            file.unwrap().write_all(content).unwrap();
        }
    }
}
