//! How a query ends when it doesn't succeed, and what that means for the caller.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::PoolError;
use diesel::result::Error as DieselError;

use crate::base::error::{Error, Source};
use crate::base::operation::Call;

/// How a query ends when it doesn't succeed. Inside a transaction the driver's own error is
/// kept whole, so that it can be translated once, at the edge, by what it really says.
#[derive(Debug)]
pub(crate) enum QueryError {
    /// The database refused or failed.
    Database(DieselError),
    /// There was no connection to ask it on.
    NoConnection(PoolError),
    /// The deadline passed before the database was asked.
    OutOfTime,
    /// The statement that appends for several callers has refused, and stored nothing. A transaction of the
    /// caller's own has the answer.
    #[cfg(feature = "postgres")]
    NeedsTransaction,
    /// The server was lost while it was told to commit, and may have done so.
    #[cfg(feature = "postgres")]
    OutcomeUnknown(DieselError),
    /// The path of the store leads to another file than the one that is open, or to none.
    FileLost(LostFile),
    /// The schema is not the store's, as these words say.
    Altered(String),
    /// Another process has brought the store to a newer schema since it was opened.
    NewerSchema(NewerSchema),
    /// The rules of the store refused; the answer for the caller is ready.
    Refused(Error),
}

/// The file of a store that is not at its path any more, and what is there instead.
#[derive(Debug, Clone)]
pub(crate) struct LostFile {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl LostFile {
    pub(crate) fn error(self, operation: &'static str) -> Error {
        Error::FileLost {
            operation,
            path: self.path,
            reason: self.reason,
        }
    }
}

/// A store whose schema is newer than this program, and the migration by which that is known.
#[derive(Debug, Clone)]
pub(crate) struct NewerSchema {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

impl NewerSchema {
    pub(crate) fn error(self, operation: &'static str) -> Error {
        Error::SchemaTooNew {
            operation,
            path: self.path,
            version: self.version,
        }
    }
}

/// What an error of the database means for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    Busy,
    /// Two transactions stood in each other's way, and this one was ended.
    #[cfg(feature = "postgres")]
    Conflict,
    /// The server can't be reached, or does not take writes now.
    #[cfg(feature = "postgres")]
    Lost,
    /// The role lacks a privilege.
    #[cfg(feature = "postgres")]
    Denied,
    Full,
    ReadOnly,
    Io,
    Corrupt,
    NotADatabase,
    Other,
}

/// How an engine tells its errors apart.
pub(crate) trait Classify {
    /// Returns what an error of the database means.
    fn class(error: &DieselError) -> ErrorClass;

    /// Returns what it means that no connection could be made, for this reason.
    fn connect_class(text: &str) -> ErrorClass;
}

impl From<DieselError> for QueryError {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

impl From<LostFile> for QueryError {
    fn from(lost: LostFile) -> Self {
        Self::FileLost(lost)
    }
}

impl From<NewerSchema> for QueryError {
    fn from(newer: NewerSchema) -> Self {
        Self::NewerSchema(newer)
    }
}

impl From<Error> for QueryError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl QueryError {
    /// Makes the error of the call that met this.
    pub(crate) fn translate<E: Classify>(self, call: &Call<'_>, timeout: Duration) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Database(error) => E::class(&error).error(call, timeout, Box::new(error)),
            Self::NoConnection(error) => from_pool::<E>(call, timeout, error),
            Self::OutOfTime => busy(call, timeout),
            #[cfg(feature = "postgres")]
            Self::NeedsTransaction => busy(call, timeout),
            #[cfg(feature = "postgres")]
            Self::OutcomeUnknown(error) => outcome_unknown(call, Box::new(error)),
            Self::FileLost(lost) => lost.error(call.operation),
            Self::NewerSchema(newer) => newer.error(call.operation),
            Self::Altered(what) => altered(call, what),
        }
    }

    /// Returns what an error of the database means, if it is one.
    #[cfg(feature = "postgres")]
    pub(crate) fn kind<E: Classify>(&self) -> Option<ErrorClass> {
        match self {
            Self::Database(error) | Self::OutcomeUnknown(error) => Some(E::class(error)),
            _ => None,
        }
    }
}

/// A failure that several callers meet.
pub(crate) enum Shared {
    Database(Arc<DieselError>),
    NoConnection(Arc<PoolError>),
    OutOfTime,
    #[cfg(feature = "postgres")]
    OutcomeUnknown(Arc<DieselError>),
    FileLost(LostFile),
    NewerSchema(NewerSchema),
    Altered(String),
    Refused(Arc<Error>),
}

impl Shared {
    /// Whether the same may succeed a moment later.
    pub(crate) fn is_busy<E: Classify>(&self) -> bool {
        match self {
            Self::Database(error) => E::class(error).passes(),
            Self::NoConnection(error) => pool_class::<E>(error).passes(),
            Self::OutOfTime => true,
            #[cfg(feature = "postgres")]
            Self::OutcomeUnknown(_) => false,
            Self::FileLost(_) | Self::NewerSchema(_) | Self::Altered(_) | Self::Refused(_) => false,
        }
    }

