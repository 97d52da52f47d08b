use std::collections::HashMap;
use std::fmt;
use std::fs::{self, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime};

use turnkeep_recordings::{Error as RecordingError, Found};
use turnkeep_repo::{BackendType, HostName, ImportedFile, Repo, Result, SessionId};

use super::ImportOptions;
use super::place::real;

/// The version of the rules by which files are read. Another version reads all files again.
const READER: i64 = 1;

/// A file that has changed so shortly before may change again without another time.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// The time of a file that may change without another time. No file has it.
pub(super) const MAY_CHANGE: i64 = -1;

/// The files that earlier imports on this machine have read. They need not be opened again before they change.
///
/// ```
/// # use turnkeep_agents::{AgentHomes, ImportOptions, KnownFiles, import};
/// # use turnkeep_repo::Repo;
/// # let folder = tempfile::tempdir()?;
/// # let homes = AgentHomes::new(folder.path(), folder.path(), folder.path());
/// # let repo = Repo::open_in_memory()?;
/// let options = ImportOptions::new("host-1", homes);
/// let known = KnownFiles::load(&repo, &options)?;
/// let found = known.find(&options.homes.claude, None)?;
/// import(&repo, &found, &options, &mut |_| {})?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Default)]
pub struct KnownFiles {
    files: HashMap<Vec<u8>, ImportedFile>,
    /// Whether only the words are wanted.
    words_only: bool,
}

impl KnownFiles {
    /// Reads what the store knows.
    ///
    /// # Errors
    /// The [errors of every call](Repo#errors-of-every-call).
    pub fn load(repo: &Repo, options: &ImportOptions) -> Result<Self> {
        // A machine without a name knows no file.
        let files = match HostName::new(&*options.host) {
            Ok(host) => repo.list_imported_files(&host)?,
            Err(_) => Vec::new(),
        };
        let files = files.into_iter().map(|file| (file.path.clone(), file));
        Ok(Self {
            files: files.collect(),
            words_only: options.words_only,
        })
    }

    /// Finds the recordings at `path` as [`turnkeep_recordings::find`] does. Those that have not changed since their
    /// import are in [`Found::unchanged`].
    ///
    /// # Errors
    /// Those of [`turnkeep_recordings::find`].
    pub fn find(
        &self,
        path: &Path,
        backend: Option<&BackendType>,
    ) -> Result<Found, RecordingError> {
        let is_unchanged = |path: &Path, metadata: &Metadata| {
            let is_known = |known: &ImportedFile| self.is_unchanged(known, path, metadata);
            self.files.get(bytes(path)).is_some_and(is_known)
        };
        let mut found = turnkeep_recordings::find_changed(path, backend, &is_unchanged)?;
        if let Some(backend) = backend {
            found.unchanged.retain(|path| {
                self.get(path)
                    .is_some_and(|known| known.backend_type == *backend)
            });
        }
        Ok(found)
    }

    /// Returns what is known of a file.
    pub(super) fn get(&self, path: &Path) -> Option<&ImportedFile> {
        self.files.get(bytes(&real(path)))
    }

    /// Returns how many bytes of a file an earlier import has kept, if the file can only have grown since.
    pub(super) fn kept_end(&self, file: &ImportedFile, session: &SessionId) -> Option<i64> {
        let known = self.grown(file)?;
        (known.session_id.as_ref() == Some(session)).then_some(known.kept)
    }

    /// Returns the session in a file and how many bytes of its words are settled, if the file can only have grown since
    /// an earlier import.
    pub(super) fn settled_end(&self, file: &ImportedFile) -> Option<(&SessionId, i64)> {
        let known = self.grown(file).filter(|known| known.reader == READER)?;
        Some((known.session_id.as_ref()?, known.settled))
    }

    /// Returns what is known of a file that is the same and not shorter.
    fn grown(&self, file: &ImportedFile) -> Option<&ImportedFile> {
        let known = self.files.get(&file.path)?;
        let is_same = !file.inode.is_empty()
            && file.inode == known.inode
            && file.backend_type == known.backend_type;
        (is_same && file.size >= known.size).then_some(known)
    }

    fn is_unchanged(&self, known: &ImportedFile, path: &Path, metadata: &Metadata) -> bool {
        let is_kept = self.words_only || known.kept == known.size;
        let is_equal = |stamp: Stamp| {
            (stamp.size, stamp.modified_ns) == (known.size, known.modified_ns)
                && stamp.inode == known.inode
        };
        known.reader == READER
            && is_kept
            && Stamp::of(path, metadata, &known.backend_type).is_some_and(is_equal)
    }
}

impl fmt::Debug for KnownFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownFiles")
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// Notes a file before it is read. `None` if it can't be known: the next import then reads it again, as it does with a
/// file that may change within the step of the clock.
pub(super) fn note(
    path: &Path,
    metadata: &Metadata,
    backend: &BackendType,
    options: &ImportOptions,
) -> Option<ImportedFile> {
    const LONGEST: usize = 2048;
    let path = real(path);
    let stamp = Stamp::of(&path, metadata, backend)?;
    let host = HostName::new(&*options.host).ok()?;
    if bytes(&path).len() > LONGEST {
        return None;
    }
    let mut file = ImportedFile::new(host, bytes(&path), backend.clone());
    file.size = stamp.size;
    file.modified_ns = match stamp.is_settled() {
        true => stamp.modified_ns,
        false => MAY_CHANGE,
    };
    file.inode = stamp.inode;
    file.reader = READER;
    Some(file)
}

/// Saves which files were read, in one transaction. Not those of a session whose task was deleted meanwhile: it is to
/// be imported again.
pub(super) fn save(repo: &Repo, files: &[ImportedFile]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    repo.transaction(|tx| {
        for file in files {
            if let Some(session) = &file.session_id {
                let backend = &file.backend_type;
                let is_known = !tx.list_tasks_by_session(backend, session)?.is_empty();
                if !is_known && !tx.is_session_removed(backend, session)? {
                    continue;
                }
            }
            tx.save_imported_file(file)?;
        }
        Ok(())
    })
}

/// The properties by which a changed file is noticed without reading it.
struct Stamp {
    size: i64,
    modified_ns: i64,
    inode: String,
}

impl Stamp {
    /// The database of Goose is stamped with its log.
    fn of(path: &Path, metadata: &Metadata, backend: &BackendType) -> Option<Self> {
        let mut size = metadata.len();
        let mut modified = metadata.modified().ok()?;
        if *backend == BackendType::Goose {
            let mut log = path.as_os_str().to_owned();
            log.push("-wal");
            if let Ok(log) = fs::metadata(log) {
                size = size.checked_add(log.len())?;
                modified = modified.max(log.modified().ok()?);
            }
        }
        let since_1970 = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Self {
            size: size.try_into().ok()?,
            modified_ns: since_1970.as_nanos().try_into().ok()?,
            inode: inode(metadata),
        })
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.is_ok_and(|now| self.modified_ns as u128 + CLOCK_STEP.as_nanos() < now.as_nanos())
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;

    format!("{}:{}", metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> String {
    String::new()
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
