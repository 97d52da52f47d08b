//! How a query fails, before the error of the call is made from it.

use std::time::Duration;

use diesel::r2d2::PoolError;
use diesel::result::Error as DieselError;

use crate::base::error::{Error, ErrorKind, Source};
use crate::base::operation::{OPEN, Operation};

/// How a query fails. The driver's error is kept whole inside a transaction and translated once, at
/// its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The database refused or failed.
    #[error(transparent)]
    Database(#[from] DieselError),
    /// The pool had no connection.
    #[error(transparent)]
    NoConnection(PoolError),
    /// The deadline passed before the database was asked.
    #[error("the deadline has passed")]
    OutOfTime,
    /// The statement that appends for several callers has refused, and stored nothing. A transaction of the
    /// caller's own has the answer.
    #[error("a transaction is needed")]
    NeedsTransaction,
    /// The connection was lost during the commit, which may have succeeded.
    #[error(transparent)]
    OutcomeUnknown(DieselError),
    /// The store can't be used: its file is lost, or its schema is altered or too new.
    #[error("{}", .0.clone().on(&Operation::on_store(OPEN)))]
    Unusable(ErrorKind),
    /// A rule of the store refused the call.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// The meaning of a database error for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// Another transaction was in the way, and this one waited too long for it or was aborted.
    Busy,
    /// The server can't be reached, or takes no writes now.
    Lost,
    /// The role lacks a privilege.
    Denied,
    Full,
    ReadOnly,
    Io,
    Corrupt,
    NotADatabase,
    Other,
}

/// Reads the errors of one database engine.
pub(crate) trait Classify {
    fn class(error: &DieselError) -> ErrorClass;

    /// Returns the class of the text with which a connection attempt failed.
    fn connect_class(text: &str) -> ErrorClass;
}

impl From<ErrorKind> for QueryError {
    fn from(kind: ErrorKind) -> Self {
        Self::Unusable(kind)
    }
}

impl QueryError {
    /// The schema is altered, as these words say.
    pub(crate) fn altered(what: String) -> Self {
        Self::Unusable(ErrorKind::SchemaAltered { what })
    }

    /// Makes the error of the call.
    pub(crate) fn translate<C: Classify>(self, call: &Operation<'_>, timeout: Duration) -> Error {
        let (kind, source): (_, Option<Source>) = match self {
            Self::Refused(error) => return error,
            Self::OutOfTime | Self::NeedsTransaction => (ErrorKind::Busy { timeout }, None),
            Self::Unusable(kind) => (kind, None),
            Self::Database(error) => (C::class(&error).kind(timeout), Some(error.into())),
            Self::OutcomeUnknown(error) => (ErrorKind::OutcomeUnknown, Some(error.into())),
            Self::NoConnection(error) => match pool_class::<C>(&error) {
                ErrorClass::Busy => (ErrorKind::Busy { timeout }, None),
                ErrorClass::Lost => (ErrorKind::Unavailable, Some(error.into())),
                _ => (ErrorKind::NoConnection { timeout }, Some(error.into())),
            },
        };
        Error::new(kind, call, source)
    }
}

/// Reads r2d2's "timed out waiting for connection", and after a colon the error of the last attempt to
/// connect. Without one, all connections are in use or being made.
fn pool_class<C: Classify>(error: &PoolError) -> ErrorClass {
    let text = error.to_string();
    let last_error = text.split_once(": ").map(|(_, last)| last);
    last_error.map_or(ErrorClass::Busy, C::connect_class)
}

impl ErrorClass {
    pub(crate) fn kind(self, timeout: Duration) -> ErrorKind {
        match self {
            Self::Busy => ErrorKind::Busy { timeout },
            Self::Lost => ErrorKind::Unavailable,
            Self::Denied => ErrorKind::Denied,
            Self::Full => ErrorKind::Full,
            Self::ReadOnly => ErrorKind::ReadOnly,
            Self::Io => ErrorKind::Io,
            Self::Corrupt | Self::NotADatabase => ErrorKind::Corrupt,
            Self::Other => ErrorKind::Database,
        }
    }
}
