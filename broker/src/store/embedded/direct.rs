//! Writes past the page cache: a commit is written once and read from memory, so that pages of the
//! kernel's own would be filled, written back and thrown away for nobody. It takes half of the CPU
//! of a large commit and a third of its time.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use super::layout::{PAGE, index};

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;
/// Each of the two logs writes one file at a time, and the next one soon.
const OPEN: usize = 4;

/// The files that were written last, open a second time for this.
#[derive(Debug, Default)]
pub(super) struct Direct {
    /// `None`: the file system would not.
    open: Mutex<VecDeque<(String, Option<Arc<File>>)>>,
    /// Memory that nobody uses now; as much as threads have ever written at once.
    spare: Mutex<Vec<Aligned>>,
}

impl Direct {
    /// Writes all of `parts` at `at` in the file `name` at `path`; answers whether it did: not if
    /// the file system wants it otherwise, or not in whole pages. Nothing is durable by that.
    pub(super) fn write(
        &self,
        name: &str,
        path: &Path,
        at: u64,
        parts: &[IoSlice<'_>],
    ) -> io::Result<bool> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if !at.is_multiple_of(PAGE) || !len.is_multiple_of(index(PAGE)) {
            return Ok(false);
        }
        let Some(file) = self.file(name, path)? else { return Ok(false) };
        let mut memory = lock(&self.spare).pop().unwrap_or_else(Aligned::new);
        let written = memory.write(&file, at, parts);
        lock(&self.spare).push(memory);
        match written {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.keep(name, None);
                Ok(false)
            }
            written => written.map(|()| true),
        }
    }

    /// The name stands for another file from now on, or for none.
    pub(super) fn forget(&self, name: &str) {
        lock(&self.open).retain(|(open, _)| open != name);
    }

    fn file(&self, name: &str, path: &Path) -> io::Result<Option<Arc<File>>> {
        if let Some((_, file)) = lock(&self.open).iter().find(|(open, _)| open == name) {
            return Ok(file.clone());
        }
        let file = match open(path) {
            Ok(file) => Some(Arc::new(file)),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
            Err(error) => return Err(error),
        };
        self.keep(name, file.clone());
        Ok(file)
    }

    fn keep(&self, name: &str, file: Option<Arc<File>>) {
        let mut open = lock(&self.open);
        open.retain(|(open, _)| open != name);
        open.truncate(OPEN - 1);
        open.push_front((name.to_owned(), file));
    }
}

/// Opens a file that is there for writes past the page cache. `InvalidInput`: its file system has
/// none.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
    OpenOptions::new().write(true).custom_flags(direct).open(path)
}

/// Memory that begins at a page's boundary, as such writes want it.
#[derive(Debug)]
pub(super) struct Aligned {
    bytes: Vec<u8>,
    begin: usize,
}

impl Aligned {
    fn new() -> Self {
        Self::zeros(PIECE)
    }

    /// So many zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let bytes = vec![0; len + index(PAGE)];
        let begin = bytes.as_ptr().align_offset(index(PAGE));
        Self { bytes, begin }
    }

    /// All of it, and what is left over at the end.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.begin..).unwrap_or_default()
    }

    fn write(&mut self, file: &File, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let memory = self.bytes.get_mut(self.begin..).unwrap_or_default();
        let (mut at, mut held) = (at, 0);
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PIECE - held));
                if let Some(to) = memory.get_mut(held..held + now.len()) {
                    to.copy_from_slice(now);
                }
                (held, rest) = (held + now.len(), later);
                if held == PIECE {
                    file.write_all_at(memory.get(..held).unwrap_or_default(), at)?;
                    (at, held) = (at + held as u64, 0);
                }
            }
        }
        file.write_all_at(memory.get(..held).unwrap_or_default(), at)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use proptest::prelude::*;

    use super::*;

    const PAGES: usize = 600;

    /// What the file holds after one write of `parts`, page `at` on.
    fn written(direct: &Direct, path: &Path, at: usize, parts: &[Vec<u8>]) -> Option<Vec<u8>> {
        std::fs::write(path, vec![7; PAGES * index(PAGE)]).unwrap();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let at = at as u64 * PAGE;
        let wrote = direct.write("f", path, at, &slices).unwrap();
        wrote.then(|| std::fs::read(path).unwrap())
    }

    fn expected(at: usize, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut content = vec![7; PAGES * index(PAGE)];
        let (from, bytes) = (at * index(PAGE), parts.concat());
        content[from..from + bytes.len()].copy_from_slice(&bytes);
        content
    }

    /// Parts that end anywhere and are whole pages together.
    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let part = (any::<u8>(), 0..700_000_usize).prop_map(|(byte, len)| vec![byte; len]);
        prop::collection::vec(part, 0..4).prop_map(|mut parts| {
            let len: usize = parts.iter().map(Vec::len).sum();
            parts.push(vec![9; len.next_multiple_of(index(PAGE)) - len]);
            parts
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_written_is_there_and_nothing_else(at in 0..80_usize, parts in parts()) {
            let dir = tempfile::tempdir().unwrap();
            let (direct, path) = (Direct::default(), dir.path().join("f"));
            let found = written(&direct, &path, at, &parts);
            // Where the file system refuses, others write.
            let wanted = open(&path).is_ok().then(|| expected(at, &parts));
            prop_assert!(found == wanted, "{} bytes written", found.map_or(0, |found| found.len()));
        }
    }

    #[test]
    fn what_is_not_whole_pages_is_left_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let direct = Direct::default();
        assert_eq!(written(&direct, &dir.path().join("f"), 0, &[vec![1; 4_095]]), None);
        let slices = [IoSlice::new(&[0; 4_096])];
        assert!(!direct.write("f", &dir.path().join("f"), 1, &slices).unwrap());
    }

    #[test]
    fn a_name_that_means_another_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (direct, path) = (Direct::default(), dir.path().join("f"));
        let parts = [vec![1; index(PAGE)]];
        let first = written(&direct, &path, 0, &parts);
        std::fs::remove_file(&path).unwrap();
        direct.forget("f");
        assert_eq!(written(&direct, &path, 1, &parts), first.map(|_| expected(1, &parts)));
    }

    #[test]
    fn few_files_stay_open_and_their_memory_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let direct = Direct::default();
        let page = vec![1; index(PAGE)];
        for number in 0..10 {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, vec![0; index(PAGE)]).unwrap();
            direct.write(&number.to_string(), &path, 0, &[IoSlice::new(&page)]).unwrap();
        }
        let open: Vec<String> = lock(&direct.open).iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(open, ["9", "8", "7", "6"]);
        assert!(lock(&direct.spare).len() <= 1);
    }
}
