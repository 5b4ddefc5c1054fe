//! Consumers that refuse what they are given (row 10a).

use serde_json::json;

use super::scenarios::{at_least, works_and_publishes};
use super::world::{SUB, Sub, TOPIC, World, mins, secs};
use crate::alert::{CloseReason, Incident, IncidentChange, Reason, SavedSubscription, State};
use crate::clock::Time;
use crate::series::Severity;

/// A world whose subscription has a dead-letter policy.
fn world() -> World {
    let mut world = World::new();
    let mut object = world.sub_object();
    object["ackMode"] = json!("individual");
    object["deadLetterTopic"] = json!("d");
    world.change(&[object], &[]);
    world
}

/// Of `of` messages, one a second, acknowledges all but `dead`, which become dead letters.
fn refuses(dead: u64, of: u64) -> impl Fn(&mut Sub, Time) {
    move |sub, now| {
        sub.publish(now);
        if now.secs() % of < dead {
            sub.bury(1, now);
        } else {
            sub.pull(now);
            sub.ack(now);
        }
    }
}

#[test]
fn a_consumer_that_refuses_a_quarter_is_told_when_every_third_has_shown_it() {
    let mut world = world();
    let began = world.now;
    // The first minute is counted whole.
    world.run(mins(14), refuses(1, 5));
    assert!(world.changes.is_empty());
    world.run(mins(3), refuses(1, 5));
    let opened = world.opened();
    assert_eq!(opened.len(), 1);
    let incident = opened[0];
    assert_eq!((incident.state, incident.reason), (State::DeadLettering, None));
    assert_eq!(incident.severity, Severity::Warn);
    at_least(incident.opened_at.since(began), 14 * 60, 16 * 60);
    at_least(incident.since.since(began), 0, 90);
    let last = world.subs[&SUB].dead - 1;
    let evidence = &world.evidence();
    assert_eq!(evidence["deadLetterTopic"], json!("d"));
    assert_eq!(evidence["deadLetterPercent"], json!(20), "of all that was settled");
    assert_eq!(
        (&evidence["recentMinutes"], &evidence["recentDeadLetters"]),
        (&json!(15), &json!(180))
    );
    assert_eq!(evidence["recentAcks"], json!(720));
    assert_eq!(evidence["deadLettersFailed"], json!(0));
    let told: u64 = evidence["lastDeadLetterId"].as_str().unwrap().parse().unwrap();
    assert!(last - told <= 3, "{told} of {last}");
    let advice = &world.verdict().advice;
    assert!(advice.starts_with("Of 900 messages settled in the last 15 minutes 180 "), "{advice}");
    assert!(advice.contains("moved to topic d: "), "{advice}");
    let read = format!("topics/t:read?offset={told}&maxMessages=1");
    assert!(advice.lines().last().unwrap().contains(&read), "{advice}");
}

#[test]
fn a_smaller_share_and_a_single_burst_are_no_trouble() {
    let mut small = world();
    small.run(mins(120), refuses(1, 6));
    assert_eq!(small.state(), State::Idle);
    assert!(small.changes.is_empty());
    let mut burst = world();
    burst.run(mins(9), refuses(1, 1));
    burst.run(mins(60), refuses(0, 1));
    assert_eq!(burst.state(), State::Idle);
    assert!(burst.changes.is_empty(), "two thirds of it are not every third");
}

#[test]
fn few_messages_that_all_become_dead_letters_are_told_by_the_longer_window() {
    let mut world = world();
    let began = world.now;
    // Four in a quarter of an hour: of five minutes some have one only.
    let all = |sub: &mut Sub, now: Time| {
        if now.secs().is_multiple_of(225) {
            sub.publish(now);
            sub.bury(1, now);
        }
    };
    world.run(mins(48), all);
    let opened = world.opened();
    assert_eq!(opened.len(), 1);
    at_least(opened[0].opened_at.since(began), 44 * 60, 49 * 60);
    assert_eq!(world.evidence()["recentMinutes"], json!(45));
    assert_eq!(world.evidence()["deadLetterPercent"], json!(100));
    // Two in that time are none.
    let mut world = self::world();
    world.run(mins(180), |sub, now| {
        if now.secs().is_multiple_of(450) {
            sub.publish(now);
            sub.bury(1, now);
        }
    });
    assert!(world.changes.is_empty());
}

