use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, Claim, ClaimFilter, Conversation, ConversationTurn, Error, Fence, HistoryPage,
    HostName, ImportedFile, MessageKey, NewMessage, NewSession, NewTask, Progress, RecordingFile,
    RecordingName, RecordingNumber, RemovedSession, Repo, Result, Role, SavedMessage, Seq, Session,
    SessionId, SessionRevision, StatusUpdate, Task, TaskId, TaskPage, TaskQuery, Transaction,
    WorkerId,
};

#[cfg(feature = "tokio")]
use turnkeep_repo::AsyncRepo;

#[cfg(feature = "tokio")]
use crate::blocking::{Blocking, wait};

/// Passes the signatures of the methods of [`Store`] to the macro `$each`.
macro_rules! store_methods {
    ($each:ident) => {
        $each! { Repo:
            save_task(task: &NewTask) -> ();
            save_tasks(plan: &[NewTask]) -> ();
            get_task(id: &TaskId) -> Task;
            get_tasks() -> Vec<Task>;
            list_tasks(query: &TaskQuery) -> TaskPage;
            ready_tasks() -> Vec<Task>;
            progress() -> Progress;
            update_task_status(id: &TaskId, update: impl Into<StatusUpdate>) -> ();
            claim_task(id: &TaskId) -> bool;
            requeue_running() -> Vec<TaskId>;
            claim_ready(worker: &WorkerId, limit: u32, lease: Duration) -> Vec<Claim<Self::Handle>>;
            claim_matching(worker: &WorkerId, filter: &ClaimFilter, limit: u32, lease: Duration) -> Vec<Claim<Self::Handle>>;
            claim(task_id: &TaskId, worker: &WorkerId, lease: Duration) -> Option<Claim<Self::Handle>>;
            reclaim(worker: &WorkerId, lease: Duration) -> Vec<Claim<Self::Handle>>;
            get_claim(task_id: &TaskId, fence: Fence) -> Claim<Self::Handle>;
            delete_task(id: &TaskId) -> bool;
            remove_task(id: &TaskId) -> bool;
            lift_removal(task_id: &TaskId) -> u64;
            list_removed_sessions() -> Vec<RemovedSession>;
            is_session_removed(backend: &BackendType, session_id: &SessionId) -> bool;
            save_imported_file(file: &ImportedFile) -> ();
            list_imported_files(host: &HostName) -> Vec<ImportedFile>;
            save_session(task_id: &TaskId, binding: &NewSession) -> Session;
            get_session(task_id: &TaskId) -> Session;
            find_session(task_id: &TaskId) -> Option<Session>;
            get_session_for_backend(task_id: &TaskId, backend: &BackendType) -> Session;
            find_task_by_session(backend: &BackendType, session_id: &SessionId) -> Option<TaskId>;
            list_tasks_by_session(backend: &BackendType, session_id: &SessionId) -> Vec<TaskId>;
            list_sessions() -> Vec<Session>;
            list_session_revisions(task_id: &TaskId) -> Vec<SessionRevision>;
            retire_session(task_id: &TaskId, session_id: &SessionId, reason: &str) -> bool;
            save_message(task_id: &TaskId, role: Role, content: &str) -> Seq;
            save_messages(task_id: &TaskId, messages: &[NewMessage<'_>]) -> Vec<Seq>;
            save_missing_messages(task_id: &TaskId, messages: &[NewMessage<'_>]) -> Vec<SavedMessage>;
            save_messages_after(task_id: &TaskId, expected_last_seq: Option<Seq>, messages: &[NewMessage<'_>]) -> Vec<Seq>;
            get_history(task_id: &TaskId) -> Vec<ConversationTurn>;
            get_history_last(task_id: &TaskId, count: u32) -> Vec<ConversationTurn>;
            get_history_page(task_id: &TaskId, page: HistoryPage) -> Vec<ConversationTurn>;
            find_turn_by_key(task_id: &TaskId, key: &MessageKey) -> Option<ConversationTurn>;
            get_conversation(task_id: &TaskId) -> Conversation;
            count_history(task_id: &TaskId) -> i64;
            last_seq(task_id: &TaskId) -> Option<Seq>;
            hide_after(task_id: &TaskId, after: Option<Seq>) -> i64;
            save_recording(task_id: &TaskId, name: &RecordingName, offset: u64, bytes: &[u8]) -> u64;
            get_recordings(task_id: &TaskId) -> Vec<RecordingFile>;
            read_recording(task_id: &TaskId, number: RecordingNumber, offset: u64) -> Vec<u8>;
            delete_recordings(task_id: &TaskId) -> u64;
            wait_for_turns(task_id: &TaskId, after: Option<Seq>, timeout: Duration) -> Vec<ConversationTurn>;
        }
    };
}

/// Passes the signatures of the methods of [`Claimed`] to the macro `$each`.
macro_rules! claimed_methods {
    ($each:ident) => {
        $each! { Claim:
            save_session(binding: &NewSession) -> Session;
            retire_session(session_id: &SessionId, reason: &str) -> bool;
            save_message(role: Role, content: &str) -> Seq;
            save_messages(messages: &[NewMessage<'_>]) -> Vec<Seq>;
            save_missing_messages(messages: &[NewMessage<'_>]) -> Vec<SavedMessage>;
            save_messages_after(expected_last_seq: Option<Seq>, messages: &[NewMessage<'_>]) -> Vec<Seq>;
            hide_after(after: Option<Seq>) -> i64;
            save_recording(name: &RecordingName, offset: u64, bytes: &[u8]) -> u64;
            delete_recordings() -> u64;
            get_recordings() -> Vec<RecordingFile>;
            read_recording(number: RecordingNumber, offset: u64) -> Vec<u8>;
            update_task_status(update: impl Into<StatusUpdate>) -> ();
            renew(lease: Duration) -> DateTime<Utc>;
            release() -> ();
            lost() -> bool;
            get_task() -> Task;
            get_session() -> Session;
            find_session() -> Option<Session>;
            get_session_for_backend(backend: &BackendType) -> Session;
            list_session_revisions() -> Vec<SessionRevision>;
            get_history() -> Vec<ConversationTurn>;
            get_history_last(count: u32) -> Vec<ConversationTurn>;
            get_history_page(page: HistoryPage) -> Vec<ConversationTurn>;
            get_conversation() -> Conversation;
            count_history() -> i64;
            find_turn_by_key(key: &MessageKey) -> Option<ConversationTurn>;
            wait_for_turns(after: Option<Seq>, timeout: Duration) -> Vec<ConversationTurn>;
        }
    };
}

/// Declares the methods in a trait.
macro_rules! declare {
    ($of:ident: $($method:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(
            #[doc = concat!("See [`", stringify!($of), "::", stringify!($method), "`].")]
            fn $method(&self, $($argument: $type),*) -> Result<$output>;
        )*
    };
}

/// Implements the methods by the inherent ones of the same names.
macro_rules! call {
    ($of:ident: $($method:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(
            fn $method(&self, $($argument: $type),*) -> Result<$output> {
                $of::$method(self, $($argument),*)
            }
        )*
    };
}

/// Implements the methods by the ones of the value inside.
macro_rules! call_inner {
    ($of:ident: $($method:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(
            fn $method(&self, $($argument: $type),*) -> Result<$output> {
                self.inner().$method($($argument),*)
            }
        )*
    };
}

/// Implements the methods by blocking on the async ones of the same names.
#[cfg(feature = "tokio")]
macro_rules! block_on {
    ($of:ident: $($method:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(
            fn $method(&self, $($argument: $type),*) -> Result<$output> {
                wait(self.inner().$method($($argument),*))
            }
        )*
    };
}

/// The methods of a store that the rules call.
///
/// Each returns, guarantees and refuses the same as the method of [`Repo`] of the same name. Clones
/// share one store and can be used from several threads. `Debug` must not print message texts.
pub trait Store: Clone + Debug + Send + Sync + 'static {
    /// The handle whose claims this store gives out.
    type Handle: Clone + Debug + Send + Sync + 'static;

    store_methods!(declare);

    /// The handle for blocking code, which the functions of `turnkeep_admin` take.
    fn repo(&self) -> &Repo;

    /// See [`Repo::transaction`]. The code may run on another thread.
    ///
    /// # Errors
    /// See [`Repo::transaction`].
    fn transaction<T, E>(
        &self,
        code: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static;

    /// Returns the methods of a claim.
    fn fenced<'a>(claim: &'a Claim<Self::Handle>) -> impl Claimed + 'a;

    /// Returns a function that returns the turns after `after` one by one, and waits for each. See
    /// `AsyncRepo::follow`; blocking code calls [`Repo::wait_for_turns`] again and again.
    fn follow(
        &self,
        task_id: &TaskId,
        after: Option<Seq>,
    ) -> impl FnMut() -> Result<ConversationTurn> + Send + use<Self>;
}

/// The writes and reads of a worker that has claimed a task. See [`Claim`].
pub trait Claimed: Copy + Send + Sync {
    claimed_methods!(declare);
}

impl Store for Repo {
    type Handle = Self;

    store_methods!(call);

    fn repo(&self) -> &Repo {
        self
    }

    fn transaction<T, E>(
        &self,
        code: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        Repo::transaction(self, code)
    }

    fn fenced<'a>(claim: &'a Claim<Repo>) -> impl Claimed + 'a {
        Fenced(claim)
    }

    fn follow(
        &self,
        task_id: &TaskId,
        mut after: Option<Seq>,
    ) -> impl FnMut() -> Result<ConversationTurn> + Send + use<> {
        let (repo, task_id) = (self.clone(), task_id.clone());
        let mut turns = VecDeque::new();
        move || loop {
            if let Some(turn) = turns.pop_front() {
                return Ok(turn);
            }
            turns.extend(repo.wait_for_turns(&task_id, after, Duration::MAX)?);
            after = turns
                .back()
                .map(|turn: &ConversationTurn| turn.seq)
                .or(after);
        }
    }
}

/// A claim, borrowed.
struct Fenced<'a, R>(&'a Claim<R>);

impl<R> Copy for Fenced<'_, R> {}

impl<R> Clone for Fenced<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Fenced<'_, R> {
    fn inner(&self) -> &Claim<R> {
        self.0
    }
}

impl Claimed for Fenced<'_, Repo> {
    claimed_methods!(call_inner);
}

#[cfg(feature = "tokio")]
impl Store for Blocking {
    type Handle = AsyncRepo;

    store_methods!(block_on);

    fn repo(&self) -> &Repo {
        self.inner().repo()
    }

    fn transaction<T, E>(
        &self,
        code: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        wait(self.inner().transaction(code))
    }

    fn fenced<'a>(claim: &'a Claim<AsyncRepo>) -> impl Claimed + 'a {
        Fenced(claim)
    }

    fn follow(
        &self,
        task_id: &TaskId,
        after: Option<Seq>,
    ) -> impl FnMut() -> Result<ConversationTurn> + Send + use<> {
        let mut follow = self.inner().follow(task_id, after);
        move || wait(follow.next())
    }
}

#[cfg(feature = "tokio")]
impl Claimed for Fenced<'_, AsyncRepo> {
    claimed_methods!(block_on);
}
