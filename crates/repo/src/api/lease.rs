use std::time::Duration;

use chrono::{DateTime, Utc};
use turnkeep_model::{
    Claim, NewMessage, NewSession, Role, Session, SessionId, StatusUpdate, TaskId, WorkerId,
};

use crate::api::history::owned;
use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::store::on_engine;

/// Tasks that several workers, on any number of machines, take from one store.
///
/// A worker claims tasks for a limited time, the lease ([`claim_ready`](Self::claim_ready)), renews
/// each lease well before it ends ([`renew_lease`](Self::renew_lease)), writes through
/// [`as_claimed`](Self::as_claimed), and ends the lease with the final status of the task. The
/// tasks of a dead worker become claimable when their leases end. Leases are measured by the clock
/// of the database host, never by a worker's clock.
///
/// A slow worker may still run when another worker has claimed its task. Each claim of a task
/// therefore carries a fence, a number above all earlier ones, and a write with an older fence
/// fails with [`ErrorKind::LeaseLost`]. Writes without a fence are for the orchestrator and always
/// pass. The fence of a task that was deleted and saved again starts at 0.
///
/// ```
/// use std::time::Duration;
/// use turnkeep_repo::{ErrorKind, NewTask, Repo, Role, TaskId, TaskStatus, WorkerId};
///
/// let repo = Repo::open_in_memory()?;
/// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
///
/// let slow = WorkerId::new("host-1/4711")?;
/// let first = repo.claim_ready(&slow, 1, Duration::from_micros(1))?.remove(0);
/// // It does nothing for longer than its lease, and the task goes to another one.
/// let quick = WorkerId::new("host-2/815")?;
/// let second = loop {
///     if let Some(claim) = repo.claim_ready(&quick, 1, Duration::from_secs(30))?.pop() {
///         break claim;
///     }
/// };
/// let late = repo.as_claimed(&first.task.id, first.fence);
/// let refused = late.save_message(Role::Assistant, "Done.");
/// assert!(matches!(refused.unwrap_err().kind(), ErrorKind::LeaseLost { .. }));
///
/// let task = repo.as_claimed(&second.task.id, second.fence);
/// task.renew_lease(Duration::from_secs(30))?;
/// task.save_message(Role::Assistant, "Done.")?;
/// task.update_task_status(TaskStatus::Completed)?;
/// # Ok::<(), turnkeep_repo::Error>(())
/// ```
impl Repo {
    /// Claims up to `limit` tasks for the worker and sets them running. Claims tasks with an
    /// expired lease first, then ready tasks (see [`ready_tasks`](Self::ready_tasks)), the oldest
    /// of each first. A lease that ends further in the future than its own length counts as
    /// expired: the clock was wrong when it began. Returns the claims in order of `created_at`,
    /// then id.
    ///
    /// Returns fewer when there are no more tasks or when other callers are about to claim or
    /// change the rest, and at most 1,000. Skips tasks with a damaged row and tasks with a fence of
    /// [`Counter::MAX`](crate::Counter::MAX); `turnkeep_admin::check` lists both. Never waits for
    /// the row lock of a task. One worker may hold any number of tasks, and several workers may
    /// share a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the lease is shorter than a microsecond or longer than 24
    /// hours. After [`ErrorKind::OutcomeUnknown`] the claims may be stored: these tasks can be
    /// claimed again when the lease ends.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, TaskStatus, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// let worker = WorkerId::new("host-1/4711")?;
    /// let claims = repo.claim_ready(&worker, 4, Duration::from_secs(30))?;
    /// assert_eq!(claims.len(), 1, "there is only one task");
    /// assert_eq!(claims[0].task.status, TaskStatus::Running);
    /// assert!(repo.claim_ready(&worker, 4, Duration::from_secs(30))?.is_empty());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn claim_ready(
        &self,
        worker: &WorkerId,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claim>> {
        on_engine!(self.store, engine, ops => engine.writer.write(ops::lease::ClaimReady {
            worker: worker.clone(),
            limit,
            lease,
        }))
    }

