//! Scenarios in which the store of a broker is in trouble.

use serde_json::json;

use super::scenarios::works_and_publishes;
use super::world::{World, mins, secs};
use crate::alert::{IncidentKind, Reason, State, recipients};
use crate::series::Severity;

fn kinds(world: &World) -> Vec<IncidentKind> {
    world.opened().iter().map(|incident| incident.kind).collect()
}

#[test]
fn a_full_store_is_one_incident_of_the_operators_at_once_also_when_most_calls_succeed() {
    let mut world = World::new();
    let mut good = 0;
    let full_at = world.now;
    for round in 1..=60 {
        good += 1000;
        world.calls.insert(("pull", "ok"), good);
        world.calls.insert(("publish", "fault"), round);
        world.store_faults.insert("full", round);
        world.run(secs(10), works_and_publishes);
    }
    assert_eq!(kinds(&world), [IncidentKind::StoreFull]);
    let opened = world.opened()[0].clone();
    assert!(opened.opened_at.since(full_at) <= secs(30));
    assert_eq!((opened.state, opened.reason), (State::ServiceFault, Some(Reason::StoreFull)));
    assert_eq!(opened.severity, Severity::Crit);
    assert!(opened.advice.contains("runbook AmsStoreFull"));
    let told = recipients(&world.series, &opened, &world.settings);
    assert_eq!(
        (told.addresses.as_slice(), told.unreachable),
        (&["ops@example.org".into()][..], false)
    );
    // Consumers are served, so they are judged on.
    world.run(mins(12), |sub, now| sub.publish(now));
    assert_eq!(kinds(&world), [IncidentKind::StoreFull, IncidentKind::Subscription]);
    assert!(world.closed().is_empty(), "some publishers come only every few minutes");
    world.run(mins(4), |_, _| {});
    assert_eq!(world.closed()[0].id, opened.id);
}

#[test]
fn a_full_store_that_fails_most_calls_is_not_told_twice() {
    let mut world = World::new();
    for round in 1..=30 {
        world.calls.insert(("publish", "fault"), round);
        world.store_faults.insert("full", round);
        world.run(secs(10), |_, _| {});
    }
    assert_eq!(kinds(&world), [IncidentKind::StoreFull]);
    assert_eq!(world.state(), State::ServiceFault);
}

#[test]
fn damage_met_once_is_an_incident_for_a_day_through_restarts_and_closes_once() {
    let mut world = World::new();
    world.run(mins(2), works_and_publishes);
    world.store_faults.insert("damaged", 1);
    world.run(secs(30), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::StoreDamaged]);
    assert_eq!(world.opened()[0].reason, Some(Reason::StoreDamaged));
    world.stop_metrics();
    world.run(mins(1), works_and_publishes);
    world.start_metrics();
    world.run(mins(1), works_and_publishes);
    world.restart_broker();
    world.run(mins(60), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::StoreDamaged]);
    assert!(world.closed().is_empty(), "neither restart mends it");
    world.run(mins(24 * 60), works_and_publishes);
    assert_eq!((kinds(&world).len(), world.closed().len()), (1, 1));
}

#[test]
fn damage_that_is_there_is_one_incident_for_as_long_as_it_is_and_a_day() {
    let mut world = World::new();
    world.run(mins(2), works_and_publishes);
    // The scrubber met it: it counts once, and is there from then on.
    world.store_faults.insert("damaged", 1);
    world.damaged = 300;
    world.run(mins(40 * 60), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::StoreDamaged]);
    let evidence = &world.opened()[0].evidence;
    assert_eq!(evidence["damagedMessages"], json!(300));
    assert_eq!((&evidence["damagedTopics"], &evidence["topics"]), (&json!(1), &json!("P/t")));
    assert!(world.closed().is_empty(), "nobody has mended it");
    // Given up: the broker was started again.
    world.damaged = 0;
    world.restart_broker();
    world.run(mins(23 * 60), works_and_publishes);
    assert!(world.closed().is_empty());
    world.run(mins(70), works_and_publishes);
    assert_eq!((kinds(&world).len(), world.closed().len()), (1, 1));
}

#[test]
fn damage_told_by_a_broker_that_is_silent_is_not_known_to_be_there() {
    let mut world = World::new();
    world.damaged = 1;
    world.run(mins(1), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::StoreDamaged], "without a failed call");
    world.broker_up = false;
    world.run(mins(25 * 60), |_, _| {});
    world.broker_up = true;
    world.damaged = 0;
    world.run(mins(1), works_and_publishes);
    let closed: Vec<_> = world.closed().iter().map(|incident| incident.kind).collect();
    assert!(closed.contains(&IncidentKind::StoreDamaged), "{closed:?}");
}

#[test]
fn messages_that_damage_cost_are_a_loss_of_their_subscription() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(2), |sub, now| sub.publish(now));
    world.sub().lose(3, "damage");
    world.run(secs(30), |_, _| {});
    let opened = world.opened();
    assert_eq!((opened[0].state, opened[0].reason), (State::Losing, Some(Reason::Damage)));
    assert_eq!((opened[0].severity, opened[0].lost), (Severity::Crit, 3));
    assert!(opened[0].advice.contains("by damage of the store"));
}

#[test]
fn a_store_that_stopped_is_told_and_over_when_the_next_broker_serves() {
    let mut world = World::new();
    world.run(mins(2), works_and_publishes);
    // The last report says it; the next broker is there before the next evaluation.
    world.run_until(2);
    world.store_faults.insert("stopped", 1);
    world.run(secs(8), |_, _| {});
    world.restart_broker();
    world.report();
    assert!(world.changes.is_empty());
    world.run(secs(20), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::StoreStopped]);
    assert!(world.closed().is_empty());
    world.run(mins(6), works_and_publishes);
    assert_eq!(kinds(&world), [IncidentKind::StoreStopped]);
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn faults_from_before_the_first_report_that_is_heard_are_no_news() {
    let mut world = World::new();
    world.stop_metrics();
    world.store_faults.insert("damaged", 7);
    world.run(mins(5), works_and_publishes);
    world.start_metrics();
    world.run(mins(5), works_and_publishes);
    assert!(world.changes.is_empty(), "{:?}", kinds(&world));
}

#[test]
fn clocks_in_doubt_are_an_incident_until_they_agree_and_explain_no_failing_call() {
    let mut world = World::new();
    world.run(mins(2), works_and_publishes);
    for sweep in 1..=4 {
        world.store_faults.insert("clock", sweep);
        world.run(mins(5), works_and_publishes);
    }
    assert_eq!(kinds(&world), [IncidentKind::ClockFault]);
    let opened = world.opened()[0].clone();
    assert_eq!(opened.reason, Some(Reason::ClockFault));
    assert!(opened.advice.contains("runbook AmsClockFault"));
    assert!(world.closed().is_empty(), "it goes on");
    world.run(mins(21), works_and_publishes);
    assert_eq!(world.closed()[0].id, opened.id);
}
