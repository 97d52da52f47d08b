//! The r2d2 pools of a store.

use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection};
use parking_lot::Mutex;
use scheduled_thread_pool::ScheduledThreadPool;

use super::connection::{ConnectError, Connection, ConnectionConfig, SharedConfig};
use crate::base::deadline::Deadline;
use crate::base::query_error::QueryError;

/// Decides whether a pool may open connections.
#[derive(Debug)]
pub(super) struct ConnectionGate {
    /// Each connection holds a copy. `None` once the store is being closed.
    pub(super) alive: Option<Arc<()>>,
    /// The connection that opened the store, which becomes the first writer.
    pub(super) first: Option<Connection>,
}

impl ConnectionGate {
    /// Refuses further connections, closes an unused first one, and returns the token of which the open
    /// connections hold copies.
    pub(super) fn close(gate: &Mutex<Self>) -> Option<Arc<()>> {
        let mut gate = gate.lock();
        gate.first = None;
        gate.alive.take()
    }
}

pub(super) fn pool(manager: Manager, size: u32, helper: Arc<ScheduledThreadPool>) -> Pool<Manager> {
    Pool::builder()
        .max_size(size)
        // Connections open on demand and close with the store: closing the last connection would
        // checkpoint and delete the log.
        .min_idle(Some(0))
        .idle_timeout(None)
        .max_lifetime(None)
        // `SELECT 1` proves nothing about writing; `has_broken` reports broken connections.
        .test_on_check_out(false)
        // Caps the pause between two attempts to connect. Each call has its own deadline.
        .connection_timeout(Duration::from_millis(100))
        .error_handler(Box::new(NopErrorHandler))
        .thread_pool(helper)
        .build_unchecked(manager)
}

/// Waits for a connection of the pool. Fails at once if the file is lost.
pub(super) fn get(
    pool: &Pool<Manager>,
    config: &ConnectionConfig,
    timeout: Duration,
) -> Result<PooledConnection<Manager>, QueryError> {
    config.check_files()?;
    pool.get_timeout(timeout)
        .map_err(|error| match config.check_files() {
            Err(lost) => QueryError::Unusable(lost),
            Ok(()) => QueryError::NoConnection(error),
        })
}

/// Opens connections for a pool.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(super) config: SharedConfig,
    pub(super) gate: Arc<Mutex<ConnectionGate>>,
    pub(super) is_writer: bool,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    fn connect(&self) -> Result<Connection, ConnectError> {
        let alive = {
            let mut gate = self.gate.lock();
            if self.is_writer
                && let Some(first) = gate.first.take()
            {
                return Ok(first);
            }
            gate.alive.clone().ok_or(ConnectError::Closing)?
        };
        if self.config.file.is_none() {
            return Err(ConnectError::MemoryGone);
        }
        // SQLite would make a log where there is none.
        self.config.check_files()?;
        Connection::open(&self.config, Deadline::after(self.config.timeout), alive)
    }

    fn is_valid(&self, _: &mut Connection) -> Result<(), ConnectError> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_given_up()
    }
}
