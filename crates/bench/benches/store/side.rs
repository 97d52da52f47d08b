//! The sides of the comparison.

use serde::{Deserialize, Serialize};

/// A way to store the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    /// SQLite's C API: the limit.
    Raw,
    /// The store under test.
    Turnkeep,
    /// Plain Diesel and r2d2.
    Diesel,
    /// sqlx and its pool on tokio, as Rust agents use it.
    Sqlx,
    /// rusqlite and r2d2.
    Rusqlite,
    /// Lines of JSON in a file per task, as agents write them.
    Jsonl,
}

impl Side {
    /// All sides, in the order of the tables.
    pub(crate) const ALL: [Self; 6] = [
        Self::Raw,
        Self::Turnkeep,
        Self::Diesel,
        Self::Sqlx,
        Self::Rusqlite,
        Self::Jsonl,
    ];

    /// The sides with Turnkeep's tables, raw first.
    pub(crate) const TABLES: [Self; 5] = [
        Self::Raw,
        Self::Turnkeep,
        Self::Diesel,
        Self::Sqlx,
        Self::Rusqlite,
    ];

    /// Returns the name in tables and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Turnkeep => "turnkeep",
            Self::Diesel => "diesel",
            Self::Sqlx => "sqlx",
            Self::Rusqlite => "rusqlite",
            Self::Jsonl => "jsonl",
        }
    }

    /// Returns the side with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.name() == name)
    }
}
