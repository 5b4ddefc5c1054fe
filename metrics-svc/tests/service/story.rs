//! The whole road: reports come in, a consumer dies, a mail goes out, it comes back, another does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_svc::clock::{Clock as _, ManualClock};
use metrics_svc::{Running, start};
use serde_json::{Value, json};

use super::broker::{Broker, Facts, PROJECT, STORE, get, whole};
use super::ingest::{NOW, settings};
use super::relay::{Relay, Taken};

struct House {
    clock: Arc<ManualClock>,
    running: Running,
    broker: Broker,
}

impl House {
    async fn start(dir: &Path, clock: &Arc<ManualClock>, relay: &Relay) -> Self {
        let settings = settings(Some(relay));
        let running = start(settings, dir, Arc::<ManualClock>::clone(clock)).await.unwrap();
        let broker = Broker::new(running.ingest_addr, running.ingest_secret(), NOW);
        Self { clock: Arc::clone(clock), running, broker }
    }

    async fn greet(&mut self, alert: Value) {
        self.broker.report(self.clock.wall(), None).await;
        self.broker.whole_directory(alert).await;
    }

    /// Ten seconds pass, a report comes, and everything is judged after it.
    async fn step(&mut self, facts: Facts) {
        self.clock.advance(Duration::from_secs(10));
        let answer = self.broker.report(self.clock.wall(), Some(facts)).await;
        assert_eq!(answer.status, 200);
        let now = self.clock.wall().unix_seconds();
        let judged = async {
            loop {
                let page = get(self.running.metrics_addr, "/metrics").await.text();
                let name = "ams_alerter_last_evaluation_timestamp_seconds ";
                let line = page.lines().find_map(|line| line.strip_prefix(name));
                if line.is_some_and(|at| at.parse::<f64>().unwrap() >= now) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), judged).await.unwrap();
    }

    async fn pass(&mut self, facts: Facts, steps: u32) {
        for _ in 0..steps {
            self.step(facts).await;
        }
    }

    async fn state(&self) -> String {
        let page = get(self.running.metrics_addr, "/v1/subscriptions").await.json();
        page["subscriptions"][0]["state"].as_str().unwrap().to_owned()
    }
}

/// A consumer that acknowledged seven of ten messages and fell silent.
fn stalled() -> Facts {
    Facts {
        version: 4,
        head: 10,
        position: 7,
        delivered: 7,
        oldest_at: Some(NOW),
        // Longer ago than `seen` when the threshold of 2 min is reached, at whichever evaluation.
        last_pull: Some(NOW.minus(Duration::from_secs(60))),
        last_progress: Some(NOW),
        dead_lettered: 0,
    }
}

fn well(house: &House) -> Facts {
    let now = house.clock.wall();
    Facts {
        version: 5,
        position: 10,
        delivered: 10,
        oldest_at: None,
        last_pull: Some(now),
        last_progress: Some(now),
        ..stalled()
    }
}

fn incident(mail: &Taken) -> String {
    let text = &mail.text[mail.text.find("Incident ").unwrap()..];
    text["Incident ".len()..].chars().take(36).collect()
}

#[tokio::test]
async fn a_stall_is_one_opening_mail_and_its_end_one_closing_mail() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.greet(json!({"stallAfter": "2m"})).await;
    house.pass(stalled(), 20).await;
    assert_eq!(house.state().await, "no_consumer");
    let mails = relay.mails(1).await;
    assert_eq!(mails[0].to, "ann@example.org", "the user on the subscription's ACL");
    assert!(mails[0].subject().starts_with("[CRIT] proj/sub: no consumer for "), "{mails:?}");

    let facts = well(&house);
    house.pass(facts, 20).await;
    assert_eq!(house.state().await, "idle");
    let mails = relay.mails(2).await;
    assert!(mails[1].subject().starts_with("[OK] proj/sub: well again"), "{mails:?}");
    assert_eq!(mails[1].header("In-Reply-To"), mails[0].header("Message-ID"));
    assert_eq!(incident(&mails[0]), incident(&mails[1]));
    for mail in &mails {
        let text = mail.text.replace("=\r\n", "").replace("=\n", "");
        assert!(text.contains("(set on the subscription)"), "{text}");
    }
    house.running.shutdown().await;
    assert_eq!(relay.taken().len(), 2);
}

