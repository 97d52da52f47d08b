use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem;

use diesel::connection::SimpleConnection;
use diesel::dsl::{max, sql, sql_query};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use turnkeep_model::{ConversationTurn, Seq, TaskId};
use turnkeep_repo::{ErrorKind, HistoryPage, Repo, TaskOrder, TaskQuery, TaskSummary};

use crate::error::Result;
use crate::file::{IndexFile, has_calls, tasks, turns, unmerged, words};
use crate::matches::Count;
use crate::tokens::separated;
use crate::tool_calls;

/// The turns that are read from the store at once.
const PAGE: u32 = 100;

/// The bytes of texts in one transaction on the index.
pub(crate) const STEP: usize = 4 << 20;

/// The tasks that are removed in one transaction.
const REMOVED_TASKS: usize = 100;

/// The pages of 4 KiB that are merged in one transaction, so that it fits in the cache of the connection and keeps no
/// search waiting.
const MERGED_PAGES: u32 = 500;

/// The result of [`Index::update`](crate::Index::update).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Update {
    /// The turns that were added.
    pub added_turns: u64,
    /// The tasks that were taken out, because the store has them no longer.
    pub removed_tasks: u64,
    /// Of each task with a damaged turn the store's error. The turns before the damaged one can be found, and the next
    /// update tries again.
    pub unreadable: Vec<turnkeep_repo::Error>,
}

/// A task as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = tasks, treat_none_as_null = true)]
struct IndexedTask {
    id: String,
    name: String,
    agent: Option<String>,
    folder: Option<String>,
    created_at: i64,
    last_active_at: i64,
    /// The seq of the last turn that the index has.
    turns: i64,
}

/// The text of the last turn that the index has, as a number. Turns that were stored anew may differ in nothing else. If a
/// version of Rust has another hasher, tasks that have changed are read anew, once.
fn number_of(text: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish().cast_signed()
}

impl From<&TaskSummary> for IndexedTask {
    fn from(task: &TaskSummary) -> Self {
        Self {
            id: task.id.to_string(),
            name: task.name.clone(),
            agent: task.backend_type.as_ref().map(ToString::to_string),
            folder: task.working_dir.as_ref().map(ToString::to_string),
            created_at: task.created_at.timestamp_micros(),
            last_active_at: task.last_active_at.timestamp_micros(),
            turns: task.turns.cast_signed(),
        }
    }
}

/// A part of a task's history to be added.
struct Part {
    task: IndexedTask,
    /// The seq before the first of these turns.
    after: i64,
    turns: Vec<ConversationTurn>,
    /// Whether the index has another task of this id, which was deleted since.
    replaces: bool,
}

pub(crate) fn update(repo: &Repo, file: &mut IndexFile) -> Result<Update> {
    let mut update = Update::default();
    let mut parts = Parts::default();
    let mut query = TaskQuery::new().order(TaskOrder::Id).limit(1_000);
    let mut before: Option<TaskId> = None;
    let mut unlisted = Vec::new();
    loop {
        let page = repo.list_tasks(&query)?;
        // The last page ends after all ids.
        let last = page
            .next
            .as_ref()
            .and(page.tasks.last())
            .map(|task| task.id.clone());
        let mut indexed = indexed_tasks(file, before.as_ref(), last.as_ref())?;
        for task in &page.tasks {
            let known = indexed.remove(task.id.as_str());
            if known.as_ref() != Some(&IndexedTask::from(task)) {
                let read = add_turns(repo, file, task, known, &mut parts, &mut update);
                match read {
                    Err(crate::Error::Store(error))
                        if matches!(error.kind(), ErrorKind::Corrupt) =>
                    {
                        update.unreadable.push(error);
                    }
                    read => read?,
                }
            }
        }
        unlisted.extend(indexed.into_keys());
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
        before = last;
    }
    parts.write(file, &mut update)?;
    update.removed_tasks = remove_gone(repo, file, unlisted)?;
    merge(file, "words", "unmerged")?;
    if file.read(has_calls)? {
        merge(file, "call_words", "unmerged_calls")?;
    }
    Ok(update)
}

/// Takes tasks out of the index that the store has no longer, and returns how many these were. It may have got one since
/// it was listed, which another process has indexed.
fn remove_gone(repo: &Repo, file: &mut IndexFile, unlisted: Vec<String>) -> Result<u64> {
    let mut gone = Vec::new();
    for id in unlisted {
        let Ok(task) = TaskId::new(&*id) else {
            // No store has such a task.
            gone.push(id);
            continue;
        };
        match repo.get_task(&task) {
            Err(error) if *error.kind() == ErrorKind::TaskNotFound => gone.push(id),
            task => drop(task?),
        }
    }
    let mut removed = 0;
    for ids in gone.chunks(REMOVED_TASKS) {
        removed += file.write(|conn| {
            let mut removed = 0;
            for id in ids {
                removed += u64::from(remove(conn, id)?);
            }
            Ok(removed)
        })?;
    }
    Ok(removed)
}

