//! One connection: opened, set up and checked.

use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use diesel::connection::{
    AnsiTransactionManager, Connection as _, SimpleConnection, TransactionManager,
};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Integer, Text};
use diesel::{ConnectionError, sql_query};

use super::Conn;
use super::error::{class_of, class_of_text, spoils_connection};
use super::file::{Access, StoreFile, is_filled};
use super::identity::{FrozenFile, OpenedFile, OpenedFiles, check_log};
use super::schema::{Seen, refuse_newer};
use super::side_files::refuse_unsafe_files;
use super::space::page_count;
use crate::base::error::Error;
use crate::base::operation::Deadline;
use crate::base::options::Durability;
use crate::base::query_error::{ErrorClass, LostFile, QueryError};
use turnkeep_model::visible_path;

/// A connection, and how long it waits for SQLite's locks now.
pub(crate) struct Connection {
    /// `None` where nothing is written, and in memory. Dropped before the connection itself: until
    /// that is closed, whoever else opens one finds the same files. In a box, because a connection is
    /// moved with each read.
    files: Option<Box<OpenedFiles>>,
    conn: Conn,
    /// `None` before the first write.
    seen_schema: Option<Seen>,
    busy_timeout: Duration,
    is_on_disk: bool,
    /// Tells the store that there is still a connection. Dropped after the connection itself.
    _alive: Arc<()>,
}

/// Where connections lead, and how they are set up.
#[derive(Debug)]
pub(crate) struct Setup {
    /// `None` for a store in memory.
    pub(crate) file: Option<StoreFile>,
    pub(crate) access: Access,
    /// What the file was like before it was opened, when nobody may write to it.
    pub(crate) frozen: Option<FrozenFile>,
    /// Which file that is. `None` for the first connection, and in memory.
    pub(crate) opened: Option<OpenedFile>,
    /// The difference of the schema that forbids writes, in words.
    pub(crate) no_writes: Option<String>,
    pub(crate) durability: Durability,
    pub(crate) timeout: Duration,
}

/// The same for all connections once the first has told which file it is.
pub(crate) type SharedSetup = Arc<Setup>;

impl Setup {
    /// Fails when a path of the store leads to another file than the one that is open.
    pub(crate) fn check_files(&self) -> Result<(), LostFile> {
        self.opened.as_ref().map_or(Ok(()), OpenedFile::check)?;
        self.file.as_ref().map_or(Ok(()), check_log)
    }

    /// Fails when a difference of the schema forbids writes: they may not be stored as they were meant.
    pub(crate) fn check_writes(&self) -> Result<(), QueryError> {
        match &self.no_writes {
            None => Ok(()),
            Some(what) => Err(QueryError::Altered(what.clone())),
        }
    }

    /// Fails when what was read may be a mixture, because others have written meanwhile.
    pub(crate) fn check_read(&self) -> Result<(), LostFile> {
        self.frozen.as_ref().map_or(Ok(()), FrozenFile::check)
    }
}

/// Why there is no connection. r2d2 keeps only its text.
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
    #[error("{} is not the file that was opened, {}", visible_path(&.0.path), .0.reason)]
    Lost(LostFile),
    #[error("a store in memory is gone with its only connection")]
    MemoryGone,
    #[error("the store is being closed")]
    Closing,
}

impl From<LostFile> for ConnectError {
    fn from(lost: LostFile) -> Self {
        Self::Lost(lost)
    }
}

impl ConnectError {
    pub(crate) fn kind(&self) -> ErrorClass {
        match self {
            Self::Connect(ConnectionError::BadConnection(text)) => class_of_text(text),
            Self::Query(error) => class_of(error),
            _ => ErrorClass::Other,
        }
    }
}

/// What every connection is set to, whatever SQLite was built with. Functions in the schema of a file
/// that someone else prepared must not run; the log is cut back to 64 MiB after it had to grow; macOS
/// syncs for real only when asked to.
pub(super) const SAME_FOR_ALL: &str = "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; \
    PRAGMA journal_size_limit = 67108864; PRAGMA fullfsync = ON";

#[derive(QueryableByName)]
struct JournalMode {
    #[diesel(sql_type = Text)]
    journal_mode: String,
}

#[derive(QueryableByName)]
struct LogSize {
    /// In frames.
    #[diesel(sql_type = Integer)]
    log: i32,
}

