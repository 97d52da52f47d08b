//! The store, of whichever engine its address names.

use std::fmt;
use std::path::Path;
#[cfg(feature = "tokio")]
use std::sync::{Arc, Weak};

use crate::admin::check::Check;
use crate::base::address::is_server;
use crate::base::error::{Error, Result};
use crate::base::fork_guard::Opened;
use crate::base::operation::Call;
#[cfg(feature = "tokio")]
use crate::base::operation::Deadline;
use crate::base::options::RepoBuilder;
use crate::base::query_error::QueryError;
use crate::base::stats::Stats;
use crate::base::trace::Span;
use crate::commit::engine::Conn;
#[cfg(feature = "tokio")]
use crate::commit::group_commit::Leads;
#[cfg(feature = "tokio")]
use crate::commit::job::Outcome;
#[cfg(feature = "tokio")]
use crate::commit::queue::{CallThread, Ticket};
#[cfg(feature = "postgres")]
use crate::postgres;
use crate::sqlite;
use crate::sqlite::backup::Backup;
use crate::writes::Write;

pub(crate) struct Store {
    pub(crate) engine: OfEngine,
    /// The process that opened it, the only one that may use its connections. Dropped after them.
    opened: Opened,
}

pub(crate) enum OfEngine {
    Sqlite(sqlite::Store),
    #[cfg(feature = "postgres")]
    Postgres(postgres::store::Store),
}

/// Does the same with a store of any engine.
macro_rules! each {
    ($store:expr, $it:ident => $do:expr) => {
        match &$store.engine {
            OfEngine::Sqlite($it) => $do,
            #[cfg(feature = "postgres")]
            OfEngine::Postgres($it) => $do,
        }
    };
}

impl Store {
    pub(crate) fn open(builder: RepoBuilder) -> Result<Self> {
        let opened = Opened::new("open")?;
        let engine = match &builder.path {
            Some(path) if is_server(path) => Self::on_server(path, &builder)?,
            _ => OfEngine::Sqlite(sqlite::Store::open(builder)?),
        };
        Ok(Self { engine, opened })
    }

    #[cfg(feature = "postgres")]
    fn on_server(address: &Path, builder: &RepoBuilder) -> Result<OfEngine> {
        postgres::store::Store::open(address, builder).map(OfEngine::Postgres)
    }

    #[cfg(not(feature = "postgres"))]
    fn on_server(_: &Path, _: &RepoBuilder) -> Result<OfEngine> {
        Err(Error::Unsupported {
            operation: "open",
            subject: "a PostgreSQL server".into(),
            reason: "this program was built without the feature `postgres`".into(),
        })
    }

    /// Whether this is a copy in a process that was forked after the store was opened.
    ///
    /// SQLite's connections must not even be closed there
    /// (<https://sqlite.org/howtocorrupt.html>, 2.6), and a server would be told that the parent says
    /// goodbye.
    pub(crate) fn is_inherited(&self) -> bool {
        self.opened.is_inherited()
    }

    /// Fails in a process that was forked after the store was opened, before anything is touched: a
    /// lock may be there for ever that a thread of the parent held.
    pub(crate) fn refuse_inherited(&self, call: &Call<'_>) -> Result<()> {
        match self.is_inherited() {
            false => Ok(()),
            true => Err(Error::Forked {
                operation: call.operation,
                subject: call.subject(),
            }),
        }
    }

