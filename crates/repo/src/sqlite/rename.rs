//! The name of a finished file, which must not replace another file.

use std::fs;
use std::io;
use std::path::Path;

use super::file::{StoreFile, is_there, sync_folder};
use super::identity::FileId;

/// Renames a file in one step. Fails with `AlreadyExists` when there is something of the new name.
///
/// Some file systems can't promise that (NFS, many of FUSE). There the file gets its new name as a
/// second one first, and loses the old one afterwards; a process that dies in between leaves both. See
/// [`remove_second_name`].
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_without_replacing(from, to) {
        Err(error) if is_unsupported(&error) => link_and_remove(from, to),
        result => result,
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_without_replacing(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// EINVAL of a file system that does not know the flag, ENOSYS of a kernel, ENOTSUP of macOS.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

fn link_and_remove(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    // A power loss must not keep the removal and lose the link.
    let removed = sync_folder(to.parent()).and_then(|()| remove_first_name(from));
    removed.inspect_err(|_| {
        // The file keeps its first name, if it still has it.
        if is_there(from) {
            let _ = fs::remove_file(to);
        }
    })
}

/// Removes the first of the two names. A process that opens the file meanwhile may do so before: see
/// [`remove_second_name`].
fn remove_first_name(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes the first name of a finished backup or a restored store, where the process that made it died
/// before it removed that name. A store has no second name, which would give it a second log.
pub(super) fn remove_second_name(file: &StoreFile) {
    let id = |path: &Path| fs::symlink_metadata(path).map(|metadata| FileId::from(&metadata));
    for other in [file.partial().path(), &file.restoring()] {
        if let Ok(second) = id(other)
            && id(file.path()).is_ok_and(|first| first == second)
        {
            // In a folder that may not be written to both names stay.
            let _ = fs::remove_file(other).and_then(|()| sync_folder(file.path().parent()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rename = fn(&Path, &Path) -> io::Result<()>;

    #[test]
    fn a_rename_replaces_nothing() {
        for rename in [rename_new as Rename, link_and_remove] {
            let folder = tempfile::tempdir().unwrap();
            let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
            fs::write(&from, "1").unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(
                (from.exists(), fs::read(&to).unwrap()),
                (false, b"1".into())
            );
            fs::write(&from, "2").unwrap();
            let error = rename(&from, &to).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&from).unwrap(), b"2");
            assert_eq!(fs::read(&to).unwrap(), b"1");
        }
    }

    /// A process that opens the file by its new name may remove the first one at any time, and use the
    /// file from then on.
    #[test]
    fn a_first_name_that_is_gone_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::write(&to, "1").unwrap();
        remove_first_name(&from).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"1");
    }

    #[test]
    fn only_another_name_of_the_same_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = StoreFile::new(&folder.path().join("db")).unwrap();
        fs::write(file.path(), "1").unwrap();
        fs::write(file.partial().path(), "another").unwrap();
        remove_second_name(&file);
        assert!(file.partial().path().exists());
        fs::remove_file(file.partial().path()).unwrap();
        fs::hard_link(file.path(), file.partial().path()).unwrap();
        remove_second_name(&file);
        assert!(!file.partial().path().exists() && file.path().exists());
    }
}
