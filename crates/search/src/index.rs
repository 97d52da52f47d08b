use std::path::{self, Path, PathBuf};

use turnkeep_repo::Repo;

use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::file::{IndexFile, Place, has_calls};
use crate::query::Query;
use crate::search::{self, Hit, ToolCallHits};
use crate::tool_calls::{self, ToolCallUpdate};
use crate::update::{self, Update};

/// The full-text index of a store, in a file of its own.
///
/// Several processes and threads may use the same file. Between two calls no file is open, so the index may be
/// deleted at any time: the next call makes it anew. So does a call that finds the index damaged or written by
/// another version, because everything in it comes from the store.
///
/// A call waits for another one's transaction, at most five seconds. Updates write in small steps, so searches
/// go on beside them, also while a large index loses the words of removed tasks.
///
/// ```
/// use turnkeep_repo::{NewTask, Repo, Role, TaskId};
/// use turnkeep_search::{Index, Query};
///
/// # let folder = tempfile::tempdir()?;
/// let repo = Repo::open(folder.path().join("store.db"))?;
/// let task = TaskId::new("fix-login")?;
/// repo.save_task(&NewTask::new(task.clone(), "Fix the login"))?;
/// repo.save_message(&task, Role::User, "Why does the login fail?")?;
///
/// let index = Index::open(&repo, folder.path().join("store.db.search"))?;
/// index.update()?;
/// let hits = index.search(&Query::new("login fail*"))?;
/// assert_eq!((&hits[0].task_id, hits[0].seq.get()), (&task, 1));
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Index {
    repo: Repo,
    path: PathBuf,
}

impl Index {
    /// Opens the index of a store at `path`. A missing or empty file is made one, in a folder that must exist. An index
    /// gets mode 0600 if others could read it. The index is empty until the first [`update`](Self::update). It must be used with one store: another store
    /// would have all of it replaced.
    ///
    /// # Errors
    /// - [`Error::NotAnIndex`]: the file is something else, it has a second name (a hard link), or a journal or log beside
    ///   it is not its own. All stay as they are.
    /// - [`Error::File`]: the file can't be read or written, or it belongs to another user.
    /// - [`Error::Busy`]: other processes kept the index locked for five seconds.
    pub fn open(repo: &Repo, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let absolute = path::absolute(path).map_err(|source| Error::File {
            operation: "open",
            path: path.to_owned(),
            source: source.into(),
        })?;
        let index = Self {
            repo: repo.clone(),
            path: absolute,
        };
        index.with_file("open", |_| Ok(()))?;
        Ok(index)
    }

