//! `subscriptions:pull` and `:acknowledge`: what consumers do all day.

use std::fmt::Write as _;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, Scalar, Text, Writer, object};
use super::leases;
use super::reply::Reply;
use crate::domain::records::AckMode;
use crate::domain::{Data, Leased, MessageRef, Offset, ProjectName, SubscriptionName};
use crate::service::{AckId, Caller, Error, Pulled, StoreError};

/// `POST /v1/projects/{project}/subscriptions/{subscription}:pull`
pub(super) async fn pull(
    call: &Call<'_>,
    caller: &Caller,
    project: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    const INVALID: Refusal = Refusal::Argument(argument::PULL);
    let puller = call.broker.puller(caller, name)?;
    let body = call.body.read().await?;
    let wanted: PullBody = object(&body).map_err(|_| INVALID)?;
    let wait = wanted.wait().map_err(|_| INVALID)?;
    let mut pulled = puller.pull(wanted.max(), wait).await?;
    call.keep_share(&mut pulled);
    Ok(Reply::ok(received_messages(&pulled, project, name)?))
}

/// AMS wants texts; numbers and booleans are understood too (O6, improved).
#[derive(Default)]
struct PullBody {
    max_messages: Scalar,
    wait_seconds: Option<Scalar>,
}

impl<'de> Fields<'de> for PullBody {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "maxmessages" => self.max_messages = map.next_value()?,
            // A pull answers at once with whatever there is (O4, O5), so it only has to be lawful.
            "returnimmediately" => drop(map.next_value::<Scalar>()?),
            "waitseconds" => self.wait_seconds = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl PullBody {
    /// What is no positive number counts as 1 (O7).
    fn max(&self) -> u64 {
        self.max_messages.0.parse::<i64>().map_or(1, |max| max.max(1).unsigned_abs())
    }

    fn wait(&self) -> Result<Option<Duration>, OutOfBounds> {
        let Some(Scalar(text)) = &self.wait_seconds else { return Ok(None) };
        let seconds: u64 = text.parse().map_err(|_| OutOfBounds)?;
        if (1..=60).contains(&seconds) {
            Ok(Some(Duration::from_secs(seconds)))
        } else {
            Err(OutOfBounds)
        }
    }
}

struct OutOfBounds;

/// What an ack id is before its offset.
pub(super) fn ack_prefix(project: &ProjectName, name: &SubscriptionName) -> String {
    format!("projects/{project}/subscriptions/{name}:")
}

/// Most bytes set aside for an answer on an estimate.
const MOST_RESERVED: u64 = 16 << 20;

/// The answer of a pull, straight from the entries into one buffer.
fn received_messages(
    pulled: &Pulled,
    project: &ProjectName,
    name: &SubscriptionName,
) -> Result<String, Error> {
    let mut json = Writer::indented();
    // As if all messages were of one size.
    let held: u64 = pulled.entries.iter().map(|entry| u64::from(entry.batch.len())).sum();
    let bytes: u64 = pulled.entries.iter().map(|entry| entry.batch.ams_bytes()).sum();
    let each = bytes.checked_div(held).unwrap_or_default().saturating_add(256);
    let room = each.saturating_mul(pulled.count).min(MOST_RESERVED);
    json.reserve(usize::try_from(room).unwrap_or_default());
    let prefix = ack_prefix(project, name);
    let mut outcome = Ok(());
    json.object(|json| {
        outcome = match pulled.leased.is_empty() {
            true => write_messages(json, "receivedMessages", pulled, Some(&prefix)),
            false => write_leased(json, "receivedMessages", pulled, &prefix),
        };
    });
    outcome?;
    Ok(json.finish())
}

/// The messages as a list under `key`: with an `ackId` each, of this beginning, or bare.
pub(super) fn write_messages(
    json: &mut Writer,
    key: &str,
    pulled: &Pulled,
    ack_prefix: Option<&str>,
) -> Result<(), Error> {
    let end = pulled.first.plus(pulled.count);
    let mut outcome = Ok(());
    json.key(key).list(|json| {
        for entry in &pulled.entries {
            let time = entry.time.to_nanos_text();
            let first = pulled.first.max(entry.base);
            let messages = entry.batch.messages_from(first.since(entry.base));
            for (offset, message) in (first.0..end.0).map(Offset).zip(messages) {
                match message {
                    Ok(message) => match ack_prefix {
                        Some(prefix) => received(json, &message, (prefix, offset), &time),
                        None => write_message(json, &message, offset, &time),
                    },
                    Err(malformed) => outcome = Err(StoreError::from(malformed)),
                }
            }
        }
    });
    Ok(outcome?)
}

/// The same of leased messages, which may lie apart.
fn write_leased(
    json: &mut Writer,
    key: &str,
    pulled: &Pulled,
    ack_prefix: &str,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    let mut leased = pulled.leased.iter().peekable();
    json.key(key).list(|json| {
        for entry in &pulled.entries {
            let time = entry.time.to_nanos_text();
            let mut at = entry.base;
            let mut messages = entry.batch.messages();
            while let Some(Leased { id: lease, attempt }) =
                leased.next_if(|leased| leased.id.offset < entry.end())
            {
                if lease.offset != at {
                    messages = entry.batch.messages_from(lease.offset.since(entry.base));
                }
                at = lease.offset.plus(1);
                match messages.next() {
                    Some(Ok(message)) => json.object(|json| {
                        let id = AckId { life: pulled.life, lease: *lease };
                        json.key("ackId").raw_text(|out| leases::write_id(out, ack_prefix, id));
                        write_message(json.key("message"), &message, lease.offset, &time);
                        json.key("deliveryAttempt").number(attempt);
                    }),
                    Some(Err(malformed)) => outcome = Err(StoreError::from(malformed)),
                    None => {}
                }
            }
        }
    });
    Ok(outcome?)
}

fn received(
    json: &mut Writer,
    message: &MessageRef<'_>,
    (ack_prefix, offset): (&str, Offset),
    time: &str,
) {
    json.object(|json| {
        json.key("ackId").raw_text(|out| {
            out.push_str(ack_prefix);
            // Writing to a `String` cannot fail.
            write!(out, "{offset}").unwrap_or_default();
        });
        write_message(json.key("message"), message, offset, time);
    });
}

/// One message. No other key may stand in it: the Python library takes them for arguments
/// (`ams-clients.md` 0.5).
fn write_message(json: &mut Writer, message: &MessageRef<'_>, offset: Offset, time: &str) {
    json.object(|json| {
        json.key("messageId").raw_text(|out| {
            write!(out, "{offset}").unwrap_or_default();
        });
        if !message.attributes.is_empty() {
            json.key("attributes").object(|json| {
                for (key, value) in &message.attributes {
                    json.key(key).text(value);
                }
            });
        }
        match message.data {
            Data::Verbatim(text) => json.key("data").text(text),
            // Base64 needs no escapes.
            decoded @ Data::Decoded(_) => {
                json.key("data").raw_text(|out| decoded.write_text(out));
            }
        }
        json.key("publishTime").raw_text(|out| out.push_str(time));
    });
}

/// `POST /v1/projects/{project}/subscriptions/{subscription}:acknowledge`
pub(super) async fn acknowledge(
    call: &Call<'_>,
    caller: &Caller,
    project: &ProjectName,
    name: &SubscriptionName,
) -> Result<Reply, Refusal> {
    let body = call.body.read().await?;
    let prefix = ack_prefix(project, name);
    let highest = highest_of(&body, &prefix)?;
    let acker = call.broker.acker(caller, name)?;
    if acker.ack_mode() == AckMode::Individual {
        let ids = leases::ids_of(&body, &prefix, false)?;
        acker.acknowledge_each(ids.ok_or(Refusal::Argument(argument::ACK_ID))?).await?;
        return Ok(Reply::ok(String::from("{}")));
    }
    // Existence comes before the judgement of the ids (`ams-contract.md` 9.5).
    let highest = highest.ok_or(Refusal::Argument(argument::ACK_ID))?;
    acker.acknowledge(highest).await?;
    Ok(Reply::ok(String::from("{}")))
}

/// The highest of the offsets that the body's ack ids name; `None` when there is none, or any id
/// is not one of this subscription.
fn highest_of(body: &[u8], prefix: &str) -> Result<Option<Offset>, Refusal> {
    const INVALID: Refusal = Refusal::Argument(argument::ACK);
    let body = std::str::from_utf8(body).map_err(|_| INVALID)?;
    let mut reader = serde_json::Deserializer::from_str(body);
    let mut ids = AckIds { prefix, highest: -1, all_good: true };
    reader.deserialize_any(AckBody(&mut ids)).map_err(|_| INVALID)?;
    reader.end().map_err(|_| INVALID)?;
    let highest = u64::try_from(ids.highest).ok().filter(|_| ids.all_good);
    Ok(highest.map(Offset))
}

/// Ack ids, judged while they are read: no list of them is kept.
struct AckIds<'a> {
    /// `projects/P/subscriptions/S:`, before the offset.
    prefix: &'a str,
    highest: i64,
    all_good: bool,
}

impl AckIds<'_> {
    /// Sign and leading zeros are tolerated.
    fn see(&mut self, id: &str) {
        match id.strip_prefix(self.prefix).map(str::parse::<i64>) {
            Some(Ok(offset)) => self.highest = self.highest.max(offset),
            _ => self.all_good = false,
        }
    }
}

/// The whole body.
struct AckBody<'p, 'a>(&'p mut AckIds<'a>);

impl<'de> Visitor<'de> for AckBody<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            if key.eq_ignore_ascii_case("ackIds") {
                (self.0.highest, self.0.all_good) = (-1, true);
                map.next_value_seed(AckList(self.0))?;
            } else {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The list of ids.
struct AckList<'p, 'a>(&'p mut AckIds<'a>);

impl<'de> DeserializeSeed<'de> for AckList<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AckList<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of ack ids")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(id) = list.next_element::<Text<'de>>()? {
            self.0.see(id.as_ref());
        }
        Ok(())
    }
}
