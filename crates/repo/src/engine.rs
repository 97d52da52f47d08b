//! What the store needs of a database engine. The modules of that name fill it in.

use diesel::result::Error as DieselError;

use crate::call::Deadline;
use crate::error::Result;
use crate::failure::{Failure, Kind};
use crate::job::Ended;
use crate::queue::Lead;
use crate::trace::Committed;
use crate::writes::Write;

/// A connection in a transaction or about to read, of whichever engine.
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut crate::sqlite::Conn),
}

/// Runs a query on a connection: `query!(conn, history::range(call, task_id, 0, 10))`. The
/// queries are compiled once for each engine.
macro_rules! query {
    ($conn:expr, $($path:ident)::+ ($($argument:expr),* $(,)?)) => {
        match $conn {
            $crate::engine::Conn::Sqlite(conn) => {
                $crate::sqlite::queries::$($path)::+(conn, $($argument),*)
            }
        }
    };
}
pub(crate) use query;

/// How an engine reads its errors and gets writes done.
pub(crate) trait Engine: Send + Sync + 'static {
    /// Returns what an error of the database means.
    fn kind(error: &DieselError) -> Kind;

    /// Returns what it means that no connection could be made, for this reason.
    fn connect_kind(text: &str) -> Kind;

    /// Writes at once, in a transaction that is not shared. Whoever waits for the lead gets it when
    /// the write is done.
    fn write_alone<W: Write>(
        &self,
        lead: Lead<'_>,
        write: &W,
        deadline: Deadline,
    ) -> Result<W::Output>;

    /// Does what waits in one transaction and returns how each ended. When there could be no
    /// transaction it fails, and nothing has been taken from the queue.
    fn write_batch(
        &self,
        lead: &Lead<'_>,
        deadline: Deadline,
    ) -> Result<(Vec<Ended>, Option<Committed>), Failure>;
}
