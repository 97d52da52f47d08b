//! Goose: one SQLite database for all sessions. Before version 1.10, one JSONL file per session.

mod database;
mod export;
mod jsonl;
mod message;
mod open;
mod sessions;

pub(crate) use database::Database;
pub use export::{Export, Exporter};
pub(crate) use jsonl::read_jsonl;
pub(crate) use open::{is_sqlite, open as open_database};
pub use sessions::has_goose_session;
pub(crate) use sessions::{Sessions, session_ids};
