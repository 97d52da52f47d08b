//! A store as text, one JSON object a line, and back. The format is described in `docs/jsonl.md`.

mod export;
mod import;
mod line;
mod lines;

pub use export::export_jsonl;
pub use import::import_jsonl;

/// The progress of an export or an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JsonlProgress {
    /// Tasks that were written: to the text by an export, to the store by an import.
    pub tasks: u64,
    /// Turns that were written with them.
    pub turns: u64,
    /// Tasks that an import found in the store already, the same in everything. 0 for an export.
    pub left_alone: u64,
    /// Bytes of text that were written, or read.
    pub bytes: u64,
}
