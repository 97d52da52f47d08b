//! Opens the database of another program without changing or adding a file beside it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tempfile::TempDir;

use crate::error::Error;
use crate::open::open as open_file;

/// The number of attempts to copy a database that changes meanwhile.
const ATTEMPTS: usize = 5;

/// The largest database that is copied, in bytes with its write-ahead log.
const MAX_COPY: u64 = 4 * 1024 * 1024 * 1024;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Whether a file begins with the header of a SQLite database.
pub(crate) fn is_sqlite(path: &Path) -> Result<bool, Error> {
    Ok(header(path)?.is_some())
}

/// A database that is open for reading.
pub(crate) struct Opened {
    pub(crate) connection: SqliteConnection,
    /// The size of the database with its write-ahead log, in bytes.
    pub(super) size: u64,
    /// The folder of the copy that the connection reads, if any. It must live as long as the connection.
    pub(super) copy: Option<TempDir>,
}

/// Opens a database for reading.
///
/// A reader of a database in WAL mode creates the shared-memory file `-shm` if it is missing, and the last
/// connection that closes runs a checkpoint. So a WAL database is read in place only while its `-shm`
/// exists: another program has the database open, or has crashed. Otherwise a copy is read.
pub(crate) fn open(path: &Path) -> Result<Opened, Error> {
    let log = beside(path, "-wal");
    let shared_memory = beside(path, "-shm");
    for _ in 0..ATTEMPTS {
        // SQLite opens these by itself.
        for file in [&log, &shared_memory, &beside(path, "-journal")] {
            check_side_file(file)?;
        }
        // The write version (byte 18) and read version (byte 19) of the format: 2 is WAL mode.
        let is_wal = header(path)?.is_some_and(|header| header[18] == 2 || header[19] == 2);
        let is_wal = is_wal || log.exists();
        let before = (stamp(path)?, stamp(&log)?);
        let size = |stamp: &Stamp| stamp.map_or(0, |(size, _)| size);
        let size = size(&before.0).saturating_add(size(&before.1));
        if !is_wal || shared_memory.exists() {
            return Ok(Opened {
                connection: connect(path, &url(path, "?mode=ro"))?,
                size,
                copy: None,
            });
        }
        if size > MAX_COPY {
            let path = path.to_owned();
            return Err(Error::TooLarge { path });
        }
        let folder = copy(path, &log)?;
        let after = (stamp(path)?, stamp(&log)?);
        if before == after && !shared_memory.exists() {
            let copied = folder.path().join(DATABASE);
            return Ok(Opened {
                connection: connect(path, &url(&copied, ""))?,
                size,
                copy: Some(folder),
            });
        }
    }
    let path = path.to_owned();
    Err(Error::Busy { path })
}

/// Fails for a pipe, a device or a link, which may lead anywhere.
fn check_side_file(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let path = path.to_owned();
            Err(Error::NotAFile { path })
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Returns the first bytes of a SQLite database, `None` for another file.
fn header(path: &Path) -> Result<Option<[u8; 20]>, Error> {
    let mut bytes = [0; 20];
    let mut file = open_file(path)?;
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(Error::io(path))?,
    }
    Ok(bytes.starts_with(MAGIC).then_some(bytes))
}

const DATABASE: &str = "sessions.db";

/// Copies a database and its write-ahead log into a temporary folder, private to this user.
fn copy(path: &Path, log: &Path) -> Result<TempDir, Error> {
    let temporary = |source| Error::Temporary {
        path: path.to_owned(),
        folder: std::env::temp_dir(),
        source,
    };
    let folder = tempfile::tempdir().map_err(temporary)?;
    let target = folder.path().join(DATABASE);
    for (from, to) in [(path, target.clone()), (log, beside(&target, "-wal"))] {
        let mut from = match open_file(from) {
            Ok(file) => file.take(MAX_COPY),
            Err(Error::NotFound { .. }) if from == log => continue,
            Err(error) => return Err(error),
        };
        let copied = File::create_new(to).and_then(|mut to| io::copy(&mut from, &mut to));
        copied.map_err(temporary)?;
    }
    Ok(folder)
}

/// Size and modification time of a file. `None` if it does not exist.
type Stamp = Option<(u64, Option<SystemTime>)>;

fn stamp(path: &Path) -> Result<Stamp, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some((metadata.len(), metadata.modified().ok()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn connect(path: &Path, url: &str) -> Result<SqliteConnection, Error> {
    let mut connection =
        SqliteConnection::establish(url).map_err(|source| Error::OpenDatabase {
            path: path.to_owned(),
            source,
        })?;
    connection
        .batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;
            PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0",
        )
        .map_err(Error::database(path))?;
    Ok(connection)
}

/// Returns a URI that SQLite opens (<https://sqlite.org/uri.html>). Encodes every byte that may be special,
/// so that any path works: with `?` and `%`, with spaces, and not in UTF-8.
fn url(path: &Path, query: &str) -> String {
    let path_bytes = path.as_os_str().as_encoded_bytes();
    // An empty host, so that SQLite takes no part of a path like `//tmp` for one.
    let scheme = if path.has_root() { "file://" } else { "file:" };
    format!("{scheme}{}{query}", percent_encode(path_bytes, IN_A_PATH))
}

/// All characters except the slash and the unreserved ones of RFC 3986.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Appends a suffix to the name of a file.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
