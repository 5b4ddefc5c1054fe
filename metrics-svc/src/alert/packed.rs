//! Named facts in as few bytes as they need: a byte for the name, a byte for the form, a varint.

use crate::clock::Time;
use crate::varint;

const NOTHING: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const COUNT: u8 = 3;
const STAMP: u8 = 4;
const TEXT: u8 = 5;

/// What is said under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact<'a> {
    /// A number.
    Count(u64),
    /// Whether it is so.
    Flag(bool),
    /// A moment; none is read back as [`Fact::Text`] of none.
    Stamp(Option<Time>),
    /// A text.
    Text(Option<&'a str>),
}

/// Appends a fact under the name `key`.
pub(super) fn put(out: &mut Vec<u8>, key: u8, fact: Fact<'_>) {
    let (form, number) = match fact {
        Fact::Count(count) => (COUNT, Some(count)),
        Fact::Flag(flag) => (if flag { TRUE } else { FALSE }, None),
        Fact::Stamp(Some(time)) => (STAMP, Some(time.0)),
        Fact::Text(Some(text)) => (TEXT, Some(text.len() as u64)),
        Fact::Stamp(None) | Fact::Text(None) => (NOTHING, None),
    };
    out.extend([key, form]);
    if let Some(number) = number {
        varint::put(out, number);
    }
    if let Fact::Text(Some(text)) = fact {
        out.extend_from_slice(text.as_bytes());
    }
}

/// The facts in `bytes`, in the order they were put; ends where [`put`] did not write it.
pub(super) fn facts(mut bytes: &[u8]) -> impl Iterator<Item = (u8, Fact<'_>)> {
    std::iter::from_fn(move || {
        let (&[key, form], rest) = bytes.split_first_chunk()?;
        bytes = rest;
        let fact = match form {
            NOTHING => Fact::Text(None),
            FALSE => Fact::Flag(false),
            TRUE => Fact::Flag(true),
            COUNT => Fact::Count(varint::take(&mut bytes)?),
            STAMP => Fact::Stamp(Some(Time(varint::take(&mut bytes)?))),
            TEXT => {
                let len = usize::try_from(varint::take(&mut bytes)?).ok()?;
                let (text, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                Fact::Text(Some(std::str::from_utf8(text).ok()?))
            }
            _ => return None,
        };
        Some((key, fact))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn facts_read_back_as_they_were_put(
            said in prop::collection::vec((any::<u8>(), 0..6_u8, any::<u64>(), ".{0,20}"), 0..30),
        ) {
            let facts_of = said.iter().map(|(key, form, number, text)| {
                let fact = match form {
                    0 => Fact::Count(*number),
                    1 => Fact::Flag(number % 2 == 0),
                    2 => Fact::Stamp(Some(Time(*number))),
                    3 => Fact::Text(Some(text)),
                    _ => Fact::Text(None),
                };
                (*key, fact)
            });
            let facts_of: Vec<_> = facts_of.collect();
            let mut bytes = Vec::new();
            for (key, fact) in &facts_of {
                put(&mut bytes, *key, *fact);
            }
            prop_assert_eq!(facts(&bytes).collect::<Vec<_>>(), facts_of);
        }
    }
}
