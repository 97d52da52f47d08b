//! How a query ends when it doesn't succeed, and what that means for the caller.

use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::PoolError;
use diesel::result::Error as DieselError;

use crate::call::Call;
use crate::engine::Engine;
use crate::error::{Error, Source};

/// How a query ends when it doesn't succeed. Inside a transaction the driver's own error is
/// kept whole, so that it can be translated once, at the edge, by what it really says.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database refused or failed.
    Database(DieselError),
    /// There was no connection to ask it on.
    NoConnection(PoolError),
    /// The deadline passed before the database was asked.
    OutOfTime,
    /// The rules of the store refused; the answer for the caller is ready.
    Refused(Error),
}

/// What an error of the database means for the store.
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

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// Makes the error of the call that met this.
    pub(crate) fn translate<E: Engine>(self, call: &Call<'_>, timeout: Duration) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Database(error) => E::kind(&error).error(call, timeout, Box::new(error)),
            Self::NoConnection(error) => from_pool::<E>(call, timeout, error),
            Self::OutOfTime => busy(call, timeout),
        }
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
    pub(crate) fn is_busy<E: Engine>(&self) -> bool {
        match self {
            Self::Database(error) => E::kind(error) == Kind::Busy,
            Self::OutOfTime => true,
            Self::NoConnection(_) | Self::Refused(_) => false,
        }
    }

    /// Makes the error of one of the calls.
    pub(crate) fn translate<E: Engine>(&self, call: &Call<'_>, timeout: Duration) -> Error {
        match self {
            Self::Database(error) => {
                E::kind(error).error(call, timeout, Box::new(Arc::clone(error)))
            }
            Self::NoConnection(error) => from_pool::<E>(call, timeout, Arc::clone(error)),
            Self::OutOfTime => busy(call, timeout),
            Self::Refused(error) => Kind::Other.error(call, timeout, Box::new(Arc::clone(error))),
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
fn from_pool<E: Engine>(
    call: &Call<'_>,
    timeout: Duration,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let text = error.to_string();
    let last_error = text.split_once(": ").map(|(_, last)| last);
    match last_error.map_or(Kind::Busy, E::connect_kind) {
        Kind::Busy => busy(call, timeout),
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

impl Kind {
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
