//! The writers of a store, alone or in groups.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::stats::Calls;
use crate::base::trace::{self, Committed};
use crate::commit::engine::{Batch, Engine, JobEnd};
use crate::commit::job::{Borrowed, Job, Pending, QueuedJob, WriteError, WriteResult, settle};
use crate::commit::queue::{Admission, LeaderGuard, Queue, WaitResult, Waiter, Waiting};
#[cfg(feature = "tokio")]
use crate::commit::queue::{SpawnLeader, WriteId};
use crate::commit::write::Write;

/// Everything that writes to a store.
pub(crate) struct Writer<E: Engine> {
    pub(crate) queue: Queue<E::Conn>,
    pub(crate) engine: E,
    pub(crate) calls: Arc<Calls>,
    timeout: Duration,
}

impl<E: Engine> Writer<E> {
    pub(crate) fn new(engine: E, calls: Arc<Calls>, timeout: Duration) -> Self {
        Self {
            queue: Queue::new(),
            engine,
            calls,
            timeout,
        }
    }

    /// Writes, alone or with other callers in one transaction, which is on the disk when this returns
    /// `Ok`. After an error nothing of the write is stored.
    pub(crate) fn write<W: Write<E::Conn>>(&self, write: W) -> Result<W::Output> {
        let span = self.calls.begin(&write.call())?;
        let _entered = span.enter();
        let operation = write.call().name;
        let deadline = Deadline::after(self.timeout);
        let result = if let Err(error) = write.check() {
            Err(error)
        } else if !E::is_shared(&write) {
            self.write_alone(None, write, deadline)
        } else {
            match self.queue.admit(write, deadline) {
                Admission::Alone(leader, write) => self.write_alone(Some(leader), write, deadline),
                Admission::Lead(leader, waiter) => {
                    self.write_in_group(operation, waiter, Some(leader))
                }
                Admission::Wait(waiter) => self.write_in_group(operation, waiter, None),
            }
        };
        self.calls.count_write(&span, &result);
        result
    }

    /// Runs a write in its own transaction without queueing it. For writes that borrow, which cannot move to
    /// another thread. May run `write` again after a rollback.
    pub(crate) fn write_beside<T>(
        &self,
        call: Operation<'_>,
        write: impl FnMut(&mut E::Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        let span = self.calls.begin(&call)?;
        let _entered = span.enter();
        let deadline = Deadline::after(self.timeout);
        let mut job = Borrowed::new(call, deadline, write);
        let result = match self.engine.run_alone(&mut job, deadline) {
            Ok(committed) => {
                self.committed(&committed);
                job.output.ok_or_else(|| Error::abandoned(&call))
            }
            Err(error) => Err(error.translate::<E::Errors>(&call, self.timeout)),
        };
        self.calls.count_write(&span, &result);
        result
    }

    fn write_alone<W: Write<E::Conn>>(
        &self,
        leader: Option<LeaderGuard<'_, E::Conn>>,
        write: W,
        deadline: Deadline,
    ) -> Result<W::Output> {
        let mut job = Pending::new(write, deadline, None::<fn(WriteResult<W::Output>)>);
        let leading = match leader {
            // The guard is dropped before the retry, so that the next leader does not wait for it.
            Some(_leader) => self.engine.run_leading(&mut job, deadline),
            None => Ok(None),
        };
        let committed = match leading {
            Ok(None) => self.engine.run_alone(&mut job, deadline),
            Ok(Some(committed)) => Ok(committed),
            Err(error) => Err(error),
        };
        let committed =
            committed.map_err(|error| error.translate::<E::Errors>(&job.call(), self.timeout))?;
        self.committed(&committed);
        job.output()
    }

    fn write_in_group<'q, T>(
        &'q self,
        operation: &'static str,
        waiter: Waiter<'q, E::Conn, T>,
        mut leader: Option<LeaderGuard<'q, E::Conn>>,
    ) -> Result<T> {
        loop {
            if let Some(leader) = leader.take() {
                self.write_batch(leader);
            }
            match waiter.wait() {
                WaitResult::Lead(next) => leader = Some(next),
                WaitResult::Done => break,
                WaitResult::Alone(job) => self.run_alone(job),
                WaitResult::GaveUp(waiting) => return Err(self.busy(&waiting)),
            }
        }
        settle(waiter.result(), operation)
    }

