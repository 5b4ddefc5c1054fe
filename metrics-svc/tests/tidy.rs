//! The architecture as data: who may use whom, where foreign crates live, how long a file may be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};

/// Who may use whom. This table is the architecture; change it in its own commit.
const MAY_USE: &[(&str, &[&str])] = &[
    ("app", &["config", "http", "watch", "notify", "db", "alert", "clock"]),
    ("config", &["notify"]),
    ("http", &["watch", "db", "alert", "decode", "series", "clock"]),
    ("watch", &["notify", "db", "alert", "series", "clock"]),
    ("notify", &["db", "clock"]),
    ("db", &["clock"]),
    ("alert", &["series", "clock", "varint"]),
    ("decode", &["series", "clock"]),
    ("series", &["clock", "varint"]),
    ("clock", &[]),
    ("varint", &[]),
];

/// Foreign crates and the only modules that may name them.
const AT_HOME: &[(&str, &[&str])] = &[
    ("actix_web", &["http", "app"]),
    ("lettre", &["notify"]),
    ("rusqlite", &["db"]),
    ("opentelemetry_proto", &["decode", "http"]),
    ("prost", &["decode", "http"]),
    ("prometheus", &["http"]),
];

/// Every source file below `src`, as (path below it, text without its tests).
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, root: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                out.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    walk(&root, &root, &mut out);
    assert!(out.len() > 20, "the sources were found");
    out
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "scenarios")
        || path.components().any(|part| part.as_os_str() == "tests")
}

fn top(path: &Path) -> String {
    path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn arrows_run_down() {
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let (name, top) = (path.display(), top(path));
        let Some((_, allowed)) = MAY_USE.iter().find(|(module, _)| *module == top) else {
            assert_eq!(top, "lib", "{name} is in no row of the table");
            continue;
        };
        for rest in text.split("crate::").skip(1) {
            let used: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = MAY_USE.iter().any(|(module, _)| *module == used);
            let lawful = used == top || !known || allowed.contains(&used.as_str());
            assert!(lawful, "{name}: `{top}` may not use `{used}`");
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
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        for (foreign, homes) in AT_HOME {
            let named = text.contains(&format!("{foreign}::"));
            let at_home = homes.contains(&top(path).as_str());
            assert!(!named || at_home, "{}: {foreign} is not at home here", path.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let lines = text.lines().count();
        assert!(lines <= 500, "{}: {lines} lines without its tests", path.display());
    }
}
