use std::marker::PhantomData;
use std::time::Duration;

use chrono::{DateTime, Utc};
use turnkeep_model::{
    BackendType, ConversationTurn, Fence, MessageKey, NewMessage, NewSession, RecordingFile,
    RecordingName, RecordingNumber, Role, Seq, Session, SessionId, SessionRevision, StatusUpdate,
    Task, WorkerId,
};

#[cfg(feature = "tokio")]
use crate::api::async_repo::block;
#[cfg(feature = "tokio")]
use crate::api::follow::Follow;
use crate::api::history::HistoryPage;
use crate::api::repo::Repo;
use crate::api::transaction::ClaimedInTransaction;
use crate::base::appended::{Appended, SavedMessage};
use crate::base::conversation::Conversation;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::base::target::Target;
use crate::store::{on_engine, write_op};

/// A task that a worker holds on lease. Each write carries the fence of the claim.
///
/// Made by [`Repo::claim`], [`Repo::claim_ready`], [`Repo::reclaim`] and [`Repo::get_claim`]. A claim is all that a
/// worker needs: it holds a clone of the store's handle, and moves into threads and futures. [`AsyncClaim`] has the
/// same methods for async code.
///
/// Writes are the ones of [`Repo`], with two more errors: [`ErrorKind::LeaseLost`] after the task was claimed again,
/// reclaimed or released, and [`ErrorKind::TaskNotFound`] after it was deleted. The call stores no data in either case.
/// An expired lease alone is no error: writes succeed until the next claim. Reads are not fenced.
///
/// Dropping a claim leaves the task running until the lease ends. The final status ends the lease at once, and so does
/// [`release`](Claim::release).
///
/// ```
/// # use std::time::Duration;
/// # use turnkeep_repo::{NewTask, Repo, Role, StatusUpdate, TaskId, WorkerId};
/// # let repo = Repo::open_in_memory()?;
/// # let task = TaskId::new("t1")?;
/// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
/// # let worker = WorkerId::new("host-1/4711")?;
/// let lease = Duration::from_secs(30);
/// if let Some(claim) = repo.claim(&task, &worker, lease)? {
///     claim.save_message(Role::User, &claim.task.prompt)?;
///     claim.renew(lease)?;
///     claim.update_task_status(StatusUpdate::completed("merged"))?;
///     assert!(claim.lost()?, "the status has ended the lease");
/// }
/// # Ok::<(), turnkeep_repo::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "the task stays running until its status changes, the claim is released or the lease ends"]
pub struct Claim<R = Repo> {
    /// The task when it was claimed, running.
    pub task: Task,
    /// The worker.
    pub worker: WorkerId,
    /// Identifies this claim: at least 1, and greater than the fence of each earlier claim of the task.
    pub fence: Fence,
    /// When the lease that it was claimed with ends, UTC, by the database's clock. Renewals do not change this field.
    pub lease_ends_at: DateTime<Utc>,
    pub(crate) repo: Repo,
    /// The length of the lease that it was claimed with.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for `keep_alive`"))]
    pub(crate) lease: Duration,
    /// The handle whose kind of methods this claim has.
    handle: PhantomData<R>,
}

/// A [`Claim`] for async code: the same methods, none of which blocks the runtime.
#[cfg(feature = "tokio")]
pub type AsyncClaim = Claim<crate::AsyncRepo>;

