//! From SQLite's words to the store's errors.
//!
//! Diesel hands on neither the result code nor the extended one: everything that is no
//! constraint is `Unknown`, and only SQLite's English text tells one failure from another. This
//! is the one place that reads those texts; a test asks the linked SQLite for each of them, so
//! that an upgrade that rewords one can't go unnoticed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::PoolError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::OPEN;
use crate::call::Call;
use crate::error::{Error, Failure, Source};

/// What a text of SQLite means for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Busy,
    Full,
    ReadOnly,
    Io,
    Corrupt,
    NotADatabase,
    Other,
}

impl Kind {
    /// Reads SQLite's text (`sqlite3_errstr` of main.c).
    pub(crate) fn of_text(text: &str) -> Self {
        match text {
            "database is locked"
            | "database table is locked"
            | "database schema is locked"
            | "locking protocol" => Self::Busy,
            "database or disk is full" => Self::Full,
            "attempt to write a readonly database" | "access permission denied" => Self::ReadOnly,
            "disk I/O error"
            | "unable to open database file"
            | "large file support is disabled" => Self::Io,
            "database disk image is malformed" => Self::Corrupt,
            "file is not a database" => Self::NotADatabase,
            // A damaged sqlite_schema row is told with the name of what it should have been.
            text if text.starts_with("malformed database schema") => Self::Corrupt,
            _ => Self::Other,
        }
    }

    pub(crate) fn of(error: &DieselError) -> Self {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
                Self::of_text(information.message())
            }
            DieselError::DeserializationError(_) => Self::Corrupt,
            _ => Self::Other,
        }
    }

    /// Whether the connection that met this should not be used again. SQLite falls back to
    /// read-only for a connection when a file can't be opened for a moment, and keeps at it.
    pub(crate) fn spoils_connection(self) -> bool {
        matches!(
            self,
            Self::ReadOnly | Self::Io | Self::Corrupt | Self::NotADatabase
        )
    }
}

/// Whether a ROLLBACK failed because SQLite had done it already.
pub(crate) fn is_no_transaction(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, information)
        if information.message() == "cannot rollback - no transaction is active")
}

/// Translates what a query gave, at the edge of a call.
pub(crate) fn translate(call: &Call<'_>, timeout: Duration, failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => error,
        Failure::Database(error) => from_kind(Kind::of(&error), call, timeout, Box::new(error)),
        Failure::NoConnection(error) => from_pool(call, timeout, error),
        Failure::OutOfTime => busy(call, timeout),
    }
}

/// A failure that several callers meet.
pub(crate) enum Shared {
    Database(Arc<DieselError>),
    NoConnection(Arc<PoolError>),
    OutOfTime,
    Refused(Arc<Error>),
}

impl Shared {
    /// Whether it only says that time is up.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Database(error) => Kind::of(error) == Kind::Busy,
            Self::OutOfTime => true,
            Self::NoConnection(_) | Self::Refused(_) => false,
        }
    }

    pub(crate) fn translate(&self, call: &Call<'_>, timeout: Duration) -> Error {
        match self {
            Self::Database(error) => {
                from_kind(Kind::of(error), call, timeout, Box::new(Arc::clone(error)))
            }
            Self::NoConnection(error) => from_pool(call, timeout, Arc::clone(error)),
            Self::OutOfTime => busy(call, timeout),
            Self::Refused(error) => {
                from_kind(Kind::Other, call, timeout, Box::new(Arc::clone(error)))
            }
        }
    }
}

impl From<Failure> for Shared {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => Self::Database(Arc::new(error)),
            Failure::NoConnection(error) => Self::NoConnection(Arc::new(error)),
            Failure::OutOfTime => Self::OutOfTime,
            Failure::Refused(error) => Self::Refused(Arc::new(error)),
        }
    }
}

/// Reads r2d2's "timed out waiting for connection", and after a colon what the last try to make
/// one met. Without that all of them are lent out, or one is being made.
fn from_pool(
    call: &Call<'_>,
    timeout: Duration,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let text = error.to_string();
    let last_error = text.split_once(": ").map(|(_, last)| last);
    if last_error.is_none_or(|last| Kind::of_text(last) == Kind::Busy) {
        return busy(call, timeout);
    }
    Error::Pool {
        operation: call.operation,
        subject: call.subject(),
        timeout,
        source: Box::new(error),
    }
}

