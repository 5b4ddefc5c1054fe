//! `GET /v1/subscriptions`: one row per subscription, the same facts as `/metrics` and the mails.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::alert::{State, Verdict};
use crate::clock::Time;
use crate::series::{SubscriptionView, Viewer};
use crate::watch::Watch;

/// Which rows; an empty text is no wish.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    project: String,
    state: String,
}

impl Filter {
    /// Whether the state, if any, is one.
    pub(super) fn is_lawful(&self) -> bool {
        self.state.is_empty() || State::ALL.iter().any(|state| state.as_str() == self.state)
    }
}

/// The answer. Keys are only ever added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    as_of: String,
    subscriptions: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    project: String,
    subscription: String,
    topic: String,
    state: &'static str,
    reason: Option<&'static str>,
    severity: &'static str,
    since: String,
    backlog: u64,
    oldest_unacked_at: Option<String>,
    oldest_unacked_age_seconds: Number,
    stall_threshold_seconds: Number,
    evidence: BTreeMap<String, Value>,
    advice: String,
}

/// The rows that `viewer` may see and `filter` asks for, by project and name. A subscription that
/// was not judged yet has no row.
pub(super) fn page(watch: &Watch, viewer: &Viewer, filter: &Filter) -> Page {
    let known = watch.known();
    let wanted = |view: &SubscriptionView<'_>, verdict: &Verdict| {
        let project = filter.project.is_empty() || filter.project == view.project.name;
        let state = filter.state.is_empty() || filter.state == verdict.state.as_str();
        project && state && viewer.sees(view.project.id)
    };
    let mut subscriptions: Vec<Row> = known
        .series
        .subscriptions()
        .filter_map(|view| {
            let verdict = known.judge.verdict(view.subscription.id)?;
            wanted(&view, verdict).then(|| row(&view, verdict))
        })
        .collect();
    subscriptions.sort_by(|a, b| (&a.project, &a.subscription).cmp(&(&b.project, &b.subscription)));
    Page { as_of: watch.now().to_seconds_text(), subscriptions }
}

fn row(view: &SubscriptionView<'_>, verdict: &Verdict) -> Row {
    Row {
        project: view.project.name.clone(),
        subscription: view.subscription.name.clone(),
        topic: view.subscription.topic.clone(),
        state: verdict.state.as_str(),
        reason: verdict.reason.map(crate::alert::Reason::as_str),
        severity: verdict.severity.as_str(),
        since: verdict.since.to_seconds_text(),
        backlog: verdict.backlog,
        oldest_unacked_at: verdict.oldest_unacked_at.map(Time::to_seconds_text),
        oldest_unacked_age_seconds: seconds(verdict.oldest_unacked_age),
        stall_threshold_seconds: seconds(verdict.threshold),
        evidence: verdict.evidence.to_map(),
        advice: verdict.advice.clone(),
    }
}

/// Seconds, whole where they are, else to the millisecond.
fn seconds(duration: Duration) -> Number {
    let whole = Number::from(duration.as_secs());
    match duration.subsec_millis() {
        0 => whole,
        _ => {
            let millis = Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(0));
            Number::from_f64(millis.as_secs_f64()).unwrap_or(whole)
        }
    }
}
