//! Codex: `sessions/YYYY/MM/DD/rollout-YYYY-MM-DDThh-mm-ss-<thread>.jsonl`, after a revert
//! `rollout-…-<thread>_<rollout>.jsonl`, either also compressed (`.jsonl.zst`). Archived rollouts are in a flat
//! folder, from which Codex resumes none.

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use turnkeep_repo::chrono::{DateTime, NaiveDateTime, Utc};

use super::{below, entries, is_uuid};

/// The longest first line that is read. It has the instructions, about 20 KB.
pub(crate) const MAX_HEADER: u64 = 16 * 1024 * 1024;

/// The first line of a rollout, with all that Codex needs of it. Before August 2025 it had no envelope.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    #[serde(rename = "cwd")]
    _cwd: String,
    #[serde(rename = "originator")]
    _originator: String,
    #[serde(rename = "cli_version")]
    _cli_version: String,
    pub(crate) model_provider: Option<String>,
    history_base: Option<Base>,
}

#[derive(Deserialize)]
struct Base {
    thread_id: Option<String>,
}

impl Header {
    /// Returns `None` for a line for which Codex refuses the rollout.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(rename = "type")]
            kind: String,
            payload: Header,
        }
        let line: Line = serde_json::from_slice(line).ok()?;
        (line.kind == "session_meta").then_some(line.payload)
    }

    /// Returns the rollout that this one begins with: the parent of a fork, or the first file of a reverted thread.
    pub(crate) fn base(&self) -> Option<&str> {
        self.history_base.as_ref()?.thread_id.as_deref()
    }
}

/// The rollouts of a home.
pub(crate) struct Rollouts {
    all: Vec<Rollout>,
    /// The first folder that could not be read.
    pub(crate) unreadable: Option<(PathBuf, io::Error)>,
}

/// A rollout of a home.
pub(crate) struct Rollout {
    pub(crate) name: RolloutName,
    pub(crate) path: PathBuf,
    is_archived: bool,
}

impl Rollouts {
    pub(crate) fn find(home: &Path) -> Self {
        let mut rollouts = Self {
            all: Vec::new(),
            unreadable: None,
        };
        for (folder, is_archived) in [("sessions", false), ("archived_sessions", true)] {
            for found in walk(home.join(folder)) {
                match found {
                    Ok((name, path)) => rollouts.all.push(Rollout {
                        name,
                        path,
                        is_archived,
                    }),
                    Err(error) => rollouts.unreadable = rollouts.unreadable.or(Some(error)),
                }
            }
        }
        // The latest first, and the plain file before the compressed one.
        rollouts.all.sort_by(|a, b| {
            let archived = a.is_archived.cmp(&b.is_archived);
            let latest = (b.name.time, &b.name.ids).cmp(&(a.name.time, &a.name.ids));
            archived.then(latest).then(a.name.suffix.cmp(b.name.suffix))
        });
        rollouts
    }

    /// Returns the latest rollout of a thread that Codex resumes.
    pub(crate) fn of_thread(&self, thread: &str) -> Option<&Rollout> {
        let mut all = self.all.iter();
        all.find(|it| !it.is_archived && it.name.thread() == thread)
    }

    /// Returns the rollout by which a fork names its parent. It may be archived.
    pub(crate) fn get(&self, id: &str) -> Option<&Rollout> {
        let exact = self.all.iter().find(|it| it.name.rollout() == id);
        exact.or_else(|| self.of_thread(id))
    }

    /// Returns all rollouts with an id.
    pub(crate) fn with_id(&self, rollout: &str) -> impl Iterator<Item = &Rollout> {
        self.all
            .iter()
            .filter(move |it| it.name.rollout() == rollout)
    }

    pub(crate) fn is_archived(&self, thread: &str) -> bool {
        let mut all = self.all.iter();
        all.any(|it| it.is_archived && it.name.thread() == thread)
    }
}

/// Returns the newest rollout of a thread, by the order of the folders and names below `sessions`.
pub(crate) fn newest(home: &Path, thread: &str) -> Option<PathBuf> {
    let found = walk(home.join("sessions")).flatten();
    let mut found = found.filter(|(name, _)| name.thread() == thread);
    let (name, path) = found.next()?;
    let is_plain = |(other, _): &(RolloutName, PathBuf)| {
        (other.time, &other.ids) == (name.time, &name.ids) && !other.is_compressed()
    };
    // The plain file comes after the compressed one.
    let plain = found
        .next()
        .filter(|it| name.is_compressed() && is_plain(it));
    Some(plain.map_or(path, |(_, plain)| plain))
}

