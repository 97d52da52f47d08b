//! What the store needs of a database engine. The modules of that name fill it in.

use crate::base::operation::Deadline;
use crate::base::options::Clock;
use crate::base::query_error::{Classify, QueryError};
use crate::base::trace::Committed;
use crate::commit::queue::{Ended, Lead};
use crate::writes::Write;

/// A connection in a transaction or about to read, of whichever engine.
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut crate::sqlite::Conn),
    #[cfg(feature = "postgres")]
    Postgres(&'c mut crate::postgres::append::ServerSession),
}

impl Conn<'_> {
    /// Lends the connection for a part of what it was lent for.
    pub(crate) fn reborrow(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn) => Conn::Sqlite(conn),
            #[cfg(feature = "postgres")]
            Self::Postgres(link) => Conn::Postgres(link),
        }
    }
}

/// Runs a query on a connection: `query!(conn, history::range(call, task_id, 0, 10))`. The
/// queries are compiled once for each engine.
macro_rules! query {
    ($conn:expr, $($path:ident)::+ ($($argument:expr),* $(,)?)) => {
        match $conn {
            $crate::commit::engine::Conn::Sqlite(conn) => {
                $crate::sqlite::queries::$($path)::+(conn, $($argument),*)
            }
            #[cfg(feature = "postgres")]
            $crate::commit::engine::Conn::Postgres(link) => {
                $crate::postgres::queries::$($path)::+(link.conn(), $($argument),*)
            }
        }
    };
}
pub(crate) use query;

/// How an engine reads its errors and gets writes done.
pub(crate) trait Engine: Send + Sync + 'static {
    /// Tells the errors of this engine apart.
    type Errors: Classify;

    /// Returns whether the write waits for company while others write. Otherwise it is done beside
    /// theirs.
    fn is_shared<W: Write>(write: &W) -> bool;

    /// Runs a write in a transaction of its own, and returns what it gave when that is committed.
    ///
    /// Whoever waits for the lead gets it then, or as soon as this write might keep others waiting.
    /// May run the write again after the transaction was rolled back.
    fn write_alone<T>(
        &self,
        lead: Option<Lead<'_>>,
        deadline: Deadline,
        write: impl FnMut(Conn<'_>, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError>;

    /// Does what waits in one transaction and returns how each ended. When there could be no
    /// transaction it fails, and nothing has been taken from the queue.
    fn write_batch(
        &self,
        lead: &Lead<'_>,
        deadline: Deadline,
    ) -> Result<(Vec<Ended>, Option<Committed>), QueryError>;

    /// Keeps the files of the store short. Called once all callers of a transaction know how it ended.
    fn tidy(&self) {}
}
