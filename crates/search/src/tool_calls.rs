//! The tool calls in the kept recordings: how the index follows them, and their texts.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::Path;

use diesel::dsl::max;
use diesel::prelude::*;
use turnkeep_model::{RecordingFile, TaskId};
use turnkeep_recordings::{Error as RecordingError, ToolCall, for_each_tool_call, transcript};
use turnkeep_repo::{ErrorKind, Repo};

use crate::error::{Error, Result, Source};
use crate::file::{
    IndexFile, add_call_tables, call_words, calls, tasks, tool_files, unmerged_calls,
};
use crate::tokens::separated;
use crate::update::{STEP, merge};

/// The most calls of a session that can be found.
const MAX_CALLS: usize = 100_000;

/// The tasks that are looked at at once.
const PAGE: i64 = 1_000;

/// The result of [`Index::update_tool_calls`](crate::Index::update_tool_calls).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ToolCallUpdate {
    /// The calls that were added, and those that got their results.
    pub added_calls: u64,
    /// The recordings that can't be read. The next update tries again.
    pub unreadable: Vec<Error>,
}

/// A step of the work of a task, which transactions have in this order.
enum Step {
    /// Calls of this recording follow. Those of another one are removed.
    Begin {
        task: i64,
        file: i64,
    },
    Call(IndexedCall),
    /// So many bytes of the recording were read.
    End {
        task: i64,
        length: u64,
    },
}

struct IndexedCall {
    task: i64,
    number: i64,
    time: Option<i64>,
    has_output: bool,
    text: String,
}

pub(crate) fn update(repo: &Repo, file: &mut IndexFile) -> Result<ToolCallUpdate> {
    file.write(add_call_tables)?;
    let mut steps = Steps::default();
    let mut unreadable = Vec::new();
    let sessions = repo.list_sessions()?.into_iter();
    let sessions: HashMap<_, _> = sessions.map(|it| (it.task_id, it.session_id)).collect();
    let mut last = 0;
    loop {
        let page: Vec<(i64, String, Option<i64>, Option<i64>)> = file.read(|conn| {
            tasks::table
                .left_join(tool_files::table.on(tool_files::task.eq(tasks::number)))
                .filter(tasks::number.gt(last))
                .order(tasks::number)
                .limit(PAGE)
                .select((
                    tasks::number,
                    tasks::id,
                    tool_files::file.nullable(),
                    tool_files::length.nullable(),
                ))
                .load(conn)
        })?;
        let Some((number, ..)) = page.last() else {
            break;
        };
        last = *number;
        for (number, id, known, length) in page {
            let Ok(id) = TaskId::new(id) else {
                continue;
            };
            let stored = match sessions.get(&id) {
                Some(session) => transcript(&repo.get_recordings(&id)?, session).cloned(),
                None => None,
            };
            let state = stored
                .as_ref()
                .map(|it| (it.number.get(), it.length.cast_signed()));
            match stored {
                _ if state == known.zip(length) => {}
                None => file.write(|conn| remove(conn, number))?,
                Some(stored) => match add(repo, file, number, &stored, &mut steps) {
                    Err(error @ Error::Recording { .. }) => unreadable.push(error),
                    added => added?,
                },
            }
        }
    }
    steps.write(file)?;
    merge(file, "call_words", "unmerged_calls")?;
    Ok(ToolCallUpdate {
        added_calls: steps.added,
        unreadable,
    })
}

/// Reads the calls of a recording that the index lacks.
fn add(
    repo: &Repo,
    file: &mut IndexFile,
    task: i64,
    recording: &RecordingFile,
    steps: &mut Steps,
) -> Result<()> {
    let known: Vec<i64> = file.read(|conn| {
        calls::table
            .inner_join(tool_files::table.on(tool_files::task.eq(calls::task)))
            .filter(calls::task.eq(task))
            .filter(calls::has_output)
            .filter(tool_files::file.eq(recording.number.get()))
            .select(calls::number)
            .load(conn)
    })?;
    let known: HashSet<i64> = known.into_iter().collect();
    steps.steps.push(Step::Begin {
        task,
        file: recording.number.get(),
    });
    steps.bytes += 100;
    let mut written = Ok(());
    for_each_call(repo, recording, |number, call| {
        if number >= MAX_CALLS {
            return false;
        }
        let number = number as i64;
        if !known.contains(&number) {
            steps.bytes += 100;
            let call = IndexedCall {
                task,
                number,
                time: call.timestamp.map(|it| it.timestamp_micros()),
                has_output: call.output.is_some(),
                text: text(call),
            };
            steps.bytes += call.text.len();
            steps.steps.push(Step::Call(call));
        }
        if steps.bytes >= STEP {
            written = steps.write(file);
        }
        written.is_ok()
    })?;
    written?;
    let length = recording.length;
    steps.steps.push(Step::End { task, length });
    Ok(())
}

