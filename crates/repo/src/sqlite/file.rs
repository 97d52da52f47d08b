//! The file of a store: the file that a path means, the names beside it, and how files are made.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, QueryResult};
use parking_lot::{Mutex, MutexGuard};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::Conn;
use super::error::{from_io, from_text};
use crate::base::address::{is_of_database, is_url};
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::{OPEN, Operation};

/// The absolute path of a store, with links resolved, so that every process finds the log at the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreFile(PathBuf);

impl StoreFile {
    /// Takes the path that a user gave. Changes nothing on the disk.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        check(path)?;
        let absolute = std::path::absolute(path).map_err(|error| from_io(OPEN, path, error))?;
        check_length(&absolute)?;
        let resolved = match fs::symlink_metadata(&absolute) {
            // A link that leads nowhere is an error: SQLite would make the file there, with the mode of
            // the umask.
            Ok(metadata) if metadata.is_symlink() => {
                fs::canonicalize(&absolute).map_err(|error| from_io(OPEN, path, error))?
            }
            _ => absolute,
        };
        refuse_reserved(&resolved)?;
        Ok(Self(resolved))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path as a URI, the form of path in which SQLite interprets no character. `parameters` say
    /// how to open the file.
    pub(crate) fn uri(&self, parameters: &str) -> String {
        const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'.')
            .remove(b'_')
            .remove(b'~')
            .remove(b'/');
        let path = percent_encode(self.0.as_os_str().as_encoded_bytes(), ESCAPED);
        format!("file://{path}?{parameters}")
    }

    /// Opens a connection, which reads nothing yet.
    pub(crate) fn connect(&self, parameters: &str) -> QueryResult<Conn> {
        let _opening = opening();
        connect(&self.uri(parameters))
    }

    /// Opens a connection outside of the pools, with a busy timeout.
    pub(super) fn connect_to_read(
        &self,
        parameters: &str,
        deadline: Deadline,
    ) -> QueryResult<Conn> {
        let mut conn = self.connect(parameters)?;
        let millis = deadline.remaining().as_millis();
        conn.batch_execute(&format!("PRAGMA busy_timeout = {millis}"))?;
        Ok(conn)
    }

    /// Opens a connection outside of the pools that can't write. Beside a file without a log any connection
    /// that is not `immutable` would leave one.
    pub(super) fn connect_read_only(&self, deadline: Deadline) -> QueryResult<Conn> {
        let access = match is_filled(&self.wal()) {
            true => Access::ReadOnly,
            false => Access::Frozen,
        };
        self.connect_to_read(access.parameters(), deadline)
    }

    /// Returns the path of the write-ahead log.
    pub(crate) fn wal(&self) -> PathBuf {
        self.beside("-wal")
    }

    /// Returns the path of the shared memory of the log, which holds no data.
    pub(crate) fn shm(&self) -> PathBuf {
        self.beside("-shm")
    }

    /// Returns the path of the journal of a transaction in rollback mode.
    pub(crate) fn journal(&self) -> PathBuf {
        self.beside("-journal")
    }

    /// Returns the file that a backup is in while it replaces this one.
    pub(crate) fn restoring(&self) -> Self {
        self.sibling(RESTORING)
    }

    /// Returns the path of the folder that takes the files of this store during a restore.
    pub(crate) fn replaced(&self) -> PathBuf {
        self.beside(REPLACED)
    }

    /// Returns the paths of all files that a store can have.
    pub(crate) fn all(&self) -> [PathBuf; 4] {
        [self.0.clone(), self.wal(), self.shm(), self.journal()]
    }

    /// Refuses a store during a restore, and after one that was interrupted.
    pub(crate) fn refuse_unfinished_restore(&self, operation: &'static str) -> Result<()> {
        match is_there(self.restoring().path()) {
            false => Ok(()),
            true => Err(ErrorKind::RestoreUnfinished.on(&Operation::on_file(operation, &self.0))),
        }
    }

    /// Returns the file that a backup is written to before it gets the name of this one.
    pub(crate) fn partial(&self) -> Self {
        self.sibling(PARTIAL)
    }

    /// Returns another file of the same folder, with a longer name.
    pub(crate) fn sibling(&self, suffix: &str) -> Self {
        Self(self.beside(suffix))
    }

    /// Returns the first of the siblings `…suffix`, `…suffix-2`, `…suffix-3` whose names are free.
    pub(crate) fn free_sibling(&self, suffix: &str) -> Self {
        let mut sibling = self.sibling(suffix);
        let mut number = 1_u64;
        while sibling.all().iter().any(|path| is_there(path)) {
            number += 1;
            sibling = self.sibling(&format!("{suffix}-{number}"));
        }
        sibling
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Returns how an existing file can be opened, or the reason why it can't.
    pub(crate) fn access(&self) -> Result<Access> {
        let refused = match self.check_writable() {
            Err(error) if *error.kind() == ErrorKind::ReadOnly => error,
            result => return result.map(|()| Access::ReadWrite),
        };
        match (self.wal().exists(), self.shm().exists()) {
            (true, true) => Ok(Access::ReadOnly),
            // SQLite would have to make the shared memory, as read-only as the file, and it would stay
            // read-only when the file is writable again.
            (true, false) if is_filled(&self.wal()) => Err(refused),
            _ => Ok(Access::Frozen),
        }
    }

    /// Refuses an existing file that this process may not write to, or whose folder it may not write to.
    pub(crate) fn check_writable(&self) -> Result<()> {
        #[cfg(unix)]
        {
            use rustix::fs::{Access, AtFlags, CWD, accessat};

            // With the side files there, SQLite makes nothing in the folder.
            let folder = self.0.parent().filter(|_| !self.shm().exists());
            for path in [Some(self.path()), folder].into_iter().flatten() {
                accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)
                    .map_err(|error| from_io(OPEN, path, error.into()))?;
            }
        }
        Ok(())
    }

    /// Makes a missing file, empty and private, and its missing folders.
    pub(crate) fn create_if_missing(&self) -> Result<()> {
        let failed = |error| from_io(OPEN, &self.0, error);
        if let Some(folder) = self.0.parent() {
            create_folders(folder).map_err(failed)?;
        }
        let _opening = opening();
        match create_private_file(&self.0) {
            Ok(file) => {
                file.sync_all().map_err(failed)?;
                sync_folder(self.0.parent()).map_err(failed)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Opens an empty database in memory.
pub(super) fn in_memory() -> QueryResult<Conn> {
    connect(":memory:")
}

fn connect(url: &str) -> QueryResult<Conn> {
    Conn::establish(url).map_err(|error| from_text(error.to_string()))
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    /// With the existing log and shared memory.
    ReadOnly,
    /// Without log and locks, which need write access. Correct while no process writes.
    Frozen,
}

impl Access {
    /// Returns the parameters of the URI. SQLite must never create a file (`rwc`), or it would replace a
    /// deleted store by an empty one.
    pub(crate) fn parameters(self) -> &'static str {
        match self {
            Self::ReadWrite => "mode=rw",
            Self::ReadOnly => "mode=ro",
            Self::Frozen => "mode=ro&immutable=1",
        }
    }
}

/// Stops this process from opening connections until the guard is dropped.
///
/// Closing any descriptor of a file drops all locks of the process on the file
/// (<https://sqlite.org/howtocorrupt.html>, 2.2). So this library opens a database by other means than SQLite
/// only under this lock, and closes it before the lock is released.
pub(super) fn opening() -> MutexGuard<'static, ()> {
    static OPENING: Mutex<()> = Mutex::new(());
    OPENING.lock()
}

fn invalid(field: &'static str, reason: impl Into<String>) -> Error {
    Error::invalid(OPEN, field, reason)
}

/// Refuses a path that names no file, or that the user most likely meant as something else.
fn check(path: &Path) -> Result<()> {
    // The error does not repeat the path, which may hold a password.
    if is_of_database(path) {
        return Err(invalid(
            "address",
            "it names PostgreSQL or a password, and does not have the form \
             `postgres://user@host/database`; no file can have such a name",
        ));
    }
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_name = matches!(path.components().next_back(), Some(Component::Normal(_)));
    let reason = if bytes.is_empty() {
        "must not be empty"
    } else if bytes.contains(&0) {
        "must not contain a NUL character"
    } else if bytes.ends_with(b"/") || !is_name {
        "names a folder, not a file"
    } else if bytes == b":memory:" {
        "`:memory:` is no file; use open_in_memory, or `./:memory:` for a file"
    } else if is_url(path) {
        "reads like a URL; put `./` before it to mean a file of that name"
    } else {
        return Ok(());
    };
    Err(invalid("path", reason))
}

/// The endings of the files that SQLite and this library keep beside a store, and overwrite or delete. The
/// other names that a [`StoreFile`] makes end in one of these.
const RESERVED: [&str; 6] = ["-wal", "-shm", "-journal", PARTIAL, RESTORING, REPLACED];
const PARTIAL: &str = "-partial";
const RESTORING: &str = "-restoring";
const REPLACED: &str = "-replaced";

/// Refuses the name of a file that is kept beside another store.
fn refuse_reserved(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    match RESERVED.iter().find(|end| name.ends_with(end.as_bytes())) {
        None => Ok(()),
        Some(end) => Err(invalid(
            "path",
            format!(
                "ends in `{end}`, as a file does that is kept beside a store, and may be deleted"
            ),
        )),
    }
}

/// SQLite takes paths of up to 512 bytes, also for its log and journal, and file systems names of up
/// to 255.
fn check_length(path: &Path) -> Result<()> {
    let (length, name) = (
        path.as_os_str().len(),
        path.file_name().map_or(0, OsStr::len),
    );
    let longest = "-journal".len();
    if length + longest <= 512 && name + longest <= 255 {
        return Ok(());
    }
    Err(invalid(
        "path",
        format!(
            "made absolute it is {length} bytes long, of which 504 are allowed, and its file name {name}, of \
             which 247 are"
        ),
    ))
}

/// Returns whether the name is taken, by a link that leads nowhere too.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Returns whether there is a file that is not empty.
pub(super) fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

/// Makes the missing folders, private, and syncs their names: a power loss that removes the folder would
/// remove a synced file in it.
pub(super) fn create_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<_> = folder
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    // From the top down, each with its final mode before the next: a umask may remove the owner's bits.
    for made in missing.into_iter().rev() {
        match create_private(made) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(made.parent())?,
        }
    }
    Ok(())
}

