//! Two doors: brokers report to one, people and Prometheus look through the other.

mod error;
mod exposition;
mod ingest;
mod look;
mod subscriptions;

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpRequest, HttpServer, web};

use self::error::Refusal;
use crate::watch::Watch;

pub use ingest::Secret;

/// Threads of each listener.
const WORKERS: usize = 2;
/// Seconds a stopping listener waits for requests under way.
const DRAIN_SECONDS: u64 = 4;

/// Serves `/v1/metrics` and `/v1/directory` for brokers. `secret` is `None` only on loopback.
///
/// # Errors
/// The listener cannot be used.
pub fn serve_ingest(
    listener: TcpListener,
    watch: Arc<Watch>,
    secret: Option<Secret>,
) -> std::io::Result<Server> {
    let ingest = ingest::Ingest { watch, secret };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(ingest.clone()))
            .configure(ingest::routes)
            .default_service(web::to(unknown))
    });
    let server = server.workers(WORKERS).shutdown_timeout(DRAIN_SECONDS).disable_signals();
    Ok(server.listen(listener)?.run())
}

/// Serves `/metrics`, `/v1/subscriptions`, `/healthz` and `/readyz`. On loopback (`open`) nobody
/// needs a token.
///
/// # Errors
/// The listener cannot be used.
pub fn serve_metrics(
    listener: TcpListener,
    watch: Arc<Watch>,
    open: bool,
) -> std::io::Result<Server> {
    let look = look::Look { watch, open };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(look.clone()))
            .configure(look::routes)
            .default_service(web::to(unknown))
    });
    let server = server.workers(WORKERS).shutdown_timeout(DRAIN_SECONDS).disable_signals();
    Ok(server.listen(listener)?.run())
}

async fn unknown(request: HttpRequest) -> Result<&'static str, Refusal> {
    const KNOWN: [&str; 6] =
        ["/v1/metrics", "/v1/directory", "/metrics", "/v1/subscriptions", "/healthz", "/readyz"];
    Err(if KNOWN.contains(&request.path()) { Refusal::Method } else { Refusal::NotFound })
}

/// The token of an `Authorization: Bearer` header.
fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
