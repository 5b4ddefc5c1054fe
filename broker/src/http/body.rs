//! Request bodies: read when a handler asks, bounded in size and time, never left lying about.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use actix_web::web::{self, Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::error::Refusal;
use super::inflate::Inflater;
use super::settings::Settings;
use crate::service::{Error, Share};

/// How long and (times the limit) how much is read and dropped before an answer: a client that is
/// still writing would see a reset, not the answer.
const DROP_FOR: Duration = Duration::from_secs(2);
const DROP_FACTOR: u64 = 4;
/// What is set aside for a body on the word of its head alone.
const TRUSTED: usize = 64 * 1024;
/// How much more than has come, as it comes: each step is a copy.
const TRUSTED_TIMES: usize = 4;

/// How often a body's pace is looked at: what is slower than the rate holds room that others want.
const LOOK: Duration = Duration::from_secs(2);

/// Bytes that came since the last look.
struct Pace {
    since: Instant,
    had: u64,
}

/// The body of one request, to be read once.
pub(super) struct Body {
    payload: Cell<Option<web::Payload>>,
    /// As the head says.
    length: Option<u64>,
    encoding: Encoding,
    inflater: Inflater,
    limit: usize,
    deadline: Duration,
    rate: u64,
    /// The room it takes, as long as this request lives: what is made of a body takes less.
    share: RefCell<Option<Share>>,
    /// The connection holds unread bytes, or its client is too slow.
    must_close: Cell<bool>,
}

/// How a body is packed, as the head says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
    /// In no way that is undone here.
    Other,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Self::Plain };
        let name = value.as_bytes().trim_ascii();
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"") || is(b"identity") {
            Self::Plain
        } else if is(b"gzip") || is(b"x-gzip") {
            Self::Gzip
        } else {
            Self::Other
        }
    }
}