/// Makes a file of mode 0600.
pub(super) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // The umask may have removed the owner's bits.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Opens a file for reading. Does not wait for a pipe and follows no link.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    options.open(path)
}

/// Makes a folder of mode 0700.
pub(super) fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

pub(super) fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    match folder.map(File::open) {
        // Opening a folder that may be entered but not read fails, and so it can't be synced.
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        #[cfg(unix)]
        Some(folder) => folder?.sync_all(),
        _ => Ok(()),
    }
}

/// Renames a file in one step. Fails with `AlreadyExists` when the new name is taken.
///
/// Some file systems (NFS, many of FUSE) have no rename that replaces nothing. There a file is replaced if
/// another program makes it between the look and the rename.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;

        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result?),
        }
    }
    match is_there(to) {
        true => Err(io::ErrorKind::AlreadyExists.into()),
        false => fs::rename(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_reads_like_a_url_is_refused() {
        for path in [
            "",
            "/",
            ".",
            "..",
            "a/",
            "a/..",
            "a\0b",
            ":memory:",
            "file:a.db",
            "FILE:a.db",
            "sqlite:a.db",
            "mysql://user:secret@host/db",
            "user:secret@host/db",
        ] {
            let error = StoreFile::new(Path::new(path)).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::InvalidInput { field: "path", .. }),
                "{path:?}"
            );
            assert!(!error.to_string().contains("secret"));
        }
        for path in [
            "host=h password=secret",
            "postgres:/u:secret@h",
            "/srv/postgres:/u",
        ] {
            let error = StoreFile::new(Path::new(path)).unwrap_err();
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::InvalidInput {
                        field: "address",
                        ..
                    }
                ),
                "{path:?}"
            );
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
        for path in [
            "./file:a.db",
            "./:memory:",
            "a:b",
            "12://x",
            "what?mode=memory#x%41 y",
        ] {
            assert!(StoreFile::new(Path::new(path)).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn the_name_of_a_side_file_is_refused() {
        for end in RESERVED {
            for path in [format!("store.db{end}"), end.into()] {
                let error = StoreFile::new(Path::new(&path)).unwrap_err();
                assert!(error.to_string().contains(&format!("ends in `{end}`")));
            }
            assert!(StoreFile::new(Path::new(&format!("store{end}.db"))).is_ok());
        }
    }

    #[test]
    fn special_characters_are_escaped_in_the_uri() {
        let file = StoreFile(PathBuf::from("/a b/?#%&=ü"));
        assert_eq!(
            file.uri("mode=rw"),
            "file:///a%20b/%3F%23%25%26%3D%C3%BC?mode=rw"
        );
    }

    #[test]
    fn a_rename_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::write(&from, "1").unwrap();
        rename_new(&from, &to).unwrap();
        let moved = (from.exists(), fs::read(&to).unwrap());
        assert_eq!(moved, (false, b"1".into()));
        fs::write(&from, "2").unwrap();
        let error = rename_new(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&from).unwrap(), b"2");
        assert_eq!(fs::read(&to).unwrap(), b"1");
    }
}
