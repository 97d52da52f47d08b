use std::convert::identity;
use std::fmt::Debug;
use std::time::Duration;

use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, Claim, ClaimedTask, ConversationTurn, HistoryPage, NewMessage, NewSession,
    NewTask, Prune, PruneReport, Repo, Result, Role, Session, SessionId, SessionRevision,
    StatusUpdate, Task, TaskId, Usage, WorkerId,
};

/// A handle of a store, with what the rules ask of it.
///
/// The methods are those of [`Repo`] of the same names, which says what they return, in which
/// order, what is atomic and which errors there are. Clones are the same store, to be shared between
/// threads. What `Debug` prints shows nothing that was said.
pub trait Store: Clone + Debug + Send + Sync + 'static {
    /// Saves what a task is, without how far it has come. See [`Repo::save_task`].
    ///
    /// # Errors
    /// Those of [`Repo::save_task`].
    fn save_task(&self, task: &NewTask) -> Result<()>;

    /// Returns a task with its dependencies. See [`Repo::get_task`].
    ///
    /// # Errors
    /// Those of [`Repo::get_task`].
    fn get_task(&self, id: &TaskId) -> Result<Task>;

    /// Returns all tasks, oldest first. See [`Repo::list_tasks`].
    ///
    /// # Errors
    /// Those of [`Repo::list_tasks`].
    fn list_tasks(&self) -> Result<Vec<Task>>;

    /// Returns the tasks that can start. See [`Repo::ready_tasks`].
    ///
    /// # Errors
    /// Those of [`Repo::ready_tasks`].
    fn ready_tasks(&self) -> Result<Vec<Task>>;

    /// Sets status, result and error of a task, as one value. See [`Repo::update_task_status`].
    ///
    /// # Errors
    /// Those of [`Repo::update_task_status`].
    fn update_task_status(&self, id: &TaskId, update: impl Into<StatusUpdate>) -> Result<()>;

    /// Sets a task running if it is free; returns whether this call did. See [`Repo::claim_task`].
    ///
    /// # Errors
    /// Those of [`Repo::claim_task`].
    fn claim_task(&self, id: &TaskId) -> Result<bool>;

    /// Sets every running task pending and returns their ids. See [`Repo::requeue_running`].
    ///
    /// # Errors
    /// Those of [`Repo::requeue_running`].
    fn requeue_running(&self) -> Result<Vec<TaskId>>;

    /// Gives a worker tasks on lease. See [`Repo::claim_ready`].
    ///
    /// # Errors
    /// Those of [`Repo::claim_ready`].
    fn claim_ready(&self, worker: &WorkerId, most: u32, lease: Duration) -> Result<Vec<Claim>>;

    /// Has a lease end later; returns when. See [`Repo::renew_lease`].
    ///
    /// # Errors
    /// Those of [`Repo::renew_lease`].
    fn renew_lease(&self, task_id: &TaskId, fence: i64, lease: Duration) -> Result<DateTime<Utc>>;

    /// Returns a task as its worker may write to it. See [`Repo::as_claimed`].
    fn as_claimed<'a>(&'a self, task_id: &'a TaskId, fence: i64) -> impl Claimed + 'a;

    /// Deletes a task with everything under it; returns whether there was one. See [`Repo::delete_task`].
    ///
    /// # Errors
    /// Those of [`Repo::delete_task`].
    fn delete_task(&self, id: &TaskId) -> Result<bool>;

    /// Deletes tasks that are over and no longer wanted. See [`Repo::prune`].
    ///
    /// # Errors
    /// Those of [`Repo::prune`].
    fn prune(&self, rule: &Prune) -> Result<PruneReport>;

    /// Deletes the tasks that a dry run has reported. See [`Repo::prune_planned`].
    ///
    /// # Errors
    /// Those of [`Repo::prune_planned`].
    fn prune_planned(&self, planned: &PruneReport) -> Result<PruneReport>;

    /// Returns what the store holds. See [`Repo::usage`].
    ///
    /// # Errors
    /// Those of [`Repo::usage`].
    fn usage(&self) -> Result<Usage>;

    /// Makes a binding the current one of its task. See [`Repo::save_session`].
    ///
    /// # Errors
    /// Those of [`Repo::save_session`].
    fn save_session(&self, task_id: &TaskId, binding: &NewSession) -> Result<Session>;

    /// Returns the current binding of a task. See [`Repo::get_session`].
    ///
    /// # Errors
    /// Those of [`Repo::get_session`].
    fn get_session(&self, task_id: &TaskId) -> Result<Session>;

    /// Returns the current binding of a task, or `None`. See [`Repo::find_session`].
    ///
    /// # Errors
    /// Those of [`Repo::find_session`].
    fn find_session(&self, task_id: &TaskId) -> Result<Option<Session>>;

    /// Returns the current binding if it is one of this agent. See [`Repo::get_session_for_backend`].
    ///
    /// # Errors
    /// Those of [`Repo::get_session_for_backend`].
    fn get_session_for_backend(&self, task_id: &TaskId, backend: &BackendType) -> Result<Session>;

    /// Returns all current bindings, in order of their tasks. See [`Repo::list_sessions`].
    ///
    /// # Errors
    /// Those of [`Repo::list_sessions`].
    fn list_sessions(&self) -> Result<Vec<Session>>;

    /// Returns every binding a task ever had, oldest first. See [`Repo::list_session_revisions`].
    ///
    /// # Errors
    /// Those of [`Repo::list_session_revisions`].
    fn list_session_revisions(&self, task_id: &TaskId) -> Result<Vec<SessionRevision>>;

    /// Ends the current binding if it is still this one; returns whether this call did. See [`Repo::retire_session`].
    ///
    /// # Errors
    /// Those of [`Repo::retire_session`].
    fn retire_session(
        &self,
        task_id: &TaskId,
        session_id: &SessionId,
        reason: &str,
    ) -> Result<bool>;

    /// Appends a message and returns its seq. See [`Repo::save_message`].
    ///
    /// # Errors
    /// Those of [`Repo::save_message`].
    fn save_message(&self, task_id: &TaskId, role: Role, content: &str) -> Result<i64>;

    /// Appends messages, all or none, and returns the seq of each. See [`Repo::save_messages`].
    ///
    /// # Errors
    /// Those of [`Repo::save_messages`].
    fn save_messages(&self, task_id: &TaskId, messages: &[NewMessage<'_>]) -> Result<Vec<i64>>;

    /// Appends messages to a history that ends where the caller says. See [`Repo::save_messages_after`].
    ///
    /// # Errors
    /// Those of [`Repo::save_messages_after`].
    fn save_messages_after(
        &self,
        task_id: &TaskId,
        expected_last_seq: i64,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<i64>>;

    /// Returns all turns of a task, in order. See [`Repo::get_history`].
    ///
    /// # Errors
    /// Those of [`Repo::get_history`].
    fn get_history(&self, task_id: &TaskId) -> Result<Vec<ConversationTurn>>;

    /// Returns the last turns of a task, in order. See [`Repo::get_history_last`].
    ///
    /// # Errors
    /// Those of [`Repo::get_history_last`].
    fn get_history_last(&self, task_id: &TaskId, count: u32) -> Result<Vec<ConversationTurn>>;

    /// Returns the turns after one of them, in order. See [`Repo::get_history_page`].
    ///
    /// # Errors
    /// Those of [`Repo::get_history_page`].
    fn get_history_page(
        &self,
        task_id: &TaskId,
        page: HistoryPage,
    ) -> Result<Vec<ConversationTurn>>;

    /// Returns how many turns a task has. See [`Repo::count_history`].
    ///
    /// # Errors
    /// Those of [`Repo::count_history`].
    fn count_history(&self, task_id: &TaskId) -> Result<i64>;
}

/// A task as the worker writes to it that claimed it.
///
/// The methods are those of [`ClaimedTask`] of the same names.
pub trait Claimed: Copy + Send + Sync {
    /// Binds the task to an agent session. See [`ClaimedTask::save_session`].
    ///
    /// # Errors
    /// Those of [`ClaimedTask::save_session`].
    fn save_session(&self, binding: &NewSession) -> Result<Session>;

    /// Ends the current binding if it is still this one; returns whether this call did. See
    /// [`ClaimedTask::retire_session`].
    ///
    /// # Errors
    /// Those of [`ClaimedTask::retire_session`].
    fn retire_session(&self, session_id: &SessionId, reason: &str) -> Result<bool>;

    /// Appends a message and returns its seq. See [`ClaimedTask::save_message`].
    ///
    /// # Errors
    /// Those of [`ClaimedTask::save_message`].
    fn save_message(&self, role: Role, content: &str) -> Result<i64>;

    /// Appends messages, all or none, and returns the seq of each. See
    /// [`ClaimedTask::save_messages`].
    ///
    /// # Errors
    /// Those of [`ClaimedTask::save_messages`].
    fn save_messages(&self, messages: &[NewMessage<'_>]) -> Result<Vec<i64>>;

    /// Appends messages to a history that ends where the caller says. See
    /// [`ClaimedTask::save_messages_after`].
    ///
    /// # Errors
    /// Those of [`ClaimedTask::save_messages_after`].
    fn save_messages_after(
        &self,
        expected_last_seq: i64,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<i64>>;

    /// Sets status, result and error, as one value. See [`ClaimedTask::update_task_status`].
    ///
    /// # Errors
    /// Those of [`ClaimedTask::update_task_status`].
    fn update_task_status(&self, update: impl Into<StatusUpdate>) -> Result<()>;

    /// Has the lease end later; returns when. See [`ClaimedTask::renew_lease`].
    ///
    /// # Errors
    /// Those of [`ClaimedTask::renew_lease`].
    fn renew_lease(&self, lease: Duration) -> Result<DateTime<Utc>>;
}

/// Implements [`Store`] by the methods of the same names of what `$inner` gives, whose answer goes
/// through `$wait`. A task as its worker writes to it is made into a `$claimed`.
macro_rules! forward {
    ($store:ty, |$this:ident| $inner:expr, $wait:path, $claimed:path) => {
        impl $crate::Store for $store {
            $crate::store::forward! { @ |$this| $inner, $wait;
                save_task(task: &NewTask) -> ();
                get_task(id: &TaskId) -> Task;
                list_tasks() -> Vec<Task>;
                ready_tasks() -> Vec<Task>;
                update_task_status(id: &TaskId, update: impl Into<StatusUpdate>) -> ();
                claim_task(id: &TaskId) -> bool;
                requeue_running() -> Vec<TaskId>;
                claim_ready(worker: &WorkerId, most: u32, lease: Duration) -> Vec<Claim>;
                renew_lease(task_id: &TaskId, fence: i64, lease: Duration) -> DateTime<Utc>;
                delete_task(id: &TaskId) -> bool;
                prune(rule: &Prune) -> PruneReport;
                prune_planned(planned: &PruneReport) -> PruneReport;
                usage() -> Usage;
                save_session(task_id: &TaskId, binding: &NewSession) -> Session;
                get_session(task_id: &TaskId) -> Session;
                find_session(task_id: &TaskId) -> Option<Session>;
                get_session_for_backend(task_id: &TaskId, backend: &BackendType) -> Session;
                list_sessions() -> Vec<Session>;
                list_session_revisions(task_id: &TaskId) -> Vec<SessionRevision>;
                retire_session(task_id: &TaskId, session_id: &SessionId, reason: &str) -> bool;
                save_message(task_id: &TaskId, role: Role, content: &str) -> i64;
                save_messages(task_id: &TaskId, messages: &[NewMessage<'_>]) -> Vec<i64>;
                save_messages_after(task_id: &TaskId, expected_last_seq: i64, messages: &[NewMessage<'_>]) -> Vec<i64>;
                get_history(task_id: &TaskId) -> Vec<ConversationTurn>;
                get_history_last(task_id: &TaskId, count: u32) -> Vec<ConversationTurn>;
                get_history_page(task_id: &TaskId, page: HistoryPage) -> Vec<ConversationTurn>;
                count_history(task_id: &TaskId) -> i64;
            }

            fn as_claimed<'a>(&'a self, task_id: &'a TaskId, fence: i64) -> impl $crate::Claimed + 'a {
                let $this = self;
                $claimed($inner.as_claimed(task_id, fence))
            }
        }
    };
    (claimed $claimed:ty, |$this:ident| $inner:expr, $wait:path) => {
        impl $crate::Claimed for $claimed {
            $crate::store::forward! { @ |$this| $inner, $wait;
                save_session(binding: &NewSession) -> Session;
                retire_session(session_id: &SessionId, reason: &str) -> bool;
                save_message(role: Role, content: &str) -> i64;
                save_messages(messages: &[NewMessage<'_>]) -> Vec<i64>;
                save_messages_after(expected_last_seq: i64, messages: &[NewMessage<'_>]) -> Vec<i64>;
                update_task_status(update: impl Into<StatusUpdate>) -> ();
                renew_lease(lease: Duration) -> DateTime<Utc>;
            }
        }
    };
    (@ |$this:ident| $inner:expr, $wait:path;
        $($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*
    ) => {
        $(
            fn $name(&self, $($argument: $type),*) -> turnkeep_repo::Result<$output> {
                let $this = self;
                $wait($inner.$name($($argument),*))
            }
        )*
    };
}

pub(crate) use forward;

forward!(Repo, |repo| repo, identity, identity);
forward!(claimed ClaimedTask<'_>, |task| task, identity);