impl<R> Claim<R> {
    /// Returns `None` for a task without a lease.
    pub(crate) fn new(repo: &Repo, task: Task) -> Option<Self> {
        Some(Self {
            worker: task.worker.clone()?,
            fence: task.fence,
            lease_ends_at: task.lease_ends_at?,
            lease: task.lease_length?.into(),
            repo: repo.clone(),
            handle: PhantomData,
            task,
        })
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn into_async(self) -> AsyncClaim {
        Claim {
            task: self.task,
            worker: self.worker,
            fence: self.fence,
            lease_ends_at: self.lease_ends_at,
            lease: self.lease,
            repo: self.repo,
            handle: PhantomData,
        }
    }

    pub(crate) fn target(&self) -> Target {
        Target::new(&self.task.id, self.fence)
    }
}

impl Claim {
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
    pub fn save_message(&self, role: Role, content: &str) -> Result<Seq> {
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
    pub fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<Seq>> {
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
        expected_last_seq: Option<Seq>,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<Seq>> {
        write_op!(self.repo.store =>
            ops::append::Append::new("save_messages_after", self.target(), messages)
                .after(expected_last_seq))
        .map(Appended::seqs)
    }

    /// Hides the turns of the task after a turn, and returns how many of them were visible before. See
    /// [`Repo::hide_after`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::hide_after`].
    pub fn hide_after(&self, after: Option<Seq>) -> Result<i64> {
        let target = self.target();
        write_op!(self.repo.store => ops::retraction::HideAfter { target, after })
    }

    /// Keeps bytes that a file has from an offset on, and returns the length of the kept file. See
    /// [`Repo::save_recording`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::save_recording`].
    pub fn save_recording(&self, name: &RecordingName, offset: u64, bytes: &[u8]) -> Result<u64> {
        let target = self.target();
        write_op!(self.repo.store => ops::recording::SaveRecording::new(target, name, offset, bytes).compress())
    }

    /// Drops all kept files of the task and returns how many there were. See [`Repo::delete_recordings`].
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], and the errors of [`Repo::delete_recordings`].
    pub fn delete_recordings(&self) -> Result<u64> {
        let target = self.target();
        write_op!(self.repo.store => ops::recording::DeleteRecordings { target })
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

    /// Extends the lease to `lease` from now and returns its new end, by the database's clock. An
    /// expired lease can be renewed until the task, or another one that writes one of its files, is
    /// claimed. `updated_at` does not change.
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
    /// let ends_at = claim.renew(Duration::from_secs(60))?;
    /// assert!(ends_at > claim.lease_ends_at);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn renew(&self, lease: Duration) -> Result<DateTime<Utc>> {
        write_op!(self.repo.store => ops::lease::Renew { target: self.target(), lease })
            .map(DateTime::from)
    }

    /// Gives the task back: sets it pending, ends the lease and increments the fence, as
    /// [`Repo::requeue_running`] does. Later writes through this claim fail with
    /// [`ErrorKind::LeaseLost`], a repeated release included.
    ///
    /// # Errors
    /// - [`ErrorKind::LeaseLost`]: the task was claimed again, or a status change ended the lease.
    /// - [`ErrorKind::TaskNotFound`]: the task was deleted.
    /// - [`ErrorKind::Corrupt`] when the fence has reached [`Fence::MAX`](crate::Fence::MAX).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// # let worker = WorkerId::new("host-1/4711")?;
    /// let claim = repo.claim_ready(&worker, 1, Duration::from_secs(30))?.remove(0);
    /// claim.release()?;
    /// assert_eq!(repo.ready_tasks()?[0].id, claim.task.id);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        write_op!(self.repo.store => ops::lease::Release { target: self.target() })
    }

    /// Whether the lease is over, by the database's clock, or has been ended: by a later claim, a
    /// status change, a release or the deletion of the task. The answer may be out of date when it
    /// arrives; a fenced write is checked when it is stored.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// # let worker = WorkerId::new("host-1/4711")?;
    /// let claim = repo.claim_ready(&worker, 1, Duration::from_secs(30))?.remove(0);
    /// assert!(!claim.lost()?);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn lost(&self) -> Result<bool> {
        lost(&self.repo, &self.target())
    }
}

fn lost(repo: &Repo, target: &Target) -> Result<bool> {
    let call = Operation::on_task("lost", &target.task_id);
    on_engine!(repo.store, engine, ops => {
        engine.read(call, |conn| Ok(!ops::lease::is_held(conn, target)?))
    })
}

