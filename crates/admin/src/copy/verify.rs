//! Reading both stores back, and comparing them.

use std::collections::{HashMap, HashSet};

use turnkeep_model::{ConversationTurn, TaskId};
use turnkeep_repo::bulk::{TABLES, TaskRecord};

use super::report::{CopiedTable, CopyProgress, CopyReport, Summing};
use super::{Copying, OPERATION};
use crate::error::{Error, Result};
use crate::jsonl::Line;
use crate::read::{Reader as _, TurnPages};

/// The number of turns between two reports of progress.
const STEP: i64 = 1_000;

/// Compares all tasks of the source with the tasks of the same ids at the destination. Fails with the
/// report if they are not the same.
pub(super) fn verify<F: FnMut(CopyProgress)>(mut copying: Copying<'_, F>) -> Result<CopyReport> {
    let (source, destination) = (copying.source, copying.destination);
    let mut comparison = Comparison::default();
    for ids in source.pages_of_ids() {
        let ids = ids?;
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let (count, tasks) = source.tasks(rest)?;
            let mut stored = destination.all_tasks(&rest[..count])?;
            rest = &rest[count..];
            // The source may have lost some meanwhile.
            let ids: HashSet<&TaskId> = tasks.iter().map(|task| &task.row.id).collect();
            stored.retain(|stored| ids.contains(&stored.row.id));
            comparison.tasks(&tasks, &stored);
            comparison.turns(
                TurnPages::of(&source, &tasks).turns(),
                TurnPages::of(&destination, &stored).turns(),
                |count| copying.progress.add(0, count),
            )?;
            copying.progress.add(tasks.len(), 0);
        }
    }
    let counts = destination.read::<_, Error>(|rows| Ok(rows.counts()?))?;
    let Comparison {
        source,
        destination,
        difference,
    } = comparison;
    let sums = source
        .map(Summing::finish)
        .into_iter()
        .zip(destination.map(Summing::finish));
    let names = TABLES.into_iter().zip(copying.written).zip(counts);
    let tables = sums.zip(names);
    let report = CopyReport {
        tables: tables
            .map(
                |((source, destination), ((name, written), count))| CopiedTable {
                    name,
                    written,
                    source,
                    destination,
                    left_alone: count.saturating_sub(destination.rows),
                },
            )
            .collect(),
    };
    match difference {
        None => Ok(report),
        Some((task_id, table)) => Err(Error::Conflict {
            operation: OPERATION,
            task_id,
            reason: format!(
                "is not the same in both stores after the copy, in `{table}`; \
                 if one of them was written to meanwhile, copy again"
            ),
            report: Some(Box::new(report)),
        }),
    }
}

/// The sums of both stores so far, table by table.
#[derive(Default)]
struct Comparison {
    source: [Summing; 5],
    destination: [Summing; 5],
    /// The first task that is not the same, and the table in which it differs.
    difference: Option<(TaskId, &'static str)>,
}

impl Comparison {
    fn tasks(&mut self, tasks: &[TaskRecord], stored: &[TaskRecord]) {
        for stored in stored {
            add_task(&mut self.destination, stored);
        }
        let stored: HashMap<&TaskId, &TaskRecord> = stored
            .iter()
            .map(|stored| (&stored.row.id, stored))
            .collect();
        for task in tasks {
            add_task(&mut self.source, task);
            let is_same = stored.get(&task.row.id).map_or([false; 4], |stored| {
                [
                    task.row == stored.row,
                    task.depends_on == stored.depends_on,
                    task.session == stored.session,
                    task.revisions == stored.revisions,
                ]
            });
            if let Some(table) = is_same.iter().position(|is_same| !is_same) {
                self.differs(&task.row.id, TABLES[table]);
            }
        }
    }

    fn turns(
        &mut self,
        mut source: impl Iterator<Item = Result<ConversationTurn>>,
        mut destination: impl Iterator<Item = Result<ConversationTurn>>,
        mut progress: impl FnMut(i64),
    ) -> Result<()> {
        let mut count = 0;
        loop {
            let turn = source.next().transpose()?;
            let stored = destination.next().transpose()?;
            let ids = turn.iter().chain(&stored).map(|turn| &turn.task_id);
            let Some(task_id) = ids.min() else {
                break;
            };
            if turn != stored {
                self.differs(task_id, TABLES[4]);
            }
            for (sums, turn) in [(&mut self.source, &turn), (&mut self.destination, &stored)] {
                if let Some(turn) = turn {
                    sums[4].add(&Line::from(turn));
                }
            }
            count += 1;
            if count == STEP {
                progress(count);
                count = 0;
            }
        }
        progress(count);
        Ok(())
    }

    fn differs(&mut self, task_id: &TaskId, table: &'static str) {
        self.difference
            .get_or_insert_with(|| (task_id.clone(), table));
    }
}

fn add_task(sums: &mut [Summing; 5], task: &TaskRecord) {
    let [tasks, dependencies, sessions, revisions, _] = sums;
    tasks.add(&Line::from(task));
    for depends_on in &task.depends_on {
        dependencies.add(&[&task.row.id, depends_on]);
    }
    if let Some(session) = &task.session {
        sessions.add(&Line::from(session));
    }
    for revision in &task.revisions {
        revisions.add(&Line::from(revision));
    }
}
