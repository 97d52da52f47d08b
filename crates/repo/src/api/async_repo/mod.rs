//! The store for async code.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::api::repo::Repo;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::RepoBuilder;
use crate::base::stats::Stats;
use crate::commit::engine::Engine;
use crate::commit::group_commit::Writer;
use crate::commit::job::Reply;
use crate::commit::queue::WriteId;
use crate::commit::write::Write;
use crate::sqlite::backup::Backup;

/// Declares async methods as a list of signatures, each like the blocking method of its name. A write is the value
/// after `=`, and `=> f` converts its output. A read is the call of the blocking method, on a thread that may block.
macro_rules! async_methods {
    (
        $(#[$about:meta])*
        impl $handle:ty as $blocking:ident {
            $(writes: $(
                $(#[$write_doc:meta])*
                fn $write:ident(&$this:ident $(, $input:ident: $input_type:ty)*) -> $output:ty
                    = $value:expr $(=> $convert:path)?;
            )*)?
            $(reads: $(
                $(#[$read_doc:meta])*
                fn $read:ident(&self $(, $argument:ident: $(&$lent:ident)? $($copied:ident)?)*) -> $result:ty;
            )*)?
        }
    ) => {
        $(#[$about])*
        impl $handle {
            $($(
                $(#[$write_doc])*
                #[doc = concat!(
                    "\nLike [`", stringify!($blocking), "::", stringify!($write), "`], with the same errors.",
                )]
                pub async fn $write(&$this $(, $input: $input_type)*) -> $output {
                    $crate::store::on_engine!($this.repo.store, engine, ops => {
                        let write = $value;
                        $crate::api::async_repo::write(&$this.repo, &engine.writer, write).await
                    })
                    $(.map($convert))?
                }
            )*)?
            $($(
                $(#[$read_doc])*
                #[doc = concat!(
                    "\nLike [`", stringify!($blocking), "::", stringify!($read), "`], with the same errors.",
                )]
                pub async fn $read(&self $(, $argument: $(&$lent)? $($copied)?)*) -> $result {
                    $($(let $argument = <$lent>::clone($argument);)?)*
                    $crate::api::async_repo::block(&self.repo, stringify!($read), move |repo| {
                        $($(let $argument: &$lent = &$argument;)?)*
                        repo.$read($($argument),*)
                    })
                    .await
                }
            )*)?
        }
    };
}

/// A [`Repo`] for async code: the same methods and names, none of which blocks the runtime.
///
/// A method may also fail with [`ErrorKind::Io`] when its runtime is shutting down, a write also when the system
/// has no thread for it. (A read panics then, as tokio's `spawn_blocking` does.)
///
/// Writes wait in the store's own queue, where they share transactions, and take one thread of
/// the runtime's blocking pool for all of them together. Reads take one each. Cheap to clone; use
/// the same store through [`repo`](Self::repo) from blocking code at the same time if you like.
///
/// **Cancellation.** A future that is dropped before its write began stores nothing. Once it has
/// begun, the write is completed, dropped future or not; which of both it was can only be read back.
/// A read that is dropped is read to its end for nobody.
///
/// **Waiting.** As with [`Repo`], one deadline for all that a call waits on. It begins when the
/// future is first polled; for reads when the runtime's blocking pool has a thread for them. Opening
/// several `AsyncRepo`s on one file is possible and slower: their writes share no transactions.
///
/// **Panics.** Futures are to be polled inside a tokio runtime whose timers are enabled, as
/// `#[tokio::main]` has them. Outside of one they panic, as tokio's own do.
///
/// Dropping the last handle closes the file, which blocks for as long as a checkpoint takes; see
/// [`close`](Self::close).
///
/// ```
/// use turnkeep_repo::{AsyncRepo, NewTask, Role, TaskId};
///
/// # #[tokio::main]
/// # async fn main() -> anyhow::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// let repo = AsyncRepo::open(folder.path().join("store.db")).await?;
/// let task = TaskId::new("fix-login")?;
/// repo.save_task(&NewTask::new(task.clone(), "Fix the login")).await?;
/// assert_eq!(repo.save_message(&task, Role::User, "Please fix it.").await?, 1);
/// assert_eq!(repo.get_history(&task).await?.len(), 1);
/// repo.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AsyncRepo {
    pub(crate) repo: Repo,
}

impl AsyncRepo {
    /// Opens the store in the file at `path`, with the default settings. See [`Repo::open`].
    ///
    /// # Errors
    /// The errors of [`Repo::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Repo::builder(path).open_async().await
    }

    /// Opens an empty store in memory. See [`Repo::open_in_memory`].
    ///
    /// # Errors
    /// The errors of [`Repo::open_in_memory`].
    pub async fn open_in_memory() -> Result<Self> {
        RepoBuilder::new(None).open_async().await
    }

    /// Returns the settings for a store at `path`, to be changed and then opened with
    /// [`RepoBuilder::open_async`].
    pub fn builder(path: impl AsRef<Path>) -> RepoBuilder {
        Repo::builder(path)
    }

    /// Returns the same store for blocking code.
    #[must_use]
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Returns what the store has done since it was opened, in numbers. Waits for no lock.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.repo.stats()
    }

    /// Copies the store into a new file. See [`Repo::backup`].
    ///
    /// # Errors
    /// The errors of [`Repo::backup`].
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<Backup> {
        let path = path.as_ref().to_owned();
        block(&self.repo, "backup", move |repo| repo.backup(path)).await
    }

    /// Drops this handle where blocking does no harm. If it was the last one, the file is closed
    /// when this returns.
    pub async fn close(self) {
        let closed = tokio::task::spawn_blocking(move || {
            drop(self.repo);
            Ok(())
        });
        // An error says that the runtime shut down meanwhile, and that dropped the handle as well.
        let _: Result<()> = joined("close", closed.await);
    }
}

