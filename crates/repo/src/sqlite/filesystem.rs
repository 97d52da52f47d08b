//! Refuses a store on a network file system.
//!
//! The log works through memory that all processes with the file open share, which ends at the machine
//! (<https://sqlite.org/wal.html>). Two machines that write to one file damage it.

#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "Linux tells which it is")
)]

use std::path::Path;

use super::file::StoreFile;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::{OPEN, Operation};

/// The number of a file system that a program serves (FUSE). Its type of mount, `fuse.sshfs`, names the
/// program.
const FUSE: u32 = 0x6573_5546;

/// The beginnings of the names of programs that serve files of other machines.
const NETWORK_FUSE: &str = "sshfs glusterfs ceph s3 rclone gcsfuse goofys davfs curlftpfs smbnetfs \
    moosefs mfs juicefs vmhgfs-fuse";

/// Returns the name of a network file system, `None` for a local one, by its number in Linux's statfs(2), which
/// stands in the headers of the kernel and of the file systems. `mount_type` is read for FUSE only.
fn shared(number: u32, mount_type: impl FnOnce() -> Option<String>) -> Option<String> {
    let name = match number {
        0x6969 => "NFS",
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x786f_4256 => "VirtualBox",
        0xbacb_acbc => "VMware",
        FUSE => {
            return mount_type().filter(|name| {
                let program = name.strip_prefix("fuse.").unwrap_or_default();
                NETWORK_FUSE.split(' ').any(|it| program.starts_with(it))
            });
        }
        _ => return None,
    };
    Some(name.to_owned())
}

/// Returns the type of the file system of this device in Linux's list of mounts (proc(5)):
/// `36 35 98:0 /root /mount/point options optional fields - type source options`.
fn mount_type(mounts: &str, device: &str) -> Option<String> {
    let mut mounts = mounts.lines();
    let mount = mounts.find(|mount| mount.split(' ').nth(2) == Some(device))?;
    let (_, after) = mount.split_once(" - ")?;
    after.split(' ').next().map(str::to_owned)
}

/// Returns the name of the file system of the store if it is a network one. An unknown one counts as local:
/// SQLite refuses a log where it can't share memory.
#[cfg(target_os = "linux")]
fn network(file: &StoreFile) -> Option<String> {
    use rustix::fs::{major, minor, statfs};
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    // A missing file will be on the file system of its nearest folder.
    let existing = file.path().ancestors().find(|path| path.exists())?;
    let number = statfs(existing).ok()?.f_type as u32;
    shared(number, || {
        let device = fs::metadata(existing).ok()?.dev();
        let device = format!("{}:{}", major(device), minor(device));
        mount_type(&fs::read_to_string("/proc/self/mountinfo").ok()?, &device)
    })
}

#[cfg(not(target_os = "linux"))]
fn network(_: &StoreFile) -> Option<String> {
    None
}

/// Refuses a store on a network file system.
pub(super) fn refuse_network(file: &StoreFile) -> Result<()> {
    network(file).map_or(Ok(()), |name| Err(refusal(file.path(), &name)))
}

fn refusal(path: &Path, name: &str) -> Error {
    ErrorKind::Unsupported {
        reason: format!(
            "it is on a network file system ({name}), where SQLite's log does not work; \
             keep it on a local disk, or the store on a server"
        ),
    }
    .on(&Operation::on_file(OPEN, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u32, name: &str) -> Option<String> {
        shared(number, || Some(name.to_owned()))
    }

    #[test]
    fn network_file_systems_are_known_by_their_number() {
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
    fn network_file_systems_of_fuse_are_known_by_their_name() {
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
        assert_eq!(mount_type(mounts, "254:0").as_deref(), Some("ext4"));
        assert_eq!(mount_type(mounts, "0:42").as_deref(), Some("fuse.sshfs"));
        assert_eq!(mount_type(mounts, "0:4"), None);
        assert_eq!(mount_type(mounts, "0:7"), None);
    }

    #[test]
    fn a_refusal_says_where_to_go() {
        let error = refusal(Path::new("/net/store.db"), "NFS").to_string();
        assert!(
            error.starts_with("open: /net/store.db can't be used: it is on a network"),
            "{error}"
        );
    }

    /// The folder of the tests is on a local disk, and so is a missing file in it.
    #[test]
    fn a_local_file_is_local() {
        let folder = tempfile::tempdir().unwrap();
        let file = StoreFile::new(&folder.path().join("a/b/store.db")).unwrap();
        assert_eq!(network(&file), None);
    }
}
