//! The architecture as data: who may use whom, where foreign crates are at home, how long a file
//! may be. It reads text, so it can be fooled; privacy and review cover that.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who may use whom. This table is the architecture; change it in its own commit.
const MAY_USE: &[(&str, &[&str])] = &[
    ("app", &["clock", "config", "control", "files", "http", "report", "service", "store"]),
    ("config", &["http", "report", "service", "store"]),
    ("control", &["service"]),
    ("http", &["clock", "domain", "files", "push", "service"]),
    ("push", &["domain"]),
    ("report", &["clock", "domain", "service"]),
    ("service", &["answers", "clock", "domain", "inline", "schema", "store"]),
    ("store", &["answers", "clock", "domain", "inline", "planted"]),
    ("domain", &["clock"]),
    ("schema", &[]),
    ("answers", &[]),
    ("inline", &[]),
    ("clock", &[]),
    ("files", &["planted"]),
    ("planted", &[]),
];

/// Foreign crates and the only modules that may name them.
const AT_HOME: &[(&str, &[&str])] = &[
    ("actix_http", &["http"]),
    ("actix_service", &["http"]),
    ("actix_tls", &["http"]),
    ("actix_web", &["http"]),
    ("async_task", &["inline"]),
    ("base64_simd", &["domain"]),
    ("chacha20poly1305", &["service"]),
    ("crc32c", &["store"]),
    ("flate2", &["http"]),
    ("governor", &["service"]),
    ("opentelemetry_proto", &["report"]),
    ("prost", &["report"]),
    ("rcgen", &["http"]),
    ("regex", &["schema"]),
    ("reqwest", &["push", "report"]),
    ("rustls", &["http", "store"]),
    ("rustix", &["http", "store"]),
    ("scylla", &["store"]),
    ("serde_json", &["config", "control", "domain", "http", "report", "schema", "store"]),
    ("sha2", &["domain", "http", "service", "store"]),
    ("tokio", &["app", "control", "http", "inline", "push", "report", "service", "store"]),
    ("url", &["domain", "push"]),
    ("x509_parser", &["http"]),
];

/// Longest file, its tests at the end not counted.
const LINES: usize = 500;

struct Source {
    path: PathBuf,
    module: String,
    /// Up to the unit tests, which may use anything; without comment lines.
    code: String,
    /// Up to the unit tests.
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(source(&root, &path));
            }
        }
    }
    assert!(found.len() > 20, "the sources are read");
    found
}

fn source(root: &Path, path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let inside = path.strip_prefix(root).unwrap().to_owned();
    let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
    let of_tests = |part: &str| {
        ["tests", "tests.rs", "conformance", "conformance.rs", "laws.rs"].contains(&part)
    };
    let text = match inside.iter().any(|part| of_tests(part.to_str().unwrap())) {
        true => "",
        false => text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default(),
    };
    let lines = text.lines().count();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    Source { path: inside, module, code, lines }
}

/// Names that follow `prefix` as a path: `crate::a`, `crate::{a::B, c}`.
fn used(code: &str, prefix: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut names = BTreeSet::new();
    for rest in code.split(prefix).skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    names.insert(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn arrows_run_down() {
    for source in sources() {
        let name = source.path.display();
        if source.module == "lib" {
            continue;
        }
        let row = MAY_USE.iter().find(|(module, _)| *module == source.module);
        let (_, allowed) = row.unwrap_or_else(|| panic!("{name}: no row in MAY_USE"));
        for used in used(&source.code, "crate::") {
            let known = MAY_USE.iter().any(|(module, _)| *module == used);
            let lawful = used == source.module || !known || allowed.contains(&used.as_str());
            assert!(lawful, "{name}: `{}` may not use `{used}`", source.module);
        }
    }
}

#[test]
fn the_table_has_no_cycle() {
    let row = |module: &str| MAY_USE.iter().position(|(m, _)| *m == module).unwrap();
    for (module, allowed) in MAY_USE {
        for used in *allowed {
            assert!(row(used) > row(module), "`{module}` uses `{used}`, which stands above it");
        }
    }
}

#[test]
fn foreign_crates_stay_at_home() {
    let inner = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for source in sources() {
        for (foreign, homes) in AT_HOME {
            let named = source
                .code
                .match_indices(&format!("{foreign}::"))
                .any(|(at, _)| !source.code[..at].ends_with(inner));
            let lawful = !named || homes.contains(&source.module.as_str());
            assert!(lawful, "{}: `{foreign}` is not at home here", source.path.display());
        }
    }
}

#[test]
fn files_are_short_and_finished() {
    let unfinished = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    for source in sources() {
        let name = source.path.display();
        assert!(source.lines <= LINES, "{name}: {} lines, at most {LINES}", source.lines);
        for word in unfinished {
            assert!(!source.code.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn a_wrong_arrow_would_be_seen() {
    let code =
        "use crate::{domain::{Head, Time}, store::Store,\n service};\nfn f() { crate::http::x() }";
    let expected = ["domain", "http", "service", "store"].map(String::from);
    assert_eq!(used(code, "crate::"), BTreeSet::from(expected));
}

/// `docs/threats.md` has a row for each threat, and every test that it names exists.
#[test]
fn every_test_that_the_threats_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut rust = String::new();
    let mut dirs: Vec<_> =
        ["broker", "cli", "metrics-svc", "clock", "telemetry"].map(|krate| root.join(krate)).into();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                rust += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let exists = |name: &str| match name.split_once(": ") {
        None => rust.contains(&format!("fn {name}(")),
        Some((file, line)) if file.ends_with(".http") => {
            let path = root.join("broker/tests/contract").join(file);
            std::fs::read_to_string(path)
                .is_ok_and(|text| text.lines().any(|at| at == format!("### {line}")))
        }
        Some((file, words)) => {
            std::fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains(words))
        }
    };
    let document = std::fs::read_to_string(root.join("docs/threats.md")).unwrap();
    let mut seen = Vec::new();
    let mut missing = Vec::new();
    for row in document.lines().filter(|line| line.starts_with("| T")) {
        let cells: Vec<_> = row.split(" | ").collect();
        seen.push(cells.first().unwrap().trim_start_matches("| T").parse::<u32>().unwrap());
        let shown = cells.last().unwrap();
        assert!(shown.len() > 10, "nothing is said: {row}");
        let names = shown.split('`').skip(1).step_by(2);
        missing.extend(names.filter(|name| !exists(name)).map(str::to_owned));
    }
    assert_eq!(seen, (1..=25).chain(34..=46).collect::<Vec<_>>());
    assert_eq!(missing, Vec::<String>::new(), "no such tests");
}
