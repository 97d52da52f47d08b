//! The connections that read.

use std::time::Duration;

use diesel::r2d2::{Pool, PooledConnection};
use parking_lot::Mutex;

use super::connection::{Connection, SharedSetup};
use super::store::{Manager, get};
use crate::base::operation::Deadline;
use crate::base::query_error::QueryError;

/// A pool of connections, beside which those that nobody uses are kept.
///
/// To lend a connection and take it back r2d2 looks at the clock five times, a good part of what a
/// small read takes in all. So it is asked only when there is no idle connection here: it then
/// opens one, or has the call wait for one.
pub(super) struct Readers {
    pool: Pool<Manager>,
    setup: SharedSetup,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<PooledConnection<Manager>>,
    /// How many calls are asking the pool. What is given back meanwhile is for them.
    asking: usize,
}

impl Readers {
    pub(super) fn new(pool: Pool<Manager>, setup: SharedSetup) -> Self {
        Self {
            pool,
            setup,
            idle: Mutex::default(),
        }
    }

    /// Runs `reads` with a connection and with what is left of the timeout after waiting for it.
    pub(super) fn with_one<T>(
        &self,
        timeout: Duration,
        reads: impl FnOnce(&mut Connection, Duration) -> T,
    ) -> Result<T, QueryError> {
        let (mut connection, left) = match self.take_idle() {
            Some(connection) => (connection, timeout),
            None => self.ask_pool(timeout)?,
        };
        // After a panic the connection goes to the pool, which can tell whether it is still good.
        let result = reads(&mut connection, left);
        self.give_back(connection);
        Ok(result)
    }

    /// Returns an idle connection, or counts the call as one that asks the pool.
    fn take_idle(&self) -> Option<PooledConnection<Manager>> {
        let mut idle = self.idle.lock();
        let connection = idle.connections.pop();
        if connection.is_none() {
            idle.asking += 1;
        }
        connection
    }

    fn ask_pool(
        &self,
        timeout: Duration,
    ) -> Result<(PooledConnection<Manager>, Duration), QueryError> {
        let deadline = Deadline::after(timeout);
        let connection = get(&self.pool, &self.setup, timeout);
        self.idle.lock().asking -= 1;
        Ok((connection?, deadline.remaining()))
    }

    fn give_back(&self, mut connection: PooledConnection<Manager>) {
        let is_given_up = connection.is_given_up();
        let mut idle = self.idle.lock();
        if idle.asking == 0 && !is_given_up {
            idle.connections.push(connection);
        } else {
            // The pool lends it to whoever waits, or closes it.
            drop(idle);
            drop(connection);
        }
    }

    /// Closes those that nobody uses.
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
    use crate::base::error::Error;
    use crate::base::operation::Call;
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
    fn who_waits_gets_what_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let repo = store(&folder);
        let (lent, is_lent) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let reading = repo.store.read(Call::on_store("lend"), |_| {
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
            .read(Call::on_store("spoil"), |_| -> Result<(), _> {
                let text = Box::new("disk I/O error".to_owned());
                let error = DieselError::DatabaseError(DatabaseErrorKind::Unknown, text);
                Err(QueryError::Database(error))
            });
        assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
        assert_eq!(open_connections(&repo), 0);
        assert_eq!(repo.list_tasks().unwrap(), []);
    }

    #[test]
    fn a_panic_in_a_read_loses_no_reader() {
        let folder = tempfile::tempdir().unwrap();
        let repo = store(&folder);
        let panicking = repo.clone();
        let panicked = thread::spawn(move || {
            let call = Call::on_store("panic");
            panicking.store.read(call, |_| -> Result<(), QueryError> {
                panic!("in the middle of a read");
            })
        });
        assert!(panicked.join().is_err());
        assert_eq!(repo.list_tasks().unwrap(), []);
        assert_eq!(open_connections(&repo), 1);
    }
}
