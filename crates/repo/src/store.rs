//! The store, of whichever engine its address names.

use std::fmt;
#[cfg(feature = "tokio")]
use std::sync::{Arc, Weak};

use crate::call::Call;
#[cfg(feature = "tokio")]
use crate::call::Deadline;
use crate::engine::Conn;
#[cfg(feature = "tokio")]
use crate::error::Error;
use crate::error::Result;
use crate::failure::Failure;
#[cfg(feature = "tokio")]
use crate::job::Outcome;
use crate::options::RepoBuilder;
#[cfg(feature = "tokio")]
use crate::queue::{CallLeader, Ticket};
use crate::sqlite;
use crate::stats::Stats;
use crate::trace::Span;
#[cfg(feature = "tokio")]
use crate::writer::Leads;
use crate::writes::Write;

pub(crate) enum Store {
    Sqlite(sqlite::Store),
}

/// Does the same with a store of any engine.
macro_rules! each {
    ($store:expr, $it:ident => $do:expr) => {
        match $store {
            Store::Sqlite($it) => $do,
        }
    };
}

impl Store {
    pub(crate) fn open(builder: RepoBuilder) -> Result<Self> {
        sqlite::Store::open(builder).map(Self::Sqlite)
    }

    /// Runs one query.
    pub(crate) fn read<T>(
        &self,
        call: Call<'_>,
        query: impl FnOnce(Conn<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let span = Span::of(&call);
        let result = span.in_scope(|| each!(self, store => store.read(&call, query)));
        self.read_ended(&span, &result);
        result
    }

    /// Runs several queries that see the same state of the store.
    pub(crate) fn read_snapshot<T>(
        &self,
        call: Call<'_>,
        queries: impl FnOnce(Conn<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let span = Span::of(&call);
        let result = span.in_scope(|| each!(self, store => store.read_snapshot(&call, queries)));
        self.read_ended(&span, &result);
        result
    }

    /// Writes in a transaction, which is on the disk when this returns `Ok`, and gone without a
    /// trace when it returns an error.
    pub(crate) fn write<W: Write>(&self, write: W) -> Result<W::Output> {
        let span = Span::of(&write.call());
        let result = span.in_scope(|| each!(self, store => store.writer().write(write)));
        self.write_ended(&span, &result);
        result
    }

    /// The store of a test that looks at what only SQLite has.
    #[cfg(test)]
    pub(crate) fn sqlite(&self) -> &sqlite::Store {
        let Self::Sqlite(store) = self;
        store
    }

    fn read_ended<T>(&self, span: &Span, result: &Result<T>) {
        each!(self, store => store.counters().read(result));
        span.ended(result);
    }

    pub(crate) fn write_ended<T>(&self, span: &Span, result: &Result<T>) {
        each!(self, store => store.counters().write(result));
        span.ended(result);
    }

    pub(crate) fn stats(&self) -> Stats {
        each!(self, store => store.stats())
    }
}

/// For callers that are futures.
#[cfg(feature = "tokio")]
impl Store {
    /// Takes a write for a thread that `call_leader` calls. See [`Queue::submit`].
    ///
    /// [`Queue::submit`]: crate::queue::Queue::submit
    pub(crate) fn submit<W: Write + 'static>(
        &self,
        write: W,
        reply: impl FnOnce(Outcome<W::Output>) + Send + 'static,
        call_leader: CallLeader,
    ) -> (Ticket, Deadline) {
        each!(self, store => store.writer().submit(write, reply, call_leader))
    }

    /// Takes a write out again that was submitted and has not been begun. Returns the error of one
    /// that has waited for too long, if it did.
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<Error> {
        each!(self, store => store.writer().cancel(ticket))
    }

    /// What a thread needs to lead, without a share in the store.
    pub(crate) fn leads(&self) -> Weak<dyn Leads> {
        each!(self, store => {
            let writer: Arc<dyn Leads> = Arc::clone(store.writer()) as _;
            Arc::downgrade(&writer)
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, store => store.fmt(f))
    }
}
