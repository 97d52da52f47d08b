//! The state of a database's schema: whether this program can use it.

use std::path::Path;

use crate::base::error::{Error, ErrorKind};
use crate::base::operation::Operation;
use crate::base::schema_parts::{Bearing, Difference, How, forbids};

/// The kind of a database, and how its schema differs from the schema that its migrations make.
#[derive(Debug)]
pub(crate) struct SchemaState {
    pub(crate) version: SchemaVersion,
    pub(crate) differences: Vec<Difference>,
}

impl SchemaState {
    /// Whether no index computes anything that the migrations do not.
    pub(crate) fn has_known_indexes(&self) -> bool {
        let mut differences = self.differences.iter();
        !differences.any(|it| {
            it.part.kind == "index" && it.how != How::Missing && it.bearing() > Bearing::Nothing
        })
    }

    /// Whether no difference forbids reads.
    pub(crate) fn is_readable(&self) -> bool {
        forbids(&self.differences, Bearing::Reads).is_none()
    }

    /// Refuses foreign and newer databases, unreadable stores, and older stores with unreliable writes,
    /// because the migration would write. `path` is the file or address. Returns the difference that forbids
    /// writes, in words.
    pub(crate) fn refuse(&self, path: &Path) -> Result<Option<String>, Error> {
        let no_writes = forbids(&self.differences, Bearing::Writes);
        let no_reads = forbids(&self.differences, Bearing::Reads);
        let altered = |what| ErrorKind::SchemaAltered { what };
        let refused = match &self.version {
            SchemaVersion::Empty | SchemaVersion::Current => no_reads.map(altered),
            SchemaVersion::Older => no_writes.clone().map(altered),
            SchemaVersion::Unknown => {
                let first = || self.differences.first().map(Difference::to_string);
                no_reads.or_else(first).map(altered)
            }
            SchemaVersion::Foreign => Some(ErrorKind::NotAStore {
                reason: "is another program's database",
            }),
            SchemaVersion::Newer(version) => Some(ErrorKind::SchemaTooNew {
                path: path.into(),
                version: version.clone(),
            }),
        };
        match refused {
            None => Ok(no_writes),
            Some(kind) => Err(kind.on(&Operation::on_file("open", path))),
        }
    }
}

/// Returns the error of an older schema that is not to be migrated.
pub(crate) fn refuse_older(path: &Path) -> Error {
    let reason =
        "its schema is older than this program; opening it for writing brings it up to date".into();
    ErrorKind::Unsupported { reason }.on(&Operation::on_file("open", path))
}

/// The version and owner of a database's schema.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SchemaVersion {
    /// No tables.
    Empty,
    /// A store, of an older version of this program.
    Older,
    /// A store that can be used as it is.
    Current,
    /// A store of a newer version, by the name of a migration that is not known here.
    Newer(String),
    /// A store of unknown version, because its list of migrations was altered.
    Unknown,
    /// Another program's.
    Foreign,
}

impl SchemaVersion {
    pub(crate) fn with(self, differences: Vec<Difference>) -> SchemaState {
        SchemaState {
            version: self,
            differences,
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
