//! The text, line by line.

use std::io::{self, BufRead, Read as _, Seek, SeekFrom};

use super::line::Line;
use crate::error::{Error, Result};

/// The operation in errors of an import.
pub(super) const OPERATION: &str = "import_jsonl";

/// More than any line of an export has: a text of 256 MiB has at most 6 bytes for each of its own.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// As much of a line's buffer is kept for the next one.
const KEPT_BYTES: usize = 1024 * 1024;

/// A place in the text, to come back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    offset: u64,
    /// The number of the line before.
    line: u64,
}

pub(super) struct Lines<R> {
    input: R,
    at: Mark,
    start: u64,
    line: Vec<u8>,
}

impl<R: BufRead + Seek> Lines<R> {
    pub(super) fn new(mut input: R) -> Result<Self> {
        let start = input.stream_position().map_err(failed)?;
        Ok(Self {
            input,
            at: Mark {
                offset: start,
                line: 0,
            },
            start,
            line: Vec::new(),
        })
    }

    /// Reads the next line.
    pub(super) fn next(&mut self) -> Result<&[u8]> {
        self.line.clear();
        self.line.shrink_to(KEPT_BYTES);
        let input = self.input.by_ref();
        let length = input.take(MAX_BYTES).read_until(b'\n', &mut self.line);
        let length = length.map_err(failed)? as u64;
        self.at.offset += length;
        self.at.line += 1;
        match self.line.pop() {
            Some(b'\n') => Ok(&self.line),
            _ if length == MAX_BYTES => Err(self.fault("is longer than 2 GiB")),
            _ => Err(self.fault("is cut off, the text has no end")),
        }
    }

    /// Reads the next line as a record.
    pub(super) fn record(&mut self) -> Result<Line<'static>> {
        Line::parse(self.next()?).map_err(|reason| self.fault(reason))
    }

    pub(super) fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.input.fill_buf().map_err(failed)?.is_empty())
    }

    /// Returns the place behind the line that was read last.
    pub(super) fn mark(&self) -> Mark {
        self.at
    }

    pub(super) fn go_to(&mut self, mark: Mark) -> Result<()> {
        // A seek empties the buffer of the input.
        if self.at.offset != mark.offset {
            let offset = SeekFrom::Start(mark.offset);
            self.input.seek(offset).map_err(failed)?;
        }
        self.at = mark;
        Ok(())
    }

    /// Returns how much was read.
    pub(super) fn bytes(&self) -> u64 {
        self.at.offset - self.start
    }

    /// Makes the error of the line that was read last.
    pub(super) fn fault(&self, reason: impl Into<String>) -> Error {
        self.at.fault(reason)
    }
}

impl Mark {
    /// Makes the error of the line before this place.
    pub(super) fn fault(self, reason: impl Into<String>) -> Error {
        Error::InvalidLine {
            line: self.line,
            reason: reason.into(),
        }
    }
}

fn failed(source: io::Error) -> Error {
    Error::Text {
        operation: OPERATION,
        source,
    }
}
