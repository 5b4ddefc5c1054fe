//! Requests that were right before chance had its way with them: every route of `matrix.txt`, its target, its
//! headers and its body, packed or not (`docs/reliability.md`, F26). No fault, no panic, no answer that takes long.
//!
//! `AMS_TEST_MUTANTS=1000000` tries so many, with a seed of the day, which a failure tells; `AMS_TEST_SEED` repeats it.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::http::{Method, Uri};
use actix_web::test::TestRequest;
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::api::{Api, World, field};
use crate::bad_input::is_answered;

/// How many are tried when nothing is said.
const SHORT: usize = 6_000;
/// After so many the world is made anew: some of them delete it.
const ROUND: usize = 200;

/// Beside those of `matrix.txt`: what has more parts to go wrong.
const RICHER: [(&str, &str, &str); 14] = [
    (
        "POST",
        "projects/P/topics/t:publish",
        r#"{"messages": [{"attributes": {"a": "b", "é": "\ud83d\ude00"}, "data": "QUJD"}, {"data": ""}]}"#,
    ),
    (
        "PUT",
        "projects/P/subscriptions/z",
        r#"{"topic": "projects/P/topics/t", "ackDeadlineSeconds": 10, "ackMode": "individual", "alert": {"stallAfter": "1h", "contacts": ["a@example.org"], "mutedUntil": "2026-12-01T00:00:00Z"}}"#,
    ),
    (
        "PUT",
        "projects/P/topics/z",
        r#"{"schema": "projects/P/schemas/x", "retention": "3d", "retentionBytes": 1000}"#,
    ),
    (
        "POST",
        "projects/P/subscriptions/s:pull",
        r#"{"maxMessages": "5", "returnImmediately": "true"}"#,
    ),
    ("POST", "projects/P/subscriptions/i:pull", r#"{"maxMessages": 3}"#),
    ("POST", "projects/P/subscriptions/i:acknowledge", r#"{"ackIds": ["{ack}", "{ack}"]}"#),
    (
        "POST",
        "projects/P/subscriptions/i:modifyAckDeadline",
        r#"{"ackIds": ["{ack}"], "ackDeadlineSeconds": 20}"#,
    ),
    ("POST", "projects/P/subscriptions/s:seek", r#"{"snapshot": "projects/P/snapshots/n"}"#),
    ("GET", "projects/P/topics?pageSize=1&pageToken=MQ==", ""),
    ("GET", "projects/P/audit?pageSize=2&since=2020-01-01T00:00:00Z&operation=topic.create", ""),
    ("GET", "projects/P/topics/t:read?offset=-1&maxMessages=2", ""),
    ("GET", "metrics/va_metrics?start_date=2020-01-01&end_date=2030-01-01&projects=P", ""),
    (
        "POST",
        "projects/P/schemas/a",
        r#"{"type": "avro", "schema": {"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", {"type": "array", "items": "int"}]}]}}"#,
    ),
    (
        "POST",
        "users/z",
        r#"{"projects": [{"project": "P", "roles": ["consumer"]}], "email": "a@example.org", "service_roles": []}"#,
    ),
];

/// What parsers trip over.
const ODD: [&str; 34] = [
    "",
    " ",
    "\0",
    "\u{7f}",
    "é",
    "\u{feff}",
    "\u{202e}",
    "😀",
    "%",
    "%00",
    "%2F",
    "%ff",
    "..",
    "/",
    ":",
    "?",
    "&",
    "=",
    "-1",
    "0",
    "18446744073709551616",
    "1e999",
    "NaN",
    "9999-12-31T23:59:59Z",
    "0000-00-00T00:00:00Z",
    "null",
    "MTg0NDY3NDQwNzM3MDk1NTE2MTY=",
    "projects/P/subscriptions/s:-1",
    "projects/P/subscriptions/i:0.0.0",
    "{}",
    "/w==",
    "TZ",
    "T:.Z",
    "1TT::.,Z",
];

struct Mutant {
    method: String,
    path: String,
    body: Vec<u8>,
    packed: bool,
}

fn seeds(ack: &str) -> Vec<(String, String, String)> {
    let rows = include_str!("matrix.txt").lines();
    let rows = rows.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let (request, _) = line.rsplit_once(" : ").unwrap();
        let (method, rest) = request.split_once(' ').unwrap();
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        (method.to_owned(), path.to_owned(), body.to_owned())
    });
    let richer = RICHER.map(|(method, path, body)| {
        (method.to_owned(), format!("/v1/{path}"), body.replace("{ack}", ack))
    });
    // As many of these as of the others.
    let richer = std::iter::repeat_n(richer, 5).flatten();
    rows.map(|(method, path, body)| (method, path.replace("{P}", "P"), body.replace("{P}", "P")))
        .chain(richer)
        .collect()
}

/// Spoils some bytes: turned, taken, doubled, put in, cut.
fn spoil(bytes: &mut Vec<u8>, chance: &mut StdRng) {
    for _ in 0..chance.random_range(1..4) {
        let at = chance.random_range(0..=bytes.len());
        match chance.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.random_range(0..8),
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            2 => bytes.truncate(at),
            3 => {
                let again = bytes[at..].iter().take(30).copied().collect::<Vec<_>>();
                bytes.splice(at..at, again);
            }
            _ => {
                let odd = ODD.choose(chance).unwrap();
                bytes.splice(at..at, odd.bytes());
            }
        }
    }
}