    /// Brings the index up to date: adds new turns and tasks, and takes out the words of removed tasks.
    ///
    /// Reads the list of all tasks and the turns that the index lacks. To take words out it merges the whole index, which
    /// takes about as long for one task as for many. Writes in steps of some MiB, so that a call
    /// that was interrupted or failed has kept its part, and the next one goes on. Calls of several processes share
    /// the work.
    ///
    /// Removed words stay in the file until this call. It takes a task that was deleted and stored anew since the last one
    /// for the same task if creation, number of turns and last turn are the same, as after an import of a recording that
    /// was edited in the middle: call it between the two, as `turnkeep` does, or [`delete`](Self::delete) the index.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), and [`Error::Store`] when the store can't be read. A
    /// damaged turn is no error: see [`Update::unreadable`].
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # use turnkeep_search::{Index, Query};
    /// # let folder = tempfile::tempdir()?;
    /// # let repo = Repo::open(folder.path().join("store.db"))?;
    /// # let task = TaskId::new("t")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T"))?;
    /// # repo.save_message(&task, Role::User, "Why does the login fail?")?;
    /// # let index = Index::open(&repo, folder.path().join("store.db.search"))?;
    /// assert_eq!(index.update()?.added_turns, 1);
    /// repo.delete_task(&task)?;
    /// assert_eq!(index.update()?.removed_tasks, 1);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn update(&self) -> Result<Update> {
        self.with_file("update", |file| update::update(&self.repo, file))
    }

    /// Returns the turns that match the query, the best ones first, and of equally good ones the latest first. If more
    /// than 20,000 turns match, the latest of them.
    ///
    /// Finds the turns of the last [`update`](Self::update). Texts are read from the store, 20 at once, so turns that were
    /// hidden, removed or replaced since are not among them.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] when the query has no word to look for or is too long, [`Error::Store`] when a turn can't
    /// be read, and the errors of [`open`](Self::open).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # use turnkeep_search::{Index, Query};
    /// # let folder = tempfile::tempdir()?;
    /// # let repo = Repo::open(folder.path().join("store.db"))?;
    /// # let task = TaskId::new("t")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T"))?;
    /// # repo.save_message(&task, Role::User, "Why does the login fail?")?;
    /// # let index = Index::open(&repo, folder.path().join("store.db.search"))?;
    /// # index.update()?;
    /// for hit in index.search(&Query::new("\"the login\" -logout").role(Role::User).limit(5))? {
    ///     let words: Vec<_> = hit.passage.highlights.iter().map(|it| &hit.passage.text[it.clone()]).collect();
    ///     assert_eq!(words, ["the login"]);
    /// }
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn search(&self, query: &Query) -> Result<Vec<Hit>> {
        let expression = Expression::parse(&query.words)?;
        self.with_file("search", |file| {
            if file.is_new {
                update::update(&self.repo, file)?;
            }
            search::search(&self.repo, file, query, &expression)
        })
    }

    /// Brings the index of tool calls up to date, after an [`update`](Self::update). The first call adds this part to the
    /// index, which without it has only the words of turns.
    ///
    /// The calls and their results come from the recording of each task's present session, if the store keeps it. Longer
    /// inputs and results than 64 KiB are found by their beginnings, and the first 100,000 calls of a session. A recording
    /// that has grown is read anew as a whole, others are not read.
    ///
    /// # Errors
    /// The errors of [`update`](Self::update). A recording that can't be read is no error: see
    /// [`ToolCallUpdate::unreadable`].
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, RecordingName, Repo, SessionId, TaskId};
    /// # use turnkeep_search::{Index, Query};
    /// # let folder = tempfile::tempdir()?;
    /// # let repo = Repo::open(folder.path().join("store.db"))?;
    /// # let task = TaskId::new("t")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T"))?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Claude, SessionId::new("s1")?))?;
    /// let line = r#"{"message":{"content":[{"type":"tool_use","id":"1","name":"Bash","input":{"command":"ls"}}]}}"#;
    /// repo.save_recording(&task, &RecordingName::new("projects/-srv/s1.jsonl")?, 0, line.as_bytes())?;
    /// let index = Index::open(&repo, folder.path().join("store.db.search"))?;
    /// assert_eq!(index.update_tool_calls()?.added_calls, 1);
    /// assert_eq!(index.search_tool_calls(&Query::new("ls"))?.hits[0].tool, "Bash");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn update_tool_calls(&self) -> Result<ToolCallUpdate> {
        self.with_file("update_tool_calls", |file| {
            update::update(&self.repo, file)?;
            tool_calls::update(&self.repo, file)
        })
    }

    /// Returns whether [`update_tool_calls`](Self::update_tool_calls) has added the tool calls to this index.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    ///
    /// ```
    /// # use turnkeep_repo::Repo;
    /// # use turnkeep_search::Index;
    /// # let folder = tempfile::tempdir()?;
    /// # let repo = Repo::open(folder.path().join("store.db"))?;
    /// let index = Index::open(&repo, folder.path().join("store.db.search"))?;
    /// assert!(!index.has_tool_calls()?);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn has_tool_calls(&self) -> Result<bool> {
        self.with_file("has_tool_calls", |file| file.read(has_calls))
    }

    /// Returns the tool calls that match the query in name, input or result, in the order of [`search`](Self::search). A
    /// query with a role finds none, since a call has no speaker. One with a time finds no call whose time is unknown.
    ///
    /// Finds the calls of the last [`update_tool_calls`](Self::update_tool_calls). Their texts are read from the kept
    /// recordings, each once and as far as its last call among the hits, without a temporary file. Calls between hidden
    /// turns are found too.
    ///
    /// # Errors
    /// The errors of [`search`](Self::search). A recording that can't be read is no error: see
    /// [`ToolCallHits::unreadable`].
    ///
    /// ```
    /// # use turnkeep_repo::Repo;
    /// # use turnkeep_search::{Index, Query};
    /// # let folder = tempfile::tempdir()?;
    /// # let repo = Repo::open(folder.path().join("store.db"))?;
    /// # let index = Index::open(&repo, folder.path().join("store.db.search"))?;
    /// index.update_tool_calls()?;
    /// for hit in index.search_tool_calls(&Query::new("\"cargo test\" failed").limit(5))?.hits {
    ///     println!("{} {}: {}", hit.name, hit.tool, hit.passage.text);
    /// }
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn search_tool_calls(&self, query: &Query) -> Result<ToolCallHits> {
        let expression = Expression::parse(&query.words)?;
        self.with_file("search_tool_calls", |file| {
            if file.is_new || !file.read(has_calls)? {
                update::update(&self.repo, file)?;
                tool_calls::update(&self.repo, file)?;
            }
            search::search_tool_calls(&self.repo, file, query, &expression)
        })
    }

    /// Deletes the file of the index, for text that must be unreadable at once. The next call makes it anew.
    ///
    /// An [`update`](Self::update) after the task was deleted takes its words out too, but parts of them may stay in
    /// unused places of the file.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    ///
    /// ```
    /// # use turnkeep_repo::Repo;
    /// # use turnkeep_search::Index;
    /// # let folder = tempfile::tempdir()?;
    /// # let repo = Repo::open(folder.path().join("store.db"))?;
    /// let path = folder.path().join("store.db.search");
    /// Index::open(&repo, &path)?.delete()?;
    /// assert!(!path.exists());
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn delete(&self) -> Result<()> {
        self.place("delete").discard()
    }

    fn place(&self, operation: &'static str) -> Place {
        Place {
            path: self.path.clone(),
            operation,
        }
    }

    /// Runs `work` on the open file, a second time if the file was damaged or replaced.
    fn with_file<T>(
        &self,
        operation: &'static str,
        work: impl Fn(&mut IndexFile) -> Result<T>,
    ) -> Result<T> {
        let place = self.place(operation);
        let attempt = || work(&mut IndexFile::open(place.clone())?);
        match attempt() {
            Err(Error::Damaged { .. }) => place.discard()?,
            // SQLite does not write to a file that was deleted or replaced since it was opened.
            Err(Error::File { .. }) => {}
            result => return result,
        }
        attempt()
    }
}
