use turnkeep_model::{Seq, TaskId};

#[cfg(doc)]
use crate::api::history::HistoryPage;
use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::target::Target;
use crate::store::write_op;

/// Turns that no longer count: undo, rewind, pop.
impl Repo {
    /// Hides the turns of the task after the turn `after` (`None` for all), and returns how many of them were visible
    /// before.
    ///
    /// Hidden turns stay stored, with their seqs and keys. These leave them out:
    /// [`get_history`](Self::get_history), [`get_history_last`](Self::get_history_last),
    /// [`get_history_page`](Self::get_history_page) unless asked ([`HistoryPage::with_hidden`]),
    /// [`count_history`](Self::count_history), [`wait_for_turns`](Self::wait_for_turns) and `AsyncRepo::follow`.
    /// [`find_turn_by_key`](Self::find_turn_by_key), the numbers of turns in lists and of `usage` and `prune`, copies
    /// and exports have them.
    ///
    /// New turns are visible and go on after the last seq, hidden or not. [`last_seq`](Self::last_seq) is that seq, and
    /// [`save_messages_after`](Self::save_messages_after) expects it. A message with the key of a hidden turn is that
    /// turn again, and stays hidden.
    ///
    /// The retraction is recorded with its time and can't be taken back. A call that hides no visible turn returns
    /// 0 and records nothing. Repeated before a new turn, a call is such a one; after a new turn it hides that too.
    /// An append at the same time is either before the retraction and hidden by it, or after it and visible.
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist.
    ///
    /// ```
    /// use turnkeep_repo::HistoryPage;
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let prompt = repo.save_message(&task, Role::User, "Fix the login.")?;
    /// repo.save_message(&task, Role::Assistant, "I delete it.")?;
    /// repo.save_message(&task, Role::Assistant, "Done.")?;
    /// assert_eq!(repo.hide_after(&task, Some(prompt))?, 2);
    /// assert_eq!(repo.save_message(&task, Role::Assistant, "I repair it.")?, 4);
    /// let seqs: Vec<_> = repo.get_history(&task)?.iter().map(|turn| turn.seq).collect();
    /// assert_eq!(seqs, [1, 4]);
    /// let all = repo.get_history_page(&task, HistoryPage::new(100).with_hidden())?;
    /// assert_eq!(all.len(), 4);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn hide_after(&self, task_id: &TaskId, after: Option<Seq>) -> Result<i64> {
        let target = Target::new(task_id, None);
        write_op!(self.store => ops::retraction::HideAfter { target, after })
    }
}

methods! {
    /// Turns that no longer count.
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        writes:
        /// Hides the turns of the task after a turn, and returns how many of them were visible before.
        fn hide_after(&self, task_id: &TaskId, after: Option<Seq>) -> Result<i64>
            = ops::retraction::HideAfter { target: Target::new(task_id, None), after };
    }
}
