//! The workloads (`performance.md` 4.2) and the floor of each.

use std::sync::Arc;
use std::time::Duration;

use super::connection::request;
use super::load::{Actor, Script};

/// One workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) scheme: &'static str,
    pub(super) kind: Kind,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Publishes of `messages` messages of `bytes` bytes; `fresh` = to a store that was made this
    /// moment, which fills its files meanwhile.
    Publish { connections: usize, messages: usize, bytes: usize, fresh: bool },
    /// Pulls of at most `max` and their acknowledgement; one subscription per connection, all of
    /// one topic that holds `backlog` messages, from its start again and again.
    Consume { connections: usize, max: u64, backlog: u64 },
    /// Single publishes at half of what a closed loop reaches, and a consumer that waits.
    Latency,
    /// Publishes of 100 to one topic with 10 subscriptions that are all read.
    FanOut,
    /// Single publishes to many topics, chosen by Zipf's law, all of them read.
    Topics,
    /// Single publishes, each over a TLS connection of its own.
    Churn,
}

pub(super) const KIBIBYTE: usize = 1_024;
pub(super) const PROJECT: &str = "BENCH";
/// Consumers of [`Kind::FanOut`].
pub(super) const FAN_OUT: usize = 10;
/// Publishers of [`Kind::FanOut`].
pub(super) const FAN_OUT_PUBLISHERS: usize = 4;
/// Publishers, and consumers, of [`Kind::Topics`].
pub(super) const TOPICS_CONNECTIONS: usize = 64;

const fn publish(connections: usize, messages: usize, bytes: usize) -> Kind {
    Kind::Publish { connections, messages, bytes, fresh: false }
}

macro_rules! workloads {
    ($($id:literal $scheme:literal $what:literal $kind:expr;)*) => {
        &[$(Workload { id: $id, what: $what, scheme: $scheme, kind: $kind }),*]
    };
}

/// All of them; messages are of 1 KiB unless said.
pub(super) const ALL: &[Workload] = workloads! {
    "W1" "http" "publish 1 per request, 1 connection" publish(1, 1, KIBIBYTE);
    "W2" "http" "publish 1 per request, 64 connections" publish(64, 1, KIBIBYTE);
    "W3" "http" "publish 1 per request, 512 connections" publish(512, 1, KIBIBYTE);
    "W4" "http" "publish 100 per request, 16 connections" publish(16, 100, KIBIBYTE);
    "W4f" "http" "W4 on a store that was made this moment and fills its files meanwhile"
        Kind::Publish { connections: 16, messages: 100, bytes: KIBIBYTE, fresh: true };
    "W5" "http" "pull 1 and acknowledge it, 64 connections"
        Kind::Consume { connections: 64, max: 1, backlog: 20_000 };
    "W6" "http" "pull 100 and acknowledge them, 16 connections"
        Kind::Consume { connections: 16, max: 100, backlog: 20_000 };
    "W7" "http" "publish 1 per request at half of the ceiling, 64 connections, 1 waiting consumer"
        Kind::Latency;
    "W8" "http" "publish 100 per request, 4 connections; 10 subscriptions, each pulls 100 and acknowledges"
        Kind::FanOut;
    "W10" "http" "replay from the start behind the entry cache: pull 1000 and acknowledge, 4 connections"
        Kind::Consume { connections: 4, max: 1_000, backlog: 100_000 };
    "W11" "http" "publish 1 per request to 1000 topics (Zipf), 64 connections; 64 consumers go round all of them"
        Kind::Topics;
    "W12a" "http" "publish 1 of 1 MiB per request, 4 connections" publish(4, 1, KIBIBYTE * KIBIBYTE);
    "W12b" "http" "publish 100 of 100 bytes per request, 16 connections" publish(16, 100, 100);
    "W13" "https" "publish 1 per request, a TLS connection for each, 16 at a time" Kind::Churn;
};

/// What the floor is asked: requests of these body sizes for answers of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) connections: usize,
    /// Bodies of one operation: what is sent and what is answered.
    pub(super) bodies: Vec<(usize, usize)>,
    /// Messages that one operation stands for.
    pub(super) messages: u64,
    pub(super) churn: bool,
}

impl Workload {
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.id.eq_ignore_ascii_case(id))
    }

    /// Whether it writes much.
    pub(super) const fn is_bulk(&self) -> bool {
        match self.kind {
            Kind::Publish { messages, bytes, .. } => messages > 1 || bytes > KIBIBYTE,
            Kind::FanOut => true,
            Kind::Consume { .. } | Kind::Latency | Kind::Topics | Kind::Churn => false,
        }
    }

    /// How long the log's files must be so that a phase of `length`, or the two that some consist
    /// of, needs no more than half of the first, if a file can be so long; `None` = as a new store
    /// makes them.
    pub(super) fn slot_bytes(&self, length: Duration) -> Option<u64> {
        let phases = match self.kind {
            Kind::Publish { fresh: true, .. } => return None,
            Kind::Latency | Kind::FanOut => 2,
            Kind::Publish { .. } | Kind::Consume { .. } | Kind::Topics | Kind::Churn => 1,
        };
        let each_second: u64 = match self.kind {
            Kind::Publish { messages, bytes, .. } if messages * bytes >= 64 * KIBIBYTE => 800 << 20,
            _ if self.is_bulk() => 320 << 20,
            _ => 64 << 20,
        };
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        // The store's files are shorter than 2 GiB, in whole pages.
        Some((2 * phases * each_second / 1_000).saturating_mul(millis).min((1 << 31) - 4_096))
    }

    /// The floor of the same shape.
    pub(super) fn floor(&self) -> Shape {
        let publishing = |connections, messages, bytes| Shape {
            connections,
            bodies: vec![(publish_body(messages, bytes).len(), 40 + 15 * messages)],
            messages: messages as u64,
            churn: false,
        };
        match self.kind {
            Kind::Publish { connections, messages, bytes, .. } => {
                publishing(connections, messages, bytes)
            }
            Kind::Consume { connections, max, .. } => {
                let messages = usize::try_from(max).unwrap_or(1);
                // As the broker answers and as a consumer acknowledges.
                let pull = (50, 32 + 1_580 * messages);
                let acknowledge = (14 + 45 * messages, 2);
                Shape { connections, bodies: vec![pull, acknowledge], messages: max, churn: false }
            }
            Kind::Latency | Kind::Topics => publishing(64, 1, KIBIBYTE),
            Kind::FanOut => publishing(FAN_OUT_PUBLISHERS, 100, KIBIBYTE),
            Kind::Churn => Shape { churn: true, ..publishing(16, 1, KIBIBYTE) },
        }
    }
}