fn odd_value(chance: &mut StdRng) -> Value {
    match chance.random_range(0..9) {
        0 => Value::Null,
        1 => json!(chance.random::<i64>()),
        2 => json!(chance.random_range(-2..3)),
        3 => json!(chance.random::<f64>() * 1e300),
        4 => json!([]),
        5 => json!({"": [{}, null, "x"]}),
        6 => json!("x".repeat(chance.random_range(0..3_000))),
        7 => json!(true),
        _ => json!(ODD.choose(chance).unwrap()),
    }
}

/// Exchanges, takes or adds one value somewhere in a lawful JSON text.
fn reshape(value: &mut Value, chance: &mut StdRng) {
    if chance.random_ratio(1, 4) {
        *value = odd_value(chance);
        return;
    }
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let key = keys.choose(chance).unwrap();
            match chance.random_range(0..6) {
                0 => drop(fields.remove(key)),
                1 => drop(fields.insert(key.to_uppercase(), odd_value(chance))),
                _ => reshape(&mut fields[key], chance),
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let at = chance.random_range(0..list.len());
            if chance.random_ratio(1, 5) {
                let again = list[at].clone();
                list.push(again);
            }
            reshape(&mut list[at], chance);
        }
        other => *other = odd_value(chance),
    }
}

/// Makes one value somewhere far longer: what is not linear takes long then.
fn swell(value: &mut Value, chance: &mut StdRng) {
    let much = chance.random_range(20_000..200_000);
    match value {
        Value::Object(fields) if !fields.is_empty() && chance.random_ratio(3, 4) => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            swell(&mut fields[keys.choose(chance).unwrap()], chance);
        }
        Value::Object(fields) => fields.extend((0..much).map(|n| (format!("k{n}"), json!(n)))),
        Value::Array(list) if !list.is_empty() && chance.random_ratio(1, 2) => {
            let at = chance.random_range(0..list.len());
            swell(&mut list[at], chance);
        }
        Value::Array(list) => {
            let one = list.first().cloned().unwrap_or_default();
            let size = one.to_string().len();
            list.extend(std::iter::repeat_n(one, much * 4 / size.max(4)));
        }
        Value::String(text) => {
            text.push_str(ODD.choose(chance).unwrap());
            *text = text.repeat(much / 4);
        }
        other => *other = json!(vec![0; much]),
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn mutant((method, path, body): &(String, String, String), chance: &mut StdRng) -> Mutant {
    let (mut path, mut body) = (path.clone(), body.as_bytes().to_vec());
    if let Ok(mut value) = serde_json::from_slice::<Value>(&body)
        && chance.random_ratio(3, 5)
    {
        match chance.random_ratio(1, 50) {
            true => swell(&mut value, chance),
            false => reshape(&mut value, chance),
        }
        body = serde_json::to_vec(&value).unwrap();
    } else if chance.random_ratio(1, 2) {
        spoil(&mut body, chance);
    }
    if chance.random_ratio(1, 3) {
        let mut bytes = path.into_bytes();
        // Behind `/v1/`: what is before it is no route at all.
        let mut tail = bytes.split_off(4);
        spoil(&mut tail, chance);
        bytes.extend(tail);
        path = String::from_utf8_lossy(&bytes).into_owned();
    }
    let packed = chance.random_ratio(1, 6);
    if packed {
        body = gzip(&body);
        if chance.random_ratio(1, 2) {
            spoil(&mut body, chance);
        }
    }
    Mutant { method: method.clone(), path, body, packed }
}

/// Counts the panics in the broker's code, also those that something else makes an answer of.
fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, usual) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map(|at| at.file().replace('\\', "/"));
        let is_ours = file.is_some_and(|file| file.contains("broker/src/"));
        counted.fetch_add(usize::from(is_ours), Ordering::Relaxed);
        usual(panic);
    }));
    panics
}

