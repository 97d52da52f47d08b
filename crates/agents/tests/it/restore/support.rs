use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use turnkeep_agents::{AgentHomes, RestoreAction, RestoreError, RestoreOptions, Restored, restore};
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, NewTask, RecordingName, Repo, Role, TaskId, WorkingDir,
};

pub(crate) const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

/// A store with one task, and homes that are empty at first.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) repo: Repo,
    pub(crate) task: TaskId,
}

impl World {
    pub(crate) fn new(backend: BackendType, session_id: &str) -> Self {
        Self::with_store(Repo::open_in_memory().unwrap(), backend, session_id)
    }

    pub(crate) fn with_store(repo: Repo, backend: BackendType, session_id: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let task = TaskId::new("t").unwrap();
        repo.save_task(&NewTask::new(task.clone(), "t")).unwrap();
        let world = Self { folder, repo, task };
        fs::create_dir(world.path("app")).unwrap();
        let working_dir = WorkingDir::try_from(world.path("app").as_path()).unwrap();
        let binding = NewSession::new(backend, session_id.parse().unwrap());
        world.bind(&binding.working_dir(working_dir));
        world
    }

    pub(crate) fn bind(&self, binding: &NewSession) {
        self.repo.save_session(&self.task, binding).unwrap();
    }

    /// Returns a path in the folder of the test, whose own path has no link.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join(inside)
    }

    /// Returns the project folder of Claude Code for a folder of the test.
    pub(crate) fn project(&self, folder: &str) -> String {
        turnkeep_recordings::project_folder(self.path(folder).to_str().unwrap())
    }

    pub(crate) fn keep(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let name = RecordingName::new(name).unwrap();
        let saved = self
            .repo
            .save_recording(&self.task, &name, 0, bytes.as_ref());
        assert_eq!(saved.unwrap(), bytes.as_ref().len() as u64);
    }

    pub(crate) fn say(&self, role: Role, text: &str, key: &str) {
        let message = NewMessage::new(role, text).key(key.parse().unwrap());
        self.repo.save_messages(&self.task, &[message]).unwrap();
    }

    pub(crate) fn homes(&self) -> AgentHomes {
        AgentHomes::new(self.path("claude"), self.path("codex"), self.path("goose"))
    }

    pub(crate) fn restore(&self) -> Restored {
        self.try_restore(|_| {}).unwrap()
    }

    pub(crate) fn try_restore(
        &self,
        set: impl FnOnce(&mut RestoreOptions),
    ) -> Result<Restored, RestoreError> {
        let mut options = RestoreOptions::default();
        set(&mut options);
        restore(&self.repo, &self.task, &self.homes(), &options)
    }

    /// Writes a file and creates its folders.
    pub(crate) fn write(&self, inside: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, inside: &str) -> Vec<u8> {
        fs::read(self.path(inside)).unwrap()
    }

    /// Returns all files of the test by their paths.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    let inside = path.strip_prefix(self.path("")).unwrap().to_str().unwrap();
                    files.insert(inside.to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        files
    }
}

/// Returns the steps with the names of their files.
pub(crate) fn steps(restored: &Restored) -> Vec<(RestoreAction, String)> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let steps = restored.steps.iter();
    steps.map(|step| (step.action, name(&step.path))).collect()
}
