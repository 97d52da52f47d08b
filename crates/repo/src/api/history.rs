use turnkeep_model::{ConversationTurn, MessageKey, NewMessage, Role, Seq, TaskId};

use crate::api::repo::Repo;
use crate::base::appended::{Appended, SavedMessage};
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::base::target::Target;
use crate::store::{on_engine, write_op};

/// Which part of a history to read.
///
/// ```
/// use turnkeep_repo::{HistoryPage, Seq};
///
/// let first = HistoryPage::new(100);
/// let second = first.after(Seq::new(100)?);
/// # Ok::<(), turnkeep_repo::InvalidValue>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPage {
    /// Turns after this one; `None` for the beginning.
    pub after: Option<Seq>,
    /// At most this many turns.
    pub limit: u32,
    /// Whether turns that [`Repo::hide_after`] has hidden are among them. By default they are not.
    pub with_hidden: bool,
}

impl HistoryPage {
    /// At most `limit` turns, from the beginning, without hidden ones.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            after: None,
            limit,
            with_hidden: false,
        }
    }

    /// Only turns after this one; `None` for the beginning.
    #[must_use]
    pub fn after(mut self, seq: impl Into<Option<Seq>>) -> Self {
        self.after = seq.into();
        self
    }

    /// Hidden turns too.
    #[must_use]
    pub fn with_hidden(mut self) -> Self {
        self.with_hidden = true;
        self
    }
}

