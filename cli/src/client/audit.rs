//! `ams audit`: who changed what, when, and from where.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::options::Output;
use super::seek::ago;
use super::session::{Session, elements};
use super::table;
use crate::failure::Failure;
use crate::print;

/// Most lines of one page, as the server bounds it.
const PAGE: u64 = 1_000;

/// `ams audit`
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Only the last 2h, 30m, 7d ..., or from a time on, such as 2026-11-28T08:00:00Z
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<Since>,
    /// At most this many entries, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
    /// Of the whole service, also where a project is set
    #[arg(long, conflicts_with = "project")]
    all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Ago(Duration),
    Time(Timestamp),
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = humantime::parse_duration(text).map(Self::Ago);
        ago.or_else(|_| text.parse().map(Self::Time)).map_err(|_| "neither a duration nor a time")
    }
}

/// Prints the newest entries of the project that was named, or of the whole service.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), Failure> {
    let path = match session.named_project().filter(|_| !options.all) {
        Some(project) => format!("projects/{project}/audit"),
        None => String::from("audit"),
    };
    let since = match options.since {
        None => String::new(),
        Some(Since::Ago(duration)) => ago(duration)?.to_string(),
        Some(Since::Time(time)) => time.to_string(),
    };
    let (mut lines, mut token, mut left) = (Vec::new(), String::new(), options.max);
    loop {
        let size = left.min(PAGE).to_string();
        let query = [("since", since.as_str()), ("pageSize", &size), ("pageToken", token.as_str())];
        let page = session.server.call(Method::GET, &path, &query, None).await;
        let mut page = page.map_err(|error| session.failure(&error))?;
        let found = elements(&mut page, "entries");
        left = left.saturating_sub(u64::try_from(found.len()).unwrap_or(u64::MAX));
        lines.extend(found);
        let next = page.get("nextPageToken").and_then(Value::as_str).unwrap_or_default();
        if next.is_empty() || next == token {
            break;
        }
        if left == 0 {
            print::note("there are older entries: --max shows more");
            break;
        }
        next.clone_into(&mut token);
    }
    if session.output == Output::Text {
        lines.iter_mut().for_each(add_what);
    }
    let columns = [
        table::column("TIME", "time"),
        table::column("USER", "user"),
        table::column("ADDRESS", "address"),
        table::column("OPERATION", "operation"),
        table::column("RESOURCE", "resource"),
        table::column("WHAT", "what"),
    ];
    table::list(session.output, &columns, &lines)
}

/// One text of what was before and is now.
fn add_what(line: &mut Value) {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let names = |key: &str, sign: &str| -> Vec<String> {
        let names = line.get(key).and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).map(|name| format!("{sign}{name}")).collect()
    };
    let mut parts = match (text("from"), text("to")) {
        ("", "") => Vec::new(),
        ("", to) => vec![to.to_owned()],
        (from, to) => vec![format!("{from} -> {}", if to.is_empty() { "-" } else { to })],
    };
    parts.extend(names("added", "+"));
    parts.extend(names("removed", "-"));
    if let Value::Object(line) = line {
        line.insert(String::from("what"), Value::from(parts.join(" ")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_done_is_one_text() {
        for (line, what) in [
            (json!({}), ""),
            (json!({"from": "3", "to": "1"}), "3 -> 1"),
            (json!({"from": "3"}), "3 -> -"),
            (json!({"to": "topic t"}), "topic t"),
            (json!({"added": ["a", "b"], "removed": ["c"]}), "+a +b -c"),
        ] {
            let mut line = line;
            add_what(&mut line);
            assert_eq!(line["what"], what);
        }
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        assert_eq!("2h".parse(), Ok(Since::Ago(Duration::from_secs(7_200))));
        assert!(matches!("2026-11-28T08:00:00Z".parse(), Ok(Since::Time(_))));
        assert!("yesterday".parse::<Since>().is_err());
    }
}
