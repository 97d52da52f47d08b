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

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Whether a file begins with the header of a SQLite database.
pub(crate) fn is_sqlite(path: &Path) -> Result<bool, Error> {
    Ok(header(path)?.is_some())
}

/// Opens a database for reading. The folder, if any, holds the copy that the connection reads, and must
/// live as long as the connection.
///
/// A reader of a database in WAL mode creates the shared-memory file `-shm` if it is missing, and the last
/// connection that closes runs a checkpoint. So a WAL database is read in place only while its `-shm`
/// exists: another program has the database open, or has crashed. Otherwise a copy is read.
pub(super) fn open(path: &Path) -> Result<(SqliteConnection, Option<TempDir>), Error> {
    let log = beside(path, "-wal");
    let shared_memory = beside(path, "-shm");
    for _ in 0..ATTEMPTS {
        // The write version (byte 18) and read version (byte 19) of the format: 2 is WAL mode.
        let is_wal = header(path)?.is_some_and(|header| header[18] == 2 || header[19] == 2);
        let is_wal = is_wal || log.exists();
        if !is_wal || shared_memory.exists() {
            return Ok((connect(path, &url(path, "?mode=ro"))?, None));
        }
        let before = (stamp(path)?, stamp(&log)?);
        let folder = copy(path, &log)?;
        let after = (stamp(path)?, stamp(&log)?);
        if before == after && !shared_memory.exists() {
            let copied = folder.path().join(DATABASE);
            return Ok((connect(path, &url(&copied, ""))?, Some(folder)));
        }
    }
    let path = path.to_owned();
    Err(Error::Busy { path })
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
    let folder = tempfile::tempdir().map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    let target = folder.path().join(DATABASE);
    copy_file(path, &target).map_err(Error::io(path))?;
    match copy_file(log, &beside(&target, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(log)(error)),
        _ => Ok(folder),
    }
}

/// Copies a file without its permissions, unlike `fs::copy`: SQLite must be able to write to the copy.
fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let mut from = File::open(from)?;
    io::copy(&mut from, &mut File::create_new(to)?)
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
        .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON")
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
