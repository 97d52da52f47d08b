//! A write that waits in the queue, and how it ends.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::base::error::{Error, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::write::Write;

/// A write of any type, which another caller's thread may run.
pub(crate) trait Job<C>: Send {
    fn call(&self) -> Operation<'_>;
    fn may_fail_halfway(&self) -> bool;
    fn bytes(&self) -> usize;
    fn may_take_long(&self) -> bool;

    /// The write, for an engine that has another way to do writes of one type.
    fn write_mut(&mut self) -> &mut dyn Any;

    /// Runs the write and keeps its output.
    fn run(&mut self, conn: &mut C, clock: &Clock) -> Result<(), QueryError>;

    /// Replies to the caller.
    fn finish(self: Box<Self>, end: JobEnd);
}

/// The end of a job in a shared transaction.
pub(crate) enum JobEnd {
    /// It has run and is committed.
    Committed,
    Failed(Error),
    /// The write panicked in the leader's thread.
    Panicked(Box<dyn Any + Send>),
    /// It was rolled back because of another job, and goes back to the front of the queue.
    PutBack,
    /// Nothing of it is stored. Its caller runs it alone.
    #[allow(dead_code, clippy::allow_attributes, reason = "SQLite has one writer")]
    RunAlone,
}

/// The reply to the caller of a job.
pub(crate) enum Reply<C, W: Write<C>> {
    Ended(Result<W::Output>),
    /// The panic continues in the caller's thread.
    Panicked(Box<dyn Any + Send>),
    /// Nothing is stored. The caller runs the write alone.
    RunAlone(Box<Pending<C, W>>),
}

/// A write and its output, once it has run.
pub(crate) struct Pending<C, W: Write<C>> {
    pub(crate) write: W,
    output: Option<W::Output>,
    /// Called once, whatever happens. `None` afterwards.
    reply: Option<SendReply<C, W>>,
}

type SendReply<C, W> = Box<dyn FnOnce(Reply<C, W>) + Send>;

impl<C, W: Write<C>> Pending<C, W> {
    pub(crate) fn new(write: W, reply: impl FnOnce(Reply<C, W>) + Send + 'static) -> Self {
        Self {
            write,
            output: None,
            reply: Some(Box::new(reply)),
        }
    }
}

impl<C, W: Write<C>> Job<C> for Pending<C, W> {
    fn call(&self) -> Operation<'_> {
        self.write.call()
    }

    fn may_fail_halfway(&self) -> bool {
        self.write.may_fail_halfway()
    }

    fn bytes(&self) -> usize {
        self.write.bytes()
    }

    fn may_take_long(&self) -> bool {
        self.write.may_take_long()
    }

    fn write_mut(&mut self) -> &mut dyn Any {
        &mut self.write
    }

    fn run(&mut self, conn: &mut C, clock: &Clock) -> Result<(), QueryError> {
        self.output = Some(self.write.run(conn, clock)?);
        Ok(())
    }

    fn finish(mut self: Box<Self>, end: JobEnd) {
        let Some(send) = self.reply.take() else {
            return;
        };
        let reply = match end {
            JobEnd::Committed => {
                // Only a write that has run is reported as committed.
                let output = self.output.take();
                Reply::Ended(output.ok_or_else(|| Error::abandoned(&self.call())))
            }
            JobEnd::Failed(error) => Reply::Ended(Err(error)),
            JobEnd::Panicked(payload) => Reply::Panicked(payload),
            JobEnd::PutBack | JobEnd::RunAlone => Reply::RunAlone(self),
        };
        deliver(send, reply);
    }
}

impl<C, W: Write<C>> Drop for Pending<C, W> {
    /// A leader that panics drops the jobs it has taken. Their callers must not wait for ever.
    fn drop(&mut self) {
        if let Some(send) = self.reply.take() {
            let error = Error::abandoned(&self.call());
            deliver(send, Reply::Ended(Err(error)));
        }
    }
}

/// The host's waker of a future may panic. The other callers must get their replies all the same.
fn deliver<C, W: Write<C>>(send: SendReply<C, W>, reply: Reply<C, W>) {
    let _ = catch_unwind(AssertUnwindSafe(|| send(reply)));
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use turnkeep_model::TaskId;

    use super::*;
    use crate::sqlite::Conn;
    use crate::sqlite::ops::task::DeleteTask;

    /// A leader that panics drops its jobs, and a second panic there would end the process.
    #[test]
    fn a_host_that_panics_at_the_reply_harms_no_other() {
        for end in [None, Some(JobEnd::Committed)] {
            let id = TaskId::new("t").unwrap();
            let job = Box::new(Pending::<Conn, _>::new(DeleteTask { id }, |_| {
                resume_unwind(Box::new("broken waker"))
            }));
            let replied = catch_unwind(AssertUnwindSafe(|| match end {
                Some(end) => job.finish(end),
                None => drop(job),
            }));
            assert!(replied.is_ok());
        }
    }
}
