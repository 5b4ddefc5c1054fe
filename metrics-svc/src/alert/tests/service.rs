//! Scenarios in which the service fails, not a consumer.

use super::world::{Sub, World, mins, secs};
use crate::alert::{IncidentKind, State};
use crate::clock::Time;
use crate::series::Severity;

fn works_and_publishes(sub: &mut Sub, now: Time) {
    if now.secs().is_multiple_of(7) {
        sub.publish(now);
    }
    match now.secs() % 5 {
        0 => {
            sub.pull(now);
        }
        1 if sub.window.is_some() => sub.ack(now),
        _ => {}
    }
}

fn kinds(world: &World) -> Vec<IncidentKind> {
    world.opened().iter().map(|incident| incident.kind).collect()
}

#[test]
fn s14_a_killed_broker_is_one_incident_of_the_operators_and_none_of_an_owner() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    let now = world.now;
    world.sub().publish(now);
    world.broker_up = false;
    world.run(mins(120), |_, _| {});
    assert_eq!(kinds(&world), [IncidentKind::TelemetryBlind]);
    let blind = world.opened()[0];
    assert_eq!(blind.broker.as_deref(), Some("b1"));
    assert_eq!(blind.severity, Severity::Crit, "no broker is left");
    assert!(blind.opened_at.since(now) < mins(2));
    assert_eq!(world.state(), State::Unknown);
    assert!(world.closed().is_empty());
}

#[test]
fn s18_consumers_have_the_whole_threshold_to_come_back_after_all_brokers_were_down() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.run(secs(30), |sub, now| sub.publish(now));
    world.broker_up = false;
    world.run(mins(20), |_, _| {});
    world.restart_broker();
    world.run(mins(8), |_, _| {});
    world.run(mins(60), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::TelemetryBlind]);
    assert_eq!(world.closed().len(), 1);
    assert_eq!(world.closed()[0].kind, IncidentKind::TelemetryBlind);
    assert!(matches!(world.state(), State::Idle | State::Healthy));
}

#[test]
fn a_consumer_that_stays_away_after_the_broker_is_back_is_told_of() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.run(secs(30), |sub, now| sub.publish(now));
    world.broker_up = false;
    world.run(mins(20), |_, _| {});
    world.restart_broker();
    let back = world.now;
    world.run(mins(15), |_, _| {});
    assert_eq!(kinds(&world), [IncidentKind::TelemetryBlind, IncidentKind::Subscription]);
    let waited = world.opened()[1].opened_at.since(back);
    assert!(waited >= mins(10) && waited <= mins(11), "{waited:?}");
}

#[test]
fn a_restarted_broker_does_not_end_a_stall() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(15), |sub, now| sub.publish(now));
    assert_eq!(world.opened().len(), 1);
    world.restart_broker();
    world.run(mins(20), |_, _| {});
    assert_eq!(world.opened().len(), 1);
    assert!(world.closed().is_empty());
}

#[test]
fn s19_half_an_hour_of_a_stopped_store_is_one_mail_to_the_operators() {
    let mut world = World::new();
    let mut failed = 0;
    for minute in 0..5 {
        world.calls.insert(("pull", "ok"), minute * 12);
        world.run(mins(1), works_and_publishes);
    }
    let now = world.now;
    world.sub().publish(now);
    for _ in 0..180 {
        failed += 3;
        world.calls.insert(("pull", "fault"), failed);
        world.run(secs(10), |_, _| {});
    }
    assert_eq!(kinds(&world), [IncidentKind::ServiceFault]);
    assert!(world.opened()[0].opened_at.since(now) <= secs(100));
    assert_eq!(world.opened()[0].evidence["faults"], world.opened()[0].evidence["calls"]);
    assert_eq!((world.state(), world.verdict().severity), (State::ServiceFault, Severity::Info));
    // The store is back, the consumers come back within the grace: nobody else is told.
    world.calls.insert(("publish", "ok"), 1000);
    world.run(mins(2), |_, _| {});
    assert_eq!(world.state(), State::NoConsumer);
    world.run(mins(10), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::ServiceFault]);
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn a_few_faults_or_a_short_spell_of_them_are_no_service_fault() {
    let mut world = World::new();
    let (mut good, mut failed) = (0, 0);
    for round in 0..60 {
        good += 100;
        failed += if round % 10 < 3 { 50 } else { 4 };
        world.calls.insert(("publish", "ok"), good);
        world.calls.insert(("publish", "fault"), failed);
        world.run(secs(10), works_and_publishes);
    }
    assert!(world.changes.is_empty());
}

