//! Reading whole tasks, a page at a time.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::slice;

use turnkeep_model::{ConversationTurn, TaskId};
use turnkeep_repo::bulk::{Bulk, Rows, TaskRecord, TurnSpan, is_on_record};

use crate::conflict::conflict;
use crate::error::{Error, Result};
use crate::order::after_dependencies;

/// The most tasks in a page.
pub(crate) const MAX_TASKS: usize = 256;

/// A store that is read: each page in a transaction of its own, or all pages in one.
pub(crate) trait Reader {
    /// The store, for errors.
    fn bulk(&self) -> &Bulk<'_>;

    /// Runs a query that sees one state of the store.
    fn read<T>(
        &self,
        query: impl FnMut(&mut Rows<'_>) -> turnkeep_repo::Result<T>,
    ) -> turnkeep_repo::Result<T>;

    /// Calls `each` with the ids of all tasks, in order, a page at a time.
    fn for_each_page(&self, mut each: impl FnMut(&[TaskId]) -> Result<()>) -> Result<()> {
        let mut last = None;
        loop {
            let ids = self.read(|rows| rows.task_ids(last.as_ref(), MAX_TASKS as i64))?;
            last = ids.last().cloned();
            if last.is_none() {
                return Ok(());
            }
            each(&ids)?;
        }
    }

    /// Reads the existing tasks among these.
    fn all_tasks(&self, mut ids: &[TaskId]) -> Result<Vec<TaskRecord>> {
        let mut tasks = Vec::new();
        while !ids.is_empty() {
            let (count, page) = self.read(|rows| rows.tasks(ids))?;
            tasks.extend(page);
            ids = &ids[count..];
        }
        Ok(tasks)
    }
}

impl Reader for Bulk<'_> {
    fn bulk(&self) -> &Bulk<'_> {
        self
    }

    fn read<T>(
        &self,
        query: impl FnMut(&mut Rows<'_>) -> turnkeep_repo::Result<T>,
    ) -> turnkeep_repo::Result<T> {
        Bulk::read(self, query)
    }
}

/// A transaction in which all pages are read.
pub(crate) struct Snapshot<'a, 'c> {
    pub(crate) bulk: Bulk<'a>,
    pub(crate) rows: RefCell<&'a mut Rows<'c>>,
}

impl Reader for Snapshot<'_, '_> {
    fn bulk(&self) -> &Bulk<'_> {
        &self.bulk
    }

    fn read<T>(
        &self,
        mut query: impl FnMut(&mut Rows<'_>) -> turnkeep_repo::Result<T>,
    ) -> turnkeep_repo::Result<T> {
        query(&mut self.rows.borrow_mut())
    }
}

/// Calls `each` with the ids of all tasks, each task after its dependencies: first the tasks without any,
/// then at most `limit` of the others at a time.
pub(crate) fn for_each_in_order(
    reader: &impl Reader,
    limit: usize,
    mut each: impl FnMut(&[TaskId]) -> Result<()>,
) -> Result<()> {
    let pairs = reader.read(|rows| rows.dependencies())?;
    let waiting: HashSet<&TaskId> = pairs.iter().map(|(task_id, _)| task_id).collect();
    reader.for_each_page(|ids| {
        let free = ids.iter().filter(|id| !waiting.contains(id)).cloned();
        each(&free.collect::<Vec<_>>())
    })?;
    let order = after_dependencies(&pairs);
    if order.len() < waiting.len() {
        let circle = "some of its tasks wait for each other in a circle";
        return Err(reader.bulk().corrupt_store(circle).into());
    }
    for ids in order.chunks(limit) {
        let mut ids: Vec<TaskId> = ids.iter().copied().cloned().collect();
        ids.sort_unstable();
        each(&ids)?;
    }
    Ok(())
}

/// Refuses a task whose sessions or retractions could not be written as they are.
pub(crate) fn refuse_damaged(bulk: &Bulk<'_>, task: &TaskRecord) -> Result<()> {
    let damaged = |reason: String| Err(bulk.corrupt(&task.row.id, None, reason).into());
    if let Some(fault) = task.revision_fault().or_else(|| task.retraction_fault()) {
        return damaged(format!("its {fault}"));
    }
    let Some(session) = &task.session else {
        return Ok(());
    };
    let open = task.revisions.last();
    match open.is_some_and(|open| open.retired_at.is_none() && is_on_record(session, open)) {
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
        let spans = spans.into_iter().map(|(task_id, after, through)| TurnSpan {
            task_id: task_id.clone(),
            after,
            through,
        });
        Self {
            reader,
            spans: spans.filter(|span| span.after < span.through).collect(),
        }
    }

    /// Reads whole histories.
    pub(crate) fn of(reader: &'a R, tasks: &[TaskRecord]) -> Self {
        let spans = tasks.iter().map(|task| (&task.row.id, 0, task.last_seq));
        Self::new(reader, spans)
    }

    /// Iterates over the turns one by one, with a page of them in memory.
    pub(crate) fn turns(self) -> impl Iterator<Item = Result<ConversationTurn>> + 'a {
        self.flat_map(|page| match page {
            Ok(turns) => turns.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    fn page(&mut self) -> Result<Vec<ConversationTurn>> {
        let spans = self.spans.make_contiguous();
        let spans = &spans[..spans.len().min(MAX_TASKS)];
        let turns = self.reader.read(|rows| rows.turns(spans))?;
        let mut rest = turns.iter();
        while let Some(span) = self.spans.front_mut() {
            match rest.next() {
                None if !turns.is_empty() => break,
                Some(turn) if turn.task_id == span.task_id && turn.seq == span.after + 1 => {
                    span.after = turn.seq.get();
                    if span.after == span.through {
                        self.spans.pop_front();
                    }
                }
                _ => return Err(missing(self.reader, span)),
            }
        }
        Ok(turns)
    }
}

/// Makes the error of the next turn, which does not exist.
fn missing(reader: &impl Reader, TurnSpan { task_id, after, .. }: &TurnSpan) -> Error {
    let bulk = reader.bulk();
    match reader.all_tasks(slice::from_ref(task_id)) {
        Ok(tasks) if tasks.is_empty() => {
            conflict(bulk.operation(), task_id, "was deleted meanwhile")
        }
        Ok(_) => {
            let turn = Some(format!("turn {}", after + 1));
            bulk.corrupt(task_id, turn, "it is missing".into()).into()
        }
        Err(error) => error,
    }
}

/// The pages, none of them empty. An error is the last item.
impl<R: Reader> Iterator for TurnPages<'_, R> {
    type Item = Result<Vec<ConversationTurn>>;

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
