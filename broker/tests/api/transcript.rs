//! Golden transcripts: what is sent and what must come back, as text (`broker/tests/contract/`).
//!
//! A file is a sequence of exchanges on one broker:
//!
//! ```text
//! ### What this exchange shows
//! # any number of comments
//! PUT /v1/projects/P/topics/t
//! x-api-key: {{admin}}
//!
//! {"schema": "projects/P/schemas/s"}
//!
//! HTTP 200
//! retry-after: -
//!
//! {
//!    "name": "/projects/P/topics/t",
//!    "created_on": "{{:time}}"
//! }
//! ```
//!
//! A request's body may be absent; an answer without one must be empty. `name: -` = that header must
//! be absent; Content-Type is JSON unless a line says otherwise. `{{x}}` inserts what was captured,
//! `{{x:KIND}}` matches and captures, `{{:KIND}}` matches ([`Kind`]). `@wait 11s` before an exchange
//! lets time pass.

use std::collections::HashMap;
use std::time::Duration;

/// What every answer of a handler says.
const JSON: &str = "application/json; charset=utf-8";

/// One request and its answer, placeholders still in it.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// File, line and title, for people.
    pub(crate) place: String,
    /// What passes before it.
    pub(crate) wait: Duration,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    status: u16,
    wanted_headers: Vec<(String, String)>,
    wanted_body: String,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// Captured so far.
pub(crate) type Values = HashMap<String, String>;

/// Reads a whole file; panics with file and line at anything it does not understand.
pub(crate) fn parse(file: &str, text: &str) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let mut wait = Duration::ZERO;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if let Some(text) = line.strip_prefix("@wait ") {
            wait += humantime::parse_duration(text).unwrap();
        }
        let Some(title) = line.strip_prefix("### ") else {
            let is_between = line.is_empty() || line.starts_with('#') || line.starts_with("@wait ");
            assert!(is_between, "{file}:{}: outside of an exchange: {line}", at + 1);
            continue;
        };
        let mut block = Vec::new();
        while let Some((_, line)) =
            lines.next_if(|(_, line)| !line.starts_with("### ") && !line.starts_with("@wait "))
        {
            block.push(line);
        }
        let place = format!("{file}:{} {title}", at + 1);
        exchanges.push(exchange(place, std::mem::take(&mut wait), &block));
    }
    assert!(!exchanges.is_empty(), "{file} holds no exchange");
    exchanges
}

fn exchange(place: String, wait: Duration, block: &[&str]) -> Exchange {
    let start = block.iter().position(|line| !line.starts_with('#')).unwrap();
    let split = block.iter().position(|line| line.starts_with("HTTP "));
    let split = split.unwrap_or_else(|| panic!("{place}: no line `HTTP status`"));
    let (request, answer) = block.split_at(split);
    let (method, path) = request[start].split_once(' ').unwrap();
    let (headers, body) = head_and_body(&place, &request[start + 1..]);
    let (wanted_headers, wanted_body) = head_and_body(&place, &answer[1..]);
    let status = answer[0].trim_start_matches("HTTP ").parse().unwrap();
    let (method, path) = (method.to_owned(), path.to_owned());
    Exchange { place, wait, method, path, headers, body, status, wanted_headers, wanted_body }
}

fn head_and_body(place: &str, lines: &[&str]) -> (Vec<(String, String)>, String) {
    let end = lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len());
    let header = |line: &&str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{place}: {line}"));
        (name.trim().to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers = lines[..end].iter().map(header).collect();
    let body = lines.get(end + 1..).unwrap_or_default().join("\n");
    (headers, body.trim_end_matches('\n').to_owned())
}

impl Exchange {
    /// What differs, if anything; captures what the answer names.
    pub(crate) fn judge(&self, answer: &Answer, values: &mut Values) -> Result<(), String> {
        let seen = format!("HTTP {}\n\n{}", answer.status, answer.body);
        if answer.status != self.status {
            return Err(format!("status {} wanted, but\n{seen}", self.status));
        }
        let says_type = self.wanted_headers.iter().any(|(name, _)| name == "content-type");
        let json = (String::from("content-type"), String::from(JSON));
        let json = (!says_type).then_some(&json);
        for (name, wanted) in self.wanted_headers.iter().chain(json) {
            match (wanted.as_str(), answer.headers.get(name)) {
                ("-", None) => {}
                (wanted, Some(value)) if compare(wanted, value, values).is_ok() => {}
                (_, value) => return Err(format!("{name}: {wanted} wanted, but {value:?}")),
            }
        }
        compare(&self.wanted_body, &answer.body, values).map_err(|at| {
            format!("the body differs at {at:?}; wanted\n{}\n--- but\n{seen}", self.wanted_body)
        })
    }
}

