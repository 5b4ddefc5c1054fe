//! Paged lists: newest first, opaque tokens (`ams-contract.md` 1.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::{Refusal, argument};
use super::json::Writer;
use super::path::Query;
use super::reply::Reply;
use crate::service::{Error, Page, PageRequest};

/// Which page the query asks for. The Python library says `nextPageToken` where the documents say
/// `pageToken`: both are understood (O47).
pub(super) fn wanted(query: Query<'_>) -> Result<PageRequest, Refusal> {
    let size: i64 = match query.get("pageSize") {
        None => 0,
        Some(text) => text.parse().map_err(|_| Refusal::Argument(argument::PAGE_SIZE))?,
    };
    let from = match query.get("pageToken").or_else(|| query.get("nextPageToken")) {
        None => None,
        Some(token) => Some(place(&token).ok_or(Error::InvalidPageToken)?),
    };
    Ok(PageRequest { size: u64::try_from(size).ok().filter(|size| *size > 0), from })
}

/// A page under `key`; `write` writes an element.
pub(super) fn reply<T>(key: &str, page: &Page<T>, write: impl Fn(&mut Writer, &T)) -> Reply {
    let mut json = Writer::indented();
    json.object(|json| {
        json.key(key).list(|json| {
            for item in &page.items {
                write(json, item);
            }
        });
        json.key("nextPageToken").text(&page.next.map(token).unwrap_or_default());
        json.key("totalSize").number(page.total);
    });
    Reply::ok(json.finish())
}

fn token(place: u64) -> String {
    STANDARD.encode(place.to_string())
}

fn place(token: &str) -> Option<u64> {
    String::from_utf8(STANDARD.decode(token).ok()?).ok()?.parse().ok()
}
