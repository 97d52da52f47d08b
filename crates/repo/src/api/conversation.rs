use turnkeep_model::TaskId;

use crate::api::repo::Repo;
use crate::base::conversation::Conversation;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::store::on_engine;

/// Which session said a turn.
impl Repo {
    /// Returns the turns of the task as [`get_history`](Self::get_history) does, with all bindings that it ever had,
    /// as of one moment. [`Conversation::revision_of`] tells which session said a turn.
    ///
    /// Both are empty for a task that does not exist. All turns are in memory at once; for a long history read
    /// [pages](Self::get_history_page) and [`list_session_revisions`](Self::list_session_revisions).
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the seq of a turn that can't be read.
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, Role, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_message(&task, Role::User, "Fix the login.")?;
    /// for agent in [BackendType::Claude, BackendType::Codex] {
    ///     repo.save_session(&task, &NewSession::new(agent, SessionId::new("s1")?))?;
    ///     repo.save_message(&task, Role::Assistant, "Done.")?;
    /// }
    /// let conversation = repo.get_conversation(&task)?;
    /// let agents = conversation.turns.iter().map(|turn| {
    ///     let revision = conversation.revision_of(turn.seq);
    ///     revision.map(|it| it.backend_type.clone())
    /// });
    /// let expected = [None, Some(BackendType::Claude), Some(BackendType::Codex)];
    /// assert!(agents.eq(expected));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_conversation(&self, task_id: &TaskId) -> Result<Conversation> {
        let call = Operation::on_task("get_conversation", task_id);
        on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| ops::conversation::read(conn, call, task_id)))
    }
}

methods! {
    /// Which session said a turn.
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        reads(conn, call):
        /// Returns the turns of the task with all bindings that it ever had, as of one moment.
        fn get_conversation(&self, task_id: &TaskId) -> Result<Conversation>
            = on_task(task_id) => ops::conversation::read(conn, call, task_id);
    }
}
