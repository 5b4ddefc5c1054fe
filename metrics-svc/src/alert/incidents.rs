//! The incident of one subscription: opened once, updated, closed once.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::memory::{SavedSubscription, Shown};
use super::state::{CloseReason, Incident, IncidentChange, IncidentKind, State, Verdict};
use crate::clock::Time;
use crate::series::{Series, Severity, SubscriptionView};

/// Entries of an incident's history that are kept.
const HISTORY: usize = 200;

/// What is shown of a subscription at one evaluation.
pub(super) struct Present<'a> {
    pub(super) view: &'a SubscriptionView<'a>,
    pub(super) memory: &'a SavedSubscription,
    pub(super) verdict: &'a Verdict,
    pub(super) muted_until: Option<Time>,
    /// Messages lost that nobody had acknowledged.
    pub(super) lost: u64,
    /// Whether no incident may open now.
    pub(super) wait: bool,
}

/// Compares what is shown with the open incident and says what becomes of it.
pub(super) fn follow(
    incidents: &mut BTreeMap<Uuid, Incident>,
    open: Option<Uuid>,
    present: &Present<'_>,
    now: Time,
) -> Vec<IncidentChange> {
    let verdict = present.verdict;
    if matches!(verdict.state, State::Unknown | State::ServiceFault) {
        // Opens and closes nothing.
        return Vec::new();
    }
    let mut changes = Vec::new();
    let mut open = open.and_then(|id| incidents.get_mut(&id));
    let warned = present.memory.topic_gone.as_ref().is_some_and(|gone| gone.warn == Some(true));
    let troubled = verdict.state.is_stall()
        || matches!(verdict.state, State::Losing | State::DeadLettering)
        || (verdict.state == State::Orphan && warned);
    if let Some(incident) = open.take_if(|incident| {
        // A stall ends with its topic; that the topic is gone is another trouble.
        !troubled || (incident.state == State::Orphan) != (verdict.state == State::Orphan)
    }) {
        let id = incident.id;
        let reason = match &present.memory.topic_gone {
            Some(gone) => CloseReason::TopicDeleted { by: gone.by.clone() },
            None => CloseReason::Recovered,
        };
        changes.extend(close(incidents, id, reason, present.lost, now));
    } else if let Some(incident) = open {
        if present.wait && verdict.severity > incident.severity {
            // Nothing gets worse while no incident may open.
            return changes;
        }
        if update(incident, present, now) {
            changes.push(IncidentChange::Updated(incident.clone()));
        }
        return changes;
    }
    if troubled && verdict.severity >= Severity::Warn && !present.wait {
        let incident = opened(present, now);
        incidents.insert(incident.id, incident.clone());
        changes.push(IncidentChange::Opened(incident));
    }
    changes
}

/// Closes the incident of a subscription that does not exist any more.
pub(super) fn close_deleted(
    incidents: &mut BTreeMap<Uuid, Incident>,
    incident: Uuid,
    subscription: Uuid,
    series: &Series,
    now: Time,
) -> Option<IncidentChange> {
    let by = series.deletion(subscription).map(|deleted| deleted.by.clone()).unwrap_or_default();
    let lost = incidents.get(&incident)?;
    let lost = lost.lost_before.saturating_add(lost.lost);
    close(incidents, incident, CloseReason::Deleted { by }, lost, now)
}

fn close(
    incidents: &mut BTreeMap<Uuid, Incident>,
    id: Uuid,
    reason: CloseReason,
    lost: u64,
    now: Time,
) -> Option<IncidentChange> {
    let mut incident = incidents.remove(&id)?;
    incident.closed_at = Some(now);
    incident.close_reason = Some(reason);
    incident.lost = lost.saturating_sub(incident.lost_before);
    Some(IncidentChange::Closed(incident))
}

fn opened(present: &Present<'_>, now: Time) -> Incident {
    let (view, verdict) = (present.view, present.verdict);
    let losing = verdict.state == State::Losing;
    let before = present.memory.last_loss.filter(|_| losing).map(|loss| loss.before);
    let lost_before = before.unwrap_or(present.lost);
    Incident {
        id: Uuid::new_v4(),
        kind: IncidentKind::Subscription,
        subscription: Some(view.subscription.id),
        broker: None,
        project_id: Some(view.project.id),
        project: view.project.name.clone(),
        subscription_name: view.subscription.name.clone(),
        topic: view.subscription.topic.clone(),
        state: verdict.state,
        reason: verdict.reason,
        severity: verdict.severity,
        opened_at: now,
        since: verdict.since,
        closed_at: None,
        close_reason: None,
        peak_backlog: verdict.backlog,
        lost: present.lost.saturating_sub(lost_before),
        lost_before,
        evidence: verdict.evidence.to_map(),
        advice: verdict.advice.clone(),
        threshold: verdict.threshold,
        history: vec![(now, verdict.state)],
        muted_until: present.muted_until,
        muted: verdict.muted,
        mailed_open: false,
        mailed_state: None,
        mailed_change: false,
    }
}

/// Brings the incident up to date; whether that is worth telling. Its evidence and advice follow
/// silently, so that the next mail has the newest.
fn update(incident: &mut Incident, present: &Present<'_>, now: Time) -> bool {
    let verdict = present.verdict;
    let lost = present.lost.saturating_sub(incident.lost_before);
    let peak = incident.peak_backlog.max(verdict.backlog);
    let changed = incident.state != verdict.state
        || incident.reason != verdict.reason
        || incident.severity != verdict.severity
        || incident.muted != verdict.muted
        || incident.muted_until != present.muted_until
        || incident.peak_backlog != peak
        || incident.lost != lost;
    if incident.state != verdict.state && incident.history.len() < HISTORY {
        incident.history.push((now, verdict.state));
    }
    incident.state = verdict.state;
    incident.reason = verdict.reason;
    incident.severity = verdict.severity;
    incident.muted = verdict.muted;
    incident.muted_until = present.muted_until;
    incident.peak_backlog = peak;
    incident.lost = lost;
    incident.threshold = verdict.threshold;
    incident.evidence = verdict.evidence.to_map();
    incident.advice.clone_from(&verdict.advice);
    changed
}

impl Shown {
    /// The same state keeps its `since`; a change of the reason alone is no new state.
    pub(super) fn become_at(&mut self, next: Self) {
        let since = if self.state == next.state { self.since } else { next.since };
        *self = Self { since, ..next };
    }
}
