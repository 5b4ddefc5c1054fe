//! What a client sent is what comes back, byte for byte, and what it counts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::{Batch, BatchBuilder, DATA_IS_DECODED, Data, HAS_ATTRIBUTES};

type Message = (Vec<(String, String)>, String);

/// Texts of every sort, and many that are nearly base64.
fn data() -> impl Strategy<Value = String> {
    // Also longer than what a decoder takes in one step.
    let raw = prop::collection::vec(any::<u8>(), 0..200);
    let encoded = raw.prop_map(|raw| STANDARD.encode(raw));
    let spoilt = (encoded.clone(), any::<prop::sample::Index>(), "[A-Za-z0-9+/=_\\-\n ]");
    let spoilt = spoilt.prop_map(|(mut text, at, with)| {
        if !text.is_empty() {
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
        }
        text
    });
    prop_oneof![
        any::<String>(),
        encoded,
        spoilt,
        "[A-Za-z0-9+/]{0,9}={0,3}",
        "[A-Za-z0-9+/_\\-]{4}{0,3}[A-Za-z0-9+/]{2}[=\n ]{2}",
    ]
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let key = prop_oneof!["[a-c]", any::<String>()];
    let attributes = prop::collection::vec((key, any::<String>()), 0..5);
    prop::collection::vec((attributes, data()), 0..8)
}

fn packed(messages: &[Message]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (attributes, data) in messages {
        builder.push(attributes, data);
    }
    assert_eq!((builder.len() as usize, builder.is_empty()), (messages.len(), messages.is_empty()));
    builder.finish()
}

/// Whether an encoder could have written `text`: from the rule of RFC 4648, not from a decoder.
fn is_canonical(text: &str) -> bool {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let stem = text.trim_end_matches('=');
    let digits: Option<Vec<u8>> = stem.bytes().map(digit).collect();
    // Two digits carry one byte and four spare bits, three carry two bytes and two.
    let spare = match text.len() - stem.len() {
        0 => 0,
        1 => 0b11,
        2 => 0b1111,
        _ => return false,
    };
    let last_is_clean = |digits: Vec<u8>| digits.last().is_none_or(|last| last & spare == 0);
    text.len().is_multiple_of(4) && digits.is_some_and(last_is_clean)
}

