//! What is to be published, one message after another: from files, texts or standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Longest line and largest file: what one request may hold at most, by default.
const MOST: u64 = 10 << 20;

/// How a source is cut into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// A source is a message.
    Whole,
    /// A line is a message.
    Lines,
    /// A line is an object with `text` or `data`, and `attributes`.
    JsonLines,
}

/// What is read.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Text(String),
    File(PathBuf),
    Stdin,
}

/// One message, and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// As the API takes it.
    pub(super) json: Value,
    pub(super) origin: Origin,
}

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) source: String,
    /// From 1; `None` when the source is one message.
    pub(super) line: Option<u64>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of {}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// Hands on why nothing more is read.
fn unread(
    take: &mut dyn FnMut(Result<Message, (Origin, String)>) -> bool,
    origin: Origin,
    why: String,
) -> bool {
    take(Err((origin, why)));
    false
}

impl Source {
    /// The sources that `files` name; standard input when neither they nor texts are given.
    pub(super) fn all(texts: &[String], files: &[PathBuf]) -> Result<Vec<Self>, Failure> {
        let file = |path: &PathBuf| match path.as_path() {
            path if path == Path::new("-") => Self::Stdin,
            path => Self::File(path.to_owned()),
        };
        let texts = texts.iter().cloned().map(Self::Text);
        let mut all: Vec<_> = texts.chain(files.iter().map(file)).collect();
        if all.is_empty() {
            if io::stdin().is_terminal() {
                let text = "nothing to publish: give --text, files, or something on standard input";
                return Err(Failure::Usage(text.to_owned()));
            }
            all.push(Self::Stdin);
        }
        Ok(all)
    }

    /// Its name in errors.
    fn name(&self) -> String {
        match self {
            Self::Text(_) => String::from("--text"),
            Self::File(path) => path.display().to_string(),
            Self::Stdin => String::from("standard input"),
        }
    }

    /// Hands each message from line `from_line` on to `take` until that says no. What cannot be
    /// read is handed over as the place and the reason, and is the last.
    pub(super) fn read(
        &self,
        cut: Cut,
        from_line: u64,
        attributes: &[(String, String)],
        take: &mut dyn FnMut(Result<Message, (Origin, String)>) -> bool,
    ) -> bool {
        let whole = Origin { source: self.name(), line: None };
        let mut reader: Box<dyn BufRead> = match self {
            Self::Text(text) => {
                let message =
                    Message { json: text_message(text.as_bytes(), attributes), origin: whole };
                return take(Ok(message));
            }
            Self::File(path) => match File::open(path) {
                Ok(file) => Box::new(BufReader::new(file)),
                Err(error) => return unread(take, whole, error.to_string()),
            },
            Self::Stdin => Box::new(io::stdin().lock()),
        };
        if cut == Cut::Whole {
            let mut bytes = Vec::new();
            let read = reader.take(MOST + 1).read_to_end(&mut bytes);
            let message = match read {
                Err(error) => Err((whole, error.to_string())),
                Ok(_) if bytes.len() as u64 > MOST => Err((whole, too_long())),
                Ok(_) => Ok(Message { json: text_message(&bytes, attributes), origin: whole }),
            };
            let good = message.is_ok();
            return take(message) && good;
        }
        let mut bytes = Vec::new();
        for line in 1_u64.. {
            bytes.clear();
            let origin = Origin { source: self.name(), line: Some(line) };
            match reader.by_ref().take(MOST + 1).read_until(b'\n', &mut bytes) {
                Ok(0) => break,
                Ok(_) if bytes.len() as u64 > MOST => {
                    return unread(take, origin, too_long());
                }
                Ok(_) => {}
                Err(error) => return unread(take, origin, error.to_string()),
            }
            let text = content(&bytes);
            if text.is_empty() || line < from_line {
                continue;
            }
            let json = match cut {
                Cut::JsonLines => json_message(text, attributes),
                Cut::Lines | Cut::Whole => Ok(text_message(text, attributes)),
            };
            let message = match json {
                Ok(json) => Ok(Message { json, origin }),
                Err(why) => return unread(take, origin, why),
            };
            if !take(message) {
                return false;
            }
        }
        true
    }
}

fn too_long() -> String {
    format!("more than {MOST} bytes are no message")
}

