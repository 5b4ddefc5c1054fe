//! What owners say about alarms, and which of their words is in force.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Time;

/// How bad something is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing to do.
    #[default]
    Ok,
    /// Worth knowing; never mailed.
    Info,
    /// Worth acting on.
    Warn,
    /// Act now.
    Crit,
}

impl Severity {
    /// `ok`, `info`, `warn` or `crit`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Crit => "crit",
        }
    }
}

/// At most this many contacts of one object are used.
const MAX_CONTACTS: usize = 20;

/// The `alert` object of a project, topic or subscription, or the service's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertSettings {
    /// How long something may wait before it is a stall.
    pub stall_after: Option<Duration>,
    /// No mail before this time.
    pub muted_until: Option<Time>,
    /// Who gets the mails; empty = not said.
    pub contacts: Vec<String>,
    /// The highest severity an alarm may have.
    pub severity_cap: Option<Severity>,
}

impl AlertSettings {
    /// Reads what is understood and leaves out the rest: the broker has checked it, and one bad
    /// field must not cost a directory.
    pub fn from_json(value: &Value) -> Self {
        let text = |key| value.get(key).and_then(Value::as_str);
        let contacts = value.get("contacts").and_then(Value::as_array).map(Vec::as_slice);
        Self {
            stall_after: text("stallAfter")
                .and_then(|text| humantime::parse_duration(text).ok())
                .filter(|after| !after.is_zero()),
            muted_until: text("mutedUntil").and_then(Time::parse_rfc3339),
            contacts: contacts
                .unwrap_or_default()
                .iter()
                .filter_map(Value::as_str)
                .filter(|address| is_address(address))
                .take(MAX_CONTACTS)
                .map(str::to_owned)
                .collect(),
            severity_cap: match text("severityCap") {
                Some("info") => Some(Severity::Info),
                Some("warn") => Some(Severity::Warn),
                Some("crit") => Some(Severity::Crit),
                _ => None,
            },
        }
    }
}

/// Whether a mail can be sent there: one `@`, printable ASCII, nothing that could add a header
/// or a second address, no empty label. The broker refuses others, but a user's address is any text.
pub(crate) fn is_address(text: &str) -> bool {
    let lawful = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
    text.len() <= 254
        && text.chars().all(lawful)
        && text.split_once('@').is_some_and(|(local, host)| {
            let labels = |text: &str| text.split('.').all(|label| !label.is_empty());
            labels(local) && labels(host) && !host.contains('@')
        })
}

/// Who said a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The subscription.
    Subscription,
    /// Its topic.
    Topic,
    /// Its project.
    Project,
    /// The operator of the service.
    Service,
}

/// The settings in force for one subscription, each with the level that set it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InForce {
    /// How long something may wait before it is a stall; `None` = the rule of the judge.
    pub stall_after: Option<(Duration, Level)>,
    /// No mail before this time.
    pub muted_until: Option<(Time, Level)>,
    /// Who gets the mails; `None` = the usual recipients.
    pub contacts: Option<(Vec<String>, Level)>,
    /// The highest severity an alarm may have.
    pub severity_cap: Option<(Severity, Level)>,
}

impl InForce {
    /// Field by field, the first of `said` that speaks of it.
    pub fn of(said: &[(&AlertSettings, Level)]) -> Self {
        fn first<T>(
            said: &[(&AlertSettings, Level)],
            field: impl Fn(&AlertSettings) -> Option<T>,
        ) -> Option<(T, Level)> {
            said.iter().find_map(|(settings, level)| Some((field(settings)?, *level)))
        }
        Self {
            stall_after: first(said, |settings| settings.stall_after),
            muted_until: first(said, |settings| settings.muted_until),
            contacts: first(said, |settings| {
                (!settings.contacts.is_empty()).then(|| settings.contacts.clone())
            }),
            severity_cap: first(said, |settings| settings.severity_cap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_no_relay_takes_is_none() {
        for good in ["a@b", "first.last+tag@mail.example.org"] {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b..c", ".a@b", "a@b,c@d", "a@b\nBcc:x"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