#[test]
fn it_is_over_when_the_share_was_low_for_ten_minutes() {
    let mut world = world();
    world.run(mins(20), refuses(1, 2));
    assert_eq!(world.state(), State::DeadLettering);
    let mended = world.now;
    // Less than an eighth of the acknowledgements of a quarter of an hour: after some 11.7 minutes.
    world.run(mins(20), refuses(0, 1));
    assert_eq!((world.state(), world.closed().len()), (State::DeadLettering, 0));
    // Again for a moment: the ten minutes begin anew only if that is a share.
    world.run(secs(30), refuses(1, 3));
    world.run(mins(6), refuses(0, 1));
    let closed = world.closed();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].close_reason, Some(CloseReason::Recovered));
    at_least(closed[0].closed_at.unwrap().since(mended), 21 * 60, 26 * 60);
    assert_eq!(world.opened().len(), 1);
    world.run(mins(60), refuses(0, 1));
    assert!(!world.evidence().contains_key("recentMinutes"), "nothing is remembered");
    assert_eq!(world.opened().len(), 1);
}

#[test]
fn a_restart_on_either_side_neither_forgets_nor_repeats_it() {
    let mut world = world();
    let began = world.now;
    world.run(mins(8), refuses(1, 3));
    world.start_metrics();
    world.run(mins(2), refuses(1, 3));
    world.restart_broker();
    world.run(mins(8), refuses(1, 3));
    assert_eq!(world.opened().len(), 1);
    at_least(world.opened()[0].opened_at.since(began), 14 * 60, 16 * 60);
    let since = world.opened()[0].since;
    world.start_metrics();
    world.run(mins(5), refuses(1, 3));
    assert_eq!((world.state(), world.verdict().since), (State::DeadLettering, since));
    assert_eq!((world.opened().len(), world.closed().len()), (1, 0));
    // With too much of the window missing nothing is judged.
    let mut world = self::world();
    world.run(mins(8), refuses(1, 3));
    world.stop_metrics();
    world.run(mins(4), refuses(1, 3));
    world.start_metrics();
    world.run(mins(8), refuses(1, 3));
    assert!(world.changes.is_empty());
    world.run(mins(8), refuses(1, 3));
    assert_eq!(world.opened().len(), 1);
}

