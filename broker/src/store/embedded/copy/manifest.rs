//! What a backup holds: a text beside its files, written last. A directory without it is none.

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// The manifest's name.
pub(in crate::store::embedded) const MANIFEST: &str = "manifest.json";

/// How its text ends.
const END: &[u8] = b"}\n";

const FORMAT: u32 = 1;
/// The highest minimum reader that this code satisfies.
const READER: u32 = 1;

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// Its name, in the store and in the backup.
    pub(super) name: String,
    /// How long it is in the store; what the backup does not hold of it is zeros.
    pub(super) length: u64,
    /// How much of it the backup holds.
    pub(super) bytes: u64,
    /// SHA-256 of that, in lower-case hex.
    pub(super) sha256: String,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    reader: u32,
    /// The id of the store that was copied, in hex: JSON numbers lose such ids.
    pub(super) store: String,
    /// When the copy was cut, in milliseconds since 1970.
    pub(super) cut_at: u64,
    /// All files but this one.
    pub(super) files: Vec<Member>,
}

/// Why a manifest is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ManifestError {
    /// It is not what was written.
    Damaged(String),
    /// A later version wrote it.
    Newer,
}

impl Manifest {
    /// A manifest of `files`, cut at `now`.
    pub(super) fn new(store: u64, now: Time, files: Vec<Member>) -> Self {
        Self {
            format: FORMAT,
            reader: READER,
            store: format!("{store:016x}"),
            cut_at: now.0,
            files,
        }
    }

    /// The file's content.
    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the file's content. Names that lead out of the directory are refused.
    pub(super) fn decode(content: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |error: serde_json::Error| ManifestError::Damaged(error.to_string());
        if !content.ends_with(END) {
            return Err(ManifestError::Damaged(String::from("it is cut")));
        }
        let raw: serde_json::Value = serde_json::from_slice(content).map_err(damaged)?;
        let reader = raw.get("reader").and_then(serde_json::Value::as_u64);
        if reader.is_some_and(|reader| reader > u64::from(READER)) {
            return Err(ManifestError::Newer);
        }
        let manifest: Self = serde_json::from_value(raw).map_err(damaged)?;
        let lawful = |member: &Member| {
            let name = member.name.as_bytes();
            let plain = name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            plain && !name.is_empty() && member.bytes <= member.length
        };
        match manifest.files.iter().find(|member| !lawful(member)) {
            Some(member) => Err(ManifestError::Damaged(format!("file {:?}", member.name))),
            None => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str) -> Manifest {
        let member = Member { name: name.to_owned(), length: 8, bytes: 4, sha256: "00".repeat(32) };
        Manifest::new(u64::MAX, Time(7), vec![member])
    }

    #[test]
    fn a_manifest_is_read_back() {
        let manifest = manifest("e001");
        let text = manifest.encode().unwrap();
        assert_eq!(Manifest::decode(&text), Ok(manifest));
        assert!(String::from_utf8(text).unwrap().contains("ffffffffffffffff"));
    }

    #[test]
    fn names_that_lead_elsewhere_and_later_formats_are_refused() {
        for name in ["../e001", "/etc/passwd", "", "a/b", "E001"] {
            let text = manifest(name).encode().unwrap();
            assert!(matches!(Manifest::decode(&text), Err(ManifestError::Damaged(_))), "{name}");
        }
        let mut later = manifest("e001");
        later.reader = 2;
        assert_eq!(Manifest::decode(&later.encode().unwrap()), Err(ManifestError::Newer));
        assert!(matches!(Manifest::decode(b"{"), Err(ManifestError::Damaged(_))));
    }
}
