//! `ams bench`, with tiny numbers: it runs, nothing is refused, and the broker's counts are the
//! client's (it ends with 1 otherwise). Nothing is said about speed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

fn bench(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ams"));
    command.env_clear().args(["bench", "--dir"]).arg(dir).args(arguments);
    command
}

#[test]
fn every_workload_runs_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (json, markdown) = (home.path().join("b.json"), home.path().join("b.md"));
    let small = ["--rounds", "1", "--seconds", "0.2", "--warm-up", "0.05"];
    let mut command = bench(home.path(), &small);
    command.args(["--topics", "8", "--shrink", "100", "--objects", "5", "--json"]).arg(&json);
    let output = command.arg("--markdown").arg(&markdown).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let record: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let rows = record["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["workload"].as_str().unwrap()).collect();
    let expected = "W1 W2 W3 W4 W4f W5 W6 W7 W8 W10 W11 W12a W12b W13";
    assert_eq!(names.join(" "), expected);
    assert!(rows.iter().all(|row| row["rounds"].as_array().unwrap().len() == 1), "{record}");
    assert_eq!(record["resources"]["topics at the restart, and as many subscriptions"], 6.0);
    let page = std::fs::read_to_string(markdown).unwrap();
    assert!(names.iter().all(|name| page.contains(&format!("\n| {name} | "))), "{page}");
    // What it made in the directory is gone; the two files were asked for.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut command = bench(home.path(), &["--workload", "w2", "--seconds", "0.01"]);
    command.args(["--rounds", "1000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("round 1/1000    W2: "), "{first}");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().last(), Some("ams: interrupted"));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_workload_that_does_not_exist_is_named() {
    let home = tempfile::tempdir().unwrap();
    let output = bench(home.path(), &["--workload", "W2,W9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--workload W9: there are W1, W2"), "{error}");
}
