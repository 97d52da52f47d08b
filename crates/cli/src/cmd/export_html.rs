//! `export --html`: a page for each conversation, and an index.

use std::fs;
use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use tempfile::NamedTempFile;
use turnkeep_render::{IndexEntry, Redactor, Turn, html};
use turnkeep_repo::{Error, ErrorKind, Repo, Role, TaskId, TaskQuery};

use super::show;
use crate::environment::home;
use crate::failure::with_hint;
use crate::hash::fnv;
use crate::output::Output;

/// The characters of prompts in which the index searches.
const LONGEST_PROMPTS: usize = 4_000;

pub(crate) fn run(
    dir: &Path,
    is_redacted: bool,
    repo: &Repo,
    out: &mut Output,
) -> anyhow::Result<()> {
    make_private(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut redactor = is_redacted.then(|| Redactor::new(home().as_deref()));
    let mut entries = Vec::new();
    let mut written = 0;
    let mut query = TaskQuery::new().limit(1_000);
    loop {
        let page = repo.list_tasks(&query)?;
        for task in page.tasks.iter().filter(|task| task.turns > 0) {
            let (header, turns) =
                match show::conversation(repo, &task.id, Vec::new(), &mut redactor) {
                    Err(error) if is_removed(&error) => continue,
                    conversation => conversation?,
                };
            let mut page = Vec::new();
            html::page(&header, &turns, &mut page)?;
            let file = file_name(&task.id);
            written += u64::from(replace(dir, &file, &page)?);
            entries.push(IndexEntry::new(file, header, prompts(&turns)));
        }
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    let pages = entries.len();
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

/// Returns a file name of the id. One with other characters than small letters, digits and `-._:` also gets a hash: file
/// systems may not tell it from another.
fn file_name(id: &TaskId) -> String {
    const LONGEST: usize = 100;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let id = id.as_str().replacen(':', "-", 1);
    let name: String = id
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    let is_whole = name == id && !id.starts_with(['-', '.']) && id != "index";
    match is_whole {
        true => format!("{name}.html"),
        false => format!("session{}-{:016x}.html", name, fnv(&id)),
    }
}

/// Writes a page in place of an earlier one, and returns whether it differs. Only its owner can read it.
fn replace(dir: &Path, name: &str, page: &[u8]) -> anyhow::Result<bool> {
    let path = dir.join(name);
    match fs::read(&path) {
        Ok(earlier) if earlier == page => return Ok(false),
        Ok(earlier) if !is_page(&earlier) => {
            return Err(with_hint(
                format!("{} is not a page of an export", path.display()),
                "name a folder of its own for the pages",
            ));
        }
        Err(error) if error.kind() != IoErrorKind::NotFound => {
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

/// Whether a file begins as pages and indexes do.
fn is_page(file: &[u8]) -> bool {
    const BEGIN: &str = "<!DOCTYPE html>\n<html lang=\"\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-";
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
            "a:b:c",
            "A",
            "a/b",
            "../x",
            ".x",
            "-x",
            "index",
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
