//! The writers of a store, alone or in groups.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use turnkeep_model::TaskId;

use crate::base::deadline::Deadline;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::stats::Calls;
use crate::base::trace::{self, Committed};
use crate::commit::engine::{Batch, Engine};
use crate::commit::job::{JobEnd, Reply};
use crate::commit::queue::{Admission, LeaderGuard, Queue, QueuedJob, WaitResult, Waiter};
use crate::commit::subscribers::Subscribers;
use crate::commit::transaction::Transaction;
use crate::commit::write::Write;

/// Everything that writes to a store.
pub(crate) struct Writer<E: Engine> {
    pub(crate) queue: Queue<E::Conn>,
    pub(crate) engine: E,
    pub(crate) calls: Arc<Calls>,
    pub(crate) subscribers: Arc<Subscribers>,
}

impl<E: Engine> Writer<E> {
    pub(crate) fn new(engine: E, calls: Arc<Calls>, timeout: Duration) -> Self {
        Self {
            queue: Queue::new(timeout),
            engine,
            calls,
            subscribers: Arc::default(),
        }
    }

    /// Writes, alone or with other callers in one transaction, which is on the disk when this returns
    /// `Ok`. After an error nothing of the write is stored.
    pub(crate) fn write<W: Write<E::Conn>>(&self, mut write: W) -> Result<W::Output> {
        let span = self.calls.begin(&write.call())?;
        let _entered = span.enter();
        let deadline = Deadline::after(self.queue.timeout);
        let result = if let Err(error) = write.check() {
            Err(error)
        } else if !E::is_shared(&write) {
            self.write_alone(&mut write, deadline)
        } else {
            match self.queue.admit(write, deadline) {
                Admission::Alone(leader, mut write) => {
                    let led = self.engine.run_leading(deadline, &mut write);
                    // The next leader does not wait for what follows.
                    drop(leader);
                    match led.transpose() {
                        Some(done) => self.ended(&write.call(), done),
                        None => self.write_alone(&mut write, deadline),
                    }
                }
                Admission::Queued(leader, waiter) => self.write_in_group(leader, waiter),
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
        mut write: impl FnMut(&mut E::Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        let result = self.run_beside(&call, |deadline| {
            self.engine.run_alone(deadline, |conn, _| write(conn))
        });
        if result.is_ok() && !self.subscribers.is_empty() {
            // It may have written to any task.
            self.subscribers.wake_if(|_, _| true);
        }
        result
    }

    /// Runs the caller's code in its own transaction without queueing it, once.
    pub(crate) fn transaction<T>(
        &self,
        call: Operation<'_>,
        code: impl FnOnce(Transaction<'_, E>) -> Result<T, QueryError>,
    ) -> Result<T> {
        let changed = RefCell::default();
        let result = self.run_beside(&call, |deadline| {
            self.engine.run_once(deadline, |conn, clock| {
                code(Transaction::new(conn, clock, self.queue.timeout, &changed))
            })
        });
        if result.is_ok() {
            self.wake_followers(&changed.into_inner());
        }
        result
    }

    fn run_beside<T>(
        &self,
        call: &Operation<'_>,
        run: impl FnOnce(Deadline) -> Result<(T, Committed), QueryError>,
    ) -> Result<T> {
        let span = self.calls.begin(call)?;
        let _entered = span.enter();
        let result = self.ended(call, run(Deadline::after(self.queue.timeout)));
        self.calls.count_write(&span, &result);
        result
    }

    pub(crate) fn write_alone<W: Write<E::Conn>>(
        &self,
        write: &mut W,
        deadline: Deadline,
    ) -> Result<W::Output> {
        let run = |conn: &mut _, clock: &_| write.run(conn, clock);
        let done = self.engine.run_alone(deadline, run);
        self.ended(&write.call(), done)
    }

    /// Returns the result of a write that ran alone.
    fn ended<T>(
        &self,
        call: &Operation<'_>,
        done: Result<(T, Committed), QueryError>,
    ) -> Result<T> {
        let (output, committed) =
            done.map_err(|error| error.translate::<E::Errors>(call, self.queue.timeout))?;
        if !self.subscribers.is_empty()
            && let Some(task_id) = call.task_id()
        {
            self.subscribers.changed(task_id);
        }
        self.committed(&committed);
        Ok(output)
    }

    fn write_in_group<'q, W: Write<E::Conn>>(
        &'q self,
        mut leader: Option<LeaderGuard<'q, E::Conn>>,
        waiter: Waiter<'q, E::Conn, W>,
    ) -> Result<W::Output> {
        loop {
            if let Some(leader) = leader.take() {
                self.write_batch(leader);
            }
            match waiter.wait() {
                WaitResult::Lead(next) => leader = Some(next),
                WaitResult::Reply(Reply::Ended(result)) => return result,
                WaitResult::Reply(Reply::Panicked(payload)) => resume_unwind(payload),
                WaitResult::Reply(Reply::RunAlone(mut pending)) => {
                    return self.write_alone(&mut pending.write, waiter.deadline);
                }
            }
        }
    }

    /// Writes everything that waits. Hands over before it wakes the callers, so that the next transaction
    /// does not wait for that.
    fn write_batch(&self, mut leader: LeaderGuard<'_, E::Conn>) {
        let Some(deadline) = leader.deadline() else {
            return;
        };
        let take = || leader.take(E::TAKES_ONCE);
        let batch = self.engine.run_batch(deadline, take);
        let batch = batch.unwrap_or_else(|error| {
            // No transaction has begun, so the next leader tries again.
            let call = Operation::on_store("write");
            let error = error.translate::<E::Errors>(&call, self.queue.timeout);
            Batch::failed(leader.take_late(error.is_retryable()), &error)
        });
        let (put_back, mut ended): (Vec<_>, Vec<_>) = batch
            .jobs
            .into_iter()
            .partition(|(_, end)| matches!(end, JobEnd::PutBack));
        if !put_back.is_empty() {
            let late = leader.put_back(put_back.into_iter().map(|(queued, _)| queued));
            let timeout = self.queue.timeout;
            let busy = ErrorKind::Busy { timeout }.on(&Operation::on_store("write"));
            ended.extend(Batch::failed(late, &busy).jobs);
        }
        drop(leader);
        let changed = match self.subscribers.is_empty() {
            true => BTreeSet::new(),
            false => changed_tasks(&ended),
        };
        let wakers: Vec<_> = ended
            .into_iter()
            .map(|(queued, end)| queued.finish(end))
            .collect();
        // Only once all have a reply: the first wake-up wakes most of the others.
        drop(wakers);
        self.wake_followers(&changed);
        if let Some(committed) = &batch.committed {
            self.committed(committed);
        }
    }

    fn wake_followers(&self, changed: &BTreeSet<TaskId>) {
        if !self.subscribers.is_empty() {
            for task_id in changed {
                self.subscribers.changed(task_id);
            }
        }
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

fn changed_tasks<C>(jobs: &[(QueuedJob<C>, JobEnd)]) -> BTreeSet<TaskId> {
    let committed = jobs
        .iter()
        .filter(|(_, end)| matches!(end, JobEnd::Committed));
    committed
        .filter_map(|(queued, _)| queued.job.call().task_id().cloned())
        .collect()
}

#[cfg(feature = "tokio")]
impl<E: Engine> Writer<E> {
    /// Writes what futures wait for, for as long as nobody else leads.
    pub(crate) fn lead(&self) {
        while let Some(leader) = self.queue.lead_next() {
            self.write_batch(leader);
        }
    }
}