#[tokio::test]
async fn a_restart_in_the_middle_changes_nothing_of_it() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.greet(json!({"stallAfter": "2m"})).await;
    house.pass(stalled(), 20).await;
    let opening = relay.mails(1).await.remove(0);
    let since = async |house: &House| {
        let page = get(house.running.metrics_addr, "/v1/subscriptions").await.json();
        page["subscriptions"][0]["since"].clone()
    };
    let since_before = since(&house).await;
    house.running.shutdown().await;

    clock.advance(Duration::from_secs(3_600));
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.greet(json!({"stallAfter": "2m"})).await;
    house.pass(stalled(), 10).await;
    assert_eq!(house.state().await, "no_consumer");
    assert_eq!(since(&house).await, since_before);
    assert_eq!(relay.taken().len(), 1, "no second opening mail");
    let facts = well(&house);
    house.pass(facts, 20).await;
    let closing = relay.mails(2).await.remove(1);
    assert_eq!(incident(&opening), incident(&closing));
    assert_eq!(closing.header("In-Reply-To"), opening.header("Message-ID"));
    house.running.shutdown().await;
}

#[tokio::test]
async fn dead_letters_that_become_a_stall_are_one_incident_and_three_mails() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.greet(json!({"stallAfter": "2m"})).await;
    let mut refused = 0;
    for _ in 0..100 {
        refused += 1;
        let now = house.clock.wall();
        house
            .step(Facts {
                version: refused,
                head: refused,
                position: refused,
                delivered: refused,
                oldest_at: None,
                last_pull: Some(now),
                last_progress: Some(now),
                dead_lettered: refused,
            })
            .await;
    }
    assert_eq!(house.state().await, "dead_lettering");
    let mails = relay.mails(1).await;
    let subject = "[WARN] proj/sub: 100 % dead letters for 1";
    assert!(mails[0].subject().starts_with(subject), "{mails:?}");
    // The consumer dies.
    let died = house.clock.wall();
    let dead = Facts {
        version: refused + 1,
        head: refused + 3,
        position: refused,
        delivered: refused,
        oldest_at: Some(died),
        last_pull: Some(died.minus(Duration::from_secs(60))),
        last_progress: Some(died),
        dead_lettered: refused,
    };
    house.pass(dead, 10).await;
    house.running.shutdown().await;
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.greet(json!({"stallAfter": "2m"})).await;
    house.pass(dead, 10).await;
    assert_eq!(house.state().await, "no_consumer");
    let mails = relay.mails(2).await;
    assert!(mails[1].subject().starts_with("[CRIT] proj/sub: no consumer for 2 min"), "{mails:?}");
    assert_eq!(mails[1].header("In-Reply-To"), mails[0].header("Message-ID"));
    let now = house.clock.wall();
    let well = Facts {
        version: refused + 2,
        position: refused + 3,
        oldest_at: None,
        last_pull: Some(now),
        last_progress: Some(now),
        ..dead
    };
    house.pass(well, 200).await;
    assert_eq!(house.state().await, "idle");
    let mails = relay.mails(3).await;
    assert!(mails[2].subject().starts_with("[OK] proj/sub: well again"), "{mails:?}");
    assert_eq!(incident(&mails[0]), incident(&mails[1]));
    assert_eq!(incident(&mails[0]), incident(&mails[2]));
    house.running.shutdown().await;
    assert_eq!(relay.taken().len(), 3);
}

