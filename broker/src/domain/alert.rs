//! What an owner says about alarms of a project, topic or subscription.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use clock::Time;

/// The optional `alert` object. In force, field by field: subscription, topic, project, service.
/// The names of the keys are the same on the wire and in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AlertSettings {
    /// How long something may wait before it is a stall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_after: Option<DurationText>,
    /// No mail before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<TimeText>,
    /// Who gets the mails, at most [`MAX_CONTACTS`] addresses; replaces the usual recipients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Address>,
    /// The highest severity an alarm may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_cap: Option<Severity>,
}

/// At most this many contacts.
pub const MAX_CONTACTS: usize = 20;

impl AlertSettings {
    /// Whether nothing is set: the object is then absent.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the number of contacts is lawful; everything else is, by its type.
    pub const fn is_lawful(&self) -> bool {
        self.contacts.len() <= MAX_CONTACTS
    }
}

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth acting on this week.
    Warn,
    /// Act now.
    Crit,
}

impl Severity {
    /// `info`, `warn` or `crit`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Crit => "crit",
        }
    }
}

/// A duration as its owner wrote it (`90s`, `15m`, `7d`): longer than zero, at most ten years.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationText(Box<(String, Duration)>);

impl DurationText {
    /// The duration.
    pub const fn value(&self) -> Duration {
        self.0.1
    }

    /// The text, as given.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl TryFrom<String> for DurationText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const TEN_YEARS: Duration = Duration::from_secs(10 * 366 * 86_400);
        let value = humantime::parse_duration(&text).map_err(|_| "not a duration")?;
        if value.is_zero() || value > TEN_YEARS {
            return Err("duration out of bounds");
        }
        Ok(Self(Box::new((text, value))))
    }
}

impl From<DurationText> for String {
    fn from(duration: DurationText) -> Self {
        duration.0.0
    }
}

/// A time as its owner wrote it, RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeText(Box<(String, Time)>);

impl TimeText {
    /// The time.
    pub const fn value(&self) -> Time {
        self.0.1
    }
}

impl TryFrom<String> for TimeText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let value = Time::parse_rfc3339(&text);
        value.map(|value| Self(Box::new((text, value)))).ok_or("not an RFC 3339 time in UTC")
    }
}

impl From<TimeText> for String {
    fn from(time: TimeText) -> Self {
        time.0.0
    }
}

/// A mail address that is safe to hand on: one `@`, no blank, no control character, no list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

impl Address {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let lawful = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
        let sound = text.len() <= 254
            && text.chars().all(lawful)
            && text.split_once('@').is_some_and(|(local, host)| {
                local.len() <= 64
                    && local.split('.').all(|atom| !atom.is_empty())
                    && host.split('.').all(is_label)
            });
        if sound { Ok(Self(text)) } else { Err("not a mail address") }
    }
}

/// One part of a host name, between dots.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<AlertSettings, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn settings_come_back_as_their_owner_wrote_them() {
        let written = json!({
            "stallAfter": "1h 30m",
            "mutedUntil": "2030-01-02T03:04:05.5Z",
            "contacts": ["a.b+c@example.org", "o'neil@x-y.example"],
            "severityCap": "warn",
        });
        let settings = read(written.clone()).unwrap();
        let stall_after = settings.stall_after.as_ref().unwrap();
        assert_eq!(stall_after.value(), Duration::from_secs(5_400));
        assert_eq!(stall_after.as_str(), "1h 30m");
        let muted_until = settings.muted_until.as_ref().unwrap().value();
        assert_eq!(muted_until, Time(1_893_553_445_500_000_000));
        assert_eq!(settings.severity_cap, Some(Severity::Warn));
        assert!(settings.is_lawful() && !settings.is_empty());
        assert_eq!(serde_json::to_value(&settings).unwrap(), written);
        let nothing = read(json!({})).unwrap();
        assert!(nothing.is_empty() && nothing.is_lawful());
        assert_eq!(serde_json::to_value(&nothing).unwrap(), json!({}));
    }

    #[test]
    fn severities_ascend() {
        assert!(Severity::Info < Severity::Warn && Severity::Warn < Severity::Crit);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        for key in ["stall_after", "StallAfter", "contact", "x"] {
            let error = read(json!({ key: "10m" })).unwrap_err().to_string();
            assert!(error.contains(&format!("unknown field `{key}`")), "{error}");
        }
    }

    #[test]
    fn bad_durations_are_refused() {
        for bad in ["", "0s", "0", "10", "ten minutes", "-5m", "11y", "1e9d", "99999999999999y"] {
            assert!(read(json!({ "stallAfter": bad })).is_err(), "{bad:?}");
        }
        assert!(read(json!({ "stallAfter": 600 })).is_err());
        for good in ["1ns", "90s", "15m", "7d", "10y"] {
            assert!(read(json!({ "stallAfter": good })).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn bad_times_are_refused() {
        for bad in
            ["", "tomorrow", "2030-01-02", "2030-01-02T03:04:05", "2030-01-02T03:04:05+00:00"]
        {
            assert!(read(json!({ "mutedUntil": bad })).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bad_severities_are_refused() {
        for bad in ["", "Warn", "critical", "none"] {
            assert!(read(json!({ "severityCap": bad })).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        let long_local = format!("{}@example.org", "a".repeat(65));
        let long_host = format!("a@{}", ["b".repeat(60).as_str(); 5].join("."));
        for bad in [
            "",
            "@",
            "nobody",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@b\r\nBcc: x@y",
            "a@b,c@d",
            "a@b;c@d",
            "<a@b>",
            "A <a@b>",
            "\"a\"@b",
            "a\\b@c",
            "a@[127.0.0.1]",
            "a(x)@b",
            "ä@b",
            "a@ä",
            "a@.b",
            "a@b.",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@b_c",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a\0@b",
            &long_local,
            &long_host,
        ] {
            assert!(read(json!({ "contacts": [bad] })).is_err(), "{bad:?}");
        }
        for good in ["a@b", "root@localhost", "first.last+tag@mail.example.org", "a@1.example"] {
            let settings = read(json!({ "contacts": [good] })).unwrap();
            assert_eq!(settings.contacts.first().map(Address::as_str), Some(good));
        }
    }

    #[test]
    fn twenty_contacts_are_the_most() {
        let contacts = |count| {
            let all: Vec<_> = (0..count).map(|n| format!("a{n}@example.org")).collect();
            read(json!({ "contacts": all })).unwrap()
        };
        assert!(contacts(MAX_CONTACTS).is_lawful());
        assert!(!contacts(MAX_CONTACTS + 1).is_lawful());
    }
}
