//! Getting rid of what deleted tasks leave in a file.

use turnkeep_model::TaskId;

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;

/// What was deleted leaves free room in the file, and may be read there until that is used again.
impl Repo {
    /// Writes the file anew, so that it takes no more room than what is in it, and that nothing of
    /// what was deleted is left in it or its log.
    ///
    /// Readers go on; others who write wait, for as long as writing all that is kept takes, or until
    /// their timeout. Meanwhile the disk holds it up to three times. Without it nothing is lost: what
    /// was deleted is used again by what is written next. In memory it does nothing.
    ///
    /// # Errors
    /// The store is whole after any of them, and this can be called again.
    /// - [`ErrorKind::Busy`]: others kept on writing; or one kept on reading, and the
    ///   new file is still in the log.
    /// - [`ErrorKind::Full`]: there is not enough room on the disk.
    /// - [`ErrorKind::Unsupported`]: a server does so by itself.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId};
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("store.db");
    /// let repo = Repo::open(&path)?;
    /// let task = TaskId::new("t1")?;
    /// repo.save_task(&NewTask::new(task.clone(), "T1").prompt("x".repeat(1_000_000)))?;
    /// repo.delete_task(&task)?;
    /// repo.vacuum()?;
    /// assert!(std::fs::metadata(&path)?.len() < 500_000);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn vacuum(&self) -> Result<()> {
        let call = Operation::on_store("vacuum");
        let reason = "a server uses it again by itself; `VACUUM FULL` gives it back, while nobody \
                      else can use the tables";
        let file = self
            .store
            .file(&call, "the room of what was deleted", reason)?;
        file.vacuum(call, "the log")
    }

    /// Deletes the task as [`delete_task`](Self::delete_task) does, and leaves nothing readable of it
    /// in the file or its log; returns whether there was one.
    ///
    /// That includes what earlier changes of the task have left, and what other deleted tasks have:
    /// the whole file is written anew, see [`vacuum`](Self::vacuum). Copies, exports and backups are
    /// others' to delete, and a disk may keep blocks that it does not show: encrypt it if that
    /// matters. A task that is gone already is erased all the same.
    ///
    /// # Errors
    /// - [`ErrorKind::Unsupported`]: the store is on a server, which keeps
    ///   deleted rows, its log, replicas and backups. Nothing was deleted.
    /// - [`ErrorKind::Busy`], or any other of [`vacuum`](Self::vacuum): the task is
    ///   deleted or not, but it can still be read in the file. Call it again; while one reader goes
    ///   on for longer than the timeout, the log can't be erased.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId};
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("store.db");
    /// let repo = Repo::open(&path)?;
    /// let task = TaskId::new("t1")?;
    /// repo.save_task(&NewTask::new(task.clone(), "T1").prompt("The password is 1234."))?;
    /// assert!(repo.delete_task_securely(&task)?);
    /// let file = std::fs::read(&path)?;
    /// assert!(!file.windows(8).any(|bytes| bytes == b"password"));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn delete_task_securely(&self, id: &TaskId) -> Result<bool> {
        let call = Operation::on_task("delete_task_securely", id);
        let reason = "a server keeps what was deleted until it vacuums, and in its write-ahead log, \
                      its replicas and its backups, which this program can't erase";
        let file = self.store.file(&call, "erasing what was deleted", reason)?;
        let was_there = self.delete_task(id)?;
        let left = format!("the log with what is left of {}", call.subject());
        file.vacuum(call, &left)?;
        Ok(was_there)
    }
}
