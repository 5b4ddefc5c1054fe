//! `ackMode: individual` on the wire: ack ids, `projects/P/subscriptions/S:OFFSET-LEASE-LIFE`, and
//! where dead letters go.

use std::fmt::Write as _;

use serde::de::MapAccess;

use super::error::{Refusal, argument};
use super::json::{Fields, List, Text, Writer, integer, object, text};
use super::subscriptions::short_name;
use crate::domain::records::{AckMode, DeadLetters};
use crate::domain::{LeaseId, Offset, ProjectName, TopicName};
use crate::service::AckId;

/// Appends an ack id; `prefix` is `projects/P/subscriptions/S:`.
pub(super) fn write_id(out: &mut String, prefix: &str, id: AckId) {
    let AckId { life, lease: LeaseId { offset, number } } = id;
    // Writing to a `String` cannot fail.
    write!(out, "{prefix}{offset}-{number}-{life}").unwrap_or_default();
}

/// The ack ids that a body names under `ackIds`, each of this form; `None` without that key.
/// An empty list, or one with an id of another form, names nothing (400 `Invalid ack id`). An id of
/// another subscription does so too, but where they are `lenient` it is left out.
pub(super) fn ids_of(
    body: &[u8],
    prefix: &str,
    lenient: bool,
) -> Result<Option<Vec<AckId>>, Refusal> {
    const INVALID: Refusal = Refusal::Argument(argument::ACK_ID);
    #[derive(Default)]
    struct Body<'de>(Option<Vec<Text<'de>>>);

    impl<'de> Fields<'de> for Body<'de> {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            if key == "ackids" {
                let List(ids) = map.next_value()?;
                self.0 = ids;
            }
            Ok(key == "ackids")
        }
    }

    let Body(texts) = object(body).map_err(|_| INVALID)?;
    let Some(texts) = texts else { return Ok(None) };
    if texts.is_empty() {
        return Err(INVALID);
    }
    let mut ids = Vec::with_capacity(texts.len());
    for Text(text) in &texts {
        let (subscription, rest) = text.rsplit_once(':').ok_or(INVALID)?;
        let id = parse(rest).ok_or(INVALID)?;
        if prefix.strip_suffix(':') == Some(subscription) {
            ids.push(id);
        } else if !lenient {
            return Err(INVALID);
        }
    }
    Ok(Some(ids))
}

fn parse(text: &str) -> Option<AckId> {
    let mut parts = text.split('-');
    let (offset, number, life) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let lease = LeaseId { offset: Offset(digits(offset)?), number: digits(number)? };
    Some(AckId { life: u32::try_from(digits(life)?).ok()?, lease })
}

/// `deadLetterPolicy`, as Google names it; without a member it is none.
#[derive(Default)]
pub(super) struct DeadLetterPolicy {
    topic: String,
    attempts: i64,
}

impl<'de> Fields<'de> for DeadLetterPolicy {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "deadlettertopic" => self.topic = text(map)?,
            "maxdeliveryattempts" => self.attempts = integer(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl DeadLetterPolicy {
    /// What it says of a subscription of `topic`; 5 attempts if it does not say how many.
    pub(super) fn settings(
        &self,
        topic: &TopicName,
        mode: AckMode,
    ) -> Result<Option<DeadLetters>, Refusal> {
        const INVALID: Refusal = Refusal::Argument(argument::DEAD_LETTERS);
        if self.topic.is_empty() && self.attempts == 0 {
            return Ok(None);
        }
        let name: TopicName =
            short_name(&self.topic).and_then(|name| name.parse().ok()).ok_or(INVALID)?;
        let max_attempts = match self.attempts {
            0 => 5,
            attempts => u32::try_from(attempts).map_err(|_| INVALID)?,
        };
        if mode != AckMode::Individual || name == *topic || !(1..=100).contains(&max_attempts) {
            return Err(INVALID);
        }
        Ok(Some(DeadLetters { topic: name, max_attempts }))
    }
}

/// Shows where dead letters go.
pub(super) fn write_policy(json: &mut Writer, project: &ProjectName, letters: &DeadLetters) {
    let DeadLetters { topic, max_attempts } = letters;
    json.key("deadLetterPolicy").object(|json| {
        json.key("deadLetterTopic").text(&format!("/projects/{project}/topics/{topic}"));
        json.key("maxDeliveryAttempts").number(*max_attempts);
    });
}

/// Digits alone: what was never written is not understood.
fn digits(text: &str) -> Option<u64> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}
