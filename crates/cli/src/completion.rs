//! Completions for shells: commands and options, and the ids of tasks with their titles.
//!
//! A shell runs this program with a variable and the words of its line, which clap's engine completes. Whatever goes
//! wrong, it prints no error: the user is typing.

use std::collections::HashSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use clap_complete::env::{CompleteEnv, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};
use turnkeep_model::visible;
use turnkeep_render::cut;
use turnkeep_repo::{TaskQuery, TaskSummary};

use crate::args::Cli;
use crate::short_id::named;
use crate::store::Store;

const VARIABLE: &str = "_TURNKEEP_COMPLETE";

const SHELLS: Shells<'static> = Shells(&[&Bash, &Elvish, &Fish, &Powershell, &Zsh]);

/// The most ids that are offered, the last active first.
const MOST: u32 = 50;

/// The wait for a locked store, and for all of a slow one.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Of candidates with this tag, bash shows the titles.
const TAG: &str = "sessions and tasks";

/// The columns of a title, and of an id before it.
const TITLE: usize = 40;
const WIDEST_ID: usize = 36;

/// Answers a shell that completes a line. Returns whether one has asked.
pub(crate) fn answer() -> bool {
    if env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    panic::set_hook(Box::new(|_| {}));
    let completions = CompleteEnv::with_factory(Cli::command).var(VARIABLE);
    let folder = env::current_dir().ok();
    let _ = completions
        .shells(SHELLS)
        .try_complete(env::args_os(), folder.as_deref());
    true
}

