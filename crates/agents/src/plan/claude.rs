//! Claude Code finds a session in the project folder of the folder it is started in; newer versions look through all
//! project folders, unless two have the id. All take the path of a transcript, from anywhere.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::IgnoredAny;
use turnkeep_repo::BackendType;

use crate::home_check::cleanup_period;
use crate::layout::is_uuid;
use crate::plan::files::{entries, find_line};
use crate::plan::{Kept, Look, Note, RecordingState, Refusal, Target, as_text};

/// The bytes of a transcript in which a message must be found.
const MAX_HEAD: u64 = 16 * 1024 * 1024;

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
    let project = start.and_then(|start| start.canonicalize().ok());
    let project =
        project.and_then(|start| Some(turnkeep_recordings::project_folder(start.to_str()?)));
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
    match has_message(path) {
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
    let projects = entries(&home.join("projects"))?.into_iter();
    let files = projects.map(|project| project.join(&name));
    let files = files.filter_map(|path| Some((fs::metadata(&path).ok()?, path)));
    Ok(files
        .filter(|(metadata, _)| metadata.is_file())
        .map(|(metadata, path)| (path, metadata))
        .collect())
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
    message: Option<IgnoredAny>,
    timestamp: Option<IgnoredAny>,
}

/// Whether a transcript has a message that Claude Code reads. Without one it finds no conversation.
fn has_message(path: &Path) -> Result<bool, Refusal> {
    let found = find_line(path, MAX_HEAD, |line| {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let is_turn = matches!(line.kind.as_deref(), Some("user" | "assistant"));
        (is_turn && line.message.is_some() && line.timestamp.is_some()).then_some(())
    })?;
    let is_longer = || fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_HEAD);
    Ok(found.is_some() || is_longer())
}
