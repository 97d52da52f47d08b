//! The connections of a store.

use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::{ManageConnection, NopErrorHandler, Pool};
use parking_lot::Mutex;
use scheduled_thread_pool::ScheduledThreadPool;

use super::connection::{ConnectError, Connection, SharedSetup};

/// Makes connections for the pool.
#[derive(Debug)]
pub(crate) struct Manager {
    setup: SharedSetup,
    /// The connection that opened the store, until one is needed.
    first: Mutex<Option<Connection>>,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    fn connect(&self) -> Result<Connection, ConnectError> {
        match self.first.lock().take() {
            Some(first) => Ok(first),
            None => Connection::open(&self.setup),
        }
    }

    /// Asks nothing of the server: whoever finds it lost says so for all connections.
    fn is_valid(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        match connection.is_outdated(&self.setup) {
            true => Err(ConnectError::Outdated),
            false => Ok(()),
        }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_given_up() || connection.is_outdated(&self.setup)
    }
}

pub(crate) fn pool(
    setup: &SharedSetup,
    first: Option<Connection>,
    size: u32,
    helper: &Arc<ScheduledThreadPool>,
) -> Pool<Manager> {
    let manager = Manager {
        setup: Arc::clone(setup),
        first: Mutex::new(first),
    };
    Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .test_on_check_out(true)
        // No call waits for this, each has its own deadline. It caps the pause between two tries
        // to make a connection: a server that is back is used at once.
        .connection_timeout(Duration::from_millis(100))
        .error_handler(Box::new(NopErrorHandler))
        .thread_pool(Arc::clone(helper))
        .build_unchecked(manager)
}
