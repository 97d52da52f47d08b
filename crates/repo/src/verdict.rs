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

/// A later version of this program, which has one more migration.
#[cfg(test)]
pub(crate) mod later {
    use std::cell::Cell;

    thread_local! {
        static SQL: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Runs `work` as that version. `sql` is what the migration runs.
    pub(crate) fn version(sql: &'static str, work: impl FnOnce()) {
        SQL.set(Some(sql));
        work();
        SQL.set(None);
    }

    pub(crate) fn sql() -> Option<&'static str> {
        SQL.get()
    }
}
