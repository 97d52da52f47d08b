//! Bounds the write-ahead log.
//!
//! SQLite moves the log into the database after a commit, but restarts the log only at a moment without
//! readers. Readers that overlap leave no such moment, and the log keeps growing. A truncating checkpoint makes
//! the moment. It holds the write lock, so that the log does not grow while its readers end. Reads that begin
//! meanwhile start from the end of the log, and once all of the log is in the database, from the database
//! alone.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;

use super::connection::{Connection, checkpoint};
use super::file::StoreFile;
use crate::base::deadline::Deadline;

/// The size in bytes past which the log is emptied. SQLite cuts the file back to this size when it restarts
/// the log (`journal_size_limit`), so that all of a longer file is in use.
pub(super) const LIMIT: u64 = 64 * 1024 * 1024;

/// The longest time between two attempts.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The shortest time between two looks at the size. A look at each commit would cost an append some percent,
/// and the log can't grow by much meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The longest wait for readers. Other writers wait meanwhile.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The wait of one of several checkpoints in that time. SQLite waits for the slot of an older read even when a
/// new read has taken it over; the next checkpoint sees that the new read starts from the end of the log.
const ONE_WAIT: Duration = Duration::from_millis(50);

/// The pause before a checkpoint is repeated while another connection runs one. SQLite does not wait for that.
const POLL: Duration = Duration::from_millis(1);

/// The log of a store, and when to empty it.
pub(crate) struct Log {
    path: PathBuf,
    /// `None` before the first commit, which may be the only one of this process.
    looked_at: Option<Instant>,
    /// The log is due when it is longer than this,
    bound: u64,
    /// or at this time if it is longer than [`LIMIT`].
    retry_at: Instant,
}

impl Log {
    /// Leaves a long log until it has grown further: of a thousand processes that append one turn each, not
    /// all must wait for the same reader.
    pub(crate) fn of(file: &StoreFile) -> Self {
        let now = Instant::now();
        let mut log = Self {
            path: file.wal(),
            looked_at: None,
            bound: LIMIT,
            retry_at: now,
        };
        log.settle(now);
        log
    }

    /// Returns whether to empty the log now. The writer asks after each commit.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_recent = |at: Instant| now.duration_since(at) < LOOK_EVERY;
        if self.looked_at.is_some_and(is_recent) {
            return false;
        }
        self.looked_at = Some(now);
        let size = self.size();
        if size <= LIMIT {
            self.bound = LIMIT;
        }
        size > self.bound || (size > LIMIT && now >= self.retry_at)
    }

    /// Sets when the log is due again, after an attempt to empty it: when it has doubled, so that a reader that
    /// never ends costs less and less. The sizes are powers of two, the same for all processes.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.bound = self.size().max(LIMIT).next_power_of_two();
        self.retry_at = now + RETRY_AFTER;
    }

    fn size(&self) -> u64 {
        // The next write reports a missing log.
        fs::metadata(&self.path).map_or(0, |log| log.len())
    }
}

impl Connection {
    /// Moves the log into the database and truncates it. Returns false when readers or writers prevented that
    /// for the whole time.
    pub(super) fn empty_log(&mut self, wait: Duration) -> QueryResult<bool> {
        let deadline = Deadline::after(wait);
        loop {
            self.wait_at_most(deadline.remaining().min(ONE_WAIT))?;
            let (is_busy, frames) = checkpoint(&mut self.conn, "TRUNCATE")?;
            if !is_busy {
                return Ok(true);
            }
            if deadline.remaining().is_zero() {
                return Ok(false);
            }
            if frames < 0 {
                thread::sleep(POLL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::sqlite::connection::SAME_FOR_ALL;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn sqlite_cuts_the_log_back_to_the_limit() {
        assert!(SAME_FOR_ALL.contains(&format!("journal_size_limit = {LIMIT};")));
    }

    /// A log of a given size without a writer.
    struct Sparse {
        file: File,
        log: Log,
        now: Instant,
        _folder: tempfile::TempDir,
    }

    impl Sparse {
        fn new(mib: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = StoreFile::new(&folder.path().join("store.db")).unwrap();
            let file = File::create(store.wal()).unwrap();
            file.set_len(mib * MIB).unwrap();
            let log = Log::of(&store);
            let now = Instant::now();
            Self {
                file,
                log,
                now,
                _folder: folder,
            }
        }

        /// Whether it is due `later`, with this size.
        fn is_due(&mut self, later: Duration, mib: u64) -> bool {
            self.now += later;
            self.file.set_len(mib * MIB).unwrap();
            self.log.is_due(self.now)
        }
    }

    #[test]
    fn a_log_past_the_limit_is_due_once_until_it_has_grown() {
        let mut log = Sparse::new(0);
        assert!(!log.is_due(LOOK_EVERY, 64));
        assert!(log.is_due(LOOK_EVERY, 65));
        log.log.settle(log.now);
        assert!(!log.is_due(LOOK_EVERY, 128));
        assert!(log.is_due(LOOK_EVERY, 129));
        log.log.settle(log.now);
        assert!(!log.is_due(LOOK_EVERY, 256));
        assert!(
            log.is_due(RETRY_AFTER, 256),
            "after a while it is tried all the same"
        );
        log.log.settle(log.now);
        assert!(!log.is_due(LOOK_EVERY, 10));
        assert!(
            log.is_due(LOOK_EVERY, 65),
            "one that was emptied begins anew"
        );
    }

    #[test]
    fn the_size_is_looked_at_after_the_first_commit_and_then_not_at_each() {
        assert!(Sparse::new(64).is_due(Duration::ZERO, 65));
        let mut log = Sparse::new(0);
        assert!(!log.is_due(Duration::ZERO, 0));
        assert!(!log.is_due(LOOK_EVERY / 2, 1_000));
        assert!(log.is_due(LOOK_EVERY / 2, 1_000));
    }

    #[test]
    fn a_log_that_was_long_when_it_was_opened_is_not_due_before_it_has_grown() {
        let mut log = Sparse::new(100);
        assert!(!log.is_due(LOOK_EVERY, 128));
        assert!(log.is_due(LOOK_EVERY, 129));
    }

    #[test]
    fn a_log_that_is_gone_is_not_due() {
        let mut log = Sparse::new(0);
        log.log.path = "/nowhere".into();
        assert!(!log.is_due(LOOK_EVERY, 100));
    }
}
