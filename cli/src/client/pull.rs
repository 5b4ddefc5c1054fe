//! `ams pull`.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::messages;
use super::names::Name;
use super::options::Output;
use super::retry::{FOLLOW, Pause};
use super::server::CallError;
use super::session::{Session, elements};
use super::table::printable;
use crate::failure::Failure;
use crate::print;
use crate::run::Signals;

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
        write(session, &messages)?;
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
    let mut pause = Pause::default();
    loop {
        let pulled = tokio::select! {
            pulled = pull(session, &path, options.max, Some(FOLLOW)) => pulled,
            () = signals.next() => return Ok(()),
        };
        let outcome = match pulled {
            Ok(messages) => {
                write(session, &messages)?;
                acknowledge(session, &path, &messages).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = outcome else {
            pause = Pause::default();
            continue;
        };
        let comes_again = is_late(&error);
        if !comes_again && !error.may_pass() {
            return Err(session.failure(&error));
        }
        print::note(&format!("{error}{}\n  going on", session.advice(&error)));
        tokio::select! {
            () = tokio::time::sleep(pause.next()) => {}
            () = signals.next() => return Ok(()),
        }
    }
}

/// Writes `messages`; says on standard error which of them were delivered before.
fn write(session: &Session, messages: &[Value]) -> Result<(), Failure> {
    messages::write(messages, session.output)
        .map_err(|error| Failure::Other(format!("{error}; nothing acknowledged")))?;
    if session.output == Output::Text {
        messages.iter().filter_map(attempt).for_each(|text| print::note(&text));
    }
    Ok(())
}

/// What is said about a message that was delivered before, where the subscription tells.
fn attempt(received: &Value) -> Option<String> {
    let attempt = received.get("deliveryAttempt").and_then(Value::as_u64).filter(|n| *n > 1)?;
    let id = received.get("message").and_then(|message| message.get("messageId"));
    let id = id.and_then(Value::as_str).map(printable).unwrap_or_default();
    Some(format!("message {id}: delivery attempt {attempt}"))
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