/// Writes what a shell runs to get completions of this program.
pub(crate) fn script(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let name = "turnkeep";
    match SHELLS.completer(&shell.to_string()) {
        Some(shell) => shell.write_registration(VARIABLE, name, name, name, out),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Completes the id of a task or of its session.
pub(crate) fn of_ids() -> ArgValueCompleter {
    ArgValueCompleter::new(|beginning: &OsStr| ids(beginning, true))
}

/// Completes the id of a task.
pub(crate) fn of_task_ids() -> ArgValueCompleter {
    ArgValueCompleter::new(|beginning: &OsStr| ids(beginning, false))
}

fn ids(beginning: &OsStr, of_sessions: bool) -> Vec<CompletionCandidate> {
    let Some(beginning) = beginning.to_str().map(str::to_owned) else {
        return Vec::new();
    };
    let (sender, receiver) = mpsc::channel();
    // The process ends without it if it is slow.
    thread::spawn(move || sender.send(find(&beginning, of_sessions)));
    let found = receiver.recv_timeout(TIMEOUT).ok().and_then(Result::ok);
    found.unwrap_or_default()
}

fn find(beginning: &str, of_sessions: bool) -> anyhow::Result<Vec<CompletionCandidate>> {
    let store = store(env::args_os()).builder()?;
    let store = store.create_if_missing(false).read_only();
    let repo = store.timeout(LOCK_TIMEOUT).open()?;
    let mut query = TaskQuery::new().limit(MOST);
    if !beginning.is_empty() {
        query = query.id_prefixes([beginning]);
    }
    let tasks = repo.list_tasks(&query)?.tasks;
    let candidates = tasks
        .iter()
        .filter_map(|task| candidate(task, beginning, of_sessions));
    // Two tasks may have sessions with one id. Bash would insert what equal lines share: the id with blanks and a title.
    let mut offered = HashSet::new();
    let candidates = candidates.filter(|it| offered.insert(it.get_value().to_owned()));
    Ok(candidates.collect())
}

/// Returns the store that the line names.
fn store(line: impl Iterator<Item = OsString>) -> Store {
    let line: Vec<_> = line.collect();
    let value = |option: &str| {
        line.iter().enumerate().find_map(|(at, word)| {
            if word == option {
                // Bash breaks words at the sign.
                return line[at + 1..].iter().find(|word| *word != "=").cloned();
            }
            let value = word.to_str()?.strip_prefix(option)?.strip_prefix('=');
            value.map(OsString::from)
        })
    };
    let owner = value("--owner").and_then(|owner| owner.into_string().ok());
    Store::new(value("--db").map(PathBuf::from), owner)
}

fn candidate(
    task: &TaskSummary,
    beginning: &str,
    of_sessions: bool,
) -> Option<CompletionCandidate> {
    let session = task.session_id.as_ref().map(|session| session.as_str());
    let ids = match of_sessions {
        true => [Some(named(task)), Some(task.id.as_str()), session],
        false => [Some(task.id.as_str()), None, None],
    };
    let mut ids = ids.into_iter().flatten();
    let id = ids.find(|id| id.starts_with(beginning) && is_plain(id))?;
    let title = cut(&visible(&task.name), TITLE).into_owned();
    let candidate = CompletionCandidate::new(id).help(Some(title.into()));
    Some(candidate.tag(Some(TAG.into())))
}

/// Whether every shell reads an id as one word that does nothing. Agents and orchestrators have made the ids.
fn is_plain(id: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/@%+=,#".contains(c);
    !id.starts_with(['-', '#', '=', '%']) && id.chars().all(is_plain)
}

/// Bash, which breaks words at `:` and `=`, and shows no help beside the candidates.
struct Bash;

const CURRENT: &str = "_TURNKEEP_CURRENT";
const KIND: &str = "_TURNKEEP_KIND";

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        variable: &str,
        _name: &str,
        bin: &str,
        completer: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        writeln!(
            out,
            r#"_{bin}() {{
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <({variable}=bash {CURRENT}="$2" {KIND}="$COMP_TYPE" \
        {completer} -- "${{COMP_WORDS[@]:0:COMP_CWORD+1}}" 2>/dev/null)
    if [[ ${{#COMPREPLY[@]}} -eq 1 && ${{COMPREPLY[0]}} == *[/=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}}
complete -o bashdefault -o nosort -F _{bin} {bin} 2>/dev/null || complete -o bashdefault -F _{bin} {bin}"#
        )
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        folder: Option<&Path>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let (words, kept) = joined(words, env::var_os(CURRENT).unwrap_or_default());
        let at = words.len().saturating_sub(1);
        let mut candidates = complete(command, words, at, folder)?;
        let is_id = |it: &CompletionCandidate| it.get_tag().is_some_and(|it| it.to_string() == TAG);
        if candidates.iter().any(is_id) {
            candidates.retain(is_id);
        }
        // A menu inserts each candidate as it is.
        let is_menu = env::var(KIND).is_ok_and(|kind| kind == "37" || kind == "42");
        let has_titles = candidates.len() > 1 && !is_menu;
        for candidate in &candidates {
            let value = candidate.get_value().to_string_lossy();
            let value = value.get(kept..).unwrap_or_default();
            match candidate
                .get_help()
                .filter(|_| has_titles && is_id(candidate))
            {
                Some(title) => writeln!(out, "{value:WIDEST_ID$}  ({title})")?,
                None => writeln!(out, "{value}")?,
            }
        }
        Ok(())
    }
}

/// Joins what bash has broken at `:` and `=`. Returns the words to the current one, and how many bytes of that bash
/// keeps.
fn joined(mut words: Vec<OsString>, current: OsString) -> (Vec<OsString>, usize) {
    let is_break = |word: &OsStr| {
        !word.is_empty() && word.as_encoded_bytes().iter().all(|it| b":=".contains(it))
    };
    let is_after_break = words.last().is_some_and(|last| is_break(last));
    if !is_after_break {
        words.pop();
    }
    // Right after such a character bash calls it the current word, or nothing.
    let current = match is_break(&current) {
        true => OsString::new(),
        false => current,
    };
    let kept = current.len();
    let mut joined: Vec<OsString> = Vec::new();
    let mut goes_on = false;
    for word in words.into_iter().chain([current]) {
        let is_break = is_break(&word);
        match joined.last_mut() {
            Some(last) if goes_on || is_break => last.push(&word),
            _ => joined.push(word),
        }
        goes_on = is_break;
    }
    let kept = joined.last().map_or(0, |last| last.len() - kept);
    (joined, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_bash_has_broken_are_joined() {
        for (words, current, expected, kept) in [
            (
                &["turnkeep", "show", "7c"][..],
                "7c",
                &["turnkeep", "show", "7c"][..],
                0,
            ),
            (&["turnkeep", "show", ""], "", &["turnkeep", "show", ""], 0),
            (
                &["turnkeep", "show", "7c1e"],
                "7c",
                &["turnkeep", "show", "7c"],
                0,
            ),
            (
                &["t", "show", "claude", ":", "7c"],
                "7c",
                &["t", "show", "claude:7c"],
                7,
            ),
            (
                &["t", "show", "claude", ":"],
                "",
                &["t", "show", "claude:"],
                7,
            ),
            (
                &["t", "show", "claude", ":"],
                ":",
                &["t", "show", "claude:"],
                7,
            ),
            (
                &["t", "search", "--task", "=", "7"],
                "7",
                &["t", "search", "--task=7"],
                7,
            ),
            (
                &["t", "show", "claude", ":", "7", ""],
                "",
                &["t", "show", "claude:7", ""],
                0,
            ),
        ] {
            let words = words.iter().map(OsString::from).collect();
            let (joined, rest) = joined(words, current.into());
            assert_eq!(
                (joined, rest),
                (expected.iter().map(OsString::from).collect(), kept)
            );
        }
    }

    #[test]
    fn only_plain_ids_are_offered() {
        for id in ["claude:7c1e4b52-93d8", "20261001_1", "goose:1#2", "a/b@c"] {
            assert!(is_plain(id), "{id}");
        }
        for id in [
            "$(id)", "a b", "-x", "a;b", "~", "a\nb", "a*", "任務", "'", "#1",
        ] {
            assert!(!is_plain(id), "{id}");
        }
    }
}
