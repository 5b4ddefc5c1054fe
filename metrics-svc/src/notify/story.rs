//! What a mail tells, and the words it tells it in. Pure: the same facts make the same mail,
//! whenever and however often it is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::document::{Body, Document, count, span};
use crate::clock::Time;

/// How many incidents one merged mail lists; the rest is a number and a link.
const MAX_LISTED: usize = 50;
/// How long the mute lasts that a mail offers.
const MUTE: Duration = Duration::from_secs(86_400);

/// Where the links and commands of a mail point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Base URL of metrics-svc, no slash at the end.
    pub public: String,
    /// Base URL of the broker's API.
    pub api: String,
    /// Base URL of Grafana.
    pub grafana: Option<String>,
}

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// One subscription.
    Subscription,
    /// A broker that does not report.
    Broker,
    /// The service itself.
    Service,
}

/// The facts of one incident at the moment when the mail was decided. Stored in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Incident.
    pub incident: Uuid,
    /// What it is about.
    pub about: About,
    /// Project, or empty.
    pub project: String,
    /// Subscription, or the broker's instance.
    pub subject: String,
    /// Topic, or empty.
    pub topic: String,
    /// State, `snake_case`.
    pub state: String,
    /// Its reason, or empty.
    pub reason: String,
    /// `info`, `warn` or `crit`.
    pub severity: String,
    /// Since when it is so.
    pub since: Time,
    /// When the incident began.
    pub opened_at: Time,
    /// When the mail was decided; spans in it end here.
    pub told_at: Time,
    /// When it ended and why; only in closing mails.
    pub closed: Option<(Time, String)>,
    /// Unacknowledged messages.
    pub backlog: u64,
    /// Publish time of the oldest of them.
    pub oldest_at: Option<Time>,
    /// The largest backlog while it lasted.
    pub peak_backlog: u64,
    /// Messages lost while it lasted.
    pub lost: u64,
    /// What was seen.
    pub evidence: BTreeMap<String, serde_json::Value>,
    /// Likely cause, and what to do.
    pub advice: String,
    /// How long something may wait.
    pub threshold: Duration,
    /// Who set that: `subscription`, `topic`, `project`, `service` or `default`.
    pub threshold_from: String,
    /// Why the operators get a mail that is not theirs, or empty.
    pub note: String,
}

/// A mail's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML.
    pub html: String,
}

impl Story {
    /// Mails with the same key to the same recipient may be merged.
    pub fn merge_key(&self) -> String {
        let kind = if self.closed.is_some() { "resolve" } else { "open" };
        format!("{kind}/{}/{}/{}", self.project, self.state, self.reason)
    }

    /// `project/subscription`, or the broker, or the service.
    fn name(&self) -> String {
        match self.about {
            About::Subscription => format!("{}/{}", self.project, self.subject),
            About::Broker => format!("broker {}", self.subject),
            About::Service => String::from("AMS"),
        }
    }

    /// What is wrong, as it stands in a subject line.
    fn trouble(&self) -> String {
        let lasting = span(self.told_at.since(self.since));
        match self.state.as_str() {
            "no_consumer" => format!("no consumer for {lasting}"),
            "not_acking" => format!("not acking for {lasting}"),
            "stalled_other" => format!("stalled for {lasting}"),
            "dead_lettering" => match self.evidence.get("deadLetterPercent") {
                Some(percent) => format!("{percent} % dead letters for {lasting}"),
                None => format!("dead letters for {lasting}"),
            },
            "losing" => format!("losing messages, {} lost", count(self.lost)),
            "orphan" if self.reason == "topic_deleted" => String::from("its topic was deleted"),
            "orphan" => format!("never used, waiting for {lasting}"),
            "service_fault" => match self.reason.as_str() {
                "store_stopped" => String::from("the store has stopped"),
                "store_full" => format!("the store has been full for {lasting}"),
                "store_damaged" => String::from("stored data is damaged"),
                "clock_fault" => format!("clocks have disagreed for {lasting}"),
                _ => format!("calls fail for {lasting}"),
            },
            _ => match self.about {
                About::Broker => format!("no report for {lasting}"),
                About::Subscription | About::Service => format!("{} for {lasting}", self.state),
            },
        }
    }

    fn waiting(&self) -> Option<String> {
        if self.closed.is_some() {
            return None;
        }
        let oldest = span(self.told_at.since(self.oldest_at?));
        Some(format!("backlog {}, oldest {oldest}", count(self.backlog)))
    }

