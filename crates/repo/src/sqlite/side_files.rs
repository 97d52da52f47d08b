//! Checks the file of a store, and the files that SQLite keeps beside it, before SQLite opens them.
//!
//! SQLite reads, overwrites and deletes the files beside a database, whichever program put them there. A
//! user who may write to the folder can still put one there after this check.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::error::from_io;
use super::file::{StoreFile, open_to_read};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::file_fault::FileFault;
use crate::base::operation::{OPEN, Operation};

/// Refuses a store whose opening could destroy a file. Changes nothing.
pub(super) fn refuse_unsafe_files(file: &StoreFile) -> Result<()> {
    #[cfg(unix)]
    let store = metadata(file.path())?.filter(Metadata::is_file);
    #[cfg(unix)]
    if let Some(store) = &store {
        refuse_other_names(file.path(), store)?;
    }
    for path in [file.journal(), file.wal(), file.shm()] {
        let Some(metadata) = metadata(&path)? else {
            continue;
        };
        if !metadata.is_file() {
            return Err(refusal(&path, FileFault::NotRegular));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;

            let owner = metadata.uid();
            let opens = rustix::process::geteuid().as_raw();
            if !may_own(owner, store.as_ref().map(Metadata::uid), opens) {
                return Err(refusal(&path, FileFault::OtherOwner { owner }));
            }
            refuse_other_names(&path, &metadata)?;
        }
    }
    refuse_foreign_journal(&file.journal())
}

fn refusal(path: &Path, fault: FileFault) -> Error {
    ErrorKind::UnsafeFile {
        path: path.into(),
        fault,
    }
    .on(&Operation::on_store(OPEN))
}

/// Returns the metadata of the name itself, `None` if there is none. Follows no link.
fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(from_io(OPEN, path, error)),
    }
}

/// Refuses a file with several names. SQLite names the log after the file: under another name the file would
/// get another log.
#[cfg(unix)]
fn refuse_other_names(path: &Path, metadata: &Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt;

    let names = metadata.nlink();
    if names > 1 {
        return Err(refusal(path, FileFault::SeveralNames { names }));
    }
    #[cfg(target_os = "linux")]
    if is_mount_point(path) {
        return Err(refusal(path, FileFault::MountPoint));
    }
    Ok(())
}

/// Whether the file is mounted by itself. Kernels before 5.8 return no mount id.
#[cfg(target_os = "linux")]
fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

    let mount = |path, flags| {
        let found = statx(CWD, path, flags, StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    let folder = path.parent().and_then(|it| mount(it, AtFlags::empty()));
    let file = mount(path, AtFlags::SYMLINK_NOFOLLOW);
    folder.is_some() && file.is_some() && folder != file
}

/// SQLite gives a side file to the user that made it; where that is root, to the owner of the database.
#[cfg(unix)]
fn may_own(owner: u32, of_store: Option<u32>, opens: u32) -> bool {
    of_store == Some(owner) || opens == owner
}

/// The first bytes of a journal, and the last ones if it names a super-journal.
const MAGIC: [u8; 8] = *b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";

/// Refuses a file that is no journal, which SQLite would delete, and a journal that names a super-journal,
/// the file by which SQLite commits a transaction on several databases. Rolling the journal back deletes the
/// super-journal. A store is never attached to another database, so none of its own journals names one.
fn refuse_foreign_journal(path: &Path) -> Result<()> {
    let failed = |error| from_io(OPEN, path, error);
    let mut journal = match open_to_read(path) {
        Ok(journal) => journal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut begin = Vec::new();
    let header = journal.by_ref().take(8).read_to_end(&mut begin);
    header.map_err(failed)?;
    // A journal that is not synced yet, or was ended, begins with zeros.
    if !MAGIC.starts_with(&begin) && begin.iter().any(|byte| *byte != 0) {
        return Err(refusal(path, FileFault::NoJournal));
    }
    match names_super_journal(&mut journal).map_err(failed)? {
        true => Err(refusal(path, FileFault::SuperJournal)),
        false => Ok(()),
    }
}

/// Whether a journal ends with the name of a super-journal: the name, its length and checksum of 4 bytes
/// each, and the magic bytes (`readSuperJournal` in SQLite's pager.c). Does not compare length and checksum,
/// as SQLite does.
fn names_super_journal(journal: &mut File) -> io::Result<bool> {
    // Fails before the beginning of a shorter file.
    if journal.seek(SeekFrom::End(-16)).is_err() {
        return Ok(false);
    }
    let mut end = Vec::new();
    journal.read_to_end(&mut end)?;
    Ok(end.ends_with(&MAGIC))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_side_file_is_the_owners_or_ours() {
        assert!(may_own(1000, Some(1000), 1000));
        assert!(may_own(1000, Some(1000), 0), "root opens what a user has");
        assert!(may_own(0, Some(1000), 0), "and may have made what is there");
        assert!(
            may_own(1001, Some(1000), 1001),
            "who may write to another's"
        );
        assert!(may_own(1000, None, 1000), "there is no store yet");
        assert!(!may_own(1001, Some(1000), 1000));
        assert!(!may_own(1001, Some(1000), 0));
        assert!(!may_own(1001, None, 1000));
    }

    /// SQLite reads the last 16 bytes, whatever stands before them.
    #[test]
    fn a_super_journal_is_recognized_by_the_last_bytes() {
        let magic = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
        let ends = |parts: &[&[u8]]| {
            let mut journal = tempfile::tempfile().unwrap();
            journal.write_all(&parts.concat()).unwrap();
            names_super_journal(&mut journal).unwrap()
        };
        let [header, length, checksum] = [&[0; 504][..], &[0, 0, 0, 1], &[0, 0, 0, b'a']];
        assert!(ends(&[magic, header, b"a", length, checksum, magic]));
        assert!(ends(&[b"a", length, checksum, magic]), "without a header");
        assert!(ends(&[length, checksum, magic]), "of no length");
        assert!(
            ends(&[magic, header, b"a", length, &[0; 4], magic]),
            "of a wrong checksum"
        );
        assert!(!ends(&[magic, header]));
        assert!(
            !ends(&[magic, header, b"a", length, checksum, magic, b"\0"]),
            "not at the end"
        );
        assert!(
            !ends(&[checksum, magic]),
            "SQLite reads 16 bytes or nothing"
        );
        assert!(!ends(&[]));
    }
}
