use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{Durability, Repo, RepoBuilder};

use crate::store::Store;

/// A place for one store. Each rule makes its own; dropping it deletes the store.
pub trait Harness: Sized + Sync {
    /// The handle that [`open_with`](Self::open_with) returns.
    type Store: Store;

    /// Makes an empty place that no other rule uses.
    ///
    /// # Errors
    /// Any error fails the rule.
    fn new() -> anyhow::Result<Self>;

    /// Opens the store. Creates it if it is missing, unless `options` say otherwise. Each call
    /// returns a new handle with its own connections.
    ///
    /// # Errors
    /// See [`RepoBuilder::open`].
    fn open_with(&self, options: Options) -> turnkeep_repo::Result<Self::Store>;

    /// Returns the command that starts another process on this store. A rule appends arguments; the
    /// process passes them to [`worker::run`](crate::worker::run).
    fn worker(&self) -> Command;

    /// Checks the database below the store, for example with `PRAGMA integrity_check`. Called after
    /// processes were killed, while no handle is open.
    ///
    /// # Errors
    /// Describes the damage.
    fn check(&self) -> anyhow::Result<()>;

    /// Opens the store with the default options.
    ///
    /// # Errors
    /// See [`open_with`](Self::open_with).
    fn open(&self) -> turnkeep_repo::Result<Self::Store> {
        self.open_with(Options::new())
    }
}

/// How to open a store. Each field has the meaning and default of the method of the same name of
/// [`RepoBuilder`].
///
/// ```
/// use std::time::Duration;
/// use turnkeep_conformance::Options;
///
/// let options = Options::new().timeout(Duration::from_millis(150));
/// assert_eq!(options.timeout, Some(Duration::from_millis(150)));
/// assert!(options.create_if_missing);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// How long a call may wait. `None` is the default of the store.
    pub timeout: Option<Duration>,
    /// The durability of an acknowledged write. The rules kill processes only, which both values survive.
    pub durability: Durability,
    /// Whether to create a missing store.
    pub create_if_missing: bool,
    /// Whether every write is refused.
    pub read_only: bool,
    /// The clock that stamps writes. `None` is the clock of the system.
    pub clock: Option<Clock>,
}

/// Returns the time of a write.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

impl Options {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timeout: None,
            durability: Durability::default(),
            create_if_missing: true,
            read_only: false,
            clock: None,
        }
    }

    /// Sets how long a call may wait.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the durability of an acknowledged write.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets whether to create a missing store.
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// Opens an existing store for reads only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Sets the clock that stamps writes.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Returns a builder of a [`Repo`] at `address` with these options.
    ///
    /// ```
    /// use turnkeep_conformance::Options;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("store.db");
    /// let missing = Options::new().create_if_missing(false).builder(path).open();
    /// assert!(missing.is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder(self, address: impl AsRef<Path>) -> RepoBuilder {
        let mut builder = Repo::builder(address)
            .durability(self.durability)
            .create_if_missing(self.create_if_missing);
        if self.read_only {
            builder = builder.read_only();
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(clock) = self.clock {
            builder = builder.clock(move || clock());
        }
        builder
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timeout", &self.timeout)
            .field("durability", &self.durability)
            .field("create_if_missing", &self.create_if_missing)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