/// Takes the words of removed rows out of the file. FTS5 keeps them until it merges the segments that have them, and does
/// not know which these are. `unmerged` has a row while there may be some.
pub(crate) fn merge(file: &mut IndexFile, words: &str, unmerged: &str) -> Result<()> {
    let removals = sql_query(format!("SELECT count(*) AS count FROM {unmerged}"));
    let Count { count: removals } = file.read(|conn| removals.get_result(conn))?;
    if removals == 0 {
        return Ok(());
    }
    loop {
        let is_merged = file.write(|conn| {
            let changes = sql::<BigInt>("SELECT total_changes()");
            let before: i64 = changes.clone().get_result(conn)?;
            conn.batch_execute(&format!(
                "INSERT INTO {words} ({words}, rank) VALUES ('merge', -{MERGED_PAGES})"
            ))?;
            let after: i64 = changes.get_result(conn)?;
            // The statement itself counts as a change.
            let is_merged = after - before < 2;
            if is_merged {
                conn.batch_execute(&format!("DELETE FROM {unmerged}"))?;
            }
            Ok(is_merged)
        })?;
        if is_merged {
            return Ok(());
        }
    }
}

/// Returns the tasks of the index after one id up to another one.
fn indexed_tasks(
    file: &mut IndexFile,
    after: Option<&TaskId>,
    last: Option<&TaskId>,
) -> Result<HashMap<String, IndexedTask>> {
    let mut query = tasks::table.select(IndexedTask::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(tasks::id.gt(after.as_str()));
    }
    if let Some(last) = last {
        query = query.filter(tasks::id.le(last.as_str()));
    }
    let indexed: Vec<IndexedTask> = file.read(|conn| query.load(conn))?;
    Ok(indexed
        .into_iter()
        .map(|task| (task.id.clone(), task))
        .collect())
}

/// Reads the turns of a task that the index lacks.
fn add_turns(
    repo: &Repo,
    file: &mut IndexFile,
    task: &TaskSummary,
    known: Option<IndexedTask>,
    parts: &mut Parts,
    update: &mut Update,
) -> Result<()> {
    let is_known = known.is_some();
    let same = match known {
        Some(known) if known.created_at == task.created_at.timestamp_micros() => {
            let is_same = known.turns == 0 || is_last_turn(repo, file, &task.id, known.turns)?;
            is_same.then_some(known.turns)
        }
        _ => None,
    };
    let mut after = same.unwrap_or(0);
    let mut replaces = is_known && same.is_none();
    let mut limit = PAGE;
    loop {
        let page = HistoryPage::new(limit)
            .with_hidden()
            .after(Seq::new(after).ok());
        let turns = match repo.get_history_page(&task.id, page) {
            // The turns before the damaged one are read one by one.
            Err(error) if limit > 1 && matches!(error.kind(), ErrorKind::Corrupt) => {
                limit = 1;
                continue;
            }
            turns => turns?,
        };
        let is_last = turns.len() < limit as usize;
        let last = turns.last().map_or(after, |turn| turn.seq.get());
        let mut part = Part {
            task: task.into(),
            after,
            turns,
            replaces,
        };
        part.task.turns = last;
        parts.add(part, file, update)?;
        if is_last {
            return Ok(());
        }
        (after, replaces) = (last, false);
    }
}

/// Whether the store's turn is the one of the index, as far as that knows it. A task that was deleted and made anew may
/// have the same id and time.
fn is_last_turn(repo: &Repo, file: &mut IndexFile, task: &TaskId, seq: i64) -> Result<bool> {
    let page = HistoryPage::new(1)
        .with_hidden()
        .after(Seq::new(seq - 1).ok());
    let stored = repo.get_history_page(task, page)?;
    let indexed: Option<(String, i64, i64)> = file.read(|conn| {
        turns::table
            .inner_join(tasks::table.on(tasks::number.eq(turns::task)))
            .filter(tasks::id.eq(task.as_str()))
            .filter(turns::seq.eq(seq))
            .select((turns::role, turns::time, tasks::last_text))
            .first(conn)
            .optional()
    })?;
    let stored = stored.first().map(|turn| {
        let time = turn.timestamp.timestamp_micros();
        (turn.role.to_string(), time, number_of(&turn.content))
    });
    Ok(stored.is_some() && stored == indexed)
}

/// The parts of the next transaction.
#[derive(Default)]
struct Parts {
    parts: Vec<Part>,
    bytes: usize,
}

