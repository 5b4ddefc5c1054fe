//! Input of every bad kind: an envelope, never a fault, and the store stays as it is.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::api::{Seen, World};

/// Every route that reads a body.
const BODIES: [(&str, &str); 20] = [
    ("POST", "/v1/users/u"),
    ("PUT", "/v1/users/maker"),
    ("POST", "/v1/registrations"),
    ("POST", "/v1/projects/N"),
    ("PUT", "/v1/projects/P"),
    ("POST", "/v1/projects/P:modifyAlert"),
    ("POST", "/v1/projects/P/members/m"),
    ("PUT", "/v1/projects/P/members/maker"),
    ("POST", "/v1/projects/P/members/admin:add"),
    ("PUT", "/v1/projects/P/topics/n"),
    ("POST", "/v1/projects/P/topics/t:publish"),
    ("POST", "/v1/projects/P/topics/t:modifyAcl"),
    ("POST", "/v1/projects/P/topics/t:modifyAlert"),
    ("POST", "/v1/projects/P/topics/t:modifyRetention"),
    ("PUT", "/v1/projects/P/subscriptions/n"),
    ("POST", "/v1/projects/P/subscriptions/s:pull"),
    ("POST", "/v1/projects/P/subscriptions/s:acknowledge"),
    ("POST", "/v1/projects/P/subscriptions/s:modifyAckDeadline"),
    ("POST", "/v1/projects/P/subscriptions/s:modifyOffset"),
    ("POST", "/v1/projects/P/subscriptions/s:modifyAcl"),
];

/// Success, or an envelope that is exact and no fault of ours.
#[track_caller]
pub(crate) fn is_answered(seen: &Seen) {
    assert_eq!(seen.header("content-type"), "application/json; charset=utf-8", "{seen:?}");
    if seen.status == 200 {
        return;
    }
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    let (error, text) = (&body["error"], |key: &str| body["error"][key].as_str().unwrap());
    assert_eq!(error["code"], seen.status);
    let keys: Vec<_> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "status"]);
    assert!(!text("status").is_empty() && !text("message").is_empty());
    let lawful = seen.status < 500 || ["no ack pending", "wrong ack"].contains(&text("message"));
    assert!(lawful, "{seen:?}");
}

