use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::sqlite::Sqlite;
use turnkeep_model::{BackendType, Role, Seq, TaskId, UtcMicros, WorkingDir};
use turnkeep_recordings::ToolCall;
use turnkeep_repo::{HistoryPage, Repo};

use crate::error::Result;
use crate::expression::Expression;
use crate::file::{IndexFile, tool_files, turns};
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

/// The texts that are in memory at once.
const BATCH: usize = 20;

/// The most turns that are ranked. Of more, the rank of a word that is almost everywhere says little, and takes a
/// microsecond each.
const MAX_RANKED: usize = 20_000;

/// The tables of a kind of texts.
struct Kind {
    /// The name of the full-text table.
    words: &'static str,
    /// The table that has a row for each of its rows.
    table: &'static str,
    columns: &'static str,
    role: &'static str,
}

const TURNS: Kind = Kind {
    words: "words",
    table: "turns",
    columns: "turns.seq",
    role: "?5 IS NULL OR turns.role = ?5",
};

const CALLS: Kind = Kind {
    words: "call_words",
    table: "calls",
    columns: "calls.task, calls.number, calls.time",
    role: "?5 IS NULL",
};

/// A text that matches a query.
#[derive(QueryableByName)]
struct Found<P> {
    #[diesel(sql_type = Text)]
    id: TaskId,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    agent: Option<BackendType>,
    #[diesel(sql_type = Nullable<Text>)]
    folder: Option<WorkingDir>,
    #[diesel(embed)]
    place: P,
}

#[derive(QueryableByName)]
struct OfTurn {
    #[diesel(sql_type = BigInt)]
    seq: Seq,
}

#[derive(QueryableByName)]
struct OfCall {
    #[diesel(sql_type = BigInt)]
    task: i64,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    time: Option<UtcMicros>,
}

pub(crate) fn search(
    repo: &Repo,
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
) -> Result<Vec<Hit>> {
    hits(file, query, expression, &TURNS, |file, batch| {
        let mut turns = Vec::new();
        for found in batch {
            if let Some(turn) = visible_turn(repo, &found)? {
                turns.push((found, turn));
            }
        }
        with_passages(file, expression, turns)
    })
}

pub(crate) fn search_tool_calls(
    repo: &Repo,
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
) -> Result<Vec<ToolCallHit>> {
    hits(file, query, expression, &CALLS, |file, batch| {
        let calls = with_texts(repo, file, batch)?;
        calls_with_passages(file, expression, calls)
    })
}

/// Returns the best hits. `present` makes hits of matches in the index, without those that the store has not.
fn hits<P: QueryableByName<Sqlite> + 'static, H>(
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
    kind: &Kind,
    present: impl Fn(&mut IndexFile, Vec<Found<P>>) -> Result<Vec<H>>,
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
            let batch = found.by_ref().take(BATCH.min(wanted - hits.len()));
            let batch = batch.collect();
            hits.extend(present(file, batch)?);
        }
        if is_all || hits.len() == wanted {
            return Ok(hits);
        }
        limit = limit.saturating_mul(10);
    }
}

