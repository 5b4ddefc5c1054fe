//! `ams tail`: a topic without a subscription, so nothing moves and nothing is left behind.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::messages::write;
use super::names::Name;
use super::retry::{FOLLOW, Pause};
use super::server::CallError;
use super::session::{Session, elements};
use crate::failure::Failure;
use crate::print;
use crate::run::Signals;

/// Most messages of one read.
const MESSAGES: u64 = 1_000;

/// What to print, and from where.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("begin"))]
pub(crate) struct Options {
    /// The topic
    topic: Name,
    /// Begin with this offset; with neither this nor --last, only what is published from now on
    #[arg(long, value_name = "OFFSET", group = "begin",
          value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    from: Option<u64>,
    /// Begin with the last N messages
    #[arg(long, value_name = "N", group = "begin",
          value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    last: Option<u64>,
    /// End after N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// End where the topic ended when this began, instead of going on until Ctrl-C
    #[arg(long, requires = "begin")]
    no_follow: bool,
}

/// Where the next read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At an offset.
    At(u64),
    /// So many messages before the end.
    Back(u64),
}

/// One answer.
#[derive(Debug, PartialEq)]
struct Read {
    messages: Vec<Value>,
    /// The oldest offset kept.
    min: u64,
    /// The end.
    max: u64,
    /// Where to go on.
    next: u64,
}

impl Read {
    /// What an answer says; `None` when it is none of a topic.
    fn of(mut answer: Value) -> Option<Self> {
        let number = |key: &str| answer.get(key).and_then(Value::as_u64);
        let (min, max, next) = (number("min")?, number("max")?, number("next")?);
        let messages = elements(&mut answer, "messages");
        let messages = messages.into_iter().map(|message| json!({"message": message})).collect();
        Some(Self { messages, min, max, next })
    }

    /// What is said when messages from `at` on are not there any more.
    fn gone(&self, at: u64) -> Option<String> {
        let there = u64::try_from(self.messages.len()).unwrap_or(u64::MAX);
        let all = self.next.saturating_sub(at);
        let gone = all.saturating_sub(there);
        let why = match self.min > at {
            true => format!("the topic keeps what is from {} on", self.min),
            false => String::from("they were given up as damaged"),
        };
        (gone > 0)
            .then(|| format!("{gone} of the {all} messages from offset {at} on are gone: {why}"))
    }
}

/// Prints what a topic holds and gets.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), Failure> {
    let path = session.topic(options.topic.as_str()).await?;
    let mut signals = Signals::listen()?;
    // The first answer says where the end is; until it came, an error is no restart.
    let mut end = None;
    let mut place = match (options.from, options.last) {
        (Some(offset), _) => Place::At(offset),
        (None, Some(back)) => Place::Back(back),
        (None, None) => {
            let read = read(session, &path, Place::Back(1), 1, None).await;
            let read = read.map_err(|error| failure(session, &error, Place::Back(1)))?;
            end = Some(read.max);
            Place::At(read.max)
        }
    };
    let mut left = options.max.unwrap_or(u64::MAX);
    let follow = !options.no_follow;
    let mut pause = Pause::default();
    loop {
        let most = match (place, end) {
            (Place::At(at), Some(end)) if !follow => left.min(end.saturating_sub(at)),
            _ => left,
        };
        let answer = tokio::select! {
            answer = read(session, &path, place, most, follow.then_some(FOLLOW)) => answer,
            () = signals.next() => return Ok(()),
        };
        let error = match answer {
            Ok(read) => {
                pause = Pause::default();
                let end = *end.get_or_insert(read.max);
                if let Place::At(at) = place
                    && let Some(text) = read.gone(at)
                {
                    print::note(&format!("{path}: {text}"));
                }
                write(&read.messages, session.output)?;
                left = left.saturating_sub(u64::try_from(read.messages.len()).unwrap_or(left));
                if left == 0 || (!follow && read.next >= end) {
                    return Ok(());
                }
                place = Place::At(read.next);
                continue;
            }
            Err(error) => error,
        };
        if !follow || end.is_none() || !error.may_pass() {
            return Err(failure(session, &error, place));
        }
        print::note(&format!("{error}{}\n  going on", session.advice(&error)));
        tokio::select! {
            () = tokio::time::sleep(pause.next()) => {}
            () = signals.next() => return Ok(()),
        }
    }
}

async fn read(
    session: &Session,
    path: &str,
    place: Place,
    most: u64,
    wait: Option<u64>,
) -> Result<Read, CallError> {
    let offset = match place {
        Place::At(offset) => offset.to_string(),
        Place::Back(back) => format!("-{back}"),
    };
    let most = most.clamp(1, MESSAGES).to_string();
    let mut query = vec![("offset", offset.as_str()), ("maxMessages", most.as_str())];
    let wait = wait.map(|seconds| seconds.to_string());
    query.extend(wait.as_deref().map(|seconds| ("waitSeconds", seconds)));
    let answer = session.server.call(Method::GET, &format!("{path}:read"), &query, None).await?;
    Read::of(answer).ok_or_else(|| CallError::Foreign(String::from("no messages of a topic")))
}

fn failure(session: &Session, error: &CallError, place: Place) -> Failure {
    match (error, place) {
        (CallError::Refused { code: 400, message, .. }, Place::At(offset))
            if message == "Offset out of bounds" =>
        {
            Failure::Other(format!(
                "{error}\n  the topic ends before {offset}; was it deleted and made again? --last N \
                 begins with its last messages"
            ))
        }
        _ => session.failure(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ids: std::ops::Range<u64>, min: u64, next: u64) -> Read {
        let messages: Vec<_> = ids.map(|id| json!({"messageId": id.to_string()})).collect();
        Read::of(json!({"messages": messages, "min": min, "max": 20, "next": next})).unwrap()
    }

    #[test]
    fn what_is_gone_is_counted_and_why_is_said() {
        assert_eq!(answer(3..6, 3, 6).gone(3), None);
        assert_eq!(answer(20..20, 3, 20).gone(20), None);
        let trimmed = answer(7..9, 7, 9).gone(3).unwrap();
        let expected =
            "4 of the 6 messages from offset 3 on are gone: the topic keeps what is from 7 on";
        assert_eq!(trimmed, expected);
        // Nothing is left of it.
        assert!(answer(20..20, 20, 20).gone(3).unwrap().starts_with("17 of the 17 messages"));
        // A hole behind what was read.
        let hole = answer(3..6, 0, 8).gone(3).unwrap();
        assert!(hole.contains("2 of the 5") && hole.contains("damaged"), "{hole}");
        assert_eq!(Read::of(json!({"messages": []})), None);
    }
}
