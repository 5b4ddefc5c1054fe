//! A mail as it goes over the wire: headers that mail readers and other robots understand.

use std::time::{Duration, SystemTime};

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, MultiPartKind, SinglePart};
use lettre::{Address, error::Error as MailError};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::story::Content;
use crate::clock::Time;

/// What a mail is, so that a repeated attempt and a reply in the same thread can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The incident.
    pub(super) incident: Uuid,
    /// `open`, `resolve`, `notice`, `test`.
    pub(super) kind: &'static str,
    /// To whom.
    pub(super) recipient: String,
}

impl Identity {
    /// Stable per (incident, kind, recipient): a rare duplicate collapses in the mailbox. The
    /// recipient is hashed, because mails are forwarded.
    pub(super) fn message_id(&self, domain: &str) -> String {
        let digest = Sha256::digest(self.recipient.as_bytes());
        let mut whom = String::new();
        for byte in digest.iter().take(6) {
            whom.push_str(&format!("{byte:02x}"));
        }
        format!("<{}.{}.{whom}@{domain}>", self.incident, self.kind)
    }
}

/// Builds the message. `written_at` is the time of the decision, the same at every attempt.
///
/// # Errors
/// The recipient is not an address.
pub(super) fn build(
    from: &Mailbox,
    to: &Address,
    identity: &Identity,
    opening: Option<&Identity>,
    content: &Content,
    written_at: Time,
) -> Result<Vec<u8>, MailError> {
    let domain = from.email.domain();
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(written_at.secs());
    let mut builder = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(content.subject.clone())
        .date(date)
        .message_id(Some(identity.message_id(domain)))
        .header(AutoSubmitted)
        .header(AutoResponseSuppress)
        .header(ListId(format!("AMS alerts <alerts.ams.{domain}>")));
    if let Some(opening) = opening {
        let id = opening.message_id(domain);
        builder = builder.in_reply_to(id.clone()).references(id);
    }
    // A boundary of our own: the same mail has the same bytes at every attempt.
    let boundary = format!("ams-{}-{}", identity.incident.simple(), identity.kind);
    let body = MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        .boundary(boundary)
        .singlepart(SinglePart::plain(content.text.clone()))
        .singlepart(SinglePart::html(content.html.clone()));
    Ok(builder.multipart(body)?.formatted())
}

#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), String::from("auto-generated"))
    }
}

#[derive(Clone)]
struct AutoResponseSuppress;

impl Header for AutoResponseSuppress {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Auto-Response-Suppress")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), String::from("All"))
    }
}

#[derive(Clone)]
struct ListId(String);

impl Header for ListId {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Id")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}
