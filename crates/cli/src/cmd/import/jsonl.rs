//! What `export` has written.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use indicatif::ProgressBar;
use serde::Serialize;
use turnkeep_admin::JsonlProgress;
use turnkeep_repo::Repo;

use crate::args::Cli;
use crate::output::{Output, progress_bar};
use crate::store::Store;

#[derive(Serialize)]
struct Done {
    path: String,
    added_tasks: u64,
    added_turns: u64,
    left_alone: u64,
}

/// Imports the files one after the other. Stops at the first that fails: the next may need it.
pub(super) fn run(paths: &[PathBuf], store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    let files = paths.iter().map(|path| Ok((path, open(path)?)));
    // Where nothing can be read, nothing is made.
    let files = files.collect::<anyhow::Result<Vec<_>>>()?;
    let repo = store.open_or_create_patiently()?;
    for (path, file) in files {
        let done =
            import(&repo, file, !out.is_json()).with_context(|| path.display().to_string())?;
        print(path, done, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> anyhow::Result<File> {
    if path == Path::new("-") {
        return standard_input().context("cannot keep the standard input while it is read");
    }
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// A pipe can be read once, and an import reads its input twice. So it is kept meanwhile in a
/// file that has no name and that nobody else can read.
fn standard_input() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.rewind()?;
    Ok(file)
}

fn import(repo: &Repo, file: File, shows_progress: bool) -> anyhow::Result<JsonlProgress> {
    let length = file.metadata()?.len();
    let bar = progress_bar(length, TEMPLATE, shows_progress);
    let result = turnkeep_admin::import_jsonl(repo, BufReader::new(file), |now| show(&bar, now));
    bar.finish_and_clear();
    Ok(result?)
}

const TEMPLATE: &str = "{spinner} [{bar:20}] {bytes}/{total_bytes}{left}{msg}";

fn show(bar: &ProgressBar, now: JsonlProgress) {
    bar.set_position(now.bytes);
    bar.set_message(format!(
        ", {} new tasks, {} new turns",
        now.tasks, now.turns
    ));
}

fn print(path: &Path, done: JsonlProgress, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        return Ok(out.json(&Done {
            path: path.to_string_lossy().into_owned(),
            added_tasks: done.tasks,
            added_turns: done.turns,
            left_alone: done.left_alone,
        })?);
    }
    let (tasks, turns, left) = (done.tasks, done.turns, done.left_alone);
    let text = format!("new tasks: {tasks}, new turns: {turns}, tasks that were there: {left}");
    Ok(out.line(&text)?)
}

/// The error of a command line that asks for a part of a store.
pub(super) fn refused(option: &str) -> clap::Error {
    Cli::command().error(
        ErrorKind::ArgumentConflict,
        format!("`{option}` chooses among recordings; `--format jsonl` takes all of a file"),
    )
}

/// The error of a command line without a file.
pub(super) fn no_file() -> clap::Error {
    Cli::command().error(
        ErrorKind::MissingRequiredArgument,
        "`--format jsonl` needs a file, or `-` for standard input",
    )
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressStyle;

    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
