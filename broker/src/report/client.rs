//! The way to metrics-svc: two POSTs, bounded in time, through no proxy.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};

/// Connecting, and the whole of one request, take at most this long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reports cannot be sent, or were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("report.url: `{0}` is not an http or https address")]
    Url(String),
    /// The secret's file cannot be read, or holds no secret.
    #[error("report.secret_file: {path}: {reason}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No connection, no answer in time, or no HTTP.
    #[error("metrics-svc cannot be reached: {0}")]
    Transport(#[source] reqwest::Error),
    /// An answer other than 200.
    #[error("metrics-svc answered {0}")]
    Refused(StatusCode),
}

/// What an accepted report was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Everything is wanted again.
    pub(super) resync: bool,
    /// Points that made no sense to the receiver.
    pub(super) rejected: i64,
}

/// One metrics-svc.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    secret_file: PathBuf,
    secret: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(url: &str, secret_file: PathBuf) -> Result<Self, ClientError> {
        let parsed = reqwest::Url::parse(url).map_err(|_| ClientError::Url(url.to_owned()))?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT);
        match parsed.scheme() {
            "https" => {}
            // No certificates of the system are needed, which a small container has not.
            "http" => builder = builder.tls_certs_only([]),
            _ => return Err(ClientError::Url(url.to_owned())),
        }
        let http = builder.build().map_err(ClientError::Transport)?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned(), secret_file, secret: None })
    }

    /// Sends records.
    pub(super) async fn metrics(&mut self, body: Vec<u8>) -> Result<Accepted, ClientError> {
        let (resync, body) = self.post("/v1/metrics", "application/x-protobuf", body).await?;
        let answer = ExportMetricsServiceResponse::decode(body.as_slice()).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_data_points);
        Ok(Accepted { resync, rejected })
    }

    /// Sends a part of the directory.
    pub(super) async fn directory(&mut self, body: Vec<u8>) -> Result<Accepted, ClientError> {
        let (resync, _) = self.post("/v1/directory", "application/json", body).await?;
        Ok(Accepted { resync, rejected: 0 })
    }

    async fn post(
        &mut self,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<(bool, Vec<u8>), ClientError> {
        let secret = match &self.secret {
            Some(secret) => secret.clone(),
            None => self.secret.insert(self.read_secret().await?).clone(),
        };
        let sent = self
            .http
            .post(format!("{}{path}", self.base))
            .header(AUTHORIZATION, secret)
            .header(CONTENT_TYPE, content_type)
            .body(body)
            .send();
        let answer = sent.await.map_err(ClientError::Transport)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // It may have been replaced: read again next time.
            self.secret = None;
        }
        if answer.status() != StatusCode::OK {
            return Err(ClientError::Refused(answer.status()));
        }
        let resync = answer.headers().get("ams-resync").is_some_and(|value| value == "1");
        let body = answer.bytes().await.map_err(ClientError::Transport)?;
        Ok((resync, body.to_vec()))
    }

    async fn read_secret(&self) -> Result<HeaderValue, ClientError> {
        let failed =
            |reason: String| ClientError::Secret { path: self.secret_file.clone(), reason };
        let text = tokio::fs::read_to_string(&self.secret_file)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(failed(String::from("it is empty")));
        }
        let mut value = HeaderValue::try_from(format!("Bearer {text}"))
            .map_err(|_| failed(String::from("it holds no plain text")))?;
        value.set_sensitive(true);
        Ok(value)
    }
}
