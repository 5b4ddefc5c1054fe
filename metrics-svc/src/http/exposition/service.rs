//! The service itself: brokers, ingest, alerter.

use std::collections::BTreeMap;

use telemetry::names::{self, Kind};

use super::family::Families;
use super::records::float;
use crate::clock::Time;
use crate::db::Queue;
use crate::series::Severity;
use crate::watch::{Known, Watch};

const VERBS: [&str; 3] = ["publish", "pull", "acknowledge"];
const OUTCOMES: [&str; 3] = ["ok", "refused", "fault"];

/// Calls and freshness of the brokers.
pub(super) fn brokers(known: &Known, families: &mut Families) {
    let mut calls: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let mut any = false;
    for broker in known.series.brokers() {
        any = true;
        for (verb, outcome, n) in broker.calls() {
            *calls.entry((verb, outcome)).or_default() += n;
        }
        for (reason, n) in broker.store_faults() {
            *faults.entry(reason).or_default() += n;
        }
        let labels = [("instance_id", broker.instance.as_str())];
        let last = broker.received_at.unix_seconds();
        families.derived("ams_metrics_ingest_last_report_timestamp_seconds", &labels, last);
        let interval = broker.interval.as_secs_f64();
        families.derived("ams_metrics_ingest_report_interval_seconds", &labels, interval);
    }
    if any {
        for pair in VERBS.iter().flat_map(|verb| OUTCOMES.map(|outcome| (*verb, outcome))) {
            calls.entry(pair).or_default();
        }
        for reason in ["clock", "damaged", "full", "stopped"] {
            faults.entry(reason).or_default();
        }
    }
    for (reason, n) in faults {
        let labels = [("reason", reason)];
        families.add(names::BROKER_STORE_FAULTS.prometheus, Kind::Counter, &labels, float(n));
    }
    for ((verb, outcome), n) in calls {
        let labels = [("verb", verb), ("outcome", outcome)];
        families.add(names::BROKER_CALLS.prometheus, Kind::Counter, &labels, float(n));
    }
}

/// Open incidents.
pub(super) fn incidents(known: &Known, families: &mut Families) {
    for severity in [Severity::Info, Severity::Warn, Severity::Crit] {
        let open = known
            .judge
            .incidents()
            .filter(|incident| incident.closed_at.is_none() && incident.severity == severity);
        let n = u64::try_from(open.count()).unwrap_or(u64::MAX);
        families.derived("ams_alerter_incidents", &[("severity", severity.as_str())], float(n));
    }
}

/// What metrics-svc knows of itself.
pub(super) fn own(watch: &Watch, queue: Option<Queue>, families: &mut Families) {
    for (outcome, n) in watch.reports() {
        families.derived("ams_metrics_ingest_reports_total", &[("outcome", outcome)], float(n));
    }
    let flag = |on: bool| if on { 1.0 } else { 0.0 };
    families.derived("ams_metrics_database_up", &[], flag(watch.can_promise()));
    families.derived("ams_alerter_mail_configured", &[], flag(watch.mails_are_on()));
    let tally = watch.tally();
    for (kind, outcome, n) in tally.mails() {
        let labels = [("kind", kind), ("outcome", outcome)];
        families.derived("ams_alerter_notifications_total", &labels, float(n));
    }
    families.derived("ams_alerter_unreachable_total", &[], float(tally.unreachable_count()));
    if let Some(queue) = queue {
        families.derived("ams_alerter_outbox_messages", &[], float(queue.waiting));
        if let Some(oldest) = queue.oldest {
            let oldest = oldest.unix_seconds();
            families.derived("ams_alerter_outbox_oldest_timestamp_seconds", &[], oldest);
        }
    }
    if let Some(last) = watch.last_evaluation() {
        let last = last.unix_seconds();
        families.derived("ams_alerter_last_evaluation_timestamp_seconds", &[], last);
    }
    let last_ok = tally.last_ok().map_or(0.0, Time::unix_seconds);
    families.derived("ams_alerter_last_smtp_ok_timestamp_seconds", &[], last_ok);
}
