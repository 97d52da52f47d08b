use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use turnkeep_model::visible;
use turnkeep_render::{cut, cut_left};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{BackendType, Seq, WorkingDir};
use turnkeep_search::{Hit, Passage, Query, ToolCallHit};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::args::SearchArgs;
use crate::environment::with_tilde;
use crate::failure::warn;
use crate::folder::as_recorded;
use crate::indexes;
use crate::output::{Output, shorten};
use crate::record::micros;
use crate::short_id;
use crate::store::Store;
use crate::when;

/// The columns of a line.
const WIDTH: usize = 80;

/// Longer ids, and names of agents and tools, are cut to so many columns.
const LONGEST_ID: usize = 60;
const LONGEST_AGENT: usize = 12;
const LONGEST_TOOL: usize = 30;

const HIGHLIGHT: Style = AnsiColor::Yellow.on_default().bold();

pub(crate) fn run(args: SearchArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let tools = args.tools;
    let mut query = query(args)?;
    let repo = store.clone().open()?;
    if let Some(task) = &query.task {
        query.task = Some(short_id::find(&repo, task, out)?);
    }
    let index = indexes::open_up_to_date(&repo, &store, tools, out)?;
    let hits = index.search(&query)?;
    print_all(&hits, record, true, out)?;
    let mut most = hits.len();
    let mut is_whole = true;
    if tools {
        // Calls may take a while.
        out.flush()?;
        let calls = index.search_tool_calls(&query)?;
        print_all(&calls.hits, record_of_call, hits.is_empty(), out)?;
        most = most.max(calls.hits.len());
        is_whole = calls.unreadable.is_empty();
        out.flush()?;
        for error in calls.unreadable {
            let error = anyhow::Error::from(error).context("tool calls are left out");
            warn(format_args!("{error:#}"));
        }
    }
    if out.is_json() {
        return Ok(());
    }
    match most {
        0 if tools && is_whole => out.note("no turn and no tool call has these words")?,
        0 if is_whole => out.note("no turn has these words")?,
        count if count == query.limit as usize => out.note(format_args!(
            "the best {count}; `--limit N` shows more, a folder, an agent or a time fewer"
        ))?,
        _ => {}
    }
    Ok(())
}

/// Prints hits, as records or as paragraphs with empty lines between them.
fn print_all<'a, H>(
    hits: &'a [H],
    record: impl Fn(&H) -> Value,
    is_first: bool,
    out: &mut Output,
) -> anyhow::Result<()>
where
    Shown<'a>: From<&'a H>,
{
    for (number, hit) in hits.iter().enumerate() {
        if out.is_json() {
            out.json(&record(hit))?;
            continue;
        }
        if number > 0 || !is_first {
            out.line("")?;
        }
        print(&hit.into(), out)?;
    }
    Ok(())
}

fn query(args: SearchArgs) -> anyhow::Result<Query> {
    let words: Vec<String> = args.words.iter().map(|word| quoted(word)).collect();
    let mut query = Query::new(words.join(" ")).limit(args.limit);
    query.backend = args.agent;
    if let Some(folder) = args.folder {
        query = query.folders(as_recorded(&folder)?);
    }
    query.task = args.task;
    query.role = args.role;
    query.since = args.since;
    query.until = args.until;
    Ok(query)
}

/// Makes a phrase of an argument that a shell has taken out of quotation marks: `login fails`, `-log out`.
fn quoted(argument: &str) -> String {
    let argument = argument.trim();
    if argument.contains('"') || !argument.contains(char::is_whitespace) {
        return argument.to_owned();
    }
    match argument.strip_prefix('-') {
        Some(excluded) => format!("-\"{excluded}\""),
        None => format!("\"{argument}\""),
    }
}

fn record(hit: &Hit) -> Value {
    json!({
        "task_id": hit.task_id.as_str(),
        "name": hit.name,
        "backend": hit.backend_type.as_ref().map(BackendType::as_str),
        "working_dir": hit.working_dir.as_ref().map(WorkingDir::as_str),
        "seq": hit.seq.get(),
        "role": hit.role.as_str(),
        "timestamp": micros(hit.timestamp),
        "passage": hit.passage.text,
        "highlights": highlights(&hit.passage),
    })
}

fn record_of_call(hit: &ToolCallHit) -> Value {
    json!({
        "task_id": hit.task_id.as_str(),
        "name": hit.name,
        "backend": hit.backend_type.as_ref().map(BackendType::as_str),
        "working_dir": hit.working_dir.as_ref().map(WorkingDir::as_str),
        "seq": hit.seq.map(Seq::get),
        "tool": hit.tool,
        "timestamp": hit.timestamp.map(micros),
        "passage": hit.passage.text,
        "highlights": highlights(&hit.passage),
    })
}

fn highlights(passage: &Passage) -> Vec<[usize; 2]> {
    let highlights = passage.highlights.iter();
    highlights.map(|it| [it.start, it.end]).collect()
}

/// A hit as people see it.
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    agent: Option<String>,
    folder: Option<String>,
    time: Option<DateTime<Utc>>,
    place: String,
    passage: &'a Passage,
}

impl<'a> From<&'a Hit> for Shown<'a> {
    fn from(hit: &'a Hit) -> Self {
        Self {
            id: hit.task_id.as_str(),
            name: &hit.name,
            agent: hit.backend_type.as_ref().map(ToString::to_string),
            folder: hit.working_dir.as_ref().map(|it| with_tilde(it.as_str())),
            time: Some(hit.timestamp),
            place: format!("turn {}, {}", hit.seq, hit.role),
            passage: &hit.passage,
        }
    }
}

