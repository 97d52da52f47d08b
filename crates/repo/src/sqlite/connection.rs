//! One connection: opened, configured and checked.

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use parking_lot::Mutex;

use super::Conn;
use super::error::{class_of, spoils_connection};
use super::file::{Access, StoreFile, in_memory, is_filled};
use super::identity::{FrozenFile, OpenedFile, OpenedFiles, check_log};
use super::last_turns::LastTurns;
use super::side_files::refuse_unsafe_files;
use super::space::pragma;
use crate::base::deadline::Deadline;
use crate::base::error::ErrorKind;
use crate::base::options::Durability;
use crate::base::query_error::{ErrorClass, QueryError};

/// A connection and its busy timeout.
pub(crate) struct Connection {
    /// `None` for a read-only store and in memory. Dropped before `conn`: SQLite deletes the log when `conn`
    /// is closed.
    pub(super) files: Option<Arc<OpenedFiles>>,
    pub(super) conn: Conn,
    /// The `data_version` at which the schema was last checked. `None` before the first write.
    pub(super) seen_version: Option<i32>,
    pub(super) last_turns: LastTurns,
    busy_timeout: Duration,
    /// Counts the open connections of the store. Dropped after `conn`.
    _alive: Arc<()>,
}

/// The configuration of the connections of a store.
pub(crate) struct ConnectionConfig {
    /// `None` for a store in memory.
    pub(crate) file: Option<StoreFile>,
    pub(crate) access: Access,
    /// The state of a read-only file without a log before it was opened.
    pub(crate) frozen: Option<FrozenFile>,
    /// The identity of the file. `None` in memory.
    pub(crate) opened: Option<OpenedFile>,
    /// The difference of the schema that forbids writes, in words.
    pub(crate) no_writes: Option<String>,
    pub(crate) durability: Durability,
    pub(crate) timeout: Duration,
    /// Each connection holds a copy from before it is opened. `None` once the store is being closed: no
    /// connection is opened any more.
    pub(crate) alive: Mutex<Option<Arc<()>>>,
    /// The connection that opened the store, until a call needs one. Of a program that makes one call, be it a read or
    /// a write, it stays the only one.
    pub(crate) first: Mutex<Option<Connection>>,
}

/// Shared by all connections once the first has found the identity of the file.
pub(crate) type SharedConfig = Arc<ConnectionConfig>;

impl ConnectionConfig {
    /// Fails when a path of the store leads to another file than the one that is open.
    pub(crate) fn check_files(&self) -> Result<(), ErrorKind> {
        self.opened.as_ref().map_or(Ok(()), OpenedFile::check)?;
        self.file.as_ref().map_or(Ok(()), check_log)
    }