    fn subject_line(&self) -> String {
        let name = self.name();
        match &self.closed {
            None => {
                let waiting = self.waiting().map(|text| format!(" ({text})")).unwrap_or_default();
                let severity = self.severity.to_uppercase();
                format!("[{severity}] {name}: {}{waiting}", self.trouble())
            }
            Some((at, why)) => format!(
                "[OK] {name}: {} after {} (peak backlog {}, {} lost)",
                why,
                span(at.since(self.since)),
                count(self.peak_backlog),
                count(self.lost)
            ),
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        if self.about == About::Subscription {
            row("subscription", self.name());
            row("topic", format!("{}/{}", self.project, self.topic));
        }
        let reason = match self.reason.is_empty() {
            true => String::new(),
            false => format!(" ({})", self.reason),
        };
        let state = format!("{}{reason}, {}", self.state, self.severity);
        let told =
            |at: Time| format!("{} ({})", at.to_seconds_text(), span(self.told_at.since(at)));
        let Some((at, why)) = &self.closed else {
            row("state", state);
            row("since", told(self.since));
            if self.about == About::Subscription {
                row("backlog", format!("{} messages", count(self.backlog)));
                if let Some(at) = self.oldest_at {
                    row("oldest message", told(at));
                }
                row("lost", count(self.lost));
            }
            self.push_evidence(&mut rows);
            return rows;
        };
        row("it was", state);
        row("since", self.since.to_seconds_text());
        row("until", format!("{} ({why})", at.to_seconds_text()));
        if self.about == About::Subscription {
            row("peak backlog", format!("{} messages", count(self.peak_backlog)));
            row("lost", count(self.lost));
        }
        rows
    }

    fn push_evidence(&self, rows: &mut Vec<(String, String)>) {
        let new = |name: &str| !["backlog", "oldestUnackedAt"].contains(&name);
        for (name, value) in self.evidence.iter().filter(|(name, _)| new(name)) {
            let text = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => String::from("never"),
                serde_json::Value::Number(number) => {
                    number.as_u64().map_or_else(|| number.to_string(), count)
                }
                other => other.to_string(),
            };
            rows.push((name.clone(), text));
        }
    }

    /// The advice in two: its words, and its commands ready to copy. The judge writes `$AMS` for
    /// the API's address, and each command on a line of its own.
    fn advised(&self, links: &Links) -> (String, Vec<String>) {
        let (commands, words): (Vec<&str>, Vec<&str>) =
            self.advice.lines().partition(|line| line.starts_with("curl "));
        let mut commands: Vec<String> =
            commands.iter().map(|line| line.replace("$AMS", &links.api)).collect();
        if commands.is_empty() {
            commands.push(self.command(links));
        }
        (words.join(" "), commands)
    }

    /// The command that brings the reader further when the advice has none.
    fn command(&self, links: &Links) -> String {
        let Links { public, api, .. } = links;
        match self.about {
            About::Broker => {
                format!("curl -s {public}/metrics | grep ams_metrics_ingest_last_report")
            }
            About::Service => format!("curl -s {public}/metrics | grep ams_broker_calls_total"),
            About::Subscription => format!(
                "curl -H \"x-api-key: $TOKEN\" \"{api}/v1/projects/{}/subscriptions/{}:offsets\"",
                self.project, self.subject
            ),
        }
    }

    fn threshold(&self, links: &Links) -> Option<(String, String)> {
        let of_stalls = self.about == About::Subscription && self.state != "dead_lettering";
        if !of_stalls || self.threshold.is_zero() {
            return None;
        }
        let (api, project) = (&links.api, &self.project);
        let it = match self.threshold_from.as_str() {
            "topic" => format!("topics/{}", self.topic),
            "project" => String::new(),
            _ => format!("subscriptions/{}", self.subject),
        };
        let it = if it.is_empty() { it } else { format!("/{it}") };
        let set_by = match self.threshold_from.as_str() {
            "service" => "set for the whole service",
            "default" => "the default: the floor of the service, or 3 acknowledgement deadlines",
            level => &format!("set on the {level}"),
        };
        let text = format!(
            "Something may wait {} here before it is a stall ({set_by}). To change it (the object \
             given replaces the one that is set):",
            span(self.threshold)
        );
        let command = format!(
            "curl -X POST -H \"x-api-key: $TOKEN\" -d '{{\"alert\":{{\"stallAfter\":\"30m\"}}}}' \
             \"{api}/v1/projects/{project}{it}:modifyAlert\""
        );
        Some((text, command))
    }

    /// The command that mutes the subscription; no link, because mail scanners follow links.
    fn mute(&self, links: &Links) -> Option<String> {
        if self.about != About::Subscription || self.closed.is_some() {
            return None;
        }
        let until = self.told_at.plus(MUTE).to_seconds_text();
        Some(format!(
            "curl -X POST -H \"x-api-key: $TOKEN\" -d '{{\"alert\":{{\"mutedUntil\":\"{until}\"}}}}' \
             \"{}/v1/projects/{}/subscriptions/{}:modifyAlert\"",
            links.api, self.project, self.subject
        ))
    }

    fn link(&self, links: &Links) -> String {
        match self.about {
            About::Subscription => {
                format!("{}/v1/subscriptions?project={}", links.public, self.project)
            }
            About::Broker | About::Service => format!("{}/v1/subscriptions", links.public),
        }
    }