/// The conversation history of a task, in the order of the appends.
impl Repo {
    /// Appends a message to the task's history and returns its seq: 1 for the first turn, then 2,
    /// 3, … without gaps, also when several threads and processes append.
    ///
    /// The timestamp is the time of the store's clock. A second call appends a second turn; for an
    /// idempotent append give the message a key, see [`save_messages`](Self::save_messages).
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist, [`ErrorKind::InvalidInput`] when the
    /// content is longer than [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// assert_eq!(repo.save_message(&task, Role::User, "Is it done?")?, 1);
    /// assert_eq!(repo.save_message(&task, Role::Assistant, "Yes.")?, 2);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_message(&self, task_id: &TaskId, role: Role, content: &str) -> Result<Seq> {
        let messages = [NewMessage::new(role, content)];
        let target = Target::new(task_id, None);
        write_op!(self.store => ops::append::Append::new("save_message", target, &messages))
            .map(Appended::seq)
    }

    /// Appends messages in order, all or none, and returns the seq of each.
    ///
    /// A message whose key the task already has is not appended again: if role, content and metadata are
    /// equal, the seq of the stored turn is returned. The timestamps may differ. This also holds
    /// for equal keys within one call.
    ///
    /// # Errors
    /// An error means that the call stored no data.
    /// - [`ErrorKind::TaskNotFound`]: the task does not exist. An empty list of messages succeeds
    ///   for any task.
    /// - [`ErrorKind::KeyConflict`]: a stored turn has the key and another role, content or metadata.
    /// - [`ErrorKind::InvalidInput`]: a content is longer than
    ///   [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES), or a timestamp's year is not in 0 to 9999.
    ///
    /// ```
    /// # use turnkeep_repo::{MessageKey, NewMessage, NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let messages = [NewMessage::new(Role::User, "Hello").key(MessageKey::new("m1")?)];
    /// assert_eq!(repo.save_messages(&task, &messages)?, [1]);
    /// assert_eq!(repo.save_messages(&task, &messages)?, [1], "the same turn again");
    /// assert_eq!(repo.count_history(&task)?, 1);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_messages(&self, task_id: &TaskId, messages: &[NewMessage<'_>]) -> Result<Vec<Seq>> {
        let target = Target::new(task_id, None);
        write_op!(self.store => ops::append::Append::new("save_messages", target, messages))
            .map(Appended::seqs)
    }

    /// Appends the messages whose keys the task does not have yet, in order, all or none, and returns the turn
    /// of each message and whether it is new.
    ///
    /// As [`save_messages`](Self::save_messages), but a key that belongs to a turn with another role, content
    /// or metadata is no error: the stored turn is kept, as turns never change, and returned for the message.
    /// For a source whose messages change after they were stored, such as an agent's recording that is read
    /// again. A message without a key is always appended. Of equal keys in one call the first message is
    /// stored.
    ///
    /// # Errors
    /// The errors of [`save_messages`](Self::save_messages) except [`ErrorKind::KeyConflict`]. An error means
    /// that the call stored no data.
    ///
    /// ```
    /// # use turnkeep_repo::{MessageKey, NewMessage, NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let message = |key, text| Ok::<_, turnkeep_repo::InvalidValue>(
    ///     NewMessage::new(Role::Assistant, text).key(MessageKey::new(key)?),
    /// );
    /// repo.save_messages(&task, &[message("m1", "I am look")?])?;
    /// let again = [message("m1", "I am looking.")?, message("m2", "Done.")?];
    /// let saved = repo.save_missing_messages(&task, &again)?;
    /// assert!(!saved[0].is_new && saved[0].seq == 1);
    /// assert!(saved[1].is_new && saved[1].seq == 2);
    /// assert_eq!(repo.get_history(&task)?[0].content, "I am look");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn save_missing_messages(
        &self,
        task_id: &TaskId,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<SavedMessage>> {
        let target = Target::new(task_id, None);
        write_op!(self.store => ops::append::Append::new("save_missing_messages", target, messages)
            .keep_stored())
        .map(Appended::messages)
    }

    /// Appends messages like [`save_messages`](Self::save_messages), but only if the last seq of
    /// the history is `expected_last_seq` (`None` for an empty history). Hidden turns count, see
    /// [`last_seq`](Self::last_seq). The seq is checked before the keys.
    ///
    /// # Errors
    /// [`ErrorKind::SeqConflict`] with both numbers when the last seq differs, and the errors of
    /// [`save_messages`](Self::save_messages). An error means that the call stored no data.
    ///
    /// ```
    /// # use turnkeep_repo::{NewMessage, NewTask, Repo, Role, TaskId, ErrorKind};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let messages = [NewMessage::new(Role::User, "first")];
    /// assert_eq!(repo.save_messages_after(&task, None, &messages)?, [1]);
    /// let late = repo.save_messages_after(&task, None, &messages).unwrap_err();
    /// assert!(matches!(late.kind(), ErrorKind::SeqConflict { actual: Some(seq), .. } if *seq == 1));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_messages_after(
        &self,
        task_id: &TaskId,
        expected_last_seq: Option<Seq>,
        messages: &[NewMessage<'_>],
    ) -> Result<Vec<Seq>> {
        let target = Target::new(task_id, None);
        write_op!(self.store => ops::append::Append::new("save_messages_after", target, messages)
            .after(expected_last_seq))
        .map(Appended::seqs)
    }

    /// Returns all turns of the task by ascending seq, except the ones that [`hide_after`](Self::hide_after) has
    /// hidden. Empty for a task without turns or one that does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the seq of a turn that can't be read. No turn is skipped;
    /// [`get_history_page`](Self::get_history_page) reads the turns before and after it.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_message(&task, Role::User, "Is it done?")?;
    /// for turn in repo.get_history(&task)? {
    ///     println!("{} {}: {}", turn.seq, turn.role, turn.content);
    /// }
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_history(&self, task_id: &TaskId) -> Result<Vec<ConversationTurn>> {
        let call = Operation::on_task("get_history", task_id);
        on_engine!(self.store, engine, ops => engine.read(call, |conn| ops::history::page(conn, call, task_id, None, i64::MAX, false)))
    }

    /// Returns the last `count` visible turns of the task by ascending seq; all of them when there are fewer.
    ///
    /// # Errors
    /// The errors of [`get_history`](Self::get_history).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// # for content in ["a", "b", "c"] { repo.save_message(&task, Role::User, content)?; }
    /// let last = repo.get_history_last(&task, 2)?;
    /// assert_eq!(last.iter().map(|turn| turn.seq).collect::<Vec<_>>(), [2, 3]);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_history_last(&self, task_id: &TaskId, count: u32) -> Result<Vec<ConversationTurn>> {
        let call = Operation::on_task("get_history_last", task_id);
        let count = i64::from(count);
        on_engine!(self.store, engine, ops => {
            match engine.read(call, |conn| ops::history::last_unretracted(conn, call, task_id, count))? {
                Some(turns) => Ok(turns),
                None => engine.read_snapshot(call, |conn| ops::history::last(conn, call, task_id, count)),
            }
        })
    }

    /// Returns the turns after a seq, by ascending seq, up to a limit, without hidden ones unless
    /// [asked](HistoryPage::with_hidden). A page with fewer turns than the limit is the last one. The cost depends
    /// on the length of the page, not on its place in the history.
    ///
    /// # Errors
    /// The errors of [`get_history`](Self::get_history).
    ///
    /// ```
    /// use turnkeep_repo::{HistoryPage, Seq};
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// # for content in ["a", "b", "c"] { repo.save_message(&task, Role::User, content)?; }
    /// let page = repo.get_history_page(&task, HistoryPage::new(10).after(Seq::MIN))?;
    /// assert_eq!(page.iter().map(|turn| turn.seq).collect::<Vec<_>>(), [2, 3]);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_history_page(
        &self,
        task_id: &TaskId,
        page: HistoryPage,
    ) -> Result<Vec<ConversationTurn>> {
        let call = Operation::on_task("get_history_page", task_id);
        on_engine!(self.store, engine, ops => engine.read(call, |conn| ops::history::page(conn, call, task_id, page.after, page.limit.into(), page.with_hidden)))
    }

    /// Returns the turn that was saved with the key, hidden or not, or `None`. A key is unique in its task. `None`
    /// also for a task that does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the turn can't be read.
    ///
    /// ```
    /// # use turnkeep_repo::{MessageKey, NewMessage, NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let key = MessageKey::new("msg_01")?;
    /// assert!(repo.find_turn_by_key(&task, &key)?.is_none());
    /// let message = NewMessage::new(Role::Assistant, "Done.").key(key.clone());
    /// let saved = repo.save_messages(&task, &[message])?;
    /// assert_eq!(repo.find_turn_by_key(&task, &key)?.map(|turn| turn.seq), Some(saved[0]));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn find_turn_by_key(
        &self,
        task_id: &TaskId,
        key: &MessageKey,
    ) -> Result<Option<ConversationTurn>> {
        let call = Operation::on_task("find_turn_by_key", task_id);
        on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| ops::history::find_by_key(conn, call, task_id, key)))
    }

    /// Returns the number of turns of the task, except the ones that [`hide_after`](Self::hide_after) has hidden.
    /// 0 for a task without turns or one that does not exist.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// assert_eq!(repo.count_history(&task)?, 0);
    /// repo.save_message(&task, Role::User, "Is it done?")?;
    /// assert_eq!(repo.count_history(&task)?, 1);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn count_history(&self, task_id: &TaskId) -> Result<i64> {
        let call = Operation::on_task("count_history", task_id);
        on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::history::count(conn, task_id)?)))
    }

    /// Returns the seq of the last turn of the task, hidden or not: what
    /// [`save_messages_after`](Self::save_messages_after) expects. `None` for a task without turns or one that does
    /// not exist.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{NewMessage, NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let question = repo.save_message(&task, Role::User, "Is it done?")?;
    /// let answer = repo.save_message(&task, Role::Assistant, "No.")?;
    /// repo.hide_after(&task, Some(question))?;
    /// assert_eq!(repo.last_seq(&task)?, Some(answer));
    /// let yes = [NewMessage::new(Role::Assistant, "Yes.")];
    /// assert_eq!(repo.save_messages_after(&task, Some(answer), &yes)?, [3]);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn last_seq(&self, task_id: &TaskId) -> Result<Option<Seq>> {
        let call = Operation::on_task("last_seq", task_id);
        on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::history::last_seq(conn, task_id)?)))
    }
}

