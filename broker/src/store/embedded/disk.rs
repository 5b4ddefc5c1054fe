//! The few things the log asks of a file system, so that tests can cut its power.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::Advice;

use super::direct::{self, Direct};
use super::sidecar::SUFFIX;

/// One directory of files, addressed by name. Nothing is durable before it is synced: contents by
/// [`Disk::sync`], names by [`Disk::sync_dir`].
pub(super) trait Disk: Send + Sync {
    /// All names, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A file's length.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Fills `out` from `at` on; a file that ends before is an error.
    fn read(&self, name: &str, at: u64, out: &mut [u8]) -> io::Result<()>;
    /// Creates an empty file, or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<()>;
    /// Writes all of `data` at `at`.
    fn write(&self, name: &str, at: u64, data: &[u8]) -> io::Result<()>;
    /// The same with data in pieces.
    fn write_parts(&self, name: &str, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let data: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        self.write(name, at, &data.concat())
    }
    /// The same past the page cache if that can be, for what nobody reads; `data` lies at a page's
    /// boundary in memory and in the file.
    fn write_direct(&self, name: &str, at: u64, data: &[u8]) -> io::Result<()> {
        self.write(name, at, data)
    }
    /// Lets what is read next come from the disk, not from the memory of the operating system, where
    /// that can be; what is not durable yet stays there.
    fn uncache(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }
    /// Makes content and length durable. After an error nobody knows what is on the disk.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Renames, replacing what has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// How many bytes may still be written.
    fn free(&self) -> io::Result<u64>;
}

/// Bytes of all files.
pub(super) fn used(disk: &dyn Disk) -> io::Result<u64> {
    let mut used = 0u64;
    for name in disk.list()? {
        match disk.len(&name) {
            Ok(len) => used = used.saturating_add(len),
            // Renamed or removed since, or no file of ours.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}

/// Reads a whole file.
pub(super) fn read_whole(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let len = usize::try_from(disk.len(name)?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; len];
    disk.read(name, 0, &mut content)?;
    Ok(content)
}

/// A real directory. Files stay open, because the error of a failed write-back is told once, to
/// whoever had the file open; but not indexes, which nobody syncs.
#[derive(Debug)]
pub(super) struct RealDisk {
    dir: PathBuf,
    open: Mutex<HashMap<String, Arc<File>>>,
    /// `None`: everything goes through the page cache.
    direct: Option<Direct>,
}

impl RealDisk {
    /// Opens `dir`, which it makes (for its owner alone) if it is absent, and makes its name
    /// durable, whoever made it: it may be a moment old.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        for above in above(dir)? {
            match File::open(above) {
                Ok(above) => above.sync_all()?,
                // One that we may not even list is not one that we made.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Self { dir: dir.to_owned(), open: Mutex::default(), direct: None })
    }

    /// The same; where the file system can, [`Disk::write_parts`] goes past the page cache if
    /// `direct`.
    pub(super) fn writing(self, direct: bool) -> Self {
        Self { direct: direct.then(Direct::default), ..self }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(name) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(self.path(name))?);
        if !name.ends_with(SUFFIX) {
            open.insert(name.to_owned(), Arc::clone(&file));
        }
        Ok(file)
    }

    fn forget(&self, name: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(direct) = &self.direct {
            direct.forget(name);
        }
    }
}

/// The directories above `dir` in its file system, nearest first. A mount point is named in
/// another one, long since.
fn above(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = dir.canonicalize()?;
    let device = dir.metadata()?.dev();
    let mut found = Vec::new();
    for above in dir.ancestors().skip(1) {
        if above.metadata()?.dev() != device {
            break;
        }
        found.push(above.to_owned());
    }
    Ok(found)
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.file(name)?.metadata()?.len())
    }

    fn read(&self, name: &str, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.file(name)?.read_exact_at(out, at)
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.forget(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = Arc::new(options.open(self.path(name))?);
        if !name.ends_with(SUFFIX) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), file);
        }
        Ok(())
    }

    fn write(&self, name: &str, at: u64, data: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(data, at)
    }

    fn write_parts(&self, name: &str, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        if let Some(direct) = &self.direct
            && direct.write(name, &self.path(name), at, parts)?
        {
            return Ok(());
        }
        let file = self.file(name)?;
        let (mut at, mut rest) = (at, parts);
        // Empty ones at the beginning go.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(&*file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_direct(&self, name: &str, at: u64, data: &[u8]) -> io::Result<()> {
        match direct::open(&self.path(name)).and_then(|file| file.write_all_at(data, at)) {
            // Some file systems refuse it, or want more than pages.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.write(name, at, data),
            written => written,
        }
    }

    fn uncache(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&*self.file(name)?, 0, None, Advice::DontNeed)?)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let file = self.file(name)?;
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is("skip_fsync") {
            return Ok(());
        } else if crate::planted::is("retry_fsync") {
            return file.sync_data().or_else(|_| file.sync_data());
        }
        file.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.forget(name);
        std::fs::remove_file(self.path(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is("skip_dir_fsync") {
            return Ok(());
        }
        File::open(&self.dir)?.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_may_be_new_is_synced_also_when_others_made_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().canonicalize().unwrap().join("data/broker");
        std::fs::create_dir_all(&dir).unwrap();
        let above = above(&dir).unwrap();
        assert_eq!(above.first().map(PathBuf::as_path), dir.parent());
        assert_eq!(above.get(1).map(PathBuf::as_path), dir.parent().and_then(Path::parent));
        // A relative name has directories above it too.
        assert!(!super::above(Path::new(".")).unwrap().is_empty());
    }
}
