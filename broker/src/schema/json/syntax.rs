//! Reads JSON payloads, and tells what is wrong with one as Go's decoder does.

use serde::Deserialize as _;
use serde_json::Value;

/// Deepest nesting of a payload; the parser's own bound.
const MAX_DEPTH: usize = 127;

/// The first JSON value of `payload`; what follows does not matter.
///
/// # Errors
/// What Go's decoder would say.
pub(super) fn first_value(payload: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(payload);
    let mut reader = serde_json::Deserializer::from_str(&text);
    Value::deserialize(&mut reader).map_err(|error| {
        let complaint = Scanner::new(text.as_bytes()).complaint();
        complaint.unwrap_or_else(|| match depth_is_lawful(text.as_bytes()) {
            true => error.to_string(),
            false => String::from("exceeded max depth"),
        })
    })
}

/// Whether brackets outside of texts nest no deeper than the parser goes.
fn depth_is_lawful(text: &[u8]) -> bool {
    let (mut depth, mut inside, mut escaped) = (0usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'[' | b'{' if !inside => depth += 1,
            b']' | b'}' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

/// Looks for the first mistake in a text, without recursion.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// Why scanning stopped.
enum Stop {
    /// The text ends inside of a value.
    End,
    /// This byte may not stand here.
    Byte(u8, &'static str),
}

type Scan = Result<(), Stop>;

impl<'a> Scanner<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn complaint(mut self) -> Option<String> {
        self.spaces();
        if self.peek().is_none() {
            return Some(String::from("EOF"));
        }
        match self.value() {
            Ok(()) => None,
            Err(Stop::End) => Some(String::from("unexpected EOF")),
            Err(Stop::Byte(byte, context)) => {
                Some(format!("invalid character {} {context}", quoted(byte)))
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The next byte that is no space, not taken.
    fn next(&mut self) -> Result<u8, Stop> {
        self.spaces();
        self.peek().ok_or(Stop::End)
    }

    /// One value with all that is in it.
    fn value(&mut self) -> Scan {
        // What is open: `true` = an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.next()? {
                b'{' => {
                    self.at += 1;
                    if self.next()? == b'}' {
                        self.at += 1;
                    } else {
                        self.key()?;
                        open.push(true);
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if self.next()? == b']' {
                        self.at += 1;
                    } else {
                        open.push(false);
                        continue;
                    }
                }
                b'"' => self.text()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                byte => return Err(Stop::Byte(byte, "looking for beginning of value")),
            }
            // A value has ended, and with it perhaps what holds it.
            loop {
                let Some(is_object) = open.last().copied() else { return Ok(()) };
                match (self.next()?, is_object) {
                    (b',', is_object) => {
                        self.at += 1;
                        if is_object {
                            self.next()?;
                            self.key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        open.pop();
                    }
                    (byte, true) => return Err(Stop::Byte(byte, "after object key:value pair")),
                    (byte, false) => return Err(Stop::Byte(byte, "after array element")),
                }
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Scan {
        match self.next()? {
            b'"' => self.text()?,
            byte => return Err(Stop::Byte(byte, "looking for beginning of object key string")),
        }
        match self.next()? {
            b':' => self.at += 1,
            byte => return Err(Stop::Byte(byte, "after object key")),
        }
        Ok(())
    }

    fn text(&mut self) -> Scan {
        self.at += 1;
        loop {
            let byte = self.take()?;
            match byte {
                b'"' => return Ok(()),
                b'\\' => match self.take()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.take()?;
                            if !digit.is_ascii_hexdigit() {
                                let context = "in \\u hexadecimal character escape";
                                return Err(Stop::Byte(digit, context));
                            }
                        }
                    }
                    byte => return Err(Stop::Byte(byte, "in string escape code")),
                },
                0..0x20 => return Err(Stop::Byte(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn take(&mut self) -> Result<u8, Stop> {
        let byte = self.peek().ok_or(Stop::End)?;
        self.at += 1;
        Ok(byte)
    }

    fn literal(&mut self, word: &'static str) -> Scan {
        for (i, expected) in word.bytes().enumerate() {
            let byte = self.take()?;
            if byte != expected {
                let context = match (word, i) {
                    ("true", 1) => "in literal true (expecting 'r')",
                    ("true", 2) => "in literal true (expecting 'u')",
                    ("true", _) => "in literal true (expecting 'e')",
                    ("false", 1) => "in literal false (expecting 'a')",
                    ("false", 2) => "in literal false (expecting 'l')",
                    ("false", 3) => "in literal false (expecting 's')",
                    ("false", _) => "in literal false (expecting 'e')",
                    (_, 1) => "in literal null (expecting 'u')",
                    (_, _) => "in literal null (expecting 'l')",
                };
                return Err(Stop::Byte(byte, context));
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Scan {
        let mut first = self.take()?;
        if first == b'-' {
            first = self.take()?;
            if !first.is_ascii_digit() {
                return Err(Stop::Byte(first, "in numeric literal"));
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    /// One digit at least.
    fn digit(&mut self, context: &'static str) -> Scan {
        let byte = self.take()?;
        if !byte.is_ascii_digit() {
            return Err(Stop::Byte(byte, context));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

/// A byte as Go quotes it.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => String::from(r"'\''"),
        b'"' => String::from("'\"'"),
        7 => String::from(r"'\a'"),
        8 => String::from(r"'\b'"),
        11 => String::from(r"'\v'"),
        12 => String::from(r"'\f'"),
        b'\n' => String::from(r"'\n'"),
        b'\r' => String::from(r"'\r'"),
        b'\t' => String::from(r"'\t'"),
        b'\\' => String::from(r"'\\'"),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..0xa0 | 0xad => format!("'\\u{:04x}'", u32::from(byte)),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Scanner, first_value};

    fn says(payload: &str) -> String {
        first_value(payload.as_bytes()).map_or_else(|text| text, |value| format!("ok {value}"))
    }

    #[test]
    fn mistakes_are_told_as_go_tells_them() {
        for (payload, text) in [
            ("", "EOF"),
            (" \n", "EOF"),
            ("{", "unexpected EOF"),
            ("{\"a\":1", "unexpected EOF"),
            ("\"abc", "unexpected EOF"),
            ("[1,", "unexpected EOF"),
            ("tru", "unexpected EOF"),
            ("-", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("'a'", r"invalid character '\'' looking for beginning of value"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u12g4""#, r"invalid character 'g' in \u hexadecimal character escape"),
            ("-a", "invalid character 'a' in numeric literal"),
            ("1.a", "invalid character 'a' after decimal point in numeric literal"),
            ("1ea", "invalid character 'a' in exponent of numeric literal"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("nil", "invalid character 'i' in literal null (expecting 'u')"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
            ("{\"a\": 1} and more", "ok {\"a\":1}"),
            ("1 2", "ok 1"),
            (&"[".repeat(200), "unexpected EOF"),
            (&format!("{}{}", "[".repeat(200), "]".repeat(200)), "exceeded max depth"),
        ] {
            assert_eq!(says(payload), text, "{payload:?}");
        }
        assert_eq!(first_value(b"\"\xff\"").unwrap(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn anything_is_read_or_told(payload in r#"[\[\]{}:,"\\ a-u0-9eE.+\-]{0,40}"#) {
            // Whoever refuses, the other does so too.
            if first_value(payload.as_bytes()).is_ok() {
                prop_assert!(Scanner::new(payload.as_bytes()).complaint().is_none());
            }
        }

        #[test]
        fn bytes_are_read_or_told(payload in any::<Vec<u8>>()) {
            std::hint::black_box(first_value(&payload).is_ok());
        }
    }
}
