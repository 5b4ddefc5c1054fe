//! A consumer: pull, acknowledge, again.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;

use super::connection::{Connection, request};
use super::load::{Stage, check};

/// Subscriptions that one connection reads, one after the other.
#[derive(Clone)]
pub(super) struct Consumer {
    pub(super) project: &'static str,
    pub(super) subscriptions: Vec<String>,
    pub(super) token: String,
    /// Most messages of one pull.
    pub(super) max: u64,
    /// Waits that long on the server for a message.
    pub(super) wait_seconds: Option<u64>,
    /// Rests after each round through the subscriptions.
    pub(super) pause: Duration,
    /// Begins again at the oldest message, with this token, when nothing is left.
    pub(super) again: Option<String>,
    /// The messages bear the time when they were due.
    pub(super) stamped: bool,
}

/// A subscription as its consumer knows it.
struct Reading {
    name: String,
    pull: Vec<u8>,
    position: u64,
}

const ID: &[u8] = br#""ackId": ""#;
const DATA: &[u8] = br#""data": ""#;

pub(super) async fn consume(
    consumer: Consumer,
    address: SocketAddr,
    stage: &Stage,
) -> io::Result<()> {
    let wait = consumer.wait_seconds.map(|seconds| format!(r#","waitSeconds":"{seconds}""#));
    let wait = wait.unwrap_or_default();
    let body = format!(r#"{{"maxMessages":"{}","returnImmediately":"true"{wait}}}"#, consumer.max);
    let path = |name: &str| format!("projects/{}/subscriptions/{name}", consumer.project);
    let mut reading: Vec<Reading> = consumer
        .subscriptions
        .iter()
        .map(|name| {
            let verb = format!("{}:pull", path(name));
            let pull = request("POST", &verb, &consumer.token, body.as_bytes());
            Reading { name: name.clone(), pull, position: 0 }
        })
        .collect();
    let mut connection = Connection::open(address).await?;
    while !stage.is_over() {
        for reading in &mut reading {
            let begun = Instant::now();
            let status = connection.send(&reading.pull).await?;
            check(status, connection.body())?;
            let Some((first, last)) = offsets(connection.body()) else {
                if let Some(token) = &consumer.again {
                    let verb = format!("{}:modifyOffset", path(&reading.name));
                    let back = request("POST", &verb, token, br#"{"offset":0}"#);
                    let status = connection.send(&back).await?;
                    check(status, connection.body())?;
                    reading.position = 0;
                }
                continue;
            };
            if consumer.stamped {
                stamps(connection.body()).for_each(|due| stage.arrived(due));
            }
            let verb = format!("{}:acknowledge", path(&reading.name));
            let ids = ack_ids(&path(&reading.name), first, last);
            let acknowledge = request("POST", &verb, &consumer.token, ids.as_bytes());
            let status = connection.send(&acknowledge).await?;
            check(status, connection.body())?;
            if first != reading.position {
                let text = format!("{}: got {first} at {}", reading.name, reading.position);
                return Err(io::Error::other(text));
            }
            reading.position = last + 1;
            stage.enter(&stage.received, begun, last + 1 - first);
        }
        if !consumer.pause.is_zero() {
            tokio::time::sleep(consumer.pause).await;
        }
    }
    let positions = reading.into_iter().map(|reading| (reading.name, reading.position));
    stage.positions.borrow_mut().extend(positions);
    Ok(())
}

/// The offsets of the first and the last message of a pull; `None` when there is none.
fn offsets(answer: &[u8]) -> Option<(u64, u64)> {
    let offset = |at: usize| {
        let id = answer.get(at + ID.len()..)?;
        let end = memchr::memchr(b'"', id)?;
        let text = std::str::from_utf8(id.get(..end)?).ok()?;
        text.rsplit_once(':')?.1.parse().ok()
    };
    Some((offset(memmem::find(answer, ID)?)?, offset(memmem::rfind(answer, ID)?)?))
}

/// The due times that stamped messages bear.
fn stamps(answer: &[u8]) -> impl Iterator<Item = u64> {
    memmem::find_iter(answer, DATA).filter_map(|at| {
        let digits = answer.get(at + DATA.len()..at + DATA.len() + 16)?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    })
}

fn ack_ids(subscription: &str, first: u64, last: u64) -> String {
    let mut body = String::from(r#"{"ackIds":["#);
    for offset in first..=last {
        let comma = if offset == first { "" } else { "," };
        // Writing to a `String` cannot fail.
        write!(body, r#"{comma}"{subscription}:{offset}""#).unwrap_or_default();
    }
    body.push_str("]}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_which_messages_it_holds() {
        let one = |offset: u64| {
            format!(
                "{{\n \"ackId\": \"projects/P/subscriptions/s:{offset}\",\n \"message\": \
                 {{\n \"data\": \"000000000000{:04x}AAAA\"\n}}}}",
                offset * 16
            )
        };
        let answer = format!("{{\"receivedMessages\": [{},{}]}}", one(7), one(8));
        assert_eq!(offsets(answer.as_bytes()), Some((7, 8)));
        assert_eq!(stamps(answer.as_bytes()).collect::<Vec<_>>(), [112, 128]);
        assert_eq!(offsets(b"{\"receivedMessages\": []}"), None);
    }

    #[test]
    fn every_message_is_acknowledged_by_name() {
        let expected =
            r#"{"ackIds":["projects/P/subscriptions/s:3","projects/P/subscriptions/s:4"]}"#;
        assert_eq!(ack_ids("projects/P/subscriptions/s", 3, 4), expected);
    }
}
