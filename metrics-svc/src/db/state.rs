//! Judge rows, incidents, deletions and history.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use uuid::Uuid;

use super::outbox::{insert, loaded, stored};
use super::{Db, DbError, NewMail};
use crate::clock::Time;

/// Minute samples are kept this long.
const KEEP_SAMPLES_MINUTES: u64 = 15 * 24 * 60;
/// Closed incidents, settled mails and deletions are kept this long.
const KEEP_CLOSED: Duration = Duration::from_secs(90 * 86_400);

/// Everything one evaluation changes; written in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Changed judge rows: subscription, JSON.
    pub judged: Vec<(Uuid, String)>,
    /// Subscriptions that are gone.
    pub removed: Vec<Uuid>,
    /// Changed incidents.
    pub incidents: Vec<IncidentRow>,
    /// Opening mails, changes and notices.
    pub mails: Vec<NewMail>,
    /// For each: whoever was or will be sent the opening mail, or one of a change, gets a closing one.
    pub closings: Vec<Closing>,
}

/// An incident as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentRow {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub subject: String,
    /// When it began.
    pub opened_at: Time,
    /// When it ended.
    pub closed_at: Option<Time>,
    /// All of it, JSON.
    pub body: String,
}

/// What the closing mails of one incident say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The incident.
    pub incident: Uuid,
    /// See [`NewMail::merge_key`].
    pub merge_key: String,
    /// What they say, JSON.
    pub body: String,
    /// Call off opening mails that were never tried instead of following them with a closing one
    /// (the subscription was deleted: there is nothing left to tell).
    pub only_if_told: bool,
    /// Not before this time.
    pub due_at: Time,
    /// Given up at this time.
    pub expires_at: Time,
}

impl Commit {
    /// Adds what a later evaluation changes, for when this one could not be written.
    pub fn absorb(&mut self, later: Self) {
        let judged: BTreeSet<Uuid> = later.judged.iter().map(|(id, _)| *id).collect();
        let incidents: BTreeSet<Uuid> = later.incidents.iter().map(|row| row.id).collect();
        self.judged.retain(|(id, _)| !judged.contains(id));
        self.incidents.retain(|row| !incidents.contains(&row.id));
        self.judged.extend(later.judged);
        self.removed.extend(later.removed);
        self.incidents.extend(later.incidents);
        self.mails.extend(later.mails);
        self.closings.extend(later.closings);
    }
}

/// What a start finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Judge rows, JSON.
    pub judged: Vec<String>,
    /// Open incidents, JSON, oldest first.
    pub incidents: Vec<String>,
    /// Deletions of the last day, newest last.
    pub deletions: Vec<Deletion>,
}

/// Who deleted what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// `project`, `user`, `topic` or `subscription`.
    pub kind: String,
    /// The object's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The user's name; empty when not known.
    pub by: String,
    /// When.
    pub at: Time,
}

/// One history row: cumulative values of one resource at one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Minutes since 1970.
    pub minute: u64,
    /// Topic life or subscription.
    pub resource: Uuid,
    /// `topic` or `subscription`.
    pub kind: &'static str,
    /// OTLP names and values, JSON.
    pub body: String,
}

