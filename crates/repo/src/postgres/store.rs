//! A store on a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use scheduled_thread_pool::ScheduledThreadPool;
use turnkeep_model::{ConversationTurn, Seq, TaskId};

use super::Conn;
use super::address::Address;
use super::check;
use super::connection::{Connection, ConnectionConfig};
use super::error::{PostgresErrors, REFUSED};
use super::migrate::migrate;
use super::ops::history::new_turns;
use super::ops::migration::known;
use super::pool::pool;
use super::schema;
use super::transaction::Transaction;
use super::writer::Postgres;
use crate::base::deadline::Deadline;
use crate::base::error::{ErrorKind, Result};
use crate::base::finding::Check;
use crate::base::operation::{OPEN, Operation};
use crate::base::options::RepoBuilder;
use crate::base::pool_thread::pool_thread;
use crate::base::query_error::{Classify, ErrorClass, QueryError};
use crate::base::stats::{Calls, Stats};
use crate::commit::group_commit::Writer;

/// The usual size of a pool. How many connections are useful depends on the distance of the server.
const DEFAULT_CONNECTIONS: u32 = 10;

/// A store on a server, with its pool of connections.
pub(crate) struct Store {
    /// Threads that write for futures hold it weakly, and do not keep the store open.
    pub(crate) writer: Arc<Writer<Postgres>>,
    /// The thread of the pools.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for futures"))]
    pub(crate) pool_thread: Option<Arc<ScheduledThreadPool>>,
}

impl Store {
    pub(crate) fn open(address: &Path, builder: &RepoBuilder, calls: Arc<Calls>) -> Result<Self> {
        let deadline = Deadline::after(builder.timeout);
        let config = Arc::new(ConnectionConfig {
            address: Address::parse(address)?,
            builder: builder.clone(),
            search_path: OnceLock::new(),
            is_pooled: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        });
        let shown = PathBuf::from(config.address.to_string());
        let call = Operation::on_file(OPEN, &shown);
        let timeout = builder.timeout;
        let mut first = Connection::open(Arc::clone(&config)).map_err(|error| {
            let text = error.to_string();
            if let Some(reason) = text.strip_prefix(REFUSED) {
                let reason = reason.into();
                return ErrorKind::Unsupported { reason }.on(&call);
            }
            let kind = match PostgresErrors::connect_class(&text) {
                // The pool reports the same.
                ErrorClass::Other => ErrorKind::NoConnection { timeout },
                class => class.kind(timeout),
            };
            kind.on(&call).with_source(error)
        })?;
        let no_writes = schema::enter(&mut first, &config, deadline)
            .and_then(|()| migrate(&mut first, &config, &shown, deadline))
            .map_err(|failure| failure.translate::<PostgresErrors>(&call, timeout))?;
        let thread = pool_thread()?;
        let size = builder.readers.unwrap_or(DEFAULT_CONNECTIONS);
        let engine = Postgres {
            appends: pool(&config, None, 1, &thread),
            pool: pool(&config, Some(first), size, &thread),
            no_writes,
            known_migrations: i64::try_from(known().len()).unwrap_or(i64::MAX),
            counters: Arc::clone(&calls.counters),
            watcher: Arc::default(),
            thread: Arc::clone(&thread),
            config,
        };
        let writer = Arc::new(Writer::new(engine, calls, timeout));
        let pool_thread = Some(thread);
        Ok(Self {
            writer,
            pool_thread,
        })
    }

    /// Runs one query.
    pub(crate) fn read<T>(
        &self,
        call: Operation<'_>,
        query: impl Fn(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.read_on(call, |connection, deadline| {
            match connection.has_time_for_locks(deadline) {
                true => query(connection.conn()),
                false => query(Transaction::read(connection, deadline)?.conn()),
            }
        })
    }

    /// Runs several queries that see the same state of the store.
    pub(crate) fn read_snapshot<T>(
        &self,
        call: Operation<'_>,
        queries: impl Fn(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.read_on(call, |connection, deadline| {
            queries(Transaction::read(connection, deadline)?.conn())
        })
    }

    fn read_on<T>(
        &self,
        call: Operation<'_>,
        read: impl Fn(&mut Connection, Deadline) -> Result<T, QueryError>,
    ) -> Result<T> {
        let span = self.writer.calls.begin(&call)?;
        let _entered = span.enter();
        let engine = &self.writer.engine;
        let timeout = engine.config.builder.timeout;
        let deadline = Deadline::after(timeout);
        let result = engine
            .retry_until(deadline, |connection| read(connection, deadline))
            .map_err(|failure| failure.translate::<PostgresErrors>(&call, timeout));
        self.writer.calls.count_read(&span, &result);
        result
    }

    /// Reads turns for a follower.
    pub(crate) fn new_turns(
        &self,
        call: Operation<'_>,
        task_id: &TaskId,
        after: Option<Seq>,
    ) -> Result<Vec<ConversationTurn>> {
        self.read(call, |conn| new_turns(conn, call, task_id, after))
    }

    /// Checks the owners of the store, the schema and the rows.
    pub(crate) fn check(&self, call: &Operation<'_>) -> Result<Vec<Check>> {
        let owner = self.writer.engine.config.builder.owner.as_deref();
        self.read_snapshot(*call, |conn| check::checks(conn, *call, owner))
    }

    pub(crate) fn stats(&self) -> Stats {
        self.writer.calls.counters.stats(0)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.writer.engine.config.address.fmt(f)
    }
}