/// A project with one of everything.
async fn world() -> (World, String) {
    let world = World::new().await;
    let api = &world.api;
    api.post("/v1/users/m", r#"{"projects": [{"project": "P", "roles": ["consumer"]}]}"#)
        .await
        .ok();
    api.post("/v1/projects/P/schemas/x", r#"{"type": "json", "schema": {"type": "object"}}"#)
        .await
        .ok();
    let body = r#"{"topic": "projects/P/topics/t", "ackMode": "individual"}"#;
    api.put("/v1/projects/P/subscriptions/i", body).await.ok();
    api.put("/v1/projects/P/snapshots/n", r#"{"subscription": "projects/P/subscriptions/s"}"#)
        .await
        .ok();
    world.publish(5).await;
    let pulled = api.post("/v1/projects/P/subscriptions/i:pull", "{}").await.ok();
    let pulled: Value = serde_json::from_str(&pulled).unwrap();
    let ack = field(&pulled["receivedMessages"][0].to_string(), "ackId");
    (world, ack)
}

/// Sends it, judges the answer and says its status; `None` for what is no target.
async fn send(api: &Api, mutant: Mutant, panics: &AtomicUsize, what: &str) -> Option<u16> {
    let Mutant { method, path, body, packed } = mutant;
    // What is no target never gets here: `.ci/outside/sockets.py` sends such.
    if path.parse::<Uri>().is_err() || path.contains("waitSeconds") {
        return None;
    }
    let shown = format!(
        "{what}: {method} {path} {:?}",
        String::from_utf8_lossy(&body).chars().take(3_000).collect::<String>()
    );
    let mut request = TestRequest::default()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(&path)
        .insert_header(("x-api-key", api.admin.as_str()))
        .set_payload(body);
    if packed {
        request = request.insert_header(("content-encoding", "gzip"));
    }
    let began = Instant::now();
    let seen = api.send(request).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?} for {shown}", began.elapsed());
    assert_eq!(panics.load(Ordering::Relaxed), 0, "a panic, answered {seen:?}, for {shown}");
    let is_page = seen.header("content-type").starts_with("text/html");
    let lawful = ["no ack pending", "wrong ack"].iter().any(|text| seen.body.contains(text));
    assert!(seen.status < 500 || lawful, "{seen:?} for {shown}");
    if !is_page {
        is_answered(&seen);
    }
    Some(seen.status)
}

/// The value with each odd text in place of each of its texts and numbers in turn.
fn with_each_odd(value: &Value) -> Vec<Value> {
    let within = |inner: &Value, place: &dyn Fn(Value) -> Value| {
        with_each_odd(inner).into_iter().map(place).collect::<Vec<_>>()
    };
    match value {
        Value::Object(fields) => {
            let each = fields.iter().map(|(key, inner)| {
                within(inner, &|odd| {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), odd);
                    Value::Object(fields)
                })
            });
            each.flatten().collect()
        }
        Value::Array(list) => {
            let each = list.iter().enumerate().map(|(at, inner)| {
                within(inner, &|odd| {
                    let mut list = list.clone();
                    list[at] = odd;
                    Value::Array(list)
                })
            });
            each.flatten().collect()
        }
        _ => ODD.iter().map(|odd| json!(odd)).chain([json!(-1), json!({}), json!([])]).collect(),
    }
}

#[actix_web::test]
async fn no_odd_text_in_any_place_of_a_right_request_brings_a_fault() {
    let panics = count_panics();
    let mut tried = 0;
    let (_, ack) = world().await;
    let mut seeds = seeds(&ack);
    seeds.sort_unstable();
    seeds.dedup();
    for (method, path, body) in seeds {
        let (World { api, .. }, _) = world().await;
        let plain = |path: String, body: Vec<u8>| Mutant {
            method: method.clone(),
            path,
            body,
            packed: false,
        };
        let mut all = Vec::new();
        if let Ok(value) = serde_json::from_str::<Value>(&body) {
            let bodies = with_each_odd(&value).into_iter();
            all.extend(bodies.map(|body| plain(path.clone(), body.to_string().into_bytes())));
        }
        for (at, _) in path.match_indices('=') {
            let (before, behind) = path.split_at(at + 1);
            let rest = behind.find('&').map_or("", |end| behind.split_at(end).1);
            let odd = |odd: &&str| plain(format!("{before}{odd}{rest}"), body.clone().into_bytes());
            all.extend(ODD.iter().map(odd));
        }
        for mutant in all {
            tried += usize::from(send(&api, mutant, &panics, "odd").await.is_some());
        }
    }
    assert!(tried > 2_000, "{tried}");
}

#[actix_web::test]
#[expect(clippy::disallowed_methods, reason = "the long form is asked for from outside")]
async fn no_request_that_was_right_once_brings_a_fault() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let wanted = number("AMS_TEST_MUTANTS");
    let seed = number("AMS_TEST_SEED")
        .or(wanted
            .map(|_| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()));
    let seed = seed.unwrap_or(26);
    let most = wanted.map_or(SHORT, |wanted| usize::try_from(wanted).unwrap());
    let mut chance = StdRng::seed_from_u64(seed);
    let panics = count_panics();
    let (mut tried, mut fine) = (0, 0);
    while tried < most {
        let (World { api, .. }, ack) = world().await;
        let seeds = seeds(&ack);
        for _ in 0..ROUND {
            let mutant = mutant(seeds.choose(&mut chance).unwrap(), &mut chance);
            let Some(status) = send(&api, mutant, &panics, &format!("seed {seed}")).await else {
                continue;
            };
            fine += usize::from(status == 200);
            tried += 1;
        }
        api.post("/v1/projects/NEW", "{}").await.ok();
    }
    assert!(fine * 10 > tried, "nearly all are refused at once: {fine} of {tried}");
    assert!(fine * 10 < tried * 9, "nearly all are right still: {fine} of {tried}");
}
