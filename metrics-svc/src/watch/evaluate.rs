//! One evaluation: judge, write everything down in one transaction, let mails go.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::{Known, Watch};
use crate::alert::{
    CloseReason, Incident, IncidentChange, IncidentKind, Judge, SavedSubscription, recipients,
};
use crate::clock::Time;
use crate::db::{Closing, Commit, IncidentRow, Kind, NewMail};
use crate::notify::{About, Notice, Story, Written};
use crate::series::{Level, Series, Severity};

/// A database that refuses is told to the operators after this long; one locked for a moment is
/// nobody's business.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the database has been refusing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outage {
    /// It works.
    #[default]
    None,
    /// Since this time.
    Since(Time),
    /// The operators were told.
    Told,
}

impl Watch {
    /// Judges everything and writes down what changed, with the mails that causes. What cannot be
    /// written is kept and written with the next evaluation; judging goes on.
    pub async fn evaluate(&self) {
        let mut unwritten = self.unwritten.lock().await;
        let now = self.clock.wall();
        Arc::make_mut(&mut unwritten).absorb(self.judge(now));
        let written = self.db.commit(Arc::clone(&unwritten), now).await;
        self.last_evaluation.store(now.0, Ordering::Relaxed);
        match written {
            Ok(()) => {
                if !unwritten.mails.is_empty() || !unwritten.closings.is_empty() {
                    self.mailer.wake();
                }
                *unwritten = Arc::default();
                *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = Outage::None;
            }
            Err(error) => {
                tracing::error!(%error, "the database refuses; judging goes on in memory");
                let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
                if *outage == Outage::None {
                    *outage = Outage::Since(now);
                }
            }
        }
    }

    /// The mail to send from memory once the database has been refusing for too long; once per
    /// outage.
    pub fn outage_notice(&self) -> Option<Notice> {
        let now = self.clock.wall();
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match *outage {
            Outage::Since(since) if now.since(since) >= self.settings.hold(PATIENCE) => {
                *outage = Outage::Told;
                Some(Notice {
                    subject: String::from("the database of metrics-svc refuses writes"),
                    text: format!(
                        "It has refused since {}. Subscriptions are still judged, in memory; mails \
                         about them wait until the database works, and brokers are answered 503. \
                         Check the disk and the rights of the data directory (DIR/metrics).",
                        since.to_seconds_text()
                    ),
                    told_at: now,
                })
            }
            Outage::None | Outage::Since(_) | Outage::Told => None,
        }
    }

    /// The operators' addresses.
    pub fn operators(&self) -> Vec<String> {
        self.settings.operators.clone()
    }

    fn judge(&self, now: Time) -> Commit {
        let mut known = self.known_mut();
        let Known { series, judge, departed } = &mut *known;
        departed.retain(|gone| gone.until > now);
        let evaluation = judge.evaluate(series, now, &self.settings);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let mut commit = Commit {
            judged: evaluation.changed.iter().map(saved).collect(),
            removed: evaluation.removed,
            ..Commit::default()
        };
        let mut rows: BTreeMap<Uuid, Incident> = BTreeMap::new();
        for change in evaluation.incidents {
            match change {
                IncidentChange::Opened(incident) => {
                    untold.insert(incident.id, incident.clone());
                    rows.insert(incident.id, incident);
                }
                IncidentChange::Updated(incident) => {
                    if !incident.mailed_open || incident.change_is_untold() {
                        untold.insert(incident.id, incident.clone());
                    } else {
                        // It is again what its mail told.
                        untold.remove(&incident.id);
                    }
                    rows.insert(incident.id, incident);
                }
                IncidentChange::Closed(mut incident) => {
                    self.name_deleter(&mut incident);
                    untold.remove(&incident.id);
                    if incident.mailed_open {
                        commit.closings.push(self.closing(&incident, now));
                    }
                    rows.insert(incident.id, incident);
                }
            }
        }
        // Whoever is not told yet and may be told now: new ones, those no longer muted, and those
        // that began while mails were off; and who was told of another trouble of the same incident.
        let mut told = Vec::new();
        if self.mailer.is_on() {
            for incident in untold.values().filter(|incident| !is_muted(incident, now)) {
                let awaits_directory = incident
                    .subscription
                    .is_some_and(|subscription| series.subscription(subscription).is_none());
                if awaits_directory || incident.severity < Severity::Warn {
                    continue;
                }
                let whom = recipients(series, incident, &self.settings);
                if whom.unreachable {
                    self.tally.unreachable();
                    tracing::warn!(incident.id = %incident.id, "nobody concerned can be reached");
                }
                let kind = if incident.mailed_open { Kind::Change } else { Kind::Open };
                let mut story =
                    self.story(&known_story(incident, now), series, judge, whom.unreachable);
                let verdict = incident.subscription.and_then(|id| judge.verdict(id));
                if let Some(verdict) = verdict.filter(|_| kind == Kind::Change) {
                    story.since = verdict.since;
                }
                let mail = |address: &String| self.telling(&story, kind, address, now);
                let mails = whom.addresses.iter().map(mail);
                commit.mails.extend(mails);
                told.push(incident.id);
            }
        }
        for id in &told {
            judge.mark_mailed(*id);
            if let Some(mut incident) = untold.remove(id) {
                incident.mark_mailed();
                rows.insert(*id, incident);
            }
        }
        commit.incidents = rows.into_values().map(|incident| row(&incident)).collect();
        commit
    }

