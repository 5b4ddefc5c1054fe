//! Messages as `pull` and `tail` print them.

use std::io::{self, IsTerminal as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::options::Output;
use crate::failure::Failure;

/// Writes `messages`, each an object with a `message` in it, and flushes.
///
/// # Errors
/// Standard output does not take them; what was written then is not known.
pub(super) fn write(messages: &[Value], output: Output) -> Result<(), Failure> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let mut bytes = Vec::new();
    for message in messages {
        match output {
            Output::Json => bytes.extend_from_slice(json_line(message).to_string().as_bytes()),
            Output::Text => bytes.extend(text_line(message, is_terminal)),
        }
        bytes.push(b'\n');
    }
    let mut out = stdout.lock();
    out.write_all(&bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Other(format!("cannot write to standard output: {error}")))
}

/// What was published; what is no base64 as it is.
fn decoded(message: &Value) -> Vec<u8> {
    let data = message.get("message").and_then(|message| message.get("data"));
    let data = data.and_then(Value::as_str).unwrap_or_default();
    STANDARD.decode(data).unwrap_or_else(|_| data.as_bytes().to_vec())
}

/// The bytes as they are; on a terminal without what it would obey.
fn text_line(message: &Value, is_terminal: bool) -> Vec<u8> {
    let bytes = decoded(message);
    if !is_terminal {
        return bytes;
    }
    let keep = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let text = String::from_utf8_lossy(&bytes);
    text.chars().map(|c| if keep(c) { c } else { '\u{fffd}' }).collect::<String>().into_bytes()
}

/// The message, what its delivery says beside it, and `text` where the data is one.
fn json_line(received: &Value) -> Value {
    let mut line = match received.get("message") {
        Some(Value::Object(message)) => message.clone(),
        _ => serde_json::Map::new(),
    };
    if let Ok(text) = String::from_utf8(decoded(received)) {
        line.insert(String::from("text"), json!(text));
    }
    for key in ["ackId", "deliveryAttempt"] {
        if let Some(value) = received.get(key) {
            line.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(data: &str) -> Value {
        json!({"ackId": "s:0", "message": {"messageId": "0", "data": data}})
    }

    #[test]
    fn a_terminal_gets_nothing_that_it_would_obey_and_others_every_byte() {
        let message = received(&STANDARD.encode(b"a\x1b[2J\n\xff"));
        assert_eq!(text_line(&message, false), b"a\x1b[2J\n\xff");
        assert_eq!(text_line(&message, true), "a\u{fffd}[2J\n\u{fffd}".as_bytes());
        assert_eq!(text_line(&received("not base64"), false), b"not base64");
    }

    #[test]
    fn a_json_line_has_the_text_where_there_is_one() {
        let line = json_line(&received("aGk="));
        let expected = json!({"messageId": "0", "data": "aGk=", "text": "hi", "ackId": "s:0"});
        assert_eq!(line, expected);
        assert_eq!(json_line(&received("/w==")).get("text"), None);
        let again = json!({"message": {"messageId": "0"}, "deliveryAttempt": 2});
        assert_eq!(json_line(&again)["deliveryAttempt"], 2);
    }
}
