//! The connections that read.

use std::time::Duration;

use diesel::r2d2::{Pool, PooledConnection};
use parking_lot::Mutex;

use super::connection::SharedConfig;
use super::pool::{Manager, get};
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
    connections: Vec<PooledConnection<Manager>>,
    /// The number of calls that wait for the pool. While there is one, used connections go to the pool.
    asking: usize,
}

impl Readers {
    pub(super) fn new(pool: Pool<Manager>, config: SharedConfig) -> Self {
        Self {
            pool,
            config,
            idle: Mutex::default(),
        }
    }

    /// Returns a connection, and the rest of the timeout after waiting for it.
    pub(super) fn take(
        &self,
        timeout: Duration,
    ) -> Result<(PooledConnection<Manager>, Duration), QueryError> {
        let mut idle = self.idle.lock();
        if let Some(connection) = idle.connections.pop() {
            return Ok((connection, timeout));
        }
        idle.asking += 1;
        drop(idle);
        let deadline = Deadline::after(timeout);
        let connection = get(&self.pool, &self.config, timeout);
        self.idle.lock().asking -= 1;
        Ok((connection?, deadline.remaining()))
    }

    pub(super) fn give_back(&self, mut connection: PooledConnection<Manager>) {
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

    /// Closes the idle connections.
    pub(super) fn close(&mut self) {
        self.idle.get_mut().connections.clear();
        while let Some(mut connection) = self.pool.try_get() {
            connection.give_up();
        }
    }

    #[cfg(test)]
    pub(super) fn open_connections(&self) -> u32 {
        self.pool.state().connections
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
        repo.list_tasks().unwrap();
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
            assert_eq!(repo.list_tasks().unwrap(), []);
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
        assert_eq!(repo.list_tasks().unwrap(), []);
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
        assert_eq!(repo.list_tasks().unwrap(), []);
        assert_eq!(open_connections(&repo), 1);
    }
}
