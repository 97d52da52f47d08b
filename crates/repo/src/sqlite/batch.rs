//! Several callers' writes in one transaction.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use diesel::result::Error as DieselError;

use super::Conn;
use super::error::{SqliteErrors, class_of};
use super::transaction::Transaction;
use crate::base::error::ErrorKind;
use crate::base::options::Clock;
use crate::base::query_error::{ErrorClass, QueryError};
use crate::commit::job::{Job, JobEnd};
use crate::commit::queue::QueuedJob;

/// Why the batch can't be committed.
pub(crate) enum RunError {
    /// All writes fail: the disk is full or broken, or the file is lost.
    ForAll(QueryError),
    /// The write with this index failed and has no savepoint to roll back to. The others run again without it.
    ForOne(usize, JobEnd),
}

/// Runs the writes in order, without committing. A refused write is rolled back to its savepoint and does not affect
/// the others.
pub(crate) fn run_all(
    transaction: &mut Transaction<'_>,
    jobs: &mut [QueuedJob<Conn>],
    clock: &Clock,
    timeout: Duration,
) -> Result<Vec<JobEnd>, RunError> {
    let is_shared = jobs.len() > 1;
    let mut ends = Vec::with_capacity(jobs.len());
    for (index, queued) in jobs.iter_mut().enumerate() {
        let job = queued.job.as_mut();
        let failure = match run(transaction, job, is_shared, clock) {
            Ok(Ok(())) => {
                ends.push(JobEnd::Committed);
                continue;
            }
            Ok(Err(failure)) => failure,
            Err(payload) => return Err(RunError::ForOne(index, JobEnd::Panicked(payload))),
        };
        // Whether the writes of the others stand.
        let stands = match &failure {
            // SQLite may have rolled back already. Later statements would be committed one by one.
            QueryError::Database(error @ DieselError::DatabaseError(..))
                if class_of(error) != ErrorClass::Other =>
            {
                return Err(RunError::ForAll(failure));
            }
            // A constraint of another program may roll back the transaction, or leave half of the statement. A
            // trigger that suppressed the row may have written others.
            QueryError::Database(DieselError::DatabaseError(..))
            | QueryError::Unusable(ErrorKind::SchemaAltered { .. }) => false,
            // A row that can't be read, a rule of the store. A lone write has no savepoint to roll back to.
            _ => is_shared,
        };
        let end = JobEnd::Failed(failure.translate::<SqliteErrors>(&job.call(), timeout));
        if !stands {
            return Err(RunError::ForOne(index, end));
        }
        ends.push(end);
    }
    Ok(ends)
}

/// Runs one write. The inner result is the write's, the outer one says whether it panicked.
fn run(
    transaction: &mut Transaction<'_>,
    job: &mut dyn Job<Conn>,
    is_shared: bool,
    clock: &Clock,
) -> Result<Result<(), QueryError>, Box<dyn Any + Send>> {
    // A panic leaves only the transaction half done, and it is rolled back.
    catch_unwind(AssertUnwindSafe(|| {
        if is_shared && job.may_fail_halfway() {
            transaction.with_savepoint(|conn| job.run(conn, clock))
        } else {
            job.run(transaction.conn, clock)
        }
    }))
}
