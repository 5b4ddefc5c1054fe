//! A backup read back, and made a store again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::check::check;
use super::manifest::{MANIFEST, Manifest, ManifestError, Member};
use super::{Copied, CopyError, Progress, Stage, failed};
use crate::store::embedded::disk::{Disk, RealDisk, read_whole};
use crate::store::embedded::layout::{Header, PAGE, ROOT, Root, Slot, Stream, UNFINISHED, index};
use crate::store::embedded::repair::FILL;
use crate::store::embedded::snapshot::Snapshot;
use crate::store::embedded::{lock, recovery, rules::Rules};

/// A backup as the directory that it was cut from: each file in its full length. It cannot be
/// written.
pub(super) struct BackupDisk {
    dir: PathBuf,
    files: BTreeMap<String, Member>,
}

impl BackupDisk {
    /// Reads the manifest in `dir`.
    ///
    /// # Errors
    /// There is none, or it is damaged or newer.
    pub(super) fn open(dir: &Path) -> Result<Self, CopyError> {
        let shown = dir.join(MANIFEST).display().to_string();
        let content = match std::fs::read(dir.join(MANIFEST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = format!("{} is no backup: it has no {MANIFEST}", dir.display());
                return Err(CopyError::Damaged(text));
            }
            read => read.map_err(failed("read", &shown))?,
        };
        let manifest = Manifest::decode(&content).map_err(|error| match error {
            ManifestError::Damaged(what) => CopyError::Damaged(format!("{shown}: {what}")),
            ManifestError::Newer => {
                CopyError::Newer(format!("{shown} needs a later version of this program"))
            }
        })?;
        let files = manifest.files.into_iter().map(|member| (member.name.clone(), member));
        Ok(Self { dir: dir.to_owned(), files: files.collect() })
    }

    fn member(&self, name: &str) -> io::Result<&Member> {
        self.files.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes(&self) -> u64 {
        self.files.values().map(|member| member.bytes).sum()
    }

    /// Compares every file with the manifest.
    pub(super) fn verify(&self, progress: Progress<'_>) -> Result<(), CopyError> {
        let (mut done, all) = (0, self.bytes());
        let mut piece = vec![0; index(FILL)];
        for (name, member) in &self.files {
            let file = File::open(self.dir.join(name)).map_err(failed("open", name))?;
            let len = file.metadata().map_err(failed("read", name))?.len();
            if len != member.bytes {
                let text = format!("{name} has {len} bytes, not {}", member.bytes);
                return Err(CopyError::Damaged(text));
            }
            let (mut hash, mut at) = (Sha256::new(), 0);
            while at < len {
                let piece = piece.get_mut(..index(FILL.min(len - at))).unwrap_or_default();
                file.read_exact_at(piece, at).map_err(failed("read", name))?;
                hash.update(&*piece);
                at += piece.len() as u64;
                done += piece.len() as u64;
                progress(Stage::Verifying, done, all);
            }
            if super::hex(&hash.finalize()) != member.sha256 {
                return Err(CopyError::Damaged(format!("{name} is not what was copied")));
            }
        }
        Ok(())
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for BackupDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.member(name)?.length)
    }

    fn read(&self, name: &str, at: u64, out: &mut [u8]) -> io::Result<()> {
        let member = self.member(name)?;
        if at.saturating_add(out.len() as u64) > member.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let held = member.bytes.saturating_sub(at).min(out.len() as u64);
        let (held, behind) = out.split_at_mut(index(held));
        behind.fill(0);
        File::open(self.dir.join(name))?.read_exact_at(held, at)
    }

    fn create(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn write(&self, _name: &str, _at: u64, _data: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self) -> io::Result<()> {
        read_only()
    }

    fn free(&self) -> io::Result<u64> {
        Ok(0)
    }
}

/// Verifies the backup `from` and makes of it the store in `dir`, which must be absent or empty: a
/// store of its own, with a new id. Without `dir` it only verifies.
///
/// # Errors
/// See [`CopyError`]. The root file is written last: a restore that was cut leaves no store.
pub(super) fn restore(
    from: &Path,
    dir: Option<&Path>,
    progress: Progress<'_>,
) -> Result<Copied, CopyError> {
    let source = BackupDisk::open(from)?;
    source.verify(progress)?;
    let (found, checked) = check(&source, progress)?;
    let copied = Copied { files: source.files.len() as u64, bytes: source.bytes(), checked };
    let Some(dir) = dir else { return Ok(copied) };
    let shown = dir.display().to_string();
    let target = RealDisk::open(dir).map_err(failed("open", &shown))?;
    let _lock = lock(dir)?;
    let names = target.list().map_err(failed("list", &shown))?;
    if names.iter().any(|name| name != "lock") {
        return Err(CopyError::NotEmpty(dir.to_owned()));
    }
    write(&source, found.store, &target, progress)?;
    match recovery::read(&target, Rules::default())? {
        Some(_) => Ok(copied),
        None => Err(CopyError::Damaged(format!("the restored store in {shown} is not there"))),
    }
}

fn write(
    source: &BackupDisk,
    old: u64,
    target: &RealDisk,
    progress: Progress<'_>,
) -> Result<(), CopyError> {
    let store: u64 = rand::random();
    let all = source.files.values().map(|member| member.length).sum();
    let mut done = 0;
    for (name, member) in source.files.iter().filter(|(name, _)| *name != ROOT) {
        target.create(name).map_err(failed("create", name))?;
        let mut at = 0;
        while at < member.length {
            let mut piece = vec![0; index(FILL.min(member.length - at))];
            source.read(name, at, &mut piece).map_err(failed("read", name))?;
            if at == 0 {
                adopt(name, &mut piece, old, store);
            }
            target.write(name, at, &piece).map_err(failed("write", name))?;
            at += piece.len() as u64;
            done += piece.len() as u64;
            progress(Stage::Writing, done, all);
        }
        if let Some(number) = Snapshot::parse_name(name) {
            let mut content = read_whole(source, name).map_err(failed("read", name))?;
            Snapshot::adopt(&mut content, store);
            if Snapshot::decode(&content, store, number).is_err() {
                return Err(CopyError::Damaged(format!("{name} is no snapshot of this store")));
            }
            target.write(name, 0, &content).map_err(failed("write", name))?;
        }
        target.sync(name).map_err(failed("fsync", name))?;
    }
    target.sync_dir().map_err(failed("fsync", "the directory"))?;
    let content = read_whole(source, ROOT).map_err(failed("read", ROOT))?;
    let root = Root::decode(&content)
        .map_err(|_| CopyError::Damaged(String::from("the root file is damaged")))?;
    let root = Root { store, ..root }.encode();
    let unfinished = format!("{ROOT}{UNFINISHED}");
    target
        .create(&unfinished)
        .and_then(|()| target.write(&unfinished, 0, &root))
        .and_then(|()| target.sync(&unfinished))
        .and_then(|()| target.rename(&unfinished, ROOT))
        .and_then(|()| target.sync_dir())
        .map_err(failed("write", ROOT))
}

/// Writes the new store's id into a slot's header page.
fn adopt(name: &str, first: &mut [u8], old: u64, store: u64) {
    let Some((stream, number)) = Stream::parse(name) else { return };
    let page = first.get_mut(..index(PAGE)).unwrap_or_default();
    // The slot of a switch that was cut has no header yet; the start writes it.
    if let Header::Intact(slot) = Slot::parse_header(page, stream, old, number) {
        page.copy_from_slice(&slot.header(stream, store));
    }
}
