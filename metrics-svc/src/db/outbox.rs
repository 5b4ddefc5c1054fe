//! Mails that wait: written in the transaction that changes their incident, settled after the
//! relay's 250.

use rusqlite::{Row, Transaction, named_params, params};
use uuid::Uuid;

use super::{Db, DbError};
use crate::clock::Time;

/// What a mail says of its incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It has begun.
    Open,
    /// It has become another trouble.
    Change,
    /// It is over.
    Resolve,
    /// Something the operators must know that is no incident.
    Notice,
}

impl Kind {
    /// As stored, and as the label of a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Change => "change",
            Self::Resolve => "resolve",
            Self::Notice => "notice",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "change" => Self::Change,
            "resolve" => Self::Resolve,
            _ => Self::Notice,
        }
    }
}

/// A mail to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMail {
    /// Its incident; a fresh id for a notice.
    pub incident: Uuid,
    /// Opening, change or notice. Closing mails follow from the opening ones, see [`super::Commit`].
    pub kind: Kind,
    /// The one address it goes to.
    pub recipient: String,
    /// Mails of one recipient with the same key may become one.
    pub merge_key: String,
    /// What it says, JSON.
    pub body: String,
    /// Not before this time.
    pub due_at: Time,
    /// Given up at this time.
    pub expires_at: Time,
}

/// A mail that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Row.
    pub id: i64,
    /// Its incident.
    pub incident: Uuid,
    /// What it says of it.
    pub kind: Kind,
    /// To whom.
    pub recipient: String,
    /// See [`NewMail::merge_key`].
    pub merge_key: String,
    /// See [`NewMail::body`].
    pub body: String,
    /// Attempts before this one.
    pub attempts: u32,
    /// Given up at this time.
    pub expires_at: Time,
    /// The row whose mail it became part of at the first attempt.
    pub lead: Option<i64>,
    /// The incident of that row.
    pub lead_incident: Option<Uuid>,
    /// Of a mail after the opening one: the incident that made the Message-ID of the opening one.
    pub opening_incident: Option<Uuid>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The relay took it.
    Sent,
    /// The relay refuses this recipient for ever.
    Bounced(String),
    /// Too old.
    Expired,
    /// Again at this time.
    Retry(Time, String),
}

/// The waiting mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// How many.
    pub waiting: u64,
    /// When the oldest was written.
    pub oldest: Option<Time>,
    /// When the first is due.
    pub next_due: Option<Time>,
}

/// SQLite's integers are signed; times hold until 2262.
pub(super) fn stored(time: Time) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub(super) fn loaded(nanos: i64) -> Time {
    Time(u64::try_from(nanos).unwrap_or_default())
}

/// At most this many mails are handled in one turn.
const TURN: i64 = 500;

/// The mails of one incident to one recipient keep their order: one waits until those before it are
/// settled. A mail from the future was written
/// before the clock was set back: it is due.
const DUE: &str = "
SELECT o.id, o.incident, o.kind, o.recipient, o.merge_key, o.body, o.attempts, o.expires_at,
       o.lead, l.incident AS lead_incident, pl.incident AS opening_incident
FROM outbox o
LEFT JOIN outbox l ON l.id = o.lead
LEFT JOIN outbox p ON o.kind IN ('resolve', 'change') AND p.kind = 'open'
     AND p.incident = o.incident AND p.recipient = o.recipient
LEFT JOIN outbox pl ON pl.id = p.lead
WHERE o.status = 'waiting' AND (o.due_at <= ?1 OR o.created_at > ?1)
      AND (p.id IS NULL OR p.status <> 'waiting')
      AND NOT (o.kind = 'resolve' AND EXISTS (
          SELECT 1 FROM outbox c WHERE c.incident = o.incident AND c.kind = 'change'
          AND c.recipient = o.recipient AND c.status = 'waiting'))
ORDER BY o.due_at, o.id LIMIT ?2";

