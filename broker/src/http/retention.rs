//! What a topic keeps, `retention` and `retentionBytes`: ours, so always the last keys, and absent
//! where nothing is set.

use std::time::Duration;

use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, Loose, Writer, object};
use crate::domain::RetentionSettings;
use crate::domain::alert::DurationText;

/// Both keys as they were given.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    age: Loose,
    bytes: Loose,
}

impl<'de> Fields<'de> for Wanted {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "retention" => self.age = map.next_value()?,
            "retentionbytes" => self.bytes = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The settings given; none is none. No topic may keep its messages for longer than `longest`.
pub(super) fn settings(wanted: Wanted, longest: Duration) -> Result<RetentionSettings, Refusal> {
    let invalid = || Refusal::Retention { longest };
    let age = match wanted.age {
        Loose::Null => None,
        Loose::Text(text) => {
            let age = DurationText::try_from(text).map_err(|_| invalid())?;
            if age.value() > longest {
                return Err(invalid());
            }
            Some(age)
        }
        _ => return Err(invalid()),
    };
    let bytes = match wanted.bytes {
        Loose::Null => None,
        Loose::Number(bytes) if bytes > 0 => Some(bytes),
        _ => return Err(Refusal::Argument(argument::RETENTION_BYTES)),
    };
    Ok(RetentionSettings { age, bytes })
}

/// The body of `:modifyRetention` replaces both settings; `{}` removes them.
pub(super) async fn replacement(call: &Call<'_>) -> Result<RetentionSettings, Refusal> {
    let longest = call.broker.longest_retention();
    let body = call.body.read().await?;
    let wanted = object::<Wanted>(&body).map_err(|_| Refusal::Retention { longest })?;
    settings(wanted, longest)
}

/// Writes what is set as the last keys of the open object.
pub(super) fn write(json: &mut Writer, retention: &RetentionSettings) {
    if let Some(age) = &retention.age {
        json.key("retention").text(age.as_str());
    }
    if let Some(bytes) = retention.bytes {
        json.key("retentionBytes").number(bytes);
    }
}
