//! Reading whole tasks, a page at a time.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;

use turnkeep_model::{ConversationTurn, TaskId};
use turnkeep_repo::bulk::{Bulk, Rows, Stop, StoreFailure, TaskRecord, TurnSpan};

use crate::conflict::conflict;
use crate::error::{Error, Result};
use crate::order::after_dependencies;

/// The most tasks in a page.
pub(crate) const MAX_TASKS: usize = 256;

/// A store that is read: each page in a transaction of its own, or all pages in one.
pub(crate) trait Reader {
    type Error: From<Error>;

    /// The store, for errors.
    fn bulk(&self) -> &Bulk<'_>;

    /// Runs a query that sees one state of the store.
    fn read<T>(
        &self,
        query: impl FnMut(&mut Rows<'_>) -> Result<T, StoreFailure>,
    ) -> Result<T, Self::Error>;

    /// Iterates over the ids of all tasks, in order, a page at a time.
    fn pages_of_ids(&self) -> impl Iterator<Item = Result<Vec<TaskId>, Self::Error>> {
        let mut next = ControlFlow::Continue(None);
        std::iter::from_fn(move || {
            let ControlFlow::Continue(after) = &next else {
                return None;
            };
            let page = self.read(|rows| rows.task_ids(Option::as_ref(after), MAX_TASKS as i64));
            next = match page.as_ref().ok().and_then(|ids| ids.last()) {
                Some(last) => ControlFlow::Continue(Some(last.clone())),
                None => ControlFlow::Break(()),
            };
            (page.is_err() || next.is_continue()).then_some(page)
        })
    }

    /// Reads the first of these tasks, as many as fit in a page. Returns how many ids were looked up,
    /// and the tasks that exist. Fails on a damaged one.
    fn tasks(&self, ids: &[TaskId]) -> Result<(usize, Vec<TaskRecord>), Self::Error> {
        let (count, tasks) = self.read(|rows| rows.tasks(ids))?;
        let tasks = tasks.into_iter().collect::<Result<Vec<_>, _>>();
        Ok((count, tasks.map_err(Error::from)?))
    }

    /// Reads the existing tasks among these.
    fn all_tasks(&self, mut ids: &[TaskId]) -> Result<Vec<TaskRecord>, Self::Error> {
        let mut tasks = Vec::new();
        while !ids.is_empty() {
            let (count, page) = self.tasks(ids)?;
            tasks.extend(page);
            ids = &ids[count..];
        }
        Ok(tasks)
    }
}

impl Reader for Bulk<'_> {
    type Error = Error;

    fn bulk(&self) -> &Bulk<'_> {
        self
    }

    fn read<T>(
        &self,
        mut query: impl FnMut(&mut Rows<'_>) -> Result<T, StoreFailure>,
    ) -> Result<T> {
        Bulk::read(self, |rows| Ok(query(rows)?))
    }
}

/// A transaction in which all pages are read.
pub(crate) struct Snapshot<'a, 'c> {
    pub(crate) bulk: Bulk<'a>,
    pub(crate) rows: RefCell<&'a mut Rows<'c>>,
}

impl Reader for Snapshot<'_, '_> {
    type Error = Stop<Error>;

    fn bulk(&self) -> &Bulk<'_> {
        &self.bulk
    }

    fn read<T>(
        &self,
        mut query: impl FnMut(&mut Rows<'_>) -> Result<T, StoreFailure>,
    ) -> Result<T, Stop<Error>> {
        Ok(query(&mut self.rows.borrow_mut())?)
    }
}

/// Calls `each` with the ids of all tasks, each task after its dependencies: first the tasks without any,
/// then at most `limit` of the others at a time.
pub(crate) fn for_each_in_order<R: Reader>(
    reader: &R,
    limit: usize,
    mut each: impl FnMut(&[TaskId]) -> Result<(), R::Error>,
) -> Result<(), R::Error> {
    let mut pairs = Vec::new();
    for ids in reader.pages_of_ids() {
        let ids = ids?;
        pairs.extend(reader.read(|rows| rows.dependencies(&ids))?);
    }
    let waiting: HashSet<&TaskId> = pairs.iter().map(|(task_id, _)| task_id).collect();
    for ids in reader.pages_of_ids() {
        let mut ids = ids?;
        ids.retain(|id| !waiting.contains(id));
        each(&ids)?;
    }
    let order = after_dependencies(&pairs);
    if order.len() < waiting.len() {
        let circle = "some of its tasks wait for each other in a circle";
        return Err(Error::from(reader.bulk().corrupt_store(circle)).into());
    }
    for ids in order.chunks(limit) {
        let mut ids: Vec<TaskId> = ids.iter().copied().cloned().collect();
        ids.sort_unstable();
        each(&ids)?;
    }
    Ok(())
}

