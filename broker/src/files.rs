//! Small files written whole: keys, tokens, certificates. After a crash there is the old content
//! or the new one, never half of either.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner only (0600).
    Owner,
    /// Everybody (0644): certificates.
    All,
}

/// Replaces the content of `path`, durably. Its directory must exist.
///
/// # Errors
/// The disk's; `path` is then as it was.
pub(crate) fn write(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let draft = path.with_file_name(name);
    // One that a crash left behind may have other permissions.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(content)?;
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is("skip_small_fsync") {
        return std::fs::rename(&draft, path);
    }
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    sync_above(path)
}

/// Whether `path` holds `content` already, and nobody but its owner may read it.
pub(crate) fn is_secret(path: &Path, content: &[u8]) -> bool {
    let closed = |file: &std::fs::Metadata| file.permissions().mode() & 0o077 == 0;
    std::fs::metadata(path).is_ok_and(|file| closed(&file))
        && std::fs::read(path).is_ok_and(|found| found == content)
}

/// Makes `path` and what is missing above it, durably, for its owner only (0700).
///
/// # Errors
/// The disk's.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.is_dir();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    missing.into_iter().try_for_each(sync_above)
}

/// Makes the name of `path` durable.
fn sync_above(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_has_its_content_and_its_readers_also_after_a_crash_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er");
        make_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let file = path.join("key");
        std::fs::write(path.join("key.tmp"), "half").unwrap();
        write(&file, b"one", Readers::Owner).unwrap();
        write(&file, b"two", Readers::Owner).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(mode(&file), 0o600);
        assert!(is_secret(&file, b"two") && !is_secret(&file, b"one"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(!is_secret(&file, b"two"));
        write(&path.join("ca.pem"), b"x", Readers::All).unwrap();
        assert_eq!(mode(&path.join("ca.pem")) & 0o600, 0o600);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2, "no draft is left");
    }
}
