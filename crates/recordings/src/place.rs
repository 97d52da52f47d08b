//! Whether a file is a session, by its place. A file can lie about its content, not about its place.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::file_name::{ROLLOUT_FOLDERS, file_stem, has_suffix, is_uuid};

/// The place of a file, as seen by one agent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the agent keeps its sessions, in this home.
    Session { home: PathBuf },
    /// In a home of the agent, but not where it keeps sessions.
    Elsewhere,
    /// In the plugins of Claude Code, which may hold recordings of other people.
    Plugin,
    /// In no home of the agent.
    Outside,
}

/// The homes of agents that were seen, by their folders.
#[derive(Default)]
pub(crate) struct Homes {
    claude: HashMap<PathBuf, bool>,
    codex: HashMap<PathBuf, bool>,
}

impl Homes {
    /// Returns the place of a JSONL file for Claude Code, whose home has `projects/<folder>/<id>.jsonl`.
    /// `path` is absolute.
    pub(crate) fn claude(&mut self, path: &Path) -> Place {
        let own_home = path.ancestors().nth(3).filter(|_| is_transcript(path));
        let mut is_elsewhere = false;
        for folder in path.ancestors().skip(1) {
            if Some(folder) == own_home || !self.is_claude(folder) {
                continue;
            }
            is_elsewhere = true;
            let inside = path.strip_prefix(folder).unwrap_or(path);
            if inside.starts_with("plugins") {
                return Place::Plugin;
            }
        }
        match own_home {
            Some(home) => Place::Session {
                home: home.to_owned(),
            },
            None if is_elsewhere => Place::Elsewhere,
            None => Place::Outside,
        }
    }

    /// Returns the place of a JSONL file for Codex, whose home has `sessions/` or `archived_sessions/`.
    /// `path` is absolute.
    pub(crate) fn codex(&mut self, path: &Path) -> Place {
        let name = path.file_name().unwrap_or_default();
        let is_rollout = name.as_encoded_bytes().starts_with(b"rollout-");
        let mut folders = path.ancestors().skip(1);
        let sessions = folders.find(|folder| {
            let name = folder.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| ROLLOUT_FOLDERS.contains(&name))
        });
        match sessions.and_then(Path::parent) {
            Some(home) if is_rollout => Place::Session {
                home: home.to_owned(),
            },
            _ if path.ancestors().skip(1).any(|folder| self.is_codex(folder)) => Place::Elsewhere,
            _ => Place::Outside,
        }
    }

    fn is_claude(&mut self, folder: &Path) -> bool {
        if let Some(known) = self.claude.get(folder) {
            return *known;
        }
        let projects = entries(&folder.join("projects"));
        let mut files = projects.flat_map(|project| entries(&project));
        let is_home = files.any(|file| is_transcript(&file));
        self.claude.insert(folder.to_owned(), is_home);
        is_home
    }

    fn is_codex(&mut self, folder: &Path) -> bool {
        if let Some(known) = self.codex.get(folder) {
            return *known;
        }
        // Many programs have a folder `sessions`.
        let is_of_codex = |path: PathBuf| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let is_year = name.len() == 4 && name.iter().all(u8::is_ascii_digit);
            is_year || name.starts_with(b"rollout-")
        };
        let mut sessions = ROLLOUT_FOLDERS.iter().map(|name| folder.join(name));
        let is_home = sessions.any(|sessions| entries(&sessions).any(is_of_codex));
        self.codex.insert(folder.to_owned(), is_home);
        is_home
    }
}

/// Returns the place of a file for Goose, whose home has `sessions/`. `path` is absolute.
pub(crate) fn goose(path: &Path) -> Place {
    let sessions = path.parent();
    let is_sessions = sessions
        .and_then(Path::file_name)
        .is_some_and(|name| name == "sessions");
    match sessions.and_then(Path::parent) {
        Some(home) if is_sessions => Place::Session {
            home: home.to_owned(),
        },
        _ => Place::Outside,
    }
}

