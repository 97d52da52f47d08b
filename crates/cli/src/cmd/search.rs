use anstyle::{AnsiColor, Style};
use serde_json::json;
use turnkeep_model::visible;
use turnkeep_repo::chrono::Utc;
use turnkeep_repo::{BackendType, WorkingDir};
use turnkeep_search::{Hit, Passage, Query};
use unicode_width::UnicodeWidthChar as _;

use crate::args::SearchArgs;
use crate::environment::with_tilde;
use crate::indexes;
use crate::output::{Output, shorten};
use crate::record::micros;
use crate::short_id;
use crate::store::Store;
use crate::when;

/// The columns of a line.
const WIDTH: usize = 80;

const HIGHLIGHT: Style = AnsiColor::Yellow.on_default().bold();

pub(crate) fn run(args: SearchArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let mut query = query(args)?;
    let repo = store.clone().open()?;
    if let Some(task) = &query.task {
        query.task = Some(short_id::find(&repo, task, out)?);
    }
    if out.is_terminal() && !indexes::is_any(&store)? {
        out.note("making the full-text index of the store, once")?;
    }
    let index = indexes::open_up_to_date(&repo, &store)?;
    let hits = index.search(&query)?;
    if out.is_json() {
        return Ok(hits.iter().try_for_each(|hit| out.json(&record(hit)))?);
    }
    for (number, hit) in hits.iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        print(hit, out)?;
    }
    match hits.len() {
        0 => out.note("no turn has these words")?,
        count if count == query.limit as usize => out.note(format_args!(
            "the best {count}; `--limit N` shows more, a folder, an agent or a time fewer"
        ))?,
        _ => {}
    }
    Ok(())
}

fn query(args: SearchArgs) -> anyhow::Result<Query> {
    let words: Vec<String> = args.words.iter().map(|word| quoted(word)).collect();
    let mut query = Query::new(words.join(" ")).limit(args.limit);
    query.backend = args.agent;
    query.working_dir = match args.folder {
        Some(folder) => Some(WorkingDir::try_from(
            std::path::absolute(folder)?.as_path(),
        )?),
        None => None,
    };
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

fn record(hit: &Hit) -> serde_json::Value {
    let highlights = hit.passage.highlights.iter();
    json!({
        "task_id": hit.task_id.as_str(),
        "name": hit.name,
        "backend": hit.backend_type.as_ref().map(BackendType::as_str),
        "working_dir": hit.working_dir.as_ref().map(WorkingDir::as_str),
        "seq": hit.seq.get(),
        "role": hit.role.as_str(),
        "timestamp": micros(hit.timestamp),
        "passage": hit.passage.text,
        "highlights": highlights.map(|it| [it.start, it.end]).collect::<Vec<_>>(),
    })
}

fn print(hit: &Hit, out: &mut Output) -> anyhow::Result<()> {
    let plain = Style::new();
    out.parts(&[
        (plain.bold(), hit.task_id.as_str()),
        (plain, "  "),
        (plain, &shorten(&hit.name)),
    ])?;
    let place = [
        hit.backend_type.as_ref().map(ToString::to_string),
        hit.working_dir.as_ref().map(|it| with_tilde(it.as_str())),
        Some(when::in_words(hit.timestamp, Utc::now())),
        Some(format!("turn {}, {}", hit.seq, hit.role)),
    ];
    let place: Vec<_> = place.into_iter().flatten().collect();
    out.parts(&[(plain.dimmed(), &format!("  {}", place.join("  ")))])?;
    for line in lines(&hit.passage) {
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
