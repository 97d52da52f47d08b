use std::fmt;
use std::path::Path;
use std::sync::Arc;

use turnkeep_model::{MAX_TEXT_BYTES, UtcMicros};

use crate::error::{Error, Result};
use crate::options::{Clock, RepoBuilder};
use crate::sqlite::Store;

/// A store of tasks, agent sessions and conversations.
///
/// Cheap to clone (clones share everything), `Send` and `Sync`. Every method blocks, for at
/// most the timeout plus the time its own work takes; call it through your runtime's
/// `spawn_blocking` from async code. A write that returned `Ok` is on the disk.
#[derive(Clone)]
pub struct Repo {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Clock,
}

impl Repo {
    /// Opens the store in the file at `path`, with the default settings.
    ///
    /// A missing file is created (mode 0600) with its folders (0700) and migrated; an older
    /// schema is migrated. Any number of processes may do this at the same time. The path means
    /// exactly that file, whatever characters it has; one that begins like a URL (`file:`,
    /// `postgres://`) or is `:memory:` is refused, `./` before it makes it a file name.
    ///
    /// # Errors
    /// Whatever is refused is left byte for byte as it was.
    /// - [`Error::InvalidInput`]: the path is empty, has a NUL, ends in a slash, or reads like a
    ///   URL.
    /// - [`Error::NotADatabase`], [`Error::ForeignDatabase`], [`Error::Corrupt`],
    ///   [`Error::SchemaTooNew`]: the file is something else, damaged, or too new.
    /// - [`Error::ReadOnly`], [`Error::Full`], [`Error::Io`]: the system said no.
    /// - [`Error::Unsupported`]: SQLite is older than 3.51.3, or the file system can't hold a
    ///   write-ahead log.
    /// - [`Error::Busy`]: others kept the file locked for the whole timeout.
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let repo = Repo::open(folder.path().join("store.db"))?;
    /// let task = TaskId::new("fix-login")?;
    /// repo.save_task(&NewTask::new(task.clone(), "Fix the login"))?;
    /// assert_eq!(repo.save_message(&task, Role::User, "Please fix it.")?, 1);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Returns the settings for a store at `path`, to be changed and then opened.
    pub fn builder(path: impl AsRef<Path>) -> RepoBuilder {
        RepoBuilder::new(Some(path.as_ref().to_owned()))
    }

    /// Opens an empty store in memory, gone with its last clone. It has one connection, so
    /// reads and writes wait for each other.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when SQLite is older than 3.51.3.
    ///
    /// ```
    /// use turnkeep_repo::Repo;
    ///
    /// assert!(Repo::open_in_memory()?.list_tasks()?.is_empty());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn open_in_memory() -> Result<Self> {
        RepoBuilder::new(None).open()
    }

    pub(crate) fn from_builder(builder: RepoBuilder) -> Result<Self> {
        Ok(Self {
            store: Arc::new(Store::open(&builder)?),
            clock: builder.clock,
        })
    }

    /// Returns the clock's time. To be asked inside the write, so that it is the write's time.
    pub(crate) fn now(&self, operation: &'static str) -> Result<UtcMicros> {
        UtcMicros::new((self.clock)()).map_err(|error| Error::invalid(operation, error))
    }
}

impl fmt::Debug for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Repo").field(&self.store).finish()
    }
}

/// Checks a text that has no rule but its length.
pub(crate) fn check_text(operation: &'static str, field: &'static str, text: &str) -> Result<()> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::InvalidInput {
            operation,
            field,
            reason: format!(
                "is {} bytes long, at most {MAX_TEXT_BYTES} are allowed",
                text.len()
            ),
        });
    }
    Ok(())
}
