use std::fmt;

use turnkeep_model::{Fence, TaskId};

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::{Error, Result};
use crate::base::operation::Operation;
use crate::base::target::Target;
use crate::store;

/// Several writes as one.
impl Repo {
    /// Runs `code` in a transaction, and commits all its writes at once with one sync to the disk. Returns
    /// the value of `code`.
    ///
    /// `code` runs once. If it returns an error or panics, none of its writes is stored, and the caller gets
    /// that error or panic. The error may have any type that is made [from](From) this crate's. Where the
    /// compiler asks for it, write it down: `|tx| -> Result<_> { … }`.
    ///
    /// [`Transaction`] has the methods of [`Repo`], which see what the transaction has written. A method that
    /// is refused, for instance with [`ErrorKind::KeyConflict`], leaves nothing of itself, and `code` may go
    /// on. An error of the database, such as [`ErrorKind::Busy`] or [`ErrorKind::Full`], ends the transaction:
    /// all further methods fail with the same kind, and nothing is committed.
    ///
    /// **Keep it short.** A store in a file has one writer. While `code` runs, all other writes to the file
    /// wait, in this process and in others, and fail with [`ErrorKind::Busy`] after their own timeouts. On a
    /// server only writes to the same tasks wait, and writes of dependencies if `code` has written some. The
    /// store's timeout bounds the wait for the begin, and on a server the wait of each method for a lock. It
    /// does not bound the time of `code`, so do not wait there for an agent or the network.
    ///
    /// **Write through `tx` only.** A write through the `Repo` waits for the transaction, which waits for
    /// `code`: it fails with [`ErrorKind::Busy`] after the timeout. On a server a write to another task
    /// succeeds instead, and stays whatever becomes of the transaction. A read through the `Repo` does not see
    /// the transaction's writes (and is busy in a store in memory, which has one connection).
    ///
    /// On a server the methods see what others commit while `code` runs. A task stays locked from the first
    /// write to it until the end. Two transactions that write the same tasks in different orders may wait for
    /// each other; the server then ends one of them with [`ErrorKind::Busy`]. Writing in the order of the ids
    /// avoids this. Pause before a repeat: one that begins at once may be in the way again.
    ///
    /// # Errors
    /// The error of `code`; otherwise the [errors of every call](crate::Repo#errors-of-every-call), with the
    /// operation `transaction`. [`Error::is_retryable`] is true when the same transaction may succeed later.
    /// After [`ErrorKind::OutcomeUnknown`] (the server was lost during the commit) all of it is stored or
    /// none. Messages with keys or an expected seq make it safe to repeat.
    ///
    /// ```
    /// use turnkeep_repo::{
    ///     BackendType, NewSession, NewTask, Repo, Role, Seq, SessionId, StatusUpdate, TaskId,
    /// };
    ///
    /// let repo = Repo::open_in_memory()?;
    /// let (task, next) = (TaskId::new("fix-login")?, TaskId::new("review-login")?);
    /// repo.save_task(&NewTask::new(task.clone(), "Fix the login"))?;
    ///
    /// // The end of an agent's run, as one step.
    /// let session = NewSession::new(BackendType::Claude, SessionId::new("6f1d2c3b")?);
    /// let seq = repo.transaction(|tx| -> turnkeep_repo::Result<Seq> {
    ///     let seq = tx.save_message(&task, Role::Assistant, "The login works.")?;
    ///     tx.save_session(&task, &session)?;
    ///     tx.update_task_status(&task, StatusUpdate::completed("fixed"))?;
    ///     tx.save_task(&NewTask::new(next, "Review the login").depends_on([task.clone()]))?;
    ///     Ok(seq)
    /// })?;
    /// assert_eq!(seq, 1);
    /// assert_eq!(repo.ready_tasks()?.len(), 1);
    ///
    /// // Another type of error, here of a check in the middle.
    /// let undone: anyhow::Result<()> = repo.transaction(|tx| {
    ///     tx.save_message(&task, Role::User, "And the logout?")?;
    ///     anyhow::ensure!(tx.count_history(&task)? < 2, "the task is done");
    ///     Ok(())
    /// });
    /// assert_eq!(undone.unwrap_err().to_string(), "the task is done");
    /// assert_eq!(repo.count_history(&task)?, 1);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn transaction<T, E: From<Error>>(
        &self,
        code: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let call = Operation::on_store("transaction");
        self.store.transaction(call, |open| {
            let transaction = Transaction { open };
            (code(&transaction), transaction.open)
        })
    }
}

#[cfg(feature = "tokio")]
impl crate::AsyncRepo {
    /// Runs `code` in a transaction, on a thread where it may block. See [`Repo::transaction`].
    ///
    /// `code` owns what it uses. A transaction whose future is dropped is still run to its end.
    ///
    /// # Errors
    /// The errors of [`Repo::transaction`].
    ///
    /// ```
    /// use turnkeep_repo::{AsyncRepo, NewTask, Role, TaskId, TaskStatus};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> turnkeep_repo::Result<()> {
    /// let repo = AsyncRepo::open_in_memory().await?;
    /// let task = TaskId::new("t1")?;
    /// repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
    /// let seq = repo
    ///     .transaction(move |tx| {
    ///         tx.update_task_status(&task, TaskStatus::Completed)?;
    ///         tx.save_message(&task, Role::Assistant, "Done.")
    ///     })
    ///     .await?;
    /// assert_eq!(seq, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T, E>(
        &self,
        code: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let run = move |repo: &Repo| repo.transaction(code);
        crate::api::async_repo::block(&self.repo, "transaction", run).await
    }
}

/// An open transaction: the methods of [`Repo`] that read and write, with the same results and errors. Made by
/// [`Repo::transaction`].
pub struct Transaction<'c> {
    open: store::Transaction<'c>,
}

impl<'c> Transaction<'c> {
    /// Returns a handle that writes to the task with the fence of a claim. See [`Claim`](crate::Claim).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId, TaskStatus, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// # let worker = WorkerId::new("host-1/4711")?;
    /// let claim = repo.claim_ready(&worker, 1, Duration::from_secs(30))?.remove(0);
    /// repo.transaction(|tx| {
    ///     let task = tx.as_claimed(&claim.task.id, claim.fence);
    ///     task.save_message(Role::Assistant, "Done.")?;
    ///     task.update_task_status(TaskStatus::Completed)
    /// })?;
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    #[must_use]
    pub fn as_claimed<'t>(
        &'t self,
        task_id: &'t TaskId,
        fence: Fence,
    ) -> ClaimedInTransaction<'t, 'c> {
        ClaimedInTransaction {
            transaction: self,
            task_id,
            fence,
        }
    }

    pub(crate) fn open(&self) -> &store::Transaction<'c> {
        &self.open
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// A claimed task in a transaction: each write carries the fence of the claim. Made by
/// [`Transaction::as_claimed`].
///
/// After [`ErrorKind::LeaseLost`] the call has written nothing, but earlier writes of the transaction stand:
/// return the error to undo them too.
#[derive(Debug, Clone, Copy)]
pub struct ClaimedInTransaction<'t, 'c> {
    transaction: &'t Transaction<'c>,
    pub(crate) task_id: &'t TaskId,
    pub(crate) fence: Fence,
}

impl<'c> ClaimedInTransaction<'_, 'c> {
    pub(crate) fn open(&self) -> &store::Transaction<'c> {
        self.transaction.open()
    }

    pub(crate) fn target(&self) -> Target {
        Target::new(self.task_id, self.fence)
    }
}