#[test]
fn a_broker_that_never_comes_back_after_both_were_restarted_is_missed() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.stop_metrics();
    world.broker_up = false;
    world.run(mins(5), |_, _| {});
    world.start_metrics();
    world.run(mins(60), |_, _| {});
    assert_eq!(kinds(&world), [IncidentKind::TelemetryBlind]);
    world.restart_broker();
    world.run(mins(2), works_and_publishes);
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn clocks_that_differ_by_an_hour_make_no_difference() {
    let mut world = World::new();
    world.ahead = mins(60);
    world.restart_broker();
    world.run(mins(5), works_and_publishes);
    let dead = world.now;
    world.run(mins(9), |sub, now| sub.publish(now));
    assert!(world.opened().is_empty());
    world.run(mins(3), |sub, now| sub.publish(now));
    assert_eq!(world.opened().len(), 1);
    let off = dead.0.abs_diff(world.opened()[0].since.0);
    assert!(off < 15_000_000_000, "since is told on our clock, {off} ns off");
}

#[test]
fn a_broker_clock_that_is_set_forward_alarms_nobody() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    world.run(mins(2), |sub, now| sub.publish(now));
    world.ahead = mins(60);
    world.run(mins(7), |_, _| {});
    assert!(world.changes.is_empty(), "the clock starts no earlier than the step");
    world.run(mins(6), |_, _| {});
    assert_eq!(kinds(&world), [IncidentKind::Subscription]);
}

#[test]
fn a_consumer_that_stays_away_after_a_fault_is_told_of_when_the_grace_is_over() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    let now = world.now;
    world.sub().publish(now);
    for failed in 1..180 {
        world.calls.insert(("pull", "fault"), failed);
        world.run(secs(10), |_, _| {});
    }
    world.calls.insert(("publish", "ok"), 100_000);
    let over = world.now;
    world.run(mins(8), |_, _| {});
    assert_eq!(kinds(&world), [IncidentKind::ServiceFault, IncidentKind::Subscription]);
    let waited = world.opened()[1].opened_at.since(over);
    assert!(waited >= mins(5) && waited <= mins(6), "{waited:?}");
}

#[test]
fn nothing_opens_in_the_first_two_report_intervals_not_even_what_opens_at_once() {
    let mut world = World::new();
    world.run(mins(2), |sub, now| sub.publish(now));
    world.stop_metrics();
    world.sub().lose(3, "retention");
    world.run_until(12);
    world.start_metrics();
    let started = world.now;
    world.run(secs(10), |_, _| {});
    assert_eq!(world.state(), State::Losing, "it is known and shown");
    assert!(world.opened().is_empty());
    world.run(secs(60), |_, _| {});
    assert_eq!(kinds(&world), [IncidentKind::Subscription]);
    assert!(world.opened()[0].opened_at.since(started) >= secs(20));
    assert_eq!(world.opened()[0].lost, 3);
}

#[test]
fn a_broker_that_is_back_before_the_second_look_was_not_gone() {
    let mut world = World::new();
    world.run_until(3);
    world.broker_up = false;
    world.run(secs(43), |_, _| {});
    assert_eq!(world.state(), State::Unknown);
    world.restart_broker();
    world.run(mins(3), works_and_publishes);
    assert!(world.changes.is_empty());
}

#[test]
fn one_failed_call_and_then_none_is_no_service_fault() {
    let mut world = World::new();
    world.calls.insert(("publish", "ok"), 1);
    world.run(mins(1), works_and_publishes);
    world.calls.insert(("publish", "fault"), 1);
    world.run(mins(10), |_, _| {});
    assert!(world.changes.is_empty(), "{:?}", kinds(&world));
}

/// Only ours: the broker's shows what it would have shown.
fn set_our_clock_back(world: &mut World) {
    world.now = world.now.minus(mins(60));
    world.ahead += mins(60);
}

#[test]
fn our_clock_set_back_delays_no_owners_incident_by_more_than_the_threshold() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    set_our_clock_back(&mut world);
    world.run(mins(13), |sub, now| sub.publish(now));
    assert_eq!(kinds(&world), [IncidentKind::Subscription]);
}

#[test]
fn our_clock_set_back_does_not_hide_a_broker_that_dies() {
    let mut world = World::new();
    world.run(mins(5), works_and_publishes);
    set_our_clock_back(&mut world);
    world.broker_up = false;
    world.run(mins(3), |_, _| {});
    assert_eq!(kinds(&world), [IncidentKind::TelemetryBlind]);
    world.restart_broker();
    world.run(mins(5), works_and_publishes);
    world.run(mins(13), |sub, now| sub.publish(now));
    assert_eq!(kinds(&world), [IncidentKind::TelemetryBlind, IncidentKind::Subscription]);
}
