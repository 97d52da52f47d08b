//! Claude Code. Version 2.1.197 finds a session only in the project folder of the folder that it is started in, version
//! 2.1.332 in any, but in none if two others have it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use turnkeep_recordings::project_folder;

use super::error::RestoreError;
use super::kept::{Content, KeptFile};
use super::write::{self, State};
use super::{Differing, Planned, Restore, RestoreAction, RestoreStep, Restored, left_out};
use crate::RestoreSource;
use crate::layout::claude::{Name, PROJECTS, has_message, side, transcript};
use crate::layout::{is_uuid, real};

pub(super) fn restore(restore: &Restore<'_>) -> Result<Restored, RestoreError> {
    let id = restore.session.session_id.as_str();
    if !is_uuid(id) {
        return Err(restore.invalid_id());
    }
    let mut steps = Vec::new();
    let kept = Kept::of(restore, id, &mut steps)?;
    let project = project(restore, kept.transcript.as_ref())?;
    let inside = transcript(&project, id).ok_or_else(|| restore.invalid_id())?;

    let mut source = RestoreSource::Files;
    let content = match conversation(restore, kept.transcript.map(|it| it.file), &mut steps)? {
        Some(content) => content,
        None => {
            let words = restore.words()?;
            source = RestoreSource::Words;
            let working_dir = restore.working_dir.as_deref().unwrap_or(Path::new("/"));
            Content::Written(words.claude(&restore.session.session_id, working_dir))
        }
    };
    let copies = Copies::of(restore.home, &project, id, &content)?;
    if let Some(path) = copies.longer.first().filter(|_| !restore.options.force) {
        let path = path.clone();
        return Err(RestoreError::OtherCopy { path });
    }
    let differing = match source {
        RestoreSource::Files => Differing::Fails,
        // It has more than the words.
        RestoreSource::Words if has_conversation(&restore.home.join(&inside))? => Differing::Stays,
        RestoreSource::Words => Differing::IsReplaced,
    };
    let main = restore.plan(inside, content, differing)?;
    let is_ahead = main.action == RestoreAction::KeepLonger;
    // A session that went on has other files beside it.
    let differing = match is_ahead {
        true => Differing::Stays,
        false => Differing::Fails,
    };
    let mut sides = Vec::new();
    for (inside, file) in kept.sides {
        let Some(inside) = side(&project, &inside) else {
            steps.push(left_out(&file));
            continue;
        };
        match restore.scan(&file)? {
            Some(scan) => {
                let content = Content::whole(file, scan.length);
                sides.push(restore.plan(inside, content, differing)?);
            }
            None => steps.push(left_out(&file)),
        }
    }

    for side in &sides {
        steps.push(restore.put(side)?);
    }
    steps.push(restore.put(&main)?);
    if is_ahead {
        source = RestoreSource::Files;
    }
    renew(restore, &main)?;
    for path in copies.shorter {
        let is_removed = restore.options.force;
        if is_removed && !restore.options.dry_run {
            fs::remove_file(&path).map_err(RestoreError::write(&path))?;
        }
        steps.push(RestoreStep {
            action: match is_removed {
                true => RestoreAction::RemoveCopy,
                false => RestoreAction::KeepCopy,
            },
            path,
        });
    }
    let longer = copies.longer.into_iter().map(|path| RestoreStep {
        action: RestoreAction::KeepCopy,
        path,
    });
    steps.extend(longer);
    Ok(restore.restored(&main.inside, source, steps))
}

/// The kept files of the session.
struct Kept<'a> {
    transcript: Option<Transcript<'a>>,
    /// By their paths below the project folder, in order.
    sides: Vec<(String, KeptFile<'a>)>,
}

struct Transcript<'a> {
    project: String,
    file: KeptFile<'a>,
}