/// Refuses a task whose sessions could not be written as they are.
pub(crate) fn refuse_damaged(bulk: &Bulk<'_>, task: &TaskRecord) -> Result<()> {
    let damaged = |reason: String| Err(bulk.corrupt(&task.row.id, None, reason).into());
    let numbers = task.revisions.iter().map(|revision| revision.revision);
    if let Some((missing, _)) = (1..).zip(numbers).find(|(next, number)| next != number) {
        return damaged(format!("its session revision {missing} is missing"));
    }
    let Some(session) = &task.session else {
        return Ok(());
    };
    let is_current = task.revisions.last().is_some_and(|last| {
        last.retired_at.is_none()
            && last.backend_type == session.backend_type
            && last.session_id == session.session_id
            && last.working_dir == session.working_dir
    });
    match is_current {
        true => Ok(()),
        false => damaged("its session is not the one on record as the current one".into()),
    }
}

/// Reads turns in order, a page at a time. None may be missing.
pub(crate) struct TurnPages<'a, R> {
    reader: &'a R,
    spans: VecDeque<TurnSpan>,
}

impl<'a, R: Reader> TurnPages<'a, R> {
    /// `spans` are the task, the seq before the first turn and the last seq, in order of the
    /// tasks.
    pub(crate) fn new<'t>(
        reader: &'a R,
        spans: impl IntoIterator<Item = (&'t TaskId, i64, i64)>,
    ) -> Self {
        let spans = spans
            .into_iter()
            .filter(|(_, after, through)| after < through);
        let spans = spans.map(|(task_id, after, through)| TurnSpan {
            task_id: task_id.clone(),
            after,
            through,
        });
        Self {
            reader,
            spans: spans.collect(),
        }
    }

    /// Reads whole histories.
    pub(crate) fn of(reader: &'a R, tasks: &[TaskRecord]) -> Self {
        let spans = tasks.iter().map(|task| (&task.row.id, 0, task.last_seq));
        Self::new(reader, spans)
    }

    /// Iterates over the turns one by one, with a page of them in memory.
    pub(crate) fn turns(self) -> impl Iterator<Item = Result<ConversationTurn, R::Error>> + 'a {
        self.flat_map(|page| {
            let (turns, error) = match page {
                Ok(turns) => (turns, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            turns.into_iter().map(Ok).chain(error)
        })
    }

    fn page(&mut self) -> Result<Vec<ConversationTurn>, R::Error> {
        let spans = self.spans.make_contiguous();
        let spans = &spans[..spans.len().min(MAX_TASKS)];
        let rows = self.reader.read(|rows| rows.turns(spans))?;
        if rows.is_empty() {
            return Err(self.missing());
        }
        let mut turns = Vec::with_capacity(rows.len());
        for turn in rows {
            let turn = turn.map_err(|damaged| Error::from(damaged.error))?;
            match self.spans.front_mut() {
                Some(span) if span.task_id == turn.task_id && span.after + 1 == turn.seq => {
                    span.after = turn.seq;
                    if span.after == span.through {
                        self.spans.pop_front();
                    }
                }
                _ => return Err(self.missing()),
            }
            turns.push(turn);
        }
        Ok(turns)
    }

    /// Makes the error of the next turn, which does not exist.
    fn missing(&self) -> R::Error {
        let bulk = self.reader.bulk();
        let Some(TurnSpan { task_id, after, .. }) = self.spans.front() else {
            return Error::from(bulk.corrupt_store("it has turns twice")).into();
        };
        match self.reader.tasks(std::slice::from_ref(task_id)) {
            Ok((_, tasks)) if tasks.is_empty() => {
                conflict(bulk.operation(), task_id, "was deleted meanwhile").into()
            }
            Ok(_) => {
                let turn = Some(format!("turn {}", after + 1));
                Error::from(bulk.corrupt(task_id, turn, "it is missing".into())).into()
            }
            Err(error) => error,
        }
    }
}

/// The pages, none of them empty. An error is the last item.
impl<R: Reader> Iterator for TurnPages<'_, R> {
    type Item = Result<Vec<ConversationTurn>, R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.spans.is_empty() {
            return None;
        }
        let page = self.page();
        if page.is_err() {
            self.spans.clear();
        }
        Some(page)
    }
}

/// For `?` inside of transactions.
impl From<Error> for Stop<Error> {
    fn from(error: Error) -> Self {
        Self::Caller(error)
    }
}
