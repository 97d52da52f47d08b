use std::time::Duration;

use chrono::{DateTime, Utc};
use turnkeep_model::{
    Claim, NewMessage, NewSession, Role, Session, SessionId, StatusUpdate, TaskId, WorkerId,
};

use crate::api::repo::Repo;
use crate::api::transaction::ClaimedInTransaction;
use crate::base::appended::{Appended, SavedMessage};
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::target::Target;
use crate::store::write_op;

/// Tasks that several workers, on any number of machines, take from one store.
///
/// A worker claims tasks for a limited time, the lease ([`claim_ready`](Self::claim_ready), or
/// [`claim`](Self::claim) for a chosen one), renews
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
    /// expired lease first, then eligible and then pending ones that are ready (see
    /// [`ready_tasks`](Self::ready_tasks)), the oldest of each first. A lease that ends further in the future than its own length counts as
    /// expired: the clock was wrong when it began. Returns the claims in order of `created_at`,
    /// then id.
    ///
    /// Two tasks that write the same file are never given out together: the younger one waits until
    /// the older one has ended or its lease is over. File names are compared byte for byte.
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
        let worker = worker.clone();
        write_op!(self.store => ops::lease::ClaimReady { worker, limit, lease })
    }

    /// Claims one task for the worker, sets it running and returns the claim. Returns `None` when the
    /// task can't be claimed now: it has ended, is running with a lease that is not over or without
    /// one, waits for a dependency, or for a file that another running task holds (see
    /// [`ready_tasks`](Self::ready_tasks)). Of concurrent callers exactly one gets a claim.
    ///
    /// # Errors
    /// - [`ErrorKind::TaskNotFound`] when the task does not exist.
    /// - [`ErrorKind::InvalidInput`] when the lease is shorter than a microsecond or longer than 24
    ///   hours.
    /// - [`ErrorKind::Corrupt`] when the task can't be read or its fence has reached
    ///   [`Counter::MAX`](crate::Counter::MAX).
    ///
    /// After [`ErrorKind::OutcomeUnknown`] the claim may be stored: see [`reclaim`](Self::reclaim).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let worker = WorkerId::new("host-1/4711")?;
    /// let claim = repo.claim(&task, &worker, Duration::from_secs(30))?;
    /// assert_eq!(claim.map(|claim| claim.fence), Some(1));
    /// assert!(repo.claim(&task, &worker, Duration::from_secs(30))?.is_none(), "it is taken");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn claim(
        &self,
        task_id: &TaskId,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claim>> {
        let (id, worker) = (task_id.clone(), worker.clone());
        write_op!(self.store => ops::lease::ClaimOne { id, worker, lease })
    }

    /// Claims the running tasks of the worker anew, after its process was restarted. Each gets a new
    /// fence, so that the writes of the earlier process fail with [`ErrorKind::LeaseLost`], and a new
    /// lease. Returns the claims in order of `created_at`, then id.
    ///
    /// Includes tasks with an expired lease that no other worker has claimed. Leaves out an expired
    /// one while another running task holds a file that it writes, tasks with a damaged row, and tasks
    /// with a fence of [`Counter::MAX`](crate::Counter::MAX). A worker whose name another live process
    /// shares takes the tasks of that process.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the lease is shorter than a microsecond or longer than 24
    /// hours.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// let worker = WorkerId::new("host-1/slot-3")?;
    /// let before = repo.claim_ready(&worker, 1, Duration::from_secs(30))?.remove(0);
    /// // The worker is killed, and starts again under the same name.
    /// let after = repo.reclaim(&worker, Duration::from_secs(30))?.remove(0);
    /// assert_eq!(after.task.id, before.task.id);
    /// assert!(after.fence > before.fence);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn reclaim(&self, worker: &WorkerId, lease: Duration) -> Result<Vec<Claim>> {
        let worker = worker.clone();
        write_op!(self.store => ops::lease::Reclaim { worker, lease })
    }

    /// Extends the lease of a claim to `lease` from now and returns its new end, by the database's
    /// clock. An expired lease can be renewed until the task, or another one that writes one of its
    /// files, is claimed. `updated_at` does not change.
    ///
    /// # Errors
    /// - [`ErrorKind::LeaseLost`]: the task was claimed again, a status change ended the lease, or
    ///   the lease was over and another task has got one of its files.
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
        write_op!(self.store => ops::lease::RenewLease { task_id: task_id.clone(), fence, lease })
            .map(DateTime::from)
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
        let (target, binding) = (self.target(), binding.clone());
        write_op!(self.repo.store => ops::session::SaveSession { target, binding })
    }

    /// Removes the current binding of the task if it still is `session_id`; returns whether it did.
    /// See [`Repo::retire_session`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], [`ErrorKind::TaskNotFound`], and the errors of [`Repo::retire_session`].
    pub fn retire_session(&self, session_id: &SessionId, reason: &str) -> Result<bool> {
        write_op!(self.repo.store => ops::session::RetireSession {
            target: self.target(),
            session_id: session_id.clone(),
            reason: reason.to_owned(),
        })
    }

    /// Appends a message to the task's history and returns its seq. See [`Repo::save_message`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::save_message`].
    pub fn save_message(&self, role: Role, content: &str) -> Result<i64> {
        let messages = [NewMessage::new(role, content)];
        let target = self.target();
        write_op!(self.repo.store => ops::append::Append::new("save_message", target, &messages))
            .map(Appended::seq)
    }

    /// Appends messages in order, all or none, and returns the seq of each. See
    /// [`Repo::save_messages`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::save_messages`].
    pub fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<i64>> {
        write_op!(self.repo.store => ops::append::Append::new("save_messages", self.target(), messages))
            .map(Appended::seqs)
    }

    /// Appends the messages whose keys the task does not have yet. See [`Repo::save_missing_messages`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::save_missing_messages`].
    pub fn save_missing_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<SavedMessage>> {
        write_op!(self.repo.store =>
            ops::append::Append::new("save_missing_messages", self.target(), messages)
                .keep_stored())
        .map(Appended::messages)
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
        write_op!(self.repo.store =>
            ops::append::Append::new("save_messages_after", self.target(), messages)
                .after(expected_last_seq))
        .map(Appended::seqs)
    }

    /// Sets status, result and error of the task. Any status but running ends the lease; further
    /// writes with this fence succeed until the task is claimed again. See
    /// [`Repo::update_task_status`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::update_task_status`].
    pub fn update_task_status(&self, update: impl Into<StatusUpdate>) -> Result<()> {
        let (target, update) = (self.target(), update.into());
        write_op!(self.repo.store => ops::task::UpdateTaskStatus { target, update })
    }

    /// Extends the lease to `lease` from now. See [`Repo::renew_lease`].
    ///
    /// # Errors
    /// The errors of [`Repo::renew_lease`].
    pub fn renew_lease(&self, lease: Duration) -> Result<DateTime<Utc>> {
        self.repo.renew_lease(self.task_id, self.fence, lease)
    }

    fn target(&self) -> Target {
        Target::new(self.task_id, self.fence)
    }
}

