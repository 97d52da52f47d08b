use std::collections::{BTreeMap, HashMap};
use std::mem;

use chrono::{DateTime, Utc};
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use turnkeep_model::{BackendType, Role, Seq, TaskId, WorkingDir};
use turnkeep_recordings::ToolCall;
use turnkeep_repo::{HistoryPage, Repo};

use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::file::{IndexFile, tool_files, turns};
use crate::matches::{CALLS, Found, Kind, OfCall, OfTurn, TURNS, find};
use crate::passage::{Passage, beginning, passages};
use crate::query::Query;
use crate::tool_calls::{for_each_call, text};

/// A turn that matches a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hit {
    /// The task of the turn.
    pub task_id: TaskId,
    /// Its title.
    pub name: String,
    /// The agent of its session.
    pub backend_type: Option<BackendType>,
    /// The folder of its session.
    pub working_dir: Option<WorkingDir>,
    /// The number of the turn.
    pub seq: Seq,
    /// The speaker.
    pub role: Role,
    /// The time of the turn, UTC.
    pub timestamp: DateTime<Utc>,
    /// The part of the turn that has the most words of the query.
    pub passage: Passage,
}

/// A tool call that matches a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCallHit {
    /// The task of the session.
    pub task_id: TaskId,
    /// Its title.
    pub name: String,
    /// The agent of the session.
    pub backend_type: Option<BackendType>,
    /// The folder of the session.
    pub working_dir: Option<WorkingDir>,
    /// The name of the tool, from the recording: any text of at most 64 KiB.
    pub tool: String,
    /// The number of the last turn before the call. `None` before the first turn and without a time.
    pub seq: Option<Seq>,
    /// The time of the call, UTC. `None` if the recording has none.
    pub timestamp: Option<DateTime<Utc>>,
    /// The part of the call with the most words of the query. The whole text is the name, the input and the result.
    pub passage: Passage,
}

/// The result of [`Index::search_tool_calls`](crate::Index::search_tool_calls).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ToolCallHits {
    /// The calls.
    pub hits: Vec<ToolCallHit>,
    /// The recordings that can't be read, an [`Error::Recording`] each. Their calls are not among the hits.
    pub unreadable: Vec<Error>,
}

/// The texts that are in memory at once.
const BATCH: usize = 20;

pub(crate) fn search(
    repo: &Repo,
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
) -> Result<Vec<Hit>> {
    hits(file, query, expression, &TURNS, |file, found| {
        let mut found = found.into_iter();
        let mut hits = Vec::new();
        while found.len() > 0 {
            let mut turns = Vec::new();
            for found in found.by_ref().take(BATCH) {
                if let Some(turn) = visible_turn(repo, &found)? {
                    turns.push((found, turn));
                }
            }
            hits.extend(with_passages(file, expression, turns)?);
        }
        Ok(hits)
    })
}

pub(crate) fn search_tool_calls(
    repo: &Repo,
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
) -> Result<ToolCallHits> {
    // A call has no speaker.
    if query.role.is_some() {
        return Ok(ToolCallHits::default());
    }
    let mut unreadable = BTreeMap::new();
    let hits = hits(file, query, expression, &CALLS, |file, found| {
        calls_with_passages(repo, file, expression, found, &mut unreadable)
    })?;
    Ok(ToolCallHits {
        hits,
        unreadable: unreadable.into_values().collect(),
    })
}

/// Returns the best hits. `present` makes hits of matches in the index, without those that the store has not.
fn hits<P: QueryableByName<Sqlite> + 'static, H>(
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
    kind: &Kind,
    mut present: impl FnMut(&mut IndexFile, Vec<Found<P>>) -> Result<Vec<H>>,
) -> Result<Vec<H>> {
    let wanted = query.limit as usize;
    // Some may be hidden or gone. If too many are, more are looked up.
    let mut limit = query.limit.saturating_add(20);
    loop {
        let found = find(file, query, expression, kind, limit)?;
        let is_all = found.len() < limit as usize;
        let mut hits = Vec::new();
        let mut found = found.into_iter();
        while hits.len() < wanted && found.len() > 0 {
            let next = found.by_ref().take(wanted - hits.len());
            let next = next.collect();
            hits.extend(present(file, next)?);
        }
        if is_all || hits.len() == wanted {
            return Ok(hits);
        }
        limit = limit.saturating_mul(10);
    }
}

/// A turn of the store, with the beginning of its text.
struct Turn {
    role: Role,
    timestamp: DateTime<Utc>,
    text: String,
    /// Whether `text` is all of it.
    is_whole: bool,
}

/// Reads a turn from the store. `None` if it is hidden or gone.
fn visible_turn(repo: &Repo, found: &Found<OfTurn>) -> Result<Option<Turn>> {
    let page = HistoryPage::new(1).after(Seq::new(found.place.seq.get() - 1).ok());
    let turns = repo.get_history_page(&found.id, page)?;
    let turn = turns.into_iter().find(|turn| turn.seq == found.place.seq);
    Ok(turn.map(|turn| {
        let (text, is_whole) = beginning(turn.content);
        Turn {
            role: turn.role,
            timestamp: turn.timestamp,
            text,
            is_whole,
        }
    }))
}

