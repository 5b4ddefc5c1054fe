//! What goes back to a client.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::Bytes;

use super::body::Unread;
use super::connection::Busy;
use super::json::Writer;
use crate::service::Share;

/// Of every answer but a page, errors and empty bodies too (O26, improved).
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// A page runs nothing and fetches nothing; its style stands in it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// An answer: only 200 is success, never another 2xx (`ams-clients.md` 0.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// HTML for people, not JSON.
    pub(super) is_page: bool,
    /// Seconds.
    pub(super) retry_after: Option<u32>,
}

impl Reply {
    /// 200 with a body.
    pub(super) fn ok(body: impl Into<Bytes>) -> Self {
        Self { status: 200, body: body.into(), is_page: false, retry_after: None }
    }

    /// 200 with a page.
    pub(super) fn page(body: Bytes) -> Self {
        Self { is_page: true, ..Self::ok(body) }
    }

    /// 200 with an empty body.
    pub(super) fn empty() -> Self {
        Self::ok(Bytes::new())
    }

    /// The error envelope (`ams-contract.md` 3), key order and indentation included.
    pub(super) fn envelope(status: u16, name: &str, message: &str) -> Self {
        let mut json = Writer::indented();
        json.object(|json| {
            json.key("error").object(|json| {
                json.key("code").number(status);
                json.key("message").text(message);
                json.key("status").text(name);
            });
        });
        Self { status, ..Self::ok(json.finish()) }
    }

    /// The answer as actix sends it. `cors`: the request named an origin.
    pub(super) fn respond(self, cors: bool, sending: Sending) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        if self.is_page {
            response.insert_header((CONTENT_TYPE, HTML));
            response.insert_header((CONTENT_SECURITY_POLICY, POLICY));
            response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
        } else {
            response.insert_header((CONTENT_TYPE, JSON));
        }
        if cors {
            response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if sending.unread.is_some() {
            response.force_close();
        }
        if self.body.len() <= PIECE && sending.unread.is_none() {
            return response.body(self.body);
        }
        response.body(InPieces { body: self.body, _sending: sending })
    }
}

/// What is held until a body is sent.
pub(super) struct Sending {
    /// The connection is at work.
    #[expect(dead_code, reason = "held")]
    pub(super) busy: Option<Busy>,
    /// It cannot be used any more: there is more of the request than is read.
    pub(super) unread: Option<Unread>,
    /// The room that the body takes.
    #[expect(dead_code, reason = "held")]
    pub(super) share: Option<Share>,
}

impl Sending {
    /// The same for an answer without a body.
    pub(super) fn keep(self, mut response: HttpResponse) -> HttpResponse {
        if self.unread.is_none() {
            return response;
        }
        response.head_mut().set_connection_type(ConnectionType::Close);
        let nothing = InPieces { body: Bytes::new(), _sending: self };
        response.map_body(|_, _| BoxBody::new(nothing))
    }
}

/// How much of a body goes to the connection at once: its buffer takes whatever it is given, and
/// what is in it is counted by nobody.
const PIECE: usize = 32 * 1024;

/// A body, piece by piece.
struct InPieces {
    body: Bytes,
    _sending: Sending,
}

impl MessageBody for InPieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.body.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let piece = self.body.len().min(PIECE);
        Poll::Ready((piece > 0).then(|| Ok(self.body.split_to(piece))))
    }
}
