//! Whether a path still leads to the file that was opened.

use std::fs::{self, Metadata};
use std::io;
use std::time::SystemTime;

use super::file::StoreFile;
use crate::failure::LostFile;

/// Which file a path led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    /// Device and inode.
    #[cfg(unix)]
    numbers: (u64, u64),
    /// Numbers are given out again once a file is gone and closed, hence this. `None` where the file
    /// system does not keep it.
    made: Option<SystemTime>,
}

impl FileId {
    /// Asks the path, which opens nothing: closing a descriptor would drop the locks of this process.
    pub(crate) fn of(file: &StoreFile) -> io::Result<Self> {
        fs::metadata(file.path()).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            #[cfg(unix)]
            numbers: (metadata.dev(), metadata.ino()),
            made: metadata.created().ok(),
        }
    }
}

/// A file, and which one its path led to when it was opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenedFile {
    pub(crate) file: StoreFile,
    pub(crate) id: FileId,
}

impl OpenedFile {
    /// Fails when the path leads elsewhere now. What is written to the opened file would not be
    /// found there again.
    pub(crate) fn check(&self) -> Result<(), LostFile> {
        let reason = match FileId::of(&self.file) {
            Ok(id) if id == self.id => return Ok(()),
            Ok(_) => "another file is in its place".to_owned(),
            Err(error) if is_gone(&error) => "it was deleted or moved".to_owned(),
            Err(error) => format!("it can't be found: {error}"),
        };
        Err(LostFile {
            path: self.file.path().into(),
            reason,
        })
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
