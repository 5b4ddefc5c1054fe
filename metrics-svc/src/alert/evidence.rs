//! What a verdict rests on, as a reader wants to see it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::facts::{Counters, Facts, Threshold};
use super::letters::Recent;
use super::memory::{Loss, TopicGone};
use crate::clock::Time;
use crate::series::{InForce, Level, SubscriptionView};

/// What is shown beside the figures of the record.
pub(super) struct Background<'a> {
    pub(super) view: &'a SubscriptionView<'a>,
    pub(super) facts: &'a Facts,
    pub(super) since_start: Counters,
    pub(super) threshold: &'a Threshold,
    pub(super) in_force: &'a InForce,
    pub(super) held: bool,
    pub(super) loss: Option<Loss>,
    /// What became of messages lately, if some became dead letters.
    pub(super) letters: Option<Recent>,
    pub(super) topic_gone: Option<&'a TopicGone>,
}

/// The evidence. Stamps are those of the broker, as its API shows them; counters named
/// `...SinceClock` count since the stall clock started.
pub(super) fn evidence(of: &Background<'_>) -> BTreeMap<String, Value> {
    let facts = of.facts;
    let mut map = BTreeMap::new();
    let mut say = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    say("backlog", json!(facts.backlog));
    say("available", json!(facts.available));
    say("outstanding", json!(facts.outstanding));
    say("headAttempts", json!(facts.head_attempts));
    say("oldestUnackedAt", stamp(facts.head_enqueued_at));
    say("lastPullAt", stamp(facts.last_pull));
    say("lastDeliveryAt", stamp(facts.last_delivery));
    say("lastAckAt", stamp(facts.last_ack));
    say("lastProgressAt", stamp(facts.last_progress));
    say("lastReportAt", stamp(Some(facts.last_report)));
    if let Some(clock) = facts.stall_clock() {
        let rose = &of.since_start;
        say("stallClockSeconds", seconds(clock));
        say("deliveredSinceClock", json!(rose.delivered));
        say("lateAcks", json!(rose.late_acks));
        say("refusedAcks", json!(rose.refused_acks));
        say("expiredDeadlines", json!(rose.expired));
        say("deadlineExtensions", json!(rose.extensions));
        say("deniedPulls", json!(rose.denied_pulls));
    }
    say("leasesHeld", json!(of.held));
    say("ackDeadlineSeconds", json!(of.view.subscription.ack_deadline_seconds));
    say("thresholdSeconds", seconds(of.threshold.stall(of.held)));
    say("thresholdFrom", level(of.in_force.stall_after.as_ref().map(|(_, level)| *level)));
    say("messagesLost", json!(facts.losses.never_acked));
    if let Some(loss) = of.loss {
        say("lostReason", json!(loss.reason.as_str()));
        say("lostAt", stamp(Some(loss.at)));
        say("lostNow", json!(facts.losses.never_acked.saturating_sub(loss.before)));
    }
    let topic = of.view.subscription.dead_letter_topic.as_ref();
    if topic.is_some() || facts.settled.dead_lettered > 0 || facts.failed_letters > 0 {
        say("deadLetterTopic", json!(topic));
        say("deadLettered", json!(facts.settled.dead_lettered));
        say("deadLettersFailed", json!(facts.failed_letters));
        let last = facts.last_dead_letter;
        say("lastDeadLetterId", json!(last.map(|letter| letter.message.to_string())));
        say("lastDeadLetterAt", stamp(last.and_then(|letter| letter.at)));
    }
    if let Some(recent) = of.letters {
        say("recentMinutes", json!(recent.minutes));
        say("recentDeadLetters", json!(recent.settled.dead_lettered));
        say("recentAcks", json!(recent.settled.acked));
        say("deadLetterPercent", json!(recent.percent()));
    }
    if let Some(gone) = of.topic_gone {
        say("topicDeletedBy", json!(gone.by));
        say("topicDeletedAt", stamp(Some(gone.at)));
    }
    if let Some((cap, by)) = of.in_force.severity_cap {
        say("severityCap", json!(cap.as_str()));
        say("severityCapFrom", level(Some(by)));
    }
    if let Some((until, by)) = of.in_force.muted_until {
        say("mutedUntil", stamp(Some(until)));
        say("mutedFrom", level(Some(by)));
    }
    map
}

pub(super) fn stamp(time: Option<Time>) -> Value {
    time.map_or(Value::Null, |time| Value::from(time.to_seconds_text()))
}

pub(super) fn seconds(duration: Duration) -> Value {
    json!(duration.as_secs())
}

fn level(level: Option<Level>) -> Value {
    Value::from(level.map_or("default", |level| match level {
        Level::Subscription => "subscription",
        Level::Topic => "topic",
        Level::Project => "project",
        Level::Service => "service",
    }))
}
