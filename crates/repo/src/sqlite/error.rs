//! Translates SQLite's errors.
//!
//! Diesel passes on no result code: every error but a violated constraint is `Unknown`, and only SQLite's
//! English text distinguishes them. Only this file reads those texts. A test provokes each of them in the
//! linked SQLite, so that an upgrade with other texts is noticed.

use std::io;
use std::path::Path;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::base::error::{Error, ErrorKind};
use crate::base::operation::Operation;
use crate::base::query_error::{Classify, ErrorClass};

/// SQLite's text for a full disk.
pub(super) const FULL: &str = "database or disk is full";

/// The classes of SQLite's errors.
pub(crate) struct SqliteErrors;

impl Classify for SqliteErrors {
    fn class(error: &DieselError) -> ErrorClass {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
                Self::connect_class(information.message())
            }
            DieselError::DeserializationError(_) => ErrorClass::Corrupt,
            _ => ErrorClass::Other,
        }
    }

    /// Reads SQLite's text (`sqlite3_errstr` of main.c).
    fn connect_class(text: &str) -> ErrorClass {
        match text {
            "database is locked"
            | "database table is locked"
            | "database schema is locked"
            | "locking protocol" => ErrorClass::Busy,
            "attempt to write a readonly database" | "access permission denied" => {
                ErrorClass::ReadOnly
            }
            "disk I/O error"
            | "unable to open database file"
            | "large file support is disabled" => ErrorClass::Io,
            "database disk image is malformed" => ErrorClass::Corrupt,
            "file is not a database" => ErrorClass::NotADatabase,
            // The name of a limit may follow.
            text if text.starts_with(FULL) => ErrorClass::Full,
            // The name of the damaged part of the schema follows.
            text if text.starts_with("malformed database schema") => ErrorClass::Corrupt,
            _ => ErrorClass::Other,
        }
    }
}

pub(crate) fn class_of(error: &DieselError) -> ErrorClass {
    SqliteErrors::class(error)
}

/// Makes an error of a text from SQLite.
pub(super) fn from_text(text: String) -> DieselError {
    DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text))
}

/// Whether a connection can't be used after such an error. A connection becomes read-only for good when SQLite
/// can't open a file for a moment.
pub(crate) fn spoils_connection(kind: ErrorClass) -> bool {
    matches!(
        kind,
        ErrorClass::ReadOnly | ErrorClass::Io | ErrorClass::Corrupt | ErrorClass::NotADatabase
    )
}

/// Whether a ROLLBACK failed because SQLite has rolled back already.
pub(crate) fn is_no_transaction(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, information)
        if information.message() == "cannot rollback - no transaction is active")
}

/// Translates an error of the file system.
pub(crate) fn from_io(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let call = Operation::on_file(operation, path);
    let kind = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            return ErrorKind::FileExists { path: path.into() }.on(&call);
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full
        }
        _ => ErrorKind::Io,
    };
    kind.on(&call).with_source(error)
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;
    use diesel::prelude::*;

    use super::*;
    use crate::sqlite::Conn;

    fn kind(result: QueryResult<()>) -> ErrorClass {
        class_of(&result.unwrap_err())
    }

    /// Provokes each text. `disk I/O error` takes a file system that fails: the row `calls` has one.
    #[test]
    fn the_linked_sqlite_still_uses_these_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let path = path.to_str().unwrap();
        let mut conn = Conn::establish(path).unwrap();
        conn.batch_execute("CREATE TABLE t (x)").unwrap();

        let mut other = Conn::establish(path).unwrap();
        other.batch_execute("BEGIN IMMEDIATE").unwrap();
        assert_eq!(
            kind(conn.batch_execute("BEGIN IMMEDIATE")),
            ErrorClass::Busy
        );
        drop(other);

        conn.batch_execute("PRAGMA max_page_count = 1").unwrap();
        let fill = "INSERT INTO t VALUES (zeroblob(100000))";
        assert_eq!(kind(conn.batch_execute(fill)), ErrorClass::Full);

        conn.batch_execute("PRAGMA query_only = ON").unwrap();
        assert_eq!(
            kind(conn.batch_execute("DELETE FROM t")),
            ErrorClass::ReadOnly
        );

        let missing = format!("file:{}/none/a.db?mode=rw", folder.path().display());
        let ConnectionError::BadConnection(text) = Conn::establish(&missing).err().unwrap() else {
            panic!("another kind of error");
        };
        assert_eq!(SqliteErrors::connect_class(&text), ErrorClass::Io);

        let damaged = folder.path().join("damaged.db");
        let mut bytes = std::fs::read(path).unwrap();
        bytes.truncate(4_096);
        std::fs::write(&damaged, &bytes).unwrap();
        let mut conn = Conn::establish(damaged.to_str().unwrap()).unwrap();
        assert_eq!(
            kind(conn.batch_execute("SELECT * FROM t")),
            ErrorClass::Corrupt
        );

        std::fs::write(&damaged, vec![b'x'; 5_000]).unwrap();
        let mut conn = Conn::establish(damaged.to_str().unwrap()).unwrap();
        assert_eq!(
            kind(conn.batch_execute("SELECT * FROM t")),
            ErrorClass::NotADatabase
        );

        let mut conn = Conn::establish(":memory:").unwrap();
        assert_eq!(kind(conn.batch_execute("not sql")), ErrorClass::Other);
    }

    #[test]
    fn errors_of_the_file_system_are_translated() {
        use std::io::ErrorKind as E;
        let of = |kind: E| from_io("open", Path::new("/x"), kind.into());
        assert!(matches!(
            of(E::PermissionDenied).kind(),
            ErrorKind::ReadOnly
        ));
        for kind in [E::StorageFull, E::QuotaExceeded, E::FileTooLarge] {
            assert!(matches!(of(kind).kind(), ErrorKind::Full), "{kind:?}");
        }
        assert!(matches!(of(E::NotADirectory).kind(), ErrorKind::Io));
    }
}
