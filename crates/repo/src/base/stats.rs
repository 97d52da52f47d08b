use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::error::{ErrorKind, Result};
use crate::base::fork_guard::Opened;
use crate::base::operation::Operation;
use crate::base::trace::{Committed, Span};

/// The counters of a store since this process opened it, for a host to export.
///
/// All clones of a [`Repo`](crate::Repo) count together; other processes, and other `Repo`s that
/// were opened on the same file, count for themselves. The numbers are read one by one while others
/// go on, so that they may be a few calls apart from each other. They only grow, `wal_bytes`
/// excepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that succeeded, also if they found nothing.
    pub reads: u64,
    /// Writes that returned `Ok`. One call counts once, whatever it writes.
    pub writes: u64,
    /// Transactions that were committed: `writes / batches` shared one, on average.
    pub batches: u64,
    /// Calls that ended with [`ErrorKind::Busy`].
    pub busy: u64,
    /// Calls that ended with any other error.
    pub failed: u64,
    /// How often a transaction had to ask again, because it was another process's turn to write.
    pub lock_retries: u64,
    /// Time spent committing, the sync to the disk included. Elapsed time, of one transaction
    /// after the other.
    pub commit_time: Duration,
    /// Size of the write-ahead log now, in bytes. 0 for a store in memory, and on a server. Past 64 MiB
    /// it is emptied, for which a write waits up to a second; it stays longer than twice that only
    /// beside reads that take longer than half a second.
    pub wal_bytes: u64,
}

/// The calls of one store: refused in a forked child, traced and counted.
pub(crate) struct Calls {
    /// The process that opened the store, the only one that may use its connections.
    opened: Opened,
    pub(crate) counters: Arc<Counters>,
}

impl Calls {
    pub(crate) fn new(opened: Opened) -> Self {
        Self {
            opened,
            counters: Arc::default(),
        }
    }

    /// Begins a call. Fails in a process that was forked after the store was opened, before it takes any
    /// lock: a thread of the parent may hold it for ever.
    pub(crate) fn begin(&self, call: &Operation<'_>) -> Result<Span> {
        match self.is_inherited() {
            false => Ok(Span::of(call)),
            true => Err(ErrorKind::Forked.on(call)),
        }
    }

    /// Whether this is a copy in a process that was forked after the store was opened.
    ///
    /// A forked child must not even close SQLite's connections
    /// (<https://sqlite.org/howtocorrupt.html>, 2.6), and on a server that would end the parent's sessions.
    pub(crate) fn is_inherited(&self) -> bool {
        self.opened.is_inherited()
    }

    pub(crate) fn count_read<T>(&self, span: &Span, result: &Result<T>) {
        self.counters.call(&self.counters.reads, result);
        span.ended(result);
    }

    pub(crate) fn count_write<T>(&self, span: &Span, result: &Result<T>) {
        self.counters.call(&self.counters.writes, result);
        span.ended(result);
    }
}

/// The numbers while they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    batches: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
    lock_retries: AtomicU64,
    commit_nanos: AtomicU64,
}

impl Counters {
    pub(crate) fn commit(&self, committed: &Committed) {
        add(&self.batches, 1);
        let nanos = u64::try_from(committed.commit.as_nanos()).unwrap_or(u64::MAX);
        add(&self.commit_nanos, nanos);
    }

    pub(crate) fn lock_retries(&self, times: u64) {
        if times > 0 {
            add(&self.lock_retries, times);
        }
    }

    pub(crate) fn stats(&self, wal_bytes: u64) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            reads: get(&self.reads),
            writes: get(&self.writes),
            batches: get(&self.batches),
            busy: get(&self.busy),
            failed: get(&self.failed),
            lock_retries: get(&self.lock_retries),
            commit_time: Duration::from_nanos(get(&self.commit_nanos)),
            wal_bytes,
        }
    }

    fn call<T>(&self, ok: &AtomicU64, result: &Result<T>) {
        let counter = match result {
            Ok(_) => ok,
            Err(error) if matches!(error.kind(), ErrorKind::Busy { .. }) => &self.busy,
            Err(_) => &self.failed,
        };
        add(counter, 1);
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}
