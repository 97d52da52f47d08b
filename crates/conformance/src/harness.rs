use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{Durability, Repo, RepoBuilder};

use crate::store::Store;

/// A place for one store, made for one rule and gone with everything in it when it is dropped.
///
/// All methods are required: what a store can't do it does not keep to either.
pub trait Harness: Sized + Sync {
    /// The handles it gives out.
    type Store: Store;

    /// Makes a place where nothing is yet, and that nobody else has.
    ///
    /// # Errors
    /// Whatever goes wrong; the rule fails with it.
    fn new() -> anyhow::Result<Self>;

    /// Opens the store, making it if it is missing. Each call gives a handle of its own, with
    /// connections of its own; where an earlier one was dropped this is a restart.
    ///
    /// # Errors
    /// Those of [`RepoBuilder::open`].
    fn open_with(&self, options: Options) -> turnkeep_repo::Result<Self::Store>;

    /// Returns the command that starts another process on this store. The command and its arguments
    /// are added to it; the process hands them to [`worker::run`](crate::worker::run).
    fn worker(&self) -> Command;

    /// Looks for damage below what the store itself shows: has the database check itself, say.
    /// Called after processes were killed, while no handle is open.
    ///
    /// # Errors
    /// Tells the damage.
    fn check(&self) -> anyhow::Result<()>;

    /// Opens the store with the default options.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    fn open(&self) -> turnkeep_repo::Result<Self::Store> {
        self.open_with(Options::new())
    }
}

/// What a rule wants of a store that is opened. Each has the meaning and the default of the method
/// of the same name of [`RepoBuilder`].
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
    /// How long one call may wait. `None`: as long as it does by default.
    pub timeout: Option<Duration>,
    /// What an acknowledged write survives. The rules kill processes and never machines, so that
    /// only the default promises more than they look at.
    pub durability: Durability,
    /// Whether a missing store is made.
    pub create_if_missing: bool,
    /// The clock that stamps writes. `None`: the system's.
    pub clock: Option<Clock>,
}

/// Where the time of a write comes from.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

impl Options {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timeout: None,
            durability: Durability::default(),
            create_if_missing: true,
            clock: None,
        }
    }

    /// Sets how long one call may wait.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets what an acknowledged write survives.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets whether a missing store is made.
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// Sets the clock that stamps writes.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Returns the settings of a [`Repo`] at `address` that mean the same.
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
            .finish_non_exhaustive()
    }
}
