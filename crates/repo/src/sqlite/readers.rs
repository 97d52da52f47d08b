//! The connections that read.

use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection};
use parking_lot::Mutex;
use scheduled_thread_pool::ScheduledThreadPool;

use super::Conn;
use super::connection::{Connection, SharedConfig, give_up};
use crate::base::deadline::Deadline;
use crate::base::query_error::QueryError;

/// A pool of connections, with the idle connections kept beside it.
///
/// To lend a connection and take it back, r2d2 reads the clock five times, a good part of the cost of a small
/// read. So a read asks r2d2 only when no connection is idle: r2d2 then opens one, or makes the call wait.
pub(super) struct Readers {
    pool: Pool<Manager>,
    config: SharedConfig,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Boxed, because each read moves one out and in, of some hundred bytes.
    #[expect(clippy::vec_box, reason = "a move is part of every read")]
    connections: Vec<Box<PooledConnection<Manager>>>,
    /// The number of calls that wait for the pool. While there is one, used connections go to the pool.
    asking: usize,
}

impl Readers {
    pub(super) fn new(config: SharedConfig, size: u32, helper: Arc<ScheduledThreadPool>) -> Self {
        let pool = Pool::builder()
            .max_size(size)
            // Connections open on demand and close with the store: closing the last connection would
            // checkpoint and delete the log.
            .min_idle(Some(0))
            .idle_timeout(None)
            .max_lifetime(None)
            .test_on_check_out(false)
            // Caps the pause between two attempts to connect. Each call has its own deadline.
            .connection_timeout(Duration::from_millis(100))
            .error_handler(Box::new(NopErrorHandler))
            .thread_pool(helper)
            .build_unchecked(Manager(Arc::clone(&config)));
        Self {
            pool,
            config,
            idle: Mutex::default(),
        }
    }

    /// Runs a query on a connection. A panic returns the connection to the pool, which checks it.
    pub(super) fn lend<T>(
        &self,
        query: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let (mut connection, remaining) = self.take()?;
        connection.wait_at_most(remaining)?;
        let result = query(&mut connection.conn);
        if let Err(error) = &result {
            connection.give_up_if_spoiled(error);
        }
        self.give_back(connection);
        let output = result?;
        self.config.check_read()?;
        Ok(output)
    }

    /// Returns a connection, and the rest of the timeout after waiting for it. Fails at once if the file is lost.
    fn take(&self) -> Result<(Box<PooledConnection<Manager>>, Duration), QueryError> {
        let timeout = self.config.timeout;
        let mut idle = self.idle.lock();
        if let Some(connection) = idle.connections.pop() {
            return Ok((connection, timeout));
        }
        idle.asking += 1;
        drop(idle);
        let deadline = Deadline::after(timeout);
        let files = self.config.check_files();
        let connection = files.map(|()| self.pool.get_timeout(timeout));
        self.idle.lock().asking -= 1;
        match connection? {
            Ok(connection) => Ok((Box::new(connection), deadline.remaining())),
            Err(error) => {
                self.config.check_files()?;
                Err(QueryError::NoConnection(error))
            }
        }
    }

    fn give_back(&self, mut connection: Box<PooledConnection<Manager>>) {
        let is_given_up = connection.is_given_up();
        let mut idle = self.idle.lock();
        if idle.asking == 0 && !is_given_up {
            idle.connections.push(connection);
        } else {
            drop(idle);
            // The pool lends it to a waiting call, or closes it.
            drop(connection);
        }
    }

    /// Closes the idle connections, one after the other: SQLite deletes the log only if no other connection
    /// is open or being closed. A pool that is dropped closes them in its helper thread.
    pub(super) fn close(&mut self) {
        self.idle.get_mut().connections.clear();
        while let Some(mut connection) = self.pool.try_get() {
            give_up(&mut connection.conn);
        }
    }

    #[cfg(test)]
    pub(super) fn open_connections(&self) -> u32 {
        self.pool.state().connections
    }
}

/// Opens connections for the pool.
struct Manager(SharedConfig);

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = QueryError;

    fn connect(&self) -> Result<Connection, QueryError> {
        Connection::open(&self.0, Deadline::after(self.0.timeout))
    }

    fn is_valid(&self, _: &mut Connection) -> Result<(), QueryError> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_given_up()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use diesel::result::{DatabaseErrorKind, Error as DieselError};

    use crate::Repo;
    use crate::base::error::ErrorKind;
    use crate::base::operation::Operation;
    use crate::base::query_error::QueryError;

    /// A store with one reader, which is open.
    fn store(folder: &tempfile::TempDir) -> Repo {
        let file = folder.path().join("store.db");
        let repo = Repo::builder(file).readers(1).open().unwrap();
        repo.get_tasks().unwrap();
        repo
    }

    fn open_connections(repo: &Repo) -> u32 {
        repo.store
            .sqlite()
            .readers
            .as_ref()
            .unwrap()
            .open_connections()
    }

    #[test]
    fn a_waiting_call_gets_a_connection_that_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let repo = store(&folder);
        let (lent, is_lent) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let reading = repo.store.sqlite().read(Operation::on_store("lend"), |_| {
                    lent.send(()).unwrap();
                    let readers = repo.store.sqlite().readers.as_ref().unwrap();
                    while readers.idle.lock().asking == 0 {
                        thread::yield_now();
                    }
                    Ok(())
                });
                reading.unwrap();
            });
            is_lent.recv().unwrap();
            assert_eq!(repo.get_tasks().unwrap(), []);
        });
        assert_eq!(open_connections(&repo), 1);
    }

    #[test]
    fn a_spoiled_reader_is_closed_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let repo = store(&folder);
        let error = repo
            .store
            .sqlite()
            .read(Operation::on_store("spoil"), |_| -> Result<(), _> {
                let text = Box::new("disk I/O error".to_owned());
                let error = DieselError::DatabaseError(DatabaseErrorKind::Unknown, text);
                Err(QueryError::Database(error))
            });
        let error = error.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io), "{error:?}");
        assert_eq!(open_connections(&repo), 0);
        assert_eq!(repo.get_tasks().unwrap(), []);
    }

    #[test]
    fn a_panic_in_a_read_loses_no_reader() {
        let folder = tempfile::tempdir().unwrap();
        let repo = store(&folder);
        let panicking = repo.clone();
        let panicked = thread::spawn(move || {
            let call = Operation::on_store("panic");
            panicking
                .store
                .sqlite()
                .read(call, |_| -> Result<(), QueryError> {
                    panic!("in the middle of a read");
                })
        });
        assert!(panicked.join().is_err());
        assert_eq!(repo.get_tasks().unwrap(), []);
        assert_eq!(open_connections(&repo), 1);
    }
}
