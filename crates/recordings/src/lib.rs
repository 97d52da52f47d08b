#![doc = include_str!("../README.md")]

mod by_time;
mod classify;
mod claude;
mod codex;
mod content;
mod copies;
mod detect;
mod error;
mod file_name;
mod find;
mod found;
mod goose;
mod jsonl;
mod key;
mod lenient;
mod merge;
mod message;
mod name;
mod open;
mod place;
mod recording;
mod session;
mod source;
mod surrogates;
mod time;
mod walk;

pub use codex::{CodexThread, codex_thread};
pub use error::Error;
pub use find::find;
pub use found::Found;
pub use goose::has_goose_session;
pub use message::RecordedMessage;
pub use recording::Recording;
pub use source::Source;