/// The error of a call that has waited long enough without even asking the database.
pub(crate) fn busy(call: &Call<'_>, timeout: Duration) -> Error {
    Error::Busy {
        operation: call.operation,
        subject: call.subject(),
        timeout,
        source: None,
    }
}

pub(crate) fn from_kind(kind: Kind, call: &Call<'_>, timeout: Duration, source: Source) -> Error {
    let operation = call.operation;
    let subject = call.subject();
    match kind {
        Kind::Busy => Error::Busy {
            operation,
            subject,
            timeout,
            source: Some(source),
        },
        Kind::Full => Error::Full {
            operation,
            subject,
            source,
        },
        Kind::ReadOnly => Error::ReadOnly {
            operation,
            subject,
            source,
        },
        Kind::Io => Error::Io {
            operation,
            subject,
            source,
        },
        Kind::Corrupt | Kind::NotADatabase => Error::Corrupt {
            operation,
            subject,
            source,
        },
        Kind::Other => Error::Database {
            operation,
            subject,
            source,
        },
    }
}

/// Translates a failure of the file system while the store is opened.
pub(crate) fn from_io(path: &Path, error: io::Error) -> Error {
    let operation = OPEN;
    let subject = path.display().to_string();
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly {
            operation,
            subject,
            source: Box::new(error),
        },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full {
            operation,
            subject,
            source: Box::new(error),
        },
        _ => Error::Io {
            operation,
            subject,
            source: Box::new(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;
    use diesel::prelude::*;

    use super::*;
    use crate::sqlite::Conn;

    fn kind(result: QueryResult<()>) -> Kind {
        Kind::of(&result.unwrap_err())
    }

    /// Asks the linked SQLite for each text in the way it really comes about. `disk I/O error`
    /// takes a failing file system: the integration tests have one.
    #[test]
    fn the_linked_sqlite_still_uses_these_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let path = path.to_str().unwrap();
        let mut conn = Conn::establish(path).unwrap();
        conn.batch_execute("CREATE TABLE t (x)").unwrap();

        let mut other = Conn::establish(path).unwrap();
        other.batch_execute("BEGIN IMMEDIATE").unwrap();
        assert_eq!(kind(conn.batch_execute("BEGIN IMMEDIATE")), Kind::Busy);
        drop(other);

        conn.batch_execute("PRAGMA max_page_count = 1").unwrap();
        let fill = "INSERT INTO t VALUES (zeroblob(100000))";
        assert_eq!(kind(conn.batch_execute(fill)), Kind::Full);

        conn.batch_execute("PRAGMA query_only = ON").unwrap();
        assert_eq!(kind(conn.batch_execute("DELETE FROM t")), Kind::ReadOnly);

        let missing = format!("file:{}/none/a.db?mode=rw", folder.path().display());
        let ConnectionError::BadConnection(text) = Conn::establish(&missing).err().unwrap() else {
            panic!("another kind of error");
        };
        assert_eq!(Kind::of_text(&text), Kind::Io);

        let damaged = folder.path().join("damaged.db");
        let mut bytes = std::fs::read(path).unwrap();
        bytes.truncate(4_096);
        std::fs::write(&damaged, &bytes).unwrap();
        let mut conn = Conn::establish(damaged.to_str().unwrap()).unwrap();
        assert_eq!(kind(conn.batch_execute("SELECT * FROM t")), Kind::Corrupt);

        std::fs::write(&damaged, vec![b'x'; 5_000]).unwrap();
        let mut conn = Conn::establish(damaged.to_str().unwrap()).unwrap();
        assert_eq!(
            kind(conn.batch_execute("SELECT * FROM t")),
            Kind::NotADatabase
        );

        let mut conn = Conn::establish(":memory:").unwrap();
        assert_eq!(kind(conn.batch_execute("not sql")), Kind::Other);
    }

    #[test]
    fn the_system_has_words_of_its_own() {
        use std::io::ErrorKind as E;
        let of = |kind: E| from_io(Path::new("/x"), kind.into());
        assert!(matches!(of(E::PermissionDenied), Error::ReadOnly { .. }));
        assert!(matches!(of(E::StorageFull), Error::Full { .. }));
        assert!(matches!(of(E::NotADirectory), Error::Io { .. }));
    }
}
