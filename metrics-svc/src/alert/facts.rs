//! The figures of one subscription that a judgement rests on, on its broker's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry::names;

use super::state::JudgeSettings;
use crate::clock::Time;
use crate::series::{Broker, Held, InForce, Subscription};

/// Counters that say what happened since the stall clock started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) delivered: u64,
    pub(super) late_acks: u64,
    pub(super) refused_acks: u64,
    pub(super) expired: u64,
    pub(super) extensions: u64,
    /// Since the broker started.
    pub(super) denied_pulls: u64,
}

impl Counters {
    /// How much each rose since `earlier`; one that fell began anew at 0.
    pub(super) const fn since(&self, earlier: &Self) -> Self {
        const fn rise(now: u64, then: u64) -> u64 {
            if now >= then { now - then } else { now }
        }
        Self {
            delivered: rise(self.delivered, earlier.delivered),
            late_acks: rise(self.late_acks, earlier.late_acks),
            refused_acks: rise(self.refused_acks, earlier.refused_acks),
            expired: rise(self.expired, earlier.expired),
            extensions: rise(self.extensions, earlier.extensions),
            denied_pulls: rise(self.denied_pulls, earlier.denied_pulls),
        }
    }
}

/// How many messages were settled, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Settled {
    pub(super) acked: u64,
    pub(super) dead_lettered: u64,
}

impl Settled {
    /// How much each rose since `earlier`; `None` where one fell, so that it began anew.
    pub(super) fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            acked: self.acked.checked_sub(earlier.acked)?,
            dead_lettered: self.dead_lettered.checked_sub(earlier.dead_lettered)?,
        })
    }
}

/// The last message moved to the dead-letter topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeadLetter {
    /// Its id in the subscription's topic.
    pub(super) message: u64,
    pub(super) at: Option<Time>,
}

/// Messages lost that nobody had acknowledged, and by which of the reasons that make an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Losses {
    pub(super) never_acked: u64,
    pub(super) retention: u64,
    pub(super) overflow: u64,
    pub(super) damage: u64,
}

impl Losses {
    pub(super) const fn of_reasons(&self) -> u64 {
        self.retention.saturating_add(self.overflow).saturating_add(self.damage)
    }
}

/// What a report says of a subscription; times are those of its broker's clock.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) now: Time,
    /// When the reporter looked for the record held.
    pub(super) looked_at: Time,
    pub(super) last_report: Time,
    pub(super) report_interval: Duration,
    pub(super) reporter_started_at: Time,
    pub(super) clock_step_at: Option<Time>,
    pub(super) backlog: u64,
    pub(super) available: u64,
    pub(super) outstanding: u64,
    pub(super) head_attempts: u64,
    pub(super) head_enqueued_at: Option<Time>,
    pub(super) last_pull: Option<Time>,
    pub(super) last_delivery: Option<Time>,
    pub(super) last_ack: Option<Time>,
    pub(super) last_progress: Option<Time>,
    pub(super) excusing_seek: Option<Time>,
    pub(super) counters: Counters,
    pub(super) losses: Losses,
    pub(super) settled: Settled,
    /// Dead letters that could not be written, since the broker started.
    pub(super) failed_letters: u64,
    pub(super) last_dead_letter: Option<DeadLetter>,
    pub(super) ack_deadline: Duration,
}

