//! Standard base64 as Go's `StdEncoding` reads it: padding required, line ends skipped, stray
//! trailing bits tolerated, and the place of the first bad byte told.

/// The text is not base64: the place of the first byte that is not, as Go counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {0}")]
pub struct NotBase64(pub usize);

const fn digit(byte: u8) -> Option<u32> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    } as u32)
}

/// The bytes that `text` stands for: never more than three quarters of it.
///
/// # Errors
/// See [`NotBase64`].
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let end = text.len();
    let mut bytes = text.bytes().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    loop {
        let mut quantum = 0u32;
        for place in 0..4 {
            let Some((at, byte)) = bytes.next() else {
                // Go points to the first byte of a quantum that does not end.
                return if place == 0 { Ok(out) } else { Err(NotBase64(end - place)) };
            };
            if let Some(digit) = digit(byte) {
                quantum = quantum << 6 | digit;
                continue;
            }
            if byte != b'=' || place < 2 {
                return Err(NotBase64(at));
            }
            if place == 2 {
                match bytes.next() {
                    Some((_, b'=')) => {}
                    Some((at, _)) => return Err(NotBase64(at)),
                    None => return Err(NotBase64(end)),
                }
            }
            if let Some((at, _)) = bytes.next() {
                return Err(NotBase64(at));
            }
            let [_, first, second, _] = (quantum << (6 * (4 - place))).to_be_bytes();
            out.push(first);
            if place == 3 {
                out.push(second);
            }
            return Ok(out);
        }
        let [_, first, second, third] = quantum.to_be_bytes();
        out.extend([first, second, third]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{NotBase64, decode};

    #[test]
    fn it_reads_what_go_reads_and_points_where_go_points() {
        let text = |bytes: &[u8]| Ok(bytes.to_vec());
        assert_eq!(decode(""), text(b""));
        assert_eq!(decode("Zg=="), text(b"f"));
        assert_eq!(decode("Zm8="), text(b"fo"));
        assert_eq!(decode("Zm9v"), text(b"foo"));
        assert_eq!(decode("Zm\r\n9v\n"), text(b"foo"));
        assert_eq!(decode("Z\ng=\n=\n"), text(b"f"));
        // Stray bits behind the last byte.
        assert_eq!(decode("Zh=="), text(b"f"));
        for (bad, at) in [
            ("!", 0),
            ("Zm9v!", 4),
            ("Zm9v\n!", 5),
            ("Zg", 0),
            ("Zg=", 3),
            ("Zg=a", 3),
            ("Z===", 1),
            ("====", 0),
            ("Zg==Zg==", 4),
            ("Zm8=Z", 4),
            ("Zm9vZ", 4),
            ("Zm9vZm8", 4),
            ("Zm-v", 2),
            ("é", 0),
            ("Zg==\n!", 5),
        ] {
            assert_eq!(decode(bad), Err(NotBase64(at)), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_an_encoder_writes_reads_back(bytes in any::<Vec<u8>>()) {
            use ::base64::prelude::*;
            prop_assert_eq!(decode(&BASE64_STANDARD.encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-f+/=\r\n!é]{0,30}") {
            if let Err(NotBase64(at)) = decode(&text) {
                prop_assert!(at <= text.len());
            }
        }
    }
}
