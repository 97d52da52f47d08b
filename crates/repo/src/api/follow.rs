//! Waiting for new turns.

#[cfg(feature = "tokio")]
use std::collections::VecDeque;
#[cfg(feature = "tokio")]
use std::future::poll_fn;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::Poll;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use tokio::time::timeout_at;
use turnkeep_model::{ConversationTurn, Seq, TaskId};

#[cfg(feature = "tokio")]
use crate::api::async_repo::{AsyncRepo, block};
use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
#[cfg(feature = "tokio")]
use crate::commit::subscribers::Watch;
use crate::commit::wakeup::WakeGroup;
use crate::store::on_engine;

/// New turns as they come.
impl Repo {
    /// Returns the turns after the turn `after` (`None` for the beginning), by ascending seq, and waits for the first
    /// one if there is none yet. Empty when `timeout` has passed without one.
    ///
    /// Returns at most 256 turns; the next call gets the ones after them. So a loop that passes on the last seq
    /// gets every turn once, in order. Turns that are hidden at the time of the call are left out, and that a turn
    /// which was returned is hidden later is not told: compare with [`get_history`](Self::get_history) where it
    /// matters. A zero timeout does not wait, and [`Duration::MAX`] waits without an end.
    /// The timeout of the store bounds each read, not the wait.
    ///
    /// A turn of this process wakes the call at its commit. For turns of other processes the calling thread looks
    /// every 75 ms while it waits (one thread for all that wait on this store), on a connection of its own. On a
    /// server other processes notify it; behind a pooler, which can't, it asks the server every 250 ms. See
    /// docs/postgresql.md.
    ///
    /// # Errors
    /// - [`ErrorKind::TaskNotFound`]: the task does not exist, or was deleted while the call waited.
    /// - [`ErrorKind::SeqConflict`]: the history ends before `after`. The task was deleted and saved again, or the
    ///   seq is of another store.
    /// - [`ErrorKind::FileLost`]: the file was deleted, moved or replaced.
    /// - The errors of [`get_history`](Self::get_history). After a retryable one the same call goes on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let agent = std::thread::spawn({
    ///     let (repo, task) = (repo.clone(), task.clone());
    ///     move || {
    ///         repo.save_message(&task, Role::Assistant, "Working.")?;
    ///         repo.save_message(&task, Role::Assistant, "Done.")
    ///     }
    /// });
    /// let (mut last_seq, mut count) = (None, 0);
    /// while count < 2 {
    ///     for turn in repo.wait_for_turns(&task, last_seq, Duration::from_secs(60))? {
    ///         println!("{} {}", turn.seq, turn.content);
    ///         last_seq = Some(turn.seq);
    ///         count += 1;
    ///     }
    /// }
    /// # agent.join().unwrap()?;
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn wait_for_turns(
        &self,
        task_id: &TaskId,
        after: Option<Seq>,
        timeout: Duration,
    ) -> Result<Vec<ConversationTurn>> {
        let call = Operation::on_task("wait_for_turns", task_id);
        self.store.calls().begin(&call)?;
        let until = Instant::now().checked_add(timeout);
        let sleeper = Arc::new(WakeGroup::default());
        let waker = Arc::clone(&sleeper).into();
        let subscribers = self.store.subscribers();
        let subscription = subscribers.subscribe(task_id, after, Some(waker));
        let mut watch = None;
        loop {
            let turns = self.new_turns(call, task_id, after)?;
            if !turns.is_empty() || is_over(until) {
                return Ok(turns);
            }
            while !subscription.take_news() {
                if is_over(until) {
                    return Ok(turns);
                }
                watch = watch.or_else(|| subscribers.take_watch());
                let next_look = match &watch {
                    Some(watch) => Some(watch.next_look()),
                    None => subscribers.overdue_look(),
                };
                if next_look.is_some_and(|next| next <= Instant::now()) {
                    if !self.store.look_briefly() {
                        self.store.look();
                    }
                    continue;
                }
                let wake_at = until.into_iter().chain(next_look).min();
                sleeper.sleep(wake_at, || subscription.is_due().then_some(()));
            }
        }
    }

    fn new_turns(
        &self,
        call: Operation<'_>,
        task_id: &TaskId,
        after: Option<Seq>,
    ) -> Result<Vec<ConversationTurn>> {
        on_engine!(self.store, engine => engine.new_turns(call, task_id, after))
    }
}

fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until <= Instant::now())
}

/// The turns of a task as they come. Made by [`AsyncRepo::follow`].
#[cfg(feature = "tokio")]
#[derive(Debug)]
#[must_use = "call `next`"]
pub struct Follow {
    repo: AsyncRepo,
    task_id: TaskId,
    after: Option<Seq>,
    turns: VecDeque<ConversationTurn>,
}

