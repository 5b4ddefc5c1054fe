//! What browsers ask before they send (`ams-contract.md` 1.2): ams-admin-ui is one.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, ORIGIN,
};

const METHODS: [&str; 6] = ["OPTIONS", "POST", "GET", "PUT", "DELETE", "HEAD"];
/// Methods that need no permission.
const SIMPLE_METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
/// Headers that need no permission.
const SIMPLE_HEADERS: [&str; 4] = ["Accept", "Accept-Language", "Content-Language", "Origin"];
const HEADERS: [&str; 3] = ["X-Requested-With", "Content-Type", "X-Api-Key"];

/// Whether the request comes from a page: its answer then names who may read it.
pub(super) fn has_origin(headers: &HeaderMap) -> bool {
    headers.get(ORIGIN).is_some_and(|origin| !origin.is_empty())
}

/// The answer to any `OPTIONS` request.
pub(super) fn preflight(headers: &HeaderMap) -> HttpResponse {
    if !has_origin(headers) {
        return HttpResponse::Ok().finish();
    }
    match permission(headers) {
        Err(status) => HttpResponse::new(status),
        Ok((method, wanted)) => {
            let mut response = HttpResponse::Ok();
            if !wanted.is_empty() {
                response.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, wanted.join(",")));
            }
            if !SIMPLE_METHODS.contains(&method) {
                response.insert_header((ACCESS_CONTROL_ALLOW_METHODS, method));
            }
            response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
            response.finish()
        }
    }
}

/// The wanted method and those of the wanted headers that need a permission.
fn permission(headers: &HeaderMap) -> Result<(&'static str, Vec<&'static str>), StatusCode> {
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD).ok_or(StatusCode::BAD_REQUEST)?;
    let method = METHODS
        .into_iter()
        .find(|method| wanted.as_bytes() == method.as_bytes())
        .ok_or(StatusCode::METHOD_NOT_ALLOWED)?;
    let list = match headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        None => "",
        Some(list) => list.to_str().map_err(|_| StatusCode::FORBIDDEN)?,
    };
    let mut special = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if SIMPLE_HEADERS.iter().any(|simple| simple.eq_ignore_ascii_case(name)) {
            continue;
        }
        let known = HEADERS.into_iter().find(|known| known.eq_ignore_ascii_case(name));
        special.push(known.ok_or(StatusCode::FORBIDDEN)?);
    }
    Ok((method, special))
}
