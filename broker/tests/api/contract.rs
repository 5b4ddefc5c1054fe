//! Replays the transcripts of `broker/tests/contract/`, in process.

use std::path::{Path, PathBuf};

use actix_web::http::Method;
use actix_web::test::TestRequest;

use crate::api::Api;
use crate::transcript::{Answer, Exchange, Values, filled, parse};

fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// An exchange as it is sent.
struct Sent {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Sent {
    fn new(exchange: &Exchange, values: &Values) -> Self {
        let header = |(name, value): &(String, String)| (name.clone(), filled(value, values));
        Self {
            method: Method::from_bytes(exchange.method.as_bytes()).unwrap(),
            path: filled(&exchange.path, values),
            headers: exchange.headers.iter().map(header).collect(),
            body: filled(&exchange.body, values),
        }
    }
}

async fn in_process(api: &Api, sent: Sent) -> Answer {
    let mut request =
        TestRequest::default().method(sent.method).uri(&sent.path).set_payload(sent.body);
    for header in sent.headers {
        request = request.insert_header(header);
    }
    let seen = api.send(request).await;
    let text = |(name, value): (
        &actix_web::http::header::HeaderName,
        &actix_web::http::header::HeaderValue,
    )| { (name.as_str().to_owned(), value.to_str().unwrap().to_owned()) };
    Answer {
        status: seen.status,
        headers: seen.headers.iter().map(text).collect(),
        body: seen.body,
    }
}

#[actix_web::test]
async fn every_transcript_in_process() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let api = Api::new().await;
        let mut values = Values::from([(String::from("admin"), api.admin.clone())]);
        for exchange in parse(&file, &text) {
            api.clock.advance(exchange.wait);
            let answer = in_process(&api, Sent::new(&exchange, &values)).await;
            if let Err(what) = exchange.judge(&answer, &mut values) {
                wrong.push(format!("{}: {what}", exchange.place));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
