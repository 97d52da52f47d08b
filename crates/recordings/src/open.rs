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
    let file = without_waiting(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    if !metadata.is_file() {
        let path = path.to_owned();
        return Err(Error::NotAFile { path });
    }
    Ok(file)
}

#[cfg(unix)]
fn without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    File::options()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
}

#[cfg(not(unix))]
fn without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}
