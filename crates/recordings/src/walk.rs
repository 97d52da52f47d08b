use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use turnkeep_model::BackendType;
use walkdir::{DirEntry, WalkDir};

use crate::classify::{Classifier, Verdict};
use crate::error::Error;
use crate::file_name::{ROLLOUT_FOLDERS, RolloutName, file_stem, has_suffix, is_agent_file};
use crate::found::Found;
use crate::place::recording_of;
use crate::source::Source;

/// The file name of a Goose database.
const DATABASE: &str = "sessions.db";

/// Finds the recordings below a folder.
///
/// Visits each folder once and follows no link. One that leads to a place inside the folder leads to what is
/// visited anyway, and one that leads out of it is passed over.
///
/// Leaves out recordings of which no file has changed.
pub(crate) fn walk(
    root: &Path,
    backend: Option<&BackendType>,
    is_unchanged: &dyn Fn(&Path, &Metadata) -> bool,
) -> Result<Found, Error> {
    let real_root = fs::canonicalize(root).map_err(Error::io(root))?;
    let mut search = Search::new(backend);
    let mut unchanged = Vec::new();
    // The recordings beside which a file has changed.
    let mut touched = HashSet::new();
    for entry in WalkDir::new(root) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                search.found.sources.extend(unreadable(root, &error));
                continue;
            }
        };
        if entry.path_is_symlink() && entry.depth() > 0 {
            link(&entry, &real_root, &mut search.found);
            continue;
        }
        // Opening a database may copy it.
        let is_database = entry.file_name() == DATABASE;
        let is_wanted = !is_database || backend.is_none_or(|it| *it == BackendType::Goose);
        if !entry.file_type().is_file() || !is_wanted {
            continue;
        }
        let inside = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let place = real_root.join(inside);
        let recording = recording_of(entry.path());
        let is_beside = recording != entry.path() && has_suffix(&recording, ".jsonl");
        let metadata = entry.metadata();
        match metadata.is_ok_and(|metadata| is_unchanged(&place, &metadata)) {
            true if is_beside || is_agent_file(&place) => {}
            true => unchanged.push((recording, place)),
            false => {
                if is_beside {
                    touched.insert(recording);
                }
                search.file(entry.path(), &place);
            }
        }
    }
    touched.extend(search.sub_agents.keys().cloned());
    let sessions = search.found.sources.iter().filter_map(Source::session);
    let sessions: HashSet<_> = sessions.map(|(_, session)| session).collect();
    for (path, place) in unchanged {
        match touched.contains(&path) || sessions.contains(&session_of(&path)) {
            true => search.file(&path, &place),
            false => search.found.unchanged.push(path),
        }
    }
    search.found.unchanged.sort();
    Ok(search.finish())
}

/// Finds the recordings among files below a folder. Passes over links, and files behind a link out of the
/// folder.
pub(crate) fn walk_among(root: &Path, files: &BTreeSet<PathBuf>) -> Result<Found, Error> {
    let real_root = fs::canonicalize(root).map_err(Error::io(root))?;
    let mut search = Search::new(None);
    let add = |path: &PathBuf, search: &mut Search<'_>| {
        let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        match fs::canonicalize(path) {
            Ok(place) if is_file && place.starts_with(&real_root) => search.file(path, &place),
            _ => {}
        }
    };
    files.iter().for_each(|path| add(path, &mut search));
    let transcripts: Vec<_> = search.sub_agents.keys().cloned().collect();
    let others = transcripts.iter().filter(|path| !files.contains(*path));
    others.for_each(|path| add(path, &mut search));
    Ok(search.finish())
}

/// The files that were looked at so far.
struct Search<'a> {
    classifier: Classifier<'a>,
    found: Found,
    /// The sub-agents that lie beside a transcript, by its path.
    sub_agents: HashMap<PathBuf, Vec<PathBuf>>,
}

impl<'a> Search<'a> {
    fn new(backend: Option<&'a BackendType>) -> Self {
        Self {
            classifier: Classifier::new(backend),
            found: Found::default(),
            sub_agents: HashMap::new(),
        }
    }

    /// Adds a file to the recordings if it is one. `place` is its real, absolute path.
    fn file(&mut self, path: &Path, place: &Path) {
        let verdict = match may_be_recording(path) {
            true => self.classifier.in_folder(path, place),
            false => self.classifier.log(path, place),
        };
        match verdict {
            Ok(Verdict::Recording(source)) => self.found.sources.push(source),
            Ok(Verdict::SubAgent { session_id }) => {
                let transcript = path.with_file_name(format!("{session_id}.jsonl"));
                let sub_agents = self.sub_agents.entry(transcript).or_default();
                sub_agents.push(path.to_owned());
            }
            Ok(Verdict::PassedOver(reason)) => self.found.passed_over.push(reason),
            // Not a recording, or deleted during the walk.
            Ok(Verdict::Other) | Err(Error::NotFound { .. } | Error::NotAFile { .. }) => {}
            Err(_) => {
                let source = Source::unreadable(path.to_owned());
                self.found.sources.push(source);
            }
        }
    }

    fn finish(mut self) -> Found {
        for source in &mut self.found.sources {
            if let Some(mut sub_agents) = self.sub_agents.remove(source.path()) {
                sub_agents.sort();
                source.add_sub_agents(sub_agents);
            }
        }
        self.found
    }
}

/// Returns the session in the name of a file.
fn session_of(path: &Path) -> String {
    RolloutName::of(path).map_or_else(|| file_stem(path), |name| name.thread)
}

fn may_be_recording(path: &Path) -> bool {
    let is_database = path.file_name().is_some_and(|name| name == DATABASE);
    is_database || has_suffix(path, ".jsonl") || has_suffix(path, ".jsonl.zst")
}

/// Notes a link that leads out of the folder, if it stands where recordings do.
fn link(entry: &DirEntry, root: &Path, found: &mut Found) {
    let target = match fs::canonicalize(entry.path()) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(_) => {
            let path = entry.path().to_owned();
            found
                .sources
                .extend(may_be_recording(&path).then(|| Source::unreadable(path)));
            return;
        }
    };
    let parent = entry.path().parent().and_then(Path::file_name);
    let names = [Some(entry.file_name()), parent];
    let is_folder_of_sessions = names
        .iter()
        .flatten()
        .any(|name| *name == "projects" || ROLLOUT_FOLDERS.iter().any(|folder| name == folder));
    let has_sessions = || {
        let mut folders = ROLLOUT_FOLDERS.iter().chain(&["projects"]);
        folders.any(|folder| target.join(folder).is_dir())
    };
    let may_have_recordings = match target.is_dir() {
        true => is_folder_of_sessions || has_sessions(),
        false => may_be_recording(entry.path()),
    };
    if may_have_recordings && !target.starts_with(root) {
        let path = entry.path().to_owned();
        found.passed_over.push(Error::LeadsOut { path });
    }
}

/// Returns a source for a path that the walk could not enter. Reading it reports the error. `None` for a
/// path that does not exist any more.
fn unreadable(root: &Path, error: &walkdir::Error) -> Option<Source> {
    let is_gone = error
        .io_error()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
    let path: PathBuf = error.path().unwrap_or(root).to_owned();
    (!is_gone).then(|| Source::unreadable(path))
}
