//! Foreign files beside the store with names that SQLite uses, and second names of the store.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use fastrand::Rng;
use tempfile::TempDir;

use crate::driver::{Rounds, Row};
use crate::mount::Way;
use crate::process::{self, Process};
use crate::rows::damage::write;
use crate::{sample, store};

pub(crate) const ROW: Row = Row {
    name: "planted",
    holds: "foreign side files, a second name, a torn end: refused at once, all files unchanged",
    short: 18,
    full: 90,
    run,
};

/// A manipulation of a store.
#[derive(Debug, Clone, Copy)]
enum Plant {
    /// A journal that names another file, which SQLite would delete.
    SuperJournal,
    /// An unrelated file with the name of the journal.
    NoJournal,
    Fifo,
    Link,
    HardLink,
    /// A backup copied over the store beside the old log.
    Backup,
    TornEnd,
    /// The file is mounted elsewhere, as by `docker run -v store.db:/store.db`.
    BindMount,
    OtherOwner,
}

const PLANTS: [Plant; 9] = [
    Plant::SuperJournal,
    Plant::NoJournal,
    Plant::Fifo,
    Plant::Link,
    Plant::HardLink,
    Plant::Backup,
    Plant::TornEnd,
    Plant::BindMount,
    Plant::OtherOwner,
];

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let way = match rounds.is_without("mount") {
        true => None,
        false => Some(Way::find()?),
    };
    let whole = Whole::new()?;
    rounds.each(|number, rng| {
        let plant = PLANTS[usize::try_from(number)? % PLANTS.len()];
        match (plant, way) {
            (Plant::BindMount, None) => Ok(()),
            (Plant::OtherOwner, way) if !way.is_some_and(Way::knows_other_users) => Ok(()),
            _ => try_one(&whole, plant, way, rng).with_context(|| format!("{plant:?}")),
        }
    });
    if way.is_none() {
        rounds.note("mounted files NOT RUN, as told by --without mount");
    }
    if !way.is_some_and(Way::knows_other_users) {
        rounds.note("files of others NOT RUN, which takes root");
    }
    Ok(())
}

/// A closed store, a store with a log, and a backup.
struct Whole {
    closed: Vec<u8>,
    crashed: (Vec<u8>, Vec<u8>),
    backup: Vec<u8>,
}

impl Whole {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [path, log, backup] =
            ["store.db", "store.db-wal", "backup.db"].map(|name| folder.path().join(name));
        let repo = sample::make(&path)?;
        repo.backup(&backup)?;
        let crashed = (fs::read(&path)?, fs::read(log)?);
        drop(repo);
        Ok(Self {
            closed: fs::read(path)?,
            crashed,
            backup: fs::read(backup)?,
        })
    }
}

fn try_one(whole: &Whole, plant: Plant, way: Option<Way>, rng: &mut Rng) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(store::FILE);
    let has_log = match plant {
        Plant::Backup | Plant::OtherOwner => true,
        // A log may contain the missing end.
        Plant::TornEnd => false,
        _ => rng.bool(),
    };
    if has_log {
        write(&path, &whole.crashed.0)?;
        write(&folder.path().join("store.db-wal"), &whole.crashed.1)?;
    } else {
        write(&path, &whole.closed)?;
    }
    let elsewhere = tempfile::tempdir()?;
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious")?;
    let side = folder
        .path()
        .join(["store.db-journal", "store.db-wal", "store.db-shm"][rng.usize(..3)]);
    let mut reading = process::command(&["read", path.to_str().context("a path in UTF-8")?])?;
    match plant {
        Plant::SuperJournal => plant_journal(&path, &victim)?,
        Plant::NoJournal => fs::write(path.with_file_name("store.db-journal"), "precious")?,
        Plant::Fifo => {
            let _ = fs::remove_file(&side);
            let made = Command::new("mkfifo").arg(&side).status()?;
            ensure!(made.success(), "mkfifo");
        }
        Plant::Link => {
            let _ = fs::remove_file(&side);
            std::os::unix::fs::symlink(&victim, &side)?;
        }
        Plant::HardLink => fs::hard_link(&path, elsewhere.path().join("other.db"))?,
        Plant::Backup => fs::write(&path, &whole.backup)?,
        Plant::TornEnd => {
            let length = fs::metadata(&path)?.len();
            let file = fs::File::options().write(true).open(&path)?;
            file.set_len(length - rng.u64(1..4_096))?;
        }
        Plant::BindMount => {
            let other = elsewhere.path().join("other.db");
            fs::copy(&path, &other)?;
            let first = format!("mount --bind {} {}", other.display(), path.display());
            reading = way.context("a way to mount")?.after(&first, reading);
        }
        Plant::OtherOwner => {
            let log = folder.path().join("store.db-wal");
            fs::set_permissions(&log, fs::Permissions::from_mode(0o644))?;
            let first = format!("chown 1 {}", log.display());
            reading = way.context("root")?.after(&first, reading);
        }
    }
    let before = contents(&[&folder, &elsewhere])?;
    let said = Process::spawn(reading)?.finish()?;
    let refused = match plant {
        Plant::TornEnd => "open error Corrupt",
        _ => "open error UnsafeFile",
    };
    ensure!(said == ["check found", refused], "{said:?}");
    ensure!(
        contents(&[&folder, &elsewhere])? == before,
        "a file was changed, made or deleted"
    );
    Ok(())
}

/// Only regular files have contents.
fn contents(folders: &[&TempDir]) -> anyhow::Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut contents = BTreeMap::new();
    for folder in folders {
        for entry in fs::read_dir(folder.path())? {
            let entry = entry?;
            let is_file = entry.file_type()?.is_file();
            let content = is_file.then(|| fs::read(entry.path())).transpose()?;
            contents.insert(entry.path(), content);
        }
    }
    Ok(contents)
}

/// Writes the journal that a killed transaction over two databases leaves.
fn plant_journal(path: &Path, victim: &Path) -> anyhow::Result<()> {
    const MAGIC: &[u8] = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
    let name = victim.to_str().context("a path in UTF-8")?.as_bytes();
    let pages = u32::try_from(fs::metadata(path)?.len() / 4_096)?;
    let length = u32::try_from(name.len())?;
    let checksum = name.iter().copied().map(u32::from).sum::<u32>();
    let numbers = |numbers: &[u32]| numbers.iter().flat_map(|it| it.to_be_bytes()).collect();
    // No pages, no nonce, the size of the file, sectors of 512 bytes, pages of 4,096.
    let mut header: Vec<u8> = [MAGIC.to_vec(), numbers(&[0, 0, pages, 512, 4_096])].concat();
    header.resize(512, 0);
    let locking_page = numbers(&[0x4000_0000 / 4_096 + 1]);
    let end: Vec<u8> = numbers(&[length, checksum]);
    let journal = [&header, &locking_page, name, &end, MAGIC].concat();
    fs::write(path.with_file_name("store.db-journal"), journal)?;
    Ok(())
}
