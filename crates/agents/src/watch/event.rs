use turnkeep_repo::Error;

use crate::{ImportFailure, ImportWarning, ImportedSession};

/// What happens during a [`watch`](crate::watch()).
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchEvent {
    /// A session got turns, bytes of its files or a task.
    Session(ImportedSession),
    /// A file, or a part of one, is not imported for a reason that is no failure. A warning is reported once.
    Warning(ImportWarning),
    /// A file or a session could not be imported, and is tried again. An error is reported once.
    Failed(ImportFailure),
    /// All that was there before is imported.
    CaughtUp,
    /// The system gives no notifications of changes. The files are looked at every second.
    Polling(String),
    /// The store fails. The watch tries again until it succeeds.
    StoreLost(Error),
    /// The store works again, and has everything.
    StoreBack,
}
