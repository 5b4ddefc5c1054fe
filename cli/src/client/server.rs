//! The API of one server: calls, and what came of them as facts.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Method, RequestBuilder, Url, redirect};
use serde_json::Value;

use super::place::Place;
use super::table::printable;
use crate::failure::Failure;

/// The head of a publish that is done once under one key, however often it is sent.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a call may take: more than the longest waiting pull (60 s).
const CALL: Duration = Duration::from_secs(90);

/// Why a call has no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The server says no.
    #[error("{message} ({code} {status})")]
    Refused {
        code: u16,
        /// The name of the code.
        status: String,
        message: String,
        /// Seconds after which to come again.
        retry_after: Option<u64>,
    },
    /// Nothing was sent: nobody listens, or who does is not trusted.
    #[error("{0}")]
    Unreachable(String),
    /// It was sent, and no answer came: it may have happened.
    #[error("no answer: {0}")]
    Lost(String),
    /// The answer is none of an AMS.
    #[error("the answer is none of an AMS: {0}")]
    Foreign(String),
}

impl CallError {
    /// Whether what was asked for may have been done nevertheless.
    pub(super) const fn may_have_happened(&self) -> bool {
        match self {
            // 503 also says: outcome unknown.
            Self::Refused { code, .. } => *code >= 500,
            Self::Unreachable(_) => false,
            Self::Lost(_) | Self::Foreign(_) => true,
        }
    }

    /// Whether it may be better in a moment.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(*code, 429 | 502 | 503 | 504),
            Self::Unreachable(_) | Self::Lost(_) => true,
            Self::Foreign(_) => false,
        }
    }
}

/// A client of one server.
pub(super) struct Server {
    http: reqwest::Client,
    base: String,
}

/// The URL of a server: http or https, a host, and nothing behind it that would be lost.
pub(super) fn check_url(text: &str) -> Result<Url, Failure> {
    let bad = |why: &str| Failure::Usage(format!("{why}; wanted: https://HOST:PORT"));
    let url = Url::parse(text).map_err(|error| bad(&format!("no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("no URL of a server"));
    }
    // Not even shown: it may be a secret.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("a URL with a user in it is not understood"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("the URL of a server has no path"));
    }
    Ok(url)
}

/// Whether `url` is this machine, so that no proxy is of use and nothing leaves it.
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether others than this machine see what is sent.
pub(super) fn is_readable_on_the_way(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

impl Server {
    /// A client of the server at `place`; nothing is sent yet, and never an empty token.
    pub(super) fn new(place: &Place) -> Result<Self, Failure> {
        let url = check_url(&place.url)?;
        let mut headers = HeaderMap::new();
        if !place.token.is_empty() {
            let mut token = HeaderValue::from_str(&place.token)
                .map_err(|_| Failure::Usage(format!("{}: no token", place.token_source)))?;
            token.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-api-key"), token);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("ams/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // A redirect would carry the token to wherever it points.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(CALL);
        if is_loopback(&url) {
            http = http.no_proxy();
        }
        if let Some(path) = &place.ca {
            http = http.tls_certs_only(certificates(path)?);
        } else if url.scheme() == "http" {
            // The system's certificates need not even be there.
            http = http.tls_certs_only([]);
        }
        let http = http
            .build()
            .map_err(|error| Failure::Other(format!("no client: {}", causes(&error))))?;
        Ok(Self { http, base: url.as_str().trim_end_matches('/').to_owned() })
    }

    /// Calls `path` below `/v1/`. An empty answer is `null`.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let url = format!("{}/v1/{path}", self.base);
        let url = Url::parse_with_params(&url, query)
            .map_err(|error| CallError::Unreachable(error.to_string()))?;
        let request = self.http.request(method, url);
        let request = match body {
            Some(body) => with_json(request, body.to_string()),
            None => request,
        };
        answer(request).await
    }

    /// `POST` of the JSON text `body` to `path` below `/v1/`; with a `key`, to a server that
    /// [takes such keys](Self::takes_keys), the same again is done once.
    pub(super) async fn post_once(
        &self,
        path: &str,
        body: String,
        key: Option<&str>,
    ) -> Result<Value, CallError> {
        let request = with_json(self.http.post(format!("{}/v1/{path}", self.base)), body);
        answer(match key {
            Some(key) => request.header(IDEMPOTENCY_KEY, key),
            None => request,
        })
        .await
    }

    /// Whether the server says of itself that a publish may have an `Idempotency-Key`. Another AMS
    /// knows none, and has no such document.
    pub(super) async fn takes_keys(&self) -> bool {
        let document = answer(self.http.get(format!("{}/openapi.json", self.base))).await;
        document.is_ok_and(|document| has_keys(&document))
    }
}

/// Whether the OpenAPI document names an `Idempotency-Key` in the head of a publish.
fn has_keys(document: &Value) -> bool {
    let publish = document
        .get("paths")
        .and_then(|paths| paths.get("/v1/projects/{project}/topics/{topic}:publish"));
    let parameters = publish.and_then(|path| path.pointer("/post/parameters")?.as_array());
    parameters.into_iter().flatten().any(|parameter| {
        let at = parameter.get("$ref").and_then(Value::as_str).unwrap_or_default();
        let parameter = document.pointer(at.trim_start_matches('#')).filter(|_| !at.is_empty());
        let text = |key: &str| parameter?.get(key)?.as_str();
        text("in") == Some("header")
            && text("name").is_some_and(|name| name.eq_ignore_ascii_case(IDEMPOTENCY_KEY))
    })
}

fn with_json(request: RequestBuilder, body: String) -> RequestBuilder {
    let json = HeaderValue::from_static("application/json");
    request.header(reqwest::header::CONTENT_TYPE, json).body(body)
}

/// What comes of `request`.
async fn answer(request: RequestBuilder) -> Result<Value, CallError> {
    let answer = request.send().await.map_err(|error| {
        let text = causes(&error);
        if error.is_connect() || error.is_builder() {
            CallError::Unreachable(text)
        } else {
            CallError::Lost(text)
        }
    })?;
    let code = answer.status().as_u16();
    let retry_after = answer.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = answer.bytes().await.map_err(|error| CallError::Lost(causes(&error)))?;
    result(code, retry_after, &body)
}

/// What an answer says.
fn result(code: u16, retry_after: Option<u64>, body: &[u8]) -> Result<Value, CallError> {
    let json = match body {
        [] => Ok(Value::Null),
        body => serde_json::from_slice::<Value>(body),
    };
    if code == 200 {
        return json.map_err(|error| CallError::Foreign(error.to_string()));
    }
    let error = json.ok().and_then(|mut json| json.get_mut("error").map(Value::take));
    let text = |key: &str| error.as_ref()?.get(key)?.as_str().map(printable);
    match (text("status"), text("message")) {
        (Some(status), Some(message)) => {
            Err(CallError::Refused { code, status, message, retry_after })
        }
        _ => Err(CallError::Foreign(format!("status {code}"))),
    }
}

/// The certificates in a PEM file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let shown = path.display();
    let pem = std::fs::read(path)
        .map_err(|error| Failure::Usage(format!("certificates {shown}: {error}")))?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|error| Failure::Usage(format!("certificates {shown}: {}", causes(&error))))?;
    if found.is_empty() {
        return Err(Failure::Usage(format!("{shown} holds no certificate (PEM)")));
    }
    Ok(found)
}