#[cfg(feature = "tokio")]
impl Follow {
    /// Returns the next turn, and waits for it if there is none yet. Never ends on its own.
    ///
    /// A future that is dropped loses no turn, so it can be a branch of `tokio::select!`.
    ///
    /// # Errors
    /// The errors of [`Repo::wait_for_turns`]. The next call goes on after the last turn that was returned.
    pub async fn next(&mut self) -> Result<ConversationTurn> {
        loop {
            if let Some(turn) = self.turns.pop_front() {
                return Ok(turn);
            }
            let turns = new_turns(&self.repo.repo, "follow", &self.task_id, self.after, None);
            self.turns = turns.await?.into();
            self.after = self.turns.back().map(|turn| turn.seq).or(self.after);
        }
    }
}

#[cfg(feature = "tokio")]
impl AsyncRepo {
    /// Follows a task: returns its turns after the turn `after` (`None` for the beginning), one by one, in order, the
    /// stored ones and then each new one as it comes, without hidden ones as [`Repo::wait_for_turns`] says.
    ///
    /// Any number of tasks can be followed at the same time. Waiting takes no thread: the thread on which the store
    /// opens connections looks for turns of other processes, as [`Repo::wait_for_turns`] does. A `Follow` keeps the
    /// store open, and up to 256 turns in memory.
    ///
    /// ```
    /// # use turnkeep_repo::{AsyncRepo, NewTask, Role, TaskId};
    /// # #[tokio::main]
    /// # async fn main() -> turnkeep_repo::Result<()> {
    /// # let repo = AsyncRepo::open_in_memory().await?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
    /// repo.save_message(&task, Role::User, "Is it done?").await?;
    /// let mut turns = repo.follow(&task, None);
    /// assert_eq!(turns.next().await?.content, "Is it done?");
    ///
    /// let agent = repo.save_message(&task, Role::Assistant, "Yes.");
    /// let (turn, saved) = tokio::join!(turns.next(), agent);
    /// assert_eq!(turn?.seq, saved?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, task_id: &TaskId, after: Option<Seq>) -> Follow {
        Follow {
            repo: self.clone(),
            task_id: task_id.clone(),
            after,
            turns: VecDeque::new(),
        }
    }

    /// Returns the turns after another one, and waits for the first one.
    ///
    /// Like [`Repo::wait_for_turns`], with the same errors. Waits as [`follow`](Self::follow) does.
    pub async fn wait_for_turns(
        &self,
        task_id: &TaskId,
        after: Option<Seq>,
        timeout: Duration,
    ) -> Result<Vec<ConversationTurn>> {
        let until = Instant::now().checked_add(timeout);
        new_turns(&self.repo, "wait_for_turns", task_id, after, until).await
    }
}

/// As [`Repo::wait_for_turns`], until `until` if there is an end.
#[cfg(feature = "tokio")]
async fn new_turns(
    repo: &Repo,
    operation: &'static str,
    task_id: &TaskId,
    after: Option<Seq>,
    until: Option<Instant>,
) -> Result<Vec<ConversationTurn>> {
    let calls = repo.store.calls();
    calls.begin(&Operation::on_task(operation, task_id))?;
    let subscribers = repo.store.subscribers();
    let subscription = subscribers.subscribe(task_id, after, None);
    loop {
        let id = task_id.clone();
        let read = move |repo: &Repo| {
            let call = Operation::on_task(operation, &id);
            repo.new_turns(call, &id, after)
        };
        let turns = block(repo, operation, read).await?;
        if !turns.is_empty() || is_over(until) {
            return Ok(turns);
        }
        if let Some(watch) = subscribers.take_watch() {
            keep_watch(repo, watch);
        }
        let due = poll_fn(|context| {
            subscription.wake_by(context.waker());
            match subscription.is_due() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        match until {
            None => due.await,
            Some(until) if timeout_at(until.into(), due).await.is_ok() => {}
            Some(_) => return Ok(turns),
        }
        subscription.take_news();
    }
}

/// Looks at the store for as long as there are subscribers. If the runtime ends, a subscriber of another one takes the
/// watch.
#[cfg(feature = "tokio")]
fn keep_watch(repo: &Repo, watch: Watch) {
    let store = Arc::downgrade(&repo.store);
    let mut is_due = repo.store.look_on_pool_thread();
    tokio::spawn(async move {
        // Fails when the store is closed.
        while is_due.await.is_ok() && !watch.is_idle() {
            let Some(store) = store.upgrade() else {
                return;
            };
            // The last handle closes the store, which blocks.
            let look = move || {
                store.look();
                store.look_on_pool_thread()
            };
            match tokio::task::spawn_blocking(look).await {
                Ok(next) => is_due = next,
                Err(_) => return,
            }
        }
    });
}
