//! Troubles of the service itself: silent brokers and failing calls. Operators are told, and
//! owners' incidents wait: when we fail, their consumers are not dead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::evidence::stamp;
use super::state::{
    CloseReason, Incident, IncidentChange, IncidentKind, JudgeSettings, Reason, State,
};
use super::store::Store;
use crate::clock::Time;
use crate::series::{Broker, Failing, Series, Severity};

/// Calls must fail for so long.
const FAULT_HOLD: Duration = Duration::from_secs(60);
/// So long after a fault no owner's incident opens: consumers have to come back first.
const FAULT_GRACE: Duration = Duration::from_secs(300);
/// So long after a start a broker must have reported, if subscriptions are known from before.
const FIRST_REPORT: Duration = Duration::from_secs(120);

/// What is remembered of the service.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Brokers found silent by one evaluation.
    silent: BTreeSet<String>,
    /// The last evaluation with a fault.
    fault_at: Option<Time>,
    store: Store,
}

/// How the service does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    /// Calls fail.
    pub(super) calls_fail: bool,
    /// No owner's incident may open.
    pub(super) owners_wait: bool,
}

impl Service {
    pub(super) fn restore(incidents: &BTreeMap<Uuid, Incident>, started_at: Time) -> Self {
        // An open incident of the service goes on until this process has seen it end.
        let excuses = [IncidentKind::TelemetryBlind, IncidentKind::ServiceFault];
        let open = incidents.values().any(|incident| excuses.contains(&incident.kind));
        Self {
            silent: BTreeSet::new(),
            fault_at: open.then_some(started_at),
            store: Store::restore(incidents, started_at),
        }
    }

    /// Judges the service. `known` = subscriptions are known, possibly from before the start.
    pub(super) fn evaluate(
        &mut self,
        series: &Series,
        incidents: &mut BTreeMap<Uuid, Incident>,
        (started_at, now): (Time, Time),
        known: bool,
        settings: &JudgeSettings,
    ) -> (Health, Vec<IncidentChange>) {
        let mut changes = Vec::new();
        // A fault from the future was seen before our clock was set back.
        self.fault_at = self.fault_at.map(|at| at.min(now));
        let hold = settings.hold(FAULT_HOLD);
        let failing = series
            .brokers()
            .filter(|broker| broker.is_fresh(now))
            .filter_map(Broker::failing)
            .find(|failing| failing.lasted() >= hold);
        let any_fresh = series.brokers().any(|broker| broker.is_fresh(now));
        let none_came = series.brokers().next().is_none()
            && known
            && now.since(started_at) > settings.hold(FIRST_REPORT);
        let all_silent = none_came || (!any_fresh && series.brokers().next().is_some());
        if failing.is_some() || all_silent {
            self.fault_at = Some(now);
        }
        let grace = settings.hold(FAULT_GRACE);
        let owners_wait = self.fault_at.is_some_and(|at| now.since(at) <= grace);
        self.judge_silence(series, incidents, now, none_came, &mut changes);
        let explained = self.store.evaluate(series, incidents, now, settings, &mut changes);
        let health = Health { calls_fail: failing.is_some(), owners_wait };
        let untold = failing.filter(|_| !explained);
        judge_fault(incidents, now, untold, health, any_fresh, &mut changes);
        (health, changes)
    }

    fn judge_silence(
        &mut self,
        series: &Series,
        incidents: &mut BTreeMap<Uuid, Incident>,
        now: Time,
        none_came: bool,
        changes: &mut Vec<IncidentChange>,
    ) {
        let mut silent: BTreeMap<String, Option<&Broker>> = series
            .brokers()
            .filter(|broker| !broker.is_fresh(now))
            .map(|broker| (broker.instance.clone(), Some(broker)))
            .collect();
        if none_came {
            silent.insert(String::new(), None);
        }
        let any_fresh = series.brokers().any(|broker| broker.is_fresh(now));
        let blind = |incident: &Incident| incident.kind == IncidentKind::TelemetryBlind;
        let known: BTreeSet<&str> =
            series.brokers().map(|broker| broker.instance.as_str()).collect();
        let over: Vec<Uuid> = incidents
            .values()
            .filter(|incident| blind(incident))
            .filter(|incident| {
                let name = incident.broker.as_deref().unwrap_or_default();
                // It reports again, or another one has taken its place.
                if known.contains(name) { !silent.contains_key(name) } else { any_fresh }
            })
            .map(|incident| incident.id)
            .collect();
        for id in over {
            changes.extend(incidents.remove(&id).map(|mut incident| {
                incident.closed_at = Some(now);
                incident.close_reason = Some(CloseReason::Recovered);
                IncidentChange::Closed(incident)
            }));
        }
        for (name, broker) in &silent {
            let told = |incident: &Incident| {
                let of = incident.broker.as_deref().unwrap_or_default();
                // One that was replaced and whose successor is silent too: still one trouble.
                blind(incident) && (of == name || !known.contains(of))
            };
            if !self.silent.contains(name) || incidents.values().any(told) {
                continue;
            }
            let incident = silence(name, *broker, series, now, any_fresh);
            incidents.insert(incident.id, incident.clone());
            changes.push(IncidentChange::Opened(incident));
        }
        self.silent = silent.into_keys().collect();
    }
}

