//! A file of everything that happened to the files of a folder, in order.
//!
//! Several processes can write one recording: each call is made and recorded under a lock.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};

use crate::interpose::{self, Call, Fate, Plan};

/// An event. Open files are identified by process and descriptor.
#[derive(Debug)]
pub(crate) enum Event {
    Open {
        file: (u32, i32),
        path: PathBuf,
        made: bool,
    },
    Close {
        file: (u32, i32),
    },
    Write {
        file: (u32, i32),
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        file: (u32, i32),
        length: usize,
    },
    Sync {
        file: (u32, i32),
    },
    Remove {
        path: PathBuf,
    },
    MakeFolder {
        path: PathBuf,
    },
    Rename {
        path: PathBuf,
        to: PathBuf,
    },
    Link {
        path: PathBuf,
        to: PathBuf,
    },
    /// A mark of the recorded program.
    Mark(String),
}

const OPEN: u8 = b'o';
const MADE: u8 = b'O';
const CLOSE: u8 = b'c';
const WRITE: u8 = b'w';
const TRUNCATE: u8 = b't';
const SYNC: u8 = b's';
const REMOVE: u8 = b'r';
const MAKE_FOLDER: u8 = b'm';
const RENAME: u8 = b'n';
const LINK: u8 = b'l';
const MARK: u8 = b'!';

/// Tag, process, descriptor, number, length of the data.
const HEAD: usize = 1 + 4 + 4 + 8 + 8;

/// Records the events.
struct Recorder {
    log: File,
    /// Whether the file system supports renaming without replacing.
    renames: bool,
}

static MARKS: OnceLock<File> = OnceLock::new();

/// Records all later calls of this process on `folder`. Without `renames`, the file system does not
/// support renaming without replacing.
pub(crate) fn start(folder: &Path, log: &Path, renames: bool) -> anyhow::Result<()> {
    // A lock belongs to the open file description, so each process opens its own.
    let open = || OpenOptions::new().append(true).create(true).open(log);
    let marks = open()?;
    ensure!(MARKS.set(marks).is_ok(), "recorded already");
    let recorder = Recorder {
        log: open()?,
        renames,
    };
    interpose::arm(folder, Box::new(recorder));
    Ok(())
}

/// Records a mark between two events.
pub(crate) fn mark(what: &str) -> anyhow::Result<()> {
    let log = MARKS.get().context("nothing is recorded")?;
    interpose::flock(log, libc::LOCK_EX);
    // Bypasses the plan, since an intercepted call may be waiting for this lock.
    interpose::write_unseen(log, &encode(MARK, 0, 0, what.as_bytes()));
    interpose::flock(log, libc::LOCK_UN);
    Ok(())
}

fn encode(tag: u8, fd: c_int, number: u64, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + data.len());
    bytes.push(tag);
    bytes.extend(std::process::id().to_le_bytes());
    bytes.extend(fd.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.extend(data);
    bytes
}

impl Plan for Recorder {
    fn before(&mut self, call: Call<'_>) -> Fate {
        match call {
            Call::Rename {
                replaces: false, ..
            } if !self.renames => Fate::Fails(libc::EINVAL),
            _ => Fate::Goes,
        }
    }

    fn after(&mut self, fd: c_int, call: Call<'_>) {
        let bytes = match call {
            Call::Open { path, made: false } => encode(OPEN, fd, 0, path),
            Call::Open { path, made: true } => encode(MADE, fd, 0, path),
            Call::Close => encode(CLOSE, fd, 0, &[]),
            Call::Write { offset, data } => encode(WRITE, fd, offset, data),
            Call::Truncate { length } => encode(TRUNCATE, fd, length, &[]),
            Call::Sync => encode(SYNC, fd, 0, &[]),
            Call::Remove { path } => encode(REMOVE, fd, 0, path),
            Call::MakeFolder { path } => encode(MAKE_FOLDER, fd, 0, path),
            Call::Rename { path, to, .. } => encode(RENAME, fd, 0, &[path, to].join(&0)),
            Call::Link { path, to } => encode(LINK, fd, 0, &[path, to].join(&0)),
        };
        interpose::write_unseen(&self.log, &bytes);
    }

    fn lock(&mut self) {
        interpose::flock(&self.log, libc::LOCK_EX);
    }

    fn unlock(&mut self) {
        interpose::flock(&self.log, libc::LOCK_UN);
    }
}

/// Reads a recording.
pub(crate) fn read(log: &Path) -> anyhow::Result<Vec<Event>> {
    let bytes = std::fs::read(log)?;
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        ensure!(rest.len() >= HEAD, "the recording is torn");
        let (head, tail) = rest.split_at(HEAD);
        let file = (
            u32::from_le_bytes(head[1..5].try_into()?),
            i32::from_le_bytes(head[5..9].try_into()?),
        );
        let number = u64::from_le_bytes(head[9..17].try_into()?) as usize;
        let length = u64::from_le_bytes(head[17..25].try_into()?) as usize;
        ensure!(tail.len() >= length, "the recording is torn");
        let (data, tail) = tail.split_at(length);
        events.push(event(head[0], file, number, data)?);
        rest = tail;
    }
    Ok(events)
}

fn event(tag: u8, file: (u32, i32), number: usize, data: &[u8]) -> anyhow::Result<Event> {
    let text = || String::from_utf8(data.to_vec());
    let paths = || -> anyhow::Result<(PathBuf, PathBuf)> {
        let text = text()?;
        let (path, to) = text.split_once('\0').context("two paths")?;
        Ok((path.into(), to.into()))
    };
    Ok(match tag {
        OPEN | MADE => Event::Open {
            file,
            path: text()?.into(),
            made: tag == MADE,
        },
        CLOSE => Event::Close { file },
        WRITE => Event::Write {
            file,
            offset: number,
            data: data.to_vec(),
        },
        TRUNCATE => Event::Truncate {
            file,
            length: number,
        },
        SYNC => Event::Sync { file },
        REMOVE => Event::Remove {
            path: text()?.into(),
        },
        MAKE_FOLDER => Event::MakeFolder {
            path: text()?.into(),
        },
        RENAME => {
            let (path, to) = paths()?;
            Event::Rename { path, to }
        }
        LINK => {
            let (path, to) = paths()?;
            Event::Link { path, to }
        }
        MARK => Event::Mark(text()?),
        other => bail!("unknown event `{}`", char::from(other)),
    })
}