    /// Fails when the store is read-only, or a difference of the schema forbids writes, because a trigger may
    /// change them.
    pub(crate) fn check_writes(&self) -> Result<(), QueryError> {
        if self.access != Access::ReadWrite {
            return Err(ErrorKind::ReadOnly.into());
        }
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

/// The settings of every connection, because the defaults depend on how SQLite was built. A hostile file may
/// bring functions in its schema, which must not run; the log is cut back to 64 MiB after it had to grow;
/// macOS needs `fullfsync` for a real sync.
pub(super) const SAME_FOR_ALL: &str = "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; \
    PRAGMA journal_size_limit = 67108864; PRAGMA fullfsync = ON";

/// Runs a checkpoint. Returns whether others prevented it, and the length of the log in frames, -1 while another
/// connection runs one.
pub(super) fn checkpoint(conn: &mut Conn, mode: &str) -> QueryResult<(bool, i32)> {
    let query = format!("PRAGMA wal_checkpoint({mode})");
    let (busy, log, _): (i32, i32, i32) =
        sql::<(Integer, Integer, Integer)>(&query).get_result(conn)?;
    Ok((busy != 0, log))
}

impl Connection {
    /// Returns the first connection if it is unused, else opens one and configures it.
    pub(crate) fn open(config: &ConnectionConfig, deadline: Deadline) -> Result<Self, QueryError> {
        // No caller is left to read the error: a helper thread of the pool came too late.
        let Some(alive) = config.alive.lock().clone() else {
            return Err(QueryError::OutOfTime);
        };
        if let Some(first) = config.first.lock().take() {
            return Ok(first);
        }
        // SQLite would make a log where there is none.
        config.check_files()?;
        let conn = match &config.file {
            Some(file) => {
                refuse_unsafe_files(file)?;
                file.connect(config.access.parameters())?
            }
            None => in_memory()?,
        };
        let mut connection = Self {
            files: None,
            conn,
            seen_version: None,
            last_turns: LastTurns::new(),
            busy_timeout: Duration::ZERO,
            _alive: alive,
        };
        // First, so that every later statement waits for locks.
        connection.wait_at_most(deadline.remaining())?;
        if config.file.is_some() && config.access == Access::ReadWrite {
            use_write_ahead_log(&mut connection.conn, deadline)?;
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

    /// Remembers which files the connection has open.
    fn hold_to_files(&mut self, config: &ConnectionConfig) -> Result<(), QueryError> {
        let (Some(file), Some(opened)) = (&config.file, &config.opened) else {
            return Ok(());
        };
        if config.access != Access::ReadWrite {
            return Ok(opened.check()?);
        }
        // SQLite opens the log with the first read.
        pragma(&mut self.conn, "page_count")?;
        self.files = Some(OpenedFiles::of(opened, file)?);
        // The log is empty although the shared memory counts frames in it: it was deleted, and SQLite has
        // just made a new one. The second look is for a log that another process has just emptied.
        let path = file.wal();
        for _ in 0..2 {
            if is_filled(&path) || checkpoint(&mut self.conn, "NOOP")?.1 <= 0 {
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

    /// Sets the busy timeout, in whole milliseconds, unless it is right to ten of them: a statement per call
    /// would cost more than that.
    pub(crate) fn wait_at_most(&mut self, timeout: Duration) -> QueryResult<()> {
        if self.busy_timeout.abs_diff(timeout) < Duration::from_millis(10) {
            return Ok(());
        }
        let millis = timeout.as_millis();
        self.conn
            .batch_execute(&format!("PRAGMA busy_timeout = {millis}"))?;
        self.busy_timeout = timeout;
        Ok(())
    }

    /// Gives the connection up after an error that spoils it.
    pub(crate) fn give_up_if_spoiled(&mut self, error: &QueryError) {
        if let QueryError::Database(error) = error
            && spoils_connection(class_of(error))
        {
            give_up(&mut self.conn);
        }
    }

    pub(crate) fn is_given_up(&mut self) -> bool {
        AnsiTransactionManager::is_broken_transaction_manager(&mut self.conn)
    }
}

/// Marks a connection, so that it is closed instead of used again.
pub(super) fn give_up(conn: &mut Conn) {
    AnsiTransactionManager::transaction_manager_status_mut(conn).set_in_error();
}

/// Switches the write-ahead log on. Processes that do this to a new file at the same time get "locked" at once,
/// whatever the busy timeout, hence the loop.
fn use_write_ahead_log(conn: &mut Conn, deadline: Deadline) -> Result<(), QueryError> {
    // All rows: SQLite answers before it writes the mode to the file, and the second row is the error of
    // that write.
    let modes: Vec<String> = loop {
        match sql::<Text>("PRAGMA journal_mode = WAL").get_results(conn) {
            Err(error)
                if class_of(&error) == ErrorClass::Busy && !deadline.remaining().is_zero() =>
            {
                thread::sleep(Duration::from_millis(2).min(deadline.remaining()));
            }
            result => break result?,
        }
    };
    let mode = modes.last().map_or("unknown", String::as_str);
    if mode == "wal" {
        return Ok(());
    }
    let reason = format!("its journal mode stays `{mode}`, a write-ahead log is needed");
    Err(ErrorKind::Unsupported { reason }.into())
}

impl Drop for Connection {
    /// The last connection of all processes moves its log into the file, and deletes the log at its path. If
    /// another process has a new log there, that would delete acknowledged writes. So such a connection is
    /// leaked, and this process can't open the file again.
    fn drop(&mut self) {
        let files = self.files.take();
        if files.as_ref().is_some_and(|files| files.log_is_replaced())
            && let Ok(unused) = in_memory()
        {
            mem::forget(mem::replace(&mut self.conn, unused));
            mem::forget(files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system that can't hold a write-ahead log makes SQLite keep another journal mode
    /// and say nothing; a database in memory does the same.
    #[test]
    fn a_journal_mode_that_stays_is_refused() {
        let deadline = Deadline::after(Duration::from_secs(1));
        let error = use_write_ahead_log(&mut in_memory().unwrap(), deadline).unwrap_err();
        let expected = "its journal mode stays `memory`, a write-ahead log is needed";
        assert!(matches!(
            error,
            QueryError::Unusable(ErrorKind::Unsupported { reason }) if reason == expected
        ));
    }
}
