//! The tables, and the version that says which.

use rusqlite::Connection;

/// The `user_version` of a file written by this program.
pub(super) const VERSION: i64 = 1;

/// Times are Unix nanoseconds; ids are uuids as text; bodies are JSON.
const TABLES: &str = "
CREATE TABLE judged (
    subscription TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE incident (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX incident_open ON incident (opened_at) WHERE closed_at IS NULL;

-- One row per (incident, kind, recipient). `lead` is the row whose mail this row is part of,
-- chosen before the first attempt: it makes the Message-ID, so that an attempt repeated after a
-- lost answer is the same mail.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    incident TEXT NOT NULL,
    kind TEXT NOT NULL,
    recipient TEXT NOT NULL,
    merge_key TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    lead INTEGER,
    status TEXT NOT NULL DEFAULT 'waiting',
    settled_at INTEGER,
    last_error TEXT,
    UNIQUE (incident, kind, recipient)
) STRICT;
CREATE INDEX outbox_waiting ON outbox (due_at) WHERE status = 'waiting';

CREATE TABLE deletion (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    by_user TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- History: cumulative values, written only when they changed, plain overwrites.
CREATE TABLE sample_1m (
    minute INTEGER NOT NULL,
    resource TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (minute, resource)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
";

/// Makes the tables in an empty file. `Err` inside: the version found, which is newer than ours.
pub(super) fn prepare(connection: &mut Connection) -> Result<Result<(), i64>, rusqlite::Error> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Ok(Err(found));
    }
    if found == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(Ok(()))
}
