//! A backup in the place of a store.

use std::path::Path;

use crate::base::address::is_server;
use crate::base::error::{ErrorKind, Result};
use crate::base::fork_guard::Opened;
use crate::base::operation::Operation;
use crate::base::options::RepoBuilder;
use crate::sqlite::restore::{OPERATION, Restored, restore};

impl RepoBuilder {
    /// Replaces the store by a backup. No process may have the store open. Of the settings only the timeout
    /// counts.
    ///
    /// The backup is any file that could be opened as a store; it is read and never changed. Its copy
    /// is read back as a whole (SQLite's `integrity_check`, every row, the checksums of the turns) and
    /// synced before anything of the store changes. The old files are kept, whatever they hold: the
    /// file, `-wal`, `-shm` and `-journal` go into the folder `….before-restore` beside the store,
    /// or `….before-restore-2` and so on. Where there is no store yet, one is made of the backup. The new
    /// file has mode 0600 and belongs to the user of this process, whatever the old one had.
    ///
    /// A store that is not whole, or is no database at all, is replaced as well. It counts as in use
    /// while any process, this one included, has the file open with SQLite's locks on it. A process that
    /// opens it while the files are exchanged waits, or fails with [`ErrorKind::RestoreUnfinished`] for that
    /// moment. Only Linux and macOS tell which files a process has open: on other
    /// Unix systems a store that exists always counts as in use.
    ///
    /// After an error the store is as it was, unless the old files were being moved. Then, or where the
    /// process dies or the power is lost at that moment, opening the store is
    /// [`ErrorKind::RestoreUnfinished`] until it is restored again, from this or from another backup. What
    /// had been moved by then is in the folder `…-replaced`, and is kept with the rest. At any other
    /// moment there is the whole old store or the whole new one. Doing it again restores once more.
    ///
    /// # Errors
    /// - [`ErrorKind::Busy`]: the store is in use, or is being restored by another process, for the whole
    ///   timeout.
    /// - [`ErrorKind::StoreNotFound`]: there is no backup at the path.
    /// - [`ErrorKind::NotAStore`], [`ErrorKind::SchemaTooNew`],
    ///   [`ErrorKind::Corrupt`], [`ErrorKind::UnsafeFile`]: the backup is no store, of a newer version, or not
    ///   whole. An older schema is restored as it is, and brought up to date when the store is opened.
    /// - [`ErrorKind::InvalidInput`]: the backup is the store itself, or a path is none for a store.
    /// - [`ErrorKind::FileExists`]: another process has made a file of the store's name, or of the name of an
    ///   old file, meanwhile. The store can't be opened before it is restored again.
    /// - [`ErrorKind::Full`], [`ErrorKind::Io`], [`ErrorKind::ReadOnly`]: the system refused a call.
    /// - [`ErrorKind::Unsupported`]: the store is on a server, in memory or on a network file system, or the
    ///   system is no Unix.
    /// - [`ErrorKind::Forked`]: the process this one was forked from had a store open.
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Repo, TaskId};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let (store, backup) = (folder.path().join("store.db"), folder.path().join("backup.db"));
    /// let repo = Repo::open(&store)?;
    /// repo.backup(&backup)?;
    /// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// drop(repo);
    /// let restored = Repo::builder(&store).restore(&backup)?;
    /// assert!(Repo::open(&store)?.list_tasks()?.is_empty());
    /// let kept = restored.kept.expect("there was a store");
    /// assert_eq!(Repo::open(kept)?.list_tasks()?.len(), 1);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn restore(self, backup: impl AsRef<Path>) -> Result<Restored> {
        let unsupported = |subject: &str, reason: &str| {
            Err(ErrorKind::Unsupported {
                reason: reason.into(),
            }
            .on(&Operation::on_named(OPERATION, subject)))
        };
        match &self.path {
            Some(path) if is_server(path) => {
                unsupported("a store on a server", "`pg_restore` restores a database")
            }
            None => unsupported("a store in memory", "it has no file"),
            Some(path) => {
                let _opened = Opened::new(OPERATION)?;
                restore(path, backup.as_ref(), self.timeout)
            }
        }
    }
}
