//! Shrinking the file, and erasing deleted text.

use turnkeep_model::TaskId;

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;

/// Deleted rows leave free pages in the file, with readable text until the pages are used again.
impl Repo {
    /// Rewrites the file without its free pages, and empties the log, so that neither holds deleted
    /// text.
    ///
    /// Reads go on. Writes wait until the rewrite ends, or fail at their timeout. The disk needs up
    /// to three times the size of the remaining data. Not required for operation: later writes
    /// reuse the free pages. Has no effect on a store in memory.
    ///
    /// # Errors
    /// An error leaves the store whole, and the call can be repeated.
    /// - [`ErrorKind::Busy`]: other processes kept writing; or a long read kept the new pages in
    ///   the log.
    /// - [`ErrorKind::Full`]: the disk has too little room.
    /// - [`ErrorKind::Unsupported`]: the store is on a server, which vacuums by itself.
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

    /// Removes the task like [`remove_task`](Self::remove_task), and erases its text and its recordings from the file
    /// and the log. Returns whether the task existed. The ids of the task and its sessions stay, so that no import
    /// brings them back; [`lift_removal`](Self::lift_removal) deletes these.
    ///
    /// The whole file is rewritten, see [`vacuum`](Self::vacuum), which also erases text of earlier
    /// changes and of other deleted tasks. A task that is already deleted is erased, too. Copies,
    /// exports and backups are not touched, and a disk may keep old blocks: encrypt it if that
    /// matters.
    ///
    /// # Errors
    /// - [`ErrorKind::Unsupported`]: the store is on a server, which keeps deleted rows in its
    ///   tables, log, replicas and backups. The task is not deleted.
    /// - [`ErrorKind::Busy`] and the other errors of [`vacuum`](Self::vacuum): the task may be
    ///   deleted, but its text is still in the file. Call again. A read that outlasts the timeout
    ///   keeps the log from being erased.
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
        let was_there = self.remove_task(id)?;
        let left = format!("the log with what is left of {}", call.subject());
        file.vacuum(call, &left)?;
        Ok(was_there)
    }
}

#[cfg(feature = "tokio")]
async_methods! {
    /// Shrinking the file, and erasing deleted text. Both go on to the end if their future is dropped.
    impl crate::AsyncRepo as Repo {
        reads:
        /// Rewrites the file without its free pages, and empties the log.
        fn vacuum(&self) -> Result<()>;
        /// Deletes the task, and erases its text from the file and the log.
        fn delete_task_securely(&self, id: &TaskId) -> Result<bool>;
    }
}
