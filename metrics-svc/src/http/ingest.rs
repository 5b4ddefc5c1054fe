//! The listener brokers report to.
//!
//! 200 means: what cannot be asked again is on disk. The secret is checked before the body is
//! read, and compared in constant time.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::error::Refusal;
use crate::decode;
use crate::watch::{Received, Watch};

/// The largest body that is read.
const BODY_LIMIT: usize = 8 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Says in a 200 that the broker is to send its whole directory and all records next.
const RESYNC: (&str, &str) = ("ams-resync", "1");
const PROTOBUF: &str = "application/x-protobuf";

/// What brokers show; held only as its SHA-256.
#[derive(Debug, Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The secret in `text`.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether `shown` is it; takes the same time whatever differs.
    fn is(&self, shown: &str) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        self.0.iter().zip(shown).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// What the handlers are given.
#[derive(Clone)]
pub(super) struct Ingest {
    pub(super) watch: Arc<Watch>,
    /// `None` only on loopback.
    pub(super) secret: Option<Secret>,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/v1/metrics").route(web::post().to(metrics)));
    config.service(web::resource("/v1/directory").route(web::post().to(directory)));
}

async fn metrics(
    request: HttpRequest,
    payload: web::Payload,
    ingest: web::Data<Ingest>,
) -> Result<HttpResponse, Refusal> {
    ingest.admit(&request)?;
    let result = take_metrics(&request, payload, &ingest.watch).await;
    if matches!(result, Err(refusal) if refusal != Refusal::Unavailable) {
        ingest.watch.count(Received::Rejected);
    }
    result
}

async fn take_metrics(
    request: &HttpRequest,
    payload: web::Payload,
    watch: &Watch,
) -> Result<HttpResponse, Refusal> {
    if content_type(request) != PROTOBUF || request.headers().contains_key("content-encoding") {
        return Err(Refusal::MediaType);
    }
    let body = read(payload).await?;
    let report = decode::report(&body).map_err(|error| malformed(&error))?;
    let (rejected, instance) = (report.rejected, report.instance.clone());
    let taken = watch.take_report(report);
    if rejected > 0 || taken.dropped > 0 {
        tracing::warn!(
            broker.instance = instance,
            rejected,
            dropped = taken.dropped,
            "points were left out"
        );
    }
    if !watch.can_promise() {
        return Err(Refusal::Unavailable);
    }
    let partial_success = (rejected > 0).then(|| ExportMetricsPartialSuccess {
        rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: String::from("malformed points were left out"),
    });
    let answer = ExportMetricsServiceResponse { partial_success }.encode_to_vec();
    let mut response = HttpResponse::Ok();
    response.content_type(PROTOBUF);
    if taken.resync {
        response.insert_header(RESYNC);
    }
    Ok(response.body(answer))
}

async fn directory(
    request: HttpRequest,
    payload: web::Payload,
    ingest: web::Data<Ingest>,
) -> Result<HttpResponse, Refusal> {
    ingest.admit(&request)?;
    if content_type(&request) != "application/json"
        || request.headers().contains_key("content-encoding")
    {
        return Err(Refusal::MediaType);
    }
    let body = read(payload).await?;
    let change = decode::directory(&body).map_err(|error| malformed(&error))?;
    let resync = ingest.watch.take_directory(change).await.map_err(|error| {
        tracing::error!(%error, "a directory change cannot be written down");
        Refusal::Unavailable
    })?;
    let mut response = HttpResponse::Ok();
    if resync {
        response.insert_header(RESYNC);
    }
    Ok(response.finish())
}

impl Ingest {
    fn admit(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let shown = super::bearer(request).ok_or(Refusal::Unauthorized)?;
        secret.is(shown).then_some(()).ok_or(Refusal::Unauthorized)
    }
}

fn content_type(request: &HttpRequest) -> &str {
    let value = request.headers().get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

async fn read(payload: web::Payload) -> Result<web::Bytes, Refusal> {
    let body = tokio::time::timeout(BODY_TIME, payload.to_bytes_limited(BODY_LIMIT));
    match body.await.map_err(|_| Refusal::TooSlow)? {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refusal::Malformed("The body is cut off or malformed")),
        Err(_) => Err(Refusal::TooLarge),
    }
}

fn malformed(error: &decode::DecodeError) -> Refusal {
    // The text may quote what was sent, so it stays here.
    tracing::warn!(%error, "a broker's request cannot be decoded");
    Refusal::Malformed("The body cannot be decoded")
}