impl Db {
    /// The mails to be tried now, oldest first, at most 500.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn due(&self, now: Time) -> Result<Vec<Mail>, DbError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(DUE)?;
            let rows = statement.query_map(params![stored(now), TURN], mail)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Writes down, before an attempt, that it is made: `mails` become one mail under `lead`.
    ///
    /// # Errors
    /// The database refuses; the attempt must not be made then.
    pub async fn claim(&self, mails: Vec<i64>, lead: i64) -> Result<(), DbError> {
        self.write(move |transaction| {
            let sql = "UPDATE outbox SET attempts = attempts + 1, lead = ?2 WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            for id in mails {
                statement.execute(params![id, lead])?;
            }
            Ok(())
        })
        .await
    }

    /// Writes down how an attempt ended. The closing mail of an opening one that never arrives is
    /// called off.
    ///
    /// # Errors
    /// The database refuses; the mail is tried again then, under the same Message-ID.
    pub async fn settle(
        &self,
        mails: Vec<i64>,
        outcome: Outcome,
        now: Time,
    ) -> Result<(), DbError> {
        self.write(move |transaction| {
            for id in mails {
                settle(transaction, id, &outcome, now)?;
            }
            Ok(())
        })
        .await
    }

    /// Puts one mail into the outbox that belongs to no incident's change.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn post(&self, mails: Vec<NewMail>, now: Time) -> Result<(), DbError> {
        self.write(move |transaction| {
            mails.iter().try_for_each(|mail| insert(transaction, mail, now))
        })
        .await
    }

    /// How many mails wait.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn queue(&self) -> Result<Queue, DbError> {
        self.read(|connection| {
            let sql = "SELECT count(*), min(created_at), min(due_at) FROM outbox
                       WHERE status = 'waiting'";
            Ok(connection.query_row(sql, [], |row| {
                Ok(Queue {
                    waiting: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
                    oldest: row.get::<_, Option<i64>>(1)?.map(loaded),
                    next_due: row.get::<_, Option<i64>>(2)?.map(loaded),
                })
            })?)
        })
        .await
    }
}

/// Writes one mail; the same (incident, kind, recipient) twice is one mail.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    mail: &NewMail,
    now: Time,
) -> Result<(), DbError> {
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO outbox
             (incident, kind, recipient, merge_key, body, created_at, due_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            mail.incident.to_string(),
            mail.kind.as_str(),
            mail.recipient,
            mail.merge_key,
            mail.body,
            stored(now),
            stored(mail.due_at),
            stored(mail.expires_at),
        ])?;
    Ok(())
}

fn settle(
    transaction: &Transaction<'_>,
    id: i64,
    outcome: &Outcome,
    now: Time,
) -> Result<(), DbError> {
    let (status, why) = match outcome {
        Outcome::Retry(at, why) => {
            let sql = "UPDATE outbox SET due_at = ?2, last_error = ?3,
                       created_at = min(created_at, ?4) WHERE id = ?1";
            transaction.execute(sql, params![id, stored(*at), why, stored(now)])?;
            return Ok(());
        }
        Outcome::Sent => ("sent", None),
        Outcome::Bounced(why) => ("bounced", Some(why.as_str())),
        Outcome::Expired => ("expired", None),
    };
    let sql = "UPDATE outbox SET status = :status, settled_at = :now,
               last_error = coalesce(:why, last_error) WHERE id = :id AND status = 'waiting'";
    transaction.execute(
        sql,
        named_params! { ":status": status, ":now": stored(now), ":why": why, ":id": id },
    )?;
    if status != "sent" {
        transaction.execute(
            "UPDATE outbox SET status = 'cancelled', settled_at = ?2
             WHERE kind = 'resolve' AND status = 'waiting' AND (incident, recipient) IN
                   (SELECT incident, recipient FROM outbox WHERE id = ?1 AND kind = 'open')",
            params![id, stored(now)],
        )?;
    }
    Ok(())
}

fn mail(row: &Row<'_>) -> Result<Mail, rusqlite::Error> {
    let uuid = |text: Option<String>| text.and_then(|text| Uuid::parse_str(&text).ok());
    Ok(Mail {
        id: row.get("id")?,
        incident: uuid(row.get("incident")?).unwrap_or_default(),
        kind: Kind::parse(&row.get::<_, String>("kind")?),
        recipient: row.get("recipient")?,
        merge_key: row.get("merge_key")?,
        body: row.get("body")?,
        attempts: row.get("attempts")?,
        expires_at: loaded(row.get("expires_at")?),
        lead: row.get("lead")?,
        lead_incident: uuid(row.get("lead_incident")?),
        opening_incident: uuid(row.get("opening_incident")?),
    })
}
