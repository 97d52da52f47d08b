use std::path::PathBuf;

use chrono::{DateTime, Utc};
use turnkeep_model::{
    BackendType, ConversationTurn, InvalidValue, MessageKey, NewMessage, Role, SessionId, TaskId,
    WorkingDir,
};

use crate::merge;
use crate::message::RecordedMessage;
use crate::name;

/// One session as its agent recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// The agent.
    pub backend_type: BackendType,
    /// The agent's own id of the session.
    pub session_id: SessionId,
    /// The title that the user, the model or the agent gave the session. `None` if it has none.
    pub title: Option<String>,
    /// The folder the agent ran in. `None` if the recording has none, or not a valid one.
    pub working_dir: Option<WorkingDir>,
    /// The turns, in the order of the recording. May be empty.
    pub messages: Vec<RecordedMessage>,
    /// The number of damaged lines, or in a database of damaged messages.
    pub unparsable_lines: u64,
    /// The file that holds the session. Of several files, the one with the latest line.
    pub path: PathBuf,
    /// Files that have the name of the session, but only lines of others. They added nothing.
    pub passed_over: Vec<PathBuf>,
    /// The rollout that a fork of Codex begins with, if it is not there or can't be read. The messages are then
    /// only those after the fork.
    pub missing_parent: Option<String>,
    /// The id of the session that this one was forked from. A fork of Codex names it. Claude Code has copied
    /// its lines to the start of the file: a fork, or a resume by an older version, which gave a new id.
    /// `None` if the recording names no other session.
    pub forked_from: Option<String>,
    /// Whether only the prompts of the session are left, in the history of Claude Code.
    pub has_only_prompts: bool,
    /// The offset in the file from which [`Source::tail`](crate::Source::tail) reads it when it has grown. 0 if
    /// it has to be read from its start: a session in several files, a fork of Codex that begins with another rollout, a
    /// compressed file, a database.
    pub settled: u64,
    /// Keys of messages that an earlier reading had, and that turned out to be none. A stored one stands for no
    /// other message.
    pub(crate) withdrawn: Vec<MessageKey>,
    /// The rollouts that a fork of Codex begins with, from its parent on.
    pub(crate) ancestors: Vec<PathBuf>,
}

impl Recording {
    /// Returns the id of the task under which the recording is stored: `<backend>:<session id>`.
    ///
    /// # Errors
    /// [`InvalidValue`] if that is longer than [`TaskId::MAX_BYTES`].
    pub fn task_id(&self) -> Result<TaskId, InvalidValue> {
        TaskId::new(format!("{}:{}", self.backend_type, self.session_id))
    }

    /// Returns a name for people: the title, or the first words of the first prompt, or the session id. One
    /// line of at most 100 characters.
    #[must_use]
    pub fn name(&self) -> String {
        let title = self.title.as_deref().map(name::first_words);
        let title = title.filter(|title| !title.is_empty());
        title.unwrap_or_else(|| self.untitled_name())
    }

    /// Returns the name of the session without a title: the first words of the first prompt, or the session id.
    #[must_use]
    pub fn untitled_name(&self) -> String {
        let mut messages = self.messages.iter();
        let prompt = messages.find(|message| message.role == Role::User);
        let name = prompt.map(|prompt| name::first_words(&prompt.content));
        let name = name.filter(|name| !name.is_empty());
        name.unwrap_or_else(|| self.session_id.to_string())
    }

    /// Returns the number of turns of a role.
    #[must_use]
    pub fn count(&self, role: Role) -> usize {
        self.messages.iter().filter(|m| m.role == role).count()
    }

    /// Returns the earliest time of a turn, UTC. `None` if no turn has a time.
    #[must_use]
    pub fn first_timestamp(&self) -> Option<DateTime<Utc>> {
        self.messages.iter().filter_map(|m| m.timestamp).min()
    }

    /// Returns the latest time of a turn, UTC. `None` if no turn has a time.
    #[must_use]
    pub fn last_timestamp(&self) -> Option<DateTime<Utc>> {
        self.messages.iter().filter_map(|m| m.timestamp).max()
    }

    /// Returns the messages to append to `stored`, the task's whole history in order, so that the store has
    /// all of the recording. Empty if the store has it already.
    ///
    /// A turn is matched by its key:
    /// - For a message that was stored half-written, the rest is returned as a further turn.
    /// - An older or cut copy of the recording returns nothing.
    /// - A message that differs from the turn stored under its key is returned in full, under another key.
    /// - A message without an id is stored if a turn with a derived key has its text and its time, whatever the
    ///   numbers of their keys.
    ///
    /// A turn whose key is not in the recording is matched by role and text: if it has no key or one of an
    /// orchestrator, if it comes from the history of Claude Code, or if it has the same time. Each is taken for
    /// one message. So a turn that an orchestrator appended is not repeated. A stored prompt of Claude Code's
    /// queue and a line that repeats it are one message.
    ///
    /// A turn that a [`HookEvent`](crate::HookEvent) added is matched with a message of the same role and words,
    /// at most a minute apart.
    ///
    /// Prompts from the history of Claude Code are returned only if `stored` has nothing of a transcript. A
    /// message without a time takes the time of the message before it.
    ///
    /// ```
    /// use turnkeep_recordings::Recording;
    /// use turnkeep_model::ConversationTurn;
    ///
    /// fn lag(recording: &Recording, history: &[ConversationTurn]) -> usize {
    ///     recording.new_messages(history).len()
    /// }
    /// ```
    #[must_use]
    pub fn new_messages(&self, stored: &[ConversationTurn]) -> Vec<NewMessage<'_>> {
        if self.has_only_prompts && merge::has_transcript(stored) {
            return Vec::new();
        }
        self.missing(&self.messages, stored)
    }

    /// Returns which of some messages of the session the store lacks.
    pub(crate) fn missing<'a>(
        &self,
        messages: &'a [RecordedMessage],
        stored: &[ConversationTurn],
    ) -> Vec<NewMessage<'a>> {
        let own = self.task_id().ok();
        // An import numbers the tasks of sessions with the same id.
        let is_own_task = |task: &TaskId| {
            let rest = own
                .as_ref()
                .and_then(|own| task.as_str().strip_prefix(own.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        };
        merge::new_messages(messages, &self.withdrawn, stored, &is_own_task)
    }
}