/// Returns the recording to which a file belongs, by its name and place: mostly itself.
pub(crate) fn recording_of(path: &Path) -> PathBuf {
    for folder in path.ancestors().skip(1) {
        let transcript = folder.with_extension("jsonl");
        if is_transcript(&transcript) && folder.extension().is_none() {
            return transcript;
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let database = ["-wal", "-shm", "-journal"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .filter(|name| name.ends_with(".db"));
    database.map_or_else(|| path.to_owned(), |name| path.with_file_name(name))
}

/// Whether a path ends like `projects/<folder>/<session id>.jsonl`.
fn is_transcript(path: &Path) -> bool {
    let projects = path.ancestors().nth(2).and_then(Path::file_name);
    projects.is_some_and(|name| name == "projects")
        && has_suffix(path, ".jsonl")
        && is_uuid(&file_stem(path))
}

/// Returns the paths in a folder. None if it can't be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[&str]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for file in files {
                let path = tree.path(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            tree
        }

        fn path(&self, file: &str) -> PathBuf {
            self.0.path().join(file.replace("ID", ID))
        }
    }

    #[test]
    fn a_transcript_lies_in_the_projects_of_a_home() {
        let tree = Tree::new(&[
            "a/projects/-srv/ID.jsonl",
            "a/hooks/log.jsonl",
            "a/inner/.claude/projects/-srv/ID.jsonl",
            "a/plugins/x/projects/-srv/ID.jsonl",
        ]);
        let place = |file| Homes::default().claude(&tree.path(file));
        let home = |file| Place::Session {
            home: tree.path(file),
        };
        assert_eq!(place("a/projects/-srv/ID.jsonl"), home("a"));
        assert_eq!(
            place("a/inner/.claude/projects/-srv/ID.jsonl"),
            home("a/inner/.claude")
        );
        assert_eq!(place("a/plugins/x/projects/-srv/ID.jsonl"), Place::Plugin);
        assert_eq!(place("a/plugins/x/fixtures/ID.jsonl"), Place::Plugin);
        for elsewhere in [
            "a/hooks/log.jsonl",
            "a/ID.jsonl",
            "a/projects/ID.jsonl",
            "a/projects/-srv/notes.jsonl",
            "a/projects/-srv/ID/subagents/agent-1.jsonl",
        ] {
            assert_eq!(place(elsewhere), Place::Elsewhere, "{elsewhere}");
        }
        assert_eq!(place("ID.jsonl"), Place::Outside);
        assert_eq!(place("b/projects/-srv/notes.jsonl"), Place::Outside);
    }

    #[test]
    fn a_file_beside_a_recording_belongs_to_it() {
        let recording_of = |path: &str| recording_of(Path::new(&path.replace("ID", ID)));
        let transcript = PathBuf::from("/a/projects/-srv/ID.jsonl".replace("ID", ID));
        assert_eq!(recording_of("/a/projects/-srv/ID.jsonl"), transcript);
        assert_eq!(
            recording_of("/a/projects/-srv/ID/tool-results/1.txt"),
            transcript
        );
        let nested = "/a/projects/-srv/ID/subagents/workflows/w/agent-1.jsonl";
        assert_eq!(recording_of(nested), transcript);
        for log in ["-wal", "-shm", "-journal"] {
            let log = format!("/a/sessions/sessions.db{log}");
            assert_eq!(recording_of(&log), Path::new("/a/sessions/sessions.db"));
        }
        for other in [
            "/a/ID/x.jsonl",
            "/a/projects/-srv/notes/x.jsonl",
            "/a/x-wal",
            "/",
        ] {
            let other = other.replace("ID", ID);
            assert_eq!(recording_of(&other), Path::new(&other));
        }
    }

    #[test]
    fn a_rollout_lies_in_the_sessions_of_a_home() {
        let tree = Tree::new(&[
            "a/sessions/2026/01/02/rollout-1.jsonl",
            "b/archived_sessions/rollout-1.jsonl",
            "other/sessions/sessions.db",
        ]);
        let place = |file| Homes::default().codex(&tree.path(file));
        for (file, home) in [
            ("a/sessions/2026/01/02/rollout-1.jsonl", "a"),
            ("a/sessions/any/rollout-2.jsonl.zst", "a"),
            ("b/archived_sessions/rollout-1.jsonl", "b"),
        ] {
            let home = tree.path(home);
            assert_eq!(place(file), Place::Session { home }, "{file}");
        }
        for elsewhere in ["a/log/rollout-1.jsonl", "a/sessions/x.jsonl", "b/x/y.jsonl"] {
            assert_eq!(place(elsewhere), Place::Elsewhere, "{elsewhere}");
        }
        assert_eq!(place("other/sessions/x.jsonl"), Place::Outside);
        assert_eq!(place("rollout-1.jsonl"), Place::Outside);
    }
}