impl Body {
    pub(super) fn new(
        payload: web::Payload,
        headers: &HeaderMap,
        settings: &Settings,
        inflater: &Inflater,
        share: Option<Share>,
    ) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        Self {
            payload: Cell::new(Some(payload)),
            length: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            encoding: Encoding::of(headers),
            inflater: inflater.clone(),
            limit: settings.body_limit,
            deadline: settings.body_deadline,
            rate: settings.body_rate.max(1),
            share: RefCell::new(share),
            must_close: Cell::new(false),
        }
    }

    /// The whole body, unpacked.
    ///
    /// # Errors
    /// It is packed in an unknown way or not well, too large (packed or not), too slow, ends too
    /// early, or there is no memory for it now.
    pub(super) async fn read(&self) -> Result<Bytes, Refusal> {
        match self.encoding {
            Encoding::Plain => self.read_packed().await,
            Encoding::Gzip => {
                let plain = self.inflater.gzip(self.read_packed().await?, self.limit).await?;
                if self.has_room(plain.len()) { Ok(plain) } else { Err(self.no_room()) }
            }
            Encoding::Other => Err(Refusal::EncodedBody),
        }
    }

    /// The bytes as they were sent.
    async fn read_packed(&self) -> Result<Bytes, Refusal> {
        let limit = self.limit as u64;
        if let Some(size) = self.length.filter(|size| *size > limit) {
            return Err(Refusal::TooLarge { size, limit });
        }
        let Some(mut payload) = self.payload.take() else {
            return Err(Refusal::UnreadableBody);
        };
        let start = Instant::now();
        let mut pace = Pace { since: start, had: 0 };
        // A body that comes in one piece is not copied.
        let mut whole = Bytes::new();
        let mut read = BytesMut::new();
        loop {
            let earned = Duration::from_secs((whole.len() + read.len()) as u64 / self.rate);
            let deadline = start + self.deadline + earned;
            let Some(next) = self.next(&mut payload, deadline, &mut pace).await else {
                self.must_close.set(true);
                self.share.take();
                self.payload.set(Some(payload));
                return Err(Refusal::SlowBody);
            };
            if let Some(Ok(chunk)) = &next {
                pace.had += chunk.len() as u64;
            }
            match next {
                None if read.is_empty() => return Ok(whole),
                None => return Ok(read.freeze()),
                Some(Err(_)) => {
                    self.must_close.set(true);
                    return Err(Refusal::UnreadableBody);
                }
                Some(Ok(chunk)) if whole.len() + read.len() + chunk.len() > self.limit => {
                    let size = (whole.len() + read.len() + chunk.len()) as u64;
                    self.payload.set(Some(payload));
                    return Err(Refusal::TooLarge { size, limit });
                }
                Some(Ok(chunk)) if whole.is_empty() && read.is_empty() => {
                    if !self.has_room(chunk.len()) {
                        self.payload.set(Some(payload));
                        return Err(self.no_room());
                    }
                    whole = chunk;
                }
                Some(Ok(chunk)) => {
                    let has = whole.len() + read.len();
                    if has + chunk.len() > read.capacity() {
                        let whole_body = self.length.unwrap_or_default();
                        let trusted = TRUSTED.max(has.saturating_mul(TRUSTED_TIMES));
                        let trusted =
                            usize::try_from(whole_body).map_or(trusted, |n| n.min(trusted));
                        read.reserve(trusted.max(has + chunk.len()) - read.len());
                        read.extend_from_slice(&std::mem::take(&mut whole));
                    }
                    read.extend_from_slice(&chunk);
                    // What is set aside counts, not what has come.
                    if !self.has_room(read.capacity()) {
                        self.payload.set(Some(payload));
                        return Err(self.no_room());
                    }
                }
            }
        }
    }

    /// What comes next; `None` when nothing came in time, or too little while memory is short.
    async fn next(
        &self,
        payload: &mut web::Payload,
        deadline: Instant,
        pace: &mut Pace,
    ) -> Option<Option<Result<Bytes, PayloadError>>> {
        loop {
            if let Ok(next) = timeout_at(deadline.min(pace.since + LOOK), payload.next()).await {
                return Some(next);
            }
            let is_late = Instant::now() >= deadline;
            let is_slow = pace.had < self.rate.saturating_mul(LOOK.as_secs());
            if is_late || (is_slow && self.share.borrow().as_ref().is_some_and(Share::is_short)) {
                return None;
            }
            *pace = Pace { since: Instant::now(), had: 0 };
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.share.borrow_mut().as_mut().is_some_and(|share| share.grow(bytes as u64))
    }

    /// Too many bodies are on their way; this one gives its room back.
    fn no_room(&self) -> Refusal {
        self.share.take();
        Refusal::Fact(Error::Unavailable)
    }

    /// Reads and drops what is left, within bounds; says whether the connection must be closed, by
    /// what keeps actix from waiting for the rest until then.
    pub(super) async fn finish(&self) -> Option<Unread> {
        let Some(mut payload) = self.payload.take() else {
            return self.must_close.get().then_some(Unread(None));
        };
        if self.must_close.get() {
            return Some(Unread(Some(payload)));
        }
        let budget = (self.limit as u64).saturating_mul(DROP_FACTOR);
        let until = Instant::now() + DROP_FOR;
        let is_empty = timeout_at(until, drop_rest(&mut payload, budget)).await;
        (is_empty != Ok(true)).then_some(Unread(Some(payload)))
    }
}

/// What a client still sends when its answer is ready. To be kept until that is sent: actix would
/// go on reading a body that nobody holds any more, for as long as it comes.
pub(super) struct Unread(#[expect(dead_code, reason = "held")] Option<web::Payload>);

/// Whether the payload ended within `budget` bytes.
async fn drop_rest(payload: &mut web::Payload, budget: u64) -> bool {
    let mut payload = Pin::new(payload);
    let mut dropped = 0;
    while let Some(chunk) = payload.next().await {
        let Ok(chunk) = chunk else { return false };
        dropped += chunk.len() as u64;
        if dropped > budget {
            return false;
        }
    }
    true
}