/// An error and what lies below it; the outermost words of the library say nothing.
fn causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        let text = text.strip_prefix("client error (Connect)").unwrap_or(&text).to_owned();
        // Some repeat what is below them.
        if !text.is_empty() && !causes.iter().any(|known: &String| known.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    if causes.is_empty() { format!("{error:?}") } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_a_server_and_shows_no_secret() {
        for good in ["https://h", "https://h:8443/", "http://[::1]:80"] {
            check_url(good).unwrap();
        }
        for bad in
            ["h:8443", "ftp://h", "https://h/v1", "https://h?key=s3cret", "https://a:s3cret@h"]
        {
            let error = check_url(bad).unwrap_err().to_string();
            assert!(error.contains("https://HOST:PORT") && !error.contains("s3cret"), "{error}");
        }
        let local = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(local("https://localhost:1") && local("http://127.0.0.9") && local("http://[::1]"));
        assert!(!local("https://localhost.example.org") && !local("https://10.0.0.1"));
    }

    #[test]
    fn keys_are_used_where_the_document_of_the_server_has_them() {
        let document = |parameters: Value| {
            serde_json::json!({
                "paths": {"/v1/projects/{project}/topics/{topic}:publish":
                    {"post": {"parameters": parameters}}},
                "components": {"parameters": {
                    "project": {"name": "project", "in": "path"},
                    "key": {"name": "Idempotency-Key", "in": "header"}}},
            })
        };
        let named =
            |name: &str| serde_json::json!({"$ref": format!("#/components/parameters/{name}")});
        assert!(has_keys(&document(Value::Array(vec![named("project"), named("key")]))));
        assert!(!has_keys(&document(Value::Array(vec![named("project"), named("none")]))));
        assert!(!has_keys(&document(Value::Null)));
        assert!(!has_keys(&Value::Null));
    }

    #[test]
    fn an_answer_is_a_value_a_refusal_or_foreign() {
        assert_eq!(result(200, None, b"").unwrap(), Value::Null);
        let body = br#"{"error": {"code": 404, "message": "a\u001bb", "status": "NOT_FOUND"}}"#;
        let refused = result(404, Some(2), body).unwrap_err();
        assert_eq!(refused.to_string(), "a\u{fffd}b (404 NOT_FOUND)");
        assert!(!refused.may_have_happened() && !refused.may_pass());
        assert!(matches!(result(302, None, b"<html>"), Err(CallError::Foreign(_))));
        assert!(matches!(result(200, None, b"<html>"), Err(CallError::Foreign(_))));
        let busy = CallError::Refused {
            code: 503,
            status: String::new(),
            message: String::new(),
            retry_after: None,
        };
        assert!(busy.may_have_happened() && busy.may_pass());
    }
}