    /// Extends the lease of a claim to `lease` from now and returns its new end, by the database's
    /// clock. An expired lease can be renewed until the task is claimed again. `updated_at` does
    /// not change.
    ///
    /// # Errors
    /// - [`ErrorKind::LeaseLost`]: the task was claimed again, or a status change ended the lease.
    /// - [`ErrorKind::TaskNotFound`]: the task was deleted.
    /// - [`ErrorKind::InvalidInput`]: the lease is shorter than a microsecond or longer than 24
    ///   hours.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// # let worker = WorkerId::new("host-1/4711")?;
    /// let claim = repo.claim_ready(&worker, 1, Duration::from_secs(30))?.remove(0);
    /// let ends_at = repo.renew_lease(&claim.task.id, claim.fence, Duration::from_secs(60))?;
    /// assert!(ends_at > claim.lease_ends_at);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn renew_lease(
        &self,
        task_id: &TaskId,
        fence: i64,
        lease: Duration,
    ) -> Result<DateTime<Utc>> {
        let ends_at = on_engine!(self.store, engine, ops => engine.writer.write(ops::lease::RenewLease {
            task_id: task_id.clone(),
            fence,
            lease,
        }))?;
        Ok(ends_at.into())
    }

    /// Returns a handle that writes to the task with the fence of a claim. Does not access the
    /// store.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, TaskStatus, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// # let worker = WorkerId::new("host-1/4711")?;
    /// for claim in repo.claim_ready(&worker, 4, Duration::from_secs(30))? {
    ///     let task = repo.as_claimed(&claim.task.id, claim.fence);
    ///     task.update_task_status(TaskStatus::Completed)?;
    /// }
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    #[must_use]
    pub fn as_claimed<'a>(&'a self, task_id: &'a TaskId, fence: i64) -> ClaimedTask<'a> {
        ClaimedTask {
            repo: self,
            task_id,
            fence,
        }
    }
}

/// A claimed task: each write carries the fence of the claim. Made by [`Repo::as_claimed`].
///
/// The methods are the ones of [`Repo`], with two more errors: [`ErrorKind::LeaseLost`] after the
/// task was claimed again, and [`ErrorKind::TaskNotFound`] after it was deleted. The call stores no
/// data in either case. An expired lease alone is no error: writes succeed until the next claim.
#[derive(Debug, Clone, Copy)]
pub struct ClaimedTask<'a> {
    repo: &'a Repo,
    task_id: &'a TaskId,
    fence: i64,
}

impl ClaimedTask<'_> {
    /// Binds the task to an agent session. See [`Repo::save_session`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::save_session`].
    pub fn save_session(&self, binding: &NewSession) -> Result<Session> {
        on_engine!(self.repo.store, engine, ops => {
         let write = ops::session::SaveSession {
                    task_id: self.task_id.clone(),
                    binding: binding.clone(),
                };
         engine.writer.write(ops::lease::Fenced::new(self.task_id, self.fence, write))
        })
    }

    /// Removes the current binding of the task if it still is `session_id`; returns whether it did.
    /// See [`Repo::retire_session`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], [`ErrorKind::TaskNotFound`], and the errors of [`Repo::retire_session`].
    pub fn retire_session(&self, session_id: &SessionId, reason: &str) -> Result<bool> {
        on_engine!(self.repo.store, engine, ops => {
         let write = ops::session::RetireSession {
                    task_id: self.task_id.clone(),
                    session_id: session_id.clone(),
                    reason: reason.to_owned(),
                };
         engine.writer.write(ops::lease::Fenced::new(self.task_id, self.fence, write))
        })
    }

    /// Appends a message to the task's history and returns its seq. See [`Repo::save_message`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::save_message`].
    pub fn save_message(&self, role: Role, content: &str) -> Result<i64> {
        let message = NewMessage::new(role, content.to_owned());
        let seqs = self.append("save_message", None, vec![message])?;
        Ok(seqs.first().copied().unwrap_or_default())
    }

    /// Appends messages in order, all or none, and returns the seq of each. See
    /// [`Repo::save_messages`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::save_messages`].
    pub fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<i64>> {
        self.append("save_messages", None, owned(messages))
    }

    /// Appends messages if the last seq of the history is `expected_last_seq`. See
    /// [`Repo::save_messages_after`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] before anything else, and the errors of [`Repo::save_messages_after`].
    pub fn save_messages_after(
        &self,
        expected_last_seq: i64,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<i64>> {
        self.append(
            "save_messages_after",
            Some(expected_last_seq),
            owned(messages),
        )
    }

    /// Sets status, result and error of the task. Any status but running ends the lease; further
    /// writes with this fence succeed until the task is claimed again. See
    /// [`Repo::update_task_status`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::update_task_status`].
    pub fn update_task_status(&self, update: impl Into<StatusUpdate>) -> Result<()> {
        on_engine!(self.repo.store, engine, ops => {
         let write = ops::task::UpdateTaskStatus {
                    id: self.task_id.clone(),
                    update: update.into(),
                };
         engine.writer.write(ops::lease::Fenced::new(self.task_id, self.fence, write))
        })
    }

    /// Extends the lease to `lease` from now. See [`Repo::renew_lease`].
    ///
    /// # Errors
    /// The errors of [`Repo::renew_lease`].
    pub fn renew_lease(&self, lease: Duration) -> Result<DateTime<Utc>> {
        self.repo.renew_lease(self.task_id, self.fence, lease)
    }

    fn append(
        &self,
        operation: &'static str,
        expected_last_seq: Option<i64>,
        messages: Vec<NewMessage<'static>>,
    ) -> Result<Vec<i64>> {
        on_engine!(self.repo.store, engine, ops => {
            let append = ops::append::Append::new(operation, self.task_id, expected_last_seq, messages);
            engine.writer.write(append.fenced(self.fence))
        })
    }
}
