//! The possible contents of a disk after a power loss during a recording.
//!
//! Synced data is there. The file system and the disk may lose, keep, tear or reorder other
//! changes, in units of a sector. The name of a file is there once its folder was synced, and may
//! be there before. A renamed file has one of its two names.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fastrand::Rng;

use crate::recording::Event;

/// The unit that a disk writes atomically.
const SECTOR: usize = 512;

#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Write { offset: usize, data: &'a [u8] },
    Truncate { length: usize },
}

#[derive(Debug, Default)]
struct File<'a> {
    synced: Vec<u8>,
    pending: Vec<Change<'a>>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Made(PathBuf, Node),
    Removed(PathBuf),
    Moved(PathBuf, PathBuf, Node),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    /// The index in `files`.
    File(usize),
    Folder,
}

/// The disk at a moment of a recording.
#[derive(Debug, Default)]
pub(crate) struct Disk<'a> {
    files: Vec<File<'a>>,
    names: BTreeMap<PathBuf, Node>,
    synced_names: BTreeMap<PathBuf, Node>,
    pending_names: Vec<NameChange>,
    open: HashMap<(u32, i32), (PathBuf, Node)>,
}

/// The fate of unsynced changes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// All are lost.
    All,
    /// All are there, as after the death of the process.
    Nothing,
    /// A prefix is there, and the next change is torn.
    Tail,
    /// Each change is there or lost.
    Some,
    /// Each sector of each change is there or lost.
    Torn,
    /// As `Torn`, and changes reach the disk in another order.
    Reordered,
}

const LOSSES: [Loss; 6] = [
    Loss::All,
    Loss::Nothing,
    Loss::Tail,
    Loss::Some,
    Loss::Torn,
    Loss::Reordered,
];

impl<'a> Disk<'a> {
    /// Returns the disk of `folder` after these events.
    pub(crate) fn after(folder: &Path, events: &'a [Event]) -> anyhow::Result<Self> {
        let mut disk = Self::default();
        for path in folder.ancestors() {
            disk.names.insert(path.into(), Node::Folder);
        }
        disk.synced_names = disk.names.clone();
        for event in events {
            disk.happens(event)
                .with_context(|| format!("{event:.100?}"))?;
        }
        Ok(disk)
    }

    fn happens(&mut self, event: &'a Event) -> anyhow::Result<()> {
        match event {
            Event::Open { file, path, made } => {
                if *made {
                    self.files.push(File::default());
                    self.make(path, Node::File(self.files.len() - 1));
                }
                let node = *self.names.get(path).context("unknown file")?;
                self.open.insert(*file, (path.clone(), node));
            }
            Event::Close { file } => {
                self.open.remove(file);
            }
            Event::Write { file, offset, data } => self.change(
                file,
                Change::Write {
                    offset: *offset,
                    data,
                },
            )?,
            Event::Truncate { file, length } => {
                self.change(file, Change::Truncate { length: *length })?;
            }
            Event::Sync { file } => self.sync(file)?,
            Event::Remove { path } => {
                self.names.remove(path);
                self.pending_names.push(NameChange::Removed(path.clone()));
            }
            Event::MakeFolder { path } => self.make(path, Node::Folder),
            Event::Rename { path, to } => {
                let node = *self.names.get(path).context("unknown file")?;
                let change = NameChange::Moved(path.clone(), to.clone(), node);
                rename(&mut self.names, change.clone());
                self.pending_names.push(change);
            }
            Event::Link { path, to } => {
                let node = *self.names.get(path).context("unknown file")?;
                self.make(to, node);
            }
            Event::Mark(_) => {}
        }
        Ok(())
    }

    fn make(&mut self, path: &Path, node: Node) {
        self.names.insert(path.into(), node);
        self.pending_names.push(NameChange::Made(path.into(), node));
    }

    fn change(&mut self, file: &(u32, i32), change: Change<'a>) -> anyhow::Result<()> {
        match self.open.get(file).context("not open")? {
            (_, Node::File(index)) => self.files[*index].pending.push(change),
            (path, Node::Folder) => bail!("{path:?} is a folder"),
        }
        Ok(())
    }

    fn sync(&mut self, file: &(u32, i32)) -> anyhow::Result<()> {
        let (path, node) = self.open.get(file).context("not open")?;
        if let Node::File(index) = node {
            let file = &mut self.files[*index];
            for change in std::mem::take(&mut file.pending) {
                apply(&mut file.synced, change);
            }
            return Ok(());
        }
        let (synced, pending) = std::mem::take(&mut self.pending_names)
            .into_iter()
            .partition(|change| change.is_in(path));
        self.pending_names = pending;
        for change in synced {
            rename(&mut self.synced_names, change);
        }
        Ok(())
    }