methods! {
    impl AsyncClaim, ClaimedInTransaction<'_, '_> as Claim {
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
        fn save_message(&self, role: Role, content: &str) -> Result<Seq>
            = ops::append::Append::new(
                "save_message", self.target(), &[NewMessage::new(role, content)]
            ) => Appended::seq;
        /// Appends messages in order, all or none, and returns the seq of each.
        fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<Seq>>
            = ops::append::Append::new("save_messages", self.target(), messages)
                => Appended::seqs;
        /// Appends the messages whose keys the task does not have yet.
        fn save_missing_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<SavedMessage>>
            = ops::append::Append::new("save_missing_messages", self.target(), messages)
                .keep_stored() => Appended::messages;
        /// Appends messages if the last seq of the history is `expected_last_seq`.
        fn save_messages_after(
            &self, expected_last_seq: Option<Seq>, messages: &[NewMessage<'_>]
        ) -> Result<Vec<Seq>>
            = ops::append::Append::new("save_messages_after", self.target(), messages)
                .after(expected_last_seq) => Appended::seqs;
        /// Hides the turns of the task after a turn, and returns how many of them were visible before.
        fn hide_after(&self, after: Option<Seq>) -> Result<i64>
            = ops::retraction::HideAfter { target: self.target(), after };
        /// Keeps bytes that a file has from an offset on, and returns the length of the kept file.
        fn save_recording(&self, name: &RecordingName, offset: u64, bytes: &[u8]) -> Result<u64>
            = ops::recording::SaveRecording::new(self.target(), name, offset, bytes);
        /// Drops all kept files of the task and returns how many there were.
        fn delete_recordings(&self) -> Result<u64>
            = ops::recording::DeleteRecordings { target: self.target() };
        /// Sets status, result and error of the task.
        fn update_task_status(&self, update: impl Into<StatusUpdate>) -> Result<()>
            = ops::task::UpdateTaskStatus { target: self.target(), update: update.into() };
        /// Extends the lease to `lease` from now and returns its new end.
        fn renew(&self, lease: Duration) -> Result<DateTime<Utc>>
            = ops::lease::Renew { target: self.target(), lease } => DateTime::from;
        /// Gives the task back: sets it pending, ends the lease and increments the fence.
        fn release(&self) -> Result<()> = ops::lease::Release { target: self.target() };
    }
}

/// Declares reads of the claimed task, each like the method of [`Repo`] of its name.
macro_rules! reads {
    ($($(#[$doc:meta])* fn $read:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        impl Claim {
            $(
                $(#[$doc])*
                #[doc = concat!("\nLike [`Repo::", stringify!($read), "`], with the same errors.")]
                pub fn $read(&self $(, $argument: $type)*) -> Result<$output> {
                    self.repo.$read(&self.task.id $(, $argument)*)
                }
            )*
        }

        #[cfg(feature = "tokio")]
        impl AsyncClaim {
            $(
                $(#[$doc])*
                #[doc = concat!("\nLike [`Repo::", stringify!($read), "`], with the same errors.")]
                pub async fn $read(&self $(, $argument: $type)*) -> Result<$output> {
                    crate::AsyncRepo::from(self.repo.clone())
                        .$read(&self.task.id $(, $argument)*)
                        .await
                }
            )*
        }
    };
}

reads! {
    /// Returns the task as it is now.
    fn get_task() -> Task;
    /// Returns the current binding of the task.
    fn get_session() -> Session;
    /// Returns the current binding of the task, if it has one.
    fn find_session() -> Option<Session>;
    /// Returns the current binding of the task if it is to this agent.
    fn get_session_for_backend(backend: &BackendType) -> Session;
    /// Returns every binding that the task has or had.
    fn list_session_revisions() -> Vec<SessionRevision>;
    /// Returns the turns of the task in order.
    fn get_history() -> Vec<ConversationTurn>;
    /// Returns the turns of the task with all bindings that it ever had.
    fn get_conversation() -> Conversation;
    /// Returns the last turns of the task in order.
    fn get_history_last(count: u32) -> Vec<ConversationTurn>;
    /// Returns a page of the turns of the task.
    fn get_history_page(page: HistoryPage) -> Vec<ConversationTurn>;
    /// Returns the turn that was saved with the key, if there is one.
    fn find_turn_by_key(key: &MessageKey) -> Option<ConversationTurn>;
    /// Returns the kept files of the task in order of their numbers.
    fn get_recordings() -> Vec<RecordingFile>;
    /// Returns bytes of a kept file from an offset on, at most 1 MiB, none at its end.
    fn read_recording(number: RecordingNumber, offset: u64) -> Vec<u8>;
    /// Returns the number of visible turns of the task.
    fn count_history() -> i64;
    /// Returns the seq of the last turn of the task, hidden or not.
    fn last_seq() -> Option<Seq>;
    /// Returns the turns after a seq, such as what a user says to the agent at work, and waits for the first one.
    fn wait_for_turns(after: Option<Seq>, timeout: Duration) -> Vec<ConversationTurn>;
}

#[cfg(feature = "tokio")]
impl AsyncClaim {
    /// Whether the lease is over, by the database's clock, or has been ended.
    ///
    /// Like [`Claim::lost`](Claim::<Repo>::lost), with the same errors.
    pub async fn lost(&self) -> Result<bool> {
        let target = self.target();
        block(&self.repo, "lost", move |repo| lost(repo, &target)).await
    }

    /// Follows the task, also after the claim was lost. See [`AsyncRepo::follow`](crate::AsyncRepo::follow).
    pub fn follow(&self, after: Option<Seq>) -> Follow {
        crate::AsyncRepo::from(self.repo.clone()).follow(&self.task.id, after)
    }
}
