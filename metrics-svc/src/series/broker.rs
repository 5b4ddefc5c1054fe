//! One broker process as its reports show it: freshness, clock and failing calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::record::Report;
use crate::clock::Time;

/// Differences "received - sent" that the clock offset is taken from.
const OFFSETS: usize = 12;
/// Differences further apart than this are not jitter (`observability.md` 1.5, *report*).
const STEP_NANOS: u64 = 60_000_000_000;
/// Reports a broker may miss before nothing is known of what it owns.
const MISSED: u32 = 3;
/// Without a call for so long, earlier failing calls say nothing any more.
const CALLS_FORGOTTEN: Duration = Duration::from_secs(300);

/// One broker process.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Which process.
    pub instance: String,
    /// The store it serves.
    pub store: String,
    /// When it started, on its clock.
    pub started_at: Time,
    /// How often it says it reports.
    pub interval: Duration,
    /// Number of its newest report.
    pub sequence: u64,
    /// Its clock when it looked for the newest report.
    pub sent_at: Time,
    /// Our clock when the newest report came.
    pub received_at: Time,
    /// Its clock when it was found set to another time.
    pub clock_step_at: Option<Time>,
    pub(super) awaits_resync: bool,
    offsets: VecDeque<i64>,
    /// A single difference far off the others, and the report's time.
    odd: Option<(i64, Time)>,
    calls: BTreeMap<(String, String), u64>,
    failing: Option<Failing>,
    store_faults: BTreeMap<String, StoreFault>,
}

/// How often the store failed for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct StoreFault {
    count: u64,
    /// Our clock when a report last showed more of them.
    at: Option<Time>,
}

/// Calls that fail, report after report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// Our clock at the beginning of the first such report.
    pub since: Time,
    /// Calls since then.
    pub calls: u64,
    /// Of these, ended by a fault of the service.
    pub faults: u64,
    last_call_at: Time,
}

impl Failing {
    /// How long calls have been seen to fail. Silence after the last one proves nothing.
    pub fn lasted(&self) -> Duration {
        self.last_call_at.since(self.since)
    }
}

impl Broker {
    pub(super) fn first_seen(report: &Report, received_at: Time) -> Self {
        let mut broker = Self {
            instance: report.instance.clone(),
            store: report.store.clone(),
            started_at: report.started_at,
            interval: report.interval,
            sequence: 0,
            sent_at: report.sent_at,
            received_at,
            clock_step_at: None,
            awaits_resync: true,
            offsets: VecDeque::new(),
            odd: None,
            calls: BTreeMap::new(),
            failing: None,
            store_faults: BTreeMap::new(),
        };
        // Of an earlier life of the process only the sums are known, not when they grew.
        if report.sequence != 1 {
            broker.keep_calls(report);
            for (reason, count) in &report.store_faults {
                let fault = StoreFault { count: *count, at: None };
                broker.store_faults.insert(reason.clone(), fault);
            }
        }
        broker.hear(report, received_at);
        broker
    }

    /// Takes the place of `before`: what the store did to that one may not have been judged yet.
    pub(super) fn succeed(&mut self, before: &Self) {
        for (reason, fault) in &before.store_faults {
            let own = self.store_faults.entry(reason.clone()).or_default();
            own.at = own.at.max(fault.at);
        }
    }

    /// Takes note of a report, unless a newer one of this process was heard.
    pub(super) fn hear(&mut self, report: &Report, received_at: Time) {
        if report.sequence <= self.sequence {
            return;
        }
        self.judge_calls(report, received_at);
        for (reason, count) in &report.store_faults {
            let fault = self.store_faults.entry(reason.clone()).or_default();
            if *count > fault.count {
                fault.at = Some(received_at);
            }
            fault.count = *count;
        }
        self.sequence = report.sequence;
        self.sent_at = report.sent_at;
        self.started_at = report.started_at;
        self.interval = report.interval;
        self.received_at = received_at;
        self.compare_clocks(report.sent_at, received_at);
    }

