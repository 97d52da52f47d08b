//! What a database is to this program.

use std::path::Path;

use crate::error::Error;

/// What a database is to this program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is in it yet.
    Empty,
    /// A store, of an older version of this program.
    Older,
    /// A store that can be used as it is.
    Current,
    /// A store of a newer version, by the name of a migration that is not known here.
    Newer(String),
    /// Another program's.
    Foreign,
}

impl Verdict {
    /// Refuses what is no store of this program or of an older one. `path` is the file or address.
    pub(crate) fn refuse(&self, path: &Path) -> Result<(), Error> {
        let (operation, path) = ("open", path.into());
        match self {
            Self::Empty | Self::Older | Self::Current => Ok(()),
            Self::Foreign => Err(Error::ForeignDatabase { operation, path }),
            Self::Newer(version) => Err(Error::SchemaTooNew {
                operation,
                path,
                version: version.clone(),
            }),
        }
    }
}
