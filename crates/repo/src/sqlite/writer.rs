//! The connection that writes, and the callers that take turns at it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::r2d2::{Pool, PooledConnection};
use parking_lot::FairMutex;

use super::batch::{Stopped, run_all};
use super::connection::Connection;
use super::error::{Shared, busy, translate};
use super::sharing::{Sharing, Turn};
use super::store::Manager;
use super::transaction::Transaction;
use crate::call::{Call, Deadline};
#[cfg(feature = "tokio")]
use crate::error::Error;
use crate::error::{Failure, Result};
#[cfg(feature = "tokio")]
use crate::job::Outcome;
use crate::job::{Cause, Ended, settle};
use crate::options::{Clock, RepoBuilder};
use crate::queue::{Arrival, Entry, Lead, Queue, Waiting};
#[cfg(feature = "tokio")]
use crate::queue::{CallLeader, Ticket};
use crate::stats::Counters;
use crate::trace::{self, Committed};
use crate::writes::Write;

/// All that writes to a store.
pub(crate) struct Writer {
    queue: Queue,
    pool: Pool<Manager>,
    seat: FairMutex<Seat>,
    clock: Clock,
    timeout: Duration,
    counters: Arc<Counters>,
}

/// Where the caller sits that writes.
struct Seat {
    /// Kept from call to call. `None` before the first, and after one that spoiled it.
    connection: Option<PooledConnection<Manager>>,
    sharing: Sharing,
}

