//! Saving tasks: all of them or none, in any order.

use std::collections::{BTreeSet, HashMap, HashSet};

use diesel::prelude::*;
use turnkeep_model::{FileList, NewTask, StoredText, Task, TaskId, TaskRow, UtcMicros, visible};
use turnkeep_schema::tasks;

use super::task::{find, optional, put_together};
use super::{
    Conn, MAX_IDS, all_written, check_text, dependencies, fitting, length, name_damaged, now,
};
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::write::Write;

/// Inserts or updates a task.
pub(crate) struct SaveTask {
    pub(crate) task: NewTask,
}

impl Write<Conn> for SaveTask {
    type Output = ();

    fn call(&self) -> Operation<'_> {
        Operation::on_task("save_task", &self.task.id)
    }

    fn check(&self) -> Result<()> {
        check(self.call(), &self.task)
    }

    fn bytes(&self) -> usize {
        bytes(&self.task)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<(), QueryError> {
        save(conn, clock, self.call(), std::slice::from_ref(&self.task))
    }
}

/// Inserts or updates tasks, which may depend on each other.
pub(crate) struct SaveTasks {
    pub(crate) tasks: Vec<NewTask>,
}

impl Write<Conn> for SaveTasks {
    type Output = ();

    fn call(&self) -> Operation<'_> {
        Operation::on_store("save_tasks")
    }

    fn check(&self) -> Result<()> {
        let mut ids = HashSet::new();
        self.tasks.iter().try_for_each(|task| {
            if !ids.insert(&task.id) {
                let reason = format!("the task `{}` is in it twice", visible(task.id.as_str()));
                let field = "plan";
                let twice = ErrorKind::InvalidInput { field, reason };
                return Err(twice.on(&self.call().about(&task.id)));
            }
            check(self.call(), task)
        })
    }

    fn bytes(&self) -> usize {
        self.tasks.iter().map(bytes).sum()
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<(), QueryError> {
        save(conn, clock, self.call(), &self.tasks)
    }
}

fn check(call: Operation<'_>, task: &NewTask) -> Result<()> {
    let role = task.agent_role.iter().map(|role| ("agent role", role));
    let result = task.result.iter().map(|result| ("result", result));
    let error = task.error.iter().map(|error| ("error", error));
    let files = task.writes_files.iter().map(|file| ("file name", file));
    let mut texts = [("name", &task.name), ("prompt", &task.prompt)]
        .into_iter()
        .chain(role)
        .chain(result)
        .chain(error)
        .chain(files);
    texts.try_for_each(|(field, text)| check_text(call.name, field, text))?;
    let not_before = task.not_before.map(UtcMicros::new).transpose();
    not_before
        .map(drop)
        .map_err(|error| ErrorKind::from(error).on(&call.about(&task.id)))
}

fn bytes(task: &NewTask) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let progress = text(&task.result) + text(&task.error);
    task.name.len() + task.prompt.len() + progress + length(task.metadata.as_ref())
}

/// Writes no row without a change.
fn save<'a>(
    conn: &mut Conn,
    clock: &Clock,
    call: Operation<'_>,
    plan: &'a [NewTask],
) -> Result<(), QueryError> {
    let now = now(clock, call.name)?;
    let stored = stored(conn, call, plan)?;
    let definition = |task: &'a NewTask| {
        (
            tasks::name.eq(StoredText::from(&*task.name)),
            tasks::agent_role.eq(optional(&task.agent_role)),
            tasks::prompt.eq(StoredText::from(&*task.prompt)),
            tasks::writes_files.eq(FileList::from(&task.writes_files[..])),
            tasks::failure_mode.eq(task.failure_mode),
            tasks::not_before.eq(task.not_before.map(UtcMicros::from)),
            tasks::metadata.eq(&task.metadata),
        )
    };
    let (mut new, mut changes): (Vec<&NewTask>, Vec<dependencies::Change<'_>>) = Default::default();
    for task in plan {
        let stored = stored.get(&task.id);
        match stored {
            None => new.push(task),
            Some(stored) if is_same(stored, task) => continue,
            Some(_) => {
                let updated = diesel::update(tasks::table.find(&task.id))
                    .set((definition(task), tasks::updated_at.eq(now)))
                    .execute(conn)?;
                all_written(updated, 1, "tasks")?;
            }
        }
        let depends_on = stored.map_or(&[][..], |stored| &stored.depends_on);
        changes.push((&task.id, depends_on, &task.depends_on));
    }
    let mut rest = &new[..];
    while !rest.is_empty() {
        let count = fitting(rest.iter().take(MAX_IDS).map(|task| bytes(task) as i64));
        let (page, after) = rest.split_at(count);
        let rows = page.iter().map(|task| {
            let micros = |time| {
                UtcMicros::new(time)
                    .map_err(|error| ErrorKind::from(error).on(&call.about(&task.id)))
            };
            let (begun, ended) = match task.recorded {
                Some((begun, ended)) => (micros(begun)?, micros(ended)?),
                None => (now, now),
            };
            let state = (
                tasks::id.eq(&task.id),
                tasks::status.eq(task.status),
                tasks::result.eq(optional(&task.result)),
                tasks::error.eq(optional(&task.error)),
                tasks::created_at.eq(begun),
                tasks::updated_at.eq(ended),
                tasks::status_changed_at.eq(ended),
                tasks::last_active_at.eq(ended),
            );
            Ok((state, definition(task)))
        });
        let inserted = diesel::insert_into(tasks::table)
            .values(rows.collect::<Result<Vec<_>>>()?)
            .execute(conn)?;
        all_written(inserted, count, "tasks")?;
        rest = after;
    }
    dependencies::replace(conn, call, &changes)?;
    Ok(())
}

/// Returns the tasks of the plan that are stored. On a server it locks them, in order of their ids.
fn stored(
    conn: &mut Conn,
    call: Operation<'_>,
    plan: &[NewTask],
) -> Result<HashMap<TaskId, Task>, QueryError> {
    let mut ids: Vec<TaskId> = plan.iter().map(|task| task.id.clone()).collect();
    ids.sort_unstable();
    let mut stored = HashMap::new();
    for ids in ids.chunks(MAX_IDS) {
        let rows = tasks::table
            .filter(tasks::id.eq_any(ids))
            .order(tasks::id)
            .select(TaskRow::as_select());
        let rows = locked!(rows)
            .load(conn)
            .map_err(|error| name_damaged(error, conn, call, Ok(ids.to_vec()), find))?;
        let tasks = put_together(rows, dependencies::of(conn, ids)?);
        stored.extend(tasks.into_iter().map(|task| (task.id.clone(), task)));
    }
    Ok(stored)
}

fn is_same(stored: &Task, task: &NewTask) -> bool {
    let depends_on: BTreeSet<&TaskId> = task.depends_on.iter().collect();
    stored.name == task.name
        && stored.agent_role == task.agent_role
        && stored.prompt == task.prompt
        && stored.writes_files == task.writes_files
        && stored.failure_mode == task.failure_mode
        && stored.not_before.map(UtcMicros::from) == task.not_before.map(UtcMicros::from)
        && stored.metadata == task.metadata
        && stored.depends_on.iter().eq(depends_on)
}
