//! File systems that other machines see too, where a store can't be.
//!
//! The log works through memory that all who have the file open share, which ends at the machine
//! (<https://sqlite.org/wal.html>). Two machines that write to one file there damage it.

#[cfg(target_os = "linux")]
use std::fs;
use std::path::Path;

use super::OPEN;
use super::file::StoreFile;
use crate::base::error::{Error, Result};
use turnkeep_model::visible_path;

/// The numbers of Linux's statfs(2), as the kernel and the file systems' own headers have them.
#[cfg(any(target_os = "linux", test))]
const SHARED: [(u32, &str); 16] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "SMB"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x786f_4256, "VirtualBox"),
    (0xbacb_acbc, "VMware"),
];

/// A file system of a program. What that does with the files its name says, if anything.
#[cfg(any(target_os = "linux", test))]
pub(super) const FUSE: u32 = 0x6573_5546;

/// Beginnings of the names of those that bring files from elsewhere.
#[cfg(any(target_os = "linux", test))]
const SHARED_FUSE: [&str; 14] = [
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.s3",
    "fuse.rclone",
    "fuse.gcsfuse",
    "fuse.goofys",
    "fuse.davfs",
    "fuse.curlftpfs",
    "fuse.smbnetfs",
    "fuse.moosefs",
    "fuse.mfs",
    "fuse.juicefs",
    "fuse.vmhgfs-fuse",
];

/// Returns what a file system is called that other machines see too. `mounted_as` is the name it is
/// mounted by, and asked for only where its number does not say enough.
#[cfg(any(target_os = "linux", test))]
pub(super) fn shared(number: u32, mounted_as: impl FnOnce() -> Option<String>) -> Option<String> {
    if number == FUSE {
        let is_shared = |name: &String| SHARED_FUSE.iter().any(|it| name.starts_with(it));
        return mounted_as().filter(is_shared);
    }
    let found = SHARED.iter().find(|(shared, _)| *shared == number);
    found.map(|(_, name)| (*name).to_owned())
}

/// Returns the type of the file system with this device in Linux's list of mounts (proc(5)):
/// `36 35 98:0 /root /mount/point options optional fields - type source options`.
#[cfg(any(target_os = "linux", test))]
fn mounted_as(mounts: &str, device: &str) -> Option<String> {
    let mut mounts = mounts.lines();
    let mount = mounts.find(|mount| mount.split(' ').nth(2) == Some(device))?;
    let (_, after) = mount.split_once(" - ")?;
    after.split(' ').next().map(str::to_owned)
}

/// Returns what the file system of the store is called, if other machines see it too. What can't be
/// found out is taken for local: SQLite refuses a log where it can't share memory.
#[cfg(target_os = "linux")]
pub(super) fn network(file: &StoreFile) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    // A file that is still to be made will be where its nearest folder is.
    let existing = file.path().ancestors().find(|path| path.exists())?;
    let number = rustix::fs::statfs(existing).ok()?.f_type as u32;
    shared(number, || {
        let device = fs::metadata(existing).ok()?.dev();
        let device = format!(
            "{}:{}",
            rustix::fs::major(device),
            rustix::fs::minor(device)
        );
        mounted_as(&fs::read_to_string("/proc/self/mountinfo").ok()?, &device)
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn network(_: &StoreFile) -> Option<String> {
    None
}

/// Refuses a store where its log would not work.
pub(super) fn refuse_network(file: &StoreFile) -> Result<()> {
    network(file).map_or(Ok(()), |name| Err(refusal(file.path(), &name)))
}

fn refusal(path: &Path, name: &str) -> Error {
    Error::Unsupported {
        operation: OPEN,
        subject: visible_path(path),
        reason: format!(
            "it is on a network file system ({name}), where SQLite's log does not work; \
             keep it on a local disk, or the store on a server"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u32, name: &str) -> Option<String> {
        shared(number, || Some(name.to_owned()))
    }

    #[test]
    fn what_other_machines_see_is_told_from_what_is_local() {
        for (number, name) in [(0x6969, "NFS"), (0xff53_4d42, "SMB"), (0x0102_1997, "9P")] {
            assert_eq!(of(number, "?").as_deref(), Some(name));
        }
        // ext4, XFS, Btrfs, tmpfs, overlay, ZFS
        for number in [
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0x0102_1994,
            0x794c_7630,
            0x2fc1_2fc1,
        ] {
            assert_eq!(of(number, "nfs"), None, "{number:x}");
        }
    }

    #[test]
    fn a_file_system_of_a_program_is_told_by_its_name() {
        for name in ["fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"] {
            assert_eq!(of(FUSE, name).as_deref(), Some(name));
        }
        for name in ["fuseblk", "fuse.gocryptfs", "virtiofs", "fuse"] {
            assert_eq!(of(FUSE, name), None);
        }
        assert_eq!(shared(FUSE, || None), None);
    }

    #[test]
    fn the_list_of_mounts_is_read() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                      40 22 0:42 / /mnt/my\\040files rw,nosuid - fuse.sshfs host:/ rw,user_id=0\n\
                      41 22 0:4 / /broken\n";
        assert_eq!(mounted_as(mounts, "254:0").as_deref(), Some("ext4"));
        assert_eq!(mounted_as(mounts, "0:42").as_deref(), Some("fuse.sshfs"));
        assert_eq!(mounted_as(mounts, "0:4"), None);
        assert_eq!(mounted_as(mounts, "0:7"), None);
    }

    #[test]
    fn a_refusal_says_where_to_go() {
        let error = refusal(Path::new("/net/store.db"), "NFS").to_string();
        assert!(
            error.starts_with("open: /net/store.db can't be used: it is on a network"),
            "{error}"
        );
    }

    /// The folder of the tests is on a local disk, and so is what is not made yet.
    #[test]
    fn a_local_file_is_local() {
        let folder = tempfile::tempdir().unwrap();
        let file = StoreFile::new(&folder.path().join("a/b/store.db")).unwrap();
        assert_eq!(network(&file), None);
    }
}