    /// Writes everything that waits. Hands over before it wakes the callers, so that the next transaction
    /// does not wait for that.
    fn write_batch(&self, leader: LeaderGuard<'_, E::Conn>) {
        leader.wait_for_followers();
        let Some(deadline) = leader.deadline() else {
            return;
        };
        let mut callers = Vec::new();
        let take = || {
            let jobs;
            (jobs, callers) = leader
                .take_batch()
                .into_iter()
                .map(|waiting| (waiting.job, waiting.caller))
                .unzip();
            jobs
        };
        let batch = self
            .engine
            .run_batch(take, deadline)
            .unwrap_or_else(|error| {
                // No transaction has begun, so the next leader tries again.
                let call = Operation::on_store("write");
                let error = error.translate::<E::Errors>(&call, self.timeout);
                let late = leader.take_late(error.is_retryable());
                let jobs;
                (jobs, callers) = late
                    .into_iter()
                    .map(|waiting| (waiting.job, waiting.caller))
                    .unzip();
                Batch::failed(jobs, &error)
            });
        let mut put_back = Vec::new();
        let mut ended = Vec::new();
        for ((job, end), caller) in batch.jobs.into_iter().zip(callers) {
            let waiting = Waiting { job, caller };
            match end {
                JobEnd::PutBack => put_back.push(waiting),
                end => ended.push((waiting, end)),
            }
        }
        if !put_back.is_empty() {
            leader.put_back(put_back);
        }
        drop(leader);
        let wakers: Vec<_> = ended
            .into_iter()
            .map(|(waiting, end)| match end {
                JobEnd::Finished(result) => waiting.finish(result),
                JobEnd::PutBack | JobEnd::RunAlone => waiting.hand_back(),
            })
            .collect();
        // Only once all have a status: the first wake-up wakes most of the others.
        drop(wakers);
        if let Some(committed) = &batch.committed {
            self.committed(committed);
        }
    }

    /// Runs a job that a shared transaction handed back.
    pub(crate) fn run_alone(&self, mut job: QueuedJob<E::Conn>) {
        let deadline = job.deadline();
        // A panic leaves only the transaction half done, and that is rolled back.
        let run = AssertUnwindSafe(|| self.engine.run_alone(&mut *job, deadline));
        let result = match catch_unwind(run) {
            Ok(Ok(committed)) => {
                self.committed(&committed);
                Ok(())
            }
            Ok(Err(error)) => Err(WriteError::Failed(
                error.translate::<E::Errors>(&job.call(), self.timeout),
            )),
            Err(payload) => Err(WriteError::Panicked(payload)),
        };
        job.finish(result);
    }

    fn busy(&self, waiting: &Waiting<E::Conn>) -> Error {
        let timeout = self.timeout;
        ErrorKind::Busy { timeout }.on(&waiting.job.call())
    }

    fn committed(&self, committed: &Committed) {
        trace::committed(committed);
        self.engine.tidy();
    }

    /// Returns the number of writes that wait.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }
}

/// For callers that are futures.
#[cfg(feature = "tokio")]
impl<E: Engine> Writer<E> {
    /// Enqueues a write. See [`Queue::submit`].
    pub(crate) fn submit<W: Write<E::Conn>>(
        &self,
        write: W,
        reply: impl FnOnce(WriteResult<W::Output>) + Send + 'static,
        spawn: SpawnLeader<E::Conn>,
    ) -> (WriteId, Deadline) {
        let deadline = Deadline::after(self.timeout);
        (self.queue.submit(write, deadline, reply, spawn), deadline)
    }

    /// Removes a write that has not begun, and returns the error of its caller.
    pub(crate) fn cancel(&self, id: WriteId) -> Option<Error> {
        let waiting = self.queue.give_up(id)?;
        Some(self.busy(&waiting))
    }

    /// Writes what was submitted for as long as nobody else leads.
    pub(crate) fn lead(&self) {
        while let Some(leader) = self.queue.lead_next() {
            self.write_batch(leader);
        }
    }

    /// Replaces a spawned leader that was never run or has panicked. See [`Queue::leader_failed`].
    pub(crate) fn leader_failed(&self, spawned_for: Option<WriteId>) {
        if let Some(waiting) = self.queue.leader_failed(spawned_for) {
            let operation = waiting.job.call().name;
            let error = ErrorKind::Io
                .on(&Operation::on_named(operation, "a thread of the runtime"))
                .with_source("the runtime has shut down");
            waiting.job.finish(Err(WriteError::Failed(error)));
        }
    }
}
