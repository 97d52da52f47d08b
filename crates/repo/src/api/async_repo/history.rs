use turnkeep_model::{ConversationTurn, NewMessage, Role, TaskId};

use super::AsyncRepo;
use crate::api::history::{HistoryPage, owned};
use crate::base::error::Result;
use crate::store::on_engine;

/// The history of a task, in append order. Order, atomicity, errors and repeats are as for the methods of the
/// same names of [`Repo`](crate::Repo).
///
/// ```
/// # use turnkeep_repo::{AsyncRepo, HistoryPage, NewMessage, NewTask, Role, TaskId};
/// # #[tokio::main]
/// # async fn main() -> turnkeep_repo::Result<()> {
/// let repo = AsyncRepo::open_in_memory().await?;
/// let task = TaskId::new("t1")?;
/// repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
/// assert_eq!(repo.save_message(&task, Role::User, "Is it done?").await?, 1);
/// let answer = [NewMessage::new(Role::Assistant, "Yes.")];
/// assert_eq!(repo.save_messages_after(&task, 1, &answer).await?, [2]);
/// let page = HistoryPage { after: 1, limit: 10 };
/// assert_eq!(repo.get_history_page(&task, page).await?[0].content, "Yes.");
/// assert_eq!(repo.get_history_last(&task, 1).await?[0].seq, 2);
/// assert_eq!(repo.count_history(&task).await?, 2);
/// # Ok(())
/// # }
/// ```
impl AsyncRepo {
    /// Appends a message to the task's history and returns its seq. See
    /// [`Repo::save_message`](crate::Repo::save_message).
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`](crate::ErrorKind::TaskNotFound) when the task does not exist,
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the content is too long.
    pub async fn save_message(&self, task_id: &TaskId, role: Role, content: &str) -> Result<i64> {
        let message = NewMessage::new(role, content.to_owned());
        let seqs = self.append("save_message", task_id, None, vec![message]);
        Ok(seqs.await?.first().copied().unwrap_or_default())
    }

    /// Appends messages in order, all or none, and returns the seq of each. See
    /// [`Repo::save_messages`](crate::Repo::save_messages).
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`](crate::ErrorKind::TaskNotFound),
    /// [`ErrorKind::KeyConflict`](crate::ErrorKind::KeyConflict) and
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput), as there.
    pub async fn save_messages(
        &self,
        task_id: &TaskId,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<i64>> {
        self.append("save_messages", task_id, None, owned(messages))
            .await
    }

    /// Appends messages to a history whose last turn is `expected_last_seq`. See
    /// [`Repo::save_messages_after`](crate::Repo::save_messages_after).
    ///
    /// # Errors
    /// [`ErrorKind::SeqConflict`](crate::ErrorKind::SeqConflict) when the history ends elsewhere, and
    /// the errors of [`save_messages`](Self::save_messages).
    pub async fn save_messages_after(
        &self,
        task_id: &TaskId,
        expected_last_seq: i64,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<i64>> {
        let (messages, expected) = (owned(messages), Some(expected_last_seq));
        self.append("save_messages_after", task_id, expected, messages)
            .await
    }

    /// Returns all turns of the task in order. See
    /// [`Repo::get_history`](crate::Repo::get_history).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn get_history(&self, task_id: &TaskId) -> Result<Vec<ConversationTurn>> {
        let task_id = task_id.clone();
        self.block("get_history", move |repo| repo.get_history(&task_id))
            .await
    }

    /// Returns the last turns of the task, at most `count`, in order. See
    /// [`Repo::get_history_last`](crate::Repo::get_history_last).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn get_history_last(
        &self,
        task_id: &TaskId,
        count: u32,
    ) -> Result<Vec<ConversationTurn>> {
        let task_id = task_id.clone();
        self.block("get_history_last", move |repo| {
            repo.get_history_last(&task_id, count)
        })
        .await
    }

    /// Returns the turns after a seq, at most as many as asked for, in order. See
    /// [`Repo::get_history_page`](crate::Repo::get_history_page).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn get_history_page(
        &self,
        task_id: &TaskId,
        page: HistoryPage,
    ) -> Result<Vec<ConversationTurn>> {
        let task_id = task_id.clone();
        self.block("get_history_page", move |repo| {
            repo.get_history_page(&task_id, page)
        })
        .await
    }

    /// Returns how many turns the task has. See
    /// [`Repo::count_history`](crate::Repo::count_history).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn count_history(&self, task_id: &TaskId) -> Result<i64> {
        let task_id = task_id.clone();
        self.block("count_history", move |repo| repo.count_history(&task_id))
            .await
    }

    async fn append(
        &self,
        operation: &'static str,
        task_id: &TaskId,
        expected: Option<i64>,
        messages: Vec<NewMessage<'static>>,
    ) -> Result<Vec<i64>> {
        on_engine!(self.repo.store, engine, ops => {
            let append = ops::append::Append::new(operation, task_id, expected, messages);
            self.write(&engine.writer, append).await
        })
    }
}
