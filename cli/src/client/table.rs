//! Tables for people, JSON for scripts.

use serde_json::Value;

use super::names::short;
use super::options::Output;
use crate::failure::Failure;
use crate::print;

/// A column: its title, and the key of the objects that it shows; `short` for names with a path.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) key: &'static str,
    pub(super) short: bool,
}

/// A column of `key` as it is.
pub(super) const fn column(title: &'static str, key: &'static str) -> Column {
    Column { title, key, short: false }
}

/// A column of the last part of the name at `key`.
pub(super) const fn name_column(title: &'static str, key: &'static str) -> Column {
    Column { title, key, short: true }
}

/// Prints a list of objects: aligned columns, or one JSON array.
pub(super) fn list(output: Output, columns: &[Column], items: &[Value]) -> Result<(), Failure> {
    if output == Output::Json {
        return json(&Value::from(items));
    }
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    let mut rows: Vec<Vec<String>> = vec![titles];
    for item in items {
        let cell = |column: &Column| {
            let text = scalar(item.get(column.key).unwrap_or(&Value::Null));
            let text = if column.short { short(&text).to_owned() } else { text };
            if text.is_empty() { String::from("-") } else { text }
        };
        rows.push(columns.iter().map(cell).collect());
    }
    print::lines(&aligned(&rows))
}

/// Prints one object: a line per value that says something, or JSON.
pub(super) fn object(output: Output, value: &Value) -> Result<(), Failure> {
    if output == Output::Json {
        return json(value);
    }
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    print::lines(&aligned(&rows))
}

/// Prints indented JSON.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    print::lines(&[format!("{value:#}")])
}

/// Rows as lines whose columns begin one below another.
pub(super) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| {
        let widths = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Text of others without what a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(", "),
        other => printable(&other.to_string()),
    }
}

/// The keys of `value` with dots; nothing of what is empty, and nothing of a push configuration
/// that says no.
fn flatten(before: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    let Value::Object(members) = value else {
        let text = scalar(value);
        if !text.is_empty() {
            rows.push(vec![before.to_owned(), text]);
        }
        return;
    };
    for (key, value) in members {
        let key = printable(key);
        let path = if before.is_empty() { key } else { format!("{before}.{key}") };
        let is_nothing = *value == 0 || *value == false;
        if before == "pushConfig" && is_nothing {
            continue;
        }
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (item, number) in items.iter().zip(1..) {
                    flatten(&format!("{path}.{number}"), item, rows);
                }
            }
            value => flatten(&path, value, rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_begin_one_below_another_and_lines_end_with_what_is_there() {
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        let lines = aligned(&[row(["NAME", "X"]), row(["längst", ""]), row(["a", "b"])]);
        assert_eq!(lines, ["NAME    X", "längst", "a       b"]);
    }

    #[test]
    fn an_object_is_shown_without_what_says_nothing() {
        let mut rows = Vec::new();
        let value = json!({
            "name": "s\u{1b}[2J", "pushConfig": {"type": "", "maxMessages": 0, "verified": false},
            "ackDeadlineSeconds": 0, "alert": {"contacts": ["a", "b"]},
            "projects": [{"project": "P", "roles": ["x"]}],
        });
        flatten("", &value, &mut rows);
        let lines: Vec<_> = rows.iter().map(|row| row.join("=")).collect();
        let expected = [
            "name=s\u{fffd}[2J",
            "ackDeadlineSeconds=0",
            "alert.contacts=a, b",
            "projects.1.project=P",
            "projects.1.roles=x",
        ];
        assert_eq!(lines, expected);
    }
}
