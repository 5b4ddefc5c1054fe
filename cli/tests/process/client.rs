//! The client against a broker that runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::house::{House, Said};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn projects_topics_and_subscriptions_are_made_listed_changed_and_deleted() {
    let house = House::open();
    assert!(house.bad("topic list", "", 2).contains("ams project create"));
    house.good("project create P --description first");
    assert!(house.good("project list").contains("\nP     "));
    house.good("project update P --rename Q");
    house.good("project alert Q --stall-after 20m --contact a@example.org");
    assert!(house.good("project show Q").contains("alert.stallAfter"));
    house.good("topic create t --retention 2d");
    house.good("topic retention t --retention 3d --retention-bytes 1000");
    let topics: Value = serde_json::from_str(&house.good("topic list --output json")).unwrap();
    assert_eq!(topics[0]["retention"], "3d");
    assert_eq!(topics[0]["retentionBytes"], 1000);
    house.good("topic alert t --severity-cap warn");
    house.good("topic alert t --clear");
    assert!(!house.good("topic show t").contains("alert"));
    house.good("sub create s --topic t");
    house.good("sub deadline s 33");
    let subs = house.good("sub list --topic t");
    assert!(subs.contains("s     t      33"), "{subs}");
    house.good("project create R");
    let error = house.bad("topic list", "", 2);
    assert!(error.contains("--project") && error.contains("Q") && error.contains("R"), "{error}");
    assert!(house.bad("topic create t --project Q", "", 1).contains("ALREADY_EXISTS"));
    assert!(house.bad("sub show x --project Q", "", 1).contains("ams sub list"));
    assert!(house.bad("topic show t:acl --project Q", "", 2).contains("letters"));
    house.good("sub delete s --project Q");
    house.good("topic delete t --project Q");
    house.good("project delete Q R");
    assert_eq!(house.good("project list").lines().count(), 1);
}

#[test]
fn a_token_is_kept_in_files_of_their_owner_and_never_shown() {
    let house = House::furnished();
    house.good("user create alice --role publisher --token-to alice.token");
    let token = std::fs::read_to_string(house.path("alice.token")).unwrap();
    assert_eq!((token.len(), mode(&house.path("alice.token"))), (64, 0o600));
    assert!(house.bad("user create bob --role x --token-to alice.token", "", 2).contains("exists"));
    assert!(house.bad("user create bob --role x --token-to bob.token", "", 1).contains("role"));
    assert!(!house.path("bob.token").exists());
    house.good("acl add topic t alice");
    assert_eq!(house.good("acl show topic t"), "alice\n");
    house.good("publish t --text hi --token-file alice.token");
    assert!(house.bad("pull s --token-file alice.token", "", 1).contains("ams user profile"));
    assert!(house.good("user profile --token-file alice.token").contains("publisher"));
    assert_eq!(house.good("acl remove topic t alice"), "nobody\n");

    let contexts = [("AMS_CONTEXTS", "new/contexts.toml")];
    let add = format!("context add here --url {} --ca data/tls/ca.pem", house.ams.url());
    let Said(code, out, error) = house.bare(&add, &contexts, &token);
    assert_eq!(code, Some(0), "{error}");
    assert!(!out.contains(&token) && !error.contains(&token));
    assert_eq!(mode(&house.path("new/contexts.toml")), 0o600);
    let list = house.bare("context list", &contexts, "");
    assert!(list.1.contains("here") && list.1.contains("stored") && !list.1.contains(&token));
    let profile = house.bare("user profile", &contexts, "");
    assert!(profile.1.contains("alice") && !profile.1.contains(&token), "{}", profile.2);
    assert_eq!(house.bare("context remove here", &contexts, "").0, Some(0));
    assert_eq!(house.bare("user profile", &contexts, "").0, Some(2));
}

#[test]
fn who_is_not_known_not_trusted_or_not_there_is_told_what_to_do() {
    let house = House::open();
    std::fs::write(house.path("bad"), "s3cret").unwrap();
    let error = house.bad("project list --token-file bad", "", 1);
    assert!(error.contains("the token of bad") && !error.contains("s3cret"), "{error}");
    let error = house.bad("project list --url https://127.0.0.1:1", "", 1);
    assert!(error.contains("does the broker run there"), "{error}");
    let other = House::open();
    let ca = other.path("data/tls/ca.pem");
    let error = house.bad(&format!("project list --ca {}", ca.display()), "", 1);
    assert!(error.contains("is not trusted") && error.contains("--ca"), "{error}");
}

