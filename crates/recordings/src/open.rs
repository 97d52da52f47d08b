//! Opens files of other programs. Their folders may hold anything, such as a pipe that never ends.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::Error;

/// Opens a regular file for reading. Follows links.
///
/// # Errors
/// [`Error::NotAFile`] for a pipe, a device, a socket or a folder. Opening one does not wait.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    regular(path, without_waiting(path, true))
}

/// Like [`open`], but fails for a link.
pub(crate) fn open_itself(path: &Path) -> Result<File, Error> {
    regular(path, without_waiting(path, false))
}

fn regular(path: &Path, opened: io::Result<File>) -> Result<File, Error> {
    let file = opened.map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    if !metadata.is_file() {
        let path = path.to_owned();
        return Err(Error::NotAFile { path });
    }
    Ok(file)
}

#[cfg(unix)]
fn without_waiting(path: &Path, follows: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, !follows);
    File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(not(unix))]
fn without_waiting(path: &Path, follows: bool) -> io::Result<File> {
    if !follows && std::fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::other("it is a link"));
    }
    File::open(path)
}