impl<'a> From<&'a ToolCallHit> for Shown<'a> {
    fn from(hit: &'a ToolCallHit) -> Self {
        let tool = visible(&hit.tool).to_string();
        let tool = cut(&tool, LONGEST_TOOL);
        Self {
            id: hit.task_id.as_str(),
            name: &hit.name,
            agent: hit.backend_type.as_ref().map(ToString::to_string),
            folder: hit.working_dir.as_ref().map(|it| with_tilde(it.as_str())),
            time: hit.timestamp,
            place: match hit.seq {
                Some(seq) => format!("{tool} after turn {seq}"),
                None => tool.into_owned(),
            },
            passage: &hit.passage,
        }
    }
}

/// Prints a hit within `WIDTH` columns.
fn print(hit: &Shown<'_>, out: &mut Output) -> anyhow::Result<()> {
    let plain = Style::new();
    let id = visible(hit.id).to_string();
    let id = cut(&id, LONGEST_ID);
    let name = visible(&shorten(hit.name)).to_string();
    let name = cut(&name, WIDTH - 2 - id.width());
    out.parts(&[(plain.bold(), &id), (plain, "  "), (plain, &name)])?;
    let agent = hit.agent.as_deref().map(|it| visible(it).to_string());
    let agent = agent.map(|it| cut(&it, LONGEST_AGENT).into_owned());
    let time = hit.time.map(|it| when::in_words(it, Utc::now()));
    let last = [time, Some(hit.place.clone())];
    let others = agent.iter().chain(last.iter().flatten());
    let taken: usize = others.map(|it| it.width() + 2).sum();
    let folder = hit.folder.as_deref().map(|it| visible(it).to_string());
    let folder = folder.map(|it| cut_left(&it, WIDTH.saturating_sub(taken + 2)).into_owned());
    let place: Vec<_> = [agent, folder].into_iter().chain(last).flatten().collect();
    out.parts(&[(plain.dimmed(), &format!("  {}", place.join("  ")))])?;
    for line in lines(hit.passage) {
        let parts = line.chunk_by(|one, next| one.1 == next.1).map(|part| {
            let text: String = part.iter().map(|(character, _)| *character).collect();
            (if part[0].1 { HIGHLIGHT } else { plain }, text)
        });
        let parts: Vec<_> = parts.collect();
        let indent = [(plain, "    ")].into_iter();
        let parts = indent.chain(parts.iter().map(|(style, text)| (*style, &**text)));
        out.parts(&parts.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Returns a passage as lines of characters and whether each is highlighted.
fn lines(passage: &Passage) -> Vec<Vec<(char, bool)>> {
    let mut text = Vec::new();
    if !passage.is_start {
        text.push(('…', false));
    }
    let mut at = 0;
    for range in &passage.highlights {
        push(&passage.text[at..range.start], false, &mut text);
        push(&passage.text[range.clone()], true, &mut text);
        at = range.end;
    }
    push(&passage.text[at..], false, &mut text);
    if !passage.is_end {
        text.push(('…', false));
    }
    wrapped(&text, WIDTH - 4)
}

/// Adds a text without control characters and with one blank for all white space.
fn push(text: &str, is_highlight: bool, to: &mut Vec<(char, bool)>) {
    let text = text.replace(char::is_whitespace, " ");
    for character in visible(&text).chars() {
        let is_second = character == ' ' && to.last().is_none_or(|(last, _)| *last == ' ');
        if !is_second {
            to.push((character, is_highlight));
        }
    }
}

/// Breaks a text into lines of at most so many columns, between words if possible.
fn wrapped(text: &[(char, bool)], columns: usize) -> Vec<Vec<(char, bool)>> {
    let mut lines = vec![Vec::new()];
    let mut width = 0;
    for word in text.split_inclusive(|(character, _)| *character == ' ') {
        let of = |it: &(char, bool)| it.0.width().unwrap_or(0);
        let length: usize = word.iter().filter(|it| it.0 != ' ').map(of).sum();
        if width > 0 && width + length > columns {
            lines.push(Vec::new());
            width = 0;
        }
        for character in word {
            if width + of(character) > columns && character.0 != ' ' {
                lines.push(Vec::new());
                width = 0;
            }
            width += of(character);
            if let Some(line) = lines.last_mut() {
                line.push(*character);
            }
        }
    }
    for line in &mut lines {
        line.pop_if(|last| last.0 == ' ');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shells_quotation_marks_make_phrases() {
        for (argument, expected) in [
            ("login", "login"),
            ("login fails", "\"login fails\""),
            (" -log out", "-\"log out\""),
            ("a \"b c\" -d", "a \"b c\" -d"),
        ] {
            assert_eq!(quoted(argument), expected);
        }
    }

    #[test]
    fn lines_break_between_words_and_by_columns() {
        let lines = |text: &str, columns| -> Vec<String> {
            let text: Vec<_> = text.chars().map(|it| (it, false)).collect();
            let lines = wrapped(&text, columns).into_iter();
            lines
                .map(|line| line.into_iter().map(|it| it.0).collect())
                .collect()
        };
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("one two three", 7), ["one two", "three"]);
        assert_eq!(lines("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(lines("日本語 日", 5), ["日本", "語 日"]);
        assert_eq!(lines("日本語 日", 4), ["日本", "語", "日"]);
        assert_eq!(lines("", 5), [""]);
    }
}
