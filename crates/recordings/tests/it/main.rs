//! Reads recordings in the formats of the agents. Tests each rule for turns at least once.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but not in the functions that tests share"
)]

mod claude;
mod codex;
mod examples;
mod find;
mod goose_database;
mod goose_export;
mod goose_jsonl;
mod hook;
mod imports;
mod kept;
mod support;
mod tail;
mod tool_calls;
