//! Reads the recordings of coding agents (Claude Code, Codex, Goose) into Turnkeep values.
//!
//! [`find`] lists what can be read, a [`Source`] gives its [`Recording`]s one after the other,
//! and [`Recording::new_messages`] says what a store lacks of one. Nothing here writes: not to a
//! store, and never to a file of an agent.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! let session = folder.path().join("20261005_1.jsonl");
//! std::fs::write(
//!     &session,
//!     r#"{"role":"user","created":1791190800,"content":[{"type":"text","text":"Hello"}]}"#,
//! )?;
//!
//! for source in turnkeep_recordings::find(folder.path(), None)? {
//!     for recording in source.sessions()? {
//!         let recording = recording?;
//!         assert_eq!(recording.task_id()?.as_str(), "goose:20261005_1");
//!         assert_eq!(recording.new_messages(&[]).len(), 1);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is a turn
//!
//! One message of the user or the assistant with text for people. Tool calls and their results,
//! reasoning, images, what an agent program puts into the user's mouth (environment, reminders,
//! output of commands) and summaries made by compaction are none. Sub-agents are no sessions of
//! their own, except in Goose, which keeps them as such.
//!
//! No agent promises a stable format, so everything unknown is skipped, and what can't be read
//! is counted in [`Recording::unparsable_lines`].

mod claude;
mod codex;
mod content;
mod copies;
mod detect;
mod error;
mod file_name;
mod find;
mod goose;
mod jsonl;
mod key;
mod lenient;
mod merge;
mod message;
mod recording;
mod session;
mod source;
mod time;
mod walk;

pub use error::Error;
pub use find::find;
pub use message::RecordedMessage;
pub use recording::Recording;
pub use source::Source;
