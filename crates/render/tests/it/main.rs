//! The forms of conversations, as a reader sees them, and with hostile texts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hostile;
mod page;
mod redact;
mod snapshots;
mod support;
