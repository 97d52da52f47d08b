//! Rewriting the file.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::connection::Connection;
use super::space::pragma;

impl Connection {
    /// Writes the database anew, into its log, so that nothing of the deleted rows is left. `secure_delete`
    /// would overwrite the rows of one DELETE, but not the copies that updates and moves between pages have
    /// left elsewhere.
    pub(super) fn vacuum(&mut self, wait: Duration) -> QueryResult<()> {
        self.wait_at_most(wait)?;
        if pragma(&mut self.conn, "auto_vacuum")? == 0 {
            // Another program made the file without a map of its pages. VACUUM adds the map.
            self.conn
                .batch_execute("PRAGMA auto_vacuum = INCREMENTAL")?;
        }
        self.conn.batch_execute("VACUUM")
    }
}
