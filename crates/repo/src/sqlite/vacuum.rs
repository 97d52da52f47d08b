//! Writing the file anew.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Integer;

use super::connection::Connection;

/// For how long the log is asked for at least, however long the rest has taken.
const LEAST_WAIT: Duration = Duration::from_millis(100);

#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = Integer)]
    busy: i32,
}

impl Connection {
    /// Writes the database anew, into its log. Only that leaves nothing of what was deleted:
    /// `secure_delete` would overwrite the rows of one DELETE, but not what updates, and the moves of
    /// rows from page to page, have left elsewhere before.
    pub(super) fn vacuum(&mut self, wait: Duration) -> QueryResult<()> {
        self.wait_at_most(wait)?;
        // Where another program made the file, it has no map of its pages before this.
        self.conn()
            .batch_execute("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
    }

    /// Moves the log into the database and empties it. Returns whether nobody who reads kept it from
    /// that for the whole time.
    pub(super) fn empty_log(&mut self, wait: Duration) -> QueryResult<bool> {
        self.wait_at_most(wait.max(LEAST_WAIT))?;
        let checkpoint = sql_query("PRAGMA wal_checkpoint(TRUNCATE)");
        let answer: Checkpoint = checkpoint.get_result(self.conn())?;
        Ok(answer.busy == 0)
    }
}
