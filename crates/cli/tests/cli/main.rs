//! Runs the program and checks its output.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod append;
mod backup;
mod check;
mod color;
mod completion;
mod copy;
mod exit_codes;
mod export_html;
mod follow;
mod history;
mod hook;
mod import;
mod json_errors;
mod jsonl;
mod list;
mod metadata;
mod password;
mod prune;
#[cfg(unix)]
mod readme;
mod recording;
mod removed;
#[cfg(unix)]
mod restore;
mod resume;
mod rm;
mod search;
#[cfg(feature = "postgres")]
mod server;
mod session;
mod short_id;
mod show;
mod support;
mod task;
mod terminal;
mod usage;
mod watch;
