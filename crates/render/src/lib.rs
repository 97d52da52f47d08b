#![doc = include_str!("../README.md")]

mod code;
mod columns;
mod commonmark;
mod conversation;
pub mod html;
mod links;
pub mod markdown;
mod redact;
mod terminal;
mod text;

pub use chrono;
pub use columns::{cut, cut_left};
pub use conversation::{Header, ToolCall, Turn};
pub use html::IndexEntry;
pub use redact::{Redactions, Redactor};
pub use terminal::Terminal;
