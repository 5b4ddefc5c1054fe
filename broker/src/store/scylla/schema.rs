//! The tables, and the row that says which store this is.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlValue, Row};

use super::{OpenError, Settings};

/// What this version writes; another is refused.
const FORMAT: i32 = 1;

/// Making a table can take many times what a write takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Conditional writes only, but for whole partitions; `gc_grace_seconds` is never lowered on such a
/// table, since that is how long the rounds of a condition are remembered. Slow reads ask another
/// replica after 50 ms: the default follows a dead one up to the time-out.
const TABLES: &[&str] = &[
    // One segment of a topic life is one partition, one entry one row; `base` -1 is the header,
    // which every condition reads. `packed` counts the bytes of all entries before this one. Exactly
    // one of `inline` and `parts` is set.
    "CREATE TABLE IF NOT EXISTS topic_log (
        topic_id uuid, seg int, base bigint,
        next_offset bigint STATIC, state tinyint STATIC, start_offset bigint STATIC,
        head blob STATIC, seg_bytes bigint STATIC, seg_entries int STATIC,
        n int, ts bigint, packed bigint, entry_id uuid, inline blob, parts int,
        PRIMARY KEY ((topic_id, seg), base)
     ) WITH CLUSTERING ORDER BY (base ASC)
       AND gc_grace_seconds = 864000 AND speculative_retry = '50ms'",
    // Which segments an open life has; `base_ts` is the time of the last entry before the segment,
    // `packed` the bytes of all of them.
    "CREATE TABLE IF NOT EXISTS topic_segment (
        topic_id uuid, seg int, base bigint, base_ts bigint, packed bigint,
        PRIMARY KEY (topic_id, seg)
     ) WITH CLUSTERING ORDER BY (seg ASC) AND speculative_retry = '50ms'",
    // Large payloads, immutable.
    "CREATE TABLE IF NOT EXISTS log_payload (
        topic_id uuid, payload_id uuid, part int, data blob,
        PRIMARY KEY ((topic_id, payload_id), part)
     ) WITH compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 64}
       AND speculative_retry = '50ms'",
    "CREATE TABLE IF NOT EXISTS sub_state (
        sub_id uuid PRIMARY KEY, version bigint, state blob
     ) WITH gc_grace_seconds = 864000 AND speculative_retry = '50ms'",
    // `kind` 0: an object under its key; 1: a change set under its version, 20 digits.
    "CREATE TABLE IF NOT EXISTS catalog (
        scope text, kind tinyint, key text, version bigint STATIC, value blob,
        PRIMARY KEY (scope, kind, key)
     ) WITH gc_grace_seconds = 864000 AND speculative_retry = '50ms'",
    "CREATE TABLE IF NOT EXISTS store_identity (
        name text PRIMARY KEY, id bigint, format int
     ) WITH gc_grace_seconds = 864000",
];

/// Makes keyspace and tables where they are missing. For a single broker: several that make the
/// same table at once can lose what is written to it.
pub(super) async fn create(session: &Session, settings: &Settings) -> Result<(), OpenError> {
    let Settings { keyspace, replication, datacenter, .. } = settings;
    let text = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replication}}}"
    );
    tell(session, text).await?;
    session.use_keyspace(keyspace, false).await.map_err(OpenError::cluster)?;
    for table in TABLES {
        tell(session, *table).await?;
    }
    Ok(())
}

async fn tell(session: &Session, text: impl Into<String>) -> Result<(), OpenError> {
    let mut statement = Statement::new(text);
    statement.set_request_timeout(Some(PATIENCE));
    session.query_unpaged(statement, ()).await.map(drop).map_err(OpenError::cluster)
}

/// The store's id; a new one is drawn where there is none.
pub(super) async fn identity(session: &Session) -> Result<u64, OpenError> {
    let draw = Statement::new(
        "INSERT INTO store_identity (name, id, format) VALUES ('store', ?, ?) IF NOT EXISTS",
    );
    let mine: u64 = rand::random();
    let values = (mine.cast_signed(), FORMAT);
    session.query_unpaged(draw, values).await.map_err(OpenError::cluster)?;
    let mut read = Statement::new("SELECT id, format FROM store_identity WHERE name = 'store'");
    read.set_consistency(scylla::statement::Consistency::LocalSerial);
    let answer = session.query_unpaged(read, ()).await.map_err(OpenError::cluster)?;
    let rows = answer.into_rows_result().map_err(OpenError::cluster)?;
    let (id, format): (i64, i32) = rows.first_row().map_err(OpenError::cluster)?;
    if format == FORMAT { Ok(id.cast_unsigned()) } else { Err(OpenError::Newer(format)) }
}

/// Refuses a Cassandra that forgets acknowledged writes when its process is killed. Only
/// Cassandra has this table, and only for the node that is asked.
pub(super) async fn check_commit_log(session: &Session) -> Result<(), OpenError> {
    let ask = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'";
    let Ok(answer) = session.query_unpaged(ask, ()).await else { return Ok(()) };
    let rows = answer.into_rows_result().map_err(OpenError::cluster)?;
    let row = rows.maybe_first_row::<Row>().map_err(OpenError::cluster)?;
    let value = row.and_then(|row| row.columns.into_iter().next().flatten());
    match value {
        Some(CqlValue::Text(value)) if value == "periodic" => Err(OpenError::Periodic),
        _ => Ok(()),
    }
}