/// Returns the first matches in the index, which may be hidden or gone in the store.
fn find<P: QueryableByName<Sqlite> + 'static>(
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
    kind: &Kind,
    limit: u32,
) -> Result<Vec<Found<P>>> {
    let Kind {
        words,
        table,
        columns,
        role,
    } = kind;
    let folders = query.folders.iter().enumerate().map(|(number, folder)| {
        let separators: Vec<_> = separators(folder)
            .iter()
            .map(|it| format!("'{it}'"))
            .collect();
        let separators = separators.join(", ");
        let folder = format!("?{}", FIRST_FOLDER + number);
        format!(
            "tasks.folder = {folder} OR (substr(tasks.folder, 1, length({folder})) = {folder} \
             AND substr(tasks.folder, length({folder}) + 1, 1) IN ({separators}))"
        )
    });
    let folders = match folders.collect::<Vec<_>>().join(" OR ") {
        none if none.is_empty() => "TRUE".to_owned(),
        folders => folders,
    };
    let matching = format!(
        "FROM {words} JOIN {table} ON {table}.row = {words}.rowid JOIN tasks ON tasks.number = {table}.task \
         WHERE {words} MATCH ?1 AND (?2 IS NULL OR tasks.agent = ?2) AND (?3 IS NULL OR tasks.id = ?3) \
         AND (?4 IS NULL OR {table}.time >= ?4) AND (?6 IS NULL OR {table}.time < ?6) AND ({role}) AND ({folders})"
    );
    let some =
        format!("SELECT count(*) AS count FROM (SELECT 1 {matching} LIMIT {MAX_RANKED} + 1)");
    // A score has one decimal, so that texts of about the same rank are sorted by time.
    let ranked = format!(
        "SELECT tasks.id, tasks.name, tasks.agent, tasks.folder, {columns} {matching} ORDER BY \
         CASE WHEN ? THEN round({words}.rank, 1) END, {table}.time DESC, {table}.row DESC LIMIT ?"
    );
    let bound = |sql: String| {
        let mut bound = diesel::sql_query(sql)
            .into_boxed::<Sqlite>()
            .bind::<Text, _>(&expression.matches)
            .bind::<Nullable<Text>, _>(&query.backend)
            .bind::<Nullable<Text>, _>(&query.task)
            .bind::<Nullable<BigInt>, _>(query.since.map(UtcMicros::from))
            .bind::<Nullable<Text>, _>(query.role)
            .bind::<Nullable<BigInt>, _>(query.until.map(UtcMicros::from));
        for folder in &query.folders {
            bound = bound.bind::<Text, _>(folder.as_str().trim_end_matches(separators(folder)));
        }
        bound
    };
    file.read(|conn| {
        let Count { count } = bound(some).get_result(conn)?;
        bound(ranked)
            .bind::<Bool, _>(count <= MAX_RANKED as i64)
            .bind::<BigInt, _>(i64::from(limit))
            .load(conn)
    })
}

/// Returns the characters between the names in a folder. As in a list of the store, a folder that begins with `/` may have
/// names with a backslash.
fn separators(folder: &WorkingDir) -> &'static [char] {
    match folder.as_str().starts_with('/') {
        true => &['/'],
        false => &['/', '\\'],
    }
}

/// The number of the first parameter that is a folder.
const FIRST_FOLDER: usize = 7;

#[derive(QueryableByName)]
pub(crate) struct Count {
    #[diesel(sql_type = BigInt)]
    pub(crate) count: i64,
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

/// Reads the names and texts of calls. A call that the store has no longer is left out.
fn with_texts(
    repo: &Repo,
    file: &mut IndexFile,
    batch: Vec<Found<OfCall>>,
) -> Result<Vec<(Found<OfCall>, ToolCall)>> {
    let mut texts = HashMap::new();
    let tasks: HashSet<i64> = batch.iter().map(|found| found.place.task).collect();
    for task in tasks {
        let of_task = batch.iter().filter(|found| found.place.task == task);
        let mut wanted: HashSet<_> = of_task.clone().map(|found| found.place.number).collect();
        let number: Option<i64> = file.read(|conn| {
            let of_task = tool_files::table.filter(tool_files::task.eq(task));
            of_task.select(tool_files::file).first(conn).optional()
        })?;
        let Some(found) = of_task.clone().next() else {
            continue;
        };
        let files = repo.get_recordings(&found.id)?;
        let Some(recording) = files.iter().find(|it| Some(it.number.get()) == number) else {
            continue;
        };
        for_each_call(repo, recording, |number, call| {
            if wanted.remove(&(number as i64)) {
                texts.insert((task, number as i64), call);
            }
            !wanted.is_empty()
        })?;
    }
    let batch = batch.into_iter();
    let with_texts = batch.filter_map(|found| {
        let call = texts.remove(&(found.place.task, found.place.number))?;
        Some((found, call))
    });
    Ok(with_texts.collect())
}

fn calls_with_passages(
    file: &mut IndexFile,
    expression: &Expression,
    calls: Vec<(Found<OfCall>, ToolCall)>,
) -> Result<Vec<ToolCallHit>> {
    let (found, calls): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    let tools: Vec<_> = calls
        .iter()
        .map(|call: &ToolCall| call.name.clone())
        .collect();
    let texts: Vec<_> = calls.into_iter().map(text).collect();
    let texts: Vec<_> = texts.iter().map(|text| &**text).collect();
    let passages = passages(file, expression, &texts)?;
    let mut hits = Vec::new();
    for ((found, tool), passage) in found.into_iter().zip(tools).zip(passages) {
        // Another process may have read another recording of the task since.
        if passage.highlights.is_empty() {
            continue;
        }
        hits.push(ToolCallHit {
            seq: turn_before(file, &found.place)?,
            task_id: found.id,
            name: found.name,
            backend_type: found.agent,
            working_dir: found.folder,
            tool,
            timestamp: found.place.time.map(Into::into),
            passage,
        });
    }
    Ok(hits)
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
