//! Finds the turns that other processes have appended.

use std::time::Duration;

use super::connection::{Connection, ConnectionConfig};
use super::ops::history::last_seqs;
use super::schema::data_version;
use crate::base::deadline::Deadline;
use crate::base::query_error::QueryError;
use crate::commit::subscribers::Subscribers;

/// How long after a look the next one is due. A look costs about 10 µs.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The connection that looks. Each connection counts the commits of all others in its own `data_version`, so it is
/// always the same one. Open from the first look on.
#[derive(Default)]
pub(super) struct Watcher(Option<(Connection, i32)>);

impl Watcher {
    /// Wakes the subscribers for which there are turns, and those whose task is gone. Returns the time until the
    /// next look. Reads turns only if another
    /// connection has committed since the last look.
    pub(super) fn look(
        &mut self,
        config: &ConnectionConfig,
        subscribers: &Subscribers,
    ) -> Result<Duration, QueryError> {
        let (mut connection, seen) = match self.0.take() {
            Some((connection, seen)) => (connection, Some(seen)),
            None => {
                let deadline = Deadline::after(config.timeout);
                (Connection::open(config, deadline)?, None)
            }
        };
        connection.check_files()?;
        config.check_read()?;
        let version = data_version(&mut connection.conn)?;
        if seen != Some(version) {
            let last_seqs = last_seqs(&mut connection.conn, &subscribers.tasks())?;
            subscribers.wake_if(|task_id, after| last_seqs.get(task_id) != Some(&after));
        }
        self.0 = Some((connection, version));
        Ok(LOOK_INTERVAL)
    }
}
