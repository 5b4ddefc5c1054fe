//! What became of mails, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Time;

/// Which mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opening.
    Open,
    /// Of another trouble than the opening one told.
    Change,
    /// Closing.
    Resolve,
    /// For the operators, of no incident.
    Notice,
    /// `ams alert test`.
    Test,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// Taken by the relay.
    Sent,
    /// To be tried again.
    Retry,
    /// Refused for ever.
    Bounced,
    /// Given up.
    Expired,
}

const KINDS: [(&str, Kind); 5] = [
    ("open", Kind::Open),
    ("change", Kind::Change),
    ("resolve", Kind::Resolve),
    ("notice", Kind::Notice),
    ("test", Kind::Test),
];
const RESULTS: [(&str, Result); 4] = [
    ("sent", Result::Sent),
    ("retry", Result::Retry),
    ("bounced", Result::Bounced),
    ("expired", Result::Expired),
];

/// The counters of the mailer, since the start of the process.
#[derive(Debug, Default)]
pub struct Tally {
    mails: [[AtomicU64; 4]; 5],
    unreachable: AtomicU64,
    last_ok: AtomicU64,
}

impl Tally {
    /// One attempt ended.
    pub fn mail(&self, kind: Kind, result: Result) {
        let row = KINDS.iter().zip(&self.mails).find(|((_, known), _)| *known == kind);
        let cell = row
            .and_then(|(_, row)| RESULTS.iter().zip(row).find(|((_, known), _)| *known == result));
        if let Some((_, counter)) = cell {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The relay took a mail.
    pub fn smtp_ok(&self, now: Time) {
        self.last_ok.store(now.0, Ordering::Relaxed);
    }

    /// An incident whose people could not be reached.
    pub fn unreachable(&self) {
        self.unreachable.fetch_add(1, Ordering::Relaxed);
    }

    /// All counters: kind, result, count. Every pair is there from the start.
    pub fn mails(&self) -> Vec<(&'static str, &'static str, u64)> {
        let row = |((kind, _), row): (&(&'static str, Kind), &[AtomicU64; 4])| {
            let cells = RESULTS.iter().zip(row);
            let cells = cells.map(|((result, _), n)| (*kind, *result, n.load(Ordering::Relaxed)));
            cells.collect::<Vec<_>>()
        };
        KINDS.iter().zip(&self.mails).flat_map(row).collect()
    }

    /// Incidents whose people could not be reached.
    pub fn unreachable_count(&self) -> u64 {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// When the relay last took a mail.
    pub fn last_ok(&self) -> Option<Time> {
        Some(Time(self.last_ok.load(Ordering::Relaxed))).filter(|time| time.0 > 0)
    }
}
