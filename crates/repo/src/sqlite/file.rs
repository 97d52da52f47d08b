//! The file behind a store: which one a path means, and how it is made.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};

use diesel::{Connection as _, ConnectionResult};
use parking_lot::{Mutex, MutexGuard};

use super::error::from_io;
use super::{Conn, OPEN};
use crate::base::address::{is_of_database, is_url};
use crate::base::error::{Error, Result};

/// The file of a store: absolute, links resolved, so that everyone means the same file and the
/// write-ahead log is looked for where SQLite puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreFile(PathBuf);

impl StoreFile {
    /// Takes the path a user gave. Touches nothing.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        check(path)?;
        let absolute = std::path::absolute(path).map_err(|error| from_io(OPEN, path, error))?;
        check_length(&absolute)?;
        let resolved = match fs::symlink_metadata(&absolute) {
            // A link is followed to its end. One that leads nowhere is an error: SQLite would
            // make the file there, with permissions of its own choice.
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

    /// Returns the path in SQLite's URI form, the only one in which any byte can stand for
    /// itself. `parameters` say how to open it; a connection must never create the file, which
    /// only [`create_if_missing`](Self::create_if_missing) may.
    pub(crate) fn uri(&self, parameters: &str) -> String {
        let mut uri = String::from("file://");
        for byte in self.0.as_os_str().as_encoded_bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    uri.push(char::from(*byte));
                }
                other => uri.push_str(&format!("%{other:02X}")),
            }
        }
        uri.push('?');
        uri.push_str(parameters);
        uri
    }

    /// Opens a connection, which reads nothing yet.
    pub(crate) fn connect(&self, parameters: &str) -> ConnectionResult<Conn> {
        let _opening = opening();
        Conn::establish(&self.uri(parameters))
    }

    /// Returns the path of the write-ahead log.
    pub(crate) fn wal(&self) -> PathBuf {
        self.beside("-wal")
    }

    /// Returns the path of the shared memory of the log, which holds no data.
    pub(crate) fn shm(&self) -> PathBuf {
        self.beside("-shm")
    }

    /// Returns the path of the journal that rollback mode keeps during a transaction.
    pub(crate) fn journal(&self) -> PathBuf {
        self.beside("-journal")
    }

    /// Returns the path of a backup that is about to take the place of this file.
    pub(crate) fn restoring(&self) -> PathBuf {
        self.beside(RESTORING)
    }

    /// Returns the path of the folder that the files of this store are moved into meanwhile.
    pub(crate) fn replaced(&self) -> PathBuf {
        self.beside(REPLACED)
    }

    /// Returns all files of the store that there may be.
    pub(crate) fn all(&self) -> [PathBuf; 4] {
        [self.0.clone(), self.wal(), self.shm(), self.journal()]
    }

    /// Refuses a store whose files are being exchanged, or were when a restore was interrupted.
    pub(crate) fn refuse_unfinished_restore(&self, operation: &'static str) -> Result<()> {
        match is_there(&self.restoring()) {
            false => Ok(()),
            true => Err(Error::RestoreUnfinished {
                operation,
                path: self.0.clone(),
            }),
        }
    }

    /// Returns the file that a backup is written to before it gets the name of this one.
    pub(crate) fn partial(&self) -> Self {
        self.sibling(PARTIAL)
    }

    /// Returns another file of the same folder, whose name is longer.
    pub(crate) fn sibling(&self, suffix: &str) -> Self {
        Self(self.beside(suffix))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Returns how an existing file can be opened, or why not at all.
    pub(crate) fn access(&self) -> Result<Access> {
        let refused = match self.check_writable() {
            Err(error @ Error::ReadOnly { .. }) => error,
            result => return result.map(|()| Access::ReadWrite),
        };
        match (self.wal().exists(), self.shm().exists()) {
            (true, true) => Ok(Access::ReadOnly),
            // SQLite would have to make the shared memory, or would leave one behind that stays
            // read-only when the file is writable again.
            (true, false) if is_filled(&self.wal()) => Err(refused),
            _ => Ok(Access::Frozen),
        }
    }

    /// Refuses an existing file that this process may not write to, or whose folder it may not.
    #[cfg(unix)]
    pub(crate) fn check_writable(&self) -> Result<()> {
        use rustix::fs::{Access, AtFlags, CWD, accessat};

        // The folder need not be writable when everything that SQLite would make is there.
        let folder = self.0.parent().filter(|_| !self.shm().exists());
        for path in [Some(self.path()), folder].into_iter().flatten() {
            accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)
                .map_err(|error| from_io(OPEN, path, error.into()))?;
        }
        Ok(())
    }

    #[cfg(not(unix))]
    pub(crate) fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    /// Makes the file, empty and readable by its owner alone, and its folders, unless it exists.
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

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    /// With the log and the shared memory that are there.
    ReadOnly,
    /// Without a log, and without locks, which have to be written: nobody may write meanwhile.
    Frozen,
}

impl Access {
    /// What SQLite is told. Never `rwc`: it must not create a file, least of all one that was deleted.
    pub(crate) fn parameters(self) -> &'static str {
        match self {
            Self::ReadWrite => "mode=rw",
            Self::ReadOnly => "mode=ro",
            Self::Frozen => "mode=ro&immutable=1",
        }
    }
}

