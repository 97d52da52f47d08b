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
        let kind = self.kind::<C>(timeout);
        let source: Option<Source> = match self {
            Self::Refused(error) => return error,
            Self::Database(error) | Self::OutcomeUnknown(error) => Some(error.into()),
            Self::NoConnection(error) if !matches!(kind, ErrorKind::Busy { .. }) => {
                Some(error.into())
            }
            _ => None,
        };
        Error::new(kind, call, source)
    }

    pub(crate) fn kind<C: Classify>(&self, timeout: Duration) -> ErrorKind {
        match self {
            Self::Refused(error) => error.kind().clone(),
            Self::OutOfTime | Self::NeedsTransaction => ErrorKind::Busy { timeout },
            Self::Unusable(kind) => kind.clone(),
            Self::Database(error) => C::class(error).kind(timeout),
            Self::OutcomeUnknown(_) => ErrorKind::OutcomeUnknown,
            Self::NoConnection(error) => match pool_class::<C>(error) {
                ErrorClass::Busy => ErrorKind::Busy { timeout },
                ErrorClass::Lost => ErrorKind::Unavailable,
                _ => ErrorKind::NoConnection { timeout },
            },
        }
    }

    /// Whether the transaction can go on after a rollback to a savepoint. That holds for a rule of the store and
    /// for a row that can't be read. After an error of the database SQLite may have rolled back already, and
    /// further statements would be committed one by one. A constraint of another program may do the same, and a
    /// foreign trigger that suppressed a row may have written others.
    pub(crate) fn is_undone_by_savepoint(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::Database(DieselError::DeserializationError(_))
        )
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
