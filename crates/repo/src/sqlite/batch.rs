//! Several callers' writes in one transaction.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use diesel::result::Error as DieselError;

use super::Conn;
use super::error::{SqliteErrors, class_of};
use super::transaction::{Transaction, with_savepoint};
use crate::base::options::Clock;
use crate::base::query_error::{ErrorClass, QueryError};
use crate::commit::job::{Job, JobEnd};
use crate::commit::queue::QueuedJob;

/// The writes of a transaction begin within this part of the timeout. The others go back to the queue.
const PART_OF_TIMEOUT: u32 = 10;

/// Takes writes and runs them in order, without committing, until none comes or the transaction is old. A refused write is
/// rolled back to its savepoint and does not affect the others. After a failure that no savepoint undoes, none of the
/// writes is committed: all others are put back. Fails when all writes fail: the disk is full or broken.
pub(crate) fn run_all(
    transaction: &mut Transaction<'_>,
    jobs: &mut Vec<QueuedJob<Conn>>,
    mut take: impl FnMut() -> Vec<QueuedJob<Conn>>,
    clock: &Clock,
    timeout: Duration,
) -> Result<Vec<JobEnd>, QueryError> {
    let mut ends = Vec::new();
    let begun = Instant::now();
    loop {
        let index = ends.len();
        if index > 0 && begun.elapsed() > timeout / PART_OF_TIMEOUT {
            ends.resize_with(jobs.len(), || JobEnd::PutBack);
            return Ok(ends);
        }
        if index == jobs.len() {
            jobs.append(&mut take());
        }
        let is_shared = jobs.len() > 1;
        let Some(queued) = jobs.get_mut(index) else {
            return Ok(ends);
        };
        let job = queued.job.as_mut();
        // Whether the writes of the others stand.
        let (end, stands) = match run(transaction, job, is_shared, clock) {
            Ok(Ok(())) => (JobEnd::Committed, true),
            // SQLite may have rolled back already. Later statements would be committed one by one.
            Ok(Err(QueryError::Database(error @ DieselError::DatabaseError(..))))
                if class_of(&error) != ErrorClass::Other =>
            {
                return Err(error.into());
            }
            Ok(Err(failure)) => {
                // A lone write has no savepoint.
                let stands = is_shared && failure.is_undone_by_savepoint();
                let error = failure.translate::<SqliteErrors>(&job.call(), timeout);
                (JobEnd::Failed(error), stands)
            }
            Err(payload) => (JobEnd::Panicked(payload), false),
        };
        if !stands {
            let mut ends: Vec<_> = jobs.iter().map(|_| JobEnd::PutBack).collect();
            ends[index] = end;
            return Ok(ends);
        }
        ends.push(end);
    }
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
        let conn = &mut *transaction.conn;
        let mut last_turns = transaction.last_turns.as_deref_mut();
        if let Some(last_turns) = &mut last_turns
            && let Some(append) = job.write_mut().downcast_mut()
            && last_turns.append(conn, append, clock, false)?
        {
            return job.run(conn, clock);
        }
        if is_shared && job.may_fail_halfway() {
            with_savepoint(conn, |conn| job.run(conn, clock))?;
        } else {
            job.run(conn, clock)?;
        }
        if let Some(last_turns) = last_turns
            && let Some(append) = job.write_mut().downcast_ref()
        {
            last_turns.remember(append);
        }
        Ok(())
    }))
}
