//! Flags about alarms, for projects, topics and subscriptions alike.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::session::Session;
use crate::failure::Failure;

/// Who is told what, when. What is not given is inherited: subscription, topic, project, server.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AlertFlags {
    /// How long a subscription may stand still before somebody is told, such as 15m
    #[arg(long, value_name = "DURATION")]
    stall_after: Option<String>,
    /// No mail before this time, such as 2026-12-01T08:00:00Z
    #[arg(long, value_name = "TIME")]
    muted_until: Option<String>,
    /// Whom to mail; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    contact: Vec<String>,
    /// The highest severity an incident may have here
    #[arg(long, value_name = "SEVERITY", value_parser = ["info", "warn", "crit"])]
    severity_cap: Option<String>,
}

/// `... alert NAME`: what is given replaces everything that was.
#[derive(Debug, Clone, Args)]
#[group(id = "alert_settings")]
pub(crate) struct Replacement {
    #[command(flatten)]
    flags: AlertFlags,
    /// Set nothing any more
    #[arg(long)]
    clear: bool,
}

impl AlertFlags {
    /// The object `alert`; `None` when nothing is given.
    fn to_json(&self) -> Option<Value> {
        let mut alert = Map::new();
        let texts = [
            ("stallAfter", &self.stall_after),
            ("mutedUntil", &self.muted_until),
            ("severityCap", &self.severity_cap),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                alert.insert(key.to_owned(), json!(text));
            }
        }
        if !self.contact.is_empty() {
            alert.insert(String::from("contacts"), json!(self.contact));
        }
        (!alert.is_empty()).then_some(Value::Object(alert))
    }

    /// Adds what is given to the body of a creation.
    pub(super) fn add_to(&self, body: &mut Value) {
        if let (Some(alert), Value::Object(body)) = (self.to_json(), body) {
            body.insert(String::from("alert"), alert);
        }
    }
}

impl Replacement {
    /// Sets it at `path`.
    pub(super) async fn set(&self, session: &Session, path: &str) -> Result<(), Failure> {
        let alert = self.flags.to_json();
        if alert.is_some() == self.clear {
            let text = "say what to set (it replaces everything that was), or --clear, not both";
            return Err(Failure::Usage(text.to_owned()));
        }
        let what = if self.clear { "cleared" } else { "set" };
        let body = json!({"alert": alert.unwrap_or_else(|| json!({}))});
        session.call(Method::POST, &format!("{path}:modifyAlert"), Some(&body)).await?;
        session.done(&format!("alert settings of {path} {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_sent() {
        let mut body = json!({});
        AlertFlags::default().add_to(&mut body);
        assert_eq!(body, json!({}));
        let flags = AlertFlags {
            stall_after: Some(String::from("15m")),
            contact: vec![String::from("a@b.org")],
            ..AlertFlags::default()
        };
        flags.add_to(&mut body);
        assert_eq!(body, json!({"alert": {"stallAfter": "15m", "contacts": ["a@b.org"]}}));
    }
}
