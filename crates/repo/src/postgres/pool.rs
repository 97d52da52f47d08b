//! The connections of a store.

use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::{ManageConnection, NopErrorHandler, Pool};
use diesel::{ConnectionError, ConnectionResult};
use parking_lot::Mutex;
use scheduled_thread_pool::ScheduledThreadPool;

use super::connection::{Connection, ConnectionConfig};

/// Makes connections for the pool.
pub(crate) struct Manager {
    config: Arc<ConnectionConfig>,
    /// The connection that opened the store, until one is needed.
    first: Mutex<Option<Connection>>,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectionError;

    fn connect(&self) -> ConnectionResult<Connection> {
        match self.first.lock().take() {
            Some(first) => Ok(first),
            None => Connection::open(Arc::clone(&self.config)),
        }
    }

    /// Does not ask the server: a call that finds it lost marks all connections.
    fn is_valid(&self, connection: &mut Connection) -> ConnectionResult<()> {
        match connection.is_usable() {
            true => Ok(()),
            false => Err(ConnectionError::BadConnection("the server was lost".into())),
        }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        !connection.is_usable()
    }
}

pub(crate) fn pool(
    config: &Arc<ConnectionConfig>,
    first: Option<Connection>,
    size: u32,
    helper: &Arc<ScheduledThreadPool>,
) -> Pool<Manager> {
    let manager = Manager {
        config: Arc::clone(config),
        first: Mutex::new(first),
    };
    Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .test_on_check_out(true)
        // Calls wait until their own deadlines. This caps the pause between two attempts to connect, so that
        // a server that is back is used at once.
        .connection_timeout(Duration::from_millis(100))
        .error_handler(Box::new(NopErrorHandler))
        .thread_pool(Arc::clone(helper))
        .build_unchecked(manager)
}
