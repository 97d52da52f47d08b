use std::path::PathBuf;

/// Why the file of a store, or one that SQLite keeps beside it, is not safe to open. Shown as a
/// predicate of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// The log beside the file belongs to another database: a backup has none, and was copied over a
    /// store that had one. SQLite would read the log over the backup.
    #[error(
        "is in rollback mode, as a backup is, so the log beside it belongs to another database: {} and {}",
        wal.display(), shm.display()
    )]
    OtherLog {
        /// The log.
        wal: PathBuf,
        /// The shared memory of the log, which may be missing.
        shm: PathBuf,
    },
}

impl FileFault {
    /// Returns what to do about it, in words.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::OtherLog { .. } => {
                "if a backup was copied over the store, delete these two files; if not, put the file back \
                 that they belong to"
            }
        }
    }
}
