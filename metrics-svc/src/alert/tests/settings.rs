//! What owners and operators set, and what follows from it.

use serde_json::json;

use super::scenarios::{at_least, works, works_and_publishes};
use super::world::{PROJECT, START, Sub, TOPIC, World, mins, secs};
use crate::alert::{Reason, State};
use crate::clock::Time;
use crate::series::Severity;

#[test]
fn leases_that_are_kept_alive_have_an_hour_unless_the_owner_says_less() {
    let holds = |sub: &mut Sub, now: Time| {
        if sub.queue.is_empty() {
            sub.publish(now);
            sub.pull(now);
        }
        if now.secs().is_multiple_of(5) {
            sub.extend(now);
        }
    };
    let mut world = World::new();
    world.run(mins(58), holds);
    assert!(world.opened().is_empty());
    assert_eq!(world.verdict().threshold, mins(60));
    world.run(mins(4), holds);
    assert_eq!(world.opened()[0].reason, Some(Reason::HoldsLeases));

    let mut world = World::new();
    let mut object = world.sub_object();
    object["alert"] = json!({"stallAfter": "15m"});
    world.change(&[object], &[]);
    world.run(mins(17), holds);
    assert_eq!(world.opened()[0].threshold, mins(15));
    assert_eq!(world.evidence()["thresholdFrom"], json!("subscription"));
}

#[test]
fn settings_hold_field_by_field_from_subscription_topic_project_and_service() {
    let mut world = World::new();
    world.settings.service.stall_after = Some(mins(30));
    world.settings.service.severity_cap = Some(Severity::Warn);
    world.run(secs(30), |_, _| {});
    assert_eq!(world.verdict().threshold, mins(30));
    let created = START.to_seconds_text();
    world.change(
        &[json!({"kind":"topic","id":TOPIC,"name":"t","created":created,"acl":[],
            "alert":{"stallAfter":"20m"}})],
        &[],
    );
    world.run(secs(30), |_, _| {});
    assert_eq!(world.verdict().threshold, mins(20));
    assert_eq!(world.evidence()["thresholdFrom"], json!("topic"));
    let muted_until = world.now.plus(mins(40));
    let mut object = world.sub_object();
    object["alert"] = json!({"stallAfter":"5m","mutedUntil":muted_until.to_seconds_text()});
    world.change(&[object], &[]);
    world.run(secs(20), works_and_publishes);
    world.run(mins(8), |sub, now| sub.publish(now));
    // Threshold and mute from the subscription, the cap from the service.
    let incident = world.opened()[0];
    assert_eq!(incident.threshold, mins(5));
    assert_eq!((incident.severity, incident.muted), (Severity::Warn, true));
    assert_eq!(incident.muted_until, Some(muted_until));
    assert_eq!(world.evidence()["severityCapFrom"], json!("service"));
    world.run(mins(40), |sub, now| sub.publish(now));
    let open = world.judge.incidents().next().unwrap();
    assert!(!open.muted, "the end of the mute is an update");
    assert!(!world.verdict().muted);
    assert_eq!(open.project_id, Some(PROJECT));
}

#[test]
fn a_cap_of_info_keeps_the_verdict_and_opens_nothing() {
    let mut world = World::new();
    let mut object = world.sub_object();
    object["alert"] = json!({"severityCap":"info"});
    world.change(&[object], &[]);
    world.run(mins(1), works_and_publishes);
    world.run(mins(15), |sub, now| sub.publish(now));
    assert_eq!((world.state(), world.verdict().severity), (State::NoConsumer, Severity::Info));
    assert!(world.changes.is_empty());
}

#[test]
fn the_threshold_grows_with_the_deadline_and_with_the_operators_floor() {
    let mut world = World::new();
    let mut object = world.sub_object();
    object["ackDeadlineSeconds"] = json!(300);
    world.change(&[object.clone()], &[]);
    world.run(secs(30), |_, _| {});
    assert_eq!(world.verdict().threshold, mins(15));
    object["ackDeadlineSeconds"] = json!(10);
    world.change(&[object], &[]);
    world.settings.min_stall = secs(20);
    world.run(secs(30), |_, _| {});
    assert_eq!(world.verdict().threshold, secs(30));
    // No hold is longer than the floor: a stall and its end take a minute and a half together.
    world.run(secs(20), works_and_publishes);
    let dead = world.now;
    world.run(secs(75), |sub, now| sub.publish(now));
    at_least(world.opened()[0].opened_at.since(dead), 30, 65);
    let back = world.now;
    world.run(secs(60), |sub, now| {
        sub.publish(now);
        works(sub, now);
    });
    at_least(world.closed()[0].closed_at.unwrap().since(back), 1, 50);
}