#[actix_web::test]
async fn every_odd_body_is_refused_everywhere_and_changes_nothing() {
    let World { api, .. } = World::new().await;
    let bomb = |open: &str, close: &str, n| open.repeat(n) + &close.repeat(n);
    let odd: Vec<Vec<u8>> = vec![
        bomb("[", "]", 100_000).into(),
        bomb(r#"{"messages":"#, "}", 50_000).into(),
        format!(r#"{{"alert":{}}}"#, bomb(r#"{"a":"#, "}", 200)).into(),
        br#"{"\udc00": 1}"#.to_vec(),
        b"{\"a\": \"\0\"}".to_vec(),
        b"\0".to_vec(),
        b"{}\0".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"a\": \"\xff\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        b"NaN".to_vec(),
        br#"{"a": NaN}"#.to_vec(),
        br#"{"a": Infinity}"#.to_vec(),
        br#"{"a": 01}"#.to_vec(),
        br#"{"a": 0x1}"#.to_vec(),
        br#"{'a': 1}"#.to_vec(),
        br#"{a: 1}"#.to_vec(),
        br#"{"a": 1,}"#.to_vec(),
        br#"{"a" 1}"#.to_vec(),
        br#"{"a": 1}}"#.to_vec(),
        br#"{"a": 1} {"a": 1}"#.to_vec(),
        br#"{"a": "x"#.to_vec(),
        b"/* */ {}".to_vec(),
        b"true".to_vec(),
        b"1e999999".to_vec(),
        b"\"text\"".to_vec(),
        b"--boundary\r\nContent-Disposition: form-data".to_vec(),
        b"<xml/>".to_vec(),
        b"\x1f\x8b\x08\0\0\0\0\0".to_vec(),
    ];
    let before = api.contents().await;
    for (method, path) in BODIES {
        for body in &odd {
            let seen = api.call(method, path, &api.admin, body).await;
            let body = String::from_utf8_lossy(body);
            let body = body.get(..60).unwrap_or(&body);
            assert_eq!(seen.status, 400, "{method} {path} {body}: {seen:?}");
            is_answered(&seen);
        }
    }
    assert_eq!(api.contents().await, before);
}

#[actix_web::test]
async fn depth_is_bounded_where_it_is_read_and_free_where_it_is_skipped() {
    let World { api, .. } = World::new().await;
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for (method, path) in BODIES {
        for key in ["unknown", "messages", "ackIds", "alert", "projects", "pushConfig"] {
            let body = format!(r#"{{"{key}": {deep}}}"#);
            is_answered(&api.call(method, path, &api.admin, body.as_bytes()).await);
            let body = format!(r#"{{"{key}": {{"contacts": {deep}}}}}"#);
            is_answered(&api.call(method, path, &api.admin, body.as_bytes()).await);
        }
    }
}

#[actix_web::test]
async fn huge_numbers_and_repeated_keys_are_read_like_any() {
    let World { api, .. } = World::new().await;
    let body = r#"{"description": "a", "x": 123456789012345678901234567890, "description": "b",
        "x": -1e-999, "DESCRIPTION": "c"}"#;
    assert!(api.put("/v1/projects/P", body).await.ok().contains("\"description\": \"c\""));
}

/// Pieces that parsers trip over, and the words of the dialect.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\\",
        b"null",
        b"true",
        b"-1",
        b"1e99",
        b" ",
        b"\"messages\":",
        b"\"ackIds\":",
        b"\"alert\":{",
        b"\"contacts\":[",
        b"\"roles\":[",
        b"\"attributes\":{\"a\":\"b\"}",
        b"\"data\":\"\\ud83d\"",
        b"\"data\":\"QQ==\"",
        b"\"topic\":\"projects/P/topics/t\"",
        b"\"offset\":1",
        b"\"ackDeadlineSeconds\":5",
        b"\"authorized_users\":[\"maker\"]",
        b"\"projects/P/subscriptions/s:1\"",
        b"\"maxMessages\":\"2\"",
        b"\"pushConfig\":{",
        b"\xff",
        b"\0",
        b"%00",
        b"/",
        b"..",
        b"?",
    ];
    prop_oneof![
        4 => proptest::sample::select(words.iter().map(|w| w.to_vec()).collect::<Vec<_>>()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

#[actix_web::test]
async fn no_body_brings_a_fault_and_a_refused_one_changes_nothing() {
    let World { api, .. } = World::new().await;
    let mut runner = TestRunner::deterministic();
    let case = (proptest::sample::select(BODIES.to_vec()), pieces(), any::<bool>());
    let mut seen_ok = 0;
    for _ in 0..4_000 {
        let ((method, path), mut body, wrap) = case.new_tree(&mut runner).unwrap().current();
        if wrap {
            body = [b"{", body.as_slice(), b"}"].concat();
        }
        let before = api.catalogue_and_heads().await;
        let seen = api.call(method, path, &api.admin, &body).await;
        is_answered(&seen);
        seen_ok += u32::from(seen.status == 200);
        if seen.status != 200 {
            assert_eq!(api.catalogue_and_heads().await, before);
        }
        if path == "/v1/projects/P" && api.get(path).await.status != 200 {
            panic!("renamed by {:?}", String::from_utf8_lossy(&body));
        }
    }
    assert!(seen_ok > 20, "the inputs are all bad: {seen_ok}");
}

#[actix_web::test]
async fn no_path_brings_a_fault() {
    let World { api, .. } = World::new().await;
    let mut runner = TestRunner::deterministic();
    let words = [
        "v1",
        "projects",
        "P",
        "topics",
        "t",
        "subscriptions",
        "s",
        "members",
        "users",
        "profile",
        ":pull",
        ":publish",
        ":acl",
        ":modifyAlert",
        ":",
        "/",
        "//",
        "/",
        "/",
        "/",
        "..",
        ".",
        "%2F",
        "%2e%2e",
        "%00",
        "%",
        "%ff",
        "%C3%A9",
        "?",
        "key=x",
        "&pageSize=1",
        "&pageToken=%",
        "status",
        "version",
        "é",
        "~",
        "'",
        ";",
        "@",
    ];
    let path = proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..12);
    let method = proptest::sample::select(vec!["GET", "POST", "PUT", "HEAD", "PATCH", "TRACE"]);
    let case = (method, path, any::<bool>());
    for _ in 0..4_000 {
        let (method, path, deep) = case.new_tree(&mut runner).unwrap().current();
        let prefix = if deep { "/v1/projects/P/" } else { "/v1/" };
        let path = format!("{prefix}{}", path.concat());
        if path.parse::<actix_web::http::Uri>().is_ok() {
            is_answered(&api.call(method, &path, &api.admin, b"{}").await);
        }
    }
}
