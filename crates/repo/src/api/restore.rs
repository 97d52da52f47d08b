//! Replacing a store by a backup.

use std::path::Path;

use crate::base::address::is_server;
use crate::base::error::{ErrorKind, Result};
use crate::base::fork_guard::Opened;
use crate::base::operation::Operation;
use crate::base::options::RepoBuilder;
use crate::sqlite::restore::{OPERATION, Restored, restore};

impl RepoBuilder {
    /// Replaces the store by a backup. No process may have the store open. Of the settings only the
    /// timeout is used.
    ///
    /// The backup may be any file that opens as a store; it is only read. Before the store changes,
    /// the copy is checked (SQLite's `integrity_check`, every row, the checksums of the turns) and
    /// synced. The old files (`-wal`, `-shm` and `-journal` included) are moved, whatever they
    /// contain, into the folder `….before-restore` beside the store, or `….before-restore-2` and so
    /// on. A missing store is created. The new file has mode 0600 and belongs to the user of this
    /// process.
    ///
    /// A damaged store, or a file that is no database, is replaced as well. The store is in use
    /// while any process, this one included, holds SQLite's locks on its file. A process that opens
    /// the store during the exchange waits, or fails with [`ErrorKind::RestoreUnfinished`]. Only
    /// Linux and macOS report the open files of other processes: on other Unix systems an existing
    /// store always counts as in use.
    ///
    /// An error leaves the store as it was, unless it occurs while the old files are moved. After
    /// that, or after a crash at that moment, the store fails to open with
    /// [`ErrorKind::RestoreUnfinished`] until it is restored again, from this or another backup;
    /// files that were already moved are in the folder `…-replaced` and are kept. After a crash at
    /// any other moment either the whole old or the whole new store is there. A second call
    /// restores once more.
    ///
    /// # Errors
    /// - [`ErrorKind::Busy`]: the store is in use, or another process restores it, for the whole
    ///   timeout.
    /// - [`ErrorKind::StoreNotFound`]: no file is at the path of the backup.
    /// - [`ErrorKind::NotAStore`], [`ErrorKind::SchemaTooNew`], [`ErrorKind::Corrupt`],
    ///   [`ErrorKind::UnsafeFile`]: the backup is no store, is of a newer version, or is damaged. A
    ///   backup with an older schema is restored unchanged, and migrated when the store is opened.
    /// - [`ErrorKind::InvalidInput`]: the backup is the store itself, or a path can't name a store.
    /// - [`ErrorKind::FileExists`]: during the call another process created a file with the name of
    ///   the store or of an old file. The store can't be opened until it is restored again.
    /// - [`ErrorKind::Full`], [`ErrorKind::Io`], [`ErrorKind::ReadOnly`]: a system call failed.
    /// - [`ErrorKind::Unsupported`]: the store is on a server, in memory or on a network file
    ///   system, or the system is no Unix.
    /// - [`ErrorKind::Forked`]: the parent of this process had a store open at the fork.
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
    /// assert!(Repo::open(&store)?.get_tasks()?.is_empty());
    /// let kept = restored.kept.expect("there was a store");
    /// assert_eq!(Repo::open(kept)?.get_tasks()?.len(), 1);
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
