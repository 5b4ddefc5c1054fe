//! The client that goes on: `tail`, `pull --follow`, `publish` while its input lasts.

use std::io::Write as _;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{FREE_PORTS, PATIENCE};
use crate::house::{House, Said};

#[test]
fn a_topic_is_read_without_a_trace_from_where_it_was_said() {
    let house = House::furnished();
    house.good_with("publish t --lines", "a\nb\nc\nd\n");
    assert_eq!(house.good("tail t --from 1 --no-follow"), "b\nc\nd\n");
    assert_eq!(house.good("tail t --last 2 --no-follow"), "c\nd\n");
    assert_eq!(house.good("tail t --last 99 --max 3"), "a\nb\nc\n");
    assert_eq!(house.good("tail t --from 4 --no-follow"), "");
    let line: Value =
        serde_json::from_str(&house.good("tail t --last 1 --max 1 --output json")).unwrap();
    assert_eq!((&line["text"], &line["messageId"]), (&"d".into(), &"3".into()));
    assert_eq!(line.get("ackId"), None);

    let error = house.bad("tail t --from 5", "", 1);
    assert!(error.contains("ends before 5") && error.contains("--last"), "{error}");
    assert!(house.bad("tail none", "", 1).contains("ams topic list"));
    house.bad("tail t --no-follow", "", 2);
    house.bad("tail t --from 1 --last 1", "", 2);

    let subscriptions = house.good("sub list");
    assert_eq!(subscriptions.lines().count(), 2, "{subscriptions}");
    assert!(house.good("sub offsets s").contains("current  0"));
}

#[test]
fn a_tail_goes_on_over_a_restart_of_the_broker_and_says_so() {
    let mut house = House::furnished();
    house.good("publish t -t old");
    let tail = house.begin("tail t --last 1 --project P");
    assert_eq!(tail.until("old"), ["old"]);
    house.good("publish t -t before");
    assert_eq!(tail.until("before"), ["before"]);
    house.restart();
    house.good("publish t -t after");
    let said = tail.until("after");
    assert!(said.iter().any(|line| line.contains("going on")), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("after"), "{said:?}");
    assert_eq!(said.iter().filter(|line| *line == "before").count(), 0, "{said:?}");
    assert_eq!(tail.interrupt(), Some(0));
}

#[test]
fn what_a_topic_does_not_keep_any_longer_is_counted_and_passed_over() {
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let house = House::with(&arguments, &[("AMS_BROKER__RETENTION__EVERY", "1s")]);
    house.good("project create P");
    house.good("topic create t --retention 1s");
    house.good_with("publish t --lines", "a\nb\nc\n");
    let begun = Instant::now();
    let note = loop {
        let Said(code, _, note) = house.run("tail t --from 1 --no-follow --project P", "");
        assert_eq!(code, Some(0), "{note}");
        if !note.is_empty() {
            break note;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is trimmed");
    };
    assert!(note.contains("2 of the 2 messages from offset 1 on are gone"), "{note}");
    assert!(note.contains("from 3 on"), "{note}");
    house.good("topic retention t --clear");
    house.good("publish t -t new");
    assert_eq!(house.good("tail t --from 1 --max 1"), "new\n");
}

#[test]
fn a_pull_goes_on_over_a_restart_of_the_broker() {
    let mut house = House::furnished();
    let pull = house.begin("pull s --ack --follow --project P");
    house.good("publish t -t before");
    assert_eq!(pull.until("before"), ["before"]);
    house.restart();
    house.good("publish t -t after");
    assert!(pull.until("after").iter().any(|line| line.contains("going on")));
    assert_eq!(pull.interrupt(), Some(0));
}

#[test]
fn what_comes_slowly_is_published_as_it_comes() {
    let house = House::furnished();
    let mut publish = house.begin("publish t --lines --ids --project P");
    let mut input = publish.child.stdin.take().unwrap();
    for id in ["0", "1"] {
        writeln!(input, "x").unwrap();
        assert_eq!(publish.until(id), [id], "while the input is open");
    }
    drop(input);
    assert_eq!(publish.child.wait().unwrap().code(), Some(0));
}

#[test]
fn on_a_terminal_a_count_goes_up_while_messages_are_published() {
    let house = House::furnished();
    let mut publish = house.begin_on_terminal("publish t - --lines --ids --project P");
    let mut input = publish.child.stdin.take().unwrap();
    let mut said = Vec::new();
    for id in ["0", "1", "2"] {
        writeln!(input, "x").unwrap();
        said.extend(publish.until(id));
    }
    // What ends a line in a terminal ends the input.
    input.write_all(b"\x04").unwrap();
    drop(input);
    assert_eq!(publish.child.wait().unwrap().code(), Some(0));
    said.extend(publish.rest());
    assert!(said.iter().any(|line| line.contains(" published, ")), "{said:?}");
}

#[test]
fn messages_that_are_acknowledged_one_by_one_are_given_back_and_counted() {
    let house = House::furnished();
    house.good("sub create one --topic t --ack-mode individual --ack-deadline 60");
    assert!(house.good("sub show one").contains("individual"));
    assert!(!house.good("sub show s").contains("ackMode"));
    house.good_with("publish t --lines", "a\nb\n");
    let pull = || -> Vec<Value> {
        let lines = house.good("pull one --output json");
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let first = pull();
    assert_eq!(first.len(), 2);
    assert_eq!(first[1]["deliveryAttempt"], 1);
    house.good(&format!("sub nack one {}", first[1]["ackId"].as_str().unwrap()));
    let again = pull();
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!((&again[0]["text"], &again[0]["deliveryAttempt"]), (&"b".into(), &2.into()));
    house.good(&format!("sub nack one {}", again[0]["ackId"].as_str().unwrap()));
    let Said(_, text, note) = house.run("pull one --ack", "");
    assert_eq!((text.as_str(), note.contains("message 1: delivery attempt 3")), ("b\n", true));

    let error = house.bad("sub nack s projects/P/subscriptions/s:0", "", 1);
    assert!(error.contains("cumulative"), "{error}");
    let error = house.bad("sub nack one projects/P/subscriptions/s:0-1-1", "", 2);
    assert!(error.contains("begins with"), "{error}");
}