    fn compare_clocks(&mut self, sent_at: Time, received_at: Time) {
        let offset = difference(received_at, sent_at);
        let usual = self.offsets.iter().min().copied().unwrap_or(offset);
        if offset.abs_diff(usual) <= STEP_NANOS {
            self.odd = None;
            if self.offsets.len() >= OFFSETS {
                self.offsets.pop_front();
            }
            self.offsets.push_back(offset);
            return;
        }
        match self.odd.filter(|(odd, _)| odd.abs_diff(offset) <= STEP_NANOS) {
            Some((odd, since)) => {
                self.offsets = VecDeque::from([odd, offset]);
                self.odd = None;
                self.clock_step_at = Some(since);
            }
            None => self.odd = Some((offset, sent_at)),
        }
    }

    fn offset(&self) -> i64 {
        let usual = self.offsets.iter().min().copied();
        self.odd.map(|(odd, _)| odd).or(usual).unwrap_or(0)
    }

    /// What this broker's clock shows at `now` of ours.
    pub fn clock(&self, now: Time) -> Time {
        Time(now.0.saturating_add_signed(self.offset().saturating_neg()))
    }

    /// What our clock showed at `time` of this broker's.
    pub fn ours(&self, time: Time) -> Time {
        Time(time.0.saturating_add_signed(self.offset()))
    }

    /// Whether its newest report is not older than three intervals. One from the future came
    /// before our clock was set back: the next one says more.
    pub fn is_fresh(&self, now: Time) -> bool {
        let apart = now.since(self.received_at).max(self.received_at.since(now));
        apart <= self.interval.saturating_mul(MISSED)
    }

    /// Calls that failed in every report up to the newest one: at least 5 % of them.
    pub const fn failing(&self) -> Option<Failing> {
        self.failing
    }

    /// Calls since the broker started: verb, outcome, count.
    pub fn calls(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.calls.iter().map(|((verb, outcome), n)| (verb.as_str(), outcome.as_str(), *n))
    }

    /// When a report last showed that the store failed for `reason`, on our clock.
    pub fn store_fault_at(&self, reason: &str) -> Option<Time> {
        self.store_faults.get(reason)?.at
    }

    /// Faults of the store since the broker started: reason, count.
    pub fn store_faults(&self) -> impl Iterator<Item = (&str, u64)> {
        self.store_faults.iter().map(|(reason, fault)| (reason.as_str(), fault.count))
    }

    fn keep_calls(&mut self, report: &Report) {
        for (verb, outcome, count) in &report.calls {
            self.calls.insert((verb.clone(), outcome.clone()), *count);
        }
    }

    fn judge_calls(&mut self, report: &Report, received_at: Time) {
        let (mut calls, mut faults) = (0_u64, 0_u64);
        for (verb, outcome, count) in &report.calls {
            let key = (verb.clone(), outcome.clone());
            let before = self.calls.get(&key).copied().unwrap_or(0);
            let more = count.saturating_sub(before);
            calls = calls.saturating_add(more);
            if outcome == "fault" {
                faults = faults.saturating_add(more);
            }
        }
        self.keep_calls(report);
        if calls == 0 {
            let forgotten =
                |failing: &Failing| received_at.since(failing.last_call_at) > CALLS_FORGOTTEN;
            self.failing = self.failing.filter(|failing| !forgotten(failing));
        } else if faults.saturating_mul(20) >= calls {
            // The report speaks of the time since the one before it.
            let since = self.received_at;
            let before = self.failing.unwrap_or(Failing {
                since,
                calls: 0,
                faults: 0,
                last_call_at: received_at,
            });
            self.failing = Some(Failing {
                // Our clock may have been set back since.
                since: before.since.min(since),
                calls: before.calls.saturating_add(calls),
                faults: before.faults.saturating_add(faults),
                last_call_at: received_at,
            });
        } else {
            self.failing = None;
        }
    }
}

/// `later - earlier` in nanoseconds, within the bounds of an `i64` (292 years).
fn difference(later: Time, earlier: Time) -> i64 {
    let size = i64::try_from(later.0.abs_diff(earlier.0)).unwrap_or(i64::MAX);
    if later >= earlier { size } else { size.saturating_neg() }
}
