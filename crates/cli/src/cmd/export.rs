use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;
use turnkeep_admin::JsonlProgress;
use turnkeep_repo::{Repo, may_be_address};

use super::export_html;
use crate::args::{ExportArgs, ExportFormat};
use crate::failure::{Kind, Problem};
use crate::output::{Output, progress_bar};
use crate::store::Store;

#[derive(Serialize)]
struct Done {
    path: String,
    tasks: u64,
    turns: u64,
    bytes: u64,
}

pub(crate) fn run(args: &ExportArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let ExportFormat::Jsonl = args.format;
    if args.file.as_ref().is_some_and(may_be_address) {
        let message = "the file to write has the name of a database's address";
        let hint = "an export goes into a file, `turnkeep copy --to` writes to a server";
        return Err(Problem::new(Kind::USAGE, message).hint(hint).into());
    }
    let repo = store.open_patiently()?;
    if let Some(dir) = &args.html {
        return export_html::run(dir, args, &repo, out);
    }
    match args.file.as_deref().filter(|file| *file != Path::new("-")) {
        Some(path) => to_file(&repo, path, out),
        // It may be a terminal as well: nothing else is shown there.
        None => Ok(turnkeep_admin::export_jsonl(&repo, out.raw(), |_| ()).map(drop)?),
    }
}

/// Writes a file that nobody else can read. One that is not whole is removed.
fn to_file(repo: &Repo, path: &Path, out: &mut Output) -> anyhow::Result<()> {
    let file = new_file(path)?;
    let done = write(repo, &file, !out.is_json()).inspect_err(|_| {
        // The partial file has no last line, by which an import recognises it.
        let _ = fs::remove_file(path);
    })?;
    if out.is_json() {
        return Ok(out.json(&Done {
            path: path.to_string_lossy().into_owned(),
            tasks: done.tasks,
            turns: done.turns,
            bytes: done.bytes,
        })?);
    }
    let (tasks, turns, bytes) = (done.tasks, done.turns, done.bytes);
    Ok(out.line(&format!("tasks: {tasks}, turns: {turns}, bytes: {bytes}"))?)
}

fn new_file(path: &Path) -> anyhow::Result<File> {
    create(path).map_err(|error| not_made(path, error))
}

/// Makes the error for a file that could not be made. It says what to do if there is one.
pub(crate) fn not_made(path: &Path, error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AlreadyExists => {
            let message = format!("{} exists already", path.display());
            let problem = Problem::new(Kind::FILE_EXISTS, message);
            let problem = problem.hint("name a file that does not exist, or move that one away");
            problem.into()
        }
        _ => anyhow::Error::new(error).context(format!("cannot make {}", path.display())),
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // The umask may have taken the owner's bits away as well.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

fn write(repo: &Repo, file: &File, shows_progress: bool) -> anyhow::Result<JsonlProgress> {
    let bar = progress_bar(0, TEMPLATE, shows_progress);
    let result = turnkeep_admin::export_jsonl(repo, file, |now| show(&bar, now));
    bar.finish_and_clear();
    let done = result?;
    file.sync_all()
        .context("cannot write the file to the disk")?;
    Ok(done)
}

const TEMPLATE: &str = "{spinner} {bytes}{msg}";

fn show(bar: &ProgressBar, now: JsonlProgress) {
    bar.set_position(now.bytes);
    bar.set_message(format!(", {} tasks, {} turns", now.tasks, now.turns));
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