#[test]
fn our_clock_set_back_costs_a_window_and_nothing_else() {
    let mut world = world();
    world.run(mins(20), refuses(1, 3));
    assert_eq!(world.opened().len(), 1);
    world.now = world.now.minus(mins(600));
    world.run(mins(10), refuses(1, 3));
    assert_eq!((world.opened().len(), world.closed().len()), (1, 0));
    assert!(world.verdict().since <= world.now);
    world.run(mins(40), refuses(0, 1));
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn a_stall_of_the_same_subscription_is_the_same_incident_and_told_once() {
    let mut world = world();
    world.run(mins(20), refuses(1, 2));
    let opened = world.opened()[0].clone();
    world.judge.mark_mailed(opened.id);
    let mailed = |world: &World| world.judge.incidents().next().unwrap().clone();
    assert!(!mailed(&world).change_is_untold());
    let died = world.now;
    world.run(mins(13), |sub, now| sub.publish(now));
    let incident = mailed(&world);
    assert_eq!((incident.id, incident.state), (opened.id, State::NoConsumer));
    assert_eq!(incident.severity, Severity::Crit);
    assert!(incident.change_is_untold());
    at_least(world.verdict().since.since(died), 0, 5);
    world.judge.mark_mailed(opened.id);
    assert!(!mailed(&world).change_is_untold());
    // And back: told is told.
    world.run(mins(20), |sub, now| {
        let waiting = sub.queue.len();
        sub.bury(waiting, now);
        refuses(1, 2)(sub, now);
    });
    let incident = mailed(&world);
    assert_eq!((incident.id, incident.state), (opened.id, State::DeadLettering));
    assert_eq!(incident.severity, Severity::Warn);
    assert!(!incident.change_is_untold());
    assert_eq!((world.opened().len(), world.closed().len()), (1, 0));
}

#[test]
fn a_warning_gets_no_worse_while_the_service_itself_is_at_fault() {
    let mut world = world();
    world.run(mins(20), refuses(1, 2));
    world.run(mins(9), |sub, now| sub.publish(now));
    // All calls fail for two minutes, then the consumer has five to come back.
    for _ in 0..12 {
        *world.calls.entry(("pull", "fault")).or_default() += 10;
        world.run(secs(10), |_, _| {});
    }
    *world.calls.entry(("pull", "ok")).or_default() += 100_000;
    let of_sub = |world: &World| {
        let mut open = world.judge.incidents();
        open.find(|incident| incident.subscription == Some(SUB)).unwrap().clone()
    };
    world.run(mins(3), |_, _| {});
    assert_eq!((world.state(), of_sub(&world).state), (State::NoConsumer, State::DeadLettering));
    world.run(mins(4), |_, _| {});
    assert_eq!(of_sub(&world).state, State::NoConsumer);
}

#[test]
fn dead_letters_end_with_the_topic_and_begin_anew_with_a_restored_store() {
    let mut world = world();
    world.run(mins(20), refuses(1, 2));
    let mut object = world.sub_object();
    object["topicId"] = json!(null);
    world.change(&[object], &[("topic", TOPIC, "bob")]);
    let by = String::from("bob");
    assert_eq!(world.closed()[0].close_reason, Some(CloseReason::TopicDeleted { by }));
    assert_eq!(world.verdict().reason, Some(Reason::TopicDeleted));

    let mut world = self::world();
    world.run(mins(10), refuses(1, 2));
    // Counters of before the copy was made.
    world.sub().dead = 3;
    world.sub().acked = 3;
    world.run(mins(10), refuses(1, 2));
    assert!(world.changes.is_empty());
    world.run(mins(8), refuses(1, 2));
    assert_eq!(world.opened().len(), 1);
}

#[test]
fn letters_that_could_not_be_written_are_evidence_and_no_progress() {
    let mut world = world();
    world.run(mins(20), |sub, now| {
        if sub.queue.is_empty() {
            sub.publish(now);
        }
        if now.secs().is_multiple_of(10) {
            sub.pull(now);
            sub.dead_failed += 1;
        }
    });
    assert_eq!(world.state(), State::NotAcking);
    assert!(world.evidence()["deadLettersFailed"].as_u64().unwrap() > 100);
}

#[test]
fn rows_of_before_dead_letters_were_judged_are_read() {
    let mut world = World::new();
    world.run(mins(1), works_and_publishes);
    world.run(mins(15), |sub, now| sub.publish(now));
    let evaluated = world.judge.incidents().next().unwrap();
    let mut row = serde_json::to_value(evaluated).unwrap();
    for key in ["mailed_state", "mailed_change"] {
        assert!(row.as_object_mut().unwrap().remove(key).is_some());
    }
    row["mailed_open"] = json!(true);
    let old: Incident = serde_json::from_value(row).unwrap();
    assert!(!old.change_is_untold(), "what its mail told is not known");
    let change = world.changes.iter().find_map(|(_, change)| match change {
        IncidentChange::Opened(incident) => Some(incident.id),
        _ => None,
    });
    assert_eq!(change, Some(old.id));

    let mut row = serde_json::to_value(world.saved(SUB)).unwrap();
    for key in ["settled", "letters"] {
        assert!(row.as_object_mut().unwrap().remove(key).is_some());
    }
    let old: SavedSubscription = serde_json::from_value(row).unwrap();
    assert_eq!((old.id, old.letters), (SUB, None));
}
