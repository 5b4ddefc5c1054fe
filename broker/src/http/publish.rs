//! `topics:publish`: the body goes straight into one packed batch, no object per message.

use std::fmt::{self, Write as _};

use actix_web::http::header::{HeaderMap, HeaderValue};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Text, Writer, text};
use super::reply::Reply;
use super::settings::Settings;
use crate::domain::{Batch, BatchBuilder, Offset, ProjectName, TopicName};
use crate::service::Caller;

/// `POST /v1/projects/{project}/topics/{topic}:publish`
pub(super) async fn publish(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    topic: &TopicName,
) -> Result<Reply, Refusal> {
    let publisher = call.broker.publisher(caller, topic)?;
    let key = idempotency_key(call.headers)?;
    let batch = read(&call.body.read().await?, call.settings)?;
    let count = u64::from(batch.len());
    let first = publisher.publish(batch, key).await?;
    Ok(Reply::ok(message_ids(first, count)))
}

/// What the header `Idempotency-Key` says (ours), byte for byte.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let mut keys = headers.get_all("idempotency-key").map(HeaderValue::as_bytes);
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if (1..=255).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Refusal::Argument(argument::IDEMPOTENCY_KEY)),
    }
}

fn message_ids(first: Offset, count: u64) -> String {
    let mut json = Writer::indented();
    json.object(|json| {
        json.key("messageIds").list(|json| {
            for i in 0..count {
                json.raw_text(|out| {
                    // Writing to a `String` cannot fail.
                    write!(out, "{}", first.plus(i)).unwrap_or_default();
                });
            }
        });
    });
    json.finish()
}

/// The batch of a body; `messages` missing or `null` is an empty one (O13).
fn read(body: &[u8], settings: &Settings) -> Result<Batch, Refusal> {
    const INVALID: Refusal = Refusal::Argument(argument::MESSAGE);
    let body = std::str::from_utf8(body).map_err(|_| INVALID)?;
    let mut reader = serde_json::Deserializer::from_str(body);
    // Data is three quarters of its text; a batch stays in memory, so no more than that.
    let batch = BatchBuilder::with_capacity(body.len() / 4 * 3 + 64);
    let mut packing = Packing { settings, batch, count: 0, attributes: 0 };
    reader.deserialize_any(BodyVisitor(&mut packing)).map_err(|_| INVALID)?;
    reader.end().map_err(|_| INVALID)?;
    let limit = settings.messages_per_request;
    if packing.count > limit {
        return Err(Refusal::TooManyMessages { count: packing.count, limit });
    }
    let limit = settings.attributes_per_message;
    if packing.attributes > limit {
        return Err(Refusal::TooManyAttributes { count: packing.attributes, limit });
    }
    Ok(packing.batch.finish())
}

/// A batch in the making. Past a limit the rest is only counted.
struct Packing<'a> {
    settings: &'a Settings,
    batch: BatchBuilder,
    count: u64,
    /// Most attributes seen on one message.
    attributes: u64,
}

impl Packing<'_> {
    fn has_room(&self) -> bool {
        self.count <= self.settings.messages_per_request
            && self.attributes <= self.settings.attributes_per_message
    }
}

/// The whole body.
struct BodyVisitor<'p, 's>(&'p mut Packing<'s>);

impl<'de> Visitor<'de> for BodyVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            if key.eq_ignore_ascii_case("messages") {
                // Of equal keys the last one wins.
                self.0.batch = BatchBuilder::default();
                (self.0.count, self.0.attributes) = (0, 0);
                map.next_value_seed(Messages(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The list of messages.
struct Messages<'p, 's>(&'p mut Packing<'s>);

impl<'de> DeserializeSeed<'de> for Messages<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        // One allocation for the attributes of all messages.
        let mut attributes = Vec::new();
        loop {
            let next = if self.0.has_room() {
                list.next_element_seed(Message {
                    packing: &mut *self.0,
                    attributes: &mut attributes,
                })?
            } else {
                list.next_element::<IgnoredAny>()?.map(|_| ())
            };
            if next.is_none() {
                return Ok(());
            }
            self.0.count += 1;
        }
    }
}

/// One message.
struct Message<'p, 's, 'de> {
    packing: &'p mut Packing<'s>,
    attributes: &'p mut Vec<(Text<'de>, Text<'de>)>,
}

impl<'de> DeserializeSeed<'de> for Message<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Message<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    /// `null` counts as an empty message.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.packing.batch.push::<&str, &str>(&[], "");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.attributes.clear();
        let mut data = Text::default();
        let mut count = 0;
        while let Some(Text(key)) = map.next_key()? {
            if key.eq_ignore_ascii_case("data") {
                data = map.next_value()?;
            } else if key.eq_ignore_ascii_case("attributes") {
                self.attributes.clear();
                let limit = self.packing.settings.attributes_per_message;
                count = map.next_value_seed(Attributes { list: &mut *self.attributes, limit })?;
            } else if key.eq_ignore_ascii_case("messageId")
                || key.eq_ignore_ascii_case("publishTime")
            {
                // Ours to give, but a text.
                text(&mut map)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        self.packing.attributes = self.packing.attributes.max(count);
        self.packing.batch.push(self.attributes, data.as_ref());
        Ok(())
    }
}

/// The attributes of a message: an object of texts. Says how many there are.
struct Attributes<'p, 'de> {
    list: &'p mut Vec<(Text<'de>, Text<'de>)>,
    limit: u64,
}

impl<'de> DeserializeSeed<'de> for Attributes<'_, 'de> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Attributes<'_, 'de> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_unit<E: Error>(self) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut count = 0;
        while let Some(entry) = map.next_entry()? {
            count += 1;
            if count <= self.limit {
                self.list.push(entry);
            }
        }
        Ok(count)
    }
}
