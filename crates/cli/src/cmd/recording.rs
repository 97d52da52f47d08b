use std::io::Write as _;

use serde_json::json;
use turnkeep_model::visible_lines;
use turnkeep_repo::{RecordingFile, Repo, TaskId};

use crate::args::RecordingCommand;
use crate::failure::{Kind, Problem, with_hint};
use crate::indexes;
use crate::output::Output;
use crate::record::{self, seconds};
use crate::short_id::{find, find_to_change};
use crate::store::Store;

pub(crate) fn run(command: RecordingCommand, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.clone().open()?;
    match command {
        RecordingCommand::List { task } => list(&find(&repo, &task.id, out)?, &repo, out),
        RecordingCommand::Cat { task, name } => {
            cat(&find(&repo, &task.id, out)?, &name, &repo, out)
        }
        RecordingCommand::Rm { task } => {
            remove(&find_to_change(&repo, &task.id, out)?, &repo, &store, out)
        }
    }
}

/// Returns the kept files of a task, which must exist.
fn files(repo: &Repo, task: &TaskId) -> anyhow::Result<Vec<RecordingFile>> {
    let files = repo.get_recordings(task)?;
    if files.is_empty() {
        repo.get_task(task)?;
    }
    Ok(files)
}

fn list(task: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let files = files(repo, task)?;
    if out.is_json() {
        for file in &files {
            out.json(&record::recording(file))?;
        }
        return Ok(());
    }
    if files.is_empty() {
        out.note("no files are kept")?;
        return Ok(());
    }
    let rows = files.iter().map(|file| {
        [
            file.number.to_string(),
            file.name.to_string(),
            file.length.to_string(),
            file.stored_bytes.to_string(),
            seconds(file.updated_at),
        ]
    });
    out.table(["NUMBER#", "NAME", "BYTES#", "STORED#", "UPDATED"], rows)?;
    Ok(())
}

/// Prints the bytes of the last file of a name.
fn cat(task: &TaskId, name: &str, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let files = files(repo, task)?;
    let Some(file) = files.iter().rev().find(|file| file.name.as_str() == name) else {
        let message = format!("the task `{task}` has no kept file `{name}`");
        let problem = Problem::new(Kind::NOT_FOUND, message).task(task);
        return Err(problem
            .hint("`turnkeep recording list` shows the names")
            .into());
    };
    let mut pending = Vec::new();
    let mut offset = 0;
    loop {
        let bytes = repo.read_recording(task, file.number, offset)?;
        if bytes.is_empty() {
            break;
        }
        offset += bytes.len() as u64;
        pending.extend(bytes);
        let count = match out.is_terminal() {
            true => visible_length(&pending)?,
            false => pending.len(),
        };
        out.raw().write_all(&pending[..count])?;
        pending.drain(..count);
    }
    Ok(out.raw().write_all(&pending)?)
}

/// Returns the length without a character that is not complete yet. Fails if a terminal can't show the bytes as they are.
fn visible_length(bytes: &[u8]) -> anyhow::Result<usize> {
    let length = match str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    let text = str::from_utf8(&bytes[..length]);
    if text.is_ok_and(|text| visible_lines(text) == text) {
        return Ok(length);
    }
    Err(with_hint(
        "the file has characters that can't be shown",
        "a pipe or a file gets it as it is",
    ))
}

fn remove(task: &TaskId, repo: &Repo, store: &Store, out: &mut Output) -> anyhow::Result<()> {
    let dropped = repo.delete_recordings(task)?;
    indexes::forget_recordings(repo, store);
    match out.is_json() {
        true => out.json(&json!({"task_id": task.as_str(), "dropped_files": dropped}))?,
        false => out.line(&format!("dropped files of task {task}: {dropped}"))?,
    }
    Ok(())
}
