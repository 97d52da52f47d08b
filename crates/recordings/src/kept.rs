//! The files of a session, which a resume needs byte for byte.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use turnkeep_model::BackendType;
use walkdir::WalkDir;

use crate::claude::project_folder;
use crate::error::Error;
use crate::file_name::{ROLLOUT_FOLDERS, RolloutName, component, file_stem, has_suffix};
use crate::open::open_itself;
use crate::recording::Recording;

/// The most files and the most levels of the folder of a session.
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: usize = 16;

/// A file that belongs to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptFile {
    /// The path of the file relative to the home of its agent, with `/` between the components:
    /// `projects/-srv-app/<id>.jsonl`, `sessions/2026/05/01/rollout-<time>-<id>.jsonl`. A file outside of a
    /// home has the name under which the agent would look for it.
    pub name: String,
    /// The file itself.
    pub path: PathBuf,
}

impl KeptFile {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Io`] if it can't be opened, [`Error::NotAFile`] if it has become
    /// something else than a regular file, such as a pipe. A link is not followed.
    pub fn open(&self) -> Result<File, Error> {
        open_itself(&self.path)
    }
}

/// A file of a session with the home in which it lies, if any.
pub(crate) struct Placed<'a> {
    pub(crate) path: &'a Path,
    pub(crate) home: Option<&'a Path>,
    /// The sub-agents of a transcript that lie beside it.
    pub(crate) sub_agents: Vec<&'a Path>,
}

/// See [`Source::kept_files`](crate::Source::kept_files). `files` are in order of their weight. `codex_home` is
/// the home that has the ancestors of the recording.
pub(crate) fn kept_files(
    files: &[Placed<'_>],
    recording: &Recording,
    codex_home: Option<&Path>,
) -> Vec<Result<KeptFile, Error>> {
    let mut kept = Kept::default();
    for file in files {
        let is_claude = recording.backend_type == BackendType::Claude;
        let is_own = |path: &Path| is_claude && file_stem(path) == recording.session_id.as_str();
        kept.add_recording(file, is_own, |path| Some(canonical(path, recording)));
    }
    for path in &recording.ancestors {
        let name = codex_home.and_then(|home| relative(path, home));
        match name {
            Some(name) => kept.add(name, path.clone()),
            None => kept.leave_out(path),
        }
    }
    kept.files
}

/// See [`Source::files_in_home`](crate::Source::files_in_home).
pub(crate) fn files_in_home(files: &[Placed<'_>], is_claude: bool) -> Vec<KeptFile> {
    let mut kept = Kept::default();
    for file in files {
        kept.add_recording(file, |_| is_claude, |_| None);
    }
    kept.files.into_iter().flatten().collect()
}

#[derive(Default)]
struct Kept {
    files: Vec<Result<KeptFile, Error>>,
    names: HashSet<String>,
}

impl Kept {
    /// Adds a recording, and the files beside a transcript that `is_own`. `elsewhere` names one that is in no home.
    fn add_recording(
        &mut self,
        file: &Placed<'_>,
        is_own: impl Fn(&Path) -> bool,
        elsewhere: impl Fn(&Path) -> Option<String>,
    ) {
        // The home is a real path.
        let path = match fs::canonicalize(file.path) {
            Ok(path) => path,
            Err(error) => return self.files.push(Err(Error::io(file.path)(error))),
        };
        let name = file.home.and_then(|home| relative(&path, home));
        let Some(name) = name.or_else(|| elsewhere(&path)) else {
            return;
        };
        let folder = name.strip_suffix(".jsonl").filter(|_| is_own(&path));
        let folder = folder.map(str::to_owned);
        self.add(name, path.clone());
        if let Some(folder) = folder {
            self.add_folder(&path.with_extension(""), &folder);
            let project = folder.rsplit_once('/').map_or("", |(project, _)| project);
            self.add_sub_agents(&file.sub_agents, project);
        }
    }

    /// Adds a file, if there is none of this name yet: of two copies the one with more weight counts.
    fn add(&mut self, name: String, path: PathBuf) {
        if self.names.insert(name.clone()) {
            self.files.push(Ok(KeptFile { name, path }));
        }
    }

    fn leave_out(&mut self, path: &Path) {
        let path = path.to_owned();
        self.files.push(Err(Error::InvalidName { path }));
    }

    /// Adds the files of sub-agents in the folder of the transcript, which has this name.
    fn add_sub_agents(&mut self, files: &[&Path], folder: &str) {
        if files.len() > MAX_FILES {
            let path = files[0].parent().unwrap_or(files[0]).to_owned();
            self.files.push(Err(Error::TooManyFiles { path }));
            return;
        }
        for path in files {
            match path.parent().and_then(|parent| relative(path, parent)) {
                Some(name) => self.add(format!("{folder}/{name}"), path.to_path_buf()),
                None => self.leave_out(path),
            }
        }
    }

    /// Adds the files of sub-agents and the results of tools, which Claude Code stores in a folder beside the
    /// transcript.
    fn add_folder(&mut self, folder: &Path, name: &str) {
        if !fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
            return;
        }
        let entries = WalkDir::new(folder)
            .min_depth(1)
            .max_depth(MAX_DEPTH + 1)
            .sort_by_file_name();
        for (entry, number) in entries.into_iter().zip(1..) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(folder).to_owned();
                    if let Some(source) = error.into_io_error() {
                        self.files.push(Err(Error::io(&path)(source)));
                    }
                    continue;
                }
            };
            if number > MAX_FILES || entry.depth() > MAX_DEPTH {
                let path = folder.to_owned();
                self.files.push(Err(Error::TooManyFiles { path }));
                return;
            }
            if entry.file_type().is_dir() {
                continue;
            }
            if !entry.file_type().is_file() {
                let path = entry.into_path();
                self.files.push(Err(Error::NotAFile { path }));
                continue;
            }
            match relative(entry.path(), folder) {
                Some(inside) => self.add(format!("{name}/{inside}"), entry.into_path()),
                None => self.leave_out(entry.path()),
            }
        }
    }
}

/// Returns the path relative to a folder, `None` if it can't be a name in a store.
fn relative(path: &Path, folder: &Path) -> Option<String> {
    let inside = path.strip_prefix(folder).ok()?;
    let names = inside.components().map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let name = names.collect::<Option<Vec<_>>>()?.join("/");
    let is_valid = !name.is_empty() && !name.contains('\\') && !name.chars().any(char::is_control);
    is_valid.then_some(name)
}

/// Returns the name under which the agent would look for the session.
fn canonical(path: &Path, recording: &Recording) -> String {
    let id = component(recording.session_id.as_str());
    match recording.backend_type {
        BackendType::Claude => {
            let folder = recording
                .working_dir
                .as_ref()
                .map_or("/", |dir| dir.as_str());
            format!("projects/{}/{id}.jsonl", project_folder(folder))
        }
        BackendType::Codex => {
            let suffix = match has_suffix(path, ".zst") {
                true => ".jsonl.zst",
                false => ".jsonl",
            };
            let time = recording.first_timestamp().unwrap_or_default();
            let time = time.format("%Y-%m-%dT%H-%M-%S");
            let own = path.file_name().and_then(|name| name.to_str());
            let own = own.filter(|_| RolloutName::of(path).is_some());
            let own = own.filter(|name| date_folder(name).is_some());
            let name = own.map_or_else(|| format!("rollout-{time}-{id}{suffix}"), str::to_owned);
            let date = date_folder(&name).unwrap_or_default();
            format!("{}/{date}/{name}", ROLLOUT_FOLDERS[0])
        }
        _ => format!("sessions/{id}.jsonl"),
    }
}

/// Returns `YYYY/MM/DD` of `rollout-YYYY-MM-DDT…`.
fn date_folder(name: &str) -> Option<String> {
    let (date, _) = name.strip_prefix("rollout-")?.split_once('T')?;
    let is_date = date.len() == 10
        && date.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_date.then(|| date.replace('-', "/"))
}
