use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use turnkeep_repo::{ConversationTurn, HistoryPage, Metadata, Repo, Role, Seq, TaskId};

use crate::args::HistoryArgs;
use crate::failure::warn;
use crate::output::Output;
use crate::record::{micros, seconds};
use crate::short_id;
use crate::store::Store;

/// A turn as `--json` prints it. Borrows the content, which may be long.
#[derive(Serialize)]
struct TurnRecord<'a> {
    task_id: &'a str,
    seq: i64,
    role: &'static str,
    content: &'a str,
    timestamp: String,
    message_key: Option<&'a str>,
    metadata: Option<&'a str>,
}

impl<'a> From<&'a ConversationTurn> for TurnRecord<'a> {
    fn from(turn: &'a ConversationTurn) -> Self {
        Self {
            task_id: turn.task_id.as_str(),
            seq: turn.seq.get(),
            role: turn.role.as_str(),
            content: &turn.content,
            timestamp: micros(turn.timestamp),
            message_key: turn.message_key.as_ref().map(AsRef::as_ref),
            metadata: turn.metadata.as_ref().map(Metadata::as_str),
        }
    }
}

pub(crate) fn run(args: &HistoryArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.open()?;
    let task = &short_id::find(&repo, &args.task.id, out)?;
    repo.get_task(task)?;
    let count = repo.count_history(task)?;
    let mut turns: Box<dyn Iterator<Item = _>> = match args.last {
        Some(last) => Box::new(repo.get_history_last(task, last)?.into_iter().map(Ok)),
        None => {
            let limit = args.limit.map_or(count, |limit| count.min(limit.into()));
            Box::new(turns(
                &repo,
                task,
                args.after.and_then(|after| Seq::new(after).ok()),
                limit,
            ))
        }
    };
    let mut turns = turns.by_ref().peekable();
    if turns.peek().is_none() && !out.is_json() && !args.follow {
        out.note("no turns")?;
    }
    let mut is_first = true;
    let mut show = |turn: &ConversationTurn, out: &mut Output| -> anyhow::Result<()> {
        if out.is_json() {
            return Ok(out.json(&TurnRecord::from(turn))?);
        }
        if !std::mem::take(&mut is_first) {
            out.line("")?;
        }
        print(turn, out)
    };
    let mut last = args.after.and_then(|after| Seq::new(after).ok());
    for turn in turns {
        let turn = turn?;
        show(&turn, out)?;
        last = Some(turn.seq);
    }
    if args.follow {
        out.flush()?;
        return follow(&repo, task, last, |turn| {
            show(&turn, out)?;
            Ok(out.flush()?)
        });
    }
    Ok(())
}

/// Passes on the turns after a seq as they come. Ends only with an error.
pub(crate) fn follow(
    repo: &Repo,
    task: &TaskId,
    mut last: Option<Seq>,
    mut show: impl FnMut(ConversationTurn) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        match repo.wait_for_turns(task, last, Duration::MAX) {
            Ok(turns) => {
                for turn in turns {
                    last = Some(turn.seq);
                    show(turn)?;
                }
            }
            Err(error) if error.is_retryable() => {
                warn(&error);
                thread::sleep(Duration::from_secs(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(turn: &ConversationTurn, out: &mut Output) -> anyhow::Result<()> {
    let header = format!("#{} {} {}", turn.seq, turn.role, seconds(turn.timestamp));
    out.title(style(turn.role), &header)?;
    Ok(out.text(&turn.content)?)
}

fn style(role: Role) -> Style {
    let color = match role {
        Role::User => AnsiColor::Green,
        Role::Assistant => AnsiColor::Cyan,
        Role::System => AnsiColor::Yellow,
        Role::Tool => AnsiColor::Magenta,
    };
    color.on_default().bold()
}

/// Iterates over the first `limit` turns after a seq, with one page in memory.
pub(crate) fn turns(
    repo: &Repo,
    task: &TaskId,
    mut after: Option<Seq>,
    limit: i64,
) -> impl Iterator<Item = turnkeep_repo::Result<ConversationTurn>> {
    // Turns may be long, and a query costs little.
    const PAGE: u32 = 64;
    let mut page = Vec::new().into_iter();
    let mut left = limit;
    std::iter::from_fn(move || {
        if page.len() == 0 && left > 0 {
            let limit = u32::try_from(left).map_or(PAGE, |left| left.min(PAGE));
            match repo.get_history_page(task, HistoryPage::new(limit).after(after)) {
                Ok(turns) => page = turns.into_iter(),
                Err(error) => {
                    left = 0;
                    return Some(Err(error));
                }
            }
        }
        let turn = page.next()?;
        left -= 1;
        after = Some(turn.seq);
        Some(Ok(turn))
    })
}