methods! {
    /// The history of a task, in the order of the appends.
    ///
    /// ```
    /// # use turnkeep_repo::{AsyncRepo, HistoryPage, NewMessage, NewTask, Role, TaskId};
    /// # #[tokio::main]
    /// # async fn main() -> turnkeep_repo::Result<()> {
    /// let repo = AsyncRepo::open_in_memory().await?;
    /// let task = TaskId::new("t1")?;
    /// repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
    /// let question = repo.save_message(&task, Role::User, "Is it done?").await?;
    /// let answer = [NewMessage::new(Role::Assistant, "Yes.")];
    /// assert_eq!(repo.save_messages_after(&task, Some(question), &answer).await?, [2]);
    /// let page = HistoryPage::new(10).after(question);
    /// assert_eq!(repo.get_history_page(&task, page).await?[0].content, "Yes.");
    /// assert_eq!(repo.get_history_last(&task, 1).await?[0].seq, 2);
    /// assert_eq!(repo.count_history(&task).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        writes:
        /// Appends a message to the task's history and returns its seq.
        fn save_message(&self, task_id: &TaskId, role: Role, content: &str) -> Result<Seq>
            = ops::append::Append::new(
                "save_message", Target::new(task_id, None), &[NewMessage::new(role, content)],
            ) => Appended::seq;
        /// Appends messages in order, all or none, and returns the seq of each.
        fn save_messages(&self, task_id: &TaskId, messages: &[NewMessage<'_>]) -> Result<Vec<Seq>>
            = ops::append::Append::new("save_messages", Target::new(task_id, None), messages)
                => Appended::seqs;
        /// Appends the messages whose keys the task does not have yet.
        fn save_missing_messages(
            &self, task_id: &TaskId, messages: &[NewMessage<'_>]
        ) -> Result<Vec<SavedMessage>>
            = ops::append::Append::new("save_missing_messages", Target::new(task_id, None), messages)
                .keep_stored() => Appended::messages;
        /// Appends messages if the last seq of the history is `expected_last_seq`.
        fn save_messages_after(
            &self, task_id: &TaskId, expected_last_seq: Option<Seq>, messages: &[NewMessage<'_>]
        ) -> Result<Vec<Seq>>
            = ops::append::Append::new("save_messages_after", Target::new(task_id, None), messages)
                .after(expected_last_seq) => Appended::seqs;
        reads(conn, call):
        /// Returns all turns of the task by ascending seq.
        fn get_history(&self, task_id: &TaskId) -> Result<Vec<ConversationTurn>>
            = on_task(task_id) => ops::history::page(conn, call, task_id, None, i64::MAX, false);
        /// Returns the last `count` turns of the task by ascending seq.
        fn get_history_last(&self, task_id: &TaskId, count: u32) -> Result<Vec<ConversationTurn>>
            = on_task(task_id) => ops::history::last(conn, call, task_id, i64::from(count));
        /// Returns the turns after a seq, by ascending seq, up to a limit.
        fn get_history_page(&self, task_id: &TaskId, page: HistoryPage) -> Result<Vec<ConversationTurn>>
            = on_task(task_id) => ops::history::page(conn, call, task_id, page.after, page.limit.into(), page.with_hidden);
        /// Returns the turn that was saved with the key, or `None`.
        fn find_turn_by_key(&self, task_id: &TaskId, key: &MessageKey) -> Result<Option<ConversationTurn>>
            = on_task(task_id) => ops::history::find_by_key(conn, call, task_id, key);
        /// Returns the number of visible turns of the task.
        fn count_history(&self, task_id: &TaskId) -> Result<i64>
            = on_task(task_id) => Ok(ops::history::count(conn, task_id)?);
        /// Returns the seq of the last turn of the task, hidden or not.
        fn last_seq(&self, task_id: &TaskId) -> Result<Option<Seq>>
            = on_task(task_id) => Ok(ops::history::last_seq(conn, task_id)?);
    }
}
