//! Ack ids of `ackMode: individual` on the wire: `projects/P/subscriptions/S:OFFSET-LEASE-LIFE`.

use std::fmt::Write as _;

use serde::de::MapAccess;

use super::error::{Refusal, argument};
use super::json::{Fields, List, Text, object};
use crate::domain::{LeaseId, Offset};
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

/// Digits alone: what was never written is not understood.
fn digits(text: &str) -> Option<u64> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}