/// The text with every `{{x}}` replaced; panics at a name nobody captured.
pub(crate) fn filled(text: &str, values: &Values) -> String {
    let mut parts = text.split("{{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap();
        let value = values.get(name).unwrap_or_else(|| panic!("nobody captured {name}"));
        out += value;
        out += rest;
    }
    out
}

/// Whether `seen` is what `wanted` says, to the end; `Err` with what is left of `seen` where it is
/// not.
fn compare(wanted: &str, seen: &str, values: &mut Values) -> Result<(), String> {
    let mut parts = wanted.split("{{");
    let literal = parts.next().unwrap_or_default();
    let mut rest = seen.strip_prefix(literal).ok_or_else(|| differs(literal, seen))?;
    for part in parts {
        let (hole, literal) = part.split_once("}}").unwrap();
        match hole.split_once(':') {
            None => {
                let value = filled(&format!("{{{{{hole}}}}}"), values);
                rest = rest.strip_prefix(value.as_str()).ok_or_else(|| differs(&value, rest))?;
            }
            Some((name, kind)) => {
                let length = Kind::named(kind).length(rest).ok_or_else(|| rest.to_owned())?;
                let (value, behind) = rest.split_at(length);
                if !name.is_empty() {
                    values.insert(name.to_owned(), value.to_owned());
                }
                rest = behind;
            }
        }
        rest = rest.strip_prefix(literal).ok_or_else(|| differs(literal, rest))?;
    }
    if rest.is_empty() { Ok(()) } else { Err(rest.to_owned()) }
}

