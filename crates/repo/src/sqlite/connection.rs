//! One connection: opened, configured and checked.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use diesel::connection::{
    AnsiTransactionManager, Connection as _, SimpleConnection, TransactionManager,
};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Integer, Text};
use diesel::{ConnectionError, sql_query};

use super::Conn;
use super::error::{class_of, class_of_text, spoils_connection};
use super::file::{Access, StoreFile, is_filled};
use super::identity::{FrozenFile, OpenedFile, OpenedFiles, check_log};
use super::schema::refuse_newer;
use super::side_files::refuse_unsafe_files;
use super::space::page_count;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind};
use crate::base::operation::{OPEN, Operation};
use crate::base::options::Durability;
use crate::base::query_error::{ErrorClass, QueryError};

/// A connection and its busy timeout.
pub(crate) struct Connection {
    /// `None` for a read-only store and in memory. Dropped before `conn`: SQLite deletes the log when `conn`
    /// is closed.
    files: Option<Arc<OpenedFiles>>,
    conn: Conn,
    /// The `data_version` at which the schema was last checked. `None` before the first write.
    seen_version: Option<i32>,
    busy_timeout: Duration,
    is_on_disk: bool,
    /// Counts the open connections of the store. Dropped after `conn`.
    _alive: Arc<()>,
}

/// The configuration of the connections of a store.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    /// `None` for a store in memory.
    pub(crate) file: Option<StoreFile>,
    pub(crate) access: Access,
    /// The state of a read-only file without a log before it was opened.
    pub(crate) frozen: Option<FrozenFile>,
    /// The identity of the file. `None` for the first connection, and in memory.
    pub(crate) opened: Option<OpenedFile>,
    /// The difference of the schema that forbids writes, in words.
    pub(crate) no_writes: Option<String>,
    pub(crate) durability: Durability,
    pub(crate) timeout: Duration,
}

/// Shared by all connections once the first has found the identity of the file.
pub(crate) type SharedConfig = Arc<ConnectionConfig>;

impl ConnectionConfig {
    /// Fails when a path of the store leads to another file than the one that is open.
    pub(crate) fn check_files(&self) -> Result<(), ErrorKind> {
        self.opened.as_ref().map_or(Ok(()), OpenedFile::check)?;
        self.file.as_ref().map_or(Ok(()), check_log)
    }

    /// Fails when a difference of the schema forbids writes, because a trigger may change them.
    pub(crate) fn check_writes(&self) -> Result<(), QueryError> {
        match &self.no_writes {
            None => Ok(()),
            Some(what) => Err(QueryError::altered(what.clone())),
        }
    }

    /// Fails when another process has written to a frozen file, so that a read may mix two states.
    pub(crate) fn check_read(&self) -> Result<(), ErrorKind> {
        self.frozen.as_ref().map_or(Ok(()), FrozenFile::check)
    }
}

/// The reason why a connection could not be made. r2d2 keeps only its text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    #[error(transparent)]
    Query(#[from] diesel::result::Error),
    #[error(transparent)]
    Unsafe(#[from] Error),
    #[error("{0}")]
    Refused(String),
    #[error("{}", .0.clone().on(&Operation::on_store(OPEN)))]
    Lost(ErrorKind),
    #[error("a store in memory is gone with its only connection")]
    MemoryGone,
    #[error("the store is being closed")]
    Closing,
}

impl From<ErrorKind> for ConnectError {
    fn from(lost: ErrorKind) -> Self {
        Self::Lost(lost)
    }
}

impl ConnectError {
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Connect(ConnectionError::BadConnection(text)) => class_of_text(text),
            Self::Query(error) => class_of(error),
            _ => ErrorClass::Other,
        }
    }
}

/// The settings of every connection, because the defaults depend on how SQLite was built. A hostile file may
/// bring functions in its schema, which must not run; the log is cut back to 64 MiB after it had to grow;
/// macOS needs `fullfsync` for a real sync.
pub(super) const SAME_FOR_ALL: &str = "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; \
    PRAGMA journal_size_limit = 67108864; PRAGMA fullfsync = ON";

