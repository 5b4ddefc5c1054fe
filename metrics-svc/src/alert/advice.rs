//! What to do, for each state and reason: one or two sentences and the exact next command.
//!
//! `$AMS` is the API's address, `$TOKEN` the caller's token.

use super::evidence::Background;
use super::state::{Reason, State};

/// The largest deadline that the API takes, seconds.
const MAX_DEADLINE: u64 = 600;

/// The advice; empty when there is nothing to do.
pub(super) fn advice(state: State, reason: Option<Reason>, of: &Background<'_>) -> String {
    let path = format!(
        "/v1/projects/{}/subscriptions/{}",
        of.view.project.name, of.view.subscription.name
    );
    let deadline = of.view.subscription.ack_deadline_seconds;
    let rose = &of.since_start;
    match (state, reason) {
        (State::Idle | State::Healthy | State::TelemetryBlind, _) => String::new(),
        (State::Unknown, _) => String::from(
            "The broker that owns this subscription sends no reports, so nothing is known of it. \
             The operators are told; there is nothing for you to do.",
        ),
        (State::ServiceFault, _) => String::from(
            "Calls fail by a fault of the service, so a silent consumer proves nothing. The \
             operators are told; there is nothing for you to do.",
        ),
        (State::Losing, reason) => losing(reason, of, &path),
        (State::DeadLettering, _) => dead_lettering(of, &path),
        (State::Orphan, Some(Reason::TopicDeleted)) => topic_deleted(of, &path),
        (State::Orphan, _) => format!(
            "Nobody ever pulled from this subscription. If nobody needs it, delete it:\n{}",
            delete(&path)
        ),
        (State::NoConsumer, Some(Reason::PullDenied)) => format!(
            "A consumer calls and is refused ({} times since the clock started): its token was \
             revoked or it is not on the subscription's ACL. See who is, then add its user or \
             give it a valid token:\n{}",
            rose.denied_pulls,
            get(&format!("{path}:acl"))
        ),
        (State::NoConsumer, Some(Reason::LeftHolding)) => format!(
            "The consumer took {} messages and was not heard of again: it probably crashed on \
             one of them. Look at its log, and at the message it stopped at:\n{}",
            rose.delivered,
            pull(&path)
        ),
        (State::NoConsumer, _) => format!(
            "Nobody pulls. Start the consumer again; to see with your own eyes what waits, pull \
             one message (without an acknowledgement it comes again):\n{}",
            pull(&path)
        ),
        (State::NotAcking, Some(Reason::AcksTooLate)) => acks_too_late(deadline, of, &path),
        (State::NotAcking, Some(Reason::AcksRejected)) => format!(
            "Acknowledgements are refused ({} since the clock started): the consumer acknowledges \
             an id it did not get from its last pull. Acknowledge the ackId of the last message \
             pulled:\n{}",
            rose.refused_acks,
            post(&format!("{path}:acknowledge"), "{\"ackIds\":[\"ACK_ID\"]}")
        ),
        (State::NotAcking, Some(Reason::HoldsLeases)) => format!(
            "The consumer holds messages and keeps their deadlines alive: it works slowly, or \
             hangs. If such work is usual, say how long it may take:\n{}",
            stall_after(&path)
        ),
        (State::NotAcking, Some(Reason::WindowFull)) => format!(
            "All that waits is handed out and none of it is acknowledged, so nothing is left to \
             deliver. Make the consumer acknowledge what it has done:\n{}",
            post(&format!("{path}:acknowledge"), "{\"ackIds\":[\"ACK_ID\"]}")
        ),
        (State::NotAcking, _) => format!(
            "The consumer pulls and never acknowledges, so it gets the same messages again and \
             again ({} handed out since the clock started). Make it acknowledge the ackId of the \
             last message it has processed:\n{}",
            rose.delivered,
            post(&format!("{path}:acknowledge"), "{\"ackIds\":[\"ACK_ID\"]}")
        ),
        (State::StalledOther, _) => format!(
            "The consumer pulls, nothing is handed out and nothing moves. Pull by hand; if \
             messages come, the consumer is to blame, else tell the operators:\n{}",
            pull(&path)
        ),
    }
}

