//! One evaluation: figures, memory and table become the state shown, with its hysteresis.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::advice::advice;
use super::classify::{Finding, classify};
use super::evidence::{Background, Evidence, evidence};
use super::facts::{Facts, Threshold};
use super::incidents::{Present, close_deleted, follow};
use super::memory::{Pending, SavedSubscription, Shown, TopicGone};
use super::service::{Health, Service};
use super::state::{Incident, IncidentChange, IncidentKind, JudgeSettings, Reason, State, Verdict};
use crate::clock::Time;
use crate::series::{Broker, InForce, Series, Severity, SubscriptionView};

/// A subscription pulled within this time before its topic was deleted had users to be warned.
const USED_WITHIN: Duration = Duration::from_secs(7 * 86_400);
/// A broker's usual interval, until one was heard.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);

/// The outcome of one evaluation. All of it belongs in one transaction, with the mails it causes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// Memories that changed.
    pub changed: Vec<SavedSubscription>,
    /// Subscriptions that are gone; their memories are to be deleted.
    pub removed: Vec<Uuid>,
    /// What happened to incidents.
    pub incidents: Vec<IncidentChange>,
}

/// Judges every subscription.
#[derive(Debug)]
pub struct Judge {
    /// In boxes: the map's nodes are up to half empty.
    judged: BTreeMap<Uuid, Box<Judged>>,
    incidents: BTreeMap<Uuid, Incident>,
    service: Service,
    started_at: Time,
    /// The same, or when our clock was found set back to before it.
    awake_since: Time,
}

/// What is held of one subscription.
#[derive(Debug)]
struct Judged {
    memory: SavedSubscription,
    /// The last judgement; `None` before the first since the start.
    verdict: Option<Verdict>,
}

impl Judged {
    const fn new(memory: SavedSubscription) -> Self {
        Self { memory, verdict: None }
    }
}

/// What one evaluation knows beside the subscription.
struct Round<'a> {
    series: &'a Series,
    settings: &'a JudgeSettings,
    health: Health,
    now: Time,
    /// Whether incidents may not open because metrics-svc has just started.
    starting: bool,
    started_at: Time,
}

impl Judge {
    /// Continues with what was saved: all memories, and the incidents that are still open.
    pub fn restore(
        saved: Vec<SavedSubscription>,
        incidents: Vec<Incident>,
        started_at: Time,
    ) -> Self {
        let open = incidents.into_iter().filter(|incident| incident.closed_at.is_none());
        let incidents: BTreeMap<Uuid, Incident> =
            open.map(|incident| (incident.id, incident)).collect();
        Self {
            judged: saved
                .into_iter()
                .map(|saved| (saved.id, Box::new(Judged::new(saved))))
                .collect(),
            service: Service::restore(&incidents, started_at),
            incidents,
            started_at,
            awake_since: started_at,
        }
    }

