//! Reads both stores back and compares them.

use std::collections::{HashMap, HashSet};

use turnkeep_model::{ConversationTurn, TaskId, TaskRow};

use super::report::{Column, CopiedTable, CopyProgress, CopyReport, Summing};
use super::side::{Reads as _, Side};
use super::turns::{Pages, Span};
use super::{CopiedRows, OPERATION, Progress, Snapshot};
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;

const TABLES: [&str; 5] = [
    "tasks",
    "task_dependencies",
    "sessions",
    "session_revisions",
    "conversation_history",
];

/// Compares all that the source has with what the destination has of the same tasks. Fails if that
/// is not the same.
pub(super) fn verify(
    source: &Side<'_>,
    destination: &Side<'_>,
    written: CopiedRows,
    progress: &mut Progress<impl FnMut(CopyProgress)>,
) -> Result<CopyReport> {
    let mut comparing = Comparing::default();
    for ids in source.pages_of_ids() {
        let ids = ids?;
        let tasks = source.snapshots(&ids)?;
        let mut stored = destination.snapshots(&ids)?;
        // The source may have lost some meanwhile.
        let ids: HashSet<&TaskId> = tasks.iter().map(|task| &task.row.id).collect();
        stored.retain(|stored| ids.contains(&stored.row.id));
        comparing.tasks(&tasks, &stored);
        let turns = Pages::new(source, spans(&tasks)).turns();
        let stored_turns = Pages::new(destination, spans(&stored)).turns();
        comparing.turns(turns, stored_turns, |count| progress.add(0, count))?;
        progress.add(tasks.len(), 0);
    }
    let counts = destination.counts()?;
    let (report, difference) = comparing.finish(written, counts);
    match difference {
        None => Ok(report),
        Some((task_id, table)) => Err(ErrorKind::CopyConflict {
            reason: format!(
                "is not the same in both stores after the copy, in `{table}`; \
                 if one of them was written to meanwhile, copy again"
            ),
            report: Some(Box::new(report)),
        }
        .on(&Operation::on_task(OPERATION, &task_id))),
    }
}

fn spans(tasks: &[Snapshot]) -> impl Iterator<Item = Span> {
    tasks.iter().map(|task| Span {
        task_id: task.row.id.clone(),
        after: 0,
        upto: task.last_seq,
    })
}

/// The sums of both stores on their way, table by table.
#[derive(Default)]
struct Comparing {
    source: [Summing; 5],
    destination: [Summing; 5],
    /// The first task that is not the same, and where.
    difference: Option<(TaskId, &'static str)>,
}

/// How many turns go by between two reports of progress.
const STEP: i64 = 1_000;

impl Comparing {
    fn tasks(&mut self, tasks: &[Snapshot], stored: &[Snapshot]) {
        let mut of_task: HashMap<&TaskId, &Snapshot> = stored
            .iter()
            .map(|stored| (&stored.row.id, stored))
            .collect();
        for task in tasks {
            add_task(&mut self.source, task);
            let stored = of_task.remove(&task.row.id);
            if let Some(stored) = stored {
                add_task(&mut self.destination, stored);
            }
            if let Some(table) = first_difference(task, stored) {
                self.differs(&task.row.id, table);
            }
        }
    }

    fn turns(
        &mut self,
        mut source: impl Iterator<Item = Result<ConversationTurn>>,
        mut destination: impl Iterator<Item = Result<ConversationTurn>>,
        mut done: impl FnMut(i64),
    ) -> Result<()> {
        let mut count = 0;
        loop {
            let pair = (source.next().transpose()?, destination.next().transpose()?);
            if let (Some(turn), _) = &pair {
                add_turn(&mut self.source[4], turn);
            }
            if let (_, Some(turn)) = &pair {
                add_turn(&mut self.destination[4], turn);
            }
            match &pair {
                (None, None) => break,
                (Some(source), Some(destination)) if source == destination => {}
                (Some(source), Some(destination)) => {
                    let first = (&source.task_id).min(&destination.task_id);
                    self.differs(first, TABLES[4]);
                }
                (Some(turn), None) | (None, Some(turn)) => self.differs(&turn.task_id, TABLES[4]),
            }
            count += 1;
            if count == STEP {
                done(count);
                count = 0;
            }
        }
        done(count);
        Ok(())
    }

