//! The `alert` object of projects, topics and subscriptions: ours, so always the last key, and
//! absent where nothing is set.

use serde::de::{Error as _, MapAccess};

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Alert, Fields, Writer, object};
use crate::domain::AlertSettings;

const INVALID: Refusal = Refusal::Argument(argument::ALERT);

/// The settings given; none is none.
pub(super) fn settings(alert: Alert) -> Result<AlertSettings, Refusal> {
    match alert {
        Alert::Absent => Ok(AlertSettings::default()),
        Alert::Lawful(alert) => Ok(*alert),
        Alert::Bad => Err(INVALID),
    }
}

/// The body of `:modifyAlert`: `{"alert": {...}}` replaces; an empty object, inside or alone,
/// removes, as `modifyPushConfig` does in AMS (O61). Any other key is refused: settings given
/// without the `alert` around them must not remove those in force.
pub(super) async fn replacement(call: &Call<'_>) -> Result<AlertSettings, Refusal> {
    #[derive(Default)]
    struct AlertBody(Alert);

    impl<'de> Fields<'de> for AlertBody {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "alert" => self.0 = map.next_value()?,
                _ => return Err(A::Error::custom("not a key of this body")),
            }
            Ok(true)
        }
    }

    let body = call.body.read().await?;
    settings(object::<AlertBody>(&body).map_err(|_| INVALID)?.0)
}

/// Writes the settings as the last key of the open object, unless nothing is set.
pub(super) fn write(json: &mut Writer, alert: &AlertSettings) {
    if alert.is_empty() {
        return;
    }
    json.key("alert").object(|json| {
        if let Some(duration) = &alert.stall_after {
            json.key("stallAfter").text(duration.as_str());
        }
        if let Some(time) = &alert.muted_until {
            json.key("mutedUntil").text(&String::from(time.clone()));
        }
        if !alert.contacts.is_empty() {
            json.key("contacts").texts(alert.contacts.iter().map(|address| address.as_str()));
        }
        if let Some(severity) = alert.severity_cap {
            json.key("severityCap").text(severity.as_str());
        }
    });
}
