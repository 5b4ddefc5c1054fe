//! What a verdict rests on, as a reader wants to see it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::facts::{Counters, Facts, Threshold};
use super::letters::Recent;
use super::memory::{Loss, TopicGone};
use super::packed::{self, Fact};
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

macro_rules! keys {
    ($($key:ident = $text:literal,)+) => {
        /// What is told.
        #[derive(Debug, Clone, Copy)]
        enum Key {
            $($key,)+
        }

        /// The names of all [`Key`]s, each at its number.
        const KEYS: &[&str] = &[$($text),+];
    };
}

keys! {
    Backlog = "backlog",
    Available = "available",
    Outstanding = "outstanding",
    HeadAttempts = "headAttempts",
    OldestUnackedAt = "oldestUnackedAt",
    LastPullAt = "lastPullAt",
    LastDeliveryAt = "lastDeliveryAt",
    LastAckAt = "lastAckAt",
    LastProgressAt = "lastProgressAt",
    LastReportAt = "lastReportAt",
    StallClockSeconds = "stallClockSeconds",
    DeliveredSinceClock = "deliveredSinceClock",
    LateAcks = "lateAcks",
    RefusedAcks = "refusedAcks",
    ExpiredDeadlines = "expiredDeadlines",
    DeadlineExtensions = "deadlineExtensions",
    DeniedPulls = "deniedPulls",
    LeasesHeld = "leasesHeld",
    AckDeadlineSeconds = "ackDeadlineSeconds",
    ThresholdSeconds = "thresholdSeconds",
    ThresholdFrom = "thresholdFrom",
    MessagesLost = "messagesLost",
    LostReason = "lostReason",
    LostAt = "lostAt",
    LostNow = "lostNow",
    DeadLetterTopic = "deadLetterTopic",
    DeadLettered = "deadLettered",
    DeadLettersFailed = "deadLettersFailed",
    LastDeadLetterId = "lastDeadLetterId",
    LastDeadLetterAt = "lastDeadLetterAt",
    RecentMinutes = "recentMinutes",
    RecentDeadLetters = "recentDeadLetters",
    RecentAcks = "recentAcks",
    DeadLetterPercent = "deadLetterPercent",
    TopicDeletedBy = "topicDeletedBy",
    TopicDeletedAt = "topicDeletedAt",
    SeverityCap = "severityCap",
    SeverityCapFrom = "severityCapFrom",
    MutedUntil = "mutedUntil",
    MutedFrom = "mutedFrom",
}

/// The evidence of one verdict: each subscription has one, and it is read seldom, so it is kept
/// packed, some 60 bytes instead of some 3 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence(Box<[u8]>);

impl Evidence {
    /// Of a subscription whose broker is silent: only when its last report was looked for.
    pub(super) fn of_silence(last_report: Option<Time>) -> Self {
        let mut out = Vec::new();
        packed::put(&mut out, Key::LastReportAt as u8, Fact::Stamp(last_report));
        Self(out.into())
    }

    /// As it is shown: names and values.
    pub fn to_map(&self) -> BTreeMap<String, Value> {
        let name = |key: u8| KEYS.get(usize::from(key)).copied().unwrap_or_default().to_owned();
        packed::facts(&self.0).map(|(key, fact)| (name(key), value(fact))).collect()
    }
}

