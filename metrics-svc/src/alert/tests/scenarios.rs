//! The acceptance scenarios of `observability.md` 1.5 that concern consumers and owners.

use std::time::Duration;

use serde_json::json;

use super::world::{START, SUB, Sub, TOPIC, World, mins, secs};
use crate::alert::{CloseReason, IncidentChange, IncidentKind, Reason, State};
use crate::clock::Time;
use crate::series::Severity;

/// Pulls every 5 s and acknowledges a second later.
pub(super) fn works(sub: &mut Sub, now: Time) {
    match now.secs() % 5 {
        0 => {
            sub.pull(now);
        }
        1 if sub.window.is_some() => sub.ack(now),
        _ => {}
    }
}

pub(super) fn works_and_publishes(sub: &mut Sub, now: Time) {
    if now.secs().is_multiple_of(7) {
        sub.publish(now);
    }
    works(sub, now);
}

pub(super) fn at_least(duration: Duration, from: u64, to: u64) {
    assert!(duration >= secs(from) && duration <= secs(to), "{duration:?} not in {from}..{to}");
}

#[test]
fn s1_two_idle_hours_and_then_one_message_acknowledged_at_once_alarm_nobody() {
    let mut world = World::new();
    world.run(mins(120), works);
    assert_eq!(world.state(), State::Idle);
    let now = world.now;
    world.sub().publish(now);
    world.run(mins(30), works);
    assert_eq!(world.state(), State::Idle);
    assert!(world.changes.is_empty());
}

#[test]
fn s2_a_message_for_a_dead_consumer_alarms_at_the_threshold_and_not_at_once() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.run(secs(20), works);
    world.run(mins(120), |_, _| {});
    assert_eq!(world.state(), State::Idle);
    let published = world.now;
    world.sub().publish(published);
    world.run(secs(9 * 60 + 50), |_, _| {});
    assert_eq!(world.state(), State::Healthy);
    assert!(world.changes.is_empty());
    world.run(mins(2), |_, _| {});
    let opened = world.opened();
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].state, opened[0].reason), (State::NoConsumer, Some(Reason::Gone)));
    assert_eq!(opened[0].severity, Severity::Crit);
    assert_eq!(opened[0].since, published);
    assert_eq!(opened[0].threshold, mins(10));
    at_least(opened[0].opened_at.since(published), 600, 635);
    assert_eq!(world.verdict().waiting_since, Some(published));
    assert_eq!(world.evidence()["backlog"], json!(1));
    assert_eq!(world.evidence()["thresholdFrom"], json!("default"));
    assert!(world.verdict().advice.contains("$AMS/v1/projects/P/subscriptions/s:pull"));
}

#[test]
fn a_consumer_that_comes_back_ends_the_incident_after_the_hold() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.run(mins(15), |sub, now| {
        if now.secs().is_multiple_of(7) {
            sub.publish(now);
        }
    });
    assert_eq!(world.opened().len(), 1);
    let back = world.now;
    world.run(secs(100), |sub, now| {
        sub.publish(now);
        works(sub, now);
    });
    assert!(world.closed().is_empty(), "something waits all the time: the hold is 2 min");
    world.run(secs(60), |sub, now| {
        sub.publish(now);
        works(sub, now);
    });
    let closed = world.closed();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].close_reason, Some(CloseReason::Recovered));
    at_least(closed[0].closed_at.unwrap().since(back), 120, 160);
    assert!(closed[0].peak_backlog > 100);
    assert_eq!(world.opened().len(), 1);
}

#[test]
fn an_emptied_subscription_ends_its_incident_at_once() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(1), |_, _| {});
    let now = world.now;
    world.sub().publish(now);
    world.run(mins(12), |_, _| {});
    assert_eq!(world.opened().len(), 1);
    let back = world.now;
    world.run(secs(45), works);
    assert_eq!(world.state(), State::Idle);
    at_least(world.closed()[0].closed_at.unwrap().since(back), 1, 40);
}