methods! {
    /// Tasks that several workers take from one store.
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
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        writes:
        /// Claims up to `limit` tasks for the worker and sets them running.
        fn claim_ready(&self, worker: &WorkerId, limit: u32, lease: Duration) -> Result<Vec<Claim>>
            = ops::lease::ClaimReady { worker: worker.clone(), limit, lease };
        /// Claims one task for the worker if it can be claimed now, and sets it running.
        fn claim(&self, task_id: &TaskId, worker: &WorkerId, lease: Duration) -> Result<Option<Claim>>
            = ops::lease::ClaimOne { id: task_id.clone(), worker: worker.clone(), lease };
        /// Claims the running tasks of the worker anew, after its process was restarted.
        fn reclaim(&self, worker: &WorkerId, lease: Duration) -> Result<Vec<Claim>>
            = ops::lease::Reclaim { worker: worker.clone(), lease };
        /// Extends the lease of a claim to `lease` from now and returns its new end.
        fn renew_lease(&self, task_id: &TaskId, fence: i64, lease: Duration) -> Result<DateTime<Utc>>
            = ops::lease::RenewLease { task_id: task_id.clone(), fence, lease } => DateTime::from;
    }
}

#[cfg(feature = "tokio")]
impl crate::AsyncRepo {
    /// Returns a handle that writes to the task with the fence of a claim. See [`Repo::as_claimed`].
    #[must_use]
    pub fn as_claimed<'a>(&'a self, task_id: &'a TaskId, fence: i64) -> AsyncClaimedTask<'a> {
        AsyncClaimedTask {
            repo: self.repo(),
            task_id,
            fence,
        }
    }
}

/// A [`ClaimedTask`] for async code: the same methods, none of which blocks the runtime. Made by
/// [`AsyncRepo::as_claimed`](crate::AsyncRepo::as_claimed).
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, Copy)]
pub struct AsyncClaimedTask<'a> {
    repo: &'a Repo,
    task_id: &'a TaskId,
    fence: i64,
}

#[cfg(feature = "tokio")]
impl AsyncClaimedTask<'_> {
    fn target(&self) -> Target {
        Target::new(self.task_id, self.fence)
    }
}

methods! {
    impl AsyncClaimedTask<'_>, ClaimedInTransaction<'_, '_> as ClaimedTask {
        writes:
        /// Binds the task to an agent session.
        fn save_session(&self, binding: &NewSession) -> Result<Session>
            = ops::session::SaveSession { target: self.target(), binding: binding.clone() };
        /// Removes the current binding of the task if it still is `session_id`; returns whether it did.
        fn retire_session(&self, session_id: &SessionId, reason: &str) -> Result<bool>
            = ops::session::RetireSession {
                target: self.target(),
                session_id: session_id.clone(),
                reason: reason.to_owned(),
            };
        /// Appends a message to the task's history and returns its seq.
        fn save_message(&self, role: Role, content: &str) -> Result<i64>
            = ops::append::Append::new(
                "save_message", self.target(), &[NewMessage::new(role, content)]
            ) => Appended::seq;
        /// Appends messages in order, all or none, and returns the seq of each.
        fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<i64>>
            = ops::append::Append::new("save_messages", self.target(), messages)
                => Appended::seqs;
        /// Appends the messages whose keys the task does not have yet.
        fn save_missing_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<SavedMessage>>
            = ops::append::Append::new("save_missing_messages", self.target(), messages)
                .keep_stored() => Appended::messages;
        /// Appends messages if the last seq of the history is `expected_last_seq`.
        fn save_messages_after(
            &self, expected_last_seq: i64, messages: &[NewMessage<'_>]
        ) -> Result<Vec<i64>>
            = ops::append::Append::new("save_messages_after", self.target(), messages)
                .after(expected_last_seq) => Appended::seqs;
        /// Sets status, result and error of the task.
        fn update_task_status(&self, update: impl Into<StatusUpdate>) -> Result<()>
            = ops::task::UpdateTaskStatus { target: self.target(), update: update.into() };
        /// Extends the lease to `lease` from now.
        fn renew_lease(&self, lease: Duration) -> Result<DateTime<Utc>>
            = ops::lease::RenewLease { task_id: self.task_id.clone(), fence: self.fence, lease }
            => DateTime::from;
    }
}
