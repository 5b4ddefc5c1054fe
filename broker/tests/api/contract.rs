//! Replays the transcripts of `broker/tests/contract/`, in process and against any address.

use std::path::{Path, PathBuf};
use std::time::Duration;

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
        request = request.append_header(header);
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

/// A server somewhere that holds nothing yet, and its admin.
struct Remote {
    client: reqwest::Client,
    url: String,
    admin: String,
}

impl Remote {
    /// By `AMS_CONTRACT_URL` (`https://host:port`), `AMS_CONTRACT_TOKEN` (the admin's) and
    /// `AMS_CONTRACT_CA` (a PEM file, optional).
    #[expect(clippy::disallowed_methods, reason = "the server is named from outside")]
    fn of_the_environment() -> Self {
        let variable =
            |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60));
        if let Ok(path) = std::env::var("AMS_CONTRACT_CA") {
            let pem = std::fs::read(path).unwrap();
            client = client.add_root_certificate(reqwest::Certificate::from_pem(&pem).unwrap());
        }
        Self {
            client: client.build().unwrap(),
            url: variable("AMS_CONTRACT_URL"),
            admin: variable("AMS_CONTRACT_TOKEN"),
        }
    }

    async fn send(&self, sent: Sent) -> Answer {
        let url = format!("{}{}", self.url, sent.path);
        let method = reqwest::Method::from_bytes(sent.method.as_str().as_bytes()).unwrap();
        let mut request = self.client.request(method, url).body(sent.body);
        for (name, value) in sent.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text =
            |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
                (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
            };
        let headers = answer.headers().iter().map(text).collect();
        Answer { status, headers, body: answer.text().await.unwrap() }
    }

    async fn admin(&self, method: Method, path: String) -> serde_json::Value {
        let headers = vec![(String::from("x-api-key"), self.admin.clone())];
        let answer = self.send(Sent { method, path, headers, body: String::new() }).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// What a list names, the admin itself left out.
    async fn listed(&self, path: &str, key: &str, id: &str) -> Vec<String> {
        let list = self.admin(Method::GET, path.to_owned()).await;
        let items = list[key].as_array().cloned().unwrap_or_default();
        let names = items.iter().map(|item| item[id].as_str().unwrap().to_owned());
        names.filter(|name| name != "admin").collect()
    }

    /// Removes what a transcript left.
    async fn clear(&self) {
        for (list, key, id) in [
            ("projects", "projects", "name"),
            ("registrations", "user_registrations", "uuid"),
            ("users", "users", "name"),
        ] {
            for name in self.listed(&format!("/v1/{list}"), key, id).await {
                self.admin(Method::DELETE, format!("/v1/{list}/{name}")).await;
            }
        }
    }
}

#[actix_web::test]
#[ignore = "needs AMS_CONTRACT_URL"]
async fn every_transcript_against_an_address() {
    let remote = Remote::of_the_environment();
    let known = remote.listed("/v1/projects", "projects", "name").await;
    assert!(
        known.is_empty(),
        "only a server without projects is cleared after each file: {known:?}"
    );
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let mut values = Values::from([(String::from("admin"), remote.admin.clone())]);
        for exchange in parse(&file, &text) {
            actix_web::rt::time::sleep(exchange.wait).await;
            let answer = remote.send(Sent::new(&exchange, &values)).await;
            if let Err(what) = exchange.judge(&answer, &mut values) {
                wrong.push(format!("{}: {what}", exchange.place));
                break;
            }
        }
        remote.clear().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