impl Parts {
    fn add(&mut self, part: Part, file: &mut IndexFile, update: &mut Update) -> Result<()> {
        // A row of the index takes about as much memory as a short text.
        let bytes = part.turns.iter().map(|turn| turn.content.len() + 100);
        self.bytes += 500 + bytes.sum::<usize>();
        self.parts.push(part);
        match self.bytes < STEP {
            true => Ok(()),
            false => self.write(file, update),
        }
    }

    fn write(&mut self, file: &mut IndexFile, update: &mut Update) -> Result<()> {
        // Without a part there is no need to wait for another process that writes.
        if self.parts.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let parts = mem::take(&mut self.parts);
        update.added_turns += file.write(|conn| {
            let mut added = 0;
            for part in &parts {
                added += add(conn, part)?;
            }
            Ok(added)
        })?;
        Ok(())
    }
}

/// Adds a part to the index, unless another process has come further with the task. Returns the number of turns that
/// were added.
fn add(conn: &mut SqliteConnection, part: &Part) -> QueryResult<u64> {
    if part.replaces {
        remove(conn, &part.task.id)?;
    }
    let task = tasks::table.filter(tasks::id.eq(&part.task.id));
    let known: Option<(i64, i64)> = task
        .select((tasks::number, tasks::turns))
        .first(conn)
        .optional()?;
    if known.map_or(0, |(_, turns)| turns) != part.after {
        return Ok(0);
    }
    let number = match known {
        Some((number, _)) => {
            diesel::update(task).set(&part.task).execute(conn)?;
            number
        }
        None => diesel::insert_into(tasks::table)
            .values((&part.task, tasks::last_text.eq(0)))
            .returning(tasks::number)
            .get_result(conn)?,
    };
    if let Some(turn) = part.turns.last() {
        diesel::update(tasks::table.filter(tasks::number.eq(number)))
            .set(tasks::last_text.eq(number_of(&turn.content)))
            .execute(conn)?;
    }
    let last: Option<i64> = turns::table.select(max(turns::row)).first(conn)?;
    for (row, turn) in (last.unwrap_or(0) + 1..).zip(&part.turns) {
        diesel::insert_into(turns::table)
            .values((
                turns::row.eq(row),
                turns::task.eq(number),
                turns::seq.eq(turn.seq.get()),
                turns::role.eq(turn.role.as_str()),
                turns::time.eq(turn.timestamp.timestamp_micros()),
            ))
            .execute(conn)?;
        diesel::insert_into(words::table)
            .values((
                words::rowid.eq(row),
                words::body.eq(separated(&turn.content)),
            ))
            .execute(conn)?;
    }
    Ok(part.turns.len() as u64)
}

/// Takes a task out of the index. Returns whether it was there.
fn remove(conn: &mut SqliteConnection, id: &str) -> QueryResult<bool> {
    let number = tasks::table.filter(tasks::id.eq(id)).select(tasks::number);
    let Some(number): Option<i64> = number.first(conn).optional()? else {
        return Ok(false);
    };
    let of_task = turns::table.filter(turns::task.eq(number));
    diesel::delete(words::table.filter(words::rowid.eq_any(of_task.select(turns::row))))
        .execute(conn)?;
    diesel::delete(of_task).execute(conn)?;
    diesel::delete(tasks::table.filter(tasks::number.eq(number))).execute(conn)?;
    diesel::insert_into(unmerged::table)
        .default_values()
        .execute(conn)?;
    if has_calls(conn)? {
        tool_calls::remove(conn, number)?;
    }
    Ok(true)
}

diesel::allow_tables_to_appear_in_same_query!(tasks, turns, words);

#[cfg(test)]
mod tests {
    use turnkeep_repo::NewTask;

    use super::*;
    use crate::file::Place;

    /// The list of the store was read before another process indexed it.
    #[test]
    fn a_task_that_the_store_has_stays() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repo::open_in_memory().unwrap();
        for id in ["kept", "gone"] {
            let task = NewTask::new(TaskId::new(id).unwrap(), "T");
            repo.save_task(&task).unwrap();
        }
        let path = folder.path().join("index");
        let operation = "update";
        let mut file = IndexFile::open(Place { path, operation }).unwrap();
        update(&repo, &mut file).unwrap();
        repo.delete_task(&TaskId::new("gone").unwrap()).unwrap();
        let unlisted = ["kept", "gone", ""].map(str::to_owned).to_vec();
        assert_eq!(remove_gone(&repo, &mut file, unlisted).unwrap(), 1);
        let left: Vec<String> = file
            .read(|conn| tasks::table.select(tasks::id).load(conn))
            .unwrap();
        assert_eq!(left, ["kept"]);
    }
}
