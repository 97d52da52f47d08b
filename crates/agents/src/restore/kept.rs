use std::io::Read;
use std::ops::Range;

use serde::de::IgnoredAny;
use turnkeep_repo::{RecordingFile, Repo, TaskId};

use super::error::RestoreError;
use crate::kept::present_files;
use crate::layout::codex::MAX_HEADER;

/// A kept file, which is read from the store in pieces.
pub(super) struct KeptFile<'a> {
    repo: &'a Repo,
    task: &'a TaskId,
    file: RecordingFile,
}

impl<'a> KeptFile<'a> {
    /// Returns the present state of each kept file, the last changed first.
    pub(super) fn all(repo: &'a Repo, task: &'a TaskId) -> Result<Vec<Self>, RestoreError> {
        let files = present_files(repo, task)?.into_iter();
        Ok(files.map(|file| Self { repo, task, file }).collect())
    }

    pub(super) fn name(&self) -> &str {
        self.file.name.as_str()
    }

    /// Returns the bytes of a part.
    pub(super) fn bytes(&self, part: Range<u64>) -> Result<Vec<u8>, RestoreError> {
        let mut bytes = Vec::new();
        let wanted = part.end.saturating_sub(part.start);
        while length(&bytes) < wanted {
            let piece = self.piece(part.start + length(&bytes))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend(piece);
        }
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    pub(super) fn reader(&self) -> impl Read {
        self.repo.recording_reader(self.task, self.file.number)
    }

    fn piece(&self, offset: u64) -> Result<Vec<u8>, RestoreError> {
        Ok(self
            .repo
            .read_recording(self.task, self.file.number, offset)?)
    }

    /// Reads the whole file, and fails with [`ErrorKind::Corrupt`](turnkeep_repo::ErrorKind::Corrupt) if a piece of
    /// it is damaged.
    pub(super) fn scan(&self) -> Result<Scan, RestoreError> {
        let mut scan = Scan::default();
        let mut first_line = None;
        loop {
            let piece = self.piece(scan.length)?;
            if piece.is_empty() {
                break;
            }
            let end_of = |position: usize| scan.length + length(&piece[..=position]);
            let is_newline = |byte: &u8| *byte == b'\n';
            first_line = first_line.or_else(|| piece.iter().position(is_newline).map(end_of));
            if let Some(last) = piece.iter().rposition(is_newline) {
                scan.whole_lines = end_of(last);
            }
            scan.length += length(&piece);
        }
        let open_line = scan.whole_lines..scan.length;
        scan.has_open_line = !open_line.is_empty();
        if scan.has_open_line && scan.length - scan.whole_lines <= MAX_LINE {
            let line = self.bytes(open_line)?;
            if serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
                scan.whole_lines = scan.length;
            }
        }
        let first_line = first_line.unwrap_or(scan.whole_lines);
        if first_line <= MAX_HEADER {
            scan.first_line = self.bytes(0..first_line)?;
        }
        Ok(scan)
    }
}

/// The longest last line that is looked into. A longer one counts as damaged.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// The facts about the lines of a kept file.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) length: u64,
    /// The first line.
    pub(super) first_line: Vec<u8>,
    /// The length of the lines that are whole.
    whole_lines: u64,
    /// Whether the last line has no newline. It is whole if it is JSON.
    has_open_line: bool,
}

/// The content of a file to put back.
pub(super) enum Content<'a> {
    /// The kept bytes up to `end`.
    Kept {
        file: KeptFile<'a>,
        end: u64,
        /// Whether a newline follows.
        newline: bool,
    },
    Written(Vec<u8>),
}

impl<'a> Content<'a> {
    /// The bytes as they were kept.
    pub(super) fn whole(file: KeptFile<'a>, length: u64) -> Self {
        Self::Kept {
            file,
            end: length,
            newline: false,
        }
    }

    /// The lines that are whole, with a newline at the end: an agent may go on in the middle of the last one.
    pub(super) fn whole_lines(file: KeptFile<'a>, scan: &Scan) -> Self {
        let end = scan.whole_lines;
        Self::Kept {
            file,
            end,
            newline: scan.has_open_line && end == scan.length,
        }
    }

    /// Returns the piece at an offset, empty at the end.
    pub(super) fn piece(&self, offset: u64) -> Result<Vec<u8>, RestoreError> {
        match self {
            Self::Kept { file, end, newline } => {
                let left = end.saturating_sub(offset);
                if left == 0 {
                    let is_last = *newline && offset == *end;
                    return Ok(vec![b'\n'; usize::from(is_last)]);
                }
                let mut piece = file.piece(offset)?;
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                Ok(piece)
            }
            Self::Written(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                Ok(bytes.get(offset..).unwrap_or_default().to_vec())
            }
        }
    }
}

pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