/// Keeps this process from opening a connection until the guard is dropped.
///
/// Closing any descriptor of a file drops all locks this process has on it
/// (<https://sqlite.org/howtocorrupt.html>, 2.2). So a file of a store is opened by other means than SQLite
/// only under this lock, and closed again before it is released.
pub(super) fn opening() -> MutexGuard<'static, ()> {
    static OPENING: Mutex<()> = Mutex::new(());
    OPENING.lock()
}

/// Refuses what is no file name, and what a user most likely did not mean as one.
fn check(path: &Path) -> Result<()> {
    let refuse = |reason: &str| {
        Err(Error::InvalidInput {
            operation: OPEN,
            field: "path",
            reason: reason.into(),
        })
    };
    // It may hold a password, which the file's name would tell.
    if is_of_database(path) {
        return Err(Error::InvalidInput {
            operation: OPEN,
            field: "address",
            reason: "it names PostgreSQL or a password, and does not have the form \
                     `postgres://user@host/database`; no file can have such a name"
                .into(),
        });
    }
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return refuse("must not be empty");
    }
    if bytes.contains(&0) {
        return refuse("must not contain a NUL character");
    }
    if bytes.ends_with(b"/") || !matches!(path.components().next_back(), Some(Component::Normal(_)))
    {
        return refuse("names a folder, not a file");
    }
    if bytes == b":memory:" {
        return refuse("`:memory:` is no file; use open_in_memory, or `./:memory:` for a file");
    }
    if is_url(path) {
        return refuse("reads like a URL; put `./` before it to mean a file of that name");
    }
    Ok(())
}

/// The ends of the names of files that SQLite and this library keep beside a store, and overwrite or delete.
/// The other names that a [`StoreFile`] makes end in one of these.
const RESERVED: [&str; 6] = ["-wal", "-shm", "-journal", PARTIAL, RESTORING, REPLACED];
const PARTIAL: &str = "-partial";
const RESTORING: &str = "-restoring";
const REPLACED: &str = "-replaced";

/// Refuses a file that belongs beside another store, going by its name.
fn refuse_reserved(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    match RESERVED.iter().find(|end| name.ends_with(end.as_bytes())) {
        None => Ok(()),
        Some(end) => Err(Error::InvalidInput {
            operation: OPEN,
            field: "path",
            reason: format!(
                "ends in `{end}`, as a file does that is kept beside a store, and may be deleted"
            ),
        }),
    }
}

/// Returns whether there is anything of this name, a link that leads nowhere included.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Returns whether there is a file that is not empty.
pub(super) fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

/// SQLite takes paths of up to 512 bytes, those of its log and journal included, and file systems
/// names of up to 255.
fn check_length(path: &Path) -> Result<()> {
    const LONGEST_SUFFIX: usize = "-journal".len();
    let too_long = |what: &str, length: usize, most: usize| {
        Err(Error::InvalidInput {
            operation: OPEN,
            field: "path",
            reason: format!("{what} is {length} bytes long, at most {most} are allowed"),
        })
    };
    let (whole, most) = (path.as_os_str().len(), 512 - LONGEST_SUFFIX);
    if whole > most {
        return too_long("made absolute it", whole, most);
    }
    let (name, most) = (path.file_name().map_or(0, OsStr::len), 255 - LONGEST_SUFFIX);
    if name > most {
        return too_long("the file name", name, most);
    }
    Ok(())
}

/// Makes the missing folders, private, and syncs their names to the disk: a synced file in a
/// folder that a power loss takes away would be lost all the same.
pub(super) fn create_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<_> = folder
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    // From the top down, each made whole before the next: a umask may take the owner's bits away.
    for made in missing.into_iter().rev() {
        match create_private(made) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(made.parent())?,
        }
    }
    Ok(())
}

/// Makes a file that only its owner can read.
pub(super) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // The umask may have taken the owner's bits away as well.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Opens a file to read it. Does not wait for a pipe and follows no link.
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

#[cfg(unix)]
pub(super) fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
pub(super) fn create_private(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)
}

pub(super) fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    match folder.map(File::open) {
        // A folder that may be entered but not read can't be synced.
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        #[cfg(unix)]
        Some(folder) => folder?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_like_a_url_is_refused() {
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
                matches!(error, Error::InvalidInput { field: "path", .. }),
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
                    error,
                    Error::InvalidInput {
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
    fn a_name_that_belongs_beside_another_store_is_refused() {
        for end in RESERVED {
            for path in [format!("store.db{end}"), end.into()] {
                let error = StoreFile::new(Path::new(&path)).unwrap_err();
                assert!(error.to_string().contains(&format!("ends in `{end}`")));
            }
            assert!(StoreFile::new(Path::new(&format!("store{end}.db"))).is_ok());
        }
    }

    #[test]
    fn any_byte_stands_for_itself_in_the_uri() {
        let file = StoreFile(PathBuf::from("/a b/?#%&=ü"));
        assert_eq!(
            file.uri("mode=rw"),
            "file:///a%20b/%3F%23%25%26%3D%C3%BC?mode=rw"
        );
    }
}
