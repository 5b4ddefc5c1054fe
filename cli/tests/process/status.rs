//! `ams status` against a broker and the metrics-svc that judges it.

use std::time::Instant;

use serde_json::Value;

use crate::harness::{FREE_PORTS, PATIENCE};
use crate::house::{House, Said};

/// A server whose judgement takes seconds, with a topic and a subscription.
fn judged() -> (House, String) {
    let environment =
        [("AMS_BROKER__REPORT__EVERY", "1s"), ("AMS_METRICS__ALERT__MIN_STALL", "2s")];
    let house = House::with(FREE_PORTS, &environment);
    let metrics = house.ams.said("metrics ").trim_end_matches("/metrics").to_owned();
    house.good("project create P");
    house.good("topic create t");
    house.good("sub create s --topic t --ack-deadline 60 --stall-after 3s");
    (house, metrics)
}

/// The row of `s` once it is in one of `states`. Each look is a process: that is pause enough.
fn settled(house: &House, status: &str, states: &[&str]) -> Value {
    let begun = Instant::now();
    loop {
        let rows: Value =
            serde_json::from_str(&house.good(&format!("{status} --output json"))).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
        let state = rows[0]["state"].as_str().unwrap_or("not judged");
        if states.contains(&state) {
            return rows[0].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "not {states:?}: {rows}");
    }
}

#[test]
fn a_subscription_that_stands_still_is_seen_and_a_script_can_tell() {
    let (house, metrics) = judged();
    let status = format!("status --metrics-url {metrics}");
    settled(&house, &status, &["idle"]);
    house.good(&format!("{status} --check"));
    assert_eq!(house.good(&format!("{status} --troubles")).lines().count(), 1);

    house.good("publish t -t x");
    house.good("pull s");
    let row = settled(&house, &status, &["no_consumer", "not_acking", "stalled_other"]);
    assert_eq!((&row["backlog"], &row["severity"]), (&1.into(), &"crit".into()));
    assert!(row["reason"].is_string() && row["lastPullSeconds"].is_u64(), "{row}");
    let Said(code, out, error) = house.run(&format!("{status} --check"), "");
    assert_eq!(code, Some(1), "{error}");
    assert!(out.starts_with("PROJECT") && out.contains("crit"), "{out}");
    assert!(error.contains("1 of the subscriptions"), "{error}");
    assert_eq!(house.good(&format!("{status} --troubles --project P")).lines().count(), 2);

    // It is drawn again, though not where it was, for this is no terminal.
    let watch = house.begin(&format!("{status} --watch 1"));
    watch.until("PROJECT");
    watch.until("PROJECT");
    assert_eq!(watch.interrupt(), Some(0));

    house.good("sub seek s --to-end");
    settled(&house, &status, &["idle"]);
    house.good(&format!("{status} --check"));
}

#[test]
fn without_a_metrics_svc_nothing_is_said_to_be_well() {
    let house = House::furnished();
    let error = house.bad("status --check --metrics-url http://127.0.0.1:1", "", 1);
    assert!(error.contains("does metrics-svc run there"), "{error}");
    // The broker itself is none.
    let error = house.bad(&format!("status --check --metrics-url {}", house.ams.url()), "", 1);
    assert!(error.contains("metrics-svc"), "{error}");
    house.bad("status --check --watch", "", 2);

    // One that no broker reports to knows nothing of the subscription.
    let other = House::with(FREE_PORTS, &[]);
    let metrics = other.ams.said("metrics ").trim_end_matches("/metrics");
    let Said(code, out, _) = house.run(&format!("status --check --metrics-url {metrics}"), "");
    assert_eq!(code, Some(1));
    assert!(out.contains("P        s             not judged"), "{out}");
}