/// Visits the calls of a recording, and reads it no further than `visit` wants. Bytes that are added meanwhile are read the
/// next time.
pub(crate) fn for_each_call(
    repo: &Repo,
    recording: &RecordingFile,
    visit: impl FnMut(usize, ToolCall) -> bool,
) -> Result<()> {
    let name = Path::new(recording.name.as_str());
    let reader = repo.recording_reader(&recording.task_id, recording.number);
    let read = for_each_tool_call(name, reader, recording.length, visit);
    read.map_err(|error| match store_failure(error) {
        Ok(error) => Error::Store(error),
        Err(source) => Error::Recording {
            task_id: recording.task_id.clone(),
            name: recording.name.clone(),
            source,
        },
    })
}

/// Returns the store's error if the store failed, and else the cause for which the recording can't be read. One that is
/// damaged, or gone since it was listed, is no failure of the store.
fn store_failure(error: RecordingError) -> Result<turnkeep_repo::Error, Source> {
    let RecordingError::Io { source, .. } = error else {
        return Err(error.into());
    };
    let error: turnkeep_repo::Error = source.downcast()?;
    match error.kind() {
        ErrorKind::RecordingNotFound { .. } | ErrorKind::Corrupt => Err(error.into()),
        _ => Ok(error),
    }
}

/// The text in which the words of a call are found.
pub(crate) fn text(call: ToolCall) -> String {
    let output = call.output.unwrap_or_default();
    format!("{} {}\n{output}", call.name, call.input)
}

/// The steps of the next transaction.
#[derive(Default)]
struct Steps {
    steps: Vec<Step>,
    bytes: usize,
    added: u64,
}

impl Steps {
    fn write(&mut self, file: &mut IndexFile) -> Result<()> {
        if self.steps.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let steps = mem::take(&mut self.steps);
        self.added += file.write(|conn| {
            let mut added = 0;
            for step in &steps {
                match step {
                    Step::Begin { task, file } => begin(conn, *task, *file)?,
                    Step::Call(call) => added += u64::from(add_call(conn, call)?),
                    Step::End { task, length } => {
                        diesel::update(tool_files::table.filter(tool_files::task.eq(task)))
                            .set(tool_files::length.eq(length.cast_signed()))
                            .execute(conn)?;
                    }
                }
            }
            Ok(added)
        })?;
        Ok(())
    }
}

fn begin(conn: &mut SqliteConnection, task: i64, file: i64) -> QueryResult<()> {
    let known = tool_files::table.filter(tool_files::task.eq(task));
    let known: Option<i64> = known.select(tool_files::file).first(conn).optional()?;
    if known == Some(file) {
        return Ok(());
    }
    remove(conn, task)?;
    let row = (
        tool_files::task.eq(task),
        tool_files::file.eq(file),
        tool_files::length.eq(0),
    );
    diesel::insert_into(tool_files::table)
        .values(row)
        .execute(conn)?;
    Ok(())
}

/// Adds a call, or its result. Returns whether the index lacked it.
fn add_call(conn: &mut SqliteConnection, call: &IndexedCall) -> QueryResult<bool> {
    let known: Option<(i64, bool)> = calls::table
        .filter(calls::task.eq(call.task))
        .filter(calls::number.eq(call.number))
        .select((calls::row, calls::has_output))
        .first(conn)
        .optional()?;
    let row = match known {
        Some((_, has_output)) if has_output || !call.has_output => return Ok(false),
        Some((row, _)) => {
            diesel::update(calls::table.filter(calls::row.eq(row)))
                .set(calls::has_output.eq(true))
                .execute(conn)?;
            diesel::delete(call_words::table.filter(call_words::rowid.eq(row))).execute(conn)?;
            row
        }
        None => {
            let last: Option<i64> = calls::table.select(max(calls::row)).first(conn)?;
            let row = last.unwrap_or(0) + 1;
            diesel::insert_into(calls::table)
                .values((
                    calls::row.eq(row),
                    calls::task.eq(call.task),
                    calls::number.eq(call.number),
                    calls::time.eq(call.time),
                    calls::has_output.eq(call.has_output),
                ))
                .execute(conn)?;
            row
        }
    };
    diesel::insert_into(call_words::table)
        .values((
            call_words::rowid.eq(row),
            call_words::body.eq(separated(&call.text)),
        ))
        .execute(conn)?;
    Ok(true)
}

/// Takes the calls of a task out of the index.
pub(crate) fn remove(conn: &mut SqliteConnection, task: i64) -> QueryResult<()> {
    diesel::delete(tool_files::table.filter(tool_files::task.eq(task))).execute(conn)?;
    let of_task = calls::table.filter(calls::task.eq(task));
    let rows = of_task.select(calls::row);
    diesel::delete(call_words::table.filter(call_words::rowid.eq_any(rows))).execute(conn)?;
    if diesel::delete(of_task).execute(conn)? > 0 {
        diesel::insert_into(unmerged_calls::table)
            .default_values()
            .execute(conn)?;
    }
    Ok(())
}

diesel::allow_tables_to_appear_in_same_query!(tasks, tool_files, calls, call_words);
