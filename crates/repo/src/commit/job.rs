//! A write that someone else does, and how that ended.

use std::any::Any;
use std::panic::resume_unwind;

#[cfg(feature = "postgres")]
use crate::append_rules::Request;
use crate::base::error::{Error, Result};
use crate::base::operation::Call;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::Conn;
use crate::writes::Write;

/// How a write ended.
pub(crate) type Outcome<T> = Result<T, Cause>;

/// Why a write has no result.
pub(crate) enum Cause {
    Failed(Error),
    /// The write panicked, in the leader's thread. The panic is to go on in the caller's.
    Panicked(Box<dyn Any + Send>),
}

/// Returns what a write gave, or goes on with its panic. An outcome that was never told is that of a
/// leader that panicked; the write is gone then, and only its `operation` is known.
pub(crate) fn settle<T>(outcome: Option<Outcome<T>>, operation: &'static str) -> Result<T> {
    match outcome {
        Some(Ok(output)) => Ok(output),
        Some(Err(Cause::Failed(error))) => Err(error),
        Some(Err(Cause::Panicked(payload))) => resume_unwind(payload),
        None => Err(Error::abandoned(&Call::on_store(operation))),
    }
}

/// A write in the queue, whatever it writes.
pub(crate) trait Job: Send {
    fn call(&self) -> Call<'_>;
    fn may_fail_halfway(&self) -> bool;
    fn bytes(&self) -> usize;
    #[cfg(feature = "postgres")]
    fn as_append(&self) -> Option<Request<'_>>;
    /// Writes, keeping the result for the caller.
    fn run(&mut self, conn: Conn<'_>, clock: &Clock) -> Result<(), QueryError>;
    /// Tells the caller how it ended: `Ok` hands it the result of the last run.
    fn end(self: Box<Self>, outcome: Outcome<()>);
}

pub(crate) struct Queued<W: Write, R: FnOnce(Outcome<W::Output>)> {
    write: W,
    output: Option<W::Output>,
    /// `None` once it was called.
    reply: Option<R>,
}

impl<W, R> Queued<W, R>
where
    W: Write + 'static,
    R: FnOnce(Outcome<W::Output>) + Send + 'static,
{
    /// `reply` gets the outcome, once, whatever happens.
    pub(crate) fn boxed(write: W, reply: R) -> Box<dyn Job> {
        Box::new(Self {
            write,
            output: None,
            reply: Some(reply),
        })
    }
}

impl<W, R> Job for Queued<W, R>
where
    W: Write,
    R: FnOnce(Outcome<W::Output>) + Send,
{
    fn call(&self) -> Call<'_> {
        self.write.call()
    }

    fn may_fail_halfway(&self) -> bool {
        self.write.may_fail_halfway()
    }

    fn bytes(&self) -> usize {
        self.write.bytes()
    }

    #[cfg(feature = "postgres")]
    fn as_append(&self) -> Option<Request<'_>> {
        self.write.as_append()
    }

    fn run(&mut self, conn: Conn<'_>, clock: &Clock) -> Result<(), QueryError> {
        self.output = Some(self.write.run(conn, clock)?);
        Ok(())
    }

    fn end(mut self: Box<Self>, outcome: Outcome<()>) {
        let output = self.output.take();
        let outcome = outcome.and_then(|()| {
            // Only what has run is ended well.
            output.ok_or_else(|| Cause::Failed(Error::abandoned(&self.write.call())))
        });
        if let Some(reply) = self.reply.take() {
            reply(outcome);
        }
    }
}

impl<W: Write, R: FnOnce(Outcome<W::Output>)> Drop for Queued<W, R> {
    /// A leader that panics drops what it has taken. Nobody may wait for that for ever.
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let call = self.write.call();
            reply(Err(Cause::Failed(Error::abandoned(&call))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_without_an_outcome_is_told_by_the_method_that_was_called() {
        let error = settle::<()>(None, "save_message").unwrap_err();
        let Error::Abandoned { operation, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(operation, "save_message");
    }
}
