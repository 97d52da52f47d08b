use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::jsonl::line::write_line;

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// The stage.
    pub stage: CopyStage,
    /// Tasks that this stage is done with.
    pub tasks: u64,
    /// Turns that this stage is done with: copied now, or found there.
    pub turns: u64,
    /// The tasks of the source, as counted at the beginning.
    pub all_tasks: u64,
    /// The turns of the source, as counted at the beginning.
    pub all_turns: u64,
}

/// The stages of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyStage {
    /// Tasks are compared and written.
    Copying,
    /// Both stores are read and compared.
    Verifying,
}

/// The rows that a copy has written, and the contents of both stores.
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
    /// The rows of the source.
    pub source: TableSum,
    /// The rows of the same tasks at the destination.
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
/// The checksum is SHA-256 over the rows in order of their primary keys (texts by bytes), each as the
/// line that [`export_jsonl`](crate::export_jsonl) writes for it, with its line break. A dependency
/// is the line `["task","dependency"]`. The line of a task also has its dependencies and the numbers
/// of its revisions and turns.
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
        let digits = self.sha256.iter();
        digits.map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for TableSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, sha256 {}", self.rows, self.hex())
    }
}

/// The sum of the rows so far.
#[derive(Default)]
pub(super) struct Summing {
    rows: u64,
    hasher: Sha256,
    line: Vec<u8>,
}

impl Summing {
    pub(super) fn add(&mut self, row: &impl Serialize) {
        self.rows += 1;
        write_line(&mut self.line, row);
        self.hasher.update(&self.line);
    }

    pub(super) fn finish(self) -> TableSum {
        TableSum {
            rows: self.rows,
            sha256: self.hasher.finalize().into(),
        }
    }
}
