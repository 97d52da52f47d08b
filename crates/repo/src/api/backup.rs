//! A copy of a store in a file.

use std::path::Path;

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::sqlite::backup::Backup;

impl Repo {
    /// Copies the store into a new file, as it is at one moment, while others go on reading and
    /// writing. The copy is a store of its own, to be opened like any other.
    ///
    /// Its mode is 0600 whatever the umask. When this returns `Ok` it is checked (SQLite's
    /// `integrity_check`) and synced to the disk, the name included. A file
    /// of that name is there only when all of this is done, whatever happens to the process or the
    /// machine, and one that was there before is never touched. After an error nothing is left. A
    /// process that dies on the way leaves a file whose name ends in `-partial`, which can be deleted.
    ///
    /// # Errors
    /// - [`ErrorKind::FileExists`]: there is such a file, one that SQLite would
    ///   take for its log, or the `-partial` one of another backup.
    /// - [`ErrorKind::Full`](crate::ErrorKind::Full), [`ErrorKind::Io`](crate::ErrorKind::Io),
    ///   [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly): the copy can't be written.
    /// - [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt): the store is damaged, or the copy is.
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the path is none for a store.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): the store is on a server, which has
    ///   `pg_dump` for that. `turnkeep_admin::copy` brings it into a file as well.
    ///
    /// ```
    /// use turnkeep_repo::{ErrorKind, NewTask, Repo, TaskId};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let repo = Repo::open(folder.path().join("store.db"))?;
    /// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// let path = folder.path().join("backup.db");
    /// assert_eq!(repo.backup(&path)?.tasks, 1);
    /// assert_eq!(Repo::open(&path)?.list_tasks()?, repo.list_tasks()?);
    /// assert!(matches!(repo.backup(&path).unwrap_err().kind(), ErrorKind::FileExists { .. }));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<Backup> {
        let path = path.as_ref();
        self.store.backup(&Operation::on_file("backup", path), path)
    }
}
