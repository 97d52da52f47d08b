use turnkeep_repo::{Check, Repo, RepoBuilder, Result};

/// The result of a check of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The aspects that were checked, in that order. An aspect is left out if the store does not have
    /// it, or if an earlier finding keeps it from being checked.
    pub checks: Vec<Check>,
}

impl CheckReport {
    /// Returns whether nothing was found.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.findings.is_empty())
    }
}

/// Checks a store, and changes nothing.
///
/// All data are read as of one moment: every row as the type it stands for, every turn with its
/// checksum, histories and session revisions without gaps, retractions and revisions of turns that are
/// there, sessions as they are on record, nothing without its task. The schema is compared with the one
/// that the migrations make: tables, indexes, triggers, views and, on a server, constraints, rules,
/// policies and functions that are missing, changed or another program's. Where the tables are not the
/// store's, or pages lead to each other without an end, they are not read. Of a file the report also has
/// SQLite's own findings (`integrity_check`), its size, and which users may read it. A check takes as long as reading
/// everything does. Others may write meanwhile; the log can't be cut back until the check is done.
///
/// A file that [`Repo::open`] refuses can be checked with [`check_unopened`].
///
/// # Errors
/// A fault of the store is in the report. An error says that the store could not be checked:
/// [`ErrorKind`](turnkeep_repo::ErrorKind) `Busy`, `FileLost`, `Forked`, `NoConnection` or
/// `Unavailable`.
///
/// ```
/// use turnkeep_repo::Repo;
///
/// # let folder = tempfile::tempdir()?;
/// let repo = Repo::open(folder.path().join("store.db"))?;
/// let report = turnkeep_admin::check(&repo)?;
/// for check in &report.checks {
///     for finding in &check.findings {
///         println!("{}: {}; {}", check.name, finding.what, finding.advice);
///     }
/// }
/// assert!(report.is_ok());
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn check(repo: &Repo) -> Result<CheckReport> {
    let checks = repo.bulk("check", None).check()?;
    Ok(CheckReport { checks })
}

/// Checks the store at the path or address of `builder` without opening it for writing, and without
/// making or migrating anything. See [`check`]. Of the settings only the timeout and the owner count.
///
/// The reason why [`RepoBuilder::open`] would refuse the store is a finding, with as much as can be
/// said about it. Beside a file that a crash has left a log of, SQLite makes a `-shm`, which holds no
/// data.
///
/// # Errors
/// - [`ErrorKind::StoreNotFound`](turnkeep_repo::ErrorKind::StoreNotFound): there is nothing to check.
/// - `Busy`, `Forked`, `InvalidInput`, `Io`, `Unsupported`, and on a server all others of
///   [`RepoBuilder::open`]: the store could not be checked.
///
/// ```
/// use turnkeep_admin::check_unopened;
/// use turnkeep_repo::Repo;
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("store.db");
/// std::fs::write(&path, "no database, but long enough to be looked at as one")?;
/// let report = check_unopened(Repo::builder(&path))?;
/// assert!(!report.is_ok());
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn check_unopened(builder: RepoBuilder) -> Result<CheckReport> {
    let checks = builder.check_unopened()?;
    Ok(CheckReport { checks })
}
