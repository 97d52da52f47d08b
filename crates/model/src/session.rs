use std::path::Path;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use turnkeep_schema::{session_revisions, sessions};

use crate::short_text::short_text;
use crate::{
    BackendType, InvalidValue, Metadata, OptionalStoredText, OptionalUtcMicros, Revision, Seq,
    SessionId, TaskId, UtcMicros,
};

/// Declares a folder: a short text that converts from and to paths.
macro_rules! folder {
    ($(#[$docs:meta])* $name:ident, $field:literal) => {
        short_text! { $(#[$docs])* $name, $field, 4096 }

        impl $name {
            /// Returns the folder as a path of this machine.
            #[must_use]
            pub fn as_path(&self) -> &Path {
                Path::new(self.as_str())
            }
        }

        impl TryFrom<&Path> for $name {
            type Error = InvalidValue;

            fn try_from(path: &Path) -> Result<Self, InvalidValue> {
                let text = path.to_str();
                Self::new(text.ok_or_else(|| InvalidValue::new($field, "is not UTF-8"))?)
            }
        }

        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                self.as_path()
            }
        }
    };
}

folder! {
    /// The working folder of an agent session: 1 to 4096 bytes of UTF-8, no NUL, stored unchanged.
    ///
    /// A text, not a path, because the folder may be on another machine. Paths convert from and to it.
    ///
    /// ```
    /// use std::path::Path;
    /// use turnkeep_model::WorkingDir;
    ///
    /// let folder = WorkingDir::try_from(Path::new("/srv/app"))?;
    /// assert_eq!(folder.as_path(), Path::new("/srv/app"));
    /// # Ok::<(), turnkeep_model::InvalidValue>(())
    /// ```
    WorkingDir, "working folder"
}

folder! {
    /// The folder in which an agent keeps its sessions, if that is not its usual one: `CLAUDE_CONFIG_DIR` of
    /// Claude Code, `CODEX_HOME` of Codex, `GOOSE_PATH_ROOT` of Goose. A resume with another one starts blank.
    ///
    /// 1 to 4096 bytes of UTF-8, no NUL, stored unchanged. Paths convert from and to it.
    ConfigDir, "config folder"
}

/// The current binding of a task to an agent session. Backend, session id, folders and metadata are written and
/// read together.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
#[non_exhaustive]
pub struct Session {
    /// The task, which has at most one current binding.
    pub task_id: TaskId,
    /// The agent program, which issued the session id.
    pub backend_type: BackendType,
    /// The agent's own id of the session.
    pub session_id: SessionId,
    /// The folder the agent ran in. Some agents resume a session only there.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub working_dir: Option<WorkingDir>,
    /// The folder in which the agent keeps its sessions, if that is not its usual one.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub config_dir: Option<ConfigDir>,
    /// The caller's own data.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub metadata: Option<Metadata>,
    /// When the first binding since the last retirement was saved, UTC.
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub created_at: DateTime<Utc>,
    /// When the binding last changed, UTC. Saving an equal binding does not change it.
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub updated_at: DateTime<Utc>,
}

impl Session {
    /// Makes the stored form of a binding. A host's own tests need it; a store returns its sessions.
    #[must_use]
    #[inline]
    pub fn new(
        task_id: TaskId,
        binding: NewSession,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
    ) -> Self {
        Self {
            task_id,
            backend_type: binding.backend_type,
            session_id: binding.session_id,
            working_dir: binding.working_dir,
            config_dir: binding.config_dir,
            metadata: binding.metadata,
            created_at,
            updated_at,
        }
    }
}

/// A binding to save for a task. It is one value: another folder or other metadata make another binding.
///
/// ```
/// use turnkeep_model::{BackendType, ConfigDir, Metadata, NewSession, SessionId, WorkingDir};
///
/// let binding = NewSession::new(BackendType::Claude, SessionId::new("6f1d2c3b")?)
///     .working_dir(WorkingDir::new("/srv/app")?)
///     .config_dir(ConfigDir::new("/srv/agents/claude")?)
///     .metadata(Metadata::new(r#"{"model": "opus"}"#)?);
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct NewSession {
    /// The agent program, which issued the session id.
    pub backend_type: BackendType,
    /// The agent's own id of the session.
    pub session_id: SessionId,
    /// The folder the agent runs in. `None` by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub working_dir: Option<WorkingDir>,
    /// The folder in which the agent keeps its sessions. `None`, its usual one, by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub config_dir: Option<ConfigDir>,
    /// The caller's own data. `None` by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub metadata: Option<Metadata>,
}

impl NewSession {
    /// Makes a binding without folders and metadata.
    #[must_use]
    #[inline]
    pub fn new(backend_type: BackendType, session_id: SessionId) -> Self {
        Self {
            backend_type,
            session_id,
            working_dir: None,
            config_dir: None,
            metadata: None,
        }
    }

    /// Sets the folder the agent runs in.
    #[must_use]
    pub fn working_dir(mut self, working_dir: WorkingDir) -> Self {
        self.working_dir = Some(working_dir);
        self
    }

    /// Sets the folder in which the agent keeps its sessions.
    #[must_use]
    pub fn config_dir(mut self, config_dir: ConfigDir) -> Self {
        self.config_dir = Some(config_dir);
        self
    }

    /// Sets the caller's own data.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

/// A current or former binding of a task. Append-only, except that it can be retired once.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[diesel(table_name = session_revisions, treat_none_as_default_value = false)]
#[non_exhaustive]
pub struct SessionRevision {
    /// The task.
    pub task_id: TaskId,
    /// Its number.
    pub revision: Revision,
    /// The agent program.
    pub backend_type: BackendType,
    /// The agent's own id of the session.
    pub session_id: SessionId,
    /// The folder the agent ran in.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub working_dir: Option<WorkingDir>,
    /// The folder in which the agent kept its sessions, if that was not its usual one.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub config_dir: Option<ConfigDir>,
    /// The caller's own data.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub metadata: Option<Metadata>,
    /// The seq of the first turn after this binding was saved: one more than the history had.
    pub first_seq: Seq,
    /// When this binding was saved, UTC.
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub saved_at: DateTime<Utc>,
    /// When it was retired, UTC. `None` for the current binding.
    #[diesel(deserialize_as = OptionalUtcMicros, serialize_as = OptionalUtcMicros)]
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::serde_support::optional_micros")
    )]
    pub retired_at: Option<DateTime<Utc>>,
    /// Why it was retired: [`REPLACED`](Self::REPLACED) or the caller's reason. `None` exactly if
    /// `retired_at` is.
    #[diesel(deserialize_as = OptionalStoredText, serialize_as = OptionalStoredText)]
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub retired_reason: Option<String>,
}

impl SessionRevision {
    /// The reason of a binding that another one replaced.
    pub const REPLACED: &str = "replaced";
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn a_path_that_is_not_utf_8_is_no_working_folder() {
        let path = Path::new(OsStr::from_bytes(b"/srv/\xff"));
        let error = WorkingDir::try_from(path).unwrap_err();
        assert_eq!(error.to_string(), "invalid working folder: is not UTF-8");
    }
}