/// The answer to a checkpoint.
#[derive(QueryableByName)]
pub(super) struct Checkpoint {
    #[diesel(sql_type = Integer)]
    pub(super) busy: i32,
    /// The length of the log in frames. -1 while another connection runs a checkpoint.
    #[diesel(sql_type = Integer)]
    pub(super) log: i32,
}

pub(super) fn checkpoint(conn: &mut Conn, mode: &str) -> QueryResult<Checkpoint> {
    sql_query(format!("PRAGMA wal_checkpoint({mode})")).get_result(conn)
}

impl Connection {
    /// Opens a connection and configures it.
    pub(crate) fn open(
        config: &ConnectionConfig,
        deadline: Deadline,
        alive: Arc<()>,
    ) -> Result<Self, ConnectError> {
        let conn = match &config.file {
            Some(file) => {
                refuse_unsafe_files(file)?;
                file.connect(config.access.parameters())?
            }
            None => Conn::establish(":memory:")?,
        };
        let mut connection = Self {
            files: None,
            conn,
            seen_version: None,
            busy_timeout: Duration::ZERO,
            is_on_disk: config.file.is_some(),
            _alive: alive,
        };
        // First, so that every later statement waits for locks.
        connection.wait_at_most(deadline.remaining())?;
        if config.access == Access::ReadWrite {
            connection.use_write_ahead_log(deadline)?;
        }
        let synchronous = match config.durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        connection.conn.batch_execute(&format!(
            "PRAGMA synchronous = {synchronous}; {SAME_FOR_ALL}"
        ))?;
        connection.wait_at_most(deadline.remaining())?;
        connection.hold_to_files(config)?;
        Ok(connection)
    }

    /// Remembers which files the connection has open, once the identity of the database is known.
    pub(crate) fn hold_to_files(&mut self, config: &ConnectionConfig) -> Result<(), ConnectError> {
        let (Some(file), Some(opened), Access::ReadWrite) =
            (&config.file, &config.opened, config.access)
        else {
            return Ok(());
        };
        // SQLite opens the log with the first read.
        page_count(&mut self.conn)?;
        self.files = Some(OpenedFiles::of(opened, file)?);
        // The log is empty although the shared memory counts frames in it: it was deleted, and SQLite has
        // just made a new one. The second look is for a log that another process has just emptied.
        let path = file.wal();
        for _ in 0..2 {
            if is_filled(&path) || checkpoint(&mut self.conn, "NOOP")?.log <= 0 {
                return Ok(());
            }
        }
        let reason = "it was deleted while another process had it open".into();
        Err(ErrorKind::FileLost { path, reason }.into())
    }

    /// Fails when a path of the store leads to another file than the one that the connection has open.
    pub(crate) fn check_files(&self) -> Result<(), ErrorKind> {
        self.files.as_ref().map_or(Ok(()), |files| files.check())
    }

