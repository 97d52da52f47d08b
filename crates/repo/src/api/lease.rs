use std::time::Duration;

use chrono::{DateTime, Utc};
use turnkeep_model::{
    Claim, NewMessage, NewSession, Role, Session, SessionId, StatusUpdate, TaskId, WorkerId,
};

use crate::api::history::owned;
use crate::api::repo::Repo;
use crate::base::error::Result;
use crate::store::on_engine;

/// Work that several workers take from one store, on as many machines as use it.
///
/// A worker takes tasks on lease ([`claim_ready`](Self::claim_ready)), renews each lease well before
/// it ends ([`renew_lease`](Self::renew_lease)), writes through
/// [`as_claimed`](Self::as_claimed), and ends the lease by saying how the task ended. One that dies
/// renews nothing: when its lease is over, the task goes to whoever asks next. Leases are measured
/// by the clock of the database, that of the server or of the machine with the file; what a worker's
/// own clock says is of no account.
///
/// A worker that was only slow may still be at work when another has its task. So each claim carries
/// a number, its fence, that is above all before it, and a write that carries an older one is refused
/// with [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost). Writes that carry none are not: they are for the orchestrator, which
/// decides for the workers. A task that was deleted and saved again counts from 0.
///
/// Every method may also fail for the reasons any call has: [`ErrorKind::Busy`](crate::ErrorKind::Busy), [`ErrorKind::Full`](crate::ErrorKind::Full),
/// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), [`ErrorKind::Io`](crate::ErrorKind::Io), [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt), [`ErrorKind::NoConnection`](crate::ErrorKind::NoConnection); on a server also
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), and what writes [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown).
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
    /// Gives the worker up to `limit` tasks on lease, and to nobody else: those whose lease has ended (or
    /// ends further off than it is long, because the clock was wrong when it was given out),
    /// then those that are ready (see [`ready_tasks`](Self::ready_tasks)), the oldest of each first.
    /// Each is set running. Returns them in order of `created_at`, then id.
    ///
    /// Returns fewer when there are no more, when others are just about to take or write to the rest,
    /// and where more than 1,000 were asked for. Leaves out tasks whose row is damaged, and those whose
    /// fence has reached [`Counter::MAX`](crate::Counter::MAX); `turnkeep_admin::check` names them.
    /// Never waits for a task. A worker may have any number of tasks, and several workers the same name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the lease is shorter than a microsecond or longer than 24 hours.
    /// After [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) tasks may have been given out that nobody knows of: they go to
    /// the next one when that lease is over.
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

    /// Has the lease of a claim end when so much time has passed from now, and returns that moment,
    /// by the database's clock. A lease that is over is on again, if nobody has the task yet. The
    /// task's `updated_at` stays.
    ///
    /// # Errors
    /// - [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost): the task was given out or taken back since, or its lease was ended by
    ///   a status.
    /// - [`ErrorKind::TaskNotFound`](crate::ErrorKind::TaskNotFound): the task was deleted.
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the lease is shorter than a microsecond or longer than 24 hours.
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

    /// Returns the task as its worker may write to it, as long as nobody else has been given it.
    /// Asks nothing of the store.
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

/// A task as the worker writes to it that claimed it. Made by [`Repo::as_claimed`].
///
/// The methods are those of [`Repo`] of the same names, with two more ways to fail: after
/// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost) the task has been given to another worker or taken back, and after
/// [`ErrorKind::TaskNotFound`](crate::ErrorKind::TaskNotFound) it was deleted. Nothing of the call is stored then. Until that happens
/// they succeed, also when the lease is over.
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
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and those of [`Repo::save_session`].
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
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), [`ErrorKind::TaskNotFound`](crate::ErrorKind::TaskNotFound), and those of [`Repo::retire_session`].
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
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and those of [`Repo::save_message`].
    pub fn save_message(&self, role: Role, content: &str) -> Result<i64> {
        let message = NewMessage::new(role, content.to_owned());
        let seqs = self.append("save_message", None, vec![message])?;
        Ok(seqs.first().copied().unwrap_or_default())
    }

    /// Appends messages in order, all or none, and returns the seq of each. See
    /// [`Repo::save_messages`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and those of [`Repo::save_messages`].
    pub fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<i64>> {
        self.append("save_messages", None, owned(messages))
    }

    /// Appends messages to a history whose last turn is `expected_last_seq`. See
    /// [`Repo::save_messages_after`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost) before anything else, and those of [`Repo::save_messages_after`].
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

    /// Sets status, result and error of the task. Anything but running ends the lease, and the
    /// claim stays good for further writes until the task is given out again. See
    /// [`Repo::update_task_status`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and those of [`Repo::update_task_status`].
    pub fn update_task_status(&self, update: impl Into<StatusUpdate>) -> Result<()> {
        on_engine!(self.repo.store, engine, ops => {
         let write = ops::task::UpdateTaskStatus {
                    id: self.task_id.clone(),
                    update: update.into(),
                };
         engine.writer.write(ops::lease::Fenced::new(self.task_id, self.fence, write))
        })
    }

    /// Has the lease end when so much time has passed from now. See [`Repo::renew_lease`].
    ///
    /// # Errors
    /// Those of [`Repo::renew_lease`].
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
