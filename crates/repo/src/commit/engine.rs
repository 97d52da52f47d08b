//! The interface between group commit and a database engine.

use crate::base::deadline::Deadline;
use crate::base::error::Error;
use crate::base::query_error::{Classify, QueryError};
use crate::base::trace::Committed;
use crate::commit::job::{Job, QueuedJob, WriteError, WriteResult};
use crate::commit::write::Write;

/// Runs jobs in transactions.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The connection that a write runs on.
    type Conn: 'static;

    /// Tells the errors of this engine apart.
    type Errors: Classify;

    /// Whether such a write may share a transaction. The others run beside the queue.
    fn is_shared<W: Write<Self::Conn>>(write: &W) -> bool;

    /// Runs a job in its own transaction. May run it again after a rollback.
    fn run_alone(
        &self,
        job: &mut dyn Job<Self::Conn>,
        deadline: Deadline,
    ) -> Result<Committed, QueryError>;

    /// Runs the only job of the leader in its own transaction. Returns `None`, with nothing stored, if the
    /// job might wait for others' locks; it must then run alone, while somebody else leads.
    fn run_leading(
        &self,
        job: &mut dyn Job<Self::Conn>,
        deadline: Deadline,
    ) -> Result<Option<Committed>, QueryError>;

    /// Takes jobs once a transaction is open, and runs them in it. Fails only before it took any.
    fn run_batch(
        &self,
        take: impl FnOnce() -> Vec<QueuedJob<Self::Conn>>,
        deadline: Deadline,
    ) -> Result<Batch<Self::Conn>, QueryError>;

    /// Keeps the files of the store short. Called after the callers of a transaction have their results.
    fn tidy(&self) {}
}

/// The jobs of a shared transaction, in the order in which they were taken.
pub(crate) struct Batch<C> {
    pub(crate) jobs: Vec<(QueuedJob<C>, JobEnd)>,
    /// `None` if nothing was committed.
    pub(crate) committed: Option<Committed>,
}

impl<C> Batch<C> {
    /// All jobs fail with the error of their transaction.
    pub(crate) fn failed(jobs: Vec<QueuedJob<C>>, error: &Error) -> Self {
        let fail = |job: QueuedJob<C>| {
            let error = error.shared_by(&job.call());
            (job, JobEnd::Finished(Err(WriteError::Failed(error))))
        };
        Self {
            jobs: jobs.into_iter().map(fail).collect(),
            committed: None,
        }
    }
}

/// The end of a job in a shared transaction.
pub(crate) enum JobEnd {
    Finished(WriteResult<()>),
    /// It was rolled back because of another job, and goes back to the front of the queue.
    PutBack,
    /// Nothing of it is stored. Its caller runs it alone.
    #[allow(dead_code, clippy::allow_attributes, reason = "SQLite has one writer")]
    RunAlone,
}