/// Returns the rollouts below a folder, the last names first. A link to a folder may lead anywhere, so none is followed.
fn walk(
    folder: PathBuf,
) -> impl Iterator<Item = Result<(RolloutName, PathBuf), (PathBuf, io::Error)>> {
    /// A day's folder is three below.
    const MAX_DEPTH: usize = 8;
    let mut folders = vec![(folder, 0)];
    let mut files = Vec::new();
    std::iter::from_fn(move || {
        loop {
            if let Some(file) = files.pop() {
                return Some(Ok(file));
            }
            let (folder, depth) = folders.pop()?;
            let mut found = match entries(&folder) {
                Ok(found) => found,
                Err(error) => return Some(Err((folder, error))),
            };
            found.sort_by_key(DirEntry::file_name);
            for entry in found {
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                let path = entry.path();
                if kind.is_dir() {
                    folders.extend((depth < MAX_DEPTH).then(|| (path, depth + 1)));
                } else if let Some(name) = entry.file_name().to_str().and_then(RolloutName::of)
                    && (kind.is_file() || path.is_file())
                {
                    files.push((name, path));
                }
            }
        }
    })
}

/// The names of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutName {
    /// The time in the file name, which is local.
    time: NaiveDateTime,
    /// The id of the thread, and after a revert `_` with the id of the rollout.
    ids: String,
    suffix: &'static str,
}

const TIME: &str = "%Y-%m-%dT%H-%M-%S";

impl RolloutName {
    /// Reads the last name of a path. `None` if Codex would not take it for a rollout's.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_prefix("rollout-")?;
        let (stem, suffix) = [".jsonl", ".jsonl.zst"]
            .into_iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)))?;
        let (time, ids) = stem.split_at_checked("2026-01-02T03-04-05".len())?;
        let ids = ids.strip_prefix('-')?;
        let is_valid = ids.split('_').count() <= 2 && ids.split('_').all(is_uuid);
        is_valid.then_some(())?;
        Some(Self {
            time: NaiveDateTime::parse_from_str(time, TIME).ok()?,
            ids: ids.to_owned(),
            suffix,
        })
    }

    /// Makes the name of the only rollout of a thread.
    pub(crate) fn new(thread: &str, time: DateTime<Utc>) -> Self {
        Self {
            time: time.naive_utc(),
            ids: thread.to_owned(),
            suffix: ".jsonl",
        }
    }

    pub(crate) fn thread(&self) -> &str {
        self.ids.split('_').next().unwrap_or_default()
    }

    /// Returns the id by which a fork names the rollout: the thread's, or the own one after a revert.
    pub(crate) fn rollout(&self) -> &str {
        self.ids.rsplit('_').next().unwrap_or_default()
    }

    /// Whether this is the rollout or the thread of an id, as a fork names its parent.
    pub(crate) fn is_of(&self, id: &str) -> bool {
        self.rollout() == id || self.thread() == id
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.suffix.ends_with(".zst")
    }

    /// Returns the path below the home where Codex puts a rollout of this name.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let folder = self.time.format("sessions/%Y/%m/%d");
        let time = self.time.format(TIME);
        below(&format!(
            "{folder}/rollout-{time}-{}{}",
            self.ids, self.suffix
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
    const ROLLOUT: &str = "11a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

    #[test]
    fn a_rollout_goes_to_the_folder_of_its_day() {
        for name in [
            format!("rollout-2026-09-18T07-12-44-{THREAD}.jsonl"),
            format!("rollout-2026-09-18T07-12-44-{THREAD}_{ROLLOUT}.jsonl"),
            format!("rollout-2026-09-18T07-12-44-{THREAD}.jsonl.zst"),
        ] {
            let kept = format!("archived_sessions/{name}");
            let rollout = RolloutName::of(&kept).unwrap();
            assert_eq!(rollout.thread(), THREAD);
            let path = format!("sessions/2026/09/18/{name}");
            assert_eq!(rollout.path().unwrap(), Path::new(&path));
        }
    }

    #[test]
    fn other_names_are_no_rollouts() {
        for name in [
            format!("{THREAD}.jsonl"),
            format!("rollout-{THREAD}.jsonl"),
            format!("rollout-2026-13-18T07-12-44-{THREAD}.jsonl"),
            format!("rollout-2026-09-18T07-12-44-{THREAD}_{ROLLOUT}_{ROLLOUT}.jsonl"),
            "rollout-2026-09-18T07-12-44-x.jsonl".to_owned(),
            format!("rollout-2026-09-18T07-12-44-{THREAD}.json"),
            "rollout-2026-09-18T07-12-4é".to_owned(),
            "config.toml".to_owned(),
        ] {
            assert_eq!(RolloutName::of(&name), None, "{name}");
        }
    }
}