    /// The Grafana link: the dashboard of this subscription, from an hour before it began.
    fn dashboard(&self, links: &Links) -> Option<String> {
        let base = links.grafana.as_ref()?;
        let from = self.since.minus(Duration::from_secs(3_600)).0 / 1_000_000;
        let to = self
            .closed
            .as_ref()
            .map_or_else(|| String::from("now"), |(at, _)| (at.0 / 1_000_000).to_string());
        Some(format!(
            "{base}/d/ams?var-project={}&var-subscription={}&from={from}&to={to}",
            self.project, self.subject
        ))
    }

    /// The mail of this incident alone.
    pub fn content(&self, links: &Links) -> Content {
        let subject = self.subject_line();
        let mut document = Document { headline: self.headline(), ..Document::default() };
        document.push("What was seen", Body::Table(self.facts()));
        if self.closed.is_none() {
            self.push_advice(links, &mut document);
        }
        if let Some((text, command)) = self.threshold(links) {
            document.push("Threshold in force", Body::Text(text));
            document.push("Command", Body::Command(command));
        }
        if let Some(command) = self.mute(links) {
            document.push("To be sent no mail about it for a day", Body::Command(command));
        }
        document.push("All subscriptions", Body::Link(self.link(links)));
        if let Some(url) = self.dashboard(links) {
            document.push("Dashboard", Body::Link(url));
        }
        if !self.note.is_empty() {
            document.footer.push(self.note.clone());
        }
        document.footer.push(format!("Incident {}", self.incident));
        Content { text: document.to_text(), html: document.to_html(&subject), subject }
    }

    fn push_advice(&self, links: &Links, document: &mut Document) {
        let (words, commands) = self.advised(links);
        if !words.is_empty() {
            document.push("Likely cause", Body::Text(words));
        }
        for command in commands {
            document.push("Next command (TOKEN = your access token)", Body::Command(command));
        }
    }

    fn headline(&self) -> String {
        match &self.closed {
            None => format!("{}: {}.", self.name(), self.trouble()),
            Some((at, why)) => {
                let lasted = span(at.since(self.since));
                format!("{}: {why}. It had lasted {lasted}.", self.name())
            }
        }
    }
}

/// One mail for several incidents of the same project, state and reason. One story makes that
/// story's own mail, none makes none.
pub(super) fn merged(stories: &[Story], links: &Links) -> Option<Content> {
    let first = stories.first()?;
    if stories.len() == 1 {
        return Some(first.content(links));
    }
    let n = count(u64::try_from(stories.len()).unwrap_or(u64::MAX));
    let what = match first.reason.is_empty() {
        true => first.state.clone(),
        false => format!("{} ({})", first.state, first.reason),
    };
    let subject = match &first.closed {
        None => {
            let severity = first.severity.to_uppercase();
            format!("[{severity}] {}: {n} subscriptions {what}", first.project)
        }
        Some(_) => format!("[OK] {}: {n} subscriptions are no longer {what}", first.project),
    };
    let mut document = Document { headline: format!("{subject}."), ..Document::default() };
    let mut rows: Vec<(String, String)> = stories
        .iter()
        .take(MAX_LISTED)
        .map(|story| {
            let line = match &story.closed {
                None => story.trouble(),
                Some((at, why)) => format!("{why} after {}", span(at.since(story.since))),
            };
            let waiting = story.waiting().map(|text| format!(", {text}")).unwrap_or_default();
            (story.name(), format!("{line}{waiting}, incident {}", story.incident))
        })
        .collect();
    if let Some(more) = stories.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        rows.push((format!("and {more} more"), String::from("see the link below")));
    }
    document.push("Subscriptions", Body::Table(rows));
    if first.closed.is_none() {
        first.push_advice(links, &mut document);
    }
    if let Some((text, command)) = first.threshold(links) {
        document.push("Threshold in force", Body::Text(text));
        document.push("Command", Body::Command(command));
    }
    document.push("All subscriptions", Body::Link(first.link(links)));
    Some(Content { text: document.to_text(), html: document.to_html(&subject), subject })
}

/// A mail that is no incident: a headline and facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Subject, without the mark in front.
    pub subject: String,
    /// What it means and what to do.
    pub text: String,
    /// When.
    pub told_at: Time,
}

impl Notice {
    /// Its words.
    pub fn content(&self, links: &Links) -> Content {
        let subject = format!("[CRIT] AMS: {}", self.subject);
        let mut document =
            Document { headline: format!("AMS: {}.", self.subject), ..Document::default() };
        let at = self.told_at.to_seconds_text();
        document.push("What was seen", Body::Table(vec![(String::from("at"), at)]));
        document.push("What it means", Body::Text(self.text.clone()));
        document.push("State of the service", Body::Link(format!("{}/readyz", links.public)));
        Content { text: document.to_text(), html: document.to_html(&subject), subject }
    }
}

#[cfg(test)]
mod tests;
