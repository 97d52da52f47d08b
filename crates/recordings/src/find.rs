use std::fs;
use std::path::Path;

use turnkeep_model::BackendType;

use crate::detect::{Format, detect};
use crate::error::Error;
use crate::file_name::{has_suffix, is_agent_file};
use crate::goose::{self, Database};
use crate::source::Source;
use crate::walk::walk;

/// Returns the recordings at `path`, sorted by their paths.
///
/// A file is one source, if it is a session. A folder (a whole `~/.claude`, `~/.codex` or Goose
/// data folder, say) is searched with everything below it, through symlinks as well.
///
/// Who wrote a file is seen from its content. With a `backend`, a file is read as that agent's
/// without asking, and of a folder only that agent's files are taken.
///
/// In a folder these are passed over: files that are no recordings; what belongs to sub-agents
/// (Claude's `agent-*.jsonl` and everything below `subagents/`, Codex rollouts that name a
/// parent or a sub-agent as their source); a compressed rollout beside the plain one; a JSONL
/// file of Goose whose session is also in the database of the same folder. A compressed rollout
/// without a plain one is returned, and fails when it is read, lest it go unnoticed. So is what
/// can't be read: one file of another owner must not keep the others out.
///
/// # Errors
/// - [`Error::NotFound`] when nothing has the path.
/// - [`Error::UnknownFormat`] when it is a file that is no recording.
/// - [`Error::SubAgent`] when it is a file of a sub-agent.
/// - [`Error::UnsupportedBackend`] when the agent is another than the three.
/// - [`Error::Io`] when `path` itself can't be read.
/// - [`Error::OpenDatabase`], [`Error::Database`], [`Error::Busy`] when it is a database that
///   can't be read.
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
    if !metadata.is_file() {
        // A pipe, say, which could be read only once.
        let path = path.to_owned();
        return Err(Error::UnknownFormat { path });
    }
    Ok(vec![single(path, backend)?])
}

fn single(path: &Path, backend: Option<&BackendType>) -> Result<Source, Error> {
    let owned = || path.to_owned();
    if has_suffix(path, ".jsonl.zst") {
        return Ok(Source::new(owned(), Format::Compressed));
    }
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
