//! An open transaction in which the caller's own code reads and writes.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use turnkeep_model::TaskId;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::Engine;
use crate::commit::write::Write;

pub(crate) struct Transaction<'c, E: Engine> {
    /// `None` once a method has failed in a way that its savepoint does not undo, or has panicked. The
    /// transaction then takes no further methods and is not committed.
    conn: Cell<Option<&'c mut E::Conn>>,
    failure: OnceCell<QueryError>,
    clock: &'c Clock,
    timeout: Duration,
    /// The tasks of its writes.
    changed: &'c RefCell<BTreeSet<TaskId>>,
}

impl<'c, E: Engine> Transaction<'c, E> {
    pub(crate) fn new(
        conn: &'c mut E::Conn,
        clock: &'c Clock,
        timeout: Duration,
        changed: &'c RefCell<BTreeSet<TaskId>>,
    ) -> Self {
        Self {
            conn: Cell::new(Some(conn)),
            failure: OnceCell::new(),
            clock,
            timeout,
            changed,
        }
    }

    /// Runs a write. A refused one leaves nothing of itself.
    pub(crate) fn write<W: Write<E::Conn>>(&self, mut write: W) -> Result<W::Output> {
        write.check()?;
        let written = self.run(|conn| E::with_savepoint(conn, |conn| write.run(conn, self.clock)));
        self.changed
            .borrow_mut()
            .extend(write.call().task_id().cloned());
        written.map_err(|failure| self.error(failure, &write.call()))
    }

    /// Runs a query, which sees what the transaction has written.
    pub(crate) fn read<T>(
        &self,
        call: Operation<'_>,
        query: impl FnOnce(&mut E::Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.run(query)
            .map_err(|failure| self.error(failure, &call))
    }

    /// Fails with `None` if the transaction has failed, now or before.
    fn run<T>(
        &self,
        method: impl FnOnce(&mut E::Conn) -> Result<T, QueryError>,
    ) -> Result<T, Option<QueryError>> {
        let conn = self.conn.take().ok_or(None)?;
        match method(conn) {
            Err(failure) if !failure.is_undone_by_savepoint() => {
                // The first one: later methods do not run.
                let _ = self.failure.set(failure);
                Err(None)
            }
            result => {
                self.conn.set(Some(conn));
                result.map_err(Some)
            }
        }
    }

    fn error(&self, failure: Option<QueryError>, call: &Operation<'_>) -> Error {
        match (failure, self.failure.get()) {
            (Some(failure), _) => failure.translate::<E::Errors>(call, self.timeout),
            (None, Some(failure)) => {
                let kind = failure.kind::<E::Errors>(self.timeout);
                kind.on(call).with_source(failure.to_string())
            }
            (None, None) => panicked(call),
        }
    }

    /// Fails if the transaction can't be committed.
    pub(crate) fn end(self, call: &Operation<'_>) -> Result<(), QueryError> {
        match (self.conn.into_inner(), self.failure.into_inner()) {
            (Some(_), _) => Ok(()),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(panicked(call).into()),
        }
    }
}

/// The error of a transaction whose code has caught the panic of a method.
fn panicked(call: &Operation<'_>) -> Error {
    ErrorKind::Database
        .on(call)
        .with_source("a method of the transaction has panicked")
}
