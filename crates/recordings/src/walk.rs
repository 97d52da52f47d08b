use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use turnkeep_model::BackendType;
use walkdir::{DirEntry, WalkDir};

use crate::copies::drop_second_copies;
use crate::detect::{Format, detect};
use crate::error::Error;
use crate::file_name::{has_suffix, is_agent_file};
use crate::goose::Database;
use crate::source::Source;

/// The file name of a Goose database.
const DATABASE: &str = "sessions.db";

/// Finds the recordings below a folder, sorted by their paths.
pub(crate) fn walk(root: &Path, backend: Option<&BackendType>) -> Vec<Source> {
    let mut sources = Vec::new();
    let is_wanted = |entry: &DirEntry| entry.depth() == 0 || !belongs_to_a_session(entry);
    let entries = WalkDir::new(root).follow_links(true).into_iter();
    for entry in entries.filter_entry(is_wanted) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                sources.extend(unreadable(root, &error));
                continue;
            }
        };
        if !entry.file_type().is_file() {
            continue;
        }
        // Opening a database may copy it.
        let is_database = entry.file_name() == DATABASE;
        if is_database && backend.is_some_and(|backend| *backend != BackendType::Goose) {
            continue;
        }
        match recognise(entry.path()) {
            Ok(Some(format)) => sources.push(Source::new(entry.into_path(), format)),
            // Not a recording, or deleted during the walk.
            Ok(None) | Err(Error::NotFound { .. }) => {}
            Err(_) => sources.push(Source::new(entry.into_path(), Format::Unreadable)),
        }
    }
    sources.sort_by(|a, b| a.path().cmp(b.path()));
    // A file that several links reach counts once.
    let mut seen = HashSet::new();
    sources.retain(|source| {
        let path = source.path();
        seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    });
    drop_second_copies(&mut sources);
    if let Some(backend) = backend {
        sources.retain(|source| source.backend().is_none_or(|of| of == backend));
    }
    sources
}

/// Returns a source for a path that the walk could not enter. Reading it reports the error. `None` for a
/// path that does not exist (a dangling link, a deleted file) and for a link to a folder above.
fn unreadable(root: &Path, error: &walkdir::Error) -> Option<Source> {
    let is_gone = error
        .io_error()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_gone || error.loop_ancestor().is_some() {
        return None;
    }
    let path = error.path().unwrap_or(root).to_owned();
    Some(Source::new(path, Format::Unreadable))
}

/// Whether a folder holds parts of a Claude Code session.
fn belongs_to_a_session(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    entry.file_type().is_dir() && (name == "subagents" || name == "tool-results")
}

/// Returns the format of a file in a folder, `None` if it is not a recording.
fn recognise(path: &Path) -> Result<Option<Format>, Error> {
    let name = path.file_name().unwrap_or_default();
    if name == DATABASE {
        return recognise_database(path);
    }
    if !has_suffix(path, ".jsonl") && !has_suffix(path, ".jsonl.zst") {
        return Ok(None);
    }
    // An index of Claude Code or Codex. A Goose session may have such a name too.
    let is_index = ["history.jsonl", "journal.jsonl", "session_index.jsonl"]
        .contains(&name.to_str().unwrap_or_default());
    Ok(match detect(path)? {
        Some(Format::CodexSubAgent) => None,
        Some(Format::Claude | Format::Codex) if is_index => None,
        Some(Format::Claude) if is_agent_file(path) => None,
        detected => detected,
    })
}

/// A database that can't be read is a source as well. Reading it reports the error.
fn recognise_database(path: &Path) -> Result<Option<Format>, Error> {
    match Database::open(path) {
        Ok(None) => Ok(None),
        Err(error @ (Error::Io { .. } | Error::NotFound { .. })) => Err(error),
        Ok(Some(_)) | Err(_) => Ok(Some(Format::GooseDatabase)),
    }
}
