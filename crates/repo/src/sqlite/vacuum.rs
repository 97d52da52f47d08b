//! Rewriting the file.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::connection::Connection;

impl Connection {
    /// Writes the database anew, into its log, so that nothing of the deleted rows is left. `secure_delete`
    /// would overwrite the rows of one DELETE, but not the copies that updates and moves between pages have
    /// left elsewhere.
    pub(super) fn vacuum(&mut self, wait: Duration) -> QueryResult<()> {
        self.wait_at_most(wait)?;
        self.conn.batch_execute("VACUUM")
    }
}
