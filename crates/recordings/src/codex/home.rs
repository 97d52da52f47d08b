use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use walkdir::WalkDir;

use crate::file_name::{ROLLOUT_FOLDERS, RolloutName, has_suffix};
use crate::jsonl;
use crate::lenient::Lenient;

/// A Codex home. Its rollouts and names are read when a session first needs them.
#[derive(Debug)]
pub(crate) struct Home {
    root: PathBuf,
    rollouts: OnceLock<Rollouts>,
    names: OnceLock<HashMap<String, String>>,
}

#[derive(Debug, Default)]
struct Rollouts {
    by_id: HashMap<String, PathBuf>,
    by_thread: HashMap<String, PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    id: Lenient<String>,
    thread_name: Lenient<String>,
}

impl Home {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            rollouts: OnceLock::new(),
            names: OnceLock::new(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the rollout with this id, or else one of the thread with this id. They differ after a revert.
    pub(super) fn rollout(&self, id: &str) -> Option<&Path> {
        let rollouts = self.rollouts.get_or_init(|| self.find_rollouts());
        let path = rollouts
            .by_id
            .get(id)
            .or_else(|| rollouts.by_thread.get(id));
        path.map(PathBuf::as_path)
    }

    /// Returns the name that the index of the home gives a thread.
    pub(super) fn name(&self, thread: &str) -> Option<&str> {
        let names = self.names.get_or_init(|| self.read_names());
        names.get(thread).map(String::as_str)
    }

    fn find_rollouts(&self) -> Rollouts {
        let mut rollouts = Rollouts::default();
        let folders = ROLLOUT_FOLDERS.iter().map(|name| self.root.join(name));
        let entries = folders.flat_map(|folder| WalkDir::new(folder).sort_by_file_name());
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_file())
        {
            let path = entry.into_path();
            let Some(name) = RolloutName::of(&path) else {
                continue;
            };
            // The plain file counts, and comes before the compressed one.
            if has_suffix(&path, ".jsonl") || has_suffix(&path, ".jsonl.zst") {
                rollouts
                    .by_id
                    .entry(name.rollout)
                    .or_insert_with(|| path.clone());
                rollouts.by_thread.entry(name.thread).or_insert(path);
            }
        }
        rollouts
    }

    fn read_names(&self) -> HashMap<String, String> {
        let mut names = HashMap::new();
        let index = self.root.join("session_index.jsonl");
        // A home may have no index.
        let _ = jsonl::for_each_object(&index, |entry: Entry| {
            names.extend(entry.id.0.zip(entry.thread_name.0));
            true
        });
        names
    }
}
