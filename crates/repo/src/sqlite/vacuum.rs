//! Writing the file anew.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Integer;

use super::connection::Connection;

#[derive(QueryableByName)]
struct AutoVacuum {
    #[diesel(sql_type = Integer)]
    auto_vacuum: i32,
}

impl Connection {
    /// Writes the database anew, into its log. Only that leaves nothing of what was deleted:
    /// `secure_delete` would overwrite the rows of one DELETE, but not what updates, and the moves of
    /// rows from page to page, have left elsewhere before.
    pub(super) fn vacuum(&mut self, wait: Duration) -> QueryResult<()> {
        self.wait_at_most(wait)?;
        let mode: AutoVacuum = sql_query("PRAGMA auto_vacuum").get_result(self.conn())?;
        if mode.auto_vacuum == 0 {
            // Another program made the file, without a map of its pages. This only says how VACUUM
            // is to write it.
            self.conn()
                .batch_execute("PRAGMA auto_vacuum = INCREMENTAL")?;
        }
        self.conn().batch_execute("VACUUM")
    }
}
