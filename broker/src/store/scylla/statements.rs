//! Every statement, by what it says.

use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::OpenError;

/// How a statement travels.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A conditional write: sent once, by us; what comes of it is told as it is.
    Condition,
    /// A read that first finishes every conditional write in flight on its partition.
    Serial,
    /// May be sent twice, also by the driver.
    Plain,
    /// A read of every replica.
    Everywhere,
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $text:expr;)*) => {
        /// Everything that is said to the database, prepared.
        pub(super) struct Statements {
            $($(#[$doc])* pub(super) $name: PreparedStatement,)*
        }

        impl Statements {
            /// Prepares them all. `once` is the profile that repeats nothing.
            pub(super) async fn prepare(
                session: &Session,
                once: &ExecutionProfileHandle,
            ) -> Result<Self, OpenError> {
                Ok(Self { $($name: prepare(session, once, Kind::$kind, $text).await?,)* })
            }
        }
    };
}

statements! {
    /// The commit of an entry: moves the end of the segment and writes the row, or nothing.
    append: Condition
        "UPDATE topic_log SET next_offset = ?, head = ?, state = ?, seg_bytes = ?, \
         seg_entries = ?, n = ?, ts = ?, packed = ?, entry_id = ?, inline = ?, parts = ? \
         WHERE topic_id = ? AND seg = ? AND base = ? IF next_offset = ? AND state = 0";
    /// The header sets every static, or a condition could not tell its row from no row.
    create_segment: Condition
        "INSERT INTO topic_log (topic_id, seg, base, next_offset, state, start_offset, head, \
         seg_bytes, seg_entries) VALUES (?, ?, -1, ?, 0, ?, ?, 0, 0) IF NOT EXISTS";
    close: Condition
        "UPDATE topic_log SET state = 2 WHERE topic_id = ? AND seg = ? \
         IF next_offset = ? AND start_offset = ? AND state = 0";
    trim: Condition
        "UPDATE topic_log SET start_offset = ? WHERE topic_id = ? AND seg = ? \
         IF next_offset = ? AND start_offset = ? AND state = 0";
    /// The first segment remembers for ever that its life is closed.
    close_first_segment: Condition
        "UPDATE topic_log SET state = 2 WHERE topic_id = ? AND seg = 0 IF state = 1";
    drop_segment: Plain "DELETE FROM topic_log WHERE topic_id = ? AND seg = ?";
    segment: Serial
        "SELECT next_offset, state, start_offset, head, seg_bytes, seg_entries \
         FROM topic_log WHERE topic_id = ? AND seg = ? LIMIT 1";
    put_index: Plain
        "INSERT INTO topic_segment (topic_id, seg, base, base_ts, packed) VALUES (?, ?, ?, ?, ?)";
    drop_index: Plain "DELETE FROM topic_segment WHERE topic_id = ?";
    index: Plain "SELECT seg, base, base_ts, packed FROM topic_segment WHERE topic_id = ?";
    indexed_topics: Plain "SELECT DISTINCT topic_id FROM topic_segment";
    /// Which entry lies at an offset, finally.
    entry_id: Serial
        "SELECT entry_id FROM topic_log WHERE topic_id = ? AND seg = ? AND base = ?";
    entry_over: Plain
        "SELECT base, entry_id, inline, parts FROM topic_log WHERE topic_id = ? AND seg = ? \
         AND base >= 0 AND base <= ? ORDER BY base DESC LIMIT 1";
    entries_from: Plain
        "SELECT base, entry_id, inline, parts FROM topic_log WHERE topic_id = ? AND seg = ? \
         AND base >= ? LIMIT ?";
    measures_over: Plain
        "SELECT base, n, ts, packed FROM topic_log WHERE topic_id = ? AND seg = ? \
         AND base >= 0 AND base <= ? ORDER BY base DESC LIMIT 1";
    put_part: Plain
        "INSERT INTO log_payload (topic_id, payload_id, part, data) VALUES (?, ?, ?, ?)";
    parts: Plain "SELECT data FROM log_payload WHERE topic_id = ? AND payload_id = ?";
    parts_everywhere: Everywhere
        "SELECT data FROM log_payload WHERE topic_id = ? AND payload_id = ?";
    first_save: Condition
        "INSERT INTO sub_state (sub_id, version, state) VALUES (?, 1, ?) IF NOT EXISTS";
    save: Condition "UPDATE sub_state SET version = ?, state = ? WHERE sub_id = ? IF version = ?";
    forget: Condition "DELETE FROM sub_state WHERE sub_id = ? IF EXISTS";
    load: Serial "SELECT state FROM sub_state WHERE sub_id = ?";
    subscriptions: Plain "SELECT sub_id FROM sub_state";
    /// The one condition of a commit to a scope; every committer moves the version.
    set_version: Condition "UPDATE catalog SET version = ? WHERE scope = ? IF version = ?";
    put_value: Condition "INSERT INTO catalog (scope, kind, key, value) VALUES (?, ?, ?, ?)";
    delete_value: Condition "DELETE FROM catalog WHERE scope = ? AND kind = ? AND key = ?";
    scope_version: Serial "SELECT version FROM catalog WHERE scope = ? LIMIT 1";
    values: Plain "SELECT version, key, value FROM catalog WHERE scope = ? AND kind = 0";
    change_set: Serial "SELECT value FROM catalog WHERE scope = ? AND kind = 1 AND key = ?";
    change_sets: Plain
        "SELECT value FROM catalog WHERE scope = ? AND kind = 1 AND key > ? AND key <= ?";
    scopes: Plain "SELECT DISTINCT scope, version FROM catalog";
}

async fn prepare(
    session: &Session,
    once: &ExecutionProfileHandle,
    kind: Kind,
    text: &str,
) -> Result<PreparedStatement, OpenError> {
    let mut statement = session.prepare(text).await.map_err(OpenError::cluster)?;
    match kind {
        Kind::Condition => statement.set_execution_profile_handle(Some(once.clone())),
        Kind::Serial => {
            statement.set_execution_profile_handle(Some(once.clone()));
            statement.set_consistency(Consistency::LocalSerial);
        }
        Kind::Plain => statement.set_is_idempotent(true),
        Kind::Everywhere => {
            statement.set_is_idempotent(true);
            statement.set_consistency(Consistency::All);
        }
    }
    Ok(statement)
}
