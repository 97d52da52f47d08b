//! Writes below the home of an agent. A file appears complete under its name: a killed restore leaves at most a file
//! `.turnkeep-…-partial` beside it, which no agent reads.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::RestoreError;
use super::kept::{Content, length};

/// A file on the disk compared with a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Missing,
    Equal,
    /// The file is the beginning of the content.
    Shorter,
    /// The content is the beginning of the file.
    Longer,
    Different,
}

/// Whether there is a regular file at a path below the home. Follows no link.
pub(super) fn exists(home: &Path, inside: &Path) -> Result<bool, RestoreError> {
    let Some(folder) = walk(home, inside, |_| Ok(false))? else {
        return Ok(false);
    };
    Ok(open(&folder.join(file_name(inside)))?.is_some())
}

/// Compares the file at a path below the home with a content. Follows no link.
pub(super) fn state(
    home: &Path,
    inside: &Path,
    content: &Content<'_>,
) -> Result<(State, Option<Stamp>), RestoreError> {
    let Some(folder) = walk(home, inside, |_| Ok(false))? else {
        return Ok((State::Missing, None));
    };
    let path = folder.join(file_name(inside));
    let stamp = stamp(&path);
    Ok((compare(&path, content)?, stamp))
}

/// Size and time of a file, to notice that another program writes it.
pub(super) type Stamp = (u64, SystemTime);

/// Compares a file with a content.
pub(super) fn compare(path: &Path, content: &Content<'_>) -> Result<State, RestoreError> {
    let Some(mut file) = open(path)? else {
        return Ok(State::Missing);
    };
    let mut offset = 0;
    let mut buffer = Vec::new();
    loop {
        let piece = content.piece(offset)?;
        buffer.clear();
        // One byte more tells whether the file goes on.
        let wanted = length(&piece).max(1);
        let read = Read::by_ref(&mut file)
            .take(wanted)
            .read_to_end(&mut buffer);
        read.map_err(RestoreError::read(path))?;
        if piece.is_empty() {
            return Ok(match buffer.is_empty() {
                true => State::Equal,
                false => State::Longer,
            });
        }
        if !piece.starts_with(&buffer) {
            return Ok(State::Different);
        }
        if buffer.len() < piece.len() {
            return Ok(State::Shorter);
        }
        offset += length(&piece);
    }
}

/// Opens a regular file. `None` if it does not exist.
pub(super) fn open(path: &Path) -> Result<Option<File>, RestoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let path = path.to_owned();
            Err(RestoreError::NotAFile { path })
        }
        Ok(_) => File::open(path).map(Some).map_err(RestoreError::read(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RestoreError::read(path)(error)),
    }
}

/// Writes a content to a path below the home, readable only by the user. Replaces only the file that `before` is of.
pub(super) fn write(
    home: &Path,
    inside: &Path,
    content: &Content<'_>,
    before: Option<Stamp>,
) -> Result<(), RestoreError> {
    let folder = create_folder(home, inside)?;
    let path = folder.join(file_name(inside));
    let error = RestoreError::write;
    let mut partial = tempfile::Builder::new()
        .prefix(".turnkeep-")
        .suffix("-partial")
        .tempfile_in(&folder)
        .map_err(error(&path))?;
    let mut offset = 0;
    loop {
        let piece = content.piece(offset)?;
        if piece.is_empty() {
            break;
        }
        partial.write_all(&piece).map_err(error(&path))?;
        offset += length(&piece);
    }
    partial.as_file().sync_all().map_err(error(&path))?;
    if compare(partial.path(), content)? != State::Equal {
        return Err(RestoreError::ReadBack { path });
    }
    let named = match before {
        None => partial.persist_noclobber(&path),
        Some(_) if stamp(&path) != before => return Err(RestoreError::Changed { path }),
        Some(_) => partial.persist(&path),
    };
    match named {
        Ok(_) => sync(&folder),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(RestoreError::Changed { path })
        }
        Err(failed) => Err(error(&path)(failed.error)),
    }
}

/// Gives a file the present as its time. Claude Code deletes old ones.
pub(super) fn touch(path: &Path) -> Result<(), RestoreError> {
    let file = File::options().append(true).open(path);
    file.and_then(|file| file.set_modified(SystemTime::now()))
        .map_err(RestoreError::write(path))
}

/// Creates the folder of a path below the home, readable only by the user.
fn create_folder(home: &Path, inside: &Path) -> Result<PathBuf, RestoreError> {
    let error = RestoreError::write;
    let mut folders = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folders, 0o700);
    // The user may have linked the home itself.
    folders.recursive(true).create(home).map_err(error(home))?;
    folders.recursive(false);
    let folder = walk(home, inside, |folder| {
        match folders.create(folder) {
            Err(failed) if failed.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error(folder)(failed));
            }
            _ => {}
        }
        sync(folder.parent().unwrap_or(home))?;
        Ok(true)
    })?;
    // Every missing folder was created.
    folder.ok_or_else(|| error(inside)(io::ErrorKind::NotFound.into()))
}

/// Goes from the home to the folder of a path below it, and fails at a link. `create` may create a folder that is
/// missing.
fn walk(
    home: &Path,
    inside: &Path,
    mut create: impl FnMut(&Path) -> Result<bool, RestoreError>,
) -> Result<Option<PathBuf>, RestoreError> {
    let mut folder = home.to_owned();
    for name in inside.parent().into_iter().flatten() {
        folder.push(name);
        let metadata = match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !create(&folder)? {
                    return Ok(None);
                }
                fs::symlink_metadata(&folder)
            }
            found => found,
        };
        if !metadata.map_err(RestoreError::read(&folder))?.is_dir() {
            return Err(RestoreError::NotAFile { path: folder });
        }
    }
    Ok(Some(folder))
}

fn file_name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}

/// Writes the names in a folder to the disk. Windows has no such call.
fn sync(folder: &Path) -> Result<(), RestoreError> {
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(RestoreError::write(folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
