//! Figures of the runs, and what a run is told by the environment.

#![allow(clippy::disallowed_methods, reason = "tests have no settings but the environment")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::history::{History, Kind, check};

/// `AMS_FAULT_<name>`, a number.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(format!("AMS_FAULT_{name}"));
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("AMS_FAULT_{name}={text}")))
}

/// What the chances of this run are drawn from: `AMS_FAULT_SEED`, else always the same.
pub(crate) fn seed() -> u64 {
    number("SEED", 4_711)
}

/// Fails on any violation of `history`; writes down `figures` of `fault` beside what was counted.
pub(crate) fn judge(fault: &str, history: &History, figures: &Value) {
    let violations = check(history);
    let mut counts: BTreeMap<&str, usize> = Kind::ALL.iter().map(|kind| (kind.name(), 0)).collect();
    for violation in &violations {
        *counts.entry(violation.kind.name()).or_default() += 1;
    }
    let mut row = figures.as_object().unwrap().clone();
    row.insert("acknowledged".to_owned(), json!(history.acknowledged()));
    row.insert("unknown_publishes".to_owned(), json!(history.unknown()));
    row.insert("read_back".to_owned(), json!(history.read_back()));
    row.insert("violations".to_owned(), json!(counts));
    let shown: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
    let row = Value::Object(row);
    assert!(violations.is_empty(), "{fault} {row}\n{}", shown.join("\n"));
    write(fault, row);
}

/// Figures of a fault whose test holds no history.
pub(crate) fn write(fault: &str, mut row: Value) {
    println!("{fault} {row}");
    let Some(path) = std::env::var_os("AMS_FAULT_REPORT") else { return };
    // Tests run beside each other.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    row["commit"] = json!(std::env::var("AMS_FAULT_COMMIT").unwrap_or_default());
    let mut all = read(Path::new(&path));
    all.insert(fault.to_owned(), row);
    let text = serde_json::to_string_pretty(&Value::Object(all)).unwrap();
    std::fs::write(&path, text + "\n").unwrap();
}

fn read(path: &Path) -> Map<String, Value> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => Map::new(),
    }
}
