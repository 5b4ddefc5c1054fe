//! Writes JSON as Go's `MarshalIndent` does: same indentation, same escapes, keys in the order given.

use std::fmt::{Display, Write as _};

/// One JSON value in the making, straight into one buffer.
#[derive(Debug)]
pub(in super::super) struct Writer {
    out: String,
    /// Spaces of one level; `None`: compact.
    indent: Option<usize>,
    depth: usize,
    /// Whether the open container has no element yet.
    is_empty: bool,
    /// Whether a key was written whose value comes next.
    after_key: bool,
}

impl Writer {
    /// Three spaces: most answers.
    pub(in super::super) fn indented() -> Self {
        Self::new(Some(3))
    }

    /// One space: status and version.
    pub(in super::super) fn narrow() -> Self {
        Self::new(Some(1))
    }

    /// No white space.
    pub(in super::super) fn compact() -> Self {
        Self::new(None)
    }

    const fn new(indent: Option<usize>) -> Self {
        Self { out: String::new(), indent, depth: 0, is_empty: true, after_key: false }
    }

    /// Makes room for about `bytes` more.
    pub(in super::super) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// The text.
    pub(in super::super) fn finish(self) -> String {
        self.out
    }

    /// An object; `fill` writes its keys and values.
    pub(in super::super) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.container('{', '}', fill);
    }

    /// A list; `fill` writes its elements.
    pub(in super::super) fn list(&mut self, fill: impl FnOnce(&mut Self)) {
        self.container('[', ']', fill);
    }

    /// A list of texts.
    pub(in super::super) fn texts<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) {
        self.list(|json| {
            for text in texts {
                json.text(text.as_ref());
            }
        });
    }

    /// A key of the open object; its value comes next. `key` needs no escapes.
    pub(in super::super) fn key(&mut self, key: &str) -> &mut Self {
        self.text(key);
        self.out.push_str(if self.indent.is_some() { ": " } else { ":" });
        self.after_key = true;
        self
    }

    /// Key and text, unless the text is empty.
    pub(in super::super) fn optional(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.key(key).text(text);
        }
    }

    /// A text.
    pub(in super::super) fn text(&mut self, text: &str) {
        self.raw_text(|out| escape(text, out));
    }

    /// A text that `fill` appends, escaped already.
    pub(in super::super) fn raw_text(&mut self, fill: impl FnOnce(&mut String)) {
        self.element();
        self.out.push('"');
        fill(&mut self.out);
        self.out.push('"');
    }

    /// Any value, given as JSON; keys stay in their order, numbers are written as Go's.
    pub(in super::super) fn value(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => self.object(|json| {
                for (key, value) in map {
                    json.key(key).value(value);
                }
            }),
            serde_json::Value::Array(items) => {
                self.list(|json| items.iter().for_each(|item| json.value(item)));
            }
            serde_json::Value::String(text) => self.text(text),
            serde_json::Value::Number(number) => {
                self.number(number.as_f64().map_or_else(|| number.to_string(), float));
            }
            other => self.number(other),
        }
    }

    /// A number.
    pub(in super::super) fn number(&mut self, number: impl Display) {
        self.element();
        // Writing to a `String` cannot fail.
        write!(self.out, "{number}").unwrap_or_default();
    }

    /// A finite number as Go writes a `float64`: the shortest text that reads back as the same.
    pub(in super::super) fn float(&mut self, number: f64) {
        self.number(float(number));
    }

    /// `true` or `false`.
    pub(in super::super) fn boolean(&mut self, value: bool) {
        self.number(value);
    }

    fn container(&mut self, open: char, close: char, fill: impl FnOnce(&mut Self)) {
        self.element();
        self.out.push(open);
        self.depth += 1;
        self.is_empty = true;
        fill(self);
        self.depth -= 1;
        if !self.is_empty {
            self.line();
        }
        self.out.push(close);
        self.is_empty = false;
    }

    /// What stands between elements.
    fn element(&mut self) {
        if std::mem::take(&mut self.after_key) {
            return;
        }
        if !self.is_empty {
            self.out.push(',');
        }
        self.is_empty = false;
        if self.depth > 0 {
            self.line();
        }
    }

    fn line(&mut self) {
        /// Deeper than any answer is.
        const LINE: &str =
            "\n                                                                                ";
        if let Some(indent) = self.indent {
            self.out.push_str(LINE.get(..=indent * self.depth).unwrap_or(LINE));
        }
    }
}

/// A number as Go writes a double: an exponent below 1e-6 and from 1e21 on.
fn float(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    if size < 1.0 { text } else { text.replace('e', "e+") }
}

/// Appends `text` as Go escapes it.
pub(super) fn escape(text: &str, out: &mut String) {
    // Most texts are names and base64, and bytes are quicker to look at than characters.
    if text.bytes().all(|byte| byte.is_ascii() && !needs_escape(char::from(byte))) {
        return out.push_str(text);
    }
    let mut rest = text;
    while let Some(at) = rest.find(needs_escape) {
        let (plain, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            // Writing to a `String` cannot fail.
            Some(c) => write!(out, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

const fn needs_escape(c: char) -> bool {
    matches!(c, '\0'..='\x1f' | '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Writer, escape};

    #[test]
    fn bytes_are_those_of_go() {
        let write = |mut json: Writer| {
            json.object(|json| {
                json.key("name").text("a<b>&\"\\\n\u{1}\u{2028}é");
                json.optional("nothing", "");
                json.key("empty").list(|_| {});
                json.key("none").object(|_| {});
                json.key("list").list(|json| {
                    json.number(1);
                    json.object(|json| json.key("yes").boolean(true));
                });
            });
            json.finish()
        };
        let name = r#"a\u003cb\u003e\u0026\"\\\n\u0001\u2028é"#;
        assert_eq!(
            write(Writer::compact()),
            format!(r#"{{"name":"{name}","empty":[],"none":{{}},"list":[1,{{"yes":true}}]}}"#)
        );
        let lines = [
            "{",
            &format!("   \"name\": \"{name}\","),
            "   \"empty\": [],",
            "   \"none\": {},",
            "   \"list\": [",
            "      1,",
            "      {",
            "         \"yes\": true",
            "      }",
            "   ]",
            "}",
        ];
        assert_eq!(write(Writer::indented()), lines.join("\n"));
        assert_eq!(write(Writer::narrow()), lines.join("\n").replace("   ", " "));
    }

    #[test]
    fn floats_are_those_of_go() {
        for (number, text) in [
            (0.0, "0"),
            (7.5, "7.5"),
            (-3.0, "-3"),
            (1.0 / 3.0, "0.3333333333333333"),
            (0.000_001, "0.000001"),
            (0.000_000_15, "1.5e-7"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1.5e21, "1.5e+21"),
        ] {
            let mut json = Writer::compact();
            json.float(number);
            assert_eq!(json.finish(), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back_as_itself(text in any::<String>()) {
            let mut json = String::from("\"");
            escape(&text, &mut json);
            json.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