    /// A deletion from before the last start is only in the database.
    fn name_deleter(&self, incident: &mut Incident) {
        if let (Some(CloseReason::Deleted { by }), Some(id)) =
            (&mut incident.close_reason, incident.subscription)
            && by.is_empty()
            && let Some(known) = self.deleted_by.get(&id).or_else(|| {
                // It may have gone with its project.
                self.deleted_by.get(&incident.project_id?)
            })
        {
            by.clone_from(known);
        }
    }

    /// Adds what only the present state knows: backlog, oldest message, who set the threshold.
    fn story(&self, story: &Story, series: &Series, judge: &Judge, unreachable: bool) -> Story {
        let mut story = story.clone();
        let id = judge.incidents().find(|open| open.id == story.incident);
        let id = id.and_then(|incident| incident.subscription);
        if let Some(verdict) = id.and_then(|id| judge.verdict(id)) {
            story.backlog = verdict.backlog;
            story.oldest_at = verdict.oldest_unacked_at;
        }
        if let Some(view) = id.and_then(|id| series.subscription(id)) {
            let in_force = series.in_force(&view, &self.settings.service);
            if let Some((_, level)) = in_force.stall_after {
                story.threshold_from = String::from(named(level));
            }
        }
        if unreachable {
            story.note = String::from(
                "You get this as an operator: neither contacts, nor the users on the \
                 subscription's ACL, nor the project's admins have a mail address.",
            );
        }
        story
    }

    fn telling(&self, story: &Story, kind: Kind, recipient: &str, now: Time) -> NewMail {
        NewMail {
            incident: story.incident,
            kind,
            recipient: recipient.to_owned(),
            merge_key: story.merge_key(),
            body: Written::Story(Box::new(story.clone())).to_json(),
            due_at: now.plus(self.pace.group_wait),
            expires_at: now.plus(self.pace.give_up),
        }
    }

    fn closing(&self, incident: &Incident, now: Time) -> Closing {
        let story = known_story(incident, now);
        Closing {
            incident: story.incident,
            merge_key: story.merge_key(),
            body: Written::Story(Box::new(story)).to_json(),
            only_if_told: !matches!(incident.close_reason, Some(CloseReason::Recovered) | None),
            due_at: now.plus(self.pace.group_wait),
            expires_at: now.plus(self.pace.give_up),
        }
    }
}

fn is_muted(incident: &Incident, now: Time) -> bool {
    incident.muted || incident.muted_until.is_some_and(|until| now < until)
}

fn saved(row: &SavedSubscription) -> (Uuid, String) {
    (row.id, serde_json::to_string(row).unwrap_or_default())
}

fn row(incident: &Incident) -> IncidentRow {
    let subject = match (&incident.subscription, &incident.broker) {
        (Some(subscription), _) => subscription.to_string(),
        (None, Some(broker)) => broker.clone(),
        (None, None) => String::from("service"),
    };
    IncidentRow {
        id: incident.id,
        subject,
        opened_at: incident.opened_at,
        closed_at: incident.closed_at,
        body: serde_json::to_string(incident).unwrap_or_default(),
    }
}

/// What the incident alone tells.
fn known_story(incident: &Incident, now: Time) -> Story {
    let (about, subject) = match incident.kind {
        IncidentKind::Subscription => (About::Subscription, incident.subscription_name.clone()),
        IncidentKind::TelemetryBlind => {
            (About::Broker, incident.broker.clone().unwrap_or_default())
        }
        IncidentKind::ServiceFault
        | IncidentKind::StoreStopped
        | IncidentKind::StoreFull
        | IncidentKind::StoreDamaged
        | IncidentKind::ClockFault => (About::Service, String::new()),
    };
    Story {
        incident: incident.id,
        about,
        project: incident.project.clone(),
        subject,
        topic: incident.topic.clone(),
        state: incident.state.as_str().to_owned(),
        reason: incident.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        severity: incident.severity.as_str().to_owned(),
        since: incident.since,
        opened_at: incident.opened_at,
        told_at: now,
        closed: incident.closed_at.map(|at| (at, why_closed(incident))),
        backlog: incident.peak_backlog,
        oldest_at: None,
        peak_backlog: incident.peak_backlog,
        lost: incident.lost,
        evidence: incident.evidence.clone(),
        advice: incident.advice.clone(),
        threshold: incident.threshold,
        threshold_from: incident
            .evidence
            .get("thresholdFrom")
            .and_then(serde_json::Value::as_str)
            .unwrap_or("default")
            .to_owned(),
        note: String::new(),
    }
}

const fn named(level: Level) -> &'static str {
    match level {
        Level::Subscription => "subscription",
        Level::Topic => "topic",
        Level::Project => "project",
        Level::Service => "service",
    }
}

fn why_closed(incident: &Incident) -> String {
    let named = |what: &str, by: &str| match by.is_empty() {
        true => format!("{what} deleted"),
        false => format!("{what} deleted by {by}"),
    };
    match &incident.close_reason {
        Some(CloseReason::Deleted { by }) => named("subscription", by),
        Some(CloseReason::TopicDeleted { by }) => named("topic", by),
        Some(CloseReason::Recovered) | None => String::from("well again"),
    }
}
