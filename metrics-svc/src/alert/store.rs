//! Troubles of the store that brokers report: each is one incident of the operators, at once.
//! Subscriptions are judged on: whom the store still serves, it does not excuse.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use telemetry::names;
use uuid::Uuid;

use super::evidence::stamp;
use super::service::of_service;
use super::state::{
    CloseReason, Incident, IncidentChange, IncidentKind, JudgeSettings, Reason, State,
};
use crate::clock::Time;
use crate::series::{Series, Severity, TopicView};

/// One kind of trouble.
struct Kind {
    incident: IncidentKind,
    /// As brokers report it.
    reported: &'static str,
    reason: Reason,
    /// How long it is an alarm after it was last met.
    hold: Duration,
    advice: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        incident: IncidentKind::StoreStopped,
        reported: "stopped",
        reason: Reason::StoreStopped,
        hold: Duration::from_secs(300),
        advice: "The store could not make a write durable, so the broker has ended (exit 4) and \
                 serves nothing until it is started again. What was answered is on disk. Check \
                 the disk first (runbook AmsStoreStopped); then see whether it serves:\n\
                 curl -i -H \"x-api-key: $TOKEN\" \"$AMS/v1/projects\"",
    },
    Kind {
        incident: IncidentKind::StoreFull,
        reported: "full",
        reason: Reason::StoreFull,
        // Publishers come back every few seconds, some only every few minutes.
        hold: Duration::from_secs(900),
        advice: "The store has no room: publishes are answered 503 `Storage is full`, pulls and \
                 acknowledgements go on. Free space or raise the limit; publishing resumes by \
                 itself (runbook AmsStoreFull). Whether it does:\n\
                 curl -i -H \"x-api-key: $TOKEN\" \"$AMS/v1/projects\"",
    },
    Kind {
        incident: IncidentKind::StoreDamaged,
        reported: "damaged",
        reason: Reason::StoreDamaged,
        // Nothing but a repair ends it, and who reads there may come once a day.
        hold: Duration::from_secs(86_400),
        advice: "Reading met damaged data: what is asked for there is answered 500, all else is \
                 served. The broker's log names file and offset; delete nothing. Restore a \
                 backup, or stop the broker and see what `ams repair` would give up (runbook \
                 AmsStoreDamaged):\n\
                 ams repair --dry-run --data DIR",
    },
    Kind {
        incident: IncidentKind::ClockFault,
        reported: "clock",
        reason: Reason::ClockFault,
        // Twenty sweeps as installed.
        hold: Duration::from_secs(1_200),
        advice: "The clocks of the broker's machine contradict each other, or messages are stamped \
                 in the future: until they agree no topic is trimmed, so the disk fills, and \
                 messages may be stamped wrongly. The broker's log says how far apart they are. \
                 Set the clock right (runbook AmsClockFault):\n\
                 timedatectl status",
    },
];

/// What is remembered of the store.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// When each kind of trouble was last met, on our clock.
    met: [Option<Time>; 4],
}

impl Store {
    /// A trouble whose incident is open goes on until its time is over in this process.
    pub(super) fn restore(incidents: &BTreeMap<Uuid, Incident>, started_at: Time) -> Self {
        Self { met: KINDS.map(|kind| open(incidents, &kind).map(|_| started_at)) }
    }

    /// Opens and closes; whether calls fail because of the store, so that nobody need be told of
    /// that as well.
    pub(super) fn evaluate(
        &mut self,
        series: &Series,
        incidents: &mut BTreeMap<Uuid, Incident>,
        now: Time,
        settings: &JudgeSettings,
        changes: &mut Vec<IncidentChange>,
    ) -> bool {
        let any_fresh = series.brokers().any(|broker| broker.is_fresh(now));
        let mut explains = false;
        let damaged = damaged_topics(series, now);
        for (kind, met) in KINDS.iter().zip(&mut self.met) {
            let told = series.brokers().filter_map(|broker| broker.store_fault_at(kind.reported));
            // What was met in the future was met before our clock was set back.
            *met = told.chain(*met).max().map(|at| at.min(now));
            if kind.incident == IncidentKind::StoreDamaged && !damaged.is_empty() {
                // It is there, whether somebody reads it or not.
                *met = Some(now);
            }
            let present = met.is_some_and(|at| now.since(at) <= settings.hold(kind.hold));
            let fails_calls =
                matches!(kind.incident, IncidentKind::StoreStopped | IncidentKind::StoreFull);
            explains |= present && fails_calls;
            match (present, open(incidents, kind)) {
                (true, None) => {
                    let mut incident = opened(kind, *met, now);
                    if kind.incident == IncidentKind::StoreDamaged {
                        tell_topics(&mut incident, &damaged);
                    }
                    incidents.insert(incident.id, incident.clone());
                    changes.push(IncidentChange::Opened(incident));
                }
                // While no broker reports nothing is known.
                (false, Some(id)) if any_fresh => {
                    changes.extend(incidents.remove(&id).map(|mut incident| {
                        incident.closed_at = Some(now);
                        incident.close_reason = Some(CloseReason::Recovered);
                        IncidentChange::Closed(incident)
                    }));
                }
                _ => {}
            }
        }
        explains
    }
}

/// Topics with messages that are damaged and not given up, by what brokers say that report: name,
/// and how many messages.
fn damaged_topics(series: &Series, now: Time) -> Vec<(String, u64)> {
    let of = |view: TopicView<'_>| {
        let held = view.held?;
        let fresh = series.owner(held).is_some_and(|broker| broker.is_fresh(now));
        let messages = held.record.labelled(&names::TOPIC_DAMAGED, "unrepaired");
        let name = || format!("{}/{}", view.project.name, view.topic.name);
        (fresh && messages > 0).then(|| (name(), messages))
    };
    series.topics().filter_map(of).collect()
}

/// Most topics that an incident names.
const TOPICS_NAMED: usize = 10;

fn tell_topics(incident: &mut Incident, damaged: &[(String, u64)]) {
    let messages = damaged.iter().fold(0_u64, |sum, (_, more)| sum.saturating_add(*more));
    let named: Vec<&str> =
        damaged.iter().take(TOPICS_NAMED).map(|(name, _)| name.as_str()).collect();
    let evidence = &mut incident.evidence;
    evidence.insert(String::from("damagedMessages"), json!(messages));
    evidence.insert(String::from("damagedTopics"), json!(damaged.len()));
    evidence.insert(String::from("topics"), json!(named.join(" ")));
}

fn open(incidents: &BTreeMap<Uuid, Incident>, kind: &Kind) -> Option<Uuid> {
    let mut of_kind = incidents.values().filter(|incident| incident.kind == kind.incident);
    of_kind.next().map(|incident| incident.id)
}

fn opened(kind: &Kind, met: Option<Time>, now: Time) -> Incident {
    let evidence = BTreeMap::from([
        (String::from("storeFault"), json!(kind.reported)),
        (String::from("lastMetAt"), stamp(met)),
    ]);
    Incident {
        kind: kind.incident,
        since: met.unwrap_or(now),
        reason: Some(kind.reason),
        ..of_service(State::ServiceFault, Severity::Crit, now, evidence, String::from(kind.advice))
    }
}
