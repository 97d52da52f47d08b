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
/// Threads that write at the same moment share a transaction, and the sync that makes it durable.
/// (On a server those that append do; what else is written has a connection of its own.)
/// Each call keeps its own outcome, as if it had been alone: a refused write fails by itself, a
/// write that panics (in the clock, say) panics where it was called. Only what hits the whole
/// transaction, a full disk or a commit that fails, fails all that share it, with nothing stored.
/// One thread's calls keep their order.
///
/// Any call may fail with [`ErrorKind::FileLost`] when the file or its log is
/// deleted, moved or replaced meanwhile (writes always do), and does with
/// [`ErrorKind::Forked`] in a process that was forked after the store was opened.
/// Any write fails with [`ErrorKind::SchemaTooNew`] once a newer version of this
/// library has upgraded the store.
#[derive(Clone)]
pub struct Repo {
    pub(crate) store: Arc<Store>,
}

impl Repo {
    /// Opens the store in the file at `path`, or on the PostgreSQL server at that address, with
    /// the default settings. Any number of processes may do this at the same time.
    ///
    /// **A file.** A missing one is created (mode 0600) with its folders (0700) and migrated; an
    /// older schema is migrated, after a backup beside it (`….before-upgrade-from-…`). The path means exactly that file, whatever characters it has; one
    /// that begins like a URL (`file:`, `mysql://`) or is `:memory:` is refused, `./` before it
    /// makes it a file name.
    ///
    /// A file that may not be written to, or whose folder may not, is opened all the same, to be read:
    /// every write is [`ErrorKind::ReadOnly`], also when it may be written to later, until it is opened
    /// again. Nothing is made beside it. If it has no log it is read without locks, and as soon as
    /// others write to it after all, every read is [`ErrorKind::FileLost`].
    ///
    /// **A server** (feature `postgres`, PostgreSQL 15 or later). The address begins with
    /// `postgres://` or `postgresql://` and is what libpq reads, several hosts included:
    /// `postgres://user:password@a.example,b.example/turnkeep`. The password
    /// shows in no error and no `Debug`, nor do parameters; the server may name the user. An address in
    /// another notation (`host=… password=…`, `jdbc:postgresql:…`, `postgres:/…`) is refused, and never
    /// taken for a file: no file of a store has `postgres:`, `password=`, `passwd=`, `pass=` or `pwd=` in its
    /// path. The store takes
    /// the first schema of the search path that exists, which must hold nothing else; an empty one is
    /// migrated, an older one too. It is found once, so that nothing another client of a pooler leaves
    /// in a session changes it. The schema, and the tables and functions of the store in it, must belong
    /// to a role that may own them, see [`RepoBuilder::owner`]. The host that takes writes is
    /// looked for whenever a connection is made, so that a failover needs no restart. A pooler that
    /// lends out its connections for one transaction may stand before it.
    ///
    /// # Errors
    /// Whatever is refused is left byte for byte as it was.
    /// - [`ErrorKind::InvalidInput`]: the path is empty, has a NUL, ends in a slash, reads like a URL, or ends
    ///   as a file does that is kept beside a store (`-wal`, `-journal`, `-partial` and so on); the address is none that libpq would read as it is meant. The error does not repeat it.
    /// - [`ErrorKind::NotAStore`], [`ErrorKind::Corrupt`],
    ///   [`ErrorKind::SchemaTooNew`]: the file or the schema is something else, damaged, or too new.
    /// - [`ErrorKind::SchemaAltered`]: another program has altered the tables, or put something in place of
    ///   them. Where it has only changed a trigger or a unique index, the store opens and can be read,
    ///   copied and exported, and its writes are this error.
    /// - [`ErrorKind::UnsafeFile`]: opening could destroy the file or another one, see
    ///   [`FileFault`](crate::FileFault).
    /// - [`ErrorKind::UntrustedOwner`]: the schema on a server, or something of the store in it, belongs to a
    ///   role that may not own it.
    /// - [`ErrorKind::ReadOnly`]: there is something to write (there is no file yet, or an older schema), or
    ///   a log to read without its shared memory, which would have to be made.
    /// - [`ErrorKind::Full`], [`ErrorKind::Io`]: the system said no.
    /// - [`ErrorKind::Unsupported`]: SQLite is older than 3.51.3, or the file system can't hold a
    ///   write-ahead log; PostgreSQL is older than 15, runs with `fsync = off`, has another
    ///   encoding than UTF-8, or messages that are not English; this program was built without the
    ///   feature `postgres`; the search path names no schema that exists, or a pooler has dropped the
    ///   `options` of the address.
    /// - [`ErrorKind::NoConnection`]: the server refuses the user, or has no such database.
    /// - [`ErrorKind::Denied`]: the role on the server may not read the store, or not make or migrate one.
    /// - [`ErrorKind::Unavailable`]: no host that takes writes can be reached now.
    /// - [`ErrorKind::Busy`]: others kept the store locked for the whole timeout.
    /// - [`ErrorKind::Forked`]: the process this one was forked from had a store open.
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

    /// Returns the settings for a store at `path`, a file or an address, to be changed and then
    /// opened.
    pub fn builder(path: impl AsRef<Path>) -> RepoBuilder {
        RepoBuilder::new(Some(path.as_ref().to_owned()))
    }

    /// Opens an empty store in memory, gone with its last clone. It has one connection, so
    /// reads and writes wait for each other.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when SQLite is older than 3.51.3.
    ///
    /// ```
    /// use turnkeep_repo::Repo;
    ///
    /// assert!(Repo::open_in_memory()?.list_tasks()?.is_empty());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn open_in_memory() -> Result<Self> {
        RepoBuilder::new(None).open()
    }

    /// Returns what the store has done since it was opened, in numbers. Waits for no lock.
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
    /// Opens the store, making and migrating it first where needed. See [`Repo::open`].
    ///
    /// # Errors
    /// Those of [`Repo::open`], [`ErrorKind::InvalidInput`] for zero readers, and
    /// [`ErrorKind::StoreNotFound`] or [`ErrorKind::NotAStore`] if there is no store and none is to be made.
    pub fn open(self) -> Result<Repo> {
        if self.readers == Some(0) {
            return Err(Error::invalid("open", "readers", "must be at least 1"));
        }
        Ok(Repo {
            store: Arc::new(Store::open(self)?),
        })
    }
}

impl Drop for Repo {
    /// In a forked process nothing is closed: it is the parent's.
    fn drop(&mut self) {
        if self.store.is_inherited() {
            mem::forget(Arc::clone(&self.store));
        }
    }
}

impl fmt::Debug for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Repo").field(&self.store).finish()
    }
}
