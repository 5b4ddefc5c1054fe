//! Mails: what they say, and how they leave.
//!
//! An incident's change and its mails are written in one transaction (`db`); here they are put
//! into words ([`Story`]), sent one SMTP transaction per recipient ([`Relay`]), and tried again
//! until the relay has taken them ([`Mailer`]). At least once, never dropped in silence; a repeated
//! attempt has the same `Message-ID`.

mod document;
mod mailer;
mod message;
mod pace;
mod smtp;
mod story;
mod tally;

pub use mailer::{Mailer, Written, test_mail};
pub use pace::{Pace, Pause};
pub use smtp::{Failure, Relay, RelayError, Security, Stage, Step};
pub use story::{About, Content, Links, Notice, Story};
pub use tally::{Kind, Result, Tally};

/// Whether `text` is a mail address that can be put into an envelope.
pub fn is_address(text: &str) -> bool {
    text.parse::<lettre::Address>().is_ok()
}