impl<'a> Kept<'a> {
    /// Of a file that was in several project folders only the latest is put back.
    fn of(
        restore: &Restore<'a>,
        id: &str,
        steps: &mut Vec<RestoreStep>,
    ) -> Result<Self, RestoreError> {
        let mut transcript = None;
        let mut sides = HashMap::new();
        for file in KeptFile::all(restore.repo, restore.task)? {
            let name = file.name().to_owned();
            match Name::of(&name, id) {
                Some(Name::Transcript { project }) if transcript.is_none() => {
                    let project = project.to_owned();
                    transcript = Some(Transcript { project, file });
                }
                Some(Name::Side { inside }) if !sides.contains_key(inside) => {
                    sides.insert(inside.to_owned(), file);
                }
                Some(_) => steps.push(left_out(&file)),
                // Of an earlier session of the task.
                None => {}
            }
        }
        let mut sides: Vec<_> = sides.into_iter().collect();
        sides.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self { transcript, sides })
    }
}

/// Returns the name of the project folder: of the working folder, or else as it was.
fn project(restore: &Restore<'_>, kept: Option<&Transcript<'_>>) -> Result<String, RestoreError> {
    let known = restore.working_dir.as_ref().map(|folder| {
        // Claude Code takes the path without links.
        project_folder(&real(folder).to_string_lossy())
    });
    let kept = || kept.map(|transcript| transcript.project.clone());
    known
        .or_else(kept)
        .ok_or_else(|| RestoreError::NoWorkingDir {
            task_id: restore.task.clone(),
        })
}

/// Returns the lines of the transcript, `None` if there is none or it has no message.
fn conversation<'a>(
    restore: &Restore<'a>,
    transcript: Option<KeptFile<'a>>,
    steps: &mut Vec<RestoreStep>,
) -> Result<Option<Content<'a>>, RestoreError> {
    let Some(file) = transcript else {
        return Ok(None);
    };
    if let Some(scan) = restore.scan(&file)? {
        if restore.options.exact {
            return Ok(Some(Content::whole(file, scan.length)));
        }
        if has_message(file.reader()).map_err(RestoreError::read(Path::new(file.name())))? {
            return Ok(Some(Content::whole_lines(file, &scan)));
        }
    }
    steps.push(left_out(&file));
    Ok(None)
}

/// Whether Claude Code finds a conversation in a file of the home.
fn has_conversation(path: &Path) -> Result<bool, RestoreError> {
    match write::open(path)? {
        Some(file) => has_message(file).map_err(RestoreError::read(path)),
        None => Ok(false),
    }
}

/// Gives the transcript the present as its time: Claude Code deletes one that is older than 30 days.
fn renew(restore: &Restore<'_>, main: &Planned<'_>) -> Result<(), RestoreError> {
    let was_there = matches!(main.action, RestoreAction::Keep | RestoreAction::KeepLonger);
    if was_there && !restore.options.dry_run {
        write::touch(&restore.home.join(&main.inside))?;
    }
    Ok(())
}

/// The transcripts of the session in other project folders.
#[derive(Default)]
struct Copies {
    /// With no more than the store has.
    shorter: Vec<PathBuf>,
    /// With more, or with other words.
    longer: Vec<PathBuf>,
}

impl Copies {
    fn of(
        home: &Path,
        project: &str,
        id: &str,
        content: &Content<'_>,
    ) -> Result<Self, RestoreError> {
        let mut copies = Self::default();
        let projects = home.join(PROJECTS);
        // There may be no projects yet.
        let mut folders: Vec<_> = fs::read_dir(&projects)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        folders.sort_by_key(fs::DirEntry::file_name);
        for folder in folders {
            let is_folder = folder.file_type().is_ok_and(|kind| kind.is_dir());
            let path = folder.path().join(format!("{id}.jsonl"));
            let is_file = || fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
            if !is_folder || folder.file_name() == project || !is_file() {
                continue;
            }
            match write::compare(&path, content)? {
                State::Missing => {}
                State::Equal | State::Shorter => copies.shorter.push(path),
                _ if !has_conversation(&path)? => copies.shorter.push(path),
                State::Longer | State::Different => copies.longer.push(path),
            }
        }
        Ok(copies)
    }
}
