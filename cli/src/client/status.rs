//! `ams status`: what metrics-svc judges of every subscription the broker has. Nothing is judged
//! here: what it does not say is not known.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::metrics::Metrics;
use super::names::short;
use super::options::Output;
use super::retry::Pause;
use super::server::CallError;
use super::session::{Session, elements};
use super::table::{self, column};
use crate::failure::Failure;
use crate::print;
use crate::run::Signals;

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Of what, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Of all projects, though one is named
    #[arg(long)]
    all: bool,
    /// Only those something is wrong with
    #[arg(long)]
    troubles: bool,
    /// Exit with 1 if something is wrong or not known, with 0 if all is well
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Show it again every so many seconds, until Ctrl-C [default: 5]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
    /// Where metrics-svc is, instead of what the context says; without both, for a broker on this
    /// machine http://127.0.0.1:9464
    #[arg(long, value_name = "URL")]
    metrics_url: Option<String>,
}

/// Whom a call failed at.
enum Failed {
    Broker(CallError),
    Metrics(CallError),
}

/// Shows it, once or until it is told to end.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), Failure> {
    let metrics = session.metrics(options.metrics_url.as_deref())?;
    let words = |failed: &Failed| match failed {
        Failed::Broker(error) => session.failure(error),
        Failed::Metrics(error) => metrics.failure(error),
    };
    let Some(seconds) = options.watch else {
        let rows = rows(session, &metrics, options).await.map_err(|failed| words(&failed))?;
        show(session.output, &rows)?;
        let troubles = rows.iter().filter(|row| is_trouble(row)).count();
        if options.check && troubles > 0 {
            return Err(Failure::Other(format!("{troubles} of the subscriptions are not well")));
        }
        return Ok(());
    };
    let mut signals = Signals::listen()?;
    let mut pause = Pause::default();
    loop {
        let found = tokio::select! {
            found = rows(session, &metrics, options) => found,
            () = signals.next() => return Ok(()),
        };
        let wait = match found {
            Ok(rows) => {
                pause = Pause::default();
                again(session.output, &rows)?;
                Duration::from_secs(seconds)
            }
            Err(failed) => {
                let (Failed::Broker(error) | Failed::Metrics(error)) = &failed;
                if !error.may_pass() {
                    return Err(words(&failed));
                }
                print::note(&format!("{}\n  going on", words(&failed)));
                pause.next()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = signals.next() => return Ok(()),
        }
    }
}

/// One row per subscription of the broker, by project and name.
async fn rows(
    session: &Session,
    metrics: &Metrics,
    options: &Options,
) -> Result<Vec<Value>, Failed> {
    let project = session.named_project().filter(|_| !options.all);
    let projects = match project {
        Some(project) => vec![project.to_owned()],
        None => session.projects().await.map_err(Failed::Broker)?,
    };
    let query: Vec<_> = project.iter().map(|project| ("project", *project)).collect();
    let page = metrics.server.call(Method::GET, "subscriptions", &query, None).await;
    let mut page = page.map_err(Failed::Metrics)?;
    if page.get("subscriptions").is_none_or(|list| !list.is_array()) {
        return Err(Failed::Metrics(CallError::Foreign(String::from("no `subscriptions`"))));
    }
    let as_of = page.get("asOf").cloned().unwrap_or_default();
    let mut judged: BTreeMap<_, _> =
        elements(&mut page, "subscriptions").into_iter().map(|row| (key(&row), row)).collect();
    let mut rows = Vec::new();
    for project in projects {
        let path = format!("projects/{project}/subscriptions");
        let list = session.try_all(&path, "subscriptions").await.map_err(Failed::Broker)?;
        for subscription in list {
            let text = |key: &str| subscription.get(key).and_then(Value::as_str).map(short);
            let name = text("name").unwrap_or_default().to_owned();
            let row = judged.remove(&(project.clone(), name.clone()));
            let mut row = row.unwrap_or_else(|| {
                let topic = text("topic").unwrap_or_default();
                json!({"project": project, "subscription": name, "topic": topic, "state": null})
            });
            add_ages(&mut row, &as_of);
            rows.push(row);
        }
    }
    rows.sort_by_key(key);
    rows.retain(|row| !options.troubles || is_trouble(row));
    Ok(rows)
}

/// Project and name.
fn key(row: &Value) -> (String, String) {
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("project"), text("subscription"))
}

/// Whether somebody should look: it is bad, or nobody knows how it is.
fn is_trouble(row: &Value) -> bool {
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    matches!(text("state"), "" | "unknown" | "service_fault")
        || matches!(text("severity"), "warn" | "crit")
}

