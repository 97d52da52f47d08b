use std::fs::{self, Metadata};
use std::path::Path;

use turnkeep_model::BackendType;

use crate::classify::Classifier;
use crate::copies::combine;
use crate::error::Error;
use crate::found::Found;
use crate::place::recording_of;
use crate::source::Source;
use crate::walk::{walk, walk_among};

/// Returns the recordings at `path`.
///
/// A file is one source. A folder, such as `~/.claude`, `~/.codex` or the data folder of Goose, is searched
/// recursively. Links are not followed; one that leads out of the folder is passed over.
///
/// The content of a file tells which agent wrote it, and its place and name tell the session. With a
/// `backend`, a file is read as one of that agent whatever its content, and a folder gives only the files of
/// that agent.
///
/// - **Claude Code**: `<session id>.jsonl`, of which a line must have the id. A home is a folder with
///   `projects/<folder>/<session id>.jsonl`; below it, only files in this place are sessions, and nothing below
///   its `plugins/` is. `history.jsonl` gives the prompts of sessions that have no transcript any more. A log
///   of `claude -p --output-format stream-json` may have any name that ends in `.jsonl`, `.json`, `.log`, `.ndjson`,
///   `.out` or `.txt`.
/// - **Codex**: a rollout of the thread in its name, also compressed with Zstandard. A home is a folder with
///   `sessions/` or `archived_sessions/`; below it, only `rollout-*` in these are sessions.
/// - **Goose**: `sessions.db`, and JSONL files of sessions that no database has. Its home has them in `sessions/`.
///
/// Files of sub-agents are no sessions: Claude's `agent-*.jsonl` and everything below
/// `<session id>/subagents/`, Codex rollouts that name a parent or a sub-agent as their source.
///
/// A file that the user names may have any name and place. A file that can't be opened is a source, and
/// reading it fails, so that the caller can report it and read the others.
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
/// let found = turnkeep_recordings::find("/home/ada/.claude".as_ref(), Some(&BackendType::Claude))?;
/// println!("{} sessions", found.sources.len());
/// # Ok::<(), turnkeep_recordings::Error>(())
/// ```
pub fn find(path: &Path, backend: Option<&BackendType>) -> Result<Found, Error> {
    find_changed(path, backend, &|_, _| false)
}

/// Returns the recordings at `path` as [`find`] does, without those that have not changed. They are not opened, and
/// their paths are in [`Found::unchanged`], whatever agent they are of.
///
/// `is_unchanged` gets the real path of each file. A recording has not changed if neither it nor a file in the folder
/// `<session id>/` or of a sub-agent beside it has, nor another file of its session. A file that the user names is always read: of one in
/// a folder an import may have believed less.
///
/// # Errors
/// Those of [`find`].
///
/// ```
/// use std::time::SystemTime;
///
/// # let folder = tempfile::tempdir()?;
/// # let (home, last) = (folder.path(), SystemTime::now());
/// let found = turnkeep_recordings::find_changed(home, None, &|_, metadata| {
///     metadata.modified().is_ok_and(|time| time < last)
/// })?;
/// assert!(found.sources.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find_changed(
    path: &Path,
    backend: Option<&BackendType>,
    is_unchanged: &dyn Fn(&Path, &Metadata) -> bool,
) -> Result<Found, Error> {
    if let Some(other @ BackendType::Other(_)) = backend {
        let backend = other.clone();
        return Err(Error::UnsupportedBackend { backend });
    }
    let metadata = fs::metadata(path).map_err(Error::io(path))?;
    let mut found = Found::default();
    if metadata.is_dir() {
        fs::read_dir(path).map_err(Error::io(path))?;
        found = walk(path, backend, is_unchanged)?;
    } else {
        let place = fs::canonicalize(path).map_err(Error::io(path))?;
        let source = Classifier::new(backend).named(path, &place)?;
        found.sources.push(source);
    }
    found.sources = combine(found.sources);
    if let Some(backend) = backend {
        let is_wanted = |source: &Source| source.backend().is_none_or(|of| of == backend);
        found.sources.retain(is_wanted);
    }
    Ok(found)
}

/// Returns the recordings to read again after files below `root` have changed: those that [`find`] returns for
/// `root`, without the others.
///
/// A file that belongs to a recording stands for it: the log of a database, and a file in the folder
/// `<session id>/` or of a sub-agent beside a transcript of Claude Code. Files that are gone, and those that are no recordings, are
/// passed over.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Io`] if `root` can't be read.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let root = folder.path();
/// let found = turnkeep_recordings::find_among(root, [&root.join("gone.jsonl")])?;
/// assert!(found.sources.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find_among<P: AsRef<Path>>(
    root: &Path,
    files: impl IntoIterator<Item = P>,
) -> Result<Found, Error> {
    let files = files.into_iter().map(|path| recording_of(path.as_ref()));
    let mut found = walk_among(root, &files.collect())?;
    found.sources = combine(found.sources);
    Ok(found)
}
