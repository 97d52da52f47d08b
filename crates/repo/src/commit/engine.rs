//! The interface between group commit and a database engine.

use crate::base::deadline::Deadline;
use crate::base::error::Error;
use crate::base::options::Clock;
use crate::base::query_error::{Classify, QueryError};
use crate::base::trace::Committed;
use crate::commit::job::JobEnd;
use crate::commit::queue::QueuedJob;
use crate::commit::write::Write;

/// Runs writes in transactions.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The connection that a write runs on.
    type Conn: 'static;

    /// Tells the errors of this engine apart.
    type Errors: Classify;

    /// Whether a batch is one statement, which needs all of its jobs before it begins.
    const TAKES_ONCE: bool;

    /// Whether such a write may share a transaction. The others run beside the queue.
    fn is_shared<W: Write<Self::Conn>>(write: &W) -> bool;

    /// Runs a write in its own transaction. May run it again after a rollback.
    fn run_alone<T>(
        &self,
        deadline: Deadline,
        write: impl FnMut(&mut Self::Conn, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError>;

    /// Runs the caller's code in a transaction of its own, once. Only the begin is repeated.
    fn run_once<T>(
        &self,
        deadline: Deadline,
        code: impl FnOnce(&mut Self::Conn, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError>;

    /// Runs a part of the transaction of [`run_once`](Self::run_once), and undoes that part if it fails.
    fn with_savepoint<T>(
        conn: &mut Self::Conn,
        part: impl FnOnce(&mut Self::Conn) -> Result<T, QueryError>,
    ) -> Result<T, QueryError>;

    /// Runs the write of a leader without followers in its own transaction. Returns `None`, with nothing
    /// stored, if the write might wait for others' locks; it must then run alone, while somebody else
    /// leads.
    fn run_leading<W: Write<Self::Conn>>(
        &self,
        deadline: Deadline,
        write: &mut W,
    ) -> Result<Option<(W::Output, Committed)>, QueryError>;

    /// Takes jobs once a transaction is open, runs them in it, and takes more until there are none, or takes once. Fails
    /// only before it took any.
    fn run_batch(
        &self,
        deadline: Deadline,
        take: impl FnMut() -> Vec<QueuedJob<Self::Conn>>,
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
        let fail = |queued: QueuedJob<C>| {
            let error = error.shared_by(&queued.job.call());
            (queued, JobEnd::Failed(error))
        };
        Self {
            jobs: jobs.into_iter().map(fail).collect(),
            committed: None,
        }
    }
}
