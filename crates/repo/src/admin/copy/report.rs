use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// What it is doing.
    pub stage: CopyStage,
    /// Tasks it is done with in this stage.
    pub tasks: u64,
    /// Turns it is done with in this stage: copied now, or found there.
    pub turns: u64,
    /// The tasks of the source, as counted at the beginning.
    pub all_tasks: u64,
    /// The turns of the source, as counted at the beginning.
    pub all_turns: u64,
}

/// What a copy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyStage {
    /// It brings over what the destination lacks.
    Copying,
    /// It reads both stores and compares them.
    Verifying,
}

/// What a copy has done, and what both stores hold now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// The tables, in the order they are filled: `tasks`, `task_dependencies`, `sessions`,
    /// `session_revisions`, `conversation_history`.
    pub tables: Vec<CopiedTable>,
}

/// One table in the report of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// Rows of the destination that this copy inserted, changed or removed. (Only a dependency
    /// that a task has no longer is removed.)
    pub written: u64,
    /// What the source has.
    pub source: TableSum,
    /// What the destination has of the same tasks.
    pub destination: TableSum,
    /// Rows that the destination has besides, of tasks that the source does not have. They were
    /// left alone.
    pub left_alone: u64,
}

impl CopiedTable {
    /// Returns whether both stores hold the same of the tasks of the source.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.source == self.destination
    }
}

/// Number and checksum of rows.
///
/// The checksum is SHA-256 over the rows in order of their primary keys (texts by bytes), each its
/// columns in order: a byte 0 for NULL; a byte 1, the length in bytes and the UTF-8 of a text; a byte
/// 2 and a number, a time in microseconds since 1970. A list of files is a number, of how many there
/// are, and the texts. Lengths and numbers have 8 bytes, the highest first. Texts are what the
/// library returns, with U+0000 and U+0010 for their escapes in the database.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableSum {
    /// How many rows.
    pub rows: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

impl TableSum {
    /// Returns the checksum in 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Debug for TableSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, sha256 {}", self.rows, self.hex())
    }
}

/// A sum on its way.
#[derive(Default)]
pub(crate) struct Summing {
    rows: u64,
    hasher: Sha256,
}

/// The columns of a row, to be added to a sum.
pub(crate) enum Column<'a> {
    Text(&'a str),
    Number(i64),
    Null,
}

impl<'a> From<&'a str> for Column<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for Column<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl From<i64> for Column<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<DateTime<Utc>> for Column<'_> {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Number(time.timestamp_micros())
    }
}

impl From<Option<DateTime<Utc>>> for Column<'_> {
    fn from(time: Option<DateTime<Utc>>) -> Self {
        time.map_or(Self::Null, Self::from)
    }
}

impl Summing {
    pub(crate) fn add_row<'a>(&mut self, columns: impl IntoIterator<Item = Column<'a>>) {
        self.rows += 1;
        for column in columns {
            match column {
                Column::Null => self.hasher.update([0]),
                Column::Text(text) => {
                    self.hasher.update([1]);
                    self.hasher.update((text.len() as u64).to_be_bytes());
                    self.hasher.update(text);
                }
                Column::Number(number) => {
                    self.hasher.update([2]);
                    self.hasher.update(number.to_be_bytes());
                }
            }
        }
    }

    pub(crate) fn finish(self) -> TableSum {
        TableSum {
            rows: self.rows,
            sha256: self.hasher.finalize().into(),
        }
    }
}