#[derive(QueryableByName)]
struct Synchronous {
    #[diesel(sql_type = Integer)]
    synchronous: i32,
}

impl Connection {
    /// Opens a connection and sets it up. The timeout comes first, so that every later
    /// statement waits its turn; what can be refused quietly is read back.
    pub(crate) fn open(
        setup: &Setup,
        deadline: Deadline,
        alive: Arc<()>,
    ) -> Result<Self, ConnectError> {
        if let Some(file) = &setup.file {
            refuse_unsafe_files(file)?;
        }
        let conn = match &setup.file {
            Some(file) => file.connect(setup.access.parameters())?,
            None => Conn::establish(":memory:")?,
        };
        let mut connection = Self {
            files: None,
            conn,
            seen_schema: None,
            busy_timeout: Duration::ZERO,
            is_on_disk: setup.file.is_some(),
            _alive: alive,
        };
        connection.wait_at_most(deadline.remaining())?;
        if setup.access == Access::ReadWrite {
            connection.prepare_to_shrink(deadline)?;
            connection.use_write_ahead_log(setup.file.is_some(), deadline)?;
        }
        connection.use_durability(setup.durability)?;
        connection.conn.batch_execute(SAME_FOR_ALL)?;
        connection.wait_at_most(deadline.remaining())?;
        connection.hold_to_files(setup)?;
        Ok(connection)
    }

    /// Finds out which files the connection has open, once it is known which file the store is.
    pub(crate) fn hold_to_files(&mut self, setup: &Setup) -> Result<(), ConnectError> {
        let (Some(file), Some(opened), Access::ReadWrite) =
            (&setup.file, &setup.opened, setup.access)
        else {
            return Ok(());
        };
        // A read, if there was none yet.
        page_count(&mut self.conn)?;
        self.files = Some(Box::new(OpenedFiles::of(opened, file)?));
        self.refuse_new_log(&file.wal())
    }

    /// Fails when the log is empty although others have written to it: it was deleted, and SQLite has
    /// made a new one when it was opened here, to which what those wrote does not belong.
    fn refuse_new_log(&mut self, path: &Path) -> Result<(), ConnectError> {
        // Where another process has just emptied it, the second look tells.
        for _ in 0..2 {
            if is_filled(path) {
                return Ok(());
            }
            let written: LogSize =
                sql_query("PRAGMA wal_checkpoint(NOOP)").get_result(&mut self.conn)?;
            if written.log <= 0 {
                return Ok(());
            }
        }
        Err(ConnectError::Lost(LostFile {
            path: path.into(),
            reason: "it was deleted while another process had it open".into(),
        }))
    }

    /// Fails when a path of the store leads to another file than the one the connection has open.
    pub(crate) fn check_files(&mut self) -> Result<(), LostFile> {
        self.files.as_mut().map_or(Ok(()), |files| files.check())
    }

