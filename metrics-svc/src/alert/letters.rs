//! Dead letters: to the stall clock each of them is progress, so a consumer that refuses everything
//! would look well (`observability.md` 1.5, row 10a). A share that lasts is told; a burst is not.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::Settled;
use super::state::JudgeSettings;
use crate::clock::Time;

/// Windows in which every third must show it, minutes. They are not shortened with
/// [`JudgeSettings::min_stall`]: thirds of seconds prove nothing.
const WINDOWS: [u64; 2] = [15, 45];
/// The longest of them: what is older is forgotten.
const LONGEST: u64 = 45;
/// The window whose share decides about the end, minutes.
const LEAVING: u64 = 15;
/// A third has at least so many dead letters.
const LEAST: u64 = 3;
/// How long the share must have been low for the trouble to be over.
const LEAVE_AFTER: Duration = Duration::from_secs(600);

/// The dead letters of one subscription, from the first on until there was none for the longest
/// window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letters {
    /// One per minute in which it was judged, ascending: the counters at the first look. Never
    /// empty.
    samples: VecDeque<Sample>,
    /// The trouble it is in.
    raised: Option<Raised>,
    /// The report at the first of two evaluations that find it so. Not saved, as in
    /// [`super::SavedSubscription`].
    #[serde(skip)]
    pending: Option<(String, u64)>,
    /// Since when the share is low.
    #[serde(skip)]
    calm_since: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sample {
    minute: u64,
    settled: Settled,
}

/// Since when, and in which window it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Raised {
    since: Time,
    window: u64,
}

/// What was settled lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent {
    /// In at most so many minutes.
    pub(super) minutes: u64,
    pub(super) settled: Settled,
}

impl Recent {
    /// How much of it were dead letters, per cent, rounded down.
    pub(super) fn percent(&self) -> u64 {
        let Settled { acked, dead_lettered } = self.settled;
        let all = acked.saturating_add(dead_lettered);
        dead_lettered.saturating_mul(100).checked_div(all).unwrap_or(0)
    }
}

impl Letters {
    /// Takes in the counters of the newest record, `before` being those of the one before it.
    pub(super) fn learn(kept: &mut Option<Box<Self>>, before: Settled, now: Settled, at: Time) {
        let minute = at.secs() / 60;
        let Some(rose) = now.since(&before) else {
            // Another store: what was counted is not comparable.
            *kept = None;
            return;
        };
        let Some(letters) = kept else {
            if rose.dead_lettered > 0 {
                *kept = Some(Box::new(Self {
                    samples: VecDeque::from([Sample { minute, settled: before }]),
                    raised: None,
                    pending: None,
                    calm_since: None,
                }));
            }
            return;
        };
        let next = Sample { minute, settled: now };
        match letters.samples.back().map(|last| last.minute) {
            Some(last) if last == minute => {}
            Some(last) if last < minute => letters.samples.push_back(next),
            // Our clock was set back: minutes are counted from here.
            _ => letters.samples = VecDeque::from([next]),
        }
        let kept_from = minute.saturating_sub(LONGEST);
        // One sample at or before the beginning of the longest window stays.
        while letters.samples.get(1).is_some_and(|second| second.minute <= kept_from) {
            letters.samples.pop_front();
        }
        let none_left = letters.first().settled.dead_lettered == now.dead_lettered;
        if none_left && letters.raised.is_none() {
            *kept = None;
        }
    }

    /// Our clock may have been set back: see [`super::SavedSubscription::not_after`].
    pub(super) fn not_after(&mut self, now: Time) {
        self.calm_since = self.calm_since.map(|since| since.min(now));
        if let Some(raised) = &mut self.raised {
            raised.since = raised.since.min(now);
        }
    }

    /// Nothing can be said now: a hold begins anew afterwards.
    pub(super) fn interrupt(&mut self) {
        self.pending = None;
        self.calm_since = None;
    }

    /// Enters, follows or leaves the trouble; since when it is in it. `report` = instance and
    /// number of the newest report.
    pub(super) fn follow(
        &mut self,
        report: (&str, u64),
        now: Time,
        settings: &JudgeSettings,
    ) -> Option<Time> {
        let found = WINDOWS.into_iter().find(|window| self.shows_in(*window));
        if let Some(raised) = self.raised {
            let low = found.is_none() && self.is_low();
            self.calm_since = low.then(|| self.calm_since.unwrap_or(now));
            if self.calm_since.is_some_and(|at| now.since(at) >= settings.hold(LEAVE_AFTER)) {
                self.raised = None;
                self.interrupt();
                return None;
            }
            return Some(raised.since);
        }
        let Some(window) = found else {
            self.pending = None;
            return None;
        };
        let heard = (report.0.to_owned(), report.1);
        if *self.pending.get_or_insert_with(|| heard.clone()) == heard {
            return None;
        }
        self.interrupt();
        let since = self.last().minute.saturating_sub(window).saturating_mul(60);
        let since = Time::from_secs(since);
        self.raised = Some(Raised { since, window });
        Some(since)
    }

    /// What was settled in the window that raised it, else in the shortest.
    pub(super) fn recent(&self) -> Recent {
        let minutes = self.raised.map_or(LEAVING, |raised| raised.window);
        Recent { minutes, settled: self.within(minutes) }
    }

    /// Whether every third of the window shows it.
    fn shows_in(&self, window: u64) -> bool {
        let end = self.last().minute;
        let Some(begin) = end.checked_sub(window) else { return false };
        let there = self.samples.iter().filter(|sample| sample.minute > begin).count() as u64;
        let missing = window.saturating_sub(there);
        if self.first().minute > begin || missing.saturating_mul(5) >= window {
            return false;
        }
        let third = window / 3;
        (0..3).all(|nth| {
            let from = begin.saturating_add(third.saturating_mul(nth));
            let (from, to) = (self.at(from), self.at(from.saturating_add(third)));
            let Settled { acked, dead_lettered } = to.since(&from).unwrap_or_default();
            dead_lettered >= LEAST && dead_lettered >= acked.div_ceil(4)
        })
    }

    /// Whether the share is less than half of what raises it.
    fn is_low(&self) -> bool {
        let Settled { acked, dead_lettered } = self.within(LEAVING);
        dead_lettered == 0 || dead_lettered.saturating_mul(8) < acked
    }

    /// What was settled in the last so many minutes, or since the first sample.
    fn within(&self, minutes: u64) -> Settled {
        let last = self.last();
        last.settled.since(&self.at(last.minute.saturating_sub(minutes))).unwrap_or_default()
    }

    /// The counters at the beginning of a minute, or the oldest known.
    fn at(&self, minute: u64) -> Settled {
        let behind = self.samples.partition_point(|sample| sample.minute <= minute);
        let sample = behind.checked_sub(1).and_then(|at| self.samples.get(at)).copied();
        sample.unwrap_or_else(|| self.first()).settled
    }

    fn first(&self) -> Sample {
        self.samples.front().copied().unwrap_or(NOTHING)
    }

    fn last(&self) -> Sample {
        self.samples.back().copied().unwrap_or(NOTHING)
    }
}

/// Stands in for the sample that an empty list, as a damaged row may have it, lacks.
const NOTHING: Sample = Sample { minute: 0, settled: Settled { acked: 0, dead_lettered: 0 } };
