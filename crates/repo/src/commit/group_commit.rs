//! The callers that write, alone or together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[cfg(feature = "tokio")]
use crate::base::error::Error;
use crate::base::error::Result;
use crate::base::operation::{Call, Deadline};
use crate::base::query_error::{Classify, QueryError, Shared, busy};
use crate::base::trace;
use crate::commit::engine::{Conn, Engine};
#[cfg(feature = "tokio")]
use crate::commit::job::Outcome;
use crate::commit::job::{Cause, Job, settle};
use crate::commit::queue::{Arrival, Ended, Entry, Lead, Queue, Waiting};
#[cfg(feature = "tokio")]
use crate::commit::queue::{CallThread, Ticket};
use crate::writes::Write;

/// All that writes to a store.
pub(crate) struct Writer<E> {
    pub(crate) queue: Queue,
    pub(crate) engine: E,
    timeout: Duration,
}

impl<E: Engine> Writer<E> {
    pub(crate) fn new(engine: E, timeout: Duration) -> Self {
        Self {
            queue: Queue::default(),
            engine,
            timeout,
        }
    }

    /// Writes, alone or with others in one transaction, which is on the disk when this returns
    /// `Ok`. After an error nothing of the write is there.
    pub(crate) fn write<W: Write>(&self, write: W) -> Result<W::Output> {
        write.check()?;
        let operation = write.call().operation;
        let deadline = Deadline::after(self.timeout);
        if !E::is_shared(&write) {
            return self.write_alone(None, &write, deadline);
        }
        let (place, mut lead) = match self.queue.enter(write, deadline) {
            Entry::Alone(lead, write) => return self.write_alone(Some(lead), &write, deadline),
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
                Arrival::Alone(job) => self.do_alone(job, deadline),
                Arrival::GaveUp(waiting) => return Err(busy(&waiting.job.call(), self.timeout)),
            }
        }
        settle(place.outcome(), operation)
    }

    /// Writes in a transaction of its own, beside the queue: for what reads its values while it
    /// writes them, so that it can't wait there without its caller. May run `write` again after the
    /// transaction was rolled back.
    pub(crate) fn write_beside<T>(
        &self,
        call: &Call<'_>,
        mut write: impl FnMut(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        let result = self
            .engine
            .write_alone(None, deadline, |conn, _| write(conn));
        let (output, committed) =
            result.map_err(|failure| failure.translate::<E::Errors>(call, self.timeout))?;
        trace::committed(&committed);
        self.engine.tidy();
        Ok(output)
    }

    fn write_alone<W: Write>(
        &self,
        lead: Option<Lead<'_>>,
        write: &W,
        deadline: Deadline,
    ) -> Result<W::Output> {
        let result = self
            .engine
            .write_alone(lead, deadline, |conn, clock| write.run(conn, clock));
        let (output, committed) = result
            .map_err(|failure| failure.translate::<E::Errors>(&write.call(), self.timeout))?;
        trace::committed(&committed);
        self.engine.tidy();
        Ok(output)
    }

    /// Does a write that could not be done with the others.
    fn do_alone(&self, mut job: Box<dyn Job>, deadline: Deadline) {
        // What is half changed by a panic is the transaction, which is rolled back.
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.engine
                .write_alone(None, deadline, |conn, clock| job.run(conn, clock))
        }));
        let outcome = match result {
            Ok(Ok(((), committed))) => {
                trace::committed(&committed);
                Ok(())
            }
            Ok(Err(failure)) => Err(Cause::Failed(
                failure.translate::<E::Errors>(&job.call(), self.timeout),
            )),
            Err(payload) => Err(Cause::Panicked(payload)),
        };
        job.end(outcome);
        self.engine.tidy();
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn is_shared<W: Write>(&self, write: &W) -> bool {
        E::is_shared(write)
    }

    /// Takes a write for a thread that `call_thread` calls. See [`Queue::submit`].
    #[cfg(feature = "tokio")]
    pub(crate) fn submit<W: Write + 'static>(
        &self,
        write: W,
        reply: impl FnOnce(Outcome<W::Output>) + Send + 'static,
        call_thread: CallThread,
    ) -> (Ticket, Deadline) {
        let deadline = Deadline::after(self.timeout);
        let ticket = self.queue.submit(write, deadline, reply, call_thread);
        (ticket, deadline)
    }

    /// Takes a write out again that was submitted and has not been begun. Returns the error of one
    /// that has waited for too long, if it did.
    #[cfg(feature = "tokio")]
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<Error> {
        let waiting = self.queue.give_up(ticket)?;
        Some(busy(&waiting.job.call(), self.timeout))
    }

    /// Returns how many writes wait.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Writes what waits in the queue. Hands over the lead before it wakes those it wrote for, so
    /// that the next transaction does not wait for that.
    fn write_waiting(&self, lead: Lead<'_>) {
        lead.linger();
        let Some(deadline) = lead.deadline() else {
            return;
        };
        let result = self.engine.write_batch(&lead, deadline);
        let (ended, committed) = result.unwrap_or_else(|failure| {
            // Nothing was begun, and the next one tries again.
            let failure = Shared::from(failure);
            let late = lead.take_late(failure.is_busy::<E::Errors>());
            (fail::<E::Errors>(late, &failure, self.timeout), None)
        });
        drop(lead);
        let callers: Vec<_> = ended
            .into_iter()
            .map(|(waiting, outcome)| waiting.end(outcome))
            .collect();
        // Not before all are told: the first of them wakes most of the others.
        drop(callers);
        if let Some(committed) = committed {
            trace::committed(&committed);
            self.engine.tidy();
        }
    }
}

/// What a thread does for futures, which can't write themselves.
#[cfg(feature = "tokio")]
pub(crate) trait Leads: Send + Sync {
    /// Writes what was submitted, as long as nobody else does.
    fn lead(&self);

    /// Does a write that was handed back, see [`Queue::hand_back`].
    fn do_alone(&self, job: Box<dyn Job>, deadline: Deadline);

    /// Deals with a thread that was called and did not come, or has come to grief.
    fn leader_failed(&self, called_for: Option<Ticket>);
}

#[cfg(feature = "tokio")]
impl<E: Engine> Leads for Writer<E> {
    fn lead(&self) {
        while let Some(lead) = self.queue.lead_next() {
            self.write_waiting(lead);
        }
    }

    fn do_alone(&self, job: Box<dyn Job>, deadline: Deadline) {
        Writer::do_alone(self, job, deadline);
    }

    fn leader_failed(&self, called_for: Option<Ticket>) {
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
}

/// Ends all of these with the error that hit their transaction.
pub(crate) fn fail<E: Classify>(
    batch: Vec<Waiting>,
    failure: &Shared,
    timeout: Duration,
) -> Vec<Ended> {
    let fail = |waiting: Waiting| {
        let error = failure.translate::<E>(&waiting.job.call(), timeout);
        (waiting, Err(Cause::Failed(error)))
    };
    batch.into_iter().map(fail).collect()
}
