//! Reads the recordings of coding agents (Claude Code, Codex, Goose) into Turnkeep values.
//!
//! [`find`] lists the files with sessions, a [`Source`] reads its [`Recording`]s one after the other, and
//! [`Recording::new_messages`] returns the messages that a store does not have yet. The crate writes
//! neither to a store nor to a file of an agent.
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
//! # Turns
//!
//! A turn is one message of the user or the assistant that has text for people. These are not turns: tool
//! calls and their results, reasoning, images, texts that the agent program adds to a user message
//! (environment, reminders, output of commands), and summaries made by compaction. A sub-agent has no
//! session of its own, except in Goose, which stores it as one.
//!
//! No agent promises a stable format. The readers skip unknown lines and fields, and count damaged lines in
//! [`Recording::unparsable_lines`].

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