impl Writer {
    pub(crate) fn new(
        pool: Pool<Manager>,
        log: Option<PathBuf>,
        builder: &RepoBuilder,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            queue: Queue::default(),
            pool,
            seat: FairMutex::new(Seat {
                connection: None,
                sharing: Sharing::new(log, Arc::clone(&counters)),
            }),
            clock: Arc::clone(&builder.clock),
            timeout: builder.timeout,
            counters,
        }
    }

    /// Writes, alone or with others in one transaction, which is on the disk when this returns
    /// `Ok`. After an error nothing of the write is there.
    pub(crate) fn write<W: Write>(&self, write: W) -> Result<W::Output> {
        write.check()?;
        let deadline = Deadline::after(self.timeout);
        let (place, mut lead) = match self.queue.enter(write, deadline) {
            Entry::Alone(lead, write) => return self.write_alone(lead, &write, deadline),
            Entry::Lead(lead, place) => (place, Some(lead)),
            Entry::Wait(place) => (place, None),
        };
        loop {
            if let Some(lead) = lead.take() {
                self.write_waiting(lead);
            }
            match place.wait() {
                Arrival::Lead(next) => lead = Some(next),
                Arrival::Done => break,
                Arrival::GaveUp(waiting) => return Err(busy(&waiting.job.call(), self.timeout)),
            }
        }
        settle(place.outcome())
    }

    /// Takes a write for a thread that `call_leader` calls. See [`Queue::submit`].
    #[cfg(feature = "tokio")]
    pub(crate) fn submit<W: Write + 'static>(
        &self,
        write: W,
        reply: impl FnOnce(Outcome<W::Output>) + Send + 'static,
        call_leader: CallLeader,
    ) -> (Ticket, Deadline) {
        let deadline = Deadline::after(self.timeout);
        let ticket = self.queue.submit(write, deadline, reply, call_leader);
        (ticket, deadline)
    }

    /// Takes a write out again that was submitted and has not been begun. Returns the error of one
    /// that has waited for too long, if it did.
    #[cfg(feature = "tokio")]
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<Error> {
        let waiting = self.queue.give_up(ticket)?;
        Some(busy(&waiting.job.call(), self.timeout))
    }

    /// Writes what was submitted, as long as nobody else does.
    #[cfg(feature = "tokio")]
    pub(crate) fn lead(&self) {
        while let Some(lead) = self.queue.lead_next() {
            self.write_waiting(lead);
        }
    }

    /// Deals with a thread that was called and did not come, or has come to grief.
    #[cfg(feature = "tokio")]
    pub(crate) fn leader_failed(&self, called_for: Option<Ticket>) {
        if let Some(waiting) = self.queue.leader_failed(called_for) {
            let call = waiting.job.call();
            let error = Error::Io {
                operation: call.operation,
                subject: "a thread of the runtime".into(),
                source: "the runtime has shut down".into(),
            };
            waiting.job.end(Err(Cause::Failed(error)));
        }
    }

    /// Lends the connection for something that is no write.
    pub(crate) fn lend<T>(
        &self,
        call: &Call<'_>,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        self.sit(deadline, |connection, _| work(connection))
            .map_err(|failure| translate(call, self.timeout, failure))
    }

    /// Closes the connection, if nobody uses it or is about to. Those may be writes that were begun
    /// before their futures were dropped.
    pub(crate) fn close(&self) {
        if !self.queue.is_idle() {
            return;
        }
        let seat = self.seat.try_lock();
        let kept = seat.and_then(|mut seat| seat.connection.take());
        // After a panic, or when it was made too late for whoever asked, it is in the pool.
        for mut connection in kept.into_iter().chain(self.pool.try_get()) {
            connection.give_up();
        }
    }

    /// Returns how many writes wait.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    fn write_alone<W: Write>(
        &self,
        lead: Lead<'_>,
        write: &W,
        deadline: Deadline,
    ) -> Result<W::Output> {
        let result = self.sit(deadline, |connection, sharing| {
            let mut transaction = self.begin(connection, sharing, deadline)?;
            let output = write.run(transaction.conn(), &self.clock)?;
            let committed = self.commit(transaction, sharing, 1, deadline)?;
            Ok((output, committed))
        });
        drop(lead);
        let (output, committed) =
            result.map_err(|failure| translate(&write.call(), self.timeout, failure))?;
        trace::committed(&committed);
        Ok(output)
    }

    /// Writes what waits in the queue. Hands over the lead before it wakes those it wrote for, so
    /// that the next transaction does not wait for that.
    fn write_waiting(&self, lead: Lead<'_>) {
        lead.linger();
        let Some(deadline) = lead.deadline() else {
            return;
        };
        let result = self.sit(deadline, |connection, sharing| {
            self.write_batch(&lead, connection, sharing, deadline)
        });
        let (ended, committed) = result.unwrap_or_else(|failure| {
            // Nothing was begun, and the next one tries again.
            let failure = Shared::from(failure);
            (self.fail(lead.take_late(failure.is_busy()), &failure), None)
        });
        drop(lead);
        for (job, outcome) in ended {
            // A future's waker is the host's, and no reason for the others not to be told.
            let _ = catch_unwind(AssertUnwindSafe(|| job.end(outcome)));
        }
        if let Some(committed) = committed {
            trace::committed(&committed);
        }
    }

    fn fail(&self, batch: Vec<Waiting>, failure: &Shared) -> Vec<Ended> {
        let fail = |waiting: Waiting| {
            let error = failure.translate(&waiting.job.call(), self.timeout);
            (waiting.job, Err(Cause::Failed(error)))
        };
        batch.into_iter().map(fail).collect()
    }

    /// Runs `work` on the connection, which is made first if there is none.
    fn sit<T>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(&mut Connection, &mut Sharing) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let until = deadline.instant();
        let mut seat = self.seat.try_lock_until(until).ok_or(Failure::OutOfTime)?;
        let Seat {
            connection: kept,
            sharing,
        } = &mut *seat;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self
                .pool
                .get_timeout(deadline.remaining())
                .map_err(Failure::NoConnection)?,
        };
        let turn = Turn(sharing);
        let result = connection.run(|connection| work(connection, turn.0));
        drop(turn);
        if !connection.is_given_up() {
            *kept = Some(connection);
        }
        result
    }

    fn begin<'c>(
        &self,
        connection: &'c mut Connection,
        sharing: &mut Sharing,
        deadline: Deadline,
    ) -> QueryResult<Transaction<'c>> {
        sharing.wait_for_turn(deadline);
        Transaction::write(connection, || sharing.wait(deadline))
    }

    /// Commits what `writes` callers wanted, the oldest of which waits until `deadline`.
    fn commit(
        &self,
        transaction: Transaction<'_>,
        sharing: &mut Sharing,
        writes: usize,
        deadline: Deadline,
    ) -> QueryResult<Committed> {
        let start = Instant::now();
        transaction.commit()?;
        let end = Instant::now();
        let committed = Committed {
            writes,
            wait: self.timeout.saturating_sub(deadline.instant() - start),
            commit: end - start,
            lock_retries: sharing.retries(),
        };
        self.counters.commit(&committed);
        Ok(committed)
    }

    /// Does what waits in one transaction and returns how each ended. When there could be no
    /// transaction it fails, and nothing has been taken from the queue.
    fn write_batch(
        &self,
        lead: &Lead<'_>,
        connection: &mut Connection,
        sharing: &mut Sharing,
        deadline: Deadline,
    ) -> Result<(Vec<Ended>, Option<Committed>), Failure> {
        let mut transaction = self.begin(connection, sharing, deadline)?;
        let mut batch = lead.take_batch();
        let outcomes = match run_all(&mut transaction, &mut batch, &self.clock, self.timeout) {
            Ok(outcomes) => self
                .commit(transaction, sharing, batch.len(), deadline)
                .map(|committed| (outcomes, committed))
                .map_err(Stopped::ForAll),
            Err(stopped) => {
                drop(transaction);
                Err(stopped)
            }
        };
        match outcomes {
            Ok((outcomes, committed)) => {
                let jobs = batch.into_iter().map(|waiting| waiting.job);
                Ok((jobs.zip(outcomes).collect(), Some(committed)))
            }
            Err(Stopped::ForOne(index, cause)) => {
                let culprit = batch.remove(index);
                lead.put_back(batch);
                Ok((vec![(culprit.job, Err(cause))], None))
            }
            Err(Stopped::ForAll(error)) => {
                connection.give_up_if_spoiled(&error);
                Ok((self.fail(batch, &Failure::Database(error).into()), None))
            }
        }
    }
}

#[cfg(test)]
mod tests;
