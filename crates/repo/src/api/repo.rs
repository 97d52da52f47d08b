use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::Arc;

#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::{Error, Result};
use crate::base::options::RepoBuilder;
use crate::base::stats::Stats;
use crate::store::Store;

/// A store of tasks, agent sessions and conversations.
///
/// Cheap to clone (clones share everything), `Send` and `Sync`. Every method blocks, for at
/// most the timeout plus the time its transaction takes; for async code there is `AsyncRepo`
/// (feature `tokio`). A write that returned `Ok` is on the disk.
///
/// Concurrent writes share a transaction and the sync that makes it durable. (On a server only
/// appends share one; other writes use connections of their own.) Each call has its own result, as
/// if it had run alone: a refused write fails by itself, and a panic, for instance of the clock, is
/// raised in the call that caused it. A failure of the whole transaction, such as a full disk,
/// fails every call in it and stores no data. The calls of one thread keep their order.
///
/// # Errors of every call
/// - [`ErrorKind::Busy`]: other writers kept the store locked for the whole timeout.
/// - [`ErrorKind::Full`], [`ErrorKind::ReadOnly`], [`ErrorKind::Io`], [`ErrorKind::Corrupt`]: the
///   disk or the file has a fault.
/// - [`ErrorKind::NoConnection`]: no connection could be made within the timeout.
/// - [`ErrorKind::Unavailable`], [`ErrorKind::Denied`] (servers): the server can't be reached, or
///   refuses the role.
/// - [`ErrorKind::OutcomeUnknown`] (writes): the commit may have succeeded.
/// - [`ErrorKind::FileLost`]: the file or its log was deleted, moved or replaced. Writes always
///   detect this.
/// - [`ErrorKind::Forked`]: the process was forked after the store was opened.
/// - [`ErrorKind::SchemaTooNew`] (writes): a newer version of this library has upgraded the store.
/// - [`ErrorKind::SchemaAltered`]: another program has altered the tables.
#[derive(Clone)]
pub struct Repo {
    pub(crate) store: Arc<Store>,
}

