//! The writes, one struct each: what is asked for and how it is done.
//!
//! A caller that finds nobody writing does its write itself, on values it only borrows. Where
//! another caller is at it already, the write becomes owned and goes to the queue.

mod copy;
mod history;
mod lease;
mod prune;
mod session;
mod task;

use turnkeep_model::{MAX_TEXT_BYTES, UtcMicros};

#[cfg(feature = "postgres")]
use crate::append_rules::Request;
use crate::base::error::{Error, Result};
use crate::base::operation::Call;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::Conn;

pub(crate) use copy::{TakeOverDependencies, TakeOverTasks, TakeOverTurns, take_over_turns};
pub(crate) use history::Append;
pub(crate) use lease::{ClaimReady, Fenced, RenewLease};
pub(crate) use prune::{Chosen, PruneTasks, ReturnSpace};
pub(crate) use session::{RetireSession, SaveSession};
pub(crate) use task::{ClaimTask, DeleteTask, RequeueRunning, SaveTask, UpdateTaskStatus};

/// What a caller wants written.
pub(crate) trait Write: Send {
    /// What the caller gets.
    type Output: Send + 'static;

    /// The same write without borrowed values.
    type Owned: Write<Output = Self::Output> + 'static;

    /// What its errors name.
    fn call(&self) -> Call<'_>;

    /// Refuses what no store accepts, before anything is waited for.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether it may fail after it has changed something, so that it has to be undone by itself
    /// where it shares a transaction. One statement alone is undone by the database.
    fn may_fail_halfway(&self) -> bool {
        true
    }

    /// How many bytes of text it adds, roughly.
    fn bytes(&self) -> usize {
        0
    }

    /// Writes, inside a transaction that the caller of this ends. The clock is asked here, so that
    /// times go with the order of writes and not of waiting. May be called again after the
    /// transaction was rolled back.
    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<Self::Output, QueryError>;

    /// Returns the append that this is, for an engine that does several at once.
    #[cfg(feature = "postgres")]
    fn as_append(&self) -> Option<Request<'_>> {
        None
    }

    /// Takes over what was borrowed.
    fn into_owned(self) -> Self::Owned;
}

/// Returns the clock's time.
pub(crate) fn now(clock: &Clock, operation: &'static str) -> Result<UtcMicros> {
    UtcMicros::new(clock()).map_err(|error| Error::invalid(operation, error))
}

/// Checks a text that has no rule but its length.
fn check_text(operation: &'static str, field: &'static str, text: &str) -> Result<()> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::InvalidInput {
            operation,
            field,
            reason: format!(
                "is {} bytes long, at most {MAX_TEXT_BYTES} are allowed",
                text.len()
            ),
        });
    }
    Ok(())
}
