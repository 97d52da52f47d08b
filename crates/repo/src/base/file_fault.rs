use std::path::PathBuf;

use turnkeep_model::visible_path;

/// Why the file of a store, or one that SQLite keeps beside it, is not safe to open. Shown as a
/// predicate of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// A file beside the store is a symbolic link, a pipe, a device or a folder. SQLite would wait for a
    /// pipe without an end.
    #[error("is no regular file, which SQLite would take it for")]
    NotRegular,
    /// A file beside the store belongs to neither the owner of the store nor the effective
    /// user of this process.
    #[error("belongs to user {owner}, who neither owns the store nor opens it")]
    OtherOwner {
        /// The number of that user.
        owner: u32,
    },
    /// The file has hard links. SQLite names the log after the file, so processes that open it by
    /// different names have a log each, and overwrite what the others have written.
    #[error("has {names} names (hard links), and a log of its own under each of them")]
    SeveralNames {
        /// How many names.
        names: u64,
    },
    /// The file itself is a mount point, not just its folder, so it has another name elsewhere: see
    /// [`SeveralNames`](Self::SeveralNames).
    #[error("is a mount point, and has a log of its own where it was mounted from")]
    MountPoint,
    /// The journal names a super-journal, which SQLite deletes when it takes the transaction back. No store
    /// makes such a journal, so that may be any file.
    #[error("names another file, which SQLite would delete")]
    SuperJournal,
    /// A file in the place of the journal does not begin as a journal does. SQLite would delete it.
    #[error("is no journal, and SQLite would delete it")]
    NoJournal,
    /// The log beside the file belongs to another database: a backup has none, and was copied over a
    /// store that had one. SQLite would read the log over the backup.
    #[error(
        "is in rollback mode, as a backup is, so the log beside it belongs to another database: {} and {}",
        visible_path(wal),
        visible_path(shm)
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
            Self::NotRegular => {
                "find out who put it there; when no program has the store open, delete it"
            }
            Self::OtherOwner { .. } => {
                "let that user close the store; if nobody has it open and you trust who wrote it, `chown` \
                 it to the owner of the store"
            }
            Self::SeveralNames { .. } => {
                "`find DIR -samefile FILE` lists its names, DIR being where the file system is mounted; end \
                 all programs that use it, and delete all names but the one with a log (`-wal`) beside it"
            }
            Self::MountPoint => {
                "mount the folder that the file is in, and open the file there; its log has to be beside it"
            }
            Self::SuperJournal => {
                "if another program has written to this store and others at once, let that program take it \
                 back; if not, someone planted it: delete the journal"
            }
            Self::NoJournal => "give it another name, or delete it",
            Self::OtherLog { .. } => {
                "if a backup was copied over the store, delete these two files, or restore the \
                 backup instead of copying it; if not, put the file back that they belong to"
            }
        }
    }
}