    /// Judges everything; to be called every [`JudgeSettings::evaluate_every`], and at once after
    /// a directory request with deletions.
    pub fn evaluate(&mut self, series: &Series, now: Time, settings: &JudgeSettings) -> Evaluation {
        let mut evaluation = Evaluation::default();
        self.forget_deleted(series, now, &mut evaluation);
        let known = !self.judged.is_empty();
        self.awake_since = self.awake_since.min(now);
        let times = (self.awake_since, now);
        let (health, changes) =
            self.service.evaluate(series, &mut self.incidents, times, known, settings);
        evaluation.incidents.extend(changes);
        let interval = series.brokers().map(|broker| broker.interval).max();
        let quiet = interval.unwrap_or(USUAL_INTERVAL).saturating_mul(2);
        let round = Round {
            series,
            settings,
            health,
            now,
            starting: now.since(self.awake_since) < settings.hold(quiet),
            started_at: self.started_at,
        };
        let open: BTreeMap<Uuid, Uuid> = self
            .incidents
            .values()
            .filter_map(|incident| Some((incident.subscription?, incident.id)))
            .collect();
        for view in series.subscriptions() {
            let subscription = view.subscription;
            let id = subscription.id;
            let saved = self.judged.remove(&id);
            let is_new = saved.is_none();
            let mut judged = saved.unwrap_or_else(|| {
                let (project, topic) = (subscription.project, subscription.topic_id);
                Box::new(Judged::new(SavedSubscription::new(id, project, topic, now)))
            });
            let memory = &mut judged.memory;
            let before = memory.clone();
            memory.not_after(now);
            let (verdict, lost) = round.judge(&view, memory);
            let muted_until = round.in_force(&view).muted_until.map(|(until, _)| until);
            let present = Present {
                view: &view,
                memory,
                verdict: &verdict,
                muted_until,
                lost,
                wait: round.health.owners_wait || round.starting,
            };
            let incident = open.get(&id).copied();
            evaluation.incidents.extend(follow(&mut self.incidents, incident, &present, now));
            memory.unsaved |= before.clock_start != memory.clock_start;
            let long = verdict
                .waiting_since
                .is_some_and(|start| now.since(start) >= verdict.threshold / 4);
            if is_new || memory.is_worth_saving(&before) || (memory.unsaved && long) {
                memory.unsaved = false;
                evaluation.changed.push(memory.clone());
            }
            judged.verdict = Some(verdict);
            self.judged.insert(id, judged);
        }
        evaluation
    }

    /// The last judgement of a subscription.
    pub fn verdict(&self, subscription: Uuid) -> Option<&Verdict> {
        self.judged.get(&subscription)?.verdict.as_ref()
    }

    /// Open incidents.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// Remembers that a mail said the incident began, or what it has become; committed with that
    /// mail.
    pub fn mark_mailed(&mut self, incident: Uuid) {
        if let Some(incident) = self.incidents.get_mut(&incident) {
            incident.mark_mailed();
        }
    }

    fn forget_deleted(&mut self, series: &Series, now: Time, evaluation: &mut Evaluation) {
        let memories = self.judged.values().map(|judged| &judged.memory);
        let gone = memories.filter(|memory| series.is_gone(memory.id, memory.project));
        evaluation.removed = gone.map(|memory| memory.id).collect();
        for id in &evaluation.removed {
            self.judged.remove(id);
        }
        let orphaned: Vec<(Uuid, Uuid)> = self
            .incidents
            .values()
            .filter(|incident| incident.kind == IncidentKind::Subscription)
            .filter_map(|incident| {
                let subscription = incident.subscription?;
                let project = incident.project_id?;
                series.is_gone(subscription, project).then_some((incident.id, subscription))
            })
            .collect();
        for (incident, subscription) in orphaned {
            let closed = close_deleted(&mut self.incidents, incident, subscription, series, now);
            evaluation.incidents.extend(closed);
        }
    }
}