/// Cuts passages out of turns. A turn without the words is left out: the store has another one of this number since.
fn with_passages(
    file: &mut IndexFile,
    expression: &Expression,
    turns: Vec<(Found<OfTurn>, Turn)>,
) -> Result<Vec<Hit>> {
    let texts: Vec<&str> = turns.iter().map(|(_, turn)| &*turn.text).collect();
    let passages = passages(file, expression, &texts)?;
    let hits = turns.into_iter().zip(passages);
    let hits = hits.filter(|((_, turn), passage)| !passage.highlights.is_empty() || !turn.is_whole);
    let hits = hits.map(|((found, turn), passage)| Hit {
        task_id: found.id,
        name: found.name,
        backend_type: found.agent,
        working_dir: found.folder,
        seq: found.place.seq,
        role: turn.role,
        timestamp: turn.timestamp,
        passage: Passage {
            is_end: passage.is_end && turn.is_whole,
            ..passage
        },
    });
    Ok(hits.collect())
}

/// Makes hits of calls, in their order. Those in a recording that can't be read are left out, and it is not read again.
fn calls_with_passages(
    repo: &Repo,
    file: &mut IndexFile,
    expression: &Expression,
    found: Vec<Found<OfCall>>,
    unreadable: &mut BTreeMap<i64, Error>,
) -> Result<Vec<ToolCallHit>> {
    let mut of_tasks: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for (rank, found) in found.into_iter().enumerate() {
        let of_task = of_tasks.entry(found.place.task).or_default();
        of_task.push((rank, found));
    }
    let mut hits = Vec::new();
    for (task, found) in of_tasks {
        if unreadable.contains_key(&task) {
            continue;
        }
        match calls_of_task(repo, file, expression, task, found) {
            Err(error @ Error::Recording { .. }) => {
                unreadable.insert(task, error);
            }
            of_task => hits.extend(of_task?),
        }
    }
    hits.sort_by_key(|(rank, _)| *rank);
    Ok(hits.into_iter().map(|(_, hit)| hit).collect())
}

/// Reads calls of a task from its recording. One that the store has no longer is left out.
fn calls_of_task(
    repo: &Repo,
    file: &mut IndexFile,
    expression: &Expression,
    task: i64,
    found: Vec<(usize, Found<OfCall>)>,
) -> Result<Vec<(usize, ToolCallHit)>> {
    let number: Option<i64> = file.read(|conn| {
        let of_task = tool_files::table.filter(tool_files::task.eq(task));
        of_task.select(tool_files::file).first(conn).optional()
    })?;
    let files = match found.first() {
        Some((_, call)) => repo.get_recordings(&call.id)?,
        None => Vec::new(),
    };
    let Some(recording) = files.iter().find(|it| Some(it.number.get()) == number) else {
        return Ok(Vec::new());
    };
    let found = found.into_iter();
    let mut wanted: HashMap<i64, _> = found.map(|it| (it.1.place.number, it)).collect();
    let mut hits = Vec::new();
    let mut batch = Vec::new();
    let mut added = Ok(());
    for_each_call(repo, recording, |number, call| {
        if let Some((rank, found)) = wanted.remove(&(number as i64)) {
            batch.push((rank, found, call));
        }
        if batch.len() == BATCH {
            added = add_passages(file, expression, mem::take(&mut batch), &mut hits);
        }
        added.is_ok() && !wanted.is_empty()
    })?;
    added?;
    add_passages(file, expression, batch, &mut hits)?;
    Ok(hits)
}

/// Cuts passages out of calls.
fn add_passages(
    file: &mut IndexFile,
    expression: &Expression,
    calls: Vec<(usize, Found<OfCall>, ToolCall)>,
    hits: &mut Vec<(usize, ToolCallHit)>,
) -> Result<()> {
    let mut found = Vec::new();
    let mut texts = Vec::new();
    for (rank, call, content) in calls {
        found.push((rank, call, content.name.clone()));
        texts.push(text(content));
    }
    let texts: Vec<_> = texts.iter().map(|text| &**text).collect();
    let passages = passages(file, expression, &texts)?;
    for ((rank, found, tool), passage) in found.into_iter().zip(passages) {
        // Another process may have read another recording of the task since.
        if passage.highlights.is_empty() {
            continue;
        }
        let hit = ToolCallHit {
            seq: turn_before(file, &found.place)?,
            task_id: found.id,
            name: found.name,
            backend_type: found.agent,
            working_dir: found.folder,
            tool,
            timestamp: found.place.time.map(Into::into),
            passage,
        };
        hits.push((rank, hit));
    }
    Ok(())
}

/// Returns the last turn that is not later than a call.
fn turn_before(file: &mut IndexFile, call: &OfCall) -> Result<Option<Seq>> {
    let Some(time) = &call.time else {
        return Ok(None);
    };
    let seq: Option<i64> = file.read(|conn| {
        turns::table
            .filter(turns::task.eq(call.task))
            .filter(turns::time.le(DateTime::<Utc>::from(*time).timestamp_micros()))
            .select(max(turns::seq))
            .first(conn)
    })?;
    Ok(seq.and_then(|seq| Seq::new(seq).ok()))
}