    /// Fails when the schema of the file is newer than this program. The caller holds the write lock.
    pub(super) fn check_schema(&mut self) -> Result<(), QueryError> {
        match &self.files {
            Some(files) => refuse_newer(&mut self.conn, files.path(), &mut self.seen_version),
            None => Ok(()),
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Sets the busy timeout, in whole milliseconds.
    pub(crate) fn wait_at_most(&mut self, timeout: Duration) -> QueryResult<()> {
        let millis = timeout.as_millis();
        self.conn
            .batch_execute(&format!("PRAGMA busy_timeout = {millis}"))?;
        self.busy_timeout = timeout;
        Ok(())
    }

    /// Sets the busy timeout unless it is right to a hundredth of `timeout`: a statement per call would cost
    /// more than that.
    pub(crate) fn wait_about(&mut self, remaining: Duration, timeout: Duration) -> QueryResult<()> {
        if self.busy_timeout.abs_diff(remaining) > timeout / 100 {
            self.wait_at_most(remaining)?;
        }
        Ok(())
    }

    /// Makes SQLite fail at once when a lock is held.
    pub(crate) fn never_wait(&mut self) -> QueryResult<()> {
        if self.busy_timeout.is_zero() {
            return Ok(());
        }
        self.wait_at_most(Duration::ZERO)
    }

    /// Gives the connection up after an error that spoils it.
    pub(crate) fn give_up_if_spoiled(&mut self, error: &DieselError) {
        // The only connection to a store in memory is the store.
        if self.is_on_disk && spoils_connection(class_of(error)) {
            self.give_up();
        }
    }

    /// Makes the pool close this connection instead of lending it again.
    pub(crate) fn give_up(&mut self) {
        AnsiTransactionManager::transaction_manager_status_mut(&mut self.conn).set_in_error();
    }

    pub(crate) fn is_given_up(&mut self) -> bool {
        AnsiTransactionManager::is_broken_transaction_manager(&mut self.conn)
    }

    /// Switches the write-ahead log on. Processes that do this to a new file at the same time get "locked"
    /// at once, whatever the busy timeout, hence the loop.
    fn use_write_ahead_log(&mut self, deadline: Deadline) -> Result<(), ConnectError> {
        let (conn, is_on_disk) = (&mut self.conn, self.is_on_disk);
        let mut switch_on = || -> QueryResult<Vec<String>> {
            // An empty file gets a map of its pages, without which only VACUUM can make it smaller. The
            // connection that writes the first page decides.
            if is_on_disk && page_count(conn)? == 0 {
                conn.batch_execute("PRAGMA auto_vacuum = INCREMENTAL")?;
            }
            // All rows: SQLite answers before it writes the mode to the file, and the second row is the
            // error of that write.
            sql::<Text>("PRAGMA journal_mode = WAL").get_results(conn)
        };
        let modes = loop {
            match switch_on() {
                Err(error)
                    if class_of(&error) == ErrorClass::Busy && !deadline.remaining().is_zero() =>
                {
                    thread::sleep(Duration::from_millis(2).min(deadline.remaining()));
                }
                result => break result?,
            }
        };
        let expected = if is_on_disk { "wal" } else { "memory" };
        match modes.last() {
            Some(mode) if mode == expected => Ok(()),
            mode => {
                let mode = mode.map_or("unknown", |mode| mode);
                let text = format!("its journal mode stays `{mode}`, a write-ahead log is needed");
                Err(ConnectError::Refused(text))
            }
        }
    }
}

impl Deref for Connection {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

impl Drop for Connection {
    /// The last connection of all processes moves its log into the file, and deletes the log at its path. If
    /// another process has a new log there, that would delete acknowledged writes. So such a connection is
    /// leaked, and this process can't open the file again.
    fn drop(&mut self) {
        let files = self.files.take();
        if files.as_ref().is_some_and(|files| files.log_is_replaced())
            && let Ok(unused) = Conn::establish(":memory:")
        {
            mem::forget(mem::replace(&mut self.conn, unused));
            mem::forget(files);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("busy_timeout", &self.busy_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system that can't hold a write-ahead log makes SQLite keep another journal mode
    /// and say nothing; a database in memory does the same.
    #[test]
    fn a_journal_mode_that_stays_is_refused() {
        let mut connection = Connection {
            files: None,
            conn: Conn::establish(":memory:").unwrap(),
            seen_version: None,
            busy_timeout: Duration::ZERO,
            is_on_disk: true,
            _alive: Arc::default(),
        };
        let deadline = Deadline::after(Duration::from_secs(1));
        let error = connection.use_write_ahead_log(deadline).unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)));
        assert_eq!(
            error.to_string(),
            "its journal mode stays `memory`, a write-ahead log is needed"
        );
    }
}
