//! The worker that empties the outbox: one SMTP transaction per recipient, each attempt written
//! down before and after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lettre::Address;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::message::{self, Identity};
use super::pace::{Pace, Pause};
use super::smtp::{Failure, Relay, Step};
use super::story::{self, Content, Links, Notice, Story};
use super::tally::{Kind as Counted, Result as Ended, Tally};
use crate::clock::{Clock, Time};
use crate::db::{Db, DbError, Kind, Mail, Outcome};

/// Fewer incidents than this are never merged into one mail.
const MERGE_FROM: usize = 3;

/// What the outbox holds of a mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Written {
    /// Of an incident.
    Story(Box<Story>),
    /// For the operators.
    Notice(Notice),
}

impl Written {
    /// As stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Sends what waits in the outbox.
#[derive(Debug)]
pub struct Mailer {
    db: Db,
    relay: Option<Relay>,
    links: Links,
    pace: Pace,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
    wake: Notify,
    /// Ends of attempts that the database has not taken yet: those mails are not tried again.
    unsettled: Mutex<HashMap<i64, Outcome>>,
}

impl Mailer {
    /// A worker; `relay` is `None` when mails are off.
    pub fn new(
        db: Db,
        relay: Option<Relay>,
        links: Links,
        pace: Pace,
        clock: Arc<dyn Clock>,
        tally: Arc<Tally>,
    ) -> Arc<Self> {
        let unsettled = Mutex::default();
        Arc::new(Self { db, relay, links, pace, clock, tally, wake: Notify::new(), unsettled })
    }

    /// Whether there is a relay.
    pub const fn is_on(&self) -> bool {
        self.relay.is_some()
    }

