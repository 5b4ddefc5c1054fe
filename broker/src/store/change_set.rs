//! The stored form of a commit to a scope.

use bytes::Bytes;

use super::{By, Change, ChangeSet};
use crate::domain::codec::{Malformed, Put as _, Reader};
use crate::domain::{Time, UserId};

impl ChangeSet {
    /// Appends the stored form. It carries no version of its own: what holds it does.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.version);
        out.put_varint(self.changes.len() as u64);
        for change in &self.changes {
            match change {
                Change::Put(key, value) => {
                    out.put_u8(1);
                    out.put_bytes(key.as_bytes());
                    out.put_bytes(value);
                }
                Change::Delete(key) => {
                    out.put_u8(0);
                    out.put_bytes(key.as_bytes());
                }
            }
        }
        out.put_u8(u8::from(self.by.user.is_some()));
        if let Some(user) = self.by.user {
            out.put_uuid(user.0);
        }
        out.put_bytes(self.by.verb.as_bytes());
        out.put_varint(self.by.time.0);
        out.put_bytes(self.by.address.as_bytes());
    }

    /// Reads the stored form back; copies what it says.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let version = reader.varint()?;
        let mut changes = Vec::new();
        for _ in 0..reader.count()? {
            let put = flag(reader)?;
            let key = reader.text()?.to_owned();
            changes.push(if put {
                Change::Put(key, Bytes::copy_from_slice(reader.bytes()?))
            } else {
                Change::Delete(key)
            });
        }
        let user = flag(reader)?.then(|| reader.uuid()).transpose()?;
        let by = By {
            user: user.map(UserId),
            verb: reader.text()?.to_owned(),
            time: Time(reader.varint()?),
            address: reader.text()?.to_owned(),
        };
        Ok(Self { version, changes, by })
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed()),
    }
}