    /// Runs one query.
    pub(crate) fn read<T>(
        &self,
        call: Call<'_>,
        query: impl Fn(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.refuse_inherited(&call)?;
        let span = Span::of(&call);
        let result = span.in_scope(|| each!(self, store => store.read(&call, query)));
        self.read_ended(&span, &result);
        result
    }

    /// Runs several queries that see the same state of the store.
    pub(crate) fn read_snapshot<T>(
        &self,
        call: Call<'_>,
        queries: impl Fn(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.refuse_inherited(&call)?;
        let span = Span::of(&call);
        let result = span.in_scope(|| each!(self, store => store.read_snapshot(&call, queries)));
        self.read_ended(&span, &result);
        result
    }

    /// Writes in a transaction, which is on the disk when this returns `Ok`, and gone without a
    /// trace when it returns an error.
    pub(crate) fn write<W: Write>(&self, write: W) -> Result<W::Output> {
        self.refuse_inherited(&write.call())?;
        let span = Span::of(&write.call());
        let result = span.in_scope(|| each!(self, store => store.writer().write(write)));
        self.write_ended(&span, &result);
        result
    }

    /// Writes in a transaction of its own, beside those who wait in the queue. See
    /// [`Writer::write_beside`](crate::commit::group_commit::Writer::write_beside).
    pub(crate) fn write_beside<T>(
        &self,
        call: Call<'_>,
        write: impl FnMut(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.refuse_inherited(&call)?;
        let span = Span::of(&call);
        let result =
            span.in_scope(|| each!(self, store => store.writer().write_beside(&call, write)));
        self.write_ended(&span, &result);
        result
    }

    /// Returns the store in a file, for what there is only there. On a server `subject` can't be used,
    /// for this reason.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "every store is in a file")
    )]
    pub(crate) fn file(
        &self,
        call: &Call<'_>,
        subject: &str,
        reason: &str,
    ) -> Result<&sqlite::Store> {
        self.refuse_inherited(call)?;
        match &self.engine {
            OfEngine::Sqlite(store) => Ok(store),
            #[cfg(feature = "postgres")]
            OfEngine::Postgres(_) => Err(Error::Unsupported {
                operation: call.operation,
                subject: subject.into(),
                reason: reason.into(),
            }),
        }
    }

    pub(crate) fn is_in_file(&self) -> bool {
        match &self.engine {
            OfEngine::Sqlite(_) => true,
            #[cfg(feature = "postgres")]
            OfEngine::Postgres(_) => false,
        }
    }

    /// Counts and tells what is written past any transaction.
    pub(crate) fn write_to_file<T>(
        &self,
        call: Call<'_>,
        write: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let span = Span::of(&call);
        let result = span.in_scope(write);
        self.write_ended(&span, &result);
        result
    }

    /// Copies a file into another.
    pub(crate) fn backup(&self, call: &Call<'_>, path: &Path) -> Result<Backup> {
        let reason = "`pg_dump` backs up a database, and a copy into a file is a backup, too";
        self.file(call, "a store on a server", reason)?
            .backup(call, path)
    }

    /// Looks at what surrounds the data.
    pub(crate) fn check_outside(&self, call: &Call<'_>) -> Result<Vec<Check>> {
        self.refuse_inherited(call)?;
        match &self.engine {
            OfEngine::Sqlite(store) => store.check(call),
            #[cfg(feature = "postgres")]
            OfEngine::Postgres(store) => store.check(call),
        }
    }

    /// The store of a test that looks at what only SQLite has.
    #[cfg(test)]
    pub(crate) fn sqlite(&self) -> &sqlite::Store {
        match &self.engine {
            OfEngine::Sqlite(store) => store,
            #[cfg(feature = "postgres")]
            OfEngine::Postgres(_) => panic!("a store on a server"),
        }
    }

    /// Returns whether the write waits for company, or is done where it is asked for.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_shared<W: Write>(&self, write: &W) -> bool {
        each!(self, store => store.writer().is_shared(write))
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
    /// Takes a write for a thread that `call_thread` calls. See [`Queue::submit`].
    ///
    /// [`Queue::submit`]: crate::commit::queue::Queue::submit
    pub(crate) fn submit<W: Write + 'static>(
        &self,
        write: W,
        reply: impl FnOnce(Outcome<W::Output>) + Send + 'static,
        call_thread: CallThread,
    ) -> (Ticket, Deadline) {
        each!(self, store => store.writer().submit(write, reply, call_thread))
    }

    /// Takes a write out again that was submitted and has not been begun. Returns the error of one
    /// that has waited for too long, if it did.
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<Error> {
        if self.is_inherited() {
            return None;
        }
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