    /// Writes a possible state of `folder` after the power loss into `target`.
    pub(crate) fn crash(
        &self,
        folder: &Path,
        target: &Path,
        rng: &mut Rng,
    ) -> anyhow::Result<Loss> {
        let loss = LOSSES[rng.usize(..LOSSES.len())];
        let mut names = self.synced_names.clone();
        let kept = match loss {
            Loss::All => 0,
            Loss::Tail => rng.usize(..=self.pending_names.len()),
            _ => self.pending_names.len(),
        };
        let all = matches!(loss, Loss::Nothing | Loss::Tail);
        for change in &self.pending_names[..kept] {
            if all || rng.bool() {
                rename(&mut names, change.clone());
            }
        }
        // Ordered, so that a folder comes before its contents. The contents of a lost folder are
        // lost.
        let mut written: HashMap<usize, PathBuf> = HashMap::new();
        for (path, node) in &names {
            let Ok(inside) = path.strip_prefix(folder) else {
                continue;
            };
            let copy = target.join(inside);
            let is_there = copy.parent().is_some_and(Path::is_dir);
            match node {
                // The shared memory of a log does not survive the machine and holds no data.
                _ if !is_there || path.to_string_lossy().ends_with("-shm") => {}
                Node::Folder if copy.is_dir() => {}
                Node::Folder => fs::create_dir(copy)?,
                Node::File(index) => match written.get(index) {
                    Some(first) => fs::hard_link(first, copy)?,
                    None => {
                        fs::write(&copy, self.files[*index].after(loss, rng))?;
                        written.insert(*index, copy);
                    }
                },
            }
        }
        Ok(loss)
    }
}

impl File<'_> {
    fn after(&self, loss: Loss, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let mut pending = self.pending.clone();
        match loss {
            Loss::All => {}
            Loss::Nothing => pending
                .into_iter()
                .for_each(|change| apply(&mut bytes, change)),
            Loss::Tail => {
                let kept = rng.usize(..=pending.len());
                for change in &pending[..kept] {
                    apply(&mut bytes, *change);
                }
                if let Some(change) = pending.get(kept) {
                    apply_torn(&mut bytes, *change, rng);
                }
            }
            Loss::Some => {
                pending.retain(|_| rng.bool());
                pending
                    .into_iter()
                    .for_each(|change| apply(&mut bytes, change));
            }
            Loss::Torn => {
                for change in pending {
                    apply_torn(&mut bytes, change, rng);
                }
            }
            Loss::Reordered => {
                rng.shuffle(&mut pending);
                for change in pending {
                    apply_torn(&mut bytes, change, rng);
                }
            }
        }
        bytes
    }
}

impl NameChange {
    fn is_in(&self, folder: &Path) -> bool {
        let is_in = |path: &PathBuf| path.parent() == Some(folder);
        match self {
            Self::Made(path, _) | Self::Removed(path) => is_in(path),
            // One step, which is in both folders or in neither.
            Self::Moved(from, to, _) => is_in(from) || is_in(to),
        }
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Node>, change: NameChange) {
    match change {
        NameChange::Made(path, node) => {
            names.insert(path, node);
        }
        NameChange::Removed(path) => {
            names.remove(&path);
        }
        NameChange::Moved(from, to, node) => {
            names.remove(&from);
            names.insert(to.clone(), node);
            // The contents move with their folder.
            let inside: Vec<PathBuf> = names
                .keys()
                .filter(|path| path.starts_with(&from))
                .cloned()
                .collect();
            for path in inside {
                if let (Some(node), Ok(name)) = (names.remove(&path), path.strip_prefix(&from)) {
                    names.insert(to.join(name), node);
                }
            }
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: Change<'_>) {
    match change {
        Change::Truncate { length } => bytes.resize(length, 0),
        Change::Write { offset, data } => {
            let end = offset + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset..end].copy_from_slice(data);
        }
    }
}

/// Keeps or drops each sector of a write.
fn apply_torn(bytes: &mut Vec<u8>, change: Change<'_>, rng: &mut Rng) {
    let Change::Write {
        mut offset,
        mut data,
    } = change
    else {
        if rng.bool() {
            apply(bytes, change);
        }
        return;
    };
    while !data.is_empty() {
        let length = (SECTOR - offset % SECTOR).min(data.len());
        let (sector, rest) = data.split_at(length);
        if rng.bool() {
            let data = sector;
            apply(bytes, Change::Write { offset, data });
        }
        offset += length;
        data = rest;
    }
}