/// How long ago, for people: of a pull, of the last step forward, of the state's beginning.
fn add_ages(row: &mut Value, as_of: &Value) {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let ago = |then: Option<&Value>| {
        let seconds = time(as_of)?.duration_since(time(then?)?).as_secs();
        Some(u64::try_from(seconds).unwrap_or_default())
    };
    let ages = [
        ("sinceSeconds", ago(row.get("since"))),
        ("lastPullSeconds", ago(row.pointer("/evidence/lastPullAt"))),
        ("lastProgressSeconds", ago(row.pointer("/evidence/lastProgressAt"))),
    ];
    if let Value::Object(row) = row {
        row.extend(ages.map(|(key, seconds)| (key.to_owned(), json!(seconds))));
    }
}

fn show(output: Output, rows: &[Value]) -> Result<(), Failure> {
    if output == Output::Json {
        return table::json(&Value::from(rows));
    }
    let columns = [
        column("PROJECT", "project"),
        column("SUBSCRIPTION", "subscription"),
        column("STATE", "state"),
        column("REASON", "reason"),
        column("SEVERITY", "severity"),
        column("FOR", "for"),
        column("BACKLOG", "backlog"),
        column("OLDEST", "oldest"),
        column("PULLED", "pulled"),
        column("PROGRESS", "progress"),
    ];
    let rows: Vec<_> = rows.iter().map(words).collect();
    table::list(output, &columns, &rows)
}

/// The same once more: over what is there, or one array a line.
fn again(output: Output, rows: &[Value]) -> Result<(), Failure> {
    if output == Output::Json {
        return print::lines(&[Value::from(rows).to_string()]);
    }
    if stdout().is_terminal() {
        print::lines(&[CLEAR.to_owned()])?;
    }
    show(output, rows)
}

/// A row with its ages in words.
fn words(row: &Value) -> Value {
    let mut words = Map::new();
    for key in ["project", "subscription", "state", "reason", "severity", "backlog"] {
        words.insert(key.to_owned(), row.get(key).cloned().unwrap_or_default());
    }
    if row.get("state").is_none_or(Value::is_null) {
        words.insert(String::from("state"), json!("not judged"));
        return Value::Object(words);
    }
    let age = |key: &str| row.get(key).and_then(Value::as_f64).map(age);
    let waits = row.get("oldestUnackedAt").is_some_and(|at| !at.is_null());
    for (key, text) in [
        ("for", age("sinceSeconds")),
        ("oldest", age("oldestUnackedAgeSeconds").filter(|_| waits)),
        ("pulled", Some(age("lastPullSeconds").unwrap_or_else(|| String::from("never")))),
        ("progress", Some(age("lastProgressSeconds").unwrap_or_else(|| String::from("never")))),
    ] {
        words.insert(key.to_owned(), json!(text));
    }
    Value::Object(words)
}

/// Whole seconds in the two largest units: `3d 4h`.
fn age(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = whole;
    let mut parts = Vec::new();
    for (length, unit) in units {
        if left >= length && parts.len() < 2 {
            parts.push(format!("{}{unit}", left / length));
        } else if parts.len() == 1 {
            break;
        }
        left %= length;
    }
    if parts.is_empty() { String::from("0s") } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        let ages = [0.0, 59.9, 60.0, 3_661.0, 86_399.0, 90_061.0, 86_460.0].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "1h 1m", "23h 59m", "1d 1h", "1d"]);
    }

    #[test]
    fn what_is_bad_or_not_known_is_a_trouble_and_nothing_else() {
        let row = |state: Option<&str>, severity: &str| {
            is_trouble(&json!({"state": state, "severity": severity}))
        };
        assert!(row(None, "ok") && row(Some("unknown"), "info"));
        assert!(row(Some("losing"), "crit") && row(Some("orphan"), "warn"));
        assert!(!row(Some("idle"), "ok") && !row(Some("orphan"), "info"));
        // Its owner capped it.
        assert!(!row(Some("no_consumer"), "info"));
    }

    #[test]
    fn ages_are_those_of_the_moment_of_the_judgement_and_absent_where_nothing_happened() {
        let mut row = json!({
            "state": "healthy", "since": "2026-11-28T08:00:00Z", "backlog": 0,
            "oldestUnackedAt": null, "oldestUnackedAgeSeconds": 0,
            "evidence": {"lastPullAt": "2026-11-28T08:59:00Z", "lastProgressAt": null},
        });
        add_ages(&mut row, &json!("2026-11-28T09:00:00Z"));
        assert_eq!(
            (&row["lastPullSeconds"], &row["lastProgressSeconds"]),
            (&json!(60), &json!(null))
        );
        let words = words(&row);
        assert_eq!((&words["for"], &words["pulled"]), (&json!("1h"), &json!("1m")));
        assert_eq!((&words["progress"], &words["oldest"]), (&json!("never"), &json!(null)));
    }
}
