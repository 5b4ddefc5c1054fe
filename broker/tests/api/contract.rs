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

async fn in_process(api: &Api, exchange: &Exchange, values: &Values) -> Answer {
    let mut request = TestRequest::default()
        .method(Method::from_bytes(exchange.method.as_bytes()).unwrap())
        .uri(&filled(&exchange.path, values))
        .set_payload(filled(&exchange.body, values));
    for (name, value) in &exchange.headers {
        request = request.insert_header((name.as_str(), filled(value, values)));
    }
    let seen = api.send(request).await;
    let headers = seen.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .collect();
    Answer { status: seen.status, headers, body: seen.body }
}

#[actix_web::test]
async fn every_transcript_in_process() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let api = Api::new().await;
        let mut values = Values::from([(String::from("admin"), api.admin.clone())]);
        for exchange in parse(&file, &text) {
            api.clock.advance(exchange.wait);
            let answer = in_process(&api, &exchange, &values).await;
            if let Err(what) = exchange.judge(&answer, &mut values) {
                wrong.push(format!("{}: {what}", exchange.place));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
