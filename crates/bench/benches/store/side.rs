//! Who is compared.

use serde::{Deserialize, Serialize};

/// One way to store what Turnkeep stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    /// SQLite's C API: the limit.
    Raw,
    /// What is measured.
    Turnkeep,
    /// Diesel and r2d2 as one would write it at first.
    Diesel,
    /// sqlx and its pool on tokio, as Rust agents use it.
    Sqlx,
    /// rusqlite and r2d2.
    Rusqlite,
    /// Lines of JSON in a file per task, as agents write them by themselves.
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

    /// Those that keep Turnkeep's tables, raw first.
    pub(crate) const TABLES: [Self; 5] = [
        Self::Raw,
        Self::Turnkeep,
        Self::Diesel,
        Self::Sqlx,
        Self::Rusqlite,
    ];

    /// Returns what it is called in tables and on the command line.
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

    /// Returns the side that is called this.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.name() == name)
    }
}
