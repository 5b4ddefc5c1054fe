//! What can be looked at, and by whom: a listener on loopback asks for no token, elsewhere a
//! user's token admits to everything or to that user's projects.

use std::fmt::Write as _;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::error::Refusal;
use super::{exposition, subscriptions};
use crate::series::Viewer;
use crate::watch::Watch;

/// What the handlers are given.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) watch: Arc<Watch>,
    /// Nobody needs a token.
    pub(super) open: bool,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/metrics").route(web::get().to(metrics)));
    config.service(web::resource("/v1/subscriptions").route(web::get().to(list)));
    config.service(web::resource("/healthz").route(web::get().to(healthz)));
    config.service(web::resource("/readyz").route(web::get().to(readyz)));
}

#[derive(Deserialize)]
struct Key {
    key: Option<String>,
}

impl Look {
    fn admit(&self, request: &HttpRequest) -> Result<Viewer, Refusal> {
        if self.open {
            return Ok(Viewer::All);
        }
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let key = web::Query::<Key>::from_query(request.query_string());
        let key = key.ok().and_then(|query| query.into_inner().key);
        let token = super::bearer(request).or_else(|| header("x-api-key")).or(key.as_deref());
        let token = token.filter(|token| !token.is_empty()).ok_or(Refusal::Unauthorized)?;
        let mut sha256 = String::with_capacity(64);
        for byte in Sha256::digest(token.as_bytes()) {
            // Writing to a text cannot fail.
            let written = write!(sha256, "{byte:02x}");
            debug_assert!(written.is_ok());
        }
        self.watch.known().series.admit(&sha256).ok_or(Refusal::Unauthorized)
    }
}

async fn metrics(request: HttpRequest, look: web::Data<Look>) -> Result<HttpResponse, Refusal> {
    let viewer = look.admit(&request)?;
    let queue = look.watch.queue().await;
    let watch = Arc::clone(&look.watch);
    // A large page takes a while to write; the listener's threads stay free.
    let page = web::block(move || exposition::page(&watch, &viewer, queue)).await;
    let text = page.ok().flatten().ok_or(Refusal::Unavailable)?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

async fn list(
    request: HttpRequest,
    filter: Result<web::Query<subscriptions::Filter>, actix_web::Error>,
    look: web::Data<Look>,
) -> Result<HttpResponse, Refusal> {
    let viewer = look.admit(&request)?;
    let filter = filter.map_err(|_| Refusal::Malformed("Invalid query"))?.into_inner();
    if !filter.is_lawful() {
        return Err(Refusal::Malformed("Invalid state"));
    }
    let watch = Arc::clone(&look.watch);
    let page = web::block(move || subscriptions::page(&watch, &viewer, &filter)).await;
    Ok(HttpResponse::Ok().json(page.map_err(|_| Refusal::Unavailable)?))
}

async fn healthz() -> &'static str {
    "ok"
}

/// Ready: the database takes writes and everything was judged at least once.
async fn readyz(look: web::Data<Look>) -> HttpResponse {
    let database = look.watch.can_promise();
    let judged = look.watch.last_evaluation().is_some();
    let code = match database && judged {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    HttpResponse::build(code).json(json!({
        "ready": database && judged, "database": database, "judged": judged
    }))
}
