//! Claude Code finds a session in the project folder of the folder it is started in; newer versions look through all
//! project folders, unless two have the id. All take the path of a transcript, from anywhere.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use turnkeep_repo::BackendType;

use crate::home_check::cleanup_period;
use crate::layout::claude::{PROJECTS, has_message};
use crate::layout::{entries, is_uuid, real};
use crate::plan::files::{open, unreadable};
use crate::plan::{Kept, Look, Note, RecordingState, Refusal, Target, as_text};

pub(super) fn look(home: &Path, id: &str, start: Option<&Path>, kept: &[Kept]) -> Look {
    if !is_uuid(id) {
        let backend = BackendType::Claude;
        return Look {
            target: Err(Refusal::NoUuid { backend }),
            ..Look::missing()
        };
    }
    let found = match transcripts(home, id) {
        Ok(found) => found,
        Err(refusal) => {
            return Look {
                target: Err(refusal),
                ..Look::missing()
            };
        }
    };
    // The real path names the project folder, also where a link leads to the folder.
    let project = start.and_then(|start| {
        let start = real(start);
        Some(turnkeep_recordings::project_folder(start.to_str()?))
    });
    let is_own = |path: &Path| {
        let folder = path.parent().and_then(Path::file_name);
        project
            .as_deref()
            .is_some_and(|project| folder == Some(project.as_ref()))
    };
    let latest = |(path, metadata): &(PathBuf, Metadata)| (is_own(path), metadata.modified().ok());
    let Some((path, metadata)) = found.iter().max_by_key(|found| latest(found)) else {
        return Look::missing();
    };
    let has_message = open(path).and_then(|file| has_message(file).map_err(unreadable(path)));
    match has_message {
        Ok(true) => {}
        Ok(false) => {
            let refusal = Refusal::NoConversation { path: path.clone() };
            return Look::refused(path.clone(), refusal);
        }
        Err(refusal) => return Look::refused(path.clone(), refusal),
    }
    let mut notes = Vec::new();
    let others = found.iter().filter(|(other, _)| other != path);
    notes.extend(others.map(|(other, _)| Note::OtherCopy {
        path: other.clone(),
    }));
    let age = metadata.modified().ok();
    let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.is_some_and(|age| age > cleanup_period(home)) {
        notes.push(Note::WillBeSwept { path: path.clone() });
    }
    let target = match is_own(path) {
        true => Ok(Target::Claude(id.to_owned())),
        false => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            as_text("path of the recording", &path).map(|path| Target::Claude(path.to_owned()))
        }
    };
    let name = format!("{id}.jsonl");
    let kept = kept.iter().find(|file| {
        let folders = file.name.strip_prefix("projects/");
        folders
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(_, rest)| rest == name)
    });
    Look {
        recording: RecordingState::compared(path.clone(), metadata.len(), kept),
        notes,
        target,
    }
}

/// Returns the transcripts of a session in all project folders.
fn transcripts(home: &Path, id: &str) -> Result<Vec<(PathBuf, Metadata)>, Refusal> {
    let name = format!("{id}.jsonl");
    let projects = home.join(PROJECTS);
    let folders = entries(&projects).map_err(unreadable(&projects))?;
    let files = folders.iter().map(|folder| folder.path().join(&name));
    let files = files.filter_map(|path| Some((fs::metadata(&path).ok()?, path)));
    Ok(files
        .filter(|(metadata, _)| metadata.is_file())
        .map(|(metadata, path)| (path, metadata))
        .collect())
}
