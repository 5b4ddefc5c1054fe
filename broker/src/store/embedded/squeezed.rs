//! The catalogue's values while they wait in memory for the next snapshot or start. Most are JSON
//! with the same keys, UUIDs and times again and again, and there may be a million of them: so
//! these are kept in a quarter of their bytes. Any bytes can be squeezed and come back as they were.

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::codec::{Malformed, Put as _, Reader};

/// The next byte is itself.
const RAW: u8 = 0;
/// 16 bytes: a UUID in quotes.
const UUID: u8 = 1;
/// A varint: a number in decimal digits.
const NUMBER: u8 = 2;
/// The first of the [`WORDS`].
const WORD: u8 = 3;
/// Bytes below this mean something; JSON has none of them.
const MEANT: u8 = 0x20;
/// What one byte stands for; a word that begins as another one does comes before it.
const WORDS: [&str; 25] = [
    r#"{"v":1,"kind":"topic","id":"#,
    r#"{"v":1,"kind":"subscription","id":"#,
    r#"{"v":1,"kind":"audit","order":"#,
    r#"{"v":1,"kind":""#,
    r#","name":""#,
    r#","id":"#,
    r#"","order":"#,
    r#","topic":""#,
    r#"","topic_id":"#,
    r#","start":"#,
    r#","ack_deadline_seconds":"#,
    r#","ack_mode":"cumulative""#,
    r#","ack_mode":"individual""#,
    r#","acl":[]"#,
    r#","acl":["#,
    r#","created_by":"#,
    r#","created":"#,
    r#","modified":"#,
    r#","time":"#,
    r#","operation":""#,
    r#"","resource":"/projects/"#,
    r#"","user":""#,
    r#"","address":""#,
    "\",\"",
    "\":\"",
];

/// A value, squeezed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Squeezed(Box<[u8]>);

impl Squeezed {
    /// Squeezes a value.
    pub(super) fn new(value: &[u8]) -> Self {
        let mut out = Vec::with_capacity(value.len());
        let mut rest = value;
        while let Some((first, behind)) = rest.split_first() {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if let Some((word, left)) = word(rest) {
                out.put_u8(word);
                rest = left;
            } else if let Some((id, left)) = quoted_uuid(rest) {
                out.put_u8(UUID);
                out.put_uuid(id);
                rest = left;
            } else if let Some((run, left)) = rest.split_at_checked(digits.max(1))
                && digits > 0
            {
                match number(run) {
                    Some(number) => {
                        out.put_u8(NUMBER);
                        out.put_varint(number);
                    }
                    None => out.extend_from_slice(run),
                }
                rest = left;
            } else {
                if *first < MEANT {
                    out.put_u8(RAW);
                }
                out.put_u8(*first);
                rest = behind;
            }
        }
        Self(out.into())
    }

    /// The value as it was given.
    pub(super) fn value(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.0.len().saturating_mul(4));
        // Nothing but `new` makes one, so it reads to its end.
        let _read: Result<(), Malformed> = self.expand(&mut out);
        out.into()
    }

    fn expand(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut reader = Reader::new(&self.0, "squeezed value");
        while !reader.is_empty() {
            match reader.u8()? {
                RAW => out.put_u8(reader.u8()?),
                UUID => {
                    let mut text = [0; 36];
                    out.put_u8(b'"');
                    let text = reader.uuid()?.hyphenated().encode_lower(&mut text);
                    out.extend_from_slice(text.as_bytes());
                    out.put_u8(b'"');
                }
                NUMBER => out.extend_from_slice(reader.varint()?.to_string().as_bytes()),
                meant @ WORD..MEANT => {
                    let word = WORDS.get(usize::from(meant - WORD)).ok_or(reader.malformed())?;
                    out.extend_from_slice(word.as_bytes());
                }
                itself => out.put_u8(itself),
            }
        }
        Ok(())
    }
}

/// The word that `rest` begins with, as its byte, and what comes behind it.
fn word(rest: &[u8]) -> Option<(u8, &[u8])> {
    if !matches!(rest.first(), Some(b'{' | b'"' | b',')) {
        return None;
    }
    let words = (WORD..).zip(WORDS);
    words.into_iter().find_map(|(byte, word)| Some((byte, rest.strip_prefix(word.as_bytes())?)))
}

fn quoted_uuid(rest: &[u8]) -> Option<(Uuid, &[u8])> {
    let (text, left) = rest.strip_prefix(b"\"")?.split_at_checked(36)?;
    let left = left.strip_prefix(b"\"")?;
    let id = Uuid::try_parse_ascii(text).ok()?;
    // Written another way it would not come back as it was.
    let mut same = [0; 36];
    (id.hyphenated().encode_lower(&mut same).as_bytes() == text).then_some((id, left))
}

/// What a run of digits says, if it is worth it and said without leading zeros.
fn number(run: &[u8]) -> Option<u64> {
    let worth = (4..=19).contains(&run.len()) && run.first() != Some(&b'0');
    std::str::from_utf8(run).ok().filter(|_| worth)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUBSCRIPTION: &str = concat!(
        r#"{"v":1,"kind":"subscription","id":"127c0bc4-bc05-4dd1-818d-5f3f9f2a0fb5","#,
        r#""name":"archive","order":7000,"topic":"measurements","#,
        r#""topic_id":"7b53e982-85a2-4a42-9cf8-7f9e9237bf7f","start":0,"#,
        r#""ack_deadline_seconds":600,"ack_mode":"cumulative","acl":[],"#,
        r#""created":1795956883032695196,"created_by":"127c0bc4-bc05-4dd1-818d-5f3f9f2a0fb5"}"#
    );

    #[test]
    fn a_record_takes_a_third_of_its_bytes_at_most() {
        let squeezed = Squeezed::new(SUBSCRIPTION.as_bytes());
        assert!(squeezed.0.len() * 3 < SUBSCRIPTION.len(), "{}", squeezed.0.len());
        assert_eq!(squeezed.value(), SUBSCRIPTION);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Squeezed::new(&bytes).value(), bytes);
        }

        #[test]
        fn what_looks_like_a_record_comes_back(parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
                any::<u128>().prop_map(|id| format!("\"{}\"", Uuid::from_u128(id))),
                any::<u128>().prop_map(|id| format!("\"{:X}\"", Uuid::from_u128(id).hyphenated())),
                "0{0,3}[0-9]{0,25}",
                "[\u{0}-\u{20}\"{,:}a-f-]{0,8}",
            ],
            0..20,
        )) {
            let text = parts.concat();
            prop_assert_eq!(Squeezed::new(text.as_bytes()).value(), text);
        }
    }
}