impl From<Repo> for AsyncRepo {
    fn from(repo: Repo) -> Self {
        Self { repo }
    }
}

impl RepoBuilder {
    /// Opens the store as [`open`](Self::open) does, for async code.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), and [`ErrorKind::Io`] when the runtime is shutting down.
    ///
    /// ```
    /// use std::time::Duration;
    /// use turnkeep_repo::AsyncRepo;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> anyhow::Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// let repo = AsyncRepo::builder(folder.path().join("store.db"))
    ///     .timeout(Duration::from_secs(2))
    ///     .open_async()
    ///     .await?;
    /// // Blocking code may use the same store at the same time.
    /// assert!(repo.repo().list_sessions()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_async(self) -> Result<AsyncRepo> {
        let opened = tokio::task::spawn_blocking(|| self.open());
        Ok(joined("open", opened.await)?.into())
    }
}

/// Calls the store on a thread where blocking does no harm. The store is closed there at the latest.
pub(crate) async fn block<T: Send + 'static, E: From<Error> + Send + 'static>(
    repo: &Repo,
    operation: &'static str,
    call: impl FnOnce(&Repo) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let repo = repo.clone();
    let called = tokio::task::spawn_blocking(move || call(&repo));
    joined(operation, called.await)
}

/// Writes through the queue, or on a thread of the blocking pool if the write does not share a transaction.
pub(crate) async fn write<E: Engine, W: Write<E::Conn>>(
    repo: &Repo,
    writer: &Arc<Writer<E>>,
    write: W,
) -> Result<W::Output> {
    let operation = write.call().name;
    if !E::is_shared(&write) {
        let writer = Arc::clone(writer);
        return block(repo, operation, move |_| writer.write(write)).await;
    }
    let span = writer.calls.begin(&write.call())?;
    let result = match write.check() {
        Ok(()) => submit(repo, writer, operation, write).await,
        Err(error) => Err(error),
    };
    writer.calls.count_write(&span, &result);
    result
}