/// A line without its end.
fn content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn text_message(bytes: &[u8], attributes: &[(String, String)]) -> Value {
    message(STANDARD.encode(bytes), attributes, Map::new())
}

/// `own` attributes come before those of the command line.
fn message(data: String, attributes: &[(String, String)], own: Map<String, Value>) -> Value {
    let mut all: Map<String, Value> =
        attributes.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    all.extend(own);
    if all.is_empty() { json!({"data": data}) } else { json!({"attributes": all, "data": data}) }
}

/// A message as `ams pull --output json` prints it too: `data` (base64) or, without it, `text`.
fn json_message(line: &[u8], attributes: &[(String, String)]) -> Result<Value, String> {
    const KNOWN: [&str; 6] = ["data", "text", "attributes", "messageId", "publishTime", "ackId"];
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(mut object) = value else {
        return Err(String::from("no JSON object"));
    };
    if let Some(key) = object.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("`{key}` is not understood; there are: data, text, attributes"));
    }
    let own = match object.remove("attributes") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(own)) if own.values().all(Value::is_string) => own,
        Some(_) => return Err(String::from("`attributes` must be an object of texts")),
    };
    let data = match (object.remove("data"), object.remove("text")) {
        (Some(Value::String(data)), _) => {
            if STANDARD.decode(&data).is_err() {
                return Err(String::from("`data` is no base64; plain text belongs into `text`"));
            }
            data
        }
        (None, Some(Value::String(text))) => STANDARD.encode(text),
        (None, None) if !own.is_empty() => String::new(),
        (None, None) => return Err(String::from("neither `data` nor `text` nor `attributes`")),
        _ => return Err(String::from("`data` and `text` must be texts")),
    };
    Ok(message(data, attributes, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, cut: Cut, from_line: u64) -> Vec<String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        std::fs::write(&path, text).unwrap();
        let attributes = [(String::from("k"), String::from("v"))];
        let mut seen = Vec::new();
        Source::File(path).read(cut, from_line, &attributes, &mut |item| {
            seen.push(match item {
                Ok(Message { json, origin }) => {
                    let data = STANDARD.decode(json["data"].as_str().unwrap()).unwrap();
                    let data = String::from_utf8(data).unwrap();
                    format!("{} {data:?} {}", origin.line.unwrap_or_default(), json["attributes"])
                }
                Err((origin, why)) => format!("{}: {why}", origin.line.unwrap_or_default()),
            });
            true
        });
        seen
    }

    #[test]
    fn a_source_is_a_message_or_each_of_its_lines() {
        assert_eq!(read("a\nb\n", Cut::Whole, 1), [r#"0 "a\nb\n" {"k":"v"}"#]);
        let lines = [r#"1 "a" {"k":"v"}"#, r#"3 "b" {"k":"v"}"#];
        assert_eq!(read("a\r\n\nb", Cut::Lines, 1), lines);
        assert_eq!(read("a\r\n\nb", Cut::Lines, 2), lines[1..]);
    }

    #[test]
    fn json_lines_say_more_and_what_is_wrong_with_them_is_named() {
        let text = r#"{"text": "hi", "attributes": {"k": "own", "b": "c"}}
{"data": "aGk=", "messageId": "7"}
{"attributes": {"b": "c"}}
"#;
        let expected =
            [r#"1 "hi" {"k":"own","b":"c"}"#, r#"2 "hi" {"k":"v"}"#, r#"3 "" {"k":"v","b":"c"}"#];
        assert_eq!(read(text, Cut::JsonLines, 1), expected);
        let bad = [
            ("x", "no JSON"),
            ("[]", "no JSON object"),
            ("{}", "neither"),
            (r#"{"data": "a b"}"#, "belongs into `text`"),
            (r#"{"text": 1}"#, "must be texts"),
            (r#"{"txt": "a"}"#, "`txt` is not understood"),
            (r#"{"text": "a", "attributes": {"a": 1}}"#, "object of texts"),
        ];
        for (line, why) in bad {
            let seen =
                read(&format!("{{\"text\":\"a\"}}\n{line}\n{{\"text\":\"b\"}}"), Cut::JsonLines, 1);
            assert_eq!(seen.len(), 2, "{line}: {seen:?}");
            assert!(seen[1].starts_with("2: ") && seen[1].contains(why), "{line}: {seen:?}");
        }
    }
}