/// The evidence. Stamps are those of the broker, as its API shows them; counters named
/// `...SinceClock` count since the stall clock started.
pub(super) fn evidence(of: &Background<'_>) -> Evidence {
    use Fact::{Count, Flag, Stamp, Text};
    use Key::*;
    let facts = of.facts;
    let mut out = Vec::with_capacity(256);
    let mut say = |key: Key, fact: Fact<'_>| packed::put(&mut out, key as u8, fact);
    say(Backlog, Count(facts.backlog));
    say(Available, Count(facts.available));
    say(Outstanding, Count(facts.outstanding));
    say(HeadAttempts, Count(facts.head_attempts));
    say(OldestUnackedAt, Stamp(facts.head_enqueued_at));
    say(LastPullAt, Stamp(facts.last_pull));
    say(LastDeliveryAt, Stamp(facts.last_delivery));
    say(LastAckAt, Stamp(facts.last_ack));
    say(LastProgressAt, Stamp(facts.last_progress));
    say(LastReportAt, Stamp(Some(facts.last_report)));
    if let Some(clock) = facts.stall_clock() {
        let rose = &of.since_start;
        say(StallClockSeconds, Count(clock.as_secs()));
        say(DeliveredSinceClock, Count(rose.delivered));
        say(LateAcks, Count(rose.late_acks));
        say(RefusedAcks, Count(rose.refused_acks));
        say(ExpiredDeadlines, Count(rose.expired));
        say(DeadlineExtensions, Count(rose.extensions));
        say(DeniedPulls, Count(rose.denied_pulls));
    }
    say(LeasesHeld, Flag(of.held));
    say(AckDeadlineSeconds, Count(of.view.subscription.ack_deadline_seconds));
    say(ThresholdSeconds, Count(of.threshold.stall(of.held).as_secs()));
    let from = of.in_force.stall_after.as_ref().map(|(_, level)| *level);
    say(ThresholdFrom, Text(Some(level(from))));
    say(MessagesLost, Count(facts.losses.never_acked));
    if let Some(loss) = of.loss {
        say(LostReason, Text(Some(loss.reason.as_str())));
        say(LostAt, Stamp(Some(loss.at)));
        say(LostNow, Count(facts.losses.never_acked.saturating_sub(loss.before)));
    }
    let topic = of.view.subscription.dead_letter_topic.as_deref();
    if topic.is_some() || facts.settled.dead_lettered > 0 || facts.failed_letters > 0 {
        say(DeadLetterTopic, Text(topic));
        say(DeadLettered, Count(facts.settled.dead_lettered));
        say(DeadLettersFailed, Count(facts.failed_letters));
        let last = facts.last_dead_letter;
        let message = last.map(|letter| letter.message.to_string());
        say(LastDeadLetterId, Text(message.as_deref()));
        say(LastDeadLetterAt, Stamp(last.and_then(|letter| letter.at)));
    }
    if let Some(recent) = of.letters {
        say(RecentMinutes, Count(recent.minutes));
        say(RecentDeadLetters, Count(recent.settled.dead_lettered));
        say(RecentAcks, Count(recent.settled.acked));
        say(DeadLetterPercent, Count(recent.percent()));
    }
    if let Some(gone) = of.topic_gone {
        say(TopicDeletedBy, Text(Some(&gone.by)));
        say(TopicDeletedAt, Stamp(Some(gone.at)));
    }
    if let Some((cap, by)) = of.in_force.severity_cap {
        say(SeverityCap, Text(Some(cap.as_str())));
        say(SeverityCapFrom, Text(Some(level(Some(by)))));
    }
    if let Some((until, by)) = of.in_force.muted_until {
        say(MutedUntil, Stamp(Some(until)));
        say(MutedFrom, Text(Some(level(Some(by)))));
    }
    Evidence(out.into())
}

fn value(fact: Fact<'_>) -> Value {
    match fact {
        Fact::Count(count) => Value::from(count),
        Fact::Flag(flag) => Value::from(flag),
        Fact::Stamp(time) => stamp(time),
        Fact::Text(text) => text.map_or(Value::Null, Value::from),
    }
}

pub(super) fn stamp(time: Option<Time>) -> Value {
    time.map_or(Value::Null, |time| Value::from(time.to_seconds_text()))
}

fn level(level: Option<Level>) -> &'static str {
    level.map_or("default", |level| match level {
        Level::Subscription => "subscription",
        Level::Topic => "topic",
        Level::Project => "project",
        Level::Service => "service",
    })
}