impl Db {
    /// Reads what must survive a restart.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn load(&self, now: Time) -> Result<Saved, DbError> {
        self.read(move |connection| {
            Ok(Saved {
                judged: texts(connection, "SELECT body FROM judged")?,
                incidents: texts(
                    connection,
                    "SELECT body FROM incident WHERE closed_at IS NULL ORDER BY opened_at, id",
                )?,
                deletions: deletions(connection, now.minus(DAY))?,
            })
        })
        .await
    }

    /// Writes all of an evaluation, or nothing. An empty one is written too: it proves that the
    /// database takes writes.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn commit(&self, commit: Arc<Commit>, now: Time) -> Result<(), DbError> {
        self.write(move |transaction| {
            for (subscription, body) in &commit.judged {
                let sql = "INSERT OR REPLACE INTO judged (subscription, body) VALUES (?1, ?2)";
                transaction
                    .prepare_cached(sql)?
                    .execute(params![subscription.to_string(), body])?;
            }
            for subscription in &commit.removed {
                let sql = "DELETE FROM judged WHERE subscription = ?1";
                transaction.prepare_cached(sql)?.execute([subscription.to_string()])?;
            }
            for incident in &commit.incidents {
                let sql =
                    "INSERT OR REPLACE INTO incident (id, subject, opened_at, closed_at, body)
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                transaction.prepare_cached(sql)?.execute(params![
                    incident.id.to_string(),
                    incident.subject,
                    stored(incident.opened_at),
                    incident.closed_at.map(stored),
                    incident.body,
                ])?;
            }
            commit.mails.iter().try_for_each(|mail| insert(transaction, mail, now))?;
            commit.closings.iter().try_for_each(|closing| close(transaction, closing, now))?;
            let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES ('evaluated_at', ?1)";
            transaction.prepare_cached(sql)?.execute([stored(now)])?;
            Ok(())
        })
        .await
    }

    /// Writes down who deleted what.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn record_deletions(&self, deletions: Vec<Deletion>) -> Result<(), DbError> {
        self.write(move |transaction| {
            let sql = "INSERT OR IGNORE INTO deletion (kind, id, name, by_user, at)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            for gone in &deletions {
                transaction.prepare_cached(sql)?.execute(params![
                    gone.kind,
                    gone.id,
                    gone.name,
                    gone.by,
                    stored(gone.at)
                ])?;
            }
            Ok(())
        })
        .await
    }

    /// Writes history rows, and drops everything that is too old. The rows are made one by one as
    /// they are written: together they are far more than what is known.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn keep_samples(
        &self,
        samples: impl Iterator<Item = Sample> + Send + 'static,
        now: Time,
    ) -> Result<(), DbError> {
        self.write(move |transaction| {
            let sql = "INSERT OR REPLACE INTO sample_1m (minute, resource, kind, body)
                       VALUES (?1, ?2, ?3, ?4)";
            for sample in samples {
                transaction.prepare_cached(sql)?.execute(params![
                    i64::try_from(sample.minute).unwrap_or(i64::MAX),
                    sample.resource.to_string(),
                    sample.kind,
                    sample.body
                ])?;
            }
            prune(transaction, now)
        })
        .await
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn texts(connection: &Connection, sql: &str) -> Result<Vec<String>, DbError> {
    Ok(connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn deletions(connection: &Connection, since: Time) -> Result<Vec<Deletion>, DbError> {
    let sql = "SELECT kind, id, name, by_user, at FROM deletion WHERE at >= ?1 ORDER BY at";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Deletion {
            kind: row.get(0)?,
            id: row.get(1)?,
            name: row.get(2)?,
            by: row.get(3)?,
            at: loaded(row.get(4)?),
        })
    };
    Ok(connection.prepare(sql)?.query_map([stored(since)], read)?.collect::<Result<_, _>>()?)
}

fn close(transaction: &Transaction<'_>, closing: &Closing, now: Time) -> Result<(), DbError> {
    let incident = closing.incident.to_string();
    if closing.only_if_told {
        transaction.execute(
            "UPDATE outbox SET status = 'cancelled', settled_at = ?2
             WHERE incident = ?1 AND kind IN ('open', 'change') AND status = 'waiting'
                   AND attempts = 0",
            params![incident, stored(now)],
        )?;
    }
    transaction.execute(
        "INSERT OR IGNORE INTO outbox
         (incident, kind, recipient, merge_key, body, created_at, due_at, expires_at)
         SELECT incident, 'resolve', recipient, ?2, ?3, ?4, ?5, ?6 FROM outbox
         WHERE incident = ?1 AND kind IN ('open', 'change') AND status IN ('waiting', 'sent')",
        params![
            incident,
            closing.merge_key,
            closing.body,
            stored(now),
            stored(closing.due_at),
            stored(closing.expires_at)
        ],
    )?;
    Ok(())
}

fn prune(transaction: &Transaction<'_>, now: Time) -> Result<(), DbError> {
    let minute = now.secs() / 60;
    let oldest = i64::try_from(minute.saturating_sub(KEEP_SAMPLES_MINUTES)).unwrap_or_default();
    transaction.execute("DELETE FROM sample_1m WHERE minute < ?1", [oldest])?;
    let before = stored(now.minus(KEEP_CLOSED));
    // An open incident keeps its opening mails: they say who gets the closing one.
    transaction.execute(
        "DELETE FROM outbox WHERE settled_at < ?1 AND incident NOT IN
         (SELECT id FROM incident WHERE closed_at IS NULL)",
        [before],
    )?;
    transaction.execute("DELETE FROM incident WHERE closed_at < ?1", [before])?;
    transaction.execute("DELETE FROM deletion WHERE at < ?1", [before])?;
    Ok(())
}
