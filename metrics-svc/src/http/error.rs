//! Refusals, in the envelope AMS clients know.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

/// A refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token, or one that nobody has.
    Unauthorized,
    /// No such route.
    NotFound,
    /// Another method.
    Method,
    /// The body is too large.
    TooLarge,
    /// The body came too slowly.
    TooSlow,
    /// The body is in a form that is not taken.
    MediaType,
    /// The body or a parameter cannot be understood.
    Malformed(&'static str),
    /// What must be written down cannot be written now.
    Unavailable,
}

impl Refusal {
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Unauthorized"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND", "Not found"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "INVALID_ARGUMENT",
                "This method is not supported here",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "INVALID_ARGUMENT",
                "The body is too large, the limit is 8388608 bytes",
            ),
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "TIMEOUT", "The body did not come in time")
            }
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "INVALID_ARGUMENT",
                "Unsupported content type or encoding",
            ),
            Self::Malformed(message) => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "Service is temporarily unavailable",
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().2)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let (code, status, message) = self.row();
        let mut response = HttpResponse::build(code).json(json!({
            "error": {"code": code.as_u16(), "message": message, "status": status}
        }));
        let headers = response.headers_mut();
        if *self == Self::Unavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if *self == Self::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