#[tokio::test]
async fn a_muted_incident_waits_for_the_end_of_the_mute() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let mut house = House::start(dir.path(), &clock, &relay).await;
    let until = NOW.plus(Duration::from_secs(300)).to_seconds_text();
    house.greet(json!({"stallAfter": "2m", "mutedUntil": until})).await;
    house.pass(stalled(), 25).await;
    assert_eq!(house.state().await, "no_consumer", "judged and shown all the same");
    assert!(relay.taken().is_empty());
    house.pass(stalled(), 10).await;
    assert_eq!(relay.mails(1).await.len(), 1);
    house.running.shutdown().await;
}

#[tokio::test]
async fn an_incident_that_reaches_no_owner_goes_to_the_operators_and_is_counted() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.broker.report(clock.wall(), None).await;
    let [mut service, project] = whole(json!({"stallAfter": "2m"}));
    for object in service["objects"].as_array_mut().unwrap() {
        if object["kind"] == "user" {
            object["email"] = json!("");
        }
    }
    for body in [&service, &project] {
        assert_eq!(house.broker.directory(body).await.status, 200);
    }
    house.pass(stalled(), 20).await;
    let mails = relay.mails(1).await;
    assert_eq!(mails[0].to, "ops@example.org");
    let text = mails[0].text.replace("=\r\n", "");
    assert!(text.contains("You get this as an operator"), "{text}");
    let page = get(house.running.metrics_addr, "/metrics").await.text();
    assert!(page.contains("ams_alerter_unreachable_total 1\n"), "{page}");
    house.running.shutdown().await;
}

#[tokio::test]
async fn operators_can_be_told_something_and_waited_for() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let house = House::start(dir.path(), &clock, &relay).await;
    house.running.tell_operators("the store stopped", "fsync failed").await.unwrap();
    assert!(house.running.drain_mail(Duration::from_secs(10)).await);
    let mails = relay.taken();
    assert_eq!((mails.len(), mails[0].to.as_str()), (1, "ops@example.org"));
    assert_eq!(mails[0].subject(), "[CRIT] AMS: the store stopped");
    house.running.shutdown().await;
}

#[tokio::test]
async fn operators_are_told_from_memory_when_the_database_refuses_too() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let house = House::start(dir.path(), &clock, &relay).await;
    // The store stopped because the disk is bad: the database is on the same one.
    let raw = rusqlite::Connection::open(dir.path().join("metrics/metrics.sqlite3")).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    house.running.tell_operators("the store stopped", "fsync failed").await.unwrap();
    let mails = relay.taken();
    assert_eq!((mails.len(), mails[0].to.as_str()), (1, "ops@example.org"));
    assert_eq!(mails[0].subject(), "[CRIT] AMS: the store stopped");
    raw.execute_batch("ROLLBACK").unwrap();
    house.running.shutdown().await;
    assert_eq!(relay.taken().len(), 1, "told once");
}

#[tokio::test]
async fn who_deleted_the_project_is_known_after_a_kill_before_the_closing_mail() {
    let relay = Relay::start().await;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW));
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.greet(json!({"stallAfter": "2m"})).await;
    house.pass(stalled(), 20).await;
    relay.mails(1).await;
    house.running.shutdown().await;
    // What a kill leaves: the deletion is written down, what it closes is not.
    let raw = rusqlite::Connection::open(dir.path().join("metrics/metrics.sqlite3")).unwrap();
    let at = i64::try_from(clock.wall().0).unwrap();
    let sql = "INSERT INTO deletion (kind, id, name, by_user, at)
               VALUES ('project', ?1, 'proj', 'bob', ?2)";
    raw.execute(sql, rusqlite::params![PROJECT.to_string(), at]).unwrap();
    let mut house = House::start(dir.path(), &clock, &relay).await;
    house.broker.report(clock.wall(), None).await;
    let empty = json!({"format": 1, "store": STORE, "scope": "service", "from": null, "to": 99,
        "objects": [], "deleted": [], "more": false});
    assert_eq!(house.broker.directory(&empty).await.status, 200);
    house.pass(stalled(), 3).await;
    let mails = relay.mails(2).await;
    assert!(mails[1].subject().contains("subscription deleted by bob"), "{}", mails[1].subject());
    house.running.shutdown().await;
}
