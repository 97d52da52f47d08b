//! Claude Code: one JSONL file per session, `projects/<folder slug>/<session id>.jsonl`.

mod file;
mod history;
mod line;
mod project;
mod prompt;
mod queue;
mod title;
mod turns;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use turnkeep_model::BackendType;

use crate::by_time::{Timed, by_time};
use crate::claude::file::File;
use crate::claude::line::Line;
use crate::claude::title::Titles;
use crate::claude::turns::Turns;
use crate::error::Error;
use crate::file_name::is_uuid;
use crate::jsonl;
use crate::open::open;
use crate::recording::Recording;
use crate::session::Session;

pub(crate) use history::History;
pub use project::project_folder;
pub(crate) use prompt::prompt_text;

/// Reads the transcript of a session. Claude Code or a person may have split it into several files, or
/// copied it.
///
/// Only a file in the home of its agent (`is_in_place`) tells the working folder, if there is one.
/// A file whose lines are all of another session is passed over. A file that the user named may have any
/// name, if all of its lines are of one session.
pub(crate) fn read(
    files: &[PathBuf],
    is_in_place: impl Fn(&Path) -> bool,
    is_named: bool,
) -> Result<Recording, Error> {
    let mut turns = Turns::default();
    let mut settled = 0;
    let mut read: Vec<File> = Vec::new();
    let mut passed_over = Vec::new();
    if let [path] = files {
        let file = read_file(path, 0, |line, start| {
            turns.line(line);
            settled = start.filter(|_| turns.is_settled).unwrap_or(settled);
        })?;
        if file.session_id(is_named).is_none() {
            let path = path.clone();
            return Err(Error::OtherSession { path });
        }
        read.push(file);
    } else {
        let mut lines = Vec::new();
        let mut uuids = Vec::new();
        for path in files {
            let mut own = Vec::new();
            let file = read_file(path, 0, |item, _| {
                // The other lines have only a title.
                if !item.is_said() || !item.has_words() {
                    uuids.extend(item.uuid.0);
                    return;
                }
                let time = item.time();
                own.push(Timed { time, item });
            })?;
            if file.session_id(false).is_some() {
                read.push(file);
                lines.push(own);
            } else {
                passed_over.push(path.clone());
            }
        }
        by_time(lines).for_each(|(_, line)| turns.line(line));
        turns.uuids.extend(uuids);
    }
    let mut titles = Titles::default();
    for file in &mut read {
        titles.add(std::mem::take(&mut file.titles));
    }
    let unparsable_lines = read.iter().map(|file| file.unparsable_lines).sum();
    let rank = |file: &File| (is_in_place(&file.path), file.latest);
    let Some(latest) = read.into_iter().max_by_key(rank) else {
        let path = passed_over.swap_remove(0);
        return Err(Error::OtherSession { path });
    };
    let id = latest.session_id(is_named).unwrap_or_default().to_owned();
    let session = Session::new(BackendType::Claude, id, latest.path.clone());
    Session {
        forked_from: latest.origin().map(str::to_owned),
        title: titles.best(&turns.uuids),
        drafts: turns.drafts,
        withdrawn: turns.withdrawn,
        unparsable_lines,
        working_dir: latest.working_dir(),
        passed_over,
        settled,
        ..session
    }
    .into_recording()
}

/// Reads the end of a transcript, from the line of a turn of the user on. `None` if no line begins there, if the
/// lines are of another session, or if they have the summary of earlier ones.
pub(crate) fn read_tail(path: &Path, offset: u64) -> Result<Option<Recording>, Error> {
    let mut turns = Turns::default();
    let mut settled = offset;
    let mut first = None;
    let mut file = read_file(path, offset, |line, start| {
        first = first.or(start);
        turns.line(line);
        settled = start.filter(|_| turns.is_settled).unwrap_or(settled);
    })?;
    let titles = std::mem::take(&mut file.titles);
    let is_whole = first == Some(offset) && titles.are_of(&turns.uuids);
    let id = file.session_id(false).filter(|_| is_whole);
    let Some(id) = id.map(str::to_owned) else {
        return Ok(None);
    };
    let session = Session::new(BackendType::Claude, id, path.to_owned());
    let tail = Session {
        title: titles.best(&turns.uuids),
        drafts: turns.drafts,
        withdrawn: turns.withdrawn,
        unparsable_lines: file.unparsable_lines,
        working_dir: file.started_in(),
        settled,
        ..session
    };
    tail.into_recording().map(Some)
}

/// Returns the session of a sub-agent, which its first line names. Claude Code 2.0 stored sub-agents beside the
/// transcripts.
pub(crate) fn parent_of(path: &Path) -> Result<Option<String>, Error> {
    /// The longest line that is read.
    const MAX_LINE: u64 = 16 * 1024 * 1024;
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sidechain {
        session_id: String,
        is_sidechain: bool,
    }
    let mut line = Vec::new();
    let mut file = BufReader::new(open(path)?.take(MAX_LINE));
    file.read_until(b'\n', &mut line).map_err(Error::io(path))?;
    let first: Option<Sidechain> = serde_json::from_slice(&line).ok();
    let parent = first.filter(|line| line.is_sidechain && is_uuid(&line.session_id));
    Ok(parent.map(|line| line.session_id))
}

/// Reads a file from an offset on. `visit` gets the offset of the line with the first object of each line.
fn read_file(
    path: &Path,
    offset: u64,
    mut visit: impl FnMut(Line, Option<u64>),
) -> Result<File, Error> {
    let mut file = File::new(path);
    file.unparsable_lines = jsonl::for_each_object_from(path, offset, |mut line: Line, start| {
        file.line(&mut line);
        visit(line, start);
        true
    })?;
    Ok(file)
}

/// Reads a log of `claude -p --output-format stream-json`. Only its lines tell the session.
pub(crate) fn read_log(path: &Path) -> Result<Recording, Error> {
    let mut turns = Turns::default();
    let mut id = None;
    let mut working_dir = None;
    let unparsable_lines = jsonl::for_each_object(path, |mut line: Line| {
        id = line.log_session_id.0.take().or(id.take());
        working_dir = working_dir.take().or(line.cwd.0.take());
        turns.line(line);
        true
    })?;
    let id = id.unwrap_or_default();
    Session {
        working_dir,
        drafts: turns.drafts,
        unparsable_lines,
        ..Session::new(BackendType::Claude, id, path.to_owned())
    }
    .into_recording()
}
