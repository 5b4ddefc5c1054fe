//! Which state the figures show at one moment, before hysteresis: the table of
//! `observability.md` 1.5, first match wins.

use super::facts::{Facts, Threshold};
use super::memory::SavedSubscription;
use super::state::{Reason, State};
use crate::clock::Time;

/// What the figures of one moment say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    /// Never pulled or refused since it was created.
    pub(super) unused: bool,
    /// Somebody keeps the deadlines alive.
    pub(super) held: bool,
    /// Whether the stall clock has reached the threshold.
    pub(super) expired: bool,
    /// The stall that would then be shown.
    pub(super) stall: (State, Option<Reason>),
}

pub(super) fn classify(
    facts: &Facts,
    memory: &SavedSubscription,
    threshold: &Threshold,
) -> Finding {
    let unused = facts.last_pull.is_none()
        && facts.last_delivery.is_none()
        && facts.counters.delivered == 0
        && !memory.ever_denied;
    let held = is_held(facts, memory);
    let expired = facts.stall_clock().is_some_and(|clock| clock >= threshold.stall(held));
    Finding { unused, held, expired, stall: stall(facts, memory, threshold, held) }
}

fn is_held(facts: &Facts, memory: &SavedSubscription) -> bool {
    // An extension is seen with the next report, so up to two intervals late.
    let within = facts.ack_deadline.saturating_add(facts.report_interval.saturating_mul(2));
    facts.outstanding > 0
        && memory.extended_at.is_some_and(|at| facts.now.since(at) <= within)
        && memory.since_start(facts).expired <= facts.outstanding
}

fn stall(
    facts: &Facts,
    memory: &SavedSubscription,
    threshold: &Threshold,
    held: bool,
) -> (State, Option<Reason>) {
    let rose = memory.since_start(facts);
    let start = facts.clock_start().unwrap_or_default();
    let delivered = facts.delivered_since(start) || rose.delivered > 0;
    let pulled_recently = |at: Time| facts.now.since(at) <= threshold.seen_within();
    let seen = held || facts.last_pull.is_some_and(pulled_recently);
    if !seen {
        let reason = if rose.denied_pulls > 0 {
            Reason::PullDenied
        } else if delivered {
            Reason::LeftHolding
        } else {
            Reason::Gone
        };
        return (State::NoConsumer, Some(reason));
    }
    if !delivered && facts.outstanding == 0 {
        return (State::StalledOther, None);
    }
    let reason = if held {
        Reason::HoldsLeases
    } else if rose.late_acks > 0 && rose.late_acks >= rose.refused_acks {
        Reason::AcksTooLate
    } else if rose.refused_acks > 0 {
        Reason::AcksRejected
    } else if facts.outstanding > 0 && facts.available == 0 {
        Reason::WindowFull
    } else if facts.outstanding > 0 && facts.ack_deadline >= threshold.base {
        // A deadline longer than the threshold: what is held need not have run out yet.
        Reason::HoldsLeases
    } else {
        Reason::NeverAcks
    };
    (State::NotAcking, Some(reason))
}
