//! A copy of a store in a file.

use std::path::Path;

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::sqlite::backup::Backup;

impl Repo {
    /// Copies the store into a new file: a snapshot of one moment, itself a store. Reads and writes
    /// go on meanwhile.
    ///
    /// On `Ok` the copy has passed SQLite's `integrity_check`, and the file and its name are synced
    /// to the disk. Its mode is 0600 whatever the umask. The name appears only when the copy is
    /// complete, also after a crash, and an existing file is never overwritten. An error leaves no
    /// file. A process that dies during the call leaves a file with the ending `-partial`, which
    /// can be deleted.
    ///
    /// # Errors
    /// - [`ErrorKind::FileExists`]: the path, the name of its log or its `-partial` file exists
    ///   already.
    /// - [`ErrorKind::Full`], [`ErrorKind::Io`], [`ErrorKind::ReadOnly`]: the copy can't be
    ///   written.
    /// - [`ErrorKind::Corrupt`]: the store or the copy is damaged.
    /// - [`ErrorKind::InvalidInput`]: the path can't name a store.
    /// - [`ErrorKind::Unsupported`]: the store is on a server. Use `pg_dump`, or
    ///   `turnkeep_admin::copy` into a file.
    ///
    /// ```
    /// use turnkeep_repo::{ErrorKind, NewTask, Repo, TaskId};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let repo = Repo::open(folder.path().join("store.db"))?;
    /// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// let path = folder.path().join("backup.db");
    /// assert_eq!(repo.backup(&path)?.tasks, 1);
    /// assert_eq!(Repo::open(&path)?.get_tasks()?, repo.get_tasks()?);
    /// assert!(matches!(repo.backup(&path).unwrap_err().kind(), ErrorKind::FileExists { .. }));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<Backup> {
        let path = path.as_ref();
        self.store.backup(&Operation::on_file("backup", path), path)
    }
}
