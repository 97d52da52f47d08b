use std::io;

use serde_json::json;
use turnkeep_repo::{RecordingFile, Repo, TaskId};

use crate::args::RecordingCommand;
use crate::failure::with_hint;
use crate::output::Output;
use crate::record::{self, seconds};
use crate::store::Store;

pub(crate) fn run(command: RecordingCommand, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.open()?;
    match command {
        RecordingCommand::List { task } => list(&task.id, &repo, out),
        RecordingCommand::Cat { task, name } => cat(&task.id, &name, &repo, out),
        RecordingCommand::Rm { task } => remove(&task.id, &repo, out),
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
        return Err(with_hint(
            format!("the task `{task}` has no kept file `{name}`"),
            "`turnkeep recording list` shows the names",
        ));
    };
    io::copy(&mut repo.recording_reader(task, file.number), out.raw())?;
    Ok(())
}

fn remove(task: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let dropped = repo.delete_recordings(task)?;
    match out.is_json() {
        true => out.json(&json!({"task_id": task.as_str(), "dropped_files": dropped}))?,
        false => out.line(&format!("dropped files of task {task}: {dropped}"))?,
    }
    Ok(())
}