impl Facts {
    pub(super) fn read(
        held: &Held,
        broker: &Broker,
        subscription: &Subscription,
        now: Time,
    ) -> Self {
        let record = &held.record;
        Self {
            now: broker.clock(now),
            looked_at: held.looked_at,
            last_report: broker.sent_at,
            report_interval: broker.interval,
            reporter_started_at: broker.started_at,
            clock_step_at: broker.clock_step_at,
            backlog: record.count(&names::SUB_BACKLOG),
            available: record.count(&names::SUB_AVAILABLE),
            outstanding: record.count(&names::SUB_OUTSTANDING),
            head_attempts: record.count(&names::SUB_HEAD_ATTEMPTS),
            head_enqueued_at: record.time(&names::SUB_HEAD_ENQUEUED_AT),
            last_pull: record.time(&names::SUB_LAST_PULL),
            last_delivery: record.time(&names::SUB_LAST_DELIVERY),
            last_ack: record.time(&names::SUB_LAST_ACK),
            last_progress: record.time(&names::SUB_LAST_PROGRESS),
            excusing_seek: record.time(&names::SUB_EXCUSING_SEEK),
            counters: Counters {
                delivered: record.count(&names::SUB_DELIVERED),
                late_acks: record.count(&names::SUB_LATE_ACKS),
                refused_acks: record.count(&names::SUB_REFUSED_ACKS),
                expired: record.count(&names::SUB_EXPIRED),
                extensions: record.count(&names::SUB_EXTENSIONS),
                denied_pulls: record.labelled(&names::SUB_PULLS, "denied"),
            },
            losses: Losses {
                never_acked: record.count(&names::SUB_LOST_NEVER_ACKED),
                retention: record.labelled(&names::SUB_LOST, "retention"),
                overflow: record.labelled(&names::SUB_LOST, "overflow"),
                damage: record.labelled(&names::SUB_LOST, "damage"),
            },
            settled: Settled {
                acked: record.count(&names::SUB_ACKED),
                dead_lettered: record.labelled(&names::SUB_DEAD_LETTERED, "moved"),
            },
            failed_letters: record.labelled(&names::SUB_DEAD_LETTERED, "failed"),
            last_dead_letter: record.count(&names::SUB_DEAD_LETTER_END).checked_sub(1).map(
                |message| DeadLetter { message, at: record.time(&names::SUB_LAST_DEAD_LETTER) },
            ),
            ack_deadline: Duration::from_secs(subscription.ack_deadline_seconds),
        }
    }

    /// Start of the stall clock; `None` while nothing waits. The broker's own absence excuses
    /// consumers, so its start counts.
    pub(super) fn clock_start(&self) -> Option<Time> {
        (self.backlog > 0).then(|| self.last_sign().max(self.reporter_started_at))
    }

    /// The stall clock; `None` while nothing waits.
    pub(super) fn stall_clock(&self) -> Option<Duration> {
        self.clock_start().map(|start| self.now.since(start))
    }

    /// The stall clock that decides about the end of a stall: a broker that started again
    /// excuses a consumer, but is no progress.
    pub(super) fn leaving_clock(&self) -> Option<Duration> {
        (self.backlog > 0).then(|| self.now.since(self.last_sign()))
    }

    fn last_sign(&self) -> Time {
        // A stamp ahead of a clock that was set back is from before; the step itself counts.
        let sound = |time: &Time| self.clock_step_at.is_none() || *time <= self.now;
        let head = self.head_enqueued_at.unwrap_or(self.reporter_started_at);
        [Some(head), self.last_progress, self.excusing_seek, self.clock_step_at]
            .into_iter()
            .flatten()
            .filter(sound)
            .max()
            .unwrap_or_default()
    }

    /// Whether something was handed out since `start`.
    pub(super) fn delivered_since(&self, start: Time) -> bool {
        self.last_delivery.is_some_and(|at| at > start)
    }
}

/// The threshold in force, before and after leases that are kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threshold {
    pub(super) base: Duration,
    pub(super) overridden: bool,
    /// What a subscription with held leases gets at least.
    held: Duration,
    /// What counts as a recent pull at least.
    seen: Duration,
}

impl Threshold {
    pub(super) fn of(ack_deadline: Duration, in_force: &InForce, settings: &JudgeSettings) -> Self {
        let set = in_force.stall_after.as_ref().map(|(after, _)| *after);
        Self {
            base: set.unwrap_or_else(|| settings.min_stall.max(ack_deadline.saturating_mul(3))),
            overridden: set.is_some(),
            held: settings.hold(Duration::from_secs(3600)),
            seen: settings.hold(Duration::from_secs(120)),
        }
    }

    pub(super) fn stall(&self, held: bool) -> Duration {
        if held && !self.overridden { self.base.max(self.held) } else { self.base }
    }

    /// A pull within this time shows that the consumer lives.
    pub(super) fn seen_within(&self) -> Duration {
        (self.base / 2).max(self.seen)
    }

    /// How long a stall must look well before it is over.
    pub(super) fn leave_after(&self, settings: &JudgeSettings) -> Duration {
        let usual = (self.base / 5).clamp(Duration::from_secs(120), Duration::from_secs(600));
        settings.hold(usual)
    }
}