impl Round<'_> {
    fn in_force(&self, view: &SubscriptionView<'_>) -> InForce {
        self.series.in_force(view, &self.settings.service)
    }

    /// Judges one subscription; with its verdict the messages it lost.
    fn judge(&self, view: &SubscriptionView<'_>, memory: &mut SavedSubscription) -> (Verdict, u64) {
        let in_force = self.in_force(view);
        self.follow_topic(view, memory);
        let owner = view.held.and_then(|held| Some((held, self.series.owner(held)?)));
        let Some((held, broker)) = owner else {
            return (self.unknown(view, memory, &in_force), 0);
        };
        let facts = Facts::read(held, broker, view.subscription, self.now);
        if let Some(gone) = &mut memory.topic_gone {
            let used = |at| facts.now.since(at) <= USED_WITHIN;
            gone.warn.get_or_insert(facts.last_pull.is_some_and(used));
        }
        if !broker.is_fresh(self.now) {
            let verdict = self.unknown(view, memory, &in_force);
            return (verdict, facts.losses.never_acked);
        }
        let new = view.subscription.created > self.started_at;
        memory.learn(&facts, self.now, new, self.settings);
        let threshold = Threshold::of(facts.ack_deadline, &in_force, self.settings);
        let finding = classify(&facts, memory, &threshold);
        if self.health.calls_fail {
            memory.pending = None;
            memory.calm_since = None;
            if let Some(letters) = &mut memory.letters {
                letters.interrupt();
            }
            self.show(memory, State::ServiceFault, Some(Reason::CallsFail), self.now);
        } else {
            self.settle(memory, &facts, &finding, &threshold, broker);
        }
        let loss = memory.losing(self.now, self.settings);
        let background = Background {
            view,
            facts: &facts,
            since_start: memory.since_start(&facts),
            threshold: &threshold,
            in_force: &in_force,
            held: finding.held,
            loss,
            letters: memory.letters.as_deref().map(|letters| letters.recent()),
            topic_gone: memory.topic_gone.as_deref(),
        };
        let shown = memory.shown;
        let verdict = Verdict {
            state: shown.state,
            reason: shown.reason,
            severity: severity(memory, finding.unused, &in_force),
            since: shown.since,
            threshold: threshold.stall(finding.held),
            waiting_since: facts.clock_start().map(|start| broker.ours(start)),
            oldest_unacked_at: facts.head_enqueued_at.filter(|_| facts.backlog > 0),
            oldest_unacked_age: facts
                .head_enqueued_at
                .filter(|_| facts.backlog > 0)
                .map(|at| facts.now.since(at))
                .unwrap_or_default(),
            backlog: facts.backlog,
            muted: self.is_muted(&in_force),
            evidence: evidence(&background),
            advice: advice(shown.state, shown.reason, &background),
        };
        (verdict, facts.losses.never_acked)
    }

    fn is_muted(&self, in_force: &InForce) -> bool {
        in_force.muted_until.is_some_and(|(until, _)| self.now < until)
    }

    /// Nothing is known: closes and opens nothing, and a hold begins anew afterwards.
    fn unknown(
        &self,
        view: &SubscriptionView<'_>,
        memory: &mut SavedSubscription,
        in_force: &InForce,
    ) -> Verdict {
        memory.pending = None;
        memory.calm_since = None;
        if let Some(letters) = &mut memory.letters {
            letters.interrupt();
        }
        self.show(memory, State::Unknown, Some(Reason::NoReport), self.now);
        let deadline = Duration::from_secs(view.subscription.ack_deadline_seconds);
        let owner = view.held.and_then(|held| self.series.owner(held));
        let last_report = owner.map(|broker| broker.sent_at);
        Verdict {
            state: State::Unknown,
            reason: Some(Reason::NoReport),
            severity: Severity::Info,
            since: memory.shown.since,
            threshold: Threshold::of(deadline, in_force, self.settings).base,
            waiting_since: None,
            oldest_unacked_at: None,
            oldest_unacked_age: Duration::ZERO,
            backlog: view.held.map_or(0, |held| held.record.count(&telemetry::names::SUB_BACKLOG)),
            muted: self.is_muted(in_force),
            evidence: Evidence::of_silence(last_report),
            advice: String::from(
                "The broker that owns this subscription sends no reports, so nothing is known of \
                 it. The operators are told; there is nothing for you to do.",
            ),
        }
    }

    fn show(
        &self,
        memory: &mut SavedSubscription,
        state: State,
        reason: Option<Reason>,
        since: Time,
    ) {
        memory.shown.become_at(Shown { state, reason, since });
    }

    fn follow_topic(&self, view: &SubscriptionView<'_>, memory: &mut SavedSubscription) {
        let present = view.subscription.topic_id;
        if present.is_some() {
            memory.topic_gone = None;
        } else if let Some(life) = memory.topic_id {
            let deletion = self.series.deletion(life);
            memory.topic_gone = Some(Box::new(TopicGone {
                by: deletion.map(|deletion| deletion.by.clone()).unwrap_or_default(),
                at: deletion.and_then(|deletion| deletion.at).unwrap_or(self.now),
                warn: None,
            }));
        }
        memory.topic_id = present;
        memory.project = view.subscription.project;
        // Deleted before it was ever looked at: there is no news in that.
        let old = TopicGone { by: String::new(), at: view.subscription.created, warn: Some(false) };
        if present.is_none() {
            memory.topic_gone.get_or_insert_with(|| Box::new(old));
        }
    }

    /// The state shown: first match of the table, stalls with their hysteresis.
    fn settle(
        &self,
        memory: &mut SavedSubscription,
        facts: &Facts,
        finding: &Finding,
        threshold: &Threshold,
        broker: &Broker,
    ) {
        let topic_deleted = memory.topic_gone.is_some();
        let entered = self.follow_stall(memory, facts, finding, threshold, broker);
        if topic_deleted {
            memory.letters = None;
        }
        let refused = memory.letters.as_mut().and_then(|letters| {
            letters.follow((&broker.instance, broker.sequence), self.now, self.settings)
        });
        if let Some(loss) = memory.losing(self.now, self.settings) {
            self.show(memory, State::Losing, Some(loss.reason), loss.at);
        } else if topic_deleted {
            self.show(memory, State::Orphan, Some(Reason::TopicDeleted), self.now);
        } else if let Some(stall) = memory.stall {
            // One stall keeps its beginning through all its states.
            memory.shown = stall;
        } else if entered && finding.unused {
            self.show(memory, State::Orphan, Some(Reason::Unused), self.now);
        } else if let Some(since) = refused {
            self.show(memory, State::DeadLettering, None, since);
        } else if facts.backlog == 0 {
            self.show(memory, State::Idle, None, self.now);
        } else {
            self.show(memory, State::Healthy, None, self.now);
        }
    }

    /// Enters, follows or leaves the stall in memory; whether the clock has expired by two
    /// evaluations with a report between them.
    fn follow_stall(
        &self,
        memory: &mut SavedSubscription,
        facts: &Facts,
        finding: &Finding,
        threshold: &Threshold,
        broker: &Broker,
    ) -> bool {
        if memory.topic_gone.is_some() || facts.backlog == 0 {
            memory.stall = None;
            memory.pending = None;
            memory.calm_since = None;
            return false;
        }
        let (state, reason) = finding.stall;
        if let Some(stall) = &mut memory.stall {
            if finding.expired {
                memory.calm_since = None;
                *stall = Shown { state, reason, ..*stall };
                return true;
            }
            let well = facts.leaving_clock().is_some_and(|clock| clock < threshold.base / 2);
            if !well {
                memory.calm_since = None;
                return false;
            }
            let calm_since = *memory.calm_since.get_or_insert(self.now);
            if self.now.since(calm_since) >= threshold.leave_after(self.settings) {
                memory.stall = None;
                memory.calm_since = None;
            }
            return false;
        }
        if !finding.expired {
            memory.pending = None;
            return false;
        }
        let heard = Pending {
            instance: broker.instance.clone(),
            sequence: broker.sequence,
            unused: finding.unused,
        };
        let first = memory.pending.get_or_insert_with(|| Box::new(heard.clone()));
        if first.unused != heard.unused {
            // Its first consumer has come: that it waited before is not this one's fault.
            **first = heard;
            return false;
        }
        if **first == heard {
            return false;
        }
        if !finding.unused {
            let start = facts.clock_start().unwrap_or(facts.now);
            memory.stall = Some(Shown { state, reason, since: broker.ours(start) });
            memory.pending = None;
        }
        true
    }
}

/// How bad what is shown is, after the owner's cap.
fn severity(memory: &SavedSubscription, unused: bool, in_force: &InForce) -> Severity {
    let warned = memory.topic_gone.as_ref().is_some_and(|gone| gone.warn == Some(true));
    let severity = match memory.shown.state {
        State::Losing if unused => Severity::Warn,
        State::Orphan if warned => Severity::Warn,
        State::DeadLettering => Severity::Warn,
        State::Losing | State::NoConsumer | State::NotAcking | State::StalledOther => {
            Severity::Crit
        }
        State::Orphan | State::Unknown | State::ServiceFault | State::TelemetryBlind => {
            Severity::Info
        }
        State::Idle | State::Healthy => Severity::Ok,
    };
    in_force.severity_cap.map_or(severity, |(cap, _)| severity.min(cap))
}
