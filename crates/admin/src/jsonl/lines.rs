//! The text, line by line.

use std::io::{self, BufRead, Read as _, Seek, SeekFrom};

use super::fault::LineFault;
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
    number: u64,
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
        let at = Mark {
            offset: start,
            number: 0,
        };
        Ok(Self {
            input,
            at,
            start,
            line: Vec::new(),
        })
    }

    /// Returns the next line, or `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        self.line.shrink_to(KEPT_BYTES);
        let input = self.input.by_ref();
        let length = input.take(MAX_BYTES).read_until(b'\n', &mut self.line);
        let length = length.map_err(failed)? as u64;
        if length == 0 {
            return Ok(None);
        }
        self.at.offset += length;
        self.at.number += 1;
        match self.line.pop() {
            Some(b'\n') => Ok(Some(&self.line)),
            _ if length == MAX_BYTES => Err(self.fault(LineFault::TooLong)),
            _ => Err(self.fault(LineFault::Truncated)),
        }
    }

    /// Returns the place behind the line that was read last.
    pub(super) fn mark(&self) -> Mark {
        self.at
    }

    pub(super) fn go_to(&mut self, mark: Mark) -> Result<()> {
        self.input
            .seek(SeekFrom::Start(mark.offset))
            .map_err(failed)?;
        self.at = mark;
        Ok(())
    }

    /// Returns how much was read.
    pub(super) fn bytes(&self) -> u64 {
        self.at.offset - self.start
    }

    /// Makes the error of the line that was read last.
    pub(super) fn fault(&self, fault: LineFault) -> Error {
        self.at.fault(fault)
    }
}

impl Mark {
    /// Makes the error of the line before this place.
    pub(super) fn fault(self, fault: LineFault) -> Error {
        Error::InvalidLine {
            line: self.number,
            fault,
        }
    }

    /// Makes the error of a text that ends here.
    pub(super) fn truncated(self) -> Error {
        Error::InvalidLine {
            line: self.number + 1,
            fault: LineFault::Truncated,
        }
    }
}

fn failed(source: io::Error) -> Error {
    Error::Text {
        operation: OPERATION,
        source,
    }
}