/// Goes on with a panic of the thread, and tells of a runtime that shut down.
fn joined<T, E: From<Error>>(
    operation: &'static str,
    result: Result<Result<T, E>, tokio::task::JoinError>,
) -> Result<T, E> {
    result.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(payload) => resume_unwind(payload),
        Err(error) => Err(E::from(
            ErrorKind::Io
                .on(&Operation::on_named(operation, "a thread of the runtime"))
                .with_source(error),
        )),
    })
}

/// Enqueues a write and waits for its result.
async fn submit<E: Engine, W: Write<E::Conn>>(
    repo: &Repo,
    writer: &Arc<Writer<E>>,
    operation: &'static str,
    write: W,
) -> Result<W::Output> {
    let (sender, mut receiver) = oneshot::channel();
    let reply = move |reply| {
        // The future may have been dropped.
        let _ = sender.send(reply);
    };
    let runtime = Handle::current();
    let weak = Arc::downgrade(writer);
    let spawn = Arc::new(move |id| {
        let Some(writer) = weak.upgrade() else {
            return;
        };
        let leader = SpawnedLeader {
            writer: Arc::clone(&writer),
            spawned_for: Some(id),
        };
        // `spawn_blocking` panics when the system has no thread to give, and keeps the leader for a thread that
        // may never come. If one does, that leader leaves, or leads for the writes that wait then.
        let spawned = AssertUnwindSafe(|| runtime.spawn_blocking(move || leader.lead()));
        if catch_unwind(spawned).is_err() {
            writer.queue.leader_left(Some(id));
        }
    });
    let deadline = Deadline::after(writer.queue.timeout);
    let id = writer.queue.submit(write, deadline, reply, spawn);
    let submitted = Submitted { writer, id };
    let until = deadline.instant().into();
    let reply = match tokio::time::timeout_at(until, &mut receiver).await {
        Ok(reply) => reply,
        Err(_) => {
            submitted.give_up();
            // Otherwise the write has begun.
            receiver.await
        }
    };
    // The write has ended, so that the queue, which leaders need, is not locked to look for it.
    mem::forget(submitted);
    match reply {
        Ok(Reply::Ended(result)) => result,
        Ok(Reply::Panicked(payload)) => resume_unwind(payload),
        Ok(Reply::RunAlone(mut pending)) => {
            let writer = Arc::clone(writer);
            let run = move |_: &Repo| writer.write_alone(&mut pending.write, deadline);
            block(repo, operation, run).await
        }
        Err(_) => Err(Error::abandoned(&Operation::on_store(operation))),
    }
}

/// A write whose future waits for it. Dropping this cancels the write, unless it has begun.
struct Submitted<'a, E: Engine> {
    writer: &'a Writer<E>,
    id: WriteId,
}

impl<E: Engine> Submitted<'_, E> {
    fn give_up(&self) {
        // In a forked child the queue may be locked for ever.
        if !self.writer.calls.is_inherited() {
            self.writer.queue.give_up(self.id);
        }
    }
}

impl<E: Engine> Drop for Submitted<'_, E> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A thread of the blocking pool that leads for futures. It keeps the writer, but not the store, from being
/// closed.
struct SpawnedLeader<E: Engine> {
    writer: Arc<Writer<E>>,
    /// The write on whose runtime it was spawned. `None` once it runs.
    spawned_for: Option<WriteId>,
}

impl<E: Engine> SpawnedLeader<E> {
    fn lead(mut self) {
        self.spawned_for = None;
        self.writer.lead();
    }
}

impl<E: Engine> Drop for SpawnedLeader<E> {
    /// A runtime that shuts down drops what it has not begun.
    fn drop(&mut self) {
        self.writer.queue.leader_left(self.spawned_for);
    }
}

#[cfg(test)]
mod tests;