#[test]
fn a_consumer_that_took_messages_and_died_left_holding_them() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.run(secs(20), works);
    let now = world.now;
    for _ in 0..5 {
        world.sub().publish(now);
    }
    world.run(secs(20), |sub, now| {
        if sub.attempts == 0 {
            sub.pull(now);
        }
    });
    world.run(mins(12), |_, _| {});
    assert_eq!(world.opened()[0].reason, Some(Reason::LeftHolding));
    assert_eq!(world.evidence()["deliveredSinceClock"], json!(5));
    assert!(world.verdict().advice.contains("took 5 messages"));
}

#[test]
fn s4_a_consumer_that_polls_and_never_acknowledges_is_not_acking() {
    for every in [5, 20] {
        let mut world = World::new();
        world.run(mins(15), |sub, now| {
            if now.secs().is_multiple_of(60) {
                sub.publish(now);
            }
            if now.secs().is_multiple_of(every) {
                sub.pull(now);
            }
        });
        let opened = world.opened();
        assert_eq!(opened.len(), 1);
        assert_eq!(
            (opened[0].state, opened[0].reason),
            (State::NotAcking, Some(Reason::NeverAcks)),
            "polling every {every} s"
        );
        assert!(world.verdict().advice.contains(":acknowledge"));
    }
}

#[test]
fn s5_acknowledgements_after_the_deadline_are_named_and_a_longer_one_is_advised() {
    let mut world = World::new();
    let mut pulled = None;
    world.run(mins(15), |sub, now| {
        if now.secs().is_multiple_of(60) {
            sub.publish(now);
        }
        match pulled {
            None if !sub.queue.is_empty() => {
                sub.pull(now);
                pulled = Some(now);
            }
            Some(at) if now.since(at) == secs(14) => {
                sub.ack(now);
                pulled = None;
            }
            _ => {}
        }
    });
    let opened = world.opened();
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].reason, Some(Reason::AcksTooLate));
    assert!(opened[0].evidence["lateAcks"].as_u64().unwrap() > 20);
    assert!(opened[0].advice.contains("{\"ackDeadlineSeconds\":30}"), "{}", opened[0].advice);
    assert!(opened[0].advice.contains("subscriptions/s:modifyAckDeadline"));
}

#[test]
fn refused_acknowledgements_are_named() {
    let mut world = World::new();
    world.run(mins(15), |sub, now| {
        if now.secs().is_multiple_of(60) {
            sub.publish(now);
        }
        if now.secs().is_multiple_of(10) {
            sub.pull(now);
            sub.refused += 1;
        }
    });
    assert_eq!(world.opened()[0].reason, Some(Reason::AcksRejected));
}

#[test]
fn a_consumer_that_gets_nothing_although_something_waits_is_stalled_for_another_reason() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(secs(20), works);
    let now = world.now;
    world.sub().publish(now);
    world.run(mins(12), |sub, now| {
        if now.secs().is_multiple_of(5) {
            (sub.version, sub.empty, sub.last_pull) = (sub.version + 1, sub.empty + 1, Some(now));
        }
    });
    let opened = world.opened();
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].state, opened[0].reason), (State::StalledOther, None));
    assert_eq!(opened[0].severity, Severity::Crit);
    assert!(world.verdict().advice.contains("nothing is handed out"));
}

#[test]
fn s10_messages_lost_by_retention_alarm_at_once_and_for_an_hour() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(2), |sub, now| sub.publish(now));
    assert!(world.opened().is_empty());
    world.sub().lose(3, "retention");
    world.run(secs(30), |_, _| {});
    let opened = world.opened();
    assert_eq!(opened.len(), 1, "no second evaluation is waited for");
    assert_eq!((opened[0].state, opened[0].reason), (State::Losing, Some(Reason::Retention)));
    assert_eq!((opened[0].severity, opened[0].lost), (Severity::Crit, 3));
    // The consumer is dead, too: the same incident, and its cause once nothing is lost any more.
    world.sub().lose(4, "retention");
    world.run(mins(55), |_, _| {});
    assert_eq!(world.state(), State::Losing);
    world.run(mins(10), |_, _| {});
    assert_eq!(world.state(), State::NoConsumer);
    assert_eq!(world.opened().len(), 1);
    assert!(world.closed().is_empty());
    let last = world.judge.incidents().next().unwrap();
    assert_eq!((last.lost, last.state), (7, State::NoConsumer));
}

