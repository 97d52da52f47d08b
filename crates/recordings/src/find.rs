use std::fs;
use std::path::Path;

use turnkeep_model::BackendType;

use crate::detect::{Format, detect};
use crate::error::Error;
use crate::file_name::is_agent_file;
use crate::goose::{self, Database};
use crate::source::Source;
use crate::walk::walk;

/// Returns the recordings at `path`, sorted by their paths.
///
/// A file is one source. A folder, such as `~/.claude`, `~/.codex` or the data folder of Goose, is searched
/// recursively; symlinks are followed.
///
/// The content of a file tells which agent wrote it. With a `backend`, a file is read as one of that agent
/// whatever its content, and a folder gives only the files of that agent.
///
/// The search of a folder skips:
/// - files that are not recordings;
/// - sub-agents: Claude's `agent-*.jsonl` and everything below `subagents/`, Codex rollouts that name a
///   parent or a sub-agent as their source;
/// - a compressed rollout beside the plain one;
/// - a JSONL file of Goose, if the database of the same folder has the session.
///
/// A file that can't be opened is a source too. Reading such a source fails, so that the caller can report it and read the others.
///
/// # Errors
/// - [`Error::NotFound`] if `path` does not exist.
/// - [`Error::UnknownFormat`] if it is a file, but not a recording.
/// - [`Error::NotAFile`] if it is a pipe or a device.
/// - [`Error::SubAgent`] if it is the file of a sub-agent.
/// - [`Error::UnsupportedBackend`] if `backend` is [`BackendType::Other`].
/// - [`Error::Io`] if `path` itself can't be read.
/// - [`Error::OpenDatabase`], [`Error::Database`], [`Error::Busy`], [`Error::NoTables`],
///   [`Error::TooLarge`], [`Error::Temporary`] if it is a database that can't be read.
///
/// ```no_run
/// use turnkeep_model::BackendType;
///
/// let sources = turnkeep_recordings::find("/home/ada/.claude".as_ref(), Some(&BackendType::Claude))?;
/// println!("{} sessions", sources.len());
/// # Ok::<(), turnkeep_recordings::Error>(())
/// ```
pub fn find(path: &Path, backend: Option<&BackendType>) -> Result<Vec<Source>, Error> {
    if let Some(other @ BackendType::Other(_)) = backend {
        let backend = other.clone();
        return Err(Error::UnsupportedBackend { backend });
    }
    let metadata = fs::metadata(path).map_err(Error::io(path))?;
    if metadata.is_dir() {
        fs::read_dir(path).map_err(Error::io(path))?;
        return Ok(walk(path, backend));
    }
    Ok(vec![single(path, backend)?])
}

fn single(path: &Path, backend: Option<&BackendType>) -> Result<Source, Error> {
    let owned = || path.to_owned();
    if goose::is_sqlite(path)? {
        let is_wanted = backend.is_none_or(|backend| *backend == BackendType::Goose);
        return match Database::open(path)? {
            Some(_) if is_wanted => Ok(Source::new(owned(), Format::GooseDatabase)),
            _ => Err(Error::UnknownFormat { path: owned() }),
        };
    }
    let detected = detect(path)?;
    let requested = match backend {
        Some(BackendType::Claude) => Some(Format::Claude),
        Some(BackendType::Codex) => Some(Format::Codex),
        Some(BackendType::Goose) => Some(Format::GooseJsonl),
        _ => None,
    };
    let Some(format) = requested.or(detected) else {
        return Err(Error::UnknownFormat { path: owned() });
    };
    let below_subagents = path.iter().any(|name| name == "subagents");
    let is_sub_agent = match format {
        Format::Claude => is_agent_file(path) || below_subagents,
        Format::Codex | Format::CodexSubAgent => detected == Some(Format::CodexSubAgent),
        _ => false,
    };
    if is_sub_agent {
        return Err(Error::SubAgent { path: owned() });
    }
    Ok(Source::new(owned(), format))
}
