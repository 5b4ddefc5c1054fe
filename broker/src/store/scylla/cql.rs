//! The session, the prepared statements, and what the driver's answers mean.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};

use super::statements::Statements;
use super::{OpenError, Settings, schema, tls};
use crate::store::StoreError;

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cas {
    /// The condition held: it is written.
    Applied,
    /// It did not hold, or the row is not there: nothing was written.
    Refused,
    /// It may or may not be written, now or a little later. Only the same condition sent again,
    /// or a serial read, settles it; a plain read proves nothing.
    Unknown,
}

/// A session with everything prepared.
pub(super) struct Cql {
    pub(super) session: Session,
    pub(super) say: Statements,
    once: ExecutionProfileHandle,
}

impl Cql {
    /// Connects, makes what is missing, prepares. Answers with the store's id.
    pub(super) async fn open(settings: &Settings) -> Result<(Self, u64), OpenError> {
        settings.check()?;
        let plain = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .request_timeout(Some(settings.request_timeout));
        let once = plain.clone().retry_policy(Arc::new(FallthroughRetryPolicy::new()));
        let mut builder = SessionBuilder::new()
            .known_nodes(&settings.contact_points)
            .prefer_datacenter(settings.datacenter.clone())
            .fetch_schema_metadata(false)
            .connection_timeout(settings.request_timeout)
            .default_execution_profile_handle(plain.build().into_handle())
            .tls_context(tls::client(settings)?);
        if !settings.user.is_empty() {
            builder = builder.user(&settings.user, settings.password()?);
        }
        let session = builder.build().await.map_err(OpenError::cluster)?;
        one_datacenter(&session)?;
        schema::check_commit_log(&session).await?;
        schema::create(&session, settings).await?;
        let id = schema::identity(&session).await?;
        let once = once.build().into_handle();
        let say = Statements::prepare(&session, &once).await?;
        Ok((Self { session, say, once }, id))
    }

    /// A conditional write.
    pub(super) async fn cas(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Cas, StoreError> {
        verdict(self.session.execute_unpaged(statement, values).await)
    }

    /// Several statements on one partition, of which at least one has a condition: all or nothing.
    pub(super) async fn cas_together(
        &self,
        statements: Vec<(PreparedStatement, Vec<Option<CqlValue>>)>,
    ) -> Result<Cas, StoreError> {
        let (statements, values): (Vec<_>, Vec<_>) = statements.into_iter().unzip();
        let statements = statements.into_iter().map(BatchStatement::from).collect();
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_execution_profile_handle(Some(self.once.clone()));
        verdict(self.session.batch(&batch, values).await)
    }

    /// A plain write: after an error it may or may not be there, and may be repeated.
    pub(super) async fn write(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), StoreError> {
        let answer = self.session.execute_unpaged(statement, values).await;
        answer.map(drop).map_err(|error| unavailable(&error))
    }

    /// The first row of a read.
    pub(super) async fn row<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Option<R>, StoreError>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let answer = self.session.execute_unpaged(statement, values).await;
        let answer = answer.map_err(|error| unavailable(&error))?;
        let rows = answer.into_rows_result().map_err(|error| foreign(&error))?;
        rows.maybe_first_row().map_err(|error| foreign(&error))
    }

    /// All rows of a read, page by page.
    pub(super) async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>, StoreError>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static,
    {
        let pager = self.session.execute_iter(statement.clone(), values).await;
        let pager = pager.map_err(|error| unavailable(&error))?;
        let stream = pager.rows_stream::<R>().map_err(|error| foreign(&error))?;
        stream.try_collect().await.map_err(|error| unavailable(&error))
    }
}

/// Conditions are decided by the replicas of one data centre: with more there would be two truths.
fn one_datacenter(session: &Session) -> Result<(), OpenError> {
    let state = session.get_cluster_state();
    let mut names: Vec<_> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > 1 { Err(OpenError::Datacenters(names.join(", "))) } else { Ok(()) }
}

/// What the answer to a conditional write means. All that is not certainly a refusal is unknown.
fn verdict(answer: Result<QueryResult, ExecutionError>) -> Result<Cas, StoreError> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if was_not_tried(&error) => return Err(unavailable(&error)),
        Err(error) => {
            tracing::debug!(%error, "a conditional write has no definite outcome");
            return Ok(Cas::Unknown);
        }
    };
    // `[applied]` is always the first column; what follows differs from case to case, and there
    // may be nothing.
    let rows = answer.into_rows_result().map_err(|error| foreign(&error))?;
    let row = rows.maybe_first_row::<Row>().map_err(|error| foreign(&error))?;
    match row.and_then(|row| row.columns.into_iter().next().flatten()) {
        Some(CqlValue::Boolean(true)) => Ok(Cas::Applied),
        Some(CqlValue::Boolean(false)) => Ok(Cas::Refused),
        _ => Err(foreign(&"a conditional write without an answer")),
    }
}

/// Whether nothing can have been written: it never left, or was refused as it stands.
fn was_not_tried(error: &ExecutionError) -> bool {
    use RequestAttemptError as Attempt;
    match error {
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_) => true,
        ExecutionError::LastAttemptError(attempt) => matches!(
            attempt,
            Attempt::SerializationError(_)
                | Attempt::CqlRequestSerialization(_)
                | Attempt::UnableToAllocStreamId
                | Attempt::DbError(
                    DbError::SyntaxError | DbError::Invalid | DbError::Unauthorized,
                    _
                )
        ),
        _ => false,
    }
}

fn unavailable(error: &impl std::fmt::Display) -> StoreError {
    tracing::warn!(%error, "the database did not answer");
    StoreError::Unavailable
}

/// An answer that has not the shape it must have.
fn foreign(error: &impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("an answer of the database: {error}").into())
}
