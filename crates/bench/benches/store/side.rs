//! The sides of the comparison.

use serde::{Deserialize, Serialize};

/// A way to store the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    /// SQLite's C API.
    Raw,
    /// The same with the leanest schema: the limit.
    Lean,
    /// The same with the schema of commit e463321, before its constraints were made cheap.
    E463321,
    /// The store under test.
    Turnkeep,
    /// The same, called from tasks of tokio.
    Tokio,
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
    /// The sides with one blocking caller, in the order of the tables, raw first.
    pub(crate) const ALL: [Self; 8] = [
        Self::Raw,
        Self::Lean,
        Self::E463321,
        Self::Turnkeep,
        Self::Diesel,
        Self::Sqlx,
        Self::Rusqlite,
        Self::Jsonl,
    ];

    /// The sides that append in transactions, raw first.
    pub(crate) const APPENDS: [Self; 7] = [
        Self::Raw,
        Self::Lean,
        Self::E463321,
        Self::Turnkeep,
        Self::Diesel,
        Self::Sqlx,
        Self::Rusqlite,
    ];

    /// The sides with Turnkeep's tables and triggers, raw first.
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
            Self::Lean => "lean",
            Self::E463321 => "e463321",
            Self::Turnkeep => "turnkeep",
            Self::Tokio => "tokio",
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
