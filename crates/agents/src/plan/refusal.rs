use std::io;
use std::path::PathBuf;

use turnkeep_repo::BackendType;

use crate::plan::RestoreSource;

/// The reason for which no command will resume a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Turnkeep knows Claude Code, Codex and Goose.
    #[error("turnkeep does not know how to resume a session of {backend}")]
    UnknownAgent {
        /// The agent.
        backend: BackendType,
    },
    /// The id, or a folder, has a character that a terminal would obey, or is not UTF-8.
    #[error("its {field} {reason}")]
    Unprintable {
        /// The value.
        field: &'static str,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The id is no UUID. Claude Code takes it for a title, and Codex begins a new session.
    #[error("its id is no UUID, by which {backend} resumes a session")]
    NoUuid {
        /// The agent.
        backend: BackendType,
    },
    /// The recording is gone, and the store can write it back.
    #[error("its recording is gone; the store has its {}", .from.as_str())]
    NotRestored {
        /// From what.
        from: RestoreSource,
    },
    /// The recording is gone, and the store has neither files nor words of the session.
    #[error("its recording is gone, and the store has nothing of the session")]
    Lost,
    /// The transcript has no message, so Claude Code finds no conversation.
    #[error("{} has no message", .path.display())]
    NoConversation {
        /// The transcript.
        path: PathBuf,
    },
    /// The user has archived the thread. `codex unarchive` brings it back.
    #[error("the session is archived; `codex unarchive {thread}` brings it back")]
    Archived {
        /// The thread.
        thread: String,
    },
    /// A rollout begins with another one, which is not there.
    #[error("{} begins with the rollout {parent}, which is not there", .path.display())]
    MissingParent {
        /// The rollout.
        path: PathBuf,
        /// The id of the other one.
        parent: String,
    },
    /// The rollout does not begin with the header that Codex needs.
    #[error("{} does not begin with the header of a session", .path.display())]
    Damaged {
        /// The rollout.
        path: PathBuf,
    },
    /// The header of the rollout has another id than its name.
    #[error("{} is of another session than its name says", .path.display())]
    OtherSession {
        /// The rollout.
        path: PathBuf,
    },
    /// Codex looks for the rollout only where its database says, and it is not there. The home was moved.
    #[error(
        "the database {} says that the recording is {}, which does not exist",
        .database.display(),
        .path.display()
    )]
    StaleRow {
        /// The database.
        database: PathBuf,
        /// The path in it.
        path: PathBuf,
    },
    /// The session has a model provider that is not configured any more.
    #[error("its model provider `{provider}` is not in {}", .config.display())]
    UnknownProvider {
        /// The provider.
        provider: String,
        /// The configuration of Codex.
        config: PathBuf,
    },
    /// Codex does not start with this configuration.
    #[error("{} is no valid configuration", .path.display())]
    InvalidConfig {
        /// The configuration.
        path: PathBuf,
    },
    /// A file or folder of the agent can't be read.
    #[error("cannot read {}: {kind}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The kind of the error.
        kind: io::ErrorKind,
    },
    /// The prompt can't be given as an argument.
    #[error("the prompt can't be given: {reason}")]
    Prompt {
        /// The reason.
        reason: &'static str,
    },
}

impl Refusal {
    /// Whether the recording is the reason, which a restore may write.
    pub(super) fn is_of_recording(&self) -> bool {
        matches!(
            self,
            Self::Lost
                | Self::NoConversation { .. }
                | Self::MissingParent { .. }
                | Self::Damaged { .. }
                | Self::OtherSession { .. }
                | Self::StaleRow { .. }
        )
    }

    /// Returns a name for programs, such as `lost` or `archived`. It never changes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownAgent { .. } => "unknown_agent",
            Self::Unprintable { .. } => "unprintable",
            Self::NoUuid { .. } => "no_uuid",
            Self::NotRestored { .. } => "not_restored",
            Self::Lost => "lost",
            Self::NoConversation { .. } => "no_conversation",
            Self::Archived { .. } => "archived",
            Self::MissingParent { .. } => "missing_parent",
            Self::Damaged { .. } => "damaged",
            Self::OtherSession { .. } => "other_session",
            Self::StaleRow { .. } => "stale_row",
            Self::UnknownProvider { .. } => "unknown_provider",
            Self::InvalidConfig { .. } => "invalid_config",
            Self::Unreadable { .. } => "unreadable",
            Self::Prompt { .. } => "prompt",
        }
    }
}
