use serde::de::IgnoredAny;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{RecordingFile, Repo, TaskId};

use super::error::RestoreError;

/// A kept file, which is read from the store in pieces.
pub(super) struct KeptFile<'a> {
    repo: &'a Repo,
    task: &'a TaskId,
    file: RecordingFile,
}

impl<'a> KeptFile<'a> {
    /// Returns the current state of each kept file, in order of names.
    pub(super) fn all(repo: &'a Repo, task: &'a TaskId) -> Result<Vec<Self>, RestoreError> {
        let mut files = repo.get_recordings(task)?;
        // The last number of a name is its current state.
        files.sort_by(|a, b| (&a.name, b.number).cmp(&(&b.name, a.number)));
        files.dedup_by(|later, first| later.name == first.name);
        let files = files.into_iter();
        Ok(files.map(|file| Self { repo, task, file }).collect())
    }

    pub(super) fn name(&self) -> &str {
        self.file.name.as_str()
    }

    pub(super) fn updated_at(&self) -> DateTime<Utc> {
        self.file.updated_at
    }

    pub(super) fn bytes(&self, length: u64) -> Result<Vec<u8>, RestoreError> {
        let mut bytes = Vec::new();
        while self::length(&bytes) < length {
            bytes.extend(self.piece(self::length(&bytes))?);
        }
        Ok(bytes)
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
        let mut line = Vec::new();
        let mut offset = 0;
        loop {
            let piece = self.piece(offset)?;
            if piece.is_empty() {
                break;
            }
            offset += length(&piece);
            for part in piece.split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(part);
                if line.ends_with(b"\n") {
                    scan.line(&line);
                    line.clear();
                }
            }
        }
        scan.length = offset;
        if !line.is_empty() {
            scan.has_open_line = true;
            if serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
                scan.line(&line);
            }
        }
        Ok(scan)
    }
}

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

impl Scan {
    pub(super) fn has_lines(&self) -> bool {
        self.whole_lines > 0
    }

    fn line(&mut self, line: &[u8]) {
        if self.whole_lines == 0 {
            self.first_line = line.to_vec();
        }
        self.whole_lines += length(line);
    }
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
