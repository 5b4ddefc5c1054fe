//! `ams pull`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::names::Name;
use super::options::Output;
use super::server::CallError;
use super::session::{Session, elements};
use crate::failure::Failure;
use crate::print;
use crate::run::Signals;

/// How long a pull of `--follow` waits for a message, s.
const FOLLOW: u64 = 30;
/// Shortest and longest pause before another try.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What to pull, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The subscription
    #[arg(value_name = "SUB")]
    name: Name,
    /// Most messages of one pull
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// Seconds (1 to 60) to wait for a first message
    #[arg(long, value_name = "SECONDS", conflicts_with = "follow",
          value_parser = clap::value_parser!(u64).range(1..=60))]
    wait: Option<u64>,
    /// Acknowledge what was printed; without it, it is delivered again after the ack deadline
    #[arg(long)]
    ack: bool,
    /// Go on until Ctrl-C; needs --ack, for without it the same messages would come again and again
    #[arg(long, requires = "ack")]
    follow: bool,
}

/// Prints the next messages, once or until it is told to end.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), Failure> {
    let path = session.subscription(options.name.as_str()).await?;
    if !options.follow {
        let messages = pull(session, &path, options.max, options.wait).await;
        let messages = messages.map_err(|error| session.failure(&error))?;
        write(&messages, session.output)?;
        if options.ack {
            acknowledge(session, &path, &messages)
                .await
                .map_err(|error| session.failure(&error))?;
        } else if messages.is_empty() && session.output == Output::Text {
            print::note("no messages");
        }
        return Ok(());
    }
    let mut signals = Signals::listen()?;
    let mut pause = PAUSE.0;
    loop {
        let pulled = tokio::select! {
            pulled = pull(session, &path, options.max, Some(FOLLOW)) => pulled,
            () = signals.next() => return Ok(()),
        };
        let outcome = match pulled {
            Ok(messages) => {
                write(&messages, session.output)?;
                acknowledge(session, &path, &messages).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = outcome else {
            pause = PAUSE.0;
            continue;
        };
        let comes_again = is_late(&error);
        if !comes_again && !error.may_pass() {
            return Err(session.failure(&error));
        }
        print::note(&format!("{error}{}\n  going on", session.advice(&error)));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals.next() => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Whether an acknowledgement came too late: the messages come again.
fn is_late(error: &CallError) -> bool {
    let CallError::Refused { message, .. } = error else { return false };
    matches!(message.as_str(), "ack timeout" | "no ack pending" | "wrong ack")
}

async fn pull(
    session: &Session,
    path: &str,
    max: u32,
    wait: Option<u64>,
) -> Result<Vec<Value>, CallError> {
    let mut body = json!({"maxMessages": max.to_string(), "returnImmediately": "true"});
    if let (Some(seconds), Value::Object(body)) = (wait, &mut body) {
        body.insert(String::from("waitSeconds"), json!(seconds));
    }
    let verb = format!("{path}:pull");
    let mut answer = session.server.call(Method::POST, &verb, &[], Some(&body)).await?;
    Ok(elements(&mut answer, "receivedMessages"))
}

/// After the messages were written, never before.
async fn acknowledge(session: &Session, path: &str, messages: &[Value]) -> Result<(), CallError> {
    let ids: Vec<_> = messages.iter().filter_map(|message| message.get("ackId")).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let verb = format!("{path}:acknowledge");
    let body = json!({"ackIds": ids});
    session.server.call(Method::POST, &verb, &[], Some(&body)).await.map(drop)
}

/// Writes `messages` and flushes.
fn write(messages: &[Value], output: Output) -> Result<(), Failure> {
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
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(|error| {
        Failure::Other(format!("cannot write to standard output, nothing acknowledged: {error}"))
    })
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

/// The message, its `ackId`, and `text` where the data is one.
fn json_line(received: &Value) -> Value {
    let mut line = match received.get("message") {
        Some(Value::Object(message)) => message.clone(),
        _ => serde_json::Map::new(),
    };
    if let Ok(text) = String::from_utf8(decoded(received)) {
        line.insert(String::from("text"), json!(text));
    }
    if let Some(id) = received.get("ackId") {
        line.insert(String::from("ackId"), id.clone());
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
    }
}
