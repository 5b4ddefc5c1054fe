//! One command against a scope or a log, carried through: retried on the new state after a
//! conflict, sent again until its outcome is definite.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::catalogue::{Cell, Index, Versioned, Write};
use super::rights::Caller;
use super::traces::Trace;
use super::{Broker, Error, Inner};
use crate::domain::records::Record;
use crate::store::{Answer, By, Change, Outcome, StoreError};

/// What a command wants written, and what it answers once that is durable.
pub(super) struct Plan<R> {
    pub(super) writes: Vec<Write>,
    pub(super) answer: R,
}

/// How long to go on, and how long to pause between two attempts.
pub(super) struct Retry<'a> {
    inner: &'a Inner,
    until: Instant,
    pause: Duration,
}

/// Work on its caller's thread, without the hops of a task of its own. A caller that goes away
/// before the end leaves it to the broker's runtime: it is done once, and whole.
pub(super) struct Errand<R: Send + 'static> {
    broker: Broker,
    /// Whoever waits for the end of the broker's tasks waits for this one too.
    _token: TaskTrackerToken,
    /// `None` once it has ended.
    work: Option<Pin<Box<dyn Future<Output = R> + Send>>>,
}

impl<R: Send + 'static> Errand<R> {
    pub(super) fn new(broker: Broker, work: impl Future<Output = R> + Send + 'static) -> Self {
        Self { _token: broker.0.tasks.token(), work: Some(Box::pin(work)), broker }
    }
}

impl<R: Send + 'static> Future for Errand<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // Work that panics is dropped here and never polled again.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        // What it waits for must outlive this thread, as it may itself.
        let _home = self.broker.0.home.enter();
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<R: Send + 'static> Drop for Errand<R> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let rest = async move { drop(work.await) };
            drop(self.broker.0.tasks.spawn_on(rest, &self.broker.0.home));
        }
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Retry<'_> {
    /// Whether whoever asked was already told that it is unknown.
    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits for the next attempt. What has no definite outcome is pursued after its caller was
    /// told, or memory would be behind the store; only a broker that starts or drains gives up.
    pub(super) async fn again(&mut self) -> Result<(), Error> {
        let serves = self.inner.serving.load(Ordering::Acquire);
        if self.is_late() && (!serves || self.inner.draining.is_cancelled()) {
            return Err(Error::Unavailable);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        Ok(())
    }
}

impl Broker {
    pub(super) fn retry(&self) -> Retry<'_> {
        Retry {
            inner: &self.0,
            until: Instant::now() + self.0.settings.deadline,
            pause: Duration::from_millis(1),
        }
    }

    /// Runs a verb as a task of its own, so that a client that hangs up cannot leave it half-way,
    /// and waits for it until the deadline.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl Future<Output = Result<R, Error>> + Send + 'static,
    ) -> Result<R, Error> {
        if self.is_draining() {
            return Err(Error::Unavailable);
        }
        let task = self.0.tasks.spawn(work);
        match tokio::time::timeout(self.0.settings.deadline, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::error!(%error, "a verb's task ended early");
                Err(Error::Unavailable)
            }
            Err(_elapsed) => Err(Error::Unavailable),
        }
    }

    /// Sends a mutation until its outcome is definite: never answers `Unknown`. An error means
    /// that nothing was written, except [`Error::Unavailable`].
    pub(super) async fn settle<T, F: Future<Output = Answer<T>> + Send>(
        &self,
        retry: &mut Retry<'_>,
        mut send: impl FnMut() -> F + Send,
    ) -> Result<Outcome<T>, Error> {
        let mut unsettled = false;
        loop {
            match send().await {
                Ok(Outcome::Unknown) => unsettled = true,
                Ok(outcome) => return Ok(outcome),
                Err(error) if !unsettled => return Err(error.into()),
                Err(StoreError::Stopped) => return Err(Error::Unavailable),
                Err(_) => {}
            }
            retry.again().await?;
        }
    }

    /// Runs a command against a scope. `plan` sees the present state, perhaps several times, and
    /// takes no other lock.
    pub(super) async fn change<I: Index, R: Send>(
        &self,
        cell: &Cell<I>,
        by: &By,
        plan: impl Fn(&Versioned<I>) -> Result<Plan<R>, Error> + Send,
    ) -> Result<R, Error> {
        self.change_traced(cell, by, plan, &[]).await
    }

    /// The same, with lines of the audit log that do not follow from what is written. Those that do
    /// are of the same commit: there is no change without its trace, nor a trace without its change.
    pub(super) async fn change_traced<I: Index, R: Send>(
        &self,
        cell: &Cell<I>,
        by: &By,
        plan: impl Fn(&Versioned<I>) -> Result<Plan<R>, Error> + Send,
        more: &[Trace],
    ) -> Result<R, Error> {
        let mut retry = self.retry();
        let _turn = cell.queue.lock().await;
        if retry.is_late() {
            return Err(Error::Unavailable);
        }
        loop {
            let (expected, Plan { mut writes, answer }, traces, slots) = {
                let state = cell.read();
                let plan = plan(&state)?;
                let mut traces = more.to_vec();
                // A scope that is being cleared keeps nothing.
                if !cell.is_gone() {
                    traces.extend(state.index.traces(&plan.writes));
                }
                let slots = state.index.audit().slots(traces.len(), cell.scope);
                (state.version, plan, traces, slots)
            };
            if writes.is_empty() && traces.is_empty() {
                return Ok(answer);
            }
            let lines = self.audit_lines(cell.scope, by, traces);
            let audited = slots.into_iter().zip(lines.iter().cloned());
            writes.extend(audited.map(|(slot, line)| (slot, Some(Record::Audit(line)))));
            let changes: Vec<Change> = writes.iter().map(encode).collect();
            let store = &self.0.store;
            let outcome = self
                .settle(&mut retry, || {
                    store.commit_scope(cell.scope, expected, changes.clone(), by.clone())
                })
                .await?;
            if let Outcome::Applied(version) = outcome {
                cell.apply(version, writes).map_err(StoreError::from)?;
                lines.iter().for_each(super::audit::log);
                return Ok(answer);
            }
            retry.again().await?;
            self.reload(cell).await?;
        }
    }

    /// Brings a scope in memory up to the store's version.
    pub(super) async fn reload<I: Index>(&self, cell: &Cell<I>) -> Result<(), StoreError> {
        let version = cell.read().version;
        if let Some(sets) = self.0.store.changes_since(cell.scope, version).await? {
            cell.catch_up(sets)?;
        } else {
            cell.replace(self.0.store.load_scope(cell.scope).await?)?;
        }
        Ok(())
    }

    /// Who did it: a caller.
    pub(super) fn by(&self, caller: &Caller) -> By {
        By {
            user: Some(caller.user()),
            verb: caller.route().as_str().to_owned(),
            time: self.0.clock.wall(),
            address: caller.peer().0.map(|address| address.to_string()).unwrap_or_default(),
        }
    }

    /// Who did it: the broker itself.
    pub(super) fn by_itself(&self, verb: &str) -> By {
        By { user: None, verb: verb.to_owned(), time: self.0.clock.wall(), address: String::new() }
    }
}

fn encode((key, record): &Write) -> Change {
    match record {
        Some(record) => Change::Put(key.clone(), record.encode().into()),
        None => Change::Delete(key.clone()),
    }
}
