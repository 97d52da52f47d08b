use std::mem;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use turnkeep_model::{BackendType, Role, Seq, TaskId, UtcMicros, WorkingDir};
use turnkeep_repo::{HistoryPage, Repo};

use crate::error::Result;
use crate::expression::Expression;
use crate::file::IndexFile;
use crate::passage::{Passage, beginning, passages};
use crate::query::Query;

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

/// The turns whose texts are in memory at once.
const BATCH: usize = 20;

/// The most turns that are ranked. Of more, the rank of a word that is almost everywhere says little, and takes a
/// microsecond each.
const MAX_RANKED: usize = 20_000;

const MATCHES: &str = "\
    FROM words JOIN turns ON turns.row = words.rowid JOIN tasks ON tasks.number = turns.task \
    WHERE words MATCH ?1 \
      AND (?2 IS NULL OR tasks.agent = ?2) \
      AND (?3 IS NULL OR tasks.folder = ?3 OR (substr(tasks.folder, 1, length(?3)) = ?3 \
           AND substr(tasks.folder, length(?3) + 1, 1) IN ('/', '\\'))) \
      AND (?4 IS NULL OR tasks.id = ?4) \
      AND (?5 IS NULL OR turns.role = ?5) \
      AND (?6 IS NULL OR turns.time >= ?6) \
      AND (?7 IS NULL OR turns.time < ?7)";

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    id: TaskId,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    agent: Option<BackendType>,
    #[diesel(sql_type = Nullable<Text>)]
    folder: Option<WorkingDir>,
    #[diesel(sql_type = BigInt)]
    seq: Seq,
}

pub(crate) fn search(
    repo: &Repo,
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
) -> Result<Vec<Hit>> {
    let wanted = query.limit as usize;
    // Some may be hidden or gone. If too many are, more are looked up.
    let mut limit = query.limit.saturating_add(20);
    loop {
        let found = find(file, query, expression, limit)?;
        let is_all = found.len() < limit as usize;
        let mut hits = Vec::new();
        let mut batch = Vec::new();
        for found in found {
            if hits.len() + batch.len() == wanted {
                break;
            }
            if let Some(turn) = visible_turn(repo, &found)? {
                batch.push((found, turn));
            }
            if batch.len() == BATCH {
                hits.extend(with_passages(file, expression, mem::take(&mut batch))?);
            }
        }
        hits.extend(with_passages(file, expression, batch)?);
        if is_all || hits.len() == wanted {
            return Ok(hits);
        }
        limit = limit.saturating_mul(10);
    }
}

/// Returns the first matches in the index, which may be hidden or gone in the store.
fn find(
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
    limit: u32,
) -> Result<Vec<Found>> {
    let folder: Option<&str> = query.working_dir.as_ref().map(AsRef::as_ref);
    let folder = folder.map(|it| it.trim_end_matches(['/', '\\']));
    let matches = |sql: String| {
        diesel::sql_query(sql)
            .bind::<Text, _>(&expression.matches)
            .bind::<Nullable<Text>, _>(&query.backend)
            .bind::<Nullable<Text>, _>(folder)
            .bind::<Nullable<Text>, _>(&query.task)
            .bind::<Nullable<Text>, _>(query.role)
            .bind::<Nullable<BigInt>, _>(query.since.map(UtcMicros::from))
            .bind::<Nullable<BigInt>, _>(query.until.map(UtcMicros::from))
    };
    let some = format!("SELECT count(*) AS count FROM (SELECT 1 {MATCHES} LIMIT {MAX_RANKED} + 1)");
    // A score has one decimal, so that turns of about the same rank are sorted by time.
    let ranked = format!(
        "SELECT tasks.id, tasks.name, tasks.agent, tasks.folder, turns.seq {MATCHES} ORDER BY \
         CASE WHEN ?8 THEN round(words.rank, 1) END, turns.time DESC, turns.row DESC LIMIT ?9"
    );
    file.read(|conn| {
        let Count { count } = matches(some).get_result(conn)?;
        matches(ranked)
            .bind::<Bool, _>(count <= MAX_RANKED as i64)
            .bind::<BigInt, _>(i64::from(limit))
            .load(conn)
    })
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
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
fn visible_turn(repo: &Repo, found: &Found) -> Result<Option<Turn>> {
    let page = HistoryPage::new(1).after(Seq::new(found.seq.get() - 1).ok());
    let turns = repo.get_history_page(&found.id, page)?;
    let turn = turns.into_iter().find(|turn| turn.seq == found.seq);
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
    turns: Vec<(Found, Turn)>,
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
        seq: found.seq,
        role: turn.role,
        timestamp: turn.timestamp,
        passage: Passage {
            is_end: passage.is_end && turn.is_whole,
            ..passage
        },
    });
    Ok(hits.collect())
}
