//! Finds the turns that other processes have appended.

use std::time::{Duration, Instant, SystemTime};

use super::connection::{Connection, ConnectionConfig};
use super::ops::history::last_seqs;
use super::schema::data_version;
use crate::base::deadline::Deadline;
use crate::base::query_error::QueryError;
use crate::commit::subscribers::{LOOK_INTERVAL, Subscribers};

/// After this time SQLite is asked, however the log looks.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// A file system may keep times to two seconds. After a younger change there may have been another one.
const COARSEST_TIME: Duration = Duration::from_secs(2);

/// The connection that looks. Each connection counts the commits of all others in its own `data_version`, so it is
/// always the same one. Open from the first look on.
#[derive(Default)]
pub(super) struct Watcher(Option<Open>);

struct Open {
    connection: Connection,
    data_version: i32,
    asked_at: Instant,
    /// The length of the log and the time of its last change, unless that was just before.
    log: Option<(u64, SystemTime)>,
}

impl Watcher {
    /// Whether the log has not changed since SQLite was asked: every commit writes to it. One system call, where
    /// asking takes a dozen.
    pub(super) fn is_quiet(&self, config: &ConnectionConfig) -> bool {
        self.0.as_ref().is_some_and(|open| {
            open.log.is_some()
                && open.log == log_of(config)
                && open.asked_at.elapsed() < LONGEST_SILENCE
        })
    }

    /// Wakes the subscribers of tasks that have new turns or are deleted. Reads seqs only if another
    /// connection has committed since the last look. Returns the time until the next look.
    pub(super) fn look(
        &mut self,
        config: &ConnectionConfig,
        subscribers: &Subscribers,
    ) -> Result<Duration, QueryError> {
        let log = log_of(config);
        let asked_at = Instant::now();
        let (mut connection, seen) = match self.0.take() {
            Some(open) => (open.connection, Some(open.data_version)),
            None => {
                let deadline = Deadline::after(config.timeout);
                (Connection::open(config, deadline)?, None)
            }
        };
        connection.check_files()?;
        config.check_read()?;
        let data_version = data_version(&mut connection.conn)?;
        if seen != Some(data_version) {
            let last_seqs = last_seqs(&mut connection.conn, &subscribers.tasks())?;
            subscribers.wake_if(|task_id, after| last_seqs.get(task_id) != Some(&after));
        }
        let is_old = |changed: SystemTime| {
            let age = SystemTime::now().duration_since(changed);
            age.is_ok_and(|age| age > COARSEST_TIME)
        };
        self.0 = Some(Open {
            connection,
            data_version,
            asked_at,
            log: log.filter(|(_, changed)| is_old(*changed)),
        });
        Ok(LOOK_INTERVAL)
    }
}

fn log_of(config: &ConnectionConfig) -> Option<(u64, SystemTime)> {
    let log = config.file.as_ref()?.wal().metadata().ok()?;
    Some((log.len(), log.modified().ok()?))
}
