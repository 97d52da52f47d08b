//! The task that a recording belongs to.
//!
//! It is the task that is bound to the session, or was: an orchestrator's own, or one that an import made. No
//! other task gets words of the recording, whatever the recording says.

use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use turnkeep_recordings::Recording;
use turnkeep_repo::{
    ErrorKind, Metadata, NewSession, NewTask, Repo, Result, Session, TaskId, TaskStatus,
};

/// The metadata of a binding that an import has made. Other bindings are not changed.
#[derive(Serialize, Deserialize)]
struct Origin {
    /// The recording. Of a session that only the content of files claims, their folder: an orchestrator may
    /// keep a log of each run there.
    imported_from: PathBuf,
}

/// The task of a session.
pub(super) struct Target {
    pub(super) id: TaskId,
    pub(super) is_new: bool,
}

/// Returns the task of the session, and makes it if there is none.
///
/// A file that only claims to be of the session (`is_claim`) must lie where the one that made the task does.
/// Fails with [`Refused`] for another, and for a task that has the name of the session's, but never was bound
/// to it.
pub(super) fn task(repo: &Repo, recording: &Recording, is_claim: bool) -> anyhow::Result<Target> {
    let bound = || repo.find_task_by_session(&recording.backend_type, &recording.session_id);
    if let Some(task) = bound()? {
        let is_own = || -> Result<bool> {
            let origin = repo.find_session(&task)?.as_ref().and_then(origin_of);
            let real = real_path(recording);
            let paths = [Some(real.as_path()), real.parent()];
            Ok(origin.is_some_and(|origin| paths.contains(&Some(&origin.imported_from))))
        };
        if is_claim && !is_own()? {
            return Err(Refused::KnownSession.into());
        }
        return Ok(Target::known(task));
    }
    let task = recording.task_id()?;
    match repo.get_task(&task) {
        // Another import may have made it meanwhile.
        Ok(_) => match bound()? {
            Some(task) => Ok(Target::known(task)),
            None => Err(Refused::OtherTask(task).into()),
        },
        Err(error) if *error.kind() == ErrorKind::TaskNotFound => {
            make(repo, &task, recording, is_claim)?;
            Ok(Target {
                id: task,
                is_new: true,
            })
        }
        Err(error) => Err(error.into()),
    }
}

impl Target {
    fn known(id: TaskId) -> Self {
        Self { id, is_new: false }
    }
}

/// The reason for which a recording is passed over.
#[derive(Debug)]
pub(super) enum Refused {
    KnownSession,
    OtherTask(TaskId),
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KnownSession => f.write_str("the session is known from elsewhere"),
            Self::OtherTask(task) => {
                write!(f, "the task `{task}` was never bound to this session")
            }
        }
    }
}

impl std::error::Error for Refused {}

/// Makes the task with its binding. It is completed from the beginning, so that no orchestrator starts it, and
/// has the times of the recording.
fn make(repo: &Repo, task: &TaskId, recording: &Recording, is_claim: bool) -> Result<()> {
    let mut new = NewTask::new(task.clone(), recording.name()).status(TaskStatus::Completed);
    new.recorded = recording.first_timestamp().zip(recording.last_timestamp());
    let path = real_path(recording);
    let folder = path.parent().filter(|_| is_claim).map(Path::to_owned);
    let binding = binding(recording, folder.unwrap_or(path));
    repo.transaction(|tx| {
        tx.save_task(&new)?;
        tx.save_session(task, &binding)?;
        Ok(())
    })
}

/// Gives the binding the folder that it lacks. One that only imports have written follows the recording, if
/// that is the latest copy. A folder that somebody set stays.
pub(super) fn follow(
    repo: &Repo,
    task: &TaskId,
    recording: &Recording,
    is_latest: bool,
) -> Result<()> {
    let current = repo.find_session(task)?.filter(|current| {
        current.backend_type == recording.backend_type && current.session_id == recording.session_id
    });
    let Some(current) = current else {
        return Ok(());
    };
    let path = real_path(recording);
    let mut followed = binding(recording, path.clone());
    followed.config_dir = current.config_dir.clone();
    match origin_of(&current).filter(|_| is_latest) {
        Some(origin) => {
            followed.working_dir = followed.working_dir.or(current.working_dir.clone());
            if path.parent() == Some(&origin.imported_from) {
                followed.metadata = current.metadata.clone();
            }
        }
        None => {
            followed.working_dir = current.working_dir.clone().or(followed.working_dir);
            followed.metadata = current.metadata.clone();
        }
    }
    let is_equal =
        followed.working_dir == current.working_dir && followed.metadata == current.metadata;
    if !is_equal {
        repo.save_session(task, &followed)?;
    }
    Ok(())
}

fn binding(recording: &Recording, imported_from: PathBuf) -> NewSession {
    let mut binding = NewSession::new(recording.backend_type.clone(), recording.session_id.clone());
    binding.working_dir = recording.working_dir.clone();
    // A path that is not UTF-8 can't be kept. The binding then never follows.
    binding.metadata = Metadata::from_serialize(&Origin { imported_from }).ok();
    binding
}

fn real_path(recording: &Recording) -> PathBuf {
    let path = fs::canonicalize(&recording.path);
    path.unwrap_or_else(|_| recording.path.clone())
}

fn origin_of(session: &Session) -> Option<Origin> {
    session.metadata.as_ref()?.deserialize().ok()
}
