//! `export --html`: a page for each conversation, and an index.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use tempfile::NamedTempFile;
use turnkeep_render::{IndexEntry, Redactor, Turn, html};
use turnkeep_repo::{Error, ErrorKind, Repo, Role, TaskId, TaskQuery};

use super::show::Conversation;
use super::tool_calls;
use crate::args::ExportArgs;
use crate::environment::home;
use crate::failure::{Kind, Problem, warn, with_hint};
use crate::hash::fnv;
use crate::output::Output;
use crate::tasks::all_tasks;

/// The characters of prompts in which the index searches.
const LONGEST_PROMPTS: usize = 4_000;

/// The begin of pages and indexes.
const BEGIN: &str = "<!DOCTYPE html>\n<html lang=\"\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-";

pub(crate) fn run(
    dir: &Path,
    args: &ExportArgs,
    repo: &Repo,
    out: &mut Output,
) -> anyhow::Result<()> {
    make_private(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut redactor = args.redact.then(|| Redactor::new(home().as_deref()));
    let pages = pages(repo, &mut redactor)?;
    if args.redact {
        refuse_other_pages(dir, pages.iter().map(|page| page.file.as_str()))?;
    }
    let mut entries = Vec::new();
    let mut written = 0;
    for page in &pages {
        match export(dir, page, args.tools, repo, &mut redactor) {
            Err(error) if is_removed(&error) => {}
            exported => {
                let (entry, is_written) = exported?;
                written += u64::from(is_written);
                entries.push(entry);
            }
        }
    }
    if args.redact && entries.len() < pages.len() {
        // The page of a task that was removed meanwhile may be there in full.
        refuse_other_pages(dir, entries.iter().map(|entry| &*entry.file))?;
    }
    let pages = entries.len();
    let last = |entry: &IndexEntry<'_>| entry.header.span.map(|(_, last)| last);
    entries.sort_by_key(|entry| std::cmp::Reverse(last(entry)));
    let mut index = Vec::new();
    html::index("Conversations", entries, &mut index)?;
    replace(dir, "index.html", &index)?;
    if let Some(redactor) = redactor {
        out.note(format_args!("replaced: {}", redactor.redactions()))?;
    }
    if out.is_json() {
        let path = dir.to_string_lossy();
        return Ok(out.json(&json!({"path": path, "pages": pages, "written": written}))?);
    }
    Ok(out.line(&format!("pages: {pages}, written: {written}"))?)
}

struct Page {
    task: TaskId,
    /// The name of its file.
    file: String,
}

/// Returns the pages of all tasks that have turns, in the order in which the tasks were made.
///
/// A task whose id has personal data gets a number for its name: a hash would show which of some likely ids it was. The
/// next task gets the next number, so that the other pages keep theirs.
fn pages(repo: &Repo, redactor: &mut Option<Redactor>) -> anyhow::Result<Vec<Page>> {
    let mut tasks = Vec::new();
    for task in all_tasks(repo, TaskQuery::new()) {
        let task = task?;
        if task.turns > 0 {
            tasks.push((task.created_at, task.id));
        }
    }
    tasks.sort_unstable();
    let mut number = 0;
    let pages = tasks.into_iter().map(|(_, task)| {
        let is_personal = redactor
            .as_mut()
            .is_some_and(|it| matches!(it.text(task.as_str()), Cow::Owned(_)));
        let file = if is_personal {
            number += 1;
            format!("session-{number}.html")
        } else {
            file_name(&task)
        };
        Page { task, file }
    });
    Ok(pages.collect())
}

/// Fails if the folder has another page: one of a removed task, or from an export without `--redact`. A folder of
/// redacted pages may be shared as a whole.
fn refuse_other_pages<'n>(dir: &Path, names: impl Iterator<Item = &'n str>) -> anyhow::Result<()> {
    let names: HashSet<_> = names.chain(["index.html"]).collect();
    let cannot_read = |path: &Path| format!("cannot read {}", path.display());
    for file in fs::read_dir(dir).with_context(|| cannot_read(dir))? {
        let path = file.with_context(|| cannot_read(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| names.contains(name)) {
            continue;
        }
        let begin = earlier(&path, BEGIN.len()).with_context(|| cannot_read(&path))?;
        if begin.is_some_and(|begin| is_page(&begin)) {
            let path = path.display();
            let dir = dir.display();
            let message = format!("{dir} has another page, which may not be redacted: {path}");
            let hint = "name a new folder, or delete the pages of removed tasks and of exports without `--redact`";
            return Err(Problem::new(Kind::FILE_EXISTS, message).hint(hint).into());
        }
    }
    Ok(())
}

/// Writes the page of a task, and returns its entry and whether the page has changed.
fn export(
    dir: &Path,
    page: &Page,
    has_tools: bool,
    repo: &Repo,
    redactor: &mut Option<Redactor>,
) -> anyhow::Result<(IndexEntry<'static>, bool)> {
    let task = &page.task;
    let mut calls = Vec::new();
    if has_tools {
        match tool_calls::of_task(repo, task) {
            Ok(of_task) => calls = of_task.unwrap_or_default(),
            Err(error) if is_removed(&error) => return Err(error),
            // The other pages are worth more than these calls.
            Err(error) => warn(format_args!("{task}: {error:#}")),
        }
    }
    let conversation = Conversation::read(repo, task, calls, redactor)?;
    let turns: Vec<_> = conversation.turns.collect::<anyhow::Result<_>>()?;
    let mut text = Vec::new();
    html::page(&conversation.header, &turns, &mut text)?;
    let is_written = replace(dir, &page.file, &text)?;
    let file = page.file.clone();
    let entry = IndexEntry::new(file, conversation.header, prompts(&turns));
    Ok((entry, is_written))
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Whether another program has removed the task since it was listed.
fn is_removed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<Error>();
    error.is_some_and(|error| *error.kind() == ErrorKind::TaskNotFound)
}

fn prompts(turns: &[Turn<'_>]) -> String {
    let prompts = turns.iter().filter(|turn| turn.role == Role::User);
    let prompts = prompts.flat_map(|turn| turn.text.chars().chain(['\n']));
    prompts.take(LONGEST_PROMPTS).collect()
}

/// Returns a file name of the id: `claude-6f1d.html` for `claude:6f1d`. One that may be the name of another id, or has
/// other characters than small letters, digits and `-._`, also gets a hash: file systems may not tell it from another.
fn file_name(id: &TaskId) -> String {
    let id = id.as_str();
    let agents = ["claude", "codex", "goose"].iter();
    let mut own = agents.filter_map(|agent| Some((agent, id.strip_prefix(*agent)?)));
    let name = match own.next() {
        Some((agent, rest)) if rest.starts_with(':') => format!("{agent}-{}", &rest[1..]),
        Some((_, rest)) if rest.starts_with('-') => return hashed_name(id, id),
        _ => id.to_owned(),
    };
    let is_whole = plain(&name) == name && !name.starts_with(['-', '.']);
    match is_whole && !name.starts_with("session") && name != "index" {
        true => format!("{name}.html"),
        false => hashed_name(&name, id),
    }
}

fn hashed_name(name: &str, hashed: &str) -> String {
    format!("session{}-{:016x}.html", plain(name), fnv(hashed))
}

/// Returns the beginning of a name with `-` for other characters than those of a file name.
fn plain(name: &str) -> String {
    const LONGEST: usize = 100;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let dash = |c: char| if is_plain(c) { c } else { '-' };
    name.chars().map(dash).take(LONGEST).collect()
}

/// Writes a page in place of an earlier one, and returns whether it differs. Only its owner can read it.
fn replace(dir: &Path, name: &str, page: &[u8]) -> anyhow::Result<bool> {
    let path = dir.join(name);
    match earlier(&path, page.len()) {
        Ok(Some(earlier)) if earlier == page => return Ok(false),
        Ok(Some(earlier)) if !is_page(&earlier) => {
            return Err(with_hint(
                format!("{} is not a page of an export", path.display()),
                "name a folder of its own for the pages",
            ));
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
        _ => {}
    }
    let write = || -> std::io::Result<()> {
        let mut file = NamedTempFile::new_in(dir)?;
        file.write_all(page)?;
        file.persist(&path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Reads the file at the place of a page, up to one byte more than the page has. `None` if there is none. A pipe or a
/// device, which may never end, is not read.
fn earlier(path: &Path, length: usize) -> std::io::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Ok(metadata) if !metadata.is_file() => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let mut earlier = Vec::new();
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let mut file = File::open(path)?.take(length.saturating_add(1));
    file.read_to_end(&mut earlier)?;
    Ok(Some(earlier))
}

fn is_page(file: &[u8]) -> bool {
    file.starts_with(BEGIN.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_differ_and_are_safe() {
        let name = |id: &str| file_name(&TaskId::new(id).unwrap());
        assert_eq!(name("claude:6f1d-1"), "claude-6f1d-1.html");
        assert_eq!(name("login.tests_2"), "login.tests_2.html");
        let odd = [
            "a:b",
            "a-b:c",
            "claude-6f1d-1",
            "codex:a:b",
            "goose-:",
            "A",
            "a/b",
            "../x",
            ".x",
            "-x",
            "index",
            "sessionx",
            "ä",
            "a b",
            "a\nb",
            &"x".repeat(200),
        ];
        let names: Vec<_> = odd.iter().map(|id| name(id)).collect();
        for (place, name) in names.iter().enumerate() {
            assert!(name.starts_with("session") && name.len() < 140, "{name}");
            assert!(!name.contains(['/', '\n', ' ', ':', 'A']), "{name}");
            assert!(!names[..place].contains(name), "{name}");
        }
    }
}