proptest! {
    #[test]
    fn what_was_sent_comes_back_byte_for_byte(messages in messages()) {
        let batch = packed(&messages);
        let read = Batch::from_packed(batch.packed().clone(), batch.len()).unwrap();
        prop_assert_eq!(&read, &batch, "the figures too");
        prop_assert_eq!(batch.len() as usize, messages.len());
        prop_assert_eq!(batch.is_empty(), messages.is_empty());
        let (mut ams_bytes, mut bytes) = (0, 0);
        for (found, (attributes, data)) in read.messages().zip(&messages) {
            let found = found.unwrap();
            // Sorted; of equal keys the last one given.
            let expected: BTreeMap<&str, &str> =
                attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            prop_assert_eq!(&found.attributes, &expected.into_iter().collect::<Vec<_>>());
            let mut text = String::from("before ");
            found.data.write_text(&mut text);
            prop_assert_eq!(text.strip_prefix("before "), Some(data.as_str()));
            prop_assert_eq!(found.data.text_len(), data.len() as u64);
            ams_bytes += data.len();
            let attributes = found.attributes.iter().map(|(k, v)| k.len() + v.len());
            bytes += attributes.sum::<usize>() + found.data.stored().len();
        }
        prop_assert_eq!((batch.ams_bytes(), batch.bytes()), (ams_bytes as u64, bytes as u64));
    }

    #[test]
    fn only_what_an_encoder_would_write_is_stored_decoded(data in data()) {
        let batch = packed(&[(Vec::new(), data.clone())]);
        let message = batch.messages().next().unwrap().unwrap();
        match message.data {
            Data::Decoded(raw) => {
                prop_assert!(is_canonical(&data));
                prop_assert_eq!(STANDARD.encode(raw), data);
            }
            Data::Verbatim(text) => {
                prop_assert!(!is_canonical(&data));
                prop_assert_eq!(text, data);
            }
        }
    }

    #[test]
    fn appending_is_pushing_all(first in messages(), second in messages()) {
        let mut builder = BatchBuilder::default();
        builder.append(&packed(&first));
        builder.append(&packed(&second));
        let all: Vec<_> = first.into_iter().chain(second).collect();
        prop_assert_eq!(builder.finish(), packed(&all));
    }

    #[test]
    fn a_walk_from_anywhere_finds_what_a_walk_from_the_start_finds(
        sizes in prop::collection::vec(0usize..200, 0..8),
        first in 0u64..1_000,
    ) {
        let mut number = 0;
        let mut together = BatchBuilder::default();
        for size in sizes {
            let mut part = BatchBuilder::default();
            for _ in 0..size {
                // Also of different lengths.
                part.push::<&str, &str>(&[], &number.to_string().repeat(number % 5));
                number += 1;
            }
            together.append(&part.finish());
        }
        let built = together.finish();
        let read = Batch::from_packed(built.packed().clone(), built.len()).unwrap();
        let skip = usize::try_from(first).unwrap();
        for batch in [&built, &read] {
            let expected: Vec<_> = batch.messages().skip(skip).collect();
            prop_assert_eq!(batch.messages_from(first).collect::<Vec<_>>(), expected);
            // Few are passed over.
            prop_assert!(batch.messages_from(first).skip < 128 || first >= u64::from(batch.len()));
        }
    }

    #[test]
    fn damage_never_panics(messages in messages(), cut: prop::sample::Index, bit: prop::sample::Index) {
        let batch = packed(&messages);
        let bytes = batch.packed();
        for wrong in [batch.len() + 1, batch.len().wrapping_sub(1)] {
            prop_assert!(Batch::from_packed(bytes.clone(), wrong).is_err());
        }
        if !bytes.is_empty() {
            let cut = bytes.slice(..cut.index(bytes.len()));
            prop_assert!(Batch::from_packed(cut, batch.len()).is_err());
            let mut flipped = bytes.to_vec();
            let bit = bit.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Batch::from_packed(flipped.into(), batch.len()) {
                prop_assert_ne!(other.packed(), bytes);
            }
        }
    }
}

#[test]
fn what_is_nearly_base64_stays_verbatim() {
    for (text, decoded) in [
        ("", true),
        ("QQ==", true),
        ("QUI=", true),
        ("QUJD", true),
        // Stray bits, missing and superfluous padding, blanks, the other alphabet.
        ("QR==", false),
        ("QUJ=", false),
        ("QQ", false),
        ("QQ=", false),
        ("QUJD====", false),
        ("QUJD\n", false),
        (" QUJD", false),
        ("-_-_", false),
        ("=", false),
        ("QQ==QQ==", false),
    ] {
        let batch = packed(&[(Vec::new(), text.to_owned())]);
        let message = batch.messages().next().unwrap().unwrap();
        assert_eq!(matches!(message.data, Data::Decoded(_)), decoded, "{text:?}");
        assert_eq!(is_canonical(text), decoded, "{text:?}");
    }
}

#[test]
fn unknown_flags_and_text_that_is_no_text_are_refused() {
    for flags in 4..=u8::MAX {
        assert!(Batch::from_packed(vec![flags, 0].into(), 1).is_err(), "flags {flags}");
    }
    assert!(Batch::from_packed(vec![0, 1, 0xff].into(), 1).is_err());
    assert!(Batch::from_packed(vec![DATA_IS_DECODED, 1, 0xff].into(), 1).is_ok());
    assert!(Batch::from_packed(vec![HAS_ATTRIBUTES, 1, 1, 0xff, 0, 0].into(), 1).is_err());
    // A batch ends after its first malformed message.
    let batch = Batch { packed: vec![9, 9, 9].into(), count: 3, ..Batch::default() };
    assert_eq!(batch.messages().count(), 1);
}
