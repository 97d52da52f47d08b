use std::time::Duration;

use chrono::{DateTime, Utc};
use turnkeep_model::{
    Claim, NewMessage, NewSession, Role, Session, SessionId, StatusUpdate, TaskId, WorkerId,
};

use super::AsyncRepo;
use crate::api::history::owned;
use crate::base::error::Result;
use crate::store::on_engine;

/// Work that several workers take from one store. Order, atomicity, errors and repeats are as for the methods
/// of the same names of [`Repo`](crate::Repo).
///
/// ```
/// # use std::time::Duration;
/// # use turnkeep_repo::{AsyncRepo, NewTask, Role, TaskId, TaskStatus, WorkerId};
/// # #[tokio::main]
/// # async fn main() -> turnkeep_repo::Result<()> {
/// let repo = AsyncRepo::open_in_memory().await?;
/// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1")).await?;
/// let worker = WorkerId::new("host-1/4711")?;
/// let lease = Duration::from_secs(30);
/// for claim in repo.claim_ready(&worker, 4, lease).await? {
///     let task = repo.as_claimed(&claim.task.id, claim.fence);
///     task.save_message(Role::Assistant, "Done.").await?;
///     task.renew_lease(lease).await?;
///     task.update_task_status(TaskStatus::Completed).await?;
/// }
/// # assert_eq!(repo.list_tasks().await?[0].status, TaskStatus::Completed);
/// # Ok(())
/// # }
/// ```
impl AsyncRepo {
    /// Claims up to `limit` tasks for the worker, on lease. See
    /// [`Repo::claim_ready`](crate::Repo::claim_ready).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the lease is too short or too long.
    pub async fn claim_ready(
        &self,
        worker: &WorkerId,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claim>> {
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::lease::ClaimReady {
            worker: worker.clone(),
            limit,
            lease,
        }).await)
    }

    /// Has the lease of a claim end when so much time has passed from now. See
    /// [`Repo::renew_lease`](crate::Repo::renew_lease).
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost),
    /// [`ErrorKind::TaskNotFound`](crate::ErrorKind::TaskNotFound) and
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput), as there.
    pub async fn renew_lease(
        &self,
        task_id: &TaskId,
        fence: i64,
        lease: Duration,
    ) -> Result<DateTime<Utc>> {
        let ends_at = on_engine!(self.repo.store, engine, ops => {
            let renew = ops::lease::RenewLease {
                task_id: task_id.clone(),
                fence,
                lease,
            };
            self.write(&engine.writer, renew).await
        });
        Ok(ends_at?.into())
    }

    /// Returns the task as its worker may write to it. See
    /// [`Repo::as_claimed`](crate::Repo::as_claimed).
    #[must_use]
    pub fn as_claimed<'a>(&'a self, task_id: &'a TaskId, fence: i64) -> AsyncClaimedTask<'a> {
        AsyncClaimedTask {
            repo: self,
            task_id,
            fence,
        }
    }
}

/// A [`ClaimedTask`](crate::ClaimedTask) for async code: the same methods, none of which blocks the
/// runtime. Made by [`AsyncRepo::as_claimed`].
#[derive(Debug, Clone, Copy)]
pub struct AsyncClaimedTask<'a> {
    repo: &'a AsyncRepo,
    task_id: &'a TaskId,
    fence: i64,
}

impl AsyncClaimedTask<'_> {
    /// Binds the task to an agent session. See [`Repo::save_session`](crate::Repo::save_session).
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and the errors of
    /// [`Repo::save_session`](crate::Repo::save_session).
    pub async fn save_session(&self, binding: &NewSession) -> Result<Session> {
        on_engine!(self.repo.repo.store, engine, ops => {
         let write = ops::session::SaveSession {
                    task_id: self.task_id.clone(),
                    binding: binding.clone(),
                };
         let write = ops::lease::Fenced::new(self.task_id, self.fence, write);
         self.repo.write(&engine.writer, write).await
        })
    }

    /// Removes the current binding of the task if it still is `session_id`; returns whether it did.
    /// See [`Repo::retire_session`](crate::Repo::retire_session).
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost),
    /// [`ErrorKind::TaskNotFound`](crate::ErrorKind::TaskNotFound), and the errors of
    /// [`Repo::retire_session`](crate::Repo::retire_session).
    pub async fn retire_session(&self, session_id: &SessionId, reason: &str) -> Result<bool> {
        on_engine!(self.repo.repo.store, engine, ops => {
         let write = ops::session::RetireSession {
                    task_id: self.task_id.clone(),
                    session_id: session_id.clone(),
                    reason: reason.to_owned(),
                };
         let write = ops::lease::Fenced::new(self.task_id, self.fence, write);
         self.repo.write(&engine.writer, write).await
        })
    }

    /// Appends a message to the task's history and returns its seq. See
    /// [`Repo::save_message`](crate::Repo::save_message).
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and the errors of
    /// [`Repo::save_message`](crate::Repo::save_message).
    pub async fn save_message(&self, role: Role, content: &str) -> Result<i64> {
        let message = NewMessage::new(role, content.to_owned());
        let seqs = self.append("save_message", None, vec![message]).await?;
        Ok(seqs.first().copied().unwrap_or_default())
    }

    /// Appends messages in order, all or none, and returns the seq of each. See
    /// [`Repo::save_messages`](crate::Repo::save_messages).
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and the errors of
    /// [`Repo::save_messages`](crate::Repo::save_messages).
    pub async fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<i64>> {
        self.append("save_messages", None, owned(messages)).await
    }

    /// Appends messages to a history whose last turn is `expected_last_seq`. See
    /// [`Repo::save_messages_after`](crate::Repo::save_messages_after).
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost) before anything else, and the errors of
    /// [`Repo::save_messages_after`](crate::Repo::save_messages_after).
    pub async fn save_messages_after(
        &self,
        expected_last_seq: i64,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<i64>> {
        self.append(
            "save_messages_after",
            Some(expected_last_seq),
            owned(messages),
        )
        .await
    }

    /// Sets status, result and error of the task. See
    /// [`ClaimedTask::update_task_status`](crate::ClaimedTask::update_task_status).
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and the errors of
    /// [`Repo::update_task_status`](crate::Repo::update_task_status).
    pub async fn update_task_status(&self, update: impl Into<StatusUpdate>) -> Result<()> {
        on_engine!(self.repo.repo.store, engine, ops => {
         let write = ops::task::UpdateTaskStatus {
                    id: self.task_id.clone(),
                    update: update.into(),
                };
         let write = ops::lease::Fenced::new(self.task_id, self.fence, write);
         self.repo.write(&engine.writer, write).await
        })
    }

    /// Has the lease end when so much time has passed from now. See
    /// [`Repo::renew_lease`](crate::Repo::renew_lease).
    ///
    /// # Errors
    /// The errors of [`AsyncRepo::renew_lease`].
    pub async fn renew_lease(&self, lease: Duration) -> Result<DateTime<Utc>> {
        self.repo.renew_lease(self.task_id, self.fence, lease).await
    }

    async fn append(
        &self,
        operation: &'static str,
        expected: Option<i64>,
        messages: Vec<NewMessage<'static>>,
    ) -> Result<Vec<i64>> {
        on_engine!(self.repo.repo.store, engine, ops => {
            let append = ops::append::Append::new(operation, self.task_id, expected, messages);
            self.repo.write(&engine.writer, append.fenced(self.fence)).await
        })
    }
}
