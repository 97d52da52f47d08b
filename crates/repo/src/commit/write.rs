//! A write as a value.

use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;

/// A write that runs on a connection of type `C`. It owns its input, because another caller's thread may
/// run it.
pub(crate) trait Write<C>: Send + 'static {
    /// The caller's result.
    type Output: Send + 'static;

    /// The operation and subject for errors.
    fn call(&self) -> Operation<'_>;

    /// Refuses invalid input before the caller waits for anything.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the write can fail after a statement of it has succeeded. In a shared transaction such a
    /// write needs a savepoint; the database itself undoes a single statement.
    fn may_fail_halfway(&self) -> bool {
        true
    }

    /// The approximate number of bytes of text that it adds.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether the write may take seconds, however little text it has: it deletes a history, or files.
    fn may_take_long(&self) -> bool {
        false
    }

    /// Writes, in a transaction that the engine ends. The clock is read here, so that timestamps follow
    /// the order of the writes and not of the waits. Runs again if the transaction was rolled back.
    fn run(&mut self, conn: &mut C, clock: &Clock) -> Result<Self::Output, QueryError>;
}
