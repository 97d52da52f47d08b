use std::io::Write as _;

use chrono::{DateTime, FixedOffset, Local, Utc};
use turnkeep_recordings::ToolCall;
use turnkeep_render::{Header, Redactor, Terminal, Turn, html, markdown};
use turnkeep_repo::{ConversationTurn, Repo, Seq, TaskId};

use super::{export, history, tool_calls};
use crate::args::{HistoryArgs, ShowArgs};
use crate::environment::{home, with_tilde};
use crate::output::Output;
use crate::pager::{Pager, columns};
use crate::short_id;
use crate::store::Store;

pub(crate) fn run(args: ShowArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    if args.raw || (out.is_json() && args.html.is_none()) {
        return history::run(&HistoryArgs::from(args), store, out);
    }
    let repo = store.open()?;
    let id = short_id::find(&repo, &args.task.id, out)?;
    let mut redactor = args.redact.then(|| Redactor::new(home().as_deref()));
    let calls = match args.tools {
        true => tool_calls::of_task(&repo, &id)?,
        false => Vec::new(),
    };
    let (header, turns) = conversation(&repo, &id, calls, &mut redactor)?;
    if let Some(path) = &args.html {
        let mut page = Vec::new();
        html::page(&header, &turns, &mut page)?;
        export::new_file(path)?.write_all(&page)?;
    } else if args.markdown {
        markdown::header(&header, out.raw())?;
        for turn in &turns {
            markdown::turn(turn, out.raw())?;
        }
    } else {
        let terminal = Terminal::new(columns()).colors(out.has_colors());
        let terminal = terminal.full_tools(args.full);
        if args.follow {
            return follow(&repo, &id, &terminal, &header, turns, redactor, out);
        }
        let mut pager = Pager::new(out);
        terminal.header(&header, &mut pager)?;
        for turn in &turns {
            terminal.turn(turn, &mut pager)?;
        }
        pager.finish()?;
    }
    if let Some(redactor) = redactor {
        out.note(format_args!("replaced: {}", redactor.redactions()))?;
    }
    Ok(())
}

/// Shows a conversation, and new turns as they come. A pager would wait for the end.
fn follow(
    repo: &Repo,
    id: &TaskId,
    terminal: &Terminal,
    header: &Header<'_>,
    turns: Vec<Turn<'_>>,
    mut redactor: Option<Redactor>,
    out: &mut Output,
) -> anyhow::Result<()> {
    terminal.header(header, out.raw())?;
    for turn in &turns {
        terminal.turn(turn, out.raw())?;
    }
    out.flush()?;
    let last = turns.last().and_then(|turn| Seq::new(turn.seq).ok());
    history::follow(repo, id, last, |turn| {
        let mut turn = shown(turn);
        if let Some(redactor) = &mut redactor {
            redactor.turn(&mut turn);
        }
        terminal.turn(&turn, out.raw())?;
        Ok(out.flush()?)
    })
}

/// Returns a conversation, with tool calls among its turns, and redacted if that is wanted.
pub(crate) fn conversation(
    repo: &Repo,
    id: &TaskId,
    calls: Vec<ToolCall>,
    redactor: &mut Option<Redactor>,
) -> anyhow::Result<(Header<'static>, Vec<Turn<'static>>)> {
    let mut header = header(repo, id)?;
    let count = repo.count_history(id)?;
    let mut turns = Vec::new();
    for turn in history::turns(repo, id, None, count) {
        turns.push(shown(turn?));
    }
    tool_calls::add(calls, &mut turns);
    if let Some(redactor) = redactor {
        redactor.header(&mut header);
        turns.iter_mut().for_each(|turn| redactor.turn(turn));
    }
    Ok((header, turns))
}

fn header(repo: &Repo, id: &TaskId) -> anyhow::Result<Header<'static>> {
    let task = repo.get_task(id)?;
    let mut header = Header::new(task.name);
    header.turns = repo.count_history(id)?.unsigned_abs();
    let first = history::turns(repo, id, None, 1).next().transpose()?;
    let last = repo.get_history_last(id, 1)?.pop();
    let span = first.zip(last);
    header.span = span.map(|(first, last)| (local(first.timestamp), local(last.timestamp)));
    if let Some(session) = repo.find_session(id)? {
        header.agent = Some(session.backend_type.to_string().into());
        let folder = session.working_dir;
        header.folder = folder.map(|folder| with_tilde(folder.as_str()).into());
        header.resume = Some(format!("turnkeep resume {}", quoted(id)).into());
    }
    Ok(header)
}

fn shown(turn: ConversationTurn) -> Turn<'static> {
    let time = local(turn.timestamp);
    Turn::new(turn.seq.get(), turn.role, time, turn.content)
}

fn local(time: DateTime<Utc>) -> DateTime<FixedOffset> {
    time.with_timezone(&Local).fixed_offset()
}

/// Quotes an id for a POSIX shell if that reads it otherwise.
fn quoted(id: &TaskId) -> String {
    let id = id.as_str();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/@%+=,".contains(c);
    match id.starts_with('-') {
        _ if !id.chars().all(is_plain) => format!("-- '{}'", id.replace('\'', r"'\''")),
        true => format!("-- {id}"),
        false => id.to_owned(),
    }
}