    /// Fails when the schema of a file is newer than this program. To be called with the lock for writing
    /// held.
    pub(super) fn check_schema(&mut self) -> Result<(), QueryError> {
        match &self.files {
            Some(files) => refuse_newer(&mut self.conn, files.path(), &mut self.seen_schema),
            None => Ok(()),
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Makes SQLite wait for locks no longer than `timeout`, in whole milliseconds.
    pub(crate) fn wait_at_most(&mut self, timeout: Duration) -> QueryResult<()> {
        let millis = timeout.as_millis();
        self.conn
            .batch_execute(&format!("PRAGMA busy_timeout = {millis}"))?;
        self.busy_timeout = timeout;
        Ok(())
    }

    /// As [`wait_at_most`](Self::wait_at_most), but leaves a setting that is about right: a
    /// statement per call would cost more than the percent of the timeout that it mends.
    pub(crate) fn wait_about(&mut self, remaining: Duration, timeout: Duration) -> QueryResult<()> {
        if self.busy_timeout.abs_diff(remaining) > timeout / 100 {
            self.wait_at_most(remaining)?;
        }
        Ok(())
    }

    /// Makes SQLite answer at once when a lock is taken.
    pub(crate) fn never_wait(&mut self) -> QueryResult<()> {
        if self.busy_timeout.is_zero() {
            return Ok(());
        }
        self.wait_at_most(Duration::ZERO)
    }

    /// Runs `work`, and gives the connection up if that met something which spoils it.
    pub(crate) fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let result = work(self);
        if let Err(QueryError::Database(error)) = &result {
            self.give_up_if_spoiled(error);
        }
        result
    }

    /// Gives the connection up after an error which spoils it.
    pub(crate) fn give_up_if_spoiled(&mut self, error: &DieselError) {
        // The only connection to a store in memory is the store.
        if self.is_on_disk && spoils_connection(class_of(error)) {
            self.give_up();
        }
    }

    /// Has the pool drop this connection instead of lending it again.
    pub(crate) fn give_up(&mut self) {
        AnsiTransactionManager::transaction_manager_status_mut(&mut self.conn).set_in_error();
    }

    pub(crate) fn is_given_up(&mut self) -> bool {
        AnsiTransactionManager::is_broken_transaction_manager(&mut self.conn)
    }

    /// Has a file that is still empty keep a map of its pages, without which it could be made
    /// smaller only as a whole. Whoever writes its first page decides, so everyone asks for it.
    fn prepare_to_shrink(&mut self, deadline: Deadline) -> QueryResult<()> {
        if !self.is_on_disk {
            return Ok(());
        }
        self.until_free(deadline, |conn| {
            if page_count(conn)? == 0 {
                conn.batch_execute("PRAGMA auto_vacuum = INCREMENTAL")?;
            }
            Ok(())
        })
    }

    fn use_write_ahead_log(
        &mut self,
        on_disk: bool,
        deadline: Deadline,
    ) -> Result<(), ConnectError> {
        let expected = if on_disk { "wal" } else { "memory" };
        // SQLite answers before it writes that down, and tells only who asks for a second row that it
        // could not.
        let mut answers: Vec<JournalMode> = self.until_free(deadline, |conn| {
            sql_query("PRAGMA journal_mode = WAL").get_results(conn)
        })?;
        let answer = answers.pop().ok_or(DieselError::NotFound)?;
        if answer.journal_mode == expected {
            return Ok(());
        }
        let mode = answer.journal_mode;
        let text = format!("its journal mode stays `{mode}`, a write-ahead log is needed");
        Err(ConnectError::Refused(text))
    }

    /// Changes a file that others may be changing in the same way: one of them is then told at once
    /// that it is locked, whatever the busy timeout, hence the loop.
    fn until_free<T>(
        &mut self,
        deadline: Deadline,
        change: impl Fn(&mut Conn) -> QueryResult<T>,
    ) -> QueryResult<T> {
        loop {
            match change(&mut self.conn) {
                Err(error)
                    if class_of(&error) == ErrorClass::Busy && !deadline.remaining().is_zero() =>
                {
                    thread::sleep(Duration::from_millis(2).min(deadline.remaining()));
                }
                result => return result,
            }
        }
    }

    fn use_durability(&mut self, durability: Durability) -> Result<(), ConnectError> {
        let name = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        self.conn
            .batch_execute(&format!("PRAGMA synchronous = {name}"))?;
        let answer: Synchronous = sql_query("PRAGMA synchronous").get_result(&mut self.conn)?;
        if answer.synchronous == synchronous(durability) {
            return Ok(());
        }
        let text = format!("PRAGMA synchronous is {}, not {name}", answer.synchronous);
        Err(ConnectError::Refused(text))
    }
}

impl Drop for Connection {
    /// With the last connection of all SQLite moves the log it has open into the file, and deletes the
    /// one at its path: where another process has made a new one, what that has acknowledged. Such a
    /// connection is never closed. In this process the file can't be opened again then.
    fn drop(&mut self) {
        let files = self.files.take();
        if files.as_ref().is_some_and(|files| files.log_is_replaced())
            && let Ok(nothing) = Conn::establish(":memory:")
        {
            mem::forget(mem::replace(&mut self.conn, nothing));
            mem::forget(files);
        }
    }
}

/// SQLite's number for a durability.
pub(crate) fn synchronous(durability: Durability) -> i32 {
    match durability {
        Durability::Full => 2,
        Durability::Normal => 1,
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
            seen_schema: None,
            busy_timeout: Duration::ZERO,
            is_on_disk: false,
            _alive: Arc::default(),
        };
        let deadline = Deadline::after(Duration::from_secs(1));
        let error = connection.use_write_ahead_log(true, deadline).unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)));
        assert_eq!(
            error.to_string(),
            "its journal mode stays `memory`, a write-ahead log is needed"
        );
    }
}