#[test]
fn messages_are_published_in_batches_and_pulled_and_acknowledged() {
    let house = House::furnished();
    let ids = house.good_with("publish t --lines --ids --batch 2", "a\nb\n\nc\n");
    assert_eq!(ids, "0\n1\n2\n");
    std::fs::write(house.path("file"), "whole\nfile").unwrap();
    house.good("publish t file -a k=v");
    assert_eq!(house.good("pull s --max 3 --ack"), "a\nb\nc\n");
    let line = house.good("pull s --output json");
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(message["text"], "whole\nfile");
    assert_eq!(message["attributes"]["k"], "v");
    // What was pulled can be published again.
    house.good_with("publish t --json-lines", &line);
    let error = house.bad("publish t --json-lines --batch 1", "{\"text\":\"x\"}\n{}\n", 1);
    assert!(error.contains("1 published") && error.contains("--from-line 2"), "{error}");
    let error = house.bad("publish none --lines", "a\n", 1);
    assert!(error.contains("0 published") && error.contains("--from-line 1"), "{error}");
    assert_eq!(house.good("pull s --ack"), "whole\nfile\nwhole\nfile\nx\n");
    assert_eq!(house.good("pull s --ack --wait 1"), "");
}

#[test]
fn a_subscription_is_moved_and_what_that_means_is_said() {
    let house = House::furnished();
    house.good_with("publish t --lines", "a\nb\nc\n");
    house.good("pull s --ack");
    let text = house.good("replay s --since 2h --dry-run");
    assert!(text.contains("3 messages would be delivered again"), "{text}");
    assert!(house.good("sub offsets s").contains("current  3"));
    house.good("replay s --since 2h");
    assert_eq!(house.good("pull s --max 1 --ack"), "a\n");
    assert!(house.good("sub seek s --to-end").contains("2 messages are passed over"));
    house.good("sub seek s --to-offset 1");
    assert!(house.good("sub offsets s").contains("current  1"));
    house.good("sub seek s --to-start");
    assert!(house.bad("sub seek s --to-offset 9", "", 1).contains("0 to 3"));
    let error = house.bad("sub seek s --to-time 2100-01-01T00:00:00Z", "", 1);
    assert!(error.contains("no message was published"), "{error}");
}

#[test]
fn who_did_what_is_shown_of_a_project_and_of_the_whole_service() {
    let house = House::furnished();
    let all: Value = serde_json::from_str(&house.good("audit --all --output json")).unwrap();
    let operations: Vec<_> =
        all.as_array().unwrap().iter().map(|line| line["operation"].as_str().unwrap()).collect();
    assert_eq!(operations.last(), Some(&"user.create"), "the administrator: {operations:?}");
    let project: Value = serde_json::from_str(&house.good("project list --output json")).unwrap();
    let name = project[0]["name"].as_str().unwrap().to_owned();
    let text = house.good(&format!("audit --project {name} --since 1h"));
    assert!(text.starts_with("TIME") && text.contains("127.0.0.1  topic.create"), "{text}");
    assert!(
        text.contains(&format!("subscription.create  /projects/{name}/subscriptions/")),
        "{text}"
    );
    assert!(!text.contains("/users/admin"), "{text}");
    let Said(_, one, note) = house.run("audit --all --max 1", "");
    assert_eq!(one.lines().count(), 2, "{one}");
    assert!(note.contains("older entries"), "{note}");
    house.bad("audit --since yesterday", "", 2);
    house.bad("audit --project nowhere", "", 1);
}

#[test]
fn shells_and_man_are_told_about_every_subcommand() {
    let house = House::open();
    for shell in ["bash", "zsh", "fish"] {
        assert!(house.good(&format!("completion {shell}")).contains("replay"), "{shell}");
    }
    assert!(house.good("man").contains(".TH ams 1"));
    std::fs::create_dir(house.path("man")).unwrap();
    house.good("man --to man");
    assert!(house.path("man/ams-topic-list.1").is_file());
}