impl Shape {
    /// The load of the floor.
    pub(super) fn actors(&self) -> Vec<Actor> {
        let requests = self.bodies.iter().map(|(sent, answered)| {
            let token = "0".repeat(64);
            let path = format!("projects/{PROJECT}/topics/topic:publish/{answered}");
            request("POST", &path, &token, &vec![b'x'; *sent])
        });
        let script = script(vec![requests.collect()], self.messages);
        let actor = if self.churn { Actor::Churn(script) } else { Actor::Repeat(script) };
        vec![actor; self.connections]
    }
}

/// Operations that come one after the other.
pub(super) fn script(operations: Vec<Vec<Vec<u8>>>, messages: u64) -> Script {
    let order = (0..u16::try_from(operations.len()).unwrap_or(u16::MAX)).collect();
    Script { operations: operations.into(), order, first: 0, messages }
}

/// Connections that publish `messages` of `bytes` bytes to one topic.
pub(super) fn publishers(
    connections: usize,
    topic: &str,
    token: &str,
    (messages, bytes): (usize, usize),
) -> Vec<Actor> {
    let path = format!("projects/{PROJECT}/topics/{topic}:publish");
    let request = request("POST", &path, token, publish_body(messages, bytes).as_bytes());
    vec![Actor::Repeat(script(vec![vec![request]], messages as u64)); connections]
}

/// The body of a publish; its data is text that does not compress.
pub(super) fn publish_body(messages: usize, bytes: usize) -> String {
    let mut dice = Dice(messages as u64 ^ 0x9e37_79b9_7f4a_7c15);
    let message = |_| format!(r#"{{"data":"{}"}}"#, dice.base64(bytes));
    let messages: Vec<String> = (0..messages).map(message).collect();
    format!(r#"{{"messages":[{}]}}"#, messages.join(","))
}

/// Topic numbers as Zipf's law (exponent 1) deals them.
pub(super) fn zipf(topics: u16, draws: usize) -> Arc<[u16]> {
    let weight = |rank: u16| 1.0 / (f64::from(rank) + 1.0);
    let total: f64 = (0..topics).map(weight).sum();
    let mut dice = Dice(815);
    (0..draws)
        .map(|_| {
            let mut left = dice.share() * total;
            (0..topics)
                .find(|rank| {
                    left -= weight(*rank);
                    left <= 0.0
                })
                .unwrap_or_default()
        })
        .collect()
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    const fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 up to, without, 1.
    fn share(&mut self) -> f64 {
        let top = u32::try_from(self.roll() >> 32).unwrap_or_default();
        f64::from(top) / 4_294_967_296.0
    }

    /// Canonical base64 of `bytes` random bytes.
    fn base64(&mut self, bytes: usize) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(bytes.div_ceil(3) * 4);
        let mut digit = |mask: u64| {
            let at = usize::try_from((self.roll() >> 24) & mask).unwrap_or_default();
            DIGITS.get(at).map_or('A', |digit| char::from(*digit))
        };
        text.extend((0..bytes / 3 * 4).map(|_| digit(63)));
        match bytes % 3 {
            // Bits that stand for nothing are 0.
            1 => text.extend([digit(63), digit(0x30), '=', '=']),
            2 => text.extend([digit(63), digit(63), digit(0x3c), '=']),
            _ => {}
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_lawful_and_of_the_size_that_is_said() {
        for bytes in [1, 2, 3, 100, KIBIBYTE] {
            let body: serde_json::Value = serde_json::from_str(&publish_body(3, bytes)).unwrap();
            let data = body["messages"][2]["data"].as_str().unwrap();
            assert_eq!(data.len(), bytes.div_ceil(3) * 4);
            let padding = data.bytes().filter(|byte| *byte == b'=').count();
            assert_eq!(data.len() / 4 * 3 - padding, bytes);
        }
        assert_eq!(publish_body(1, 100), publish_body(1, 100));
    }

    #[test]
    fn the_first_topic_gets_its_share() {
        let order = zipf(1_000, 20_000);
        let first = order.iter().filter(|topic| **topic == 0).count();
        // 1 / H(1000) = 13.4 %.
        assert!((2_300..3_100).contains(&first), "{first}");
        assert!(order.iter().any(|topic| *topic > 900));
    }

    #[test]
    fn names_are_unique_and_found() {
        for workload in ALL {
            assert_eq!(Workload::find(&workload.id.to_lowercase()), Some(workload));
        }
        assert_eq!(Workload::find("W9"), None);
    }
}