fn silence(
    name: &str,
    broker: Option<&Broker>,
    series: &Series,
    now: Time,
    any_fresh: bool,
) -> Incident {
    let mut evidence = BTreeMap::new();
    evidence.insert(String::from("broker"), json!(name));
    evidence.insert(String::from("lastReportAt"), stamp(broker.map(|broker| broker.received_at)));
    let interval = broker.map_or(Value::Null, |broker| json!(broker.interval.as_secs_f64()));
    evidence.insert(String::from("reportIntervalSeconds"), interval);
    evidence.insert(String::from("subscriptions"), json!(series.subscriptions().count()));
    let severity = if any_fresh { Severity::Warn } else { Severity::Crit };
    let advice = String::from(
        "No report comes from the broker, so none of its subscriptions can be judged and no \
         owner is told of anything. See whether it runs and serves; if it does, look in its log \
         why its reports are refused (AMS_BROKER__REPORT__URL, the ingest secret):\n\
         curl -i -H \"x-api-key: $TOKEN\" \"$AMS/v1/projects\"",
    );
    Incident {
        kind: IncidentKind::TelemetryBlind,
        broker: Some(name.to_owned()),
        since: broker.map_or(now, |broker| broker.received_at),
        reason: Some(Reason::NoReport),
        ..of_service(State::TelemetryBlind, severity, now, evidence, advice)
    }
}

fn judge_fault(
    incidents: &mut BTreeMap<Uuid, Incident>,
    now: Time,
    failing: Option<Failing>,
    health: Health,
    any_fresh: bool,
    changes: &mut Vec<IncidentChange>,
) {
    let open = incidents
        .values()
        .find(|incident| incident.kind == IncidentKind::ServiceFault)
        .map(|incident| incident.id);
    match (failing, open) {
        (Some(failing), None) => {
            let mut evidence = BTreeMap::new();
            evidence.insert(String::from("calls"), json!(failing.calls));
            evidence.insert(String::from("faults"), json!(failing.faults));
            evidence.insert(String::from("failingSince"), stamp(Some(failing.since)));
            let advice = String::from(
                "At least 5 % of the publish, pull and acknowledge calls end in a fault of the \
                 service, in every report since then. The broker's log names the cause (store \
                 stopped, disk full); owners are not told of their consumers meanwhile:\n\
                 curl -i -H \"x-api-key: $TOKEN\" \"$AMS/v1/projects\"",
            );
            let incident = Incident {
                since: failing.since,
                reason: Some(Reason::CallsFail),
                ..of_service(State::ServiceFault, Severity::Crit, now, evidence, advice)
            };
            incidents.insert(incident.id, incident.clone());
            changes.push(IncidentChange::Opened(incident));
        }
        // While no broker reports nothing is known; and a fault that comes back is the same one.
        (None, Some(id)) if any_fresh && !health.owners_wait => {
            changes.extend(incidents.remove(&id).map(|mut incident| {
                incident.closed_at = Some(now);
                incident.close_reason = Some(CloseReason::Recovered);
                IncidentChange::Closed(incident)
            }));
        }
        _ => {}
    }
}

pub(super) fn of_service(
    state: State,
    severity: Severity,
    now: Time,
    evidence: BTreeMap<String, Value>,
    advice: String,
) -> Incident {
    Incident {
        id: Uuid::new_v4(),
        kind: IncidentKind::ServiceFault,
        subscription: None,
        broker: None,
        project_id: None,
        project: String::new(),
        subscription_name: String::new(),
        topic: String::new(),
        state,
        reason: None,
        severity,
        opened_at: now,
        since: now,
        closed_at: None,
        close_reason: None,
        peak_backlog: 0,
        lost: 0,
        lost_before: 0,
        evidence,
        advice,
        threshold: Duration::ZERO,
        history: vec![(now, state)],
        muted_until: None,
        muted: false,
        mailed_open: false,
        mailed_state: None,
        mailed_change: false,
    }
}