fn losing(reason: Option<Reason>, of: &Background<'_>, path: &str) -> String {
    let now = of.loss.map_or(0, |loss| of.facts.losses.never_acked.saturating_sub(loss.before));
    match reason {
        Some(Reason::Damage) => format!(
            "{now} messages that were never acknowledged are lost by damage of the store. The \
             operators find what is left in the broker's log; what waits still can be pulled:\n{}",
            pull(path)
        ),
        Some(Reason::Overflow) => format!(
            "{now} messages that were never acknowledged were removed because the topic is full. \
             More go with every publish until the consumer catches up:\n{}",
            pull(path)
        ),
        _ => format!(
            "{now} messages that were never acknowledged outlived the topic's retention and were \
             removed. More follow until the consumer catches up:\n{}",
            pull(path)
        ),
    }
}

fn dead_lettering(of: &Background<'_>, path: &str) -> String {
    let share = of.letters.map_or_else(
        || String::from("Messages "),
        |recent| {
            let dead = recent.settled.dead_lettered;
            let all = recent.settled.acked.saturating_add(dead);
            format!("Of {all} messages settled in the last {} minutes {dead} ", recent.minutes)
        },
    );
    let subscription = &of.view.subscription;
    let to = subscription.dead_letter_topic.as_ref();
    let to = to.map_or_else(|| String::from("the dead-letter topic"), |to| format!("topic {to}"));
    let (words, command) = match of.facts.last_dead_letter {
        Some(letter) => {
            let (project, topic) = (&of.view.project.name, &subscription.topic);
            let read = format!(
                "/v1/projects/{project}/topics/{topic}:read?offset={}&maxMessages=1",
                letter.message
            );
            let words = format!(
                "Look at the last one, message {} of topic {topic} (a project admin may), and at \
                 the consumer's log of {}",
                letter.message,
                letter.at.map_or_else(|| String::from("then"), |at| at.to_seconds_text()),
            );
            (words, get(&read))
        }
        None => (String::from("Look at what comes next, and at the consumer's log"), pull(path)),
    };
    format!(
        "{share}were handed out as often as the dead-letter policy allows, not acknowledged, and \
         moved to {to}: the consumer does not get on with them. They are kept there as long as \
         that topic keeps messages. {words}:\n{command}"
    )
}

fn topic_deleted(of: &Background<'_>, path: &str) -> String {
    let by = of.topic_gone.map(|gone| gone.by.as_str()).filter(|by| !by.is_empty());
    let by = by.map_or_else(String::new, |by| format!(" by {by}"));
    let topic = &of.view.subscription.topic;
    let project = &of.view.project.name;
    format!(
        "Topic {topic} was deleted{by}, so this subscription gets nothing any more. If that is \
         right, delete the subscription, else create the topic again:\n{}\ncurl -X PUT -H \
         \"x-api-key: $TOKEN\" \"$AMS/v1/projects/{project}/topics/{topic}\"",
        delete(path)
    )
}

fn acks_too_late(deadline: u64, of: &Background<'_>, path: &str) -> String {
    let late = of.since_start.late_acks;
    if deadline >= MAX_DEADLINE {
        return format!(
            "{late} acknowledgements came after the deadline of {deadline} s, which is the \
             longest possible. Pull fewer messages at a time and acknowledge each batch at \
             once:\n{}",
            pull(path)
        );
    }
    let advised = deadline.saturating_mul(3).clamp(30, MAX_DEADLINE);
    format!(
        "{late} acknowledgements came after the deadline of {deadline} s and did not count. Raise \
         it to {advised} s, or pull fewer messages at a time:\n{}",
        post(
            &format!("{path}:modifyAckDeadline"),
            &format!("{{\"ackDeadlineSeconds\":{advised}}}")
        )
    )
}

fn stall_after(path: &str) -> String {
    post(&format!("{path}:modifyAlert"), "{\"alert\":{\"stallAfter\":\"2h\"}}")
}

fn pull(path: &str) -> String {
    post(&format!("{path}:pull"), "{\"maxMessages\":\"1\"}")
}

fn post(path: &str, body: &str) -> String {
    format!("curl -X POST -H \"x-api-key: $TOKEN\" -d '{body}' \"$AMS{path}\"")
}

fn get(path: &str) -> String {
    format!("curl -H \"x-api-key: $TOKEN\" \"$AMS{path}\"")
}

fn delete(path: &str) -> String {
    format!("curl -X DELETE -H \"x-api-key: $TOKEN\" \"$AMS{path}\"")
}
