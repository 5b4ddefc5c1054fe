//! What holds whatever happens.

use proptest::prelude::*;

use super::world::{Sub, World, secs};
use crate::alert::{IncidentKind, State};
use crate::clock::Time;
use crate::series::Severity;

/// What a consumer, its owner or the broker does in one step.
#[derive(Debug, Clone, Copy)]
enum Act {
    Publish,
    Pull,
    Ack,
    Deny,
    Refuse,
    Late,
    Extend,
    SeekBack,
    Lose,
    Bury(u8),
    RestartBroker,
    RestartMetrics,
    Fail,
    BrokerAway(u8),
    Wait(u16),
}

fn act(idle: bool) -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(if idle { Act::Pull } else { Act::Publish }),
        4 => Just(Act::Pull),
        3 => Just(Act::Ack),
        1 => Just(Act::Deny),
        1 => Just(Act::Refuse),
        1 => Just(Act::Late),
        2 => Just(Act::Extend),
        1 => Just(Act::SeekBack),
        1 => Just(Act::Lose),
        2 => (1..9_u8).prop_map(Act::Bury),
        1 => Just(Act::RestartBroker),
        1 => Just(Act::RestartMetrics),
        1 => Just(Act::Fail),
        1 => (1..8_u8).prop_map(Act::BrokerAway),
        6 => (1..900_u16).prop_map(Act::Wait),
    ]
}

fn perform(world: &mut World, act: Act) {
    let now = world.now;
    let sub = world.sub();
    match act {
        Act::Publish => sub.publish(now),
        Act::Pull => {
            sub.pull(now);
        }
        Act::Ack => sub.ack(now),
        Act::Deny => sub.deny(),
        Act::Refuse => sub.refused += 1,
        Act::Late => sub.late += 1,
        Act::Extend => sub.extend(now),
        Act::SeekBack => sub.seek = Some(now),
        Act::Lose => {
            let oldest = sub.queue.len().min(2);
            sub.lose(oldest, "retention");
        }
        Act::Bury(n) => sub.bury(sub.queue.len().min(usize::from(n)), now),
        Act::RestartBroker => world.restart_broker(),
        Act::RestartMetrics => world.start_metrics(),
        Act::Fail => {
            *world.calls.entry(("pull", "fault")).or_default() += 10;
        }
        Act::BrokerAway(minutes) => {
            world.broker_up = false;
            world.run(secs(u64::from(minutes) * 60), |_, _| {});
            world.broker_up = true;
        }
        Act::Wait(seconds) => world.run(secs(u64::from(seconds)), |_, _| {}),
    }
}

/// Pulls and acknowledges by a pattern that never succeeds.
fn tries_in_vain(pattern: u8) -> impl Fn(&mut Sub, Time) {
    move |sub, now| {
        let every = u64::from(pattern) * 37 % 300 + 3;
        if now.secs() % every != 0 {
            return;
        }
        match pattern % 5 {
            0 => {}
            1 => {
                sub.pull(now);
            }
            2 => {
                sub.pull(now);
                sub.refused += 1;
            }
            3 => sub.deny(),
            _ => {
                sub.pull(now);
                sub.late += 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waiting_messages_and_an_expired_clock_end_in_a_critical_state_or_an_orphan(
        before in prop::collection::vec(act(false), 0..14),
        pattern in any::<u8>(),
        failing in prop::bool::weighted(0.2),
    ) {
        let mut world = World::new();
        for act in before {
            perform(&mut world, act);
        }
        let now = world.now;
        world.sub().publish(now);
        if failing {
            for _ in 0..15 {
                *world.calls.entry(("pull", "fault")).or_default() += 10;
                world.run(secs(10), |_, _| {});
            }
            prop_assert_eq!(world.state(), State::ServiceFault);
            prop_assert_eq!(world.opened().last().unwrap().kind, IncidentKind::ServiceFault);
            *world.calls.entry(("pull", "ok")).or_default() += 100_000;
        }
        // 10 min without leases that are kept alive, and two evaluations.
        world.run(secs(11 * 60), tries_in_vain(pattern));
        let verdict = world.verdict();
        let told = verdict.state == State::Orphan
            || (verdict.state.is_stall() && verdict.severity == Severity::Crit)
            // Of one nobody uses a loss is a warning.
            || (verdict.state == State::Losing && verdict.severity >= Severity::Warn);
        prop_assert!(told, "{:?}", verdict);
        let incident = world
            .judge
            .incidents()
            .any(|incident| incident.kind == IncidentKind::Subscription);
        prop_assert_eq!(incident, verdict.state != State::Orphan);
    }

    #[test]
    fn a_subscription_with_nothing_waiting_never_alarms(
        acts in prop::collection::vec(act(true), 1..40),
    ) {
        let mut world = World::new();
        for act in acts {
            perform(&mut world, act);
            let quiet = matches!(
                world.judge.verdict(super::world::SUB).map(|verdict| verdict.state),
                None | Some(State::Idle | State::Unknown | State::ServiceFault)
            );
            prop_assert!(quiet);
        }
        let owners = world.opened().iter().any(|i| i.kind == IncidentKind::Subscription);
        prop_assert!(!owners);
    }

    #[test]
    fn there_is_never_more_than_one_open_incident_of_a_subject_and_each_closes_once(
        acts in prop::collection::vec(act(false), 1..40),
    ) {
        let mut world = World::new();
        for act in acts {
            perform(&mut world, act);
        }
        let mut open = std::collections::BTreeSet::new();
        for (_, change) in &world.changes {
            let incident = change.incident();
            let subject = (incident.kind, incident.subscription);
            match change {
                crate::alert::IncidentChange::Opened(_) => prop_assert!(open.insert(subject)),
                crate::alert::IncidentChange::Updated(_) => prop_assert!(open.contains(&subject)),
                crate::alert::IncidentChange::Closed(_) => prop_assert!(open.remove(&subject)),
            }
        }
        prop_assert_eq!(world.judge.incidents().count(), open.len());
    }
}