#[test]
fn losses_of_a_subscription_that_nobody_uses_are_a_warning() {
    let mut world = World::new();
    world.run(mins(2), |sub, now| sub.publish(now));
    world.sub().lose(3, "overflow");
    world.run(secs(30), |_, _| {});
    let opened = world.opened();
    assert_eq!((opened[0].reason, opened[0].severity), (Some(Reason::Overflow), Severity::Warn));
    assert_eq!(opened[0].lost, 3);
}

#[test]
fn messages_that_go_with_a_purge_or_their_topic_are_no_loss_of_the_service() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(2), |sub, now| sub.publish(now));
    world.sub().lose(3, "purge");
    world.run(mins(1), |_, _| {});
    assert!(world.changes.is_empty());
}

#[test]
fn a_subscription_that_nobody_ever_pulled_is_an_orphan_without_a_mail() {
    let mut world = World::new();
    let now = world.now;
    world.sub().publish(now);
    world.run(mins(9), |_, _| {});
    assert_eq!(world.state(), State::Healthy);
    world.run(mins(60), |_, _| {});
    assert_eq!((world.state(), world.verdict().severity), (State::Orphan, Severity::Info));
    assert_eq!(world.verdict().reason, Some(Reason::Unused));
    assert!(world.verdict().advice.contains("-X DELETE"));
    assert!(world.changes.is_empty());
}

#[test]
fn s12_deleting_a_firing_subscription_closes_its_incident_and_names_who_did_it() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(15), |sub, now| sub.publish(now));
    assert_eq!(world.opened().len(), 1);
    world.change(&[], &[("subscription", SUB, "anna")]);
    let closed = world.closed();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].close_reason, Some(CloseReason::Deleted { by: String::from("anna") }));
    assert!(world.judge.verdict(SUB).is_none());
    assert_eq!(world.series.subscriptions().count(), 0);
    // Late reports of it change nothing.
    world.run(mins(30), |sub, now| sub.publish(now));
    assert_eq!((world.opened().len(), world.closed().len()), (1, 1));
}

#[test]
fn s13_an_hour_without_metrics_svc_changes_neither_the_incident_nor_its_beginning() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(15), |sub, now| sub.publish(now));
    let before = world.opened()[0].clone();
    world.stop_metrics();
    world.run(mins(60), |_, _| {});
    world.start_metrics();
    world.run(mins(30), |_, _| {});
    assert_eq!(world.opened().len(), 1);
    assert!(world.closed().is_empty());
    let after: Vec<_> = world.judge.incidents().collect();
    assert_eq!(after.len(), 1);
    assert_eq!((after[0].id, after[0].since), (before.id, before.since));
    assert_eq!(world.verdict().since, before.since);
    assert_eq!(world.state(), State::NoConsumer);
    // It ended while metrics-svc was away: closed once, with the same id.
    world.stop_metrics();
    world.run(mins(10), works);
    world.start_metrics();
    world.run(mins(5), works);
    assert_eq!(world.closed().len(), 1);
    assert_eq!(world.closed()[0].id, before.id);
}

#[test]
fn a_stall_that_began_while_metrics_svc_was_away_waits_two_report_intervals() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.stop_metrics();
    world.run(mins(60), |sub, now| sub.publish(now));
    world.start_metrics();
    let started = world.now;
    world.run(mins(3), |_, _| {});
    assert_eq!(world.opened().len(), 1);
    at_least(world.opened()[0].opened_at.since(started), 20, 75);
}