    /// Makes the error of one of the calls.
    pub(crate) fn translate<E: Classify>(&self, call: &Call<'_>, timeout: Duration) -> Error {
        match self {
            Self::Database(error) => {
                E::class(error).error(call, timeout, Box::new(Arc::clone(error)))
            }
            Self::NoConnection(error) => from_pool::<E>(call, timeout, Arc::clone(error)),
            Self::OutOfTime => busy(call, timeout),
            #[cfg(feature = "postgres")]
            Self::OutcomeUnknown(error) => outcome_unknown(call, Box::new(Arc::clone(error))),
            Self::FileLost(lost) => lost.clone().error(call.operation),
            Self::NewerSchema(newer) => newer.clone().error(call.operation),
            Self::Altered(what) => altered(call, what.clone()),
            Self::Refused(error) => {
                ErrorClass::Other.error(call, timeout, Box::new(Arc::clone(error)))
            }
        }
    }
}

impl From<QueryError> for Shared {
    fn from(failure: QueryError) -> Self {
        match failure {
            QueryError::Database(error) => Self::Database(Arc::new(error)),
            QueryError::NoConnection(error) => Self::NoConnection(Arc::new(error)),
            QueryError::OutOfTime => Self::OutOfTime,
            #[cfg(feature = "postgres")]
            QueryError::NeedsTransaction => Self::OutOfTime,
            #[cfg(feature = "postgres")]
            QueryError::OutcomeUnknown(error) => Self::OutcomeUnknown(Arc::new(error)),
            QueryError::FileLost(lost) => Self::FileLost(lost),
            QueryError::NewerSchema(newer) => Self::NewerSchema(newer),
            QueryError::Altered(what) => Self::Altered(what),
            QueryError::Refused(error) => Self::Refused(Arc::new(error)),
        }
    }
}

fn altered(call: &Call<'_>, what: String) -> Error {
    Error::SchemaAltered {
        operation: call.operation,
        subject: call.subject(),
        what,
    }
}

#[cfg(feature = "postgres")]
fn outcome_unknown(call: &Call<'_>, source: Source) -> Error {
    Error::OutcomeUnknown {
        operation: call.operation,
        subject: call.subject(),
        source,
    }
}

/// Reads r2d2's "timed out waiting for connection", and after a colon what the last try to make
/// one met. Without that all of them are lent out, or one is being made.
fn pool_class<E: Classify>(error: &impl std::error::Error) -> ErrorClass {
    let text = error.to_string();
    let last_error = text.split_once(": ").map(|(_, last)| last);
    last_error.map_or(ErrorClass::Busy, E::connect_class)
}

fn from_pool<E: Classify>(
    call: &Call<'_>,
    timeout: Duration,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    match pool_class::<E>(&error) {
        ErrorClass::Busy => busy(call, timeout),
        #[cfg(feature = "postgres")]
        ErrorClass::Lost => ErrorClass::Lost.error(call, timeout, Box::new(error)),
        _ => Error::Pool {
            operation: call.operation,
            subject: call.subject(),
            timeout,
            source: Box::new(error),
        },
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

impl ErrorClass {
    /// Whether the same may succeed a moment later.
    fn passes(self) -> bool {
        match self {
            Self::Busy => true,
            #[cfg(feature = "postgres")]
            Self::Conflict | Self::Lost => true,
            _ => false,
        }
    }

    /// Makes the error of a call that met this.
    pub(crate) fn error(self, call: &Call<'_>, timeout: Duration, source: Source) -> Error {
        let operation = call.operation;
        let subject = call.subject();
        match self {
            Self::Busy => Error::Busy {
                operation,
                subject,
                timeout,
                source: Some(source),
            },
            #[cfg(feature = "postgres")]
            Self::Conflict => Error::Busy {
                operation,
                subject,
                timeout,
                source: Some(source),
            },
            #[cfg(feature = "postgres")]
            Self::Lost => Error::Unavailable {
                operation,
                subject,
                source,
            },
            #[cfg(feature = "postgres")]
            Self::Denied => Error::Denied {
                operation,
                subject,
                source,
            },
            Self::Full => Error::Full {
                operation,
                subject,
                source,
            },
            Self::ReadOnly => Error::ReadOnly {
                operation,
                subject,
                source,
            },
            Self::Io => Error::Io {
                operation,
                subject,
                source,
            },
            Self::Corrupt | Self::NotADatabase => Error::Corrupt {
                operation,
                subject,
                source,
            },
            Self::Other => Error::Database {
                operation,
                subject,
                source,
            },
        }
    }
}