/// `seen` from the first character that is not `literal`'s.
fn differs(literal: &str, seen: &str) -> String {
    let same = literal.chars().zip(seen.chars()).take_while(|(a, b)| a == b).count();
    seen.chars().skip(same).take(60).collect()
}

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A version 4 UUID.
    Uuid,
    /// 64 lower-case hex digits.
    Token,
    /// `YYYY-MM-DDTHH:MM:SSZ`
    Time,
    /// The same with up to nine digits of a second, none of them a trailing zero.
    Nanos,
    /// A JSON number.
    Number,
    /// A page token: standard base64, not empty.
    Page,
    /// Anything to the end: for texts that are a library's.
    Rest,
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "uuid" => Self::Uuid,
            "token" => Self::Token,
            "time" => Self::Time,
            "nanos" => Self::Nanos,
            "number" => Self::Number,
            "page" => Self::Page,
            "rest" => Self::Rest,
            _ => panic!("no kind of placeholder is called {name}"),
        }
    }

    /// How much of the beginning of `text` it is.
    fn length(self, text: &str) -> Option<usize> {
        let run = |allowed: fn(u8) -> bool| text.bytes().take_while(|b| allowed(*b)).count();
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match self {
            Self::Uuid => {
                let id = text.get(..36)?.parse::<uuid::Uuid>().ok()?;
                (id.get_version_num() == 4).then_some(36)
            }
            Self::Token => (run(hex) == 64).then_some(64),
            Self::Time => {
                let shape = "dddd-dd-ddTdd:dd:ddZ";
                let text = text.get(..shape.len())?;
                let fits = |(c, s): (u8, u8)| if s == b'd' { c.is_ascii_digit() } else { c == s };
                text.bytes().zip(shape.bytes()).all(fits).then_some(shape.len())
            }
            Self::Nanos => {
                let length = text.find('Z')? + 1;
                let (seconds, fraction) = text.get(..length - 1)?.split_at_checked(19)?;
                Self::Time.length(&format!("{seconds}Z"))?;
                let Some(digits) = fraction.strip_prefix('.') else {
                    return fraction.is_empty().then_some(length);
                };
                let is_short = (1..=9).contains(&digits.len()) && !digits.ends_with('0');
                (is_short && digits.bytes().all(|b| b.is_ascii_digit())).then_some(length)
            }
            Self::Number => {
                let length = run(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
                let number = text.get(..length)?;
                serde_json::from_str::<serde_json::Number>(number).is_ok().then_some(length)
            }
            Self::Page => {
                let length = run(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
                (length > 0).then_some(length)
            }
            Self::Rest => Some(text.len()),
        }
    }
}

#[test]
fn a_transcript_reads_as_it_looks() {
    let text = "# of a file\n\n@wait 11s\n### One\n# why\nPOST /a?b={{admin}}\nX-Api-Key: {{admin}}\n\n\
                {\"a\": 1}\n\nHTTP 200\nRetry-After: -\n\n{\n   \"n\": {{:number}}\n}\n\n### Two\nGET /b\n\nHTTP 404\n";
    let [one, two] = parse("f", text).try_into().unwrap();
    assert_eq!((one.place.as_str(), one.wait.as_secs()), ("f:4 One", 11));
    assert_eq!((one.method.as_str(), one.path.as_str()), ("POST", "/a?b={{admin}}"));
    assert_eq!(one.headers, [(String::from("x-api-key"), String::from("{{admin}}"))]);
    assert_eq!((one.body.as_str(), one.status), ("{\"a\": 1}", 200));
    assert_eq!(one.wanted_body, "{\n   \"n\": {{:number}}\n}");
    assert_eq!((two.body.as_str(), two.wanted_body.as_str(), two.status), ("", "", 404));
    assert!(two.wait.is_zero());
}

#[test]
fn what_differs_is_found_and_what_is_named_is_kept() {
    let exchange = |headers: &[(&str, &str)], body: &str| Exchange {
        status: 200,
        wanted_headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        wanted_body: body.to_owned(),
        ..Exchange::default()
    };
    let answer = |status, body: &str| Answer {
        status,
        headers: [("content-type", JSON), ("etag", "7")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
        body: body.to_owned(),
    };
    let judged = |headers: &[(&str, &str)], wanted: &str, status, seen: &str| {
        let mut values = Values::from([(String::from("admin"), String::from("abc"))]);
        let judged = exchange(headers, wanted).judge(&answer(status, seen), &mut values);
        judged.map(|()| values)
    };
    assert!(judged(&[], "a {{admin}} b", 200, "a abc b").is_ok());
    assert_eq!(judged(&[], "[{{n:number}}]", 200, "[-1.5e3]").unwrap()["n"], "-1.5e3");
    for (wanted, seen) in [
        ("a", "b"),
        ("a", "ab"),
        ("ab", "a"),
        ("a{{admin}}", "aabcd"),
        ("a{{admin}}", "aab"),
        ("{{:uuid}}", "00000000-0000-1000-8000-000000000000"),
        ("{{:token}}", "abc"),
        ("{{:time}}", "2020-11-19 00:00:00Z"),
        ("{{:nanos}}", "2020-11-19T00:00:00.10Z"),
        ("{{:number}}", "1.2.3"),
        ("{{:page}}", ""),
        ("", "{}"),
    ] {
        assert!(judged(&[], wanted, 200, seen).is_err(), "{wanted} {seen}");
    }
    for (wanted, seen) in [
        ("{{:uuid}}", "6e1d3a0e-2b1f-4c3d-8e4f-0123456789ab"),
        ("{{:time}}", "2020-11-19T00:00:00Z"),
        ("{{:nanos}}", "2020-11-19T00:00:00.000000001Z"),
        ("{{:nanos}}", "2020-11-19T00:00:00Z"),
        ("{{:page}}", "QUI="),
        ("x{{:rest}}", "x\nanything"),
    ] {
        assert!(judged(&[], wanted, 200, seen).is_ok(), "{wanted} {seen}");
    }
    assert!(judged(&[], "", 201, "").is_err());
    assert!(judged(&[("etag", "7")], "", 200, "").is_ok());
    assert!(judged(&[("etag", "8")], "", 200, "").is_err());
    assert!(judged(&[("etag", "-")], "", 200, "").is_err());
    assert!(judged(&[("retry-after", "-")], "", 200, "").is_ok());
    assert!(judged(&[("retry-after", "1")], "", 200, "").is_err());
    assert!(judged(&[("content-type", "-")], "", 200, "").is_err());
    assert!(judged(&[("content-type", "text/plain")], "", 200, "").is_err());
}
