use std::io::Write as _;

use chrono::{DateTime, FixedOffset, Local, Utc};
use turnkeep_render::{Header, Redactor, Terminal, Turn, html, markdown};
use turnkeep_repo::{ConversationTurn, Repo, Task, TaskId};

use super::{export, history};
use crate::args::{HistoryArgs, ShowArgs};
use crate::environment::{home, with_tilde};
use crate::output::Output;
use crate::pager::{Pager, columns};
use crate::short_id;
use crate::store::Store;

pub(crate) fn run(args: ShowArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    if args.raw || out.is_json() {
        return history::run(&HistoryArgs::all(args.task), store, out);
    }
    let repo = store.open()?;
    let id = short_id::find(&repo, &args.task.id, out)?;
    let task = repo.get_task(&id)?;
    let mut header = header(&repo, &task)?;
    let count = repo.count_history(&id)?;
    let mut redactor = args.redact.then(|| Redactor::new(home().as_deref()));
    if let Some(redactor) = &mut redactor {
        redactor.header(&mut header);
    }
    let turns = history::turns(&repo, &id, None, count).map(|turn| {
        let mut turn = shown(turn?);
        if let Some(redactor) = &mut redactor {
            redactor.turn(&mut turn);
        }
        Ok(turn)
    });
    if let Some(path) = &args.html {
        let turns = turns.collect::<anyhow::Result<Vec<_>>>()?;
        let mut page = Vec::new();
        html::page(&header, &turns, &mut page)?;
        export::new_file(path)?.write_all(&page)?;
    } else if args.markdown {
        markdown::header(&header, out.raw())?;
        for turn in turns {
            markdown::turn(&turn?, out.raw())?;
        }
    } else {
        on_terminal(&header, turns, out)?;
    }
    if let Some(redactor) = redactor {
        out.note(format_args!("replaced: {}", redactor.redactions()))?;
    }
    Ok(())
}

fn on_terminal(
    header: &Header<'_>,
    turns: impl Iterator<Item = anyhow::Result<Turn<'static>>>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let terminal = Terminal::new(columns()).colors(out.has_colors());
    let mut pager = Pager::new(out);
    terminal.header(header, &mut pager)?;
    for turn in turns {
        terminal.turn(&turn?, &mut pager)?;
    }
    Ok(pager.finish()?)
}

fn header(repo: &Repo, task: &Task) -> anyhow::Result<Header<'static>> {
    let session = repo.find_session(&task.id)?;
    let mut header = Header::new(task.name.clone());
    header.turns = repo.count_history(&task.id)?.unsigned_abs();
    let first = history::turns(repo, &task.id, None, 1).next().transpose()?;
    let last = repo.get_history_last(&task.id, 1)?.pop();
    header.span = first
        .zip(last)
        .map(|(first, last)| (local(first.timestamp), local(last.timestamp)));
    if let Some(session) = session {
        header.agent = Some(session.backend_type.to_string().into());
        header.folder = session
            .working_dir
            .map(|folder| with_tilde(folder.as_str()).into());
        header.resume = Some(format!("turnkeep resume {}", quoted(&task.id)).into());
    }
    Ok(header)
}

fn shown(turn: ConversationTurn) -> Turn<'static> {
    Turn::new(
        turn.seq.get(),
        turn.role,
        local(turn.timestamp),
        turn.content,
    )
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
