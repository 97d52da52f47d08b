//! A write that waits in the queue, and its result.

use std::any::Any;
use std::panic::resume_unwind;

use crate::base::deadline::Deadline;
use crate::base::error::{Error, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::write::Write;

/// The result of a write.
pub(crate) type WriteResult<T> = Result<T, WriteError>;

/// Why a write has no output.
pub(crate) enum WriteError {
    Failed(Error),
    /// The write panicked in the leader's thread. The panic continues in the caller's.
    Panicked(Box<dyn Any + Send>),
}

/// Returns the output of a write, or continues its panic. There is no result if the leader panicked; then
/// only the `operation` of the write is known.
pub(crate) fn settle<T>(result: Option<WriteResult<T>>, operation: &'static str) -> Result<T> {
    match result {
        Some(Ok(output)) => Ok(output),
        Some(Err(WriteError::Failed(error))) => Err(error),
        Some(Err(WriteError::Panicked(payload))) => resume_unwind(payload),
        None => Err(Error::abandoned(&Operation::on_store(operation))),
    }
}

/// A write of any type, with the deadline of its caller.
pub(crate) trait Job<C> {
    fn call(&self) -> Operation<'_>;
    fn deadline(&self) -> Deadline;
    fn may_fail_halfway(&self) -> bool;
    fn bytes(&self) -> usize;

    /// The write, for an engine that has another way to do writes of one type.
    #[allow(dead_code, clippy::allow_attributes, reason = "SQLite has none")]
    fn write_mut(&mut self) -> Option<&mut dyn Any>;

    /// Runs the write and keeps its output.
    fn run(&mut self, conn: &mut C, clock: &Clock) -> Result<(), QueryError>;

    /// Replies to the caller: after `Ok` with the output of the last run.
    fn finish(self: Box<Self>, result: WriteResult<()>);
}

/// A job that another caller's thread may run.
pub(crate) type QueuedJob<C> = Box<dyn Job<C> + Send>;

/// A write and its output, once it has run.
pub(crate) struct Pending<C, W: Write<C>, R: FnOnce(WriteResult<W::Output>)> {
    write: W,
    deadline: Deadline,
    output: Option<W::Output>,
    /// Called once, whatever happens. `None` afterwards, and if the caller runs the job itself.
    reply: Option<R>,
}

impl<C, W: Write<C>, R: FnOnce(WriteResult<W::Output>)> Pending<C, W, R> {
    pub(crate) fn new(write: W, deadline: Deadline, reply: Option<R>) -> Self {
        Self {
            write,
            deadline,
            output: None,
            reply,
        }
    }

    /// Returns the output of the last run.
    pub(crate) fn output(&mut self) -> Result<W::Output> {
        // Only a write that has run is reported as committed.
        let output = self.output.take();
        output.ok_or_else(|| Error::abandoned(&self.write.call()))
    }
}

impl<C, W, R> Job<C> for Pending<C, W, R>
where
    W: Write<C>,
    R: FnOnce(WriteResult<W::Output>),
{
    fn call(&self) -> Operation<'_> {
        self.write.call()
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn may_fail_halfway(&self) -> bool {
        self.write.may_fail_halfway()
    }

    fn bytes(&self) -> usize {
        self.write.bytes()
    }

    fn write_mut(&mut self) -> Option<&mut dyn Any> {
        Some(&mut self.write)
    }

    fn run(&mut self, conn: &mut C, clock: &Clock) -> Result<(), QueryError> {
        self.output = Some(self.write.run(conn, clock)?);
        Ok(())
    }

    fn finish(mut self: Box<Self>, result: WriteResult<()>) {
        let result = result.and_then(|()| self.output().map_err(WriteError::Failed));
        if let Some(reply) = self.reply.take() {
            reply(result);
        }
    }
}

impl<C, W: Write<C>, R: FnOnce(WriteResult<W::Output>)> Drop for Pending<C, W, R> {
    /// A leader that panics drops the jobs it has taken. Their callers must not wait for ever.
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let call = self.write.call();
            reply(Err(WriteError::Failed(Error::abandoned(&call))));
        }
    }
}

/// A closure that its caller runs at once. It may borrow, because it never enters the queue.
pub(crate) struct Borrowed<'a, F, T> {
    call: Operation<'a>,
    deadline: Deadline,
    write: F,
    pub(crate) output: Option<T>,
}

impl<'a, F, T> Borrowed<'a, F, T> {
    pub(crate) fn new(call: Operation<'a>, deadline: Deadline, write: F) -> Self {
        Self {
            call,
            deadline,
            write,
            output: None,
        }
    }
}

impl<C, F, T> Job<C> for Borrowed<'_, F, T>
where
    F: FnMut(&mut C) -> Result<T, QueryError>,
{
    fn call(&self) -> Operation<'_> {
        self.call
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn may_fail_halfway(&self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        0
    }

    fn write_mut(&mut self) -> Option<&mut dyn Any> {
        None
    }

    fn run(&mut self, conn: &mut C, _: &Clock) -> Result<(), QueryError> {
        self.output = Some((self.write)(conn)?);
        Ok(())
    }

    fn finish(self: Box<Self>, _: WriteResult<()>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;

    #[test]
    fn an_abandoned_write_names_the_method_that_was_called() {
        let error = settle::<()>(None, "save_message").unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(error.operation(), "save_message");
    }
}
