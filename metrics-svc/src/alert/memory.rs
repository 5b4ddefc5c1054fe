//! What is remembered of one subscription from one evaluation to the next.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::facts::{Counters, Facts, Losses, Settled};
use super::letters::Letters;
use super::state::{JudgeSettings, Reason, State};
use crate::clock::Time;

/// How long a loss is an alarm after the last one.
const LOSS_HOLD: Duration = Duration::from_secs(3600);

/// What is remembered of one subscription: a row of metrics-svc's database, opaque to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedSubscription {
    /// The subscription.
    pub id: Uuid,
    /// Its project.
    pub project: Uuid,
    /// The topic life it was attached to when last looked at.
    pub(super) topic_id: Option<Uuid>,
    pub(super) topic_gone: Option<Box<TopicGone>>,
    pub(super) shown: Shown,
    /// Start of the stall clock, on the broker's clock, and the counters there.
    pub(super) clock_start: Option<Time>,
    pub(super) at_start: Counters,
    /// Counters of the newest record; `None` before the first.
    pub(super) newest: Option<Counters>,
    /// When deadlines were last seen to be extended, on the broker's clock.
    pub(super) extended_at: Option<Time>,
    pub(super) ever_denied: bool,
    pub(super) losses: Option<Losses>,
    pub(super) last_loss: Option<Loss>,
    /// Of the newest record; rows of earlier versions have none, and no dead letters.
    #[serde(default)]
    pub(super) settled: Option<Settled>,
    /// Dead letters of the last hour, if there were any.
    #[serde(default)]
    pub(super) letters: Option<Box<Letters>>,
    /// The stall it is in, and since when (our clock).
    pub(super) stall: Option<Shown>,
    /// First of two evaluations that find the clock expired. Not saved: a start begins anew.
    #[serde(skip)]
    pub(super) pending: Option<Box<Pending>>,
    /// Since when a stall looks well. Not saved either.
    #[serde(skip)]
    pub(super) calm_since: Option<Time>,
    /// Whether the saved row is older than this.
    #[serde(skip)]
    pub(super) unsaved: bool,
}

/// A state, why, and since when on our clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
    pub(super) since: Time,
}

/// The evaluation that first found the clock expired, and the newest report then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) instance: String,
    pub(super) sequence: u64,
    /// Nobody had used the subscription then: what was seen was no stall.
    pub(super) unused: bool,
}

/// The deletion of a topic under its subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicGone {
    pub(super) by: String,
    pub(super) at: Time,
    /// Whether its users are to be warned; `None` until its figures are known.
    pub(super) warn: Option<bool>,
}

/// The last loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loss {
    /// When it was seen, on our clock.
    pub(super) at: Time,
    pub(super) reason: Reason,
    /// Messages lost before this spell of losses.
    pub(super) before: u64,
}

impl SavedSubscription {
    pub(super) const fn new(id: Uuid, project: Uuid, topic: Option<Uuid>, now: Time) -> Self {
        Self {
            id,
            project,
            topic_id: topic,
            topic_gone: None,
            shown: Shown { state: State::Unknown, reason: Some(Reason::NoReport), since: now },
            clock_start: None,
            at_start: Counters {
                delivered: 0,
                late_acks: 0,
                refused_acks: 0,
                expired: 0,
                extensions: 0,
                denied_pulls: 0,
            },
            newest: None,
            extended_at: None,
            ever_denied: false,
            losses: None,
            last_loss: None,
            settled: None,
            letters: None,
            stall: None,
            pending: None,
            calm_since: None,
            unsaved: true,
        }
    }

    /// Our clock may have been set back: nothing was seen later than now, or its hold would last
    /// until the clock is there again.
    pub(super) fn not_after(&mut self, now: Time) {
        self.calm_since = self.calm_since.map(|since| since.min(now));
        self.shown.since = self.shown.since.min(now);
        if let Some(loss) = &mut self.last_loss {
            loss.at = loss.at.min(now);
        }
        if let Some(letters) = &mut self.letters {
            letters.not_after(now);
        }
    }

    /// Takes in what the newest record says. `fresh` = the subscription was created while
    /// metrics-svc ran, so that everything in its counters is new.
    pub(super) fn learn(
        &mut self,
        facts: &Facts,
        now: Time,
        fresh: bool,
        settings: &JudgeSettings,
    ) {
        self.ever_denied |= facts.counters.denied_pulls > 0;
        let before = self.newest.unwrap_or(facts.counters);
        if facts.counters.since(&before).extensions > 0 {
            self.extended_at = Some(facts.looked_at);
        }
        let start = facts.clock_start();
        if start != self.clock_start {
            self.clock_start = start;
            self.at_start = facts.counters;
            // A delivery between two records: before the clock started, or after?
            if start.is_some_and(|start| facts.delivered_since(start)) {
                self.at_start.delivered = before.delivered;
            }
        }
        self.newest = Some(facts.counters);
        self.learn_losses(facts, now, fresh, settings);
        let baseline = if fresh { Settled::default() } else { facts.settled };
        let before = self.settled.replace(facts.settled).unwrap_or(baseline);
        Letters::learn(&mut self.letters, before, facts.settled, now);
    }

    fn learn_losses(&mut self, facts: &Facts, now: Time, fresh: bool, settings: &JudgeSettings) {
        let baseline = if fresh { Losses::default() } else { facts.losses };
        let before = self.losses.unwrap_or(baseline);
        let lost = facts.losses;
        if lost.never_acked > before.never_acked && lost.of_reasons() > before.of_reasons() {
            let rises = [
                (lost.damage.saturating_sub(before.damage), Reason::Damage),
                (lost.overflow.saturating_sub(before.overflow), Reason::Overflow),
                (lost.retention.saturating_sub(before.retention), Reason::Retention),
            ];
            let spell = self.losing(now, settings).map(|loss| loss.before);
            let reason = rises.iter().max_by_key(|(rise, _)| *rise).map(|(_, reason)| *reason);
            self.last_loss = Some(Loss {
                at: now,
                reason: reason.unwrap_or(Reason::Retention),
                before: spell.unwrap_or(before.never_acked),
            });
        }
        self.losses = Some(lost);
    }

    /// The loss that is still an alarm.
    pub(super) fn losing(&self, now: Time, settings: &JudgeSettings) -> Option<Loss> {
        self.last_loss.filter(|loss| now.since(loss.at) <= settings.hold(LOSS_HOLD))
    }

    /// What the counters did since the stall clock started.
    pub(super) fn since_start(&self, facts: &Facts) -> Counters {
        facts.counters.since(&self.at_start)
    }

    /// Whether it differs from `saved` in what a start must find again. The start of the clock
    /// moves with every acknowledgement: that is worth a row only when it has run for a while.
    pub(super) fn is_worth_saving(&self, saved: &Self) -> bool {
        self.topic_id != saved.topic_id
            || self.project != saved.project
            || self.topic_gone != saved.topic_gone
            || self.shown != saved.shown
            || self.ever_denied != saved.ever_denied
            || self.losses != saved.losses
            || self.last_loss != saved.last_loss
            || self.letters != saved.letters
            || self.stall != saved.stall
    }
}