#[test]
fn s20_a_consumer_with_a_revoked_token_is_told_apart_from_a_dead_one() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.run(mins(15), |sub, now| {
        if now.secs().is_multiple_of(30) {
            sub.publish(now);
        }
        if now.secs().is_multiple_of(5) {
            sub.deny();
        }
    });
    let opened = world.opened();
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].state, opened[0].reason), (State::NoConsumer, Some(Reason::PullDenied)));
    assert!(opened[0].advice.contains("subscriptions/s:acl"));
}

#[test]
fn s21_deleting_the_topic_of_an_active_subscription_is_one_warning_that_names_the_actor() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    let mut object = world.sub_object();
    object["topicId"] = json!(null);
    world.change(&[object], &[("topic", TOPIC, "bob")]);
    world.run(mins(120), |sub, now| {
        if now.secs().is_multiple_of(5) {
            sub.deny();
        }
    });
    let opened = world.opened();
    assert_eq!(opened.len(), 1);
    assert_eq!(
        (opened[0].state, opened[0].reason, opened[0].severity),
        (State::Orphan, Some(Reason::TopicDeleted), Severity::Warn)
    );
    assert_eq!(opened[0].evidence["topicDeletedBy"], json!("bob"));
    assert!(opened[0].advice.contains("deleted by bob"));
    assert!(world.closed().is_empty());
    world.change(&[], &[("subscription", SUB, "anna")]);
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn a_deleted_topic_ends_a_stall_and_says_why() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(15), |sub, now| sub.publish(now));
    let mut object = world.sub_object();
    object["topicId"] = json!(null);
    world.change(&[object], &[("topic", TOPIC, "bob")]);
    assert_eq!(
        world.closed()[0].close_reason,
        Some(CloseReason::TopicDeleted { by: String::from("bob") })
    );
    assert_eq!(world.opened().len(), 2);
}

#[test]
fn a_change_of_the_reason_updates_the_same_incident() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(15), |sub, now| sub.publish(now));
    assert_eq!(world.opened()[0].state, State::NoConsumer);
    world.run(mins(3), |sub, now| {
        if now.secs().is_multiple_of(5) {
            sub.pull(now);
        }
    });
    assert_eq!(world.state(), State::NotAcking);
    assert_eq!(world.opened().len(), 1);
    assert!(world.closed().is_empty());
    let id = world.opened()[0].id;
    let states: Vec<State> = world
        .changes
        .iter()
        .filter(|(_, change)| matches!(change, IncidentChange::Updated(_)))
        .filter(|(_, change)| change.incident().id == id)
        .map(|(_, change)| change.incident().state)
        .collect();
    assert!(states.contains(&State::NotAcking));
    let open = world.judge.incidents().next().unwrap();
    assert_eq!(
        open.history.iter().map(|(_, state)| *state).collect::<Vec<_>>(),
        [State::NoConsumer, State::NotAcking]
    );
    assert_eq!(open.kind, IncidentKind::Subscription);
}

#[test]
fn a_seek_backward_that_excuses_starts_the_clock_anew() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    let old = START;
    let now = world.now;
    world.sub().queue = (0..50).map(|_| old).collect();
    world.sub().seek = Some(now);
    world.sub().window = None;
    world.run(mins(9), |_, _| {});
    assert!(world.changes.is_empty());
    world.run(mins(3), |_, _| {});
    assert_eq!(world.opened().len(), 1);
    assert_eq!(world.opened()[0].since, now);
}

#[test]
fn the_first_pull_from_an_unused_subscription_has_time_to_acknowledge() {
    let mut world = World::new();
    let now = world.now;
    world.sub().publish(now);
    world.run(mins(20), |_, _| {});
    assert_eq!(world.state(), State::Orphan);
    // It pulls before the report at 13, is judged at 15, and acknowledges within its deadline.
    world.run_until(8);
    world.run(mins(1), |sub, now| match now.secs() % 30 {
        9 => {
            sub.pull(now);
        }
        17 if sub.window.is_some() => sub.ack(now),
        _ => {}
    });
    assert_eq!(world.state(), State::Idle);
    assert!(world.opened().is_empty(), "{:?}", world.opened());
}
