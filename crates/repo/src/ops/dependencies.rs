//! The dependencies of tasks: which task waits for which. They form no circle.

use std::collections::{BTreeSet, HashMap, HashSet};

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::Text;
use turnkeep_model::TaskId;
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::{Conn, Db, MAX_IDS, all_written};
use crate::base::error::ErrorKind;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;

/// A task and one that it waits for.
type Pair<'a> = (&'a TaskId, &'a TaskId);

/// A task, its stored dependencies, and the dependencies that replace them.
pub(crate) type Change<'a> = (&'a TaskId, &'a [TaskId], &'a [TaskId]);

/// Returns the dependencies of these tasks, in order.
pub(crate) fn of(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<Vec<(TaskId, TaskId)>> {
    dependencies::table
        .filter(dependencies::task_id.eq_any(ids))
        .order((dependencies::task_id, dependencies::depends_on))
        .load(conn)
}

/// Replaces the dependencies of tasks, which are stored, and returns the number of differences. Refuses an unknown
/// dependency and a circle.
pub(crate) fn replace(
    conn: &mut Conn,
    call: Operation<'_>,
    changes: &[Change<'_>],
) -> Result<u64, QueryError> {
    let (mut gone, mut new): (Vec<Pair<'_>>, Vec<Pair<'_>>) = (Vec::new(), Vec::new());
    for &(task_id, stored, depends_on) in changes {
        let stored: BTreeSet<&TaskId> = stored.iter().collect();
        let depends_on: BTreeSet<&TaskId> = depends_on.iter().collect();
        gone.extend(stored.difference(&depends_on).map(|it| (task_id, *it)));
        new.extend(depends_on.difference(&stored).map(|it| (task_id, *it)));
    }
    let differences = gone.len() + new.len();
    delete(conn, &gone)?;
    if new.is_empty() {
        return Ok(differences as u64);
    }
    refuse_unknown(conn, call, changes, &new)?;
    let depending: HashSet<&TaskId> = new.iter().map(|(task_id, _)| *task_id).collect();
    let waiting = waiting_for(conn, &depending)?;
    let waiting = waiting.iter().map(|(task_id, on)| (task_id, on));
    let places = sort(new.iter().copied().chain(waiting.clone())).map_err(|members| {
        let call = members.first().map_or(call, |task_id| call.about(task_id));
        let members = members.iter().copied().cloned().collect();
        QueryError::Refused(ErrorKind::DependencyCycle { members }.on(&call))
    })?;
    // For each row the trigger against circles walks through all tasks that wait for its task, directly or not. It
    // finds none if the rows of these tasks come later. A row of an unchanged task costs one walk.
    let direct = waiting.filter(|(_, on)| depending.contains(on));
    let (mut later, unchanged): (Vec<Pair<'_>>, Vec<Pair<'_>>) =
        direct.partition(|(task_id, _)| depending.contains(task_id));
    if unchanged.len() < new.len() {
        later.extend(unchanged);
    }
    delete(conn, &later)?;
    new.extend(later);
    new.sort_by_key(|(task_id, _)| places.get(task_id));
    for rows in new.chunks(MAX_IDS) {
        let values: Vec<_> = rows
            .iter()
            .map(|(task_id, depends_on)| {
                (
                    dependencies::task_id.eq(*task_id),
                    dependencies::depends_on.eq(*depends_on),
                )
            })
            .collect();
        let inserted = diesel::insert_into(dependencies::table)
            .values(values)
            .execute(conn)
            .map_err(refused_meanwhile)?;
        all_written(inserted, rows.len(), "task_dependencies")?;
    }
    Ok(differences as u64)
}

/// A pair that another transaction has deleted since it was read is none that a foreign trigger keeps. A repetition of
/// the call reads anew.
fn delete(conn: &mut Conn, pairs: &[Pair<'_>]) -> Result<(), QueryError> {
    for pair in pairs {
        let pair = dependencies::table.find(*pair);
        let stored: Option<TaskId> = locked_whole!(pair.select(dependencies::task_id))
            .get_result(conn)
            .optional()?;
        if stored.is_none() {
            return Err(QueryError::NeedsTransaction);
        }
        let deleted = diesel::delete(pair).execute(conn)?;
        all_written(deleted, 1, "task_dependencies")?;
    }
    Ok(())
}

/// Refuses the first dependency on a task that is not stored.
fn refuse_unknown(
    conn: &mut Conn,
    call: Operation<'_>,
    changes: &[Change<'_>],
    new: &[Pair<'_>],
) -> Result<(), QueryError> {
    let saved: HashSet<&TaskId> = changes.iter().map(|(task_id, ..)| *task_id).collect();
    let others: BTreeSet<&TaskId> = new.iter().map(|(_, depends_on)| *depends_on).collect();
    let others: Vec<&TaskId> = others
        .difference(&saved.iter().copied().collect())
        .copied()
        .collect();
    let mut known = HashSet::new();
    for ids in others.chunks(MAX_IDS) {
        let stored = tasks::table.filter(tasks::id.eq_any(ids)).select(tasks::id);
        known.extend(stored.load::<TaskId>(conn)?);
    }
    let unknown =
        |(_, depends_on): &&Pair<'_>| !saved.contains(depends_on) && !known.contains(*depends_on);
    match new.iter().find(unknown) {
        None => Ok(()),
        Some((task_id, depends_on)) => {
            let depends_on = (*depends_on).clone();
            let unknown = ErrorKind::DependencyNotFound { depends_on };
            Err(unknown.on(&call.about(task_id)).into())
        }
    }
}

/// A task that was deleted, or a circle that was closed, by a transaction that has committed since the check. A
/// repetition of the call finds the reason.
fn refused_meanwhile(error: DieselError) -> QueryError {
    match &error {
        DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
            QueryError::NeedsTransaction
        }
        DieselError::DatabaseError(_, information)
            if information.message().starts_with("task_dependencies: ") =>
        {
            QueryError::NeedsTransaction
        }
        _ => error.into(),
    }
}

/// Returns the dependencies of all tasks that wait for one of these, directly or not, and perhaps others.
fn waiting_for(conn: &mut Conn, ids: &HashSet<&TaskId>) -> QueryResult<Vec<(TaskId, TaskId)>> {
    // To walk from several sets of ids would read some dependencies several times.
    if ids.len() > MAX_IDS {
        return dependencies::table.load(conn);
    }
    let ids = ids.iter().copied();
    let direct = dependencies::table.filter(dependencies::depends_on.eq_any(ids));
    Waiting(direct).load(conn)
}

/// All dependencies that lead to these ones.
#[derive(QueryId)]
struct Waiting<Q>(Q);

impl<Q: QueryFragment<Db>> QueryFragment<Db> for Waiting<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("WITH RECURSIVE waiting (task_id, depends_on) AS (");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(
            " UNION SELECT task_dependencies.task_id, task_dependencies.depends_on \
             FROM task_dependencies JOIN waiting ON task_dependencies.depends_on = waiting.task_id) \
             SELECT task_id, depends_on FROM waiting",
        );
        Ok(())
    }
}

impl<Q> Query for Waiting<Q> {
    type SqlType = (Text, Text);
}

impl<Q> RunQueryDsl<Conn> for Waiting<Q> {}

/// Returns the place of each task in an order with dependencies before the tasks that wait for them. Fails with the
/// tasks of a circle, each of which waits for the next and the last for the first.
fn sort<'a>(
    pairs: impl Iterator<Item = Pair<'a>> + Clone,
) -> Result<HashMap<&'a TaskId, usize>, Vec<&'a TaskId>> {
    let mut depends_on: HashMap<&TaskId, Vec<&TaskId>> = HashMap::new();
    for (task_id, on) in pairs.clone() {
        depends_on.entry(task_id).or_default().push(on);
    }
    let depends_on = |task_id| {
        depends_on
            .get(task_id)
            .map_or(&[][..], Vec::as_slice)
            .iter()
    };
    // `None` while the search is below the task.
    let mut places = HashMap::new();
    let mut sorted = 0..;
    for (start, _) in pairs {
        if places.contains_key(start) {
            continue;
        }
        places.insert(start, None);
        // A plan may be deeper than the stack of the thread.
        let mut path = vec![(start, depends_on(start))];
        while let Some((task_id, rest)) = path.last_mut() {
            let Some(&next) = rest.next() else {
                places.insert(task_id, sorted.next());
                path.pop();
                continue;
            };
            match places.get(next) {
                Some(Some(_)) => {}
                Some(None) => {
                    let path = path.iter().map(|(task_id, _)| *task_id);
                    return Err(path.skip_while(|task_id| *task_id != next).collect());
                }
                None => {
                    places.insert(next, None);
                    path.push((next, depends_on(next)));
                }
            }
        }
    }
    let places = places.into_iter();
    Ok(places
        .filter_map(|(task_id, place)| Some((task_id, place?)))
        .collect())
}