    /// Looks into the outbox soon: something was written.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Sends until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut pause = Pause::default();
        while !stop.is_cancelled() {
            if let Err(error) = self.turn(&mut pause, &stop).await {
                tracing::error!(%error, "the outbox cannot be read or written");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.pace.look_every) => {}
            }
        }
    }

    /// Handles everything that is due once.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn turn(&self, pause: &mut Pause, stop: &CancellationToken) -> Result<(), DbError> {
        self.settle_late().await?;
        let now = self.clock.wall();
        let (expired, mails): (Vec<Mail>, Vec<Mail>) =
            self.db.due(now).await?.into_iter().partition(|mail| mail.expires_at <= now);
        for mail in &expired {
            tracing::error!(incident.id = %mail.incident, kind = mail.kind.as_str(), "mail expired");
            self.settle(vec![mail.id], Outcome::Expired).await;
            self.tally.mail(counted(mail.kind), Ended::Expired);
        }
        let Some(relay) = &self.relay else { return Ok(()) };
        for group in grouped(mails) {
            if stop.is_cancelled() || pause.holds(self.clock.wall()) {
                break;
            }
            self.attempt(relay, &group, pause).await?;
        }
        Ok(())
    }

    async fn attempt(
        &self,
        relay: &Relay,
        group: &[Mail],
        pause: &mut Pause,
    ) -> Result<(), DbError> {
        let Some(first) = group.first() else { return Ok(()) };
        let lead = first.lead.unwrap_or(first.id);
        let ids: Vec<i64> = group.iter().map(|mail| mail.id).collect();
        self.db.claim(ids.clone(), lead).await?;
        let kind = counted(first.kind);
        let (to, message) = match self.message(relay, group) {
            Ok(ready) => ready,
            Err(why) => {
                tracing::error!(incident.id = %first.incident, why, "a mail cannot be written");
                self.settle(ids, Outcome::Bounced(why)).await;
                self.tally.mail(kind, Ended::Bounced);
                return Ok(());
            }
        };
        let sent = relay.deliver(&to, &message, &mut |_| ()).await;
        let now = self.clock.wall();
        let (outcome, ended) = match sent {
            Ok(()) => {
                pause.clear();
                self.tally.smtp_ok(now);
                (Outcome::Sent, Ended::Sent)
            }
            Err(failure) => self.after(&failure, first.attempts, pause, now),
        };
        self.settle(ids, outcome).await;
        self.tally.mail(kind, ended);
        Ok(())
    }

    /// What a failed step means for this mail, and for all of them.
    fn after(
        &self,
        failure: &Failure,
        attempts: u32,
        pause: &mut Pause,
        now: Time,
    ) -> (Outcome, Ended) {
        let why = failure.to_string();
        if !failure.stage.is_personal() {
            let until = pause.lengthen(&self.pace, now);
            tracing::error!(error = why, permanent = failure.permanent, "the mail relay fails");
            return (Outcome::Retry(until, why), Ended::Retry);
        }
        if failure.permanent {
            tracing::error!(error = why, "the relay refuses a recipient or a mail");
            return (Outcome::Bounced(why), Ended::Bounced);
        }
        tracing::warn!(error = why, "a mail is deferred");
        (Outcome::Retry(now.plus(self.pace.retry(attempts)), why), Ended::Retry)
    }

    fn message(&self, relay: &Relay, group: &[Mail]) -> Result<(Address, Vec<u8>), String> {
        let first = group.first().ok_or("no mail")?;
        let (content, written_at) = self.content(group)?;
        let to: Address = first.recipient.parse().map_err(|_| "not a mail address")?;
        let of = |incident: Uuid, kind: &'static str| Identity {
            incident,
            kind,
            recipient: first.recipient.clone(),
        };
        let identity = of(first.lead_incident.unwrap_or(first.incident), first.kind.as_str());
        let opening = first.opening_incident.map(|incident| of(incident, Kind::Open.as_str()));
        let from = relay.from();
        message::build(from, &to, &identity, opening.as_ref(), &content, written_at)
            .map(|message| (to, message))
            .map_err(|error| error.to_string())
    }

    fn content(&self, group: &[Mail]) -> Result<(Content, Time), String> {
        let mut stories = Vec::new();
        for mail in group {
            match serde_json::from_str(&mail.body).map_err(|error| error.to_string())? {
                Written::Story(story) => stories.push(*story),
                Written::Notice(notice) => {
                    return Ok((notice.content(&self.links), notice.told_at));
                }
            }
        }
        let told_at = stories.first().map(|story| story.told_at).unwrap_or_default();
        let content = story::merged(&stories, &self.links).ok_or("no facts")?;
        Ok((content, told_at))
    }

    /// Tries to write down ends of attempts that the database refused before.
    async fn settle_late(&self) -> Result<(), DbError> {
        let late: Vec<(i64, Outcome)> = {
            let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            unsettled.iter().map(|(id, outcome)| (*id, outcome.clone())).collect()
        };
        for (id, outcome) in late {
            self.db.settle(vec![id], outcome, self.clock.wall()).await?;
            self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
        Ok(())
    }

    async fn settle(&self, ids: Vec<i64>, outcome: Outcome) {
        let now = self.clock.wall();
        if let Err(error) = self.db.settle(ids.clone(), outcome.clone(), now).await {
            tracing::error!(%error, "the end of a mail cannot be written down");
            let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            unsettled.extend(ids.into_iter().map(|id| (id, outcome.clone())));
        }
    }

    /// Sends `notice` to each of `operators` without the outbox, for when the database refuses.
    /// Tries again like the outbox does, for as long, and gives up at `stop`. Whether it was
    /// taken or refused for each of them.
    pub async fn send_unwritten(
        &self,
        notice: Notice,
        operators: Vec<String>,
        stop: CancellationToken,
    ) -> bool {
        let Some(relay) = &self.relay else { return false };
        let incident = Uuid::new_v4();
        let content = notice.content(&self.links);
        let until = notice.told_at.plus(self.pace.give_up);
        let mut waiting = operators;
        let mut attempts = 0;
        while !waiting.is_empty() && self.clock.wall() < until && !stop.is_cancelled() {
            let mut again = Vec::new();
            for recipient in waiting {
                let Ok(to) = recipient.parse::<Address>() else { continue };
                let identity = Identity { incident, kind: "notice", recipient: recipient.clone() };
                let from = relay.from();
                let built = message::build(from, &to, &identity, None, &content, notice.told_at);
                let Ok(message) = built else { continue };
                let sent = relay.deliver(&to, &message, &mut |_| ()).await;
                let ended = match sent {
                    Ok(()) => Ended::Sent,
                    Err(failure) if failure.permanent && failure.stage.is_personal() => {
                        Ended::Bounced
                    }
                    Err(failure) => {
                        tracing::warn!(error = %failure, "a mail from memory is deferred");
                        again.push(recipient);
                        Ended::Retry
                    }
                };
                if ended == Ended::Sent {
                    self.tally.smtp_ok(self.clock.wall());
                }
                self.tally.mail(Counted::Notice, ended);
            }
            waiting = again;
            let wait = if waiting.is_empty() { Duration::ZERO } else { self.pace.retry(attempts) };
            attempts += 1;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        waiting.is_empty()
    }
}

/// Sends one mail that says that mails work; every step is told to `progress`.
///
/// # Errors
/// The step that failed; `to` that is no address fails at the recipient.
pub async fn test_mail(
    relay: &Relay,
    to: &str,
    now: Time,
    progress: &mut (dyn FnMut(&Step) + Send),
) -> Result<(), Failure> {
    let refused = |text: String| Failure { stage: super::Stage::RcptTo, permanent: true, text };
    let address: Address =
        to.parse().map_err(|_| refused(format!("`{to}` is not a mail address")))?;
    let text = String::from(
        "This is a test from AMS. Alerts to this address work.\n\nNothing is wrong and nothing \
         needs to be done.\n",
    );
    let html = format!("<!DOCTYPE html>\n<html lang=\"en\"><body><p>{text}</p></body></html>\n");
    let content = Content { subject: String::from("[TEST] AMS: mails work"), text, html };
    let incident = Uuid::new_v4();
    let identity = Identity { incident, kind: "test", recipient: to.to_owned() };
    let message = message::build(relay.from(), &address, &identity, None, &content, now)
        .map_err(|error| refused(error.to_string()))?;
    relay.deliver(&address, &message, progress).await
}

const fn counted(kind: Kind) -> Counted {
    match kind {
        Kind::Open => Counted::Open,
        Kind::Change => Counted::Change,
        Kind::Resolve => Counted::Resolve,
        Kind::Notice => Counted::Notice,
    }
}

/// Which of `mails` go out as one: those that did before; else three or more of one recipient,
/// kind and key. Fewer stay apart.
fn grouped(mails: Vec<Mail>) -> Vec<Vec<Mail>> {
    let mut order: Vec<Key> = Vec::new();
    let mut groups: HashMap<Key, Vec<Mail>> = HashMap::new();
    for mail in mails {
        let key = match mail.lead {
            Some(lead) => Key::Lead(lead),
            None => Key::Fresh(mail.recipient.clone(), mail.kind, mail.merge_key.clone()),
        };
        if !groups.contains_key(&key) {
            order.push(key.clone());
        }
        groups.entry(key).or_default().push(mail);
    }
    let mut out = Vec::new();
    for key in order {
        let Some(group) = groups.remove(&key) else { continue };
        if matches!(key, Key::Lead(_)) || group.len() >= MERGE_FROM {
            out.push(group);
        } else {
            out.extend(group.into_iter().map(|mail| vec![mail]));
        }
    }
    out
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Lead(i64),
    Fresh(String, Kind, String),
}
