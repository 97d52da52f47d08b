use chrono::{DateTime, Utc};
use turnkeep_model::{BackendType, Role, TaskId, WorkingDir};

/// What to look for, and where.
///
/// - `login fail`: turns with both words, in any order and case, with or without accents.
/// - `"login fails"`: the words one after the other.
/// - `fail*`: words that begin like this.
/// - `-logout`, `-"log out"`: turns without these words.
///
/// Any other character separates words: `save_message` is the phrase `"save message"`. Text of languages that put no
/// blanks between words (Chinese, Japanese, Thai and others) is found by any part of it. Any text is a valid query if it
/// has a word that is not excluded.
///
/// ```
/// use turnkeep_model::Role;
/// use turnkeep_search::Query;
///
/// let query = Query::new("\"login fails\" -logout").role(Role::User).limit(5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The words.
    pub words: String,
    /// Only tasks that are bound to a session of this agent.
    pub backend: Option<BackendType>,
    /// Only tasks that are bound to a session in one of these folders or below it. Empty for all.
    pub folders: Vec<WorkingDir>,
    /// Only this task.
    pub task: Option<TaskId>,
    /// Only turns of this speaker.
    pub role: Option<Role>,
    /// Only turns of this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only turns before this time.
    pub until: Option<DateTime<Utc>>,
    /// At most this many hits, 20 by default.
    pub limit: u32,
}

impl Query {
    /// Looks for these words in all turns.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            backend: None,
            folders: Vec::new(),
            task: None,
            role: None,
            since: None,
            until: None,
            limit: 20,
        }
    }

    /// Only tasks that are bound to a session of this agent.
    #[must_use]
    pub fn backend(mut self, backend: BackendType) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Only tasks that are bound to a session in one of these folders or below it.
    #[must_use]
    pub fn folders(mut self, folders: impl IntoIterator<Item = WorkingDir>) -> Self {
        self.folders = folders.into_iter().collect();
        self
    }

    /// Only this task.
    #[must_use]
    pub fn task(mut self, task: TaskId) -> Self {
        self.task = Some(task);
        self
    }

    /// Only turns of this speaker.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Only turns of this time or later.
    #[must_use]
    pub fn since(mut self, time: DateTime<Utc>) -> Self {
        self.since = Some(time);
        self
    }

    /// Only turns before this time.
    #[must_use]
    pub fn until(mut self, time: DateTime<Utc>) -> Self {
        self.until = Some(time);
        self
    }

    /// At most this many hits, 20 by default.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}