impl Repo {
    /// Opens the store in the file at `path`, or on the PostgreSQL server at that address, with
    /// the default settings. Any number of processes may do this at the same time.
    ///
    /// **A file.** A missing file is created (mode 0600) with its folders (0700) and migrated. An
    /// older schema is migrated after a backup beside the file (`….before-upgrade-from-…`). The
    /// path is taken literally. A path that begins like a URL (`file:`, `mysql://`) and `:memory:`
    /// are refused; a leading `./` makes them file names.
    ///
    /// A read-only file, or a file in a read-only folder, is opened for reads: every write fails
    /// with [`ErrorKind::ReadOnly`] until the store is opened again, and no file is made beside it.
    /// A read-only file without a log is read without locks; if another process writes to it, every
    /// read fails with [`ErrorKind::FileLost`].
    ///
    /// **A server** (feature `postgres`, PostgreSQL 15 or later). The address begins with
    /// `postgres://` or `postgresql://` and has libpq's syntax, several hosts included:
    /// `postgres://user:password@a.example,b.example/turnkeep`. Errors and `Debug` show neither the
    /// password nor the parameters; a message of the server may contain the user. Other notations
    /// (`host=… password=…`, `jdbc:postgresql:…`, `postgres:/…`) are refused and never taken for a
    /// file: a path can't contain `postgres:`, `password=`, `passwd=`, `pass=` or `pwd=`.
    ///
    /// The store is the first existing schema of the search path, and must have that schema for
    /// itself. An empty schema and an older store are migrated. The schema is looked up once, so
    /// that session settings left behind by other clients of a pooler do not matter. The schema and
    /// the store's tables and functions must belong to a role that may own them, see
    /// [`RepoBuilder::owner`]. Every new connection looks for the host that accepts writes, so a
    /// failover needs no restart. A pooler in transaction mode works.
    ///
    /// # Errors
    /// An error leaves the file or schema byte for byte as it was.
    /// - [`ErrorKind::InvalidInput`]: the path is empty, contains a NUL, ends in a slash, reads
    ///   like a URL, or has the ending of a side file (`-wal`, `-journal`, `-partial` and so on);
    ///   or the address is malformed. The error does not repeat it.
    /// - [`ErrorKind::NotAStore`], [`ErrorKind::Corrupt`], [`ErrorKind::SchemaTooNew`]: the file or
    ///   schema holds other data, is damaged, or is of a newer version.
    /// - [`ErrorKind::SchemaAltered`]: another program has altered or replaced the tables. If only
    ///   a trigger or a unique index differs, the store opens and can be read, copied and exported,
    ///   and each write fails with this error.
    /// - [`ErrorKind::UnsafeFile`]: opening could destroy the file or another one, see
    ///   [`FileFault`](crate::FileFault).
    /// - [`ErrorKind::UntrustedOwner`]: the schema, table or function of a server belongs to a role
    ///   that may not own it.
    /// - [`ErrorKind::ReadOnly`]: the file must be created or migrated, or its log has no shared
    ///   memory yet, and the folder is read-only.
    /// - [`ErrorKind::Full`], [`ErrorKind::Io`]: a system call failed.
    /// - [`ErrorKind::Unsupported`]: SQLite is older than 3.51.3, or the file system can't hold a
    ///   write-ahead log. PostgreSQL is older than 15, runs with `fsync = off`, has another
    ///   encoding than UTF-8, or messages that are not English. This program was built without the
    ///   feature `postgres`. The search path names no existing schema, or a pooler dropped the
    ///   `options` of the address.
    /// - [`ErrorKind::NoConnection`]: the server refuses the user or lacks the database.
    /// - [`ErrorKind::Denied`]: the role may not read the store, or not create or migrate one.
    /// - [`ErrorKind::Unavailable`]: no host that accepts writes can be reached.
    /// - [`ErrorKind::Busy`]: other processes kept the store locked for the whole timeout.
    /// - [`ErrorKind::Forked`]: the parent of this process had a store open at the fork.
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let repo = Repo::open(folder.path().join("store.db"))?;
    /// let task = TaskId::new("fix-login")?;
    /// repo.save_task(&NewTask::new(task.clone(), "Fix the login"))?;
    /// assert_eq!(repo.save_message(&task, Role::User, "Please fix it.")?, 1);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Returns the settings for opening a store at `path`, a file or an address.
    pub fn builder(path: impl AsRef<Path>) -> RepoBuilder {
        RepoBuilder::new(Some(path.as_ref().to_owned()))
    }

    /// Opens an empty store in memory. Its data is gone when the last clone is dropped. It has one
    /// connection, so reads and writes wait for each other.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when SQLite is older than 3.51.3.
    ///
    /// ```
    /// use turnkeep_repo::Repo;
    ///
    /// assert!(Repo::open_in_memory()?.get_tasks()?.is_empty());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn open_in_memory() -> Result<Self> {
        RepoBuilder::new(None).open()
    }

    /// Returns counters of the calls since the store was opened. Waits for no lock.
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Repo, TaskId};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// let stats = repo.stats();
    /// assert_eq!((stats.writes, stats.batches, stats.busy), (1, 1, 0));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.store.stats()
    }
}

impl RepoBuilder {
    /// Opens the store, and creates or migrates it where needed, unless it is
    /// [`read_only`](Self::read_only). See [`Repo::open`].
    ///
    /// # Errors
    /// The errors of [`Repo::open`], [`ErrorKind::InvalidInput`] for zero readers, and
    /// [`ErrorKind::StoreNotFound`] or [`ErrorKind::NotAStore`] if there is no store and none is to be made.
    pub fn open(mut self) -> Result<Repo> {
        if self.readers == Some(0) {
            return Err(Error::invalid("open", "readers", "must be at least 1"));
        }
        if self.is_read_only {
            self.create_if_missing = false;
            self.migrates = false;
        }
        Ok(Repo {
            store: Arc::new(Store::open(self)?),
        })
    }
}

impl Drop for Repo {
    /// A forked process closes no store: SQLite's locks and libpq's sockets are the parent's.
    fn drop(&mut self) {
        if self.store.calls().is_inherited() {
            mem::forget(Arc::clone(&self.store));
        }
    }
}

impl fmt::Debug for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Repo").field(&self.store).finish()
    }
}
