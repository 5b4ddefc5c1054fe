//! `ams apply`: a project becomes what a file says.

use serde_json::Value;

use crate::house::{House, Said};

const FILE: &str = "
project = 'P'

[schemas.event]
type = 'json'
file = 'event.json'

[topics.alarms]
schema = 'event'
retention = '2d'
retentionBytes = 1000000
acl = ['alice']
alert = { stallAfter = '15m', contacts = ['a@example.org'] }

[topics.plain]

[topics.undelivered]

[subscriptions.oncall]
topic = 'alarms'
ackDeadlineSeconds = 30
ackMode = 'individual'
deadLetterPolicy = { deadLetterTopic = 'undelivered', maxDeliveryAttempts = 7 }
acl = ['alice']

[subscriptions.all]
topic = 'plain'
";

fn house() -> House {
    let house = House::open();
    house.good("project create P");
    house.good("user create alice --role publisher --role consumer --token-to alice.token");
    std::fs::write(house.path("event.json"), r#"{"type": "object", "minProperties": 1}"#).unwrap();
    std::fs::write(house.path("p.toml"), FILE).unwrap();
    house
}

#[test]
fn a_project_becomes_what_the_file_says_and_stays_so() {
    let house = house();
    let shown = house.good("apply p.toml --dry-run");
    assert!(shown.contains("+ topic alarms: schema event, retention 2d"), "{shown}");
    assert_eq!(house.good("topic list").lines().count(), 1, "nothing was made");
    // Nobody can be asked.
    assert!(house.bad("apply p.toml", "y\n", 2).contains("--yes"));
    assert!(house.good("apply p.toml --yes").ends_with("8 changed\n"));
    assert_eq!(house.good("apply p.toml --yes"), "nothing to do\n");
    assert_eq!(house.good("apply p.toml"), "nothing to do\n");
    let topic = house.good("topic show alarms");
    for word in ["schemas/event", "2d", "1000000", "15m", "a@example.org"] {
        assert!(topic.contains(word), "{topic}");
    }
    assert_eq!(house.good("acl show topic alarms"), "alice\n");
    assert_eq!(house.good("acl show sub oncall"), "alice\n");
    let oncall = house.good("sub show oncall");
    for word in ["individual", "topics/undelivered", "maxDeliveryAttempts", "7"] {
        assert!(oncall.contains(word), "{oncall}");
    }

    // What others changed is changed back, and nothing else.
    house.good("topic retention alarms --retention 1d --retention-bytes 1000000");
    house.good("acl set sub oncall");
    house.good("sub deadline all 77");
    let said = house.good("apply p.toml --yes");
    let expected = "~ topic alarms: retention 1d -> 2d\n\
                    ~ subscription oncall: acl +alice\n\
                    2 changed\n";
    assert_eq!(said, expected);
    assert_eq!(house.good("apply p.toml --yes"), "nothing to do\n");

    // A schema as well, given as JSON on standard input.
    let json = r#"{"schemas": {"event": {"type": "json", "schema": {"type": "object"}}},
                   "topics": {"plain": {"schema": "event"}}}"#;
    house.good_with("apply - --yes", json);
    assert!(house.good("topic show plain").contains("schemas/event"));
    assert!(house.good_with("apply - --dry-run", json).contains("nothing to do"));
}

#[test]
fn nothing_is_deleted_unless_it_is_asked_for() {
    let house = house();
    house.good("apply p.toml --yes");
    house.good("topic create old");
    house.good("sub create old --topic old");
    assert_eq!(house.good("apply p.toml --yes"), "nothing to do\n");
    let said = house.good("apply p.toml --prune --dry-run");
    assert!(said.starts_with("- subscription old\n- topic old\n"), "{said}");
    house.good("apply p.toml --prune --yes");
    assert_eq!(house.good("apply p.toml --prune --yes"), "nothing to do\n");
    assert!(!house.good("topic list").contains("old"));
}

#[test]
fn what_cannot_be_changes_nothing_and_a_failure_in_the_middle_says_how_far_it_came() {
    let house = house();
    house.good("topic create plain");
    house.good("topic create other");
    house.good("sub create all --topic other");
    let error = house.bad("apply p.toml --yes", "", 1);
    assert!(error.contains("nothing was changed"), "{error}");
    assert!(error.contains("ams sub delete all"), "{error}");
    assert_eq!(house.good("sub list").lines().count(), 2);
    // Its dead letters would have nowhere to go.
    let lost = FILE.replace("[topics.undelivered]", "");
    let error = house.bad("apply - --yes", &lost, 1);
    assert!(error.contains("there is no topic undelivered"), "{error}");
    house.good("sub delete all");

    // The server does not take the second one's definition.
    let json = r#"{"schemas": {"a": {"type": "json", "schema": {"type": "object"}},
                               "b": {"type": "json", "schema": {"type": "unknown"}}},
                   "topics": {"new": {}}}"#;
    let error = house.bad("apply - --yes", json, 1);
    for line in ["done:     + schema a", "refused:  + schema b", "not done: + topic new"] {
        assert!(error.contains(line), "{error}");
    }
    let Said(_, out, _) = house.run("apply - --yes --output json", json);
    let report: Value = serde_json::from_str(&out).unwrap();
    let outcomes: Vec<_> = report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["failed", "not done"], "what was done is not done again");

    std::fs::write(house.path("bad.toml"), "[topics.t]\nretentoin = '1d'\n").unwrap();
    assert!(house.bad("apply bad.toml --yes", "", 2).contains("retentoin"));
    assert!(house.bad("apply p.toml --yes --project Q", "", 2).contains("is for project P"));
}