    fn differs(&mut self, task_id: &TaskId, table: &'static str) {
        self.difference
            .get_or_insert_with(|| (task_id.clone(), table));
    }

    fn finish(
        self,
        written: CopiedRows,
        counts: [i64; 5],
    ) -> (CopyReport, Option<(TaskId, &'static str)>) {
        let written = [
            written.tasks,
            written.dependencies,
            written.sessions,
            written.revisions,
            written.turns,
        ];
        let sums = self.source.into_iter().zip(self.destination);
        let others = TABLES.into_iter().zip(written).zip(counts);
        let tables = sums
            .zip(others)
            .map(|((source, destination), ((name, written), count))| {
                let destination = destination.finish();
                CopiedTable {
                    name,
                    written,
                    source: source.finish(),
                    destination,
                    left_alone: count.unsigned_abs().saturating_sub(destination.rows),
                }
            });
        let tables = tables.collect();
        (CopyReport { tables }, self.difference)
    }
}

/// Returns the first table in which the task is not the same, but for its turns.
fn first_difference(task: &Snapshot, stored: Option<&Snapshot>) -> Option<&'static str> {
    let Some(stored) = stored else {
        return Some(TABLES[0]);
    };
    let is_same = [
        task.row == stored.row,
        task.depends_on == stored.depends_on,
        task.session == stored.session,
        task.revisions == stored.revisions,
    ];
    let index = is_same.iter().position(|is_same| !is_same)?;
    Some(TABLES[index])
}

fn add_task(sums: &mut [Summing; 5], task: &Snapshot) {
    let [tasks, dependencies, sessions, revisions, _] = sums;
    let id = task.row.id.as_str();
    add_row(tasks, &task.row);
    for dependency in &task.depends_on {
        dependencies.add_row([id.into(), dependency.as_str().into()]);
    }
    if let Some(session) = &task.session {
        sessions.add_row([
            id.into(),
            session.backend_type.as_str().into(),
            session.session_id.as_str().into(),
            session.working_dir.as_ref().map(AsRef::as_ref).into(),
            session.created_at.into(),
            session.updated_at.into(),
        ]);
    }
    for revision in &task.revisions {
        revisions.add_row([
            id.into(),
            revision.revision.into(),
            revision.backend_type.as_str().into(),
            revision.session_id.as_str().into(),
            revision.working_dir.as_ref().map(AsRef::as_ref).into(),
            revision.saved_at.into(),
            revision.retired_at.into(),
            revision.retired_reason.as_deref().into(),
        ]);
    }
}

fn add_row(tasks: &mut Summing, row: &TaskRow) {
    let before_files = [
        row.id.as_str().into(),
        row.name.as_str().into(),
        row.agent_role.as_deref().into(),
        row.prompt.as_str().into(),
        Column::Number(row.writes_files.len() as i64),
    ];
    let files = row.writes_files.iter().map(|file| file.as_str().into());
    let after_files = [
        row.status.as_str().into(),
        row.failure_mode.as_str().into(),
        row.result.as_deref().into(),
        row.error.as_deref().into(),
        row.worker.as_ref().map(AsRef::as_ref).into(),
        row.fence.into(),
        row.lease_ends_at.into(),
        row.lease_length
            .map_or(Column::Null, |length| length.as_micros().into()),
        row.created_at.into(),
        row.updated_at.into(),
        row.status_changed_at.into(),
    ];
    tasks.add_row(before_files.into_iter().chain(files).chain(after_files));
}

fn add_turn(turns: &mut Summing, turn: &ConversationTurn) {
    turns.add_row([
        turn.task_id.as_str().into(),
        turn.seq.into(),
        turn.role.as_str().into(),
        turn.content.as_str().into(),
        turn.timestamp.into(),
        turn.message_key.as_ref().map(AsRef::as_ref).into(),
    ]);
}
