use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use crate::base::address::{is_url, may_be_address};
#[cfg(doc)]
use crate::base::error::ErrorKind;

/// The failures that an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Power loss: every commit is synced to the disk (SQLite: `synchronous = FULL`. PostgreSQL:
    /// the server's `synchronous_commit`, where that is not off; where the cluster replicates
    /// synchronously, also the loss of the leader).
    #[default]
    Full,
    /// The death of the process. A power loss may lose the last commits, but the rest keeps its order and
    /// integrity (SQLite: `synchronous = NORMAL`. PostgreSQL: `synchronous_commit = off`).
    Normal,
}

/// Returns the time of a write.
pub(crate) type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Settings for opening a store. Made by [`Repo::builder`](crate::Repo::builder).
///
/// ```
/// use std::time::Duration;
/// use turnkeep_repo::Repo;
///
/// # let folder = tempfile::tempdir()?;
/// let repo = Repo::builder(folder.path().join("store.db"))
///     .timeout(Duration::from_secs(2))
///     .readers(2)
///     .open()?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct RepoBuilder {
    pub(crate) path: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) durability: Durability,
    /// `None` for the engine's default.
    pub(crate) readers: Option<u32>,
    pub(crate) create_if_missing: bool,
    /// Whether every write is refused.
    pub(crate) is_read_only: bool,
    /// Whether an older schema is brought up to date.
    pub(crate) migrates: bool,
    pub(crate) yield_to_other_processes: bool,
    /// A role that may own the store. On a server only.
    pub(crate) owner: Option<String>,
    pub(crate) clock: Clock,
}

impl RepoBuilder {
    /// SQLite counts milliseconds in 32 bits.
    const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            timeout: Duration::from_secs(5),
            durability: Durability::default(),
            readers: None,
            create_if_missing: true,
            is_read_only: false,
            migrates: true,
            yield_to_other_processes: true,
            owner: None,
            // `Utc::now` panics if the system clock is before 1970.
            clock: Arc::new(|| SystemTime::now().into()),
        }
    }

    /// Sets how long one call may wait, for everything together: its place in the queue, a
    /// connection, another process's lock. Default 5 seconds; more than a day counts as a day.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(Self::LONGEST_TIMEOUT);
        self
    }

    /// Sets what an acknowledged write survives. Default [`Durability::Full`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how many reads run at the same time, each on a connection of its own that is opened
    /// when first needed. On a server, writes other than appends use these connections too. At
    /// least 1. Default: the number of cores, but 2 to 8; on a server 10.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = Some(readers);
        self
    }

    /// Sets whether a missing file is made, and an empty file, database or schema becomes a store.
    /// Default true; a tool that only looks says false and gets [`ErrorKind::StoreNotFound`], or
    /// [`ErrorKind::NotAStore`] where there is an empty file.
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// Opens an existing store for reads only, as a viewer does. Every write fails with
    /// [`ErrorKind::ReadOnly`] before it reaches the database, and so do
    /// [`transaction`](crate::Repo::transaction) and the methods that claim. Reads,
    /// [`wait_for_turns`](crate::Repo::wait_for_turns), `follow` and [`backup`](crate::Repo::backup) work.
    ///
    /// The store is not created, migrated or upgraded: an older schema is [`ErrorKind::Unsupported`].
    ///
    /// **A file** is not changed. Its log and shared memory (`-wal`, `-shm`) may be made, because readers
    /// lock in them; another program's next write may remove them. A file that this process may not write to,
    /// or whose folder it may not write to, is read as
    /// [`open`](crate::Repo::open) reads it.
    ///
    /// **On a server** every session is read-only, so that the server refuses writes too. A role with only
    /// SELECT is enough.
    ///
    /// ```
    /// use turnkeep_repo::{ErrorKind, NewTask, Repo, TaskId};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("store.db");
    /// let repo = Repo::open(&path)?;
    /// let task = NewTask::new(TaskId::new("fix-login")?, "Fix the login");
    /// repo.save_task(&task)?;
    /// let viewer = Repo::builder(&path).read_only().open()?;
    /// assert_eq!(viewer.get_tasks()?.len(), 1);
    /// assert!(matches!(viewer.save_task(&task).unwrap_err().kind(), ErrorKind::ReadOnly));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Sets whether this process takes turns with others that write to the same file. Default
    /// true: while there are others, it pauses for a moment after each 2 ms of writing. With false
    /// it writes whenever it can, and they may wait long. A server does not need it.
    pub fn yield_to_other_processes(mut self, yields: bool) -> Self {
        self.yield_to_other_processes = yields;
        self
    }

    /// Names a role that may own the store on a server. Default: none.
    ///
    /// The schema, the tables and the functions of a store must belong to the role that opens it, a
    /// role it is a member of, the owner of the database, a superuser, or the role named here;
    /// otherwise opening is [`ErrorKind::UntrustedOwner`]. A role with no more than the privileges it needs
    /// names the role that administers the store. A file does not need it.
    pub fn owner(mut self, role: impl Into<String>) -> Self {
        self.owner = Some(role.into());
        self
    }

    /// Sets the clock that stamps writes. Default: the system's. For tests and replays: order
    /// never depends on it. It is asked in the middle of a transaction, so it must not use the store
    /// itself. If it panics, so does the call that asked, and no other.
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl fmt::Debug for RepoBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self
            .path
            .as_ref()
            .map(|path| match is_url(path) || may_be_address(path) {
                true => Path::new("<an address>"),
                false => path.as_path(),
            });
        f.debug_struct("RepoBuilder")
            .field("path", &path)
            .field("timeout", &self.timeout)
            .field("durability", &self.durability)
            .field("readers", &self.readers)
            .field("create_if_missing", &self.create_if_missing)
            .field("is_read_only", &self.is_read_only)
            .field("owner", &self.owner)
            .field("yield_to_other_processes", &self.yield_to_other_processes)
            .finish_non_exhaustive()
    }
}
