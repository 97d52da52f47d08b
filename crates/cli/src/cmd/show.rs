use std::io::{self, BufWriter, Write as _};
use std::iter::Peekable;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::IntoIter;

use chrono::{DateTime, FixedOffset, Local, Utc};
use tempfile::NamedTempFile;
use turnkeep_recordings::ToolCall;
use turnkeep_render::{Header, Redactions, Redactor, Terminal, Turn, html, markdown};
use turnkeep_repo::{ConversationTurn, Repo, Result, Seq, TaskId};

use super::{export, history, tool_calls};
use crate::args::{HistoryArgs, ShowArgs};
use crate::environment::{home, with_tilde};
use crate::failure::warn;
use crate::interrupt::on_interrupt;
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
    let mut calls = Vec::new();
    if args.tools {
        match tool_calls::of_task(&repo, &id)? {
            Some(of_task) => calls = of_task,
            None => warn("the store has no file of the session, in which its tool calls would be"),
        }
    }
    let conversation = Conversation::read(&repo, &id, calls, &mut redactor)?;
    match &args.html {
        Some(path) => write_page(path, conversation)?,
        None if args.markdown => print_markdown(conversation, out)?,
        None if args.follow => follow(&repo, &id, conversation, out)?,
        None => page(conversation, args.full, out)?,
    }
    if let Some(redactor) = redactor {
        out.note(replaced(redactor.redactions()))?;
    }
    Ok(())
}

fn print_markdown(conversation: Conversation<'_>, out: &mut Output) -> anyhow::Result<()> {
    markdown::header(&conversation.header, out.raw())?;
    for turn in conversation.turns {
        markdown::turn(&turn?, out.raw())?;
    }
    Ok(())
}

fn page(conversation: Conversation<'_>, is_full: bool, out: &mut Output) -> anyhow::Result<()> {
    let terminal = terminal(out).full_tools(is_full);
    let mut pager = Pager::new(out);
    terminal.header(&conversation.header, &mut pager)?;
    for turn in conversation.turns {
        terminal.turn(&turn?, &mut pager)?;
        if pager.is_left() {
            break;
        }
    }
    Ok(pager.finish()?)
}

fn terminal(out: &Output) -> Terminal {
    Terminal::new(columns()).colors(out.has_colors())
}

fn replaced(redactions: Redactions) -> String {
    format!("replaced: {redactions}")
}

/// Writes a new file that only its owner can read. It is there when it is whole.
fn write_page(path: &Path, conversation: Conversation<'_>) -> anyhow::Result<()> {
    let turns: Vec<_> = conversation.turns.collect::<anyhow::Result<_>>()?;
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        // The error of a temporary file would name that one.
        folder.metadata()?;
        let file = NamedTempFile::new_in(folder)?;
        let mut page = BufWriter::new(file);
        html::page(&conversation.header, &turns, &mut page)?;
        page.into_inner()?.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(|error| export::not_made(path, error))
}

/// Shows a conversation, and new turns as they come. A pager would wait for the end.
fn follow(
    repo: &Repo,
    id: &TaskId,
    mut conversation: Conversation<'_>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let terminal = terminal(out);
    let redactions = Arc::new(Mutex::new(Redactions::default()));
    if conversation.turns.redactor.is_some() {
        let redactions = Arc::clone(&redactions);
        on_interrupt(move || {
            let redactions = redactions.lock().unwrap_or_else(PoisonError::into_inner);
            // A closed standard error can't be reported.
            let _ = writeln!(anstream::stderr(), "{}", replaced(*redactions));
        })?;
    }
    let count = |redactor: &Option<Redactor>| {
        if let Some(redactor) = redactor {
            let mut redactions = redactions.lock().unwrap_or_else(PoisonError::into_inner);
            *redactions = redactor.redactions();
        }
    };
    terminal.header(&conversation.header, out.raw())?;
    let mut last = None;
    for turn in &mut conversation.turns {
        let turn = turn?;
        terminal.turn(&turn, out.raw())?;
        last = Seq::new(turn.seq).ok();
    }
    count(conversation.turns.redactor);
    out.flush()?;
    history::follow(repo, id, last, |turn| {
        let mut turn = shown(turn);
        if let Some(redactor) = conversation.turns.redactor {
            redactor.turn(&mut turn);
        }
        terminal.turn(&turn, out.raw())?;
        count(conversation.turns.redactor);
        Ok(out.flush()?)
    })
}

/// A conversation, redacted if that is wanted. Its turns are read from the store page by page.
pub(crate) struct Conversation<'r> {
    pub(crate) header: Header<'static>,
    pub(crate) turns: Turns<'r>,
}

pub(crate) struct Turns<'r> {
    turns: Peekable<Box<dyn Iterator<Item = Result<ConversationTurn>> + 'r>>,
    /// The tool calls of the turns to come.
    calls: Peekable<IntoIter<ToolCall>>,
    redactor: &'r mut Option<Redactor>,
}

impl<'r> Conversation<'r> {
    pub(crate) fn read(
        repo: &'r Repo,
        id: &'r TaskId,
        calls: Vec<ToolCall>,
        redactor: &'r mut Option<Redactor>,
    ) -> anyhow::Result<Self> {
        let count = repo.count_history(id)?;
        let mut header = header(repo, id, count)?;
        if let Some(redactor) = redactor {
            redactor.header(&mut header);
        }
        let turns: Box<dyn Iterator<Item = _>> = Box::new(history::turns(repo, id, None, count));
        let turns = Turns {
            turns: turns.peekable(),
            calls: calls.into_iter().peekable(),
            redactor,
        };
        Ok(Self { header, turns })
    }
}

impl Iterator for Turns<'_> {
    type Item = anyhow::Result<Turn<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        let turn = match self.turns.next()? {
            Ok(turn) => turn,
            Err(error) => return Some(Err(error.into())),
        };
        let mut turn = shown(turn);
        let next = self.turns.peek();
        let next = next
            .and_then(|next| next.as_ref().ok())
            .map(|it| it.timestamp);
        tool_calls::add(&mut self.calls, &mut turn, next);
        if let Some(redactor) = self.redactor {
            redactor.turn(&mut turn);
        }
        Some(Ok(turn))
    }
}

fn header(repo: &Repo, id: &TaskId, turns: i64) -> anyhow::Result<Header<'static>> {
    let task = repo.get_task(id)?;
    let mut header = Header::new(task.name);
    header.turns = turns.unsigned_abs();
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
