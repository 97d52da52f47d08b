//! From one store into another.

mod order;
mod plan;
mod report;
mod side;
mod turns;
mod verify;

use std::collections::{HashMap, HashSet};

use turnkeep_model::TaskId;

use crate::api::repo::Repo;
use crate::base::error::ErrorKind;
use crate::base::error::{Error, Result};
use crate::base::operation::{Operation, StoreRole};
use crate::store::query;
use verify::verify;

pub use report::{CopiedTable, CopyProgress, CopyReport, CopyStage, TableSum};

pub(crate) use order::after_those_waited_for;
pub(crate) use plan::{RowPlan, Snapshot, conflict, plan};
pub(crate) use side::{Reads, Side};
pub(crate) use turns::{Pages, Span};

pub(crate) const OPERATION: &str = "copy";

/// How often a page of tasks is looked at again because others write to the destination, if nothing
/// comes of it.
const MOST_RETRIES: u32 = 10;

/// Most dependencies that share a transaction.
const MOST_DEPENDENCIES: usize = 1_000;

/// A task of the source, and what the destination had of it when both were compared.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) source: Snapshot,
    /// Whether more than its turns is to be written.
    pub(crate) differs: bool,
    /// Where its history ended.
    pub(crate) last_seq: i64,
}

/// How many rows of the destination were written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CopiedRows {
    pub(crate) tasks: u64,
    pub(crate) dependencies: u64,
    pub(crate) sessions: u64,
    pub(crate) revisions: u64,
    pub(crate) turns: u64,
}

/// Copies all of one store into another, of whatever engines: tasks with their leases and fences,
/// dependencies, sessions with all their revisions, and histories, with every id, seq, key and
/// microsecond.
///
/// `progress` is told about each step. It may be interrupted at any point, by a crash as well: the
/// next call goes on from there. Copying again brings over what is new at the source, and writes
/// nothing when nothing is. Other callers may use both stores meanwhile, but nobody should work on
/// copied tasks before this has returned: dependencies come last.
///
/// **What is never lost.** A task that the destination has already must be an earlier state of the
/// source's. Otherwise the copy ends with [`ErrorKind::CopyConflict`], and nothing of that task, nor of
/// those that would have been copied after it, is changed:
/// - it was made at the same time (`created_at`), and neither `updated_at` nor `fence` is higher at
///   the destination. Where anything differs, one of the two is lower there, or else only the same
///   lease has been made longer. So a task that changed when the clock had been set back is a
///   conflict as well;
/// - the revisions of its session there are the first ones of the source's, the last of them
///   perhaps not retired yet, and the session is the one that goes with them;
/// - its turns there are the first ones of the source's.
///
/// Tasks that only the destination has are left alone, and counted in the report: a task that was
/// deleted at the source is one of them. Of those that both have nothing is removed but a dependency
/// that the task has no longer.
///
/// **What it ends with.** Everything is read back from both stores, and the report has the number
/// and a checksum of the rows of each table. If they differ the call fails, with the report in the
/// error. That happens too when the source was written to meanwhile: copy again. There is no
/// snapshot of the whole source, which would have to be held open for as long as the copy takes;
/// each page of tasks is read as of one moment, and so are their histories.
///
/// At most about 4 MiB are read and written at a time, or one text if it is longer; of dependencies the ids
/// of all that are missing are held. Copying a store
/// onto itself changes nothing. It blocks: an `AsyncRepo` is copied by a thread of its own, through
/// its `repo()`.
///
/// # Errors
/// What was copied before an error stays, and is not copied again.
/// - [`ErrorKind::CopyConflict`]: see above.
/// - [`ErrorKind::Corrupt`]: a row of one of the stores can't be read, a turn or a revision is missing,
///   or a session is not the one on record.
/// - [`ErrorKind::SeqConflict`]: others keep appending to a task at the destination.
/// - Those that any call on either store may have. Which store it was is in the message.
///
/// ```
/// use turnkeep_repo::{NewTask, Repo, Role, TaskId, copy};
///
/// # let folder = tempfile::tempdir()?;
/// let laptop = Repo::open(folder.path().join("laptop.db"))?;
/// let task = TaskId::new("fix-login")?;
/// laptop.save_task(&NewTask::new(task.clone(), "Fix the login"))?;
/// laptop.save_message(&task, Role::User, "Please fix it.")?;
///
/// let server = Repo::open(folder.path().join("server.db"))?; // or `postgres://…`
/// let report = copy(&laptop, &server, |progress| {
///     println!("{} of {} turns", progress.turns, progress.all_turns);
/// })?;
/// assert_eq!(server.get_history(&task)?, laptop.get_history(&task)?);
/// assert!(report.tables.iter().all(|table| table.is_same()));
///
/// let again = copy(&laptop, &server, |_| ())?;
/// assert!(again.tables.iter().all(|table| table.written == 0));
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn copy(from: &Repo, to: &Repo, progress: impl FnMut(CopyProgress)) -> Result<CopyReport> {
    let source = Side {
        repo: from,
        operation: OPERATION,
        place: StoreRole::Source,
    };
    let [all_tasks, _, _, _, all_turns] = source.counts()?;
    let mut copying = Copying {
        source,
        destination: Side {
            repo: to,
            operation: OPERATION,
            place: StoreRole::Destination,
        },
        progress: Progress {
            tell: progress,
            now: CopyProgress {
                stage: CopyStage::Copying,
                tasks: 0,
                turns: 0,
                all_tasks: all_tasks.unsigned_abs(),
                all_turns: all_turns.unsigned_abs(),
            },
        },
        written: CopiedRows::default(),
    };
    copying.copy_tasks()?;
    copying.copy_dependencies()?;
    let Copying {
        source,
        destination,
        mut progress,
        written,
    } = copying;
    progress.begin(CopyStage::Verifying);
    verify(&source, &destination, written, &mut progress)
}

/// How far a copy has come, and who is told.
struct Progress<F> {
    tell: F,
    now: CopyProgress,
}

impl<F: FnMut(CopyProgress)> Progress<F> {
    fn begin(&mut self, stage: CopyStage) {
        self.set(CopyProgress {
            stage,
            tasks: 0,
            turns: 0,
            ..self.now
        });
    }

    fn set(&mut self, now: CopyProgress) {
        self.now = now;
        (self.tell)(now);
    }

    fn add(&mut self, tasks: usize, turns: i64) {
        self.set(CopyProgress {
            tasks: self.now.tasks + tasks as u64,
            turns: self.now.turns + turns.unsigned_abs(),
            ..self.now
        });
    }
}

/// A copy on its way.
struct Copying<'r, F> {
    source: Side<'r>,
    destination: Side<'r>,
    progress: Progress<F>,
    written: CopiedRows,
}

impl<F: FnMut(CopyProgress)> Copying<'_, F> {
    /// Brings over everything but dependencies, which need both of their tasks to be there.
    fn copy_tasks(&mut self) -> Result<()> {
        let source = self.source;
        for ids in source.pages_of_ids() {
            self.copy_page(&ids?)?;
        }
        Ok(())
    }

    /// Brings over a page of tasks with all their turns. Looks at them again when someone else has
    /// written to them at the destination meanwhile, another copy for instance.
    fn copy_page(&mut self, ids: &[TaskId]) -> Result<()> {
        let before = self.progress.now;
        let mut fewest_missing = i64::MAX;
        let mut retries = 0;
        loop {
            let seen = self.look_at(ids)?;
            let missing = seen
                .iter()
                .map(|seen| seen.source.last_seq - seen.last_seq)
                .sum();
            if missing < fewest_missing {
                fewest_missing = missing;
                retries = MOST_RETRIES;
            }
            match self.bring_over(&seen) {
                Err(error) if retries > 0 && is_passing(&error) => {
                    retries -= 1;
                    self.progress.set(before);
                }
                result => return result,
            }
        }
    }

    /// Returns what the source has of these tasks, and how much of it the destination has. Fails if
    /// the destination has something else.
    fn look_at(&self, ids: &[TaskId]) -> Result<Vec<Seen>> {
        let call = self.source.call();
        let sources = self.source.snapshots(ids)?;
        let stored = self.destination.snapshots(ids)?;
        let stored: HashMap<TaskId, Snapshot> = stored
            .into_iter()
            .map(|stored| (stored.row.id.clone(), stored))
            .collect();
        let mut seen = Vec::with_capacity(sources.len());
        let mut compared = Vec::new();
        for source in sources {
            refuse_damaged(call, &source)?;
            let stored = stored.get(&source.row.id);
            let plan = plan(call, &source, stored)?;
            let last_seq = stored.map_or(0, |stored| stored.last_seq);
            // Turns of a task that is not to be written to are compared at the end.
            let differs = !plan.is_empty();
            if differs || last_seq < source.last_seq {
                compared.push(Span {
                    task_id: source.row.id.clone(),
                    after: 0,
                    upto: last_seq,
                });
            }
            seen.push(Seen {
                source,
                differs,
                last_seq,
            });
        }
        self.compare_turns(&compared)?;
        Ok(seen)
    }

    /// Refuses a task that has other turns at the destination.
    fn compare_turns(&self, spans: &[Span]) -> Result<()> {
        let stored = Pages::new(&self.destination, spans.iter().cloned()).turns();
        let mut source = Pages::new(&self.source, spans.iter().cloned()).turns();
        for stored in stored {
            let stored = stored?;
            if source.next().transpose()?.as_ref() != Some(&stored) {
                return Err(conflict(
                    self.source.call(),
                    &stored.task_id,
                    format_args!("has another turn {} at the destination", stored.seq),
                ));
            }
        }
        Ok(())
    }

    /// Writes what the destination lacks of these tasks.
    fn bring_over(&mut self, seen: &[Seen]) -> Result<()> {
        if seen.iter().any(|seen| seen.differs) {
            let call = self.destination.call();
            let rows = self
                .destination
                .write(|conn| query!(conn, copy::take_over_tasks(call, seen)))?;
            self.written.tasks += rows.tasks;
            self.written.dependencies += rows.dependencies;
            self.written.sessions += rows.sessions;
            self.written.revisions += rows.revisions;
        }
        self.progress
            .add(0, seen.iter().map(|seen| seen.last_seq).sum());
        let missing = seen.iter().map(|seen| Span {
            task_id: seen.source.row.id.clone(),
            after: seen.last_seq,
            upto: seen.source.last_seq,
        });
        for turns in Pages::new(&self.source, missing) {
            let turns = turns?;
            let call = self.destination.call();
            self.destination
                .write(|conn| query!(conn, append::append_verbatim(call, &turns)))?;
            self.written.turns += turns.len() as u64;
            self.progress.add(0, turns.len() as i64);
        }
        self.progress.add(seen.len(), 0);
        Ok(())
    }

    fn copy_dependencies(&mut self) -> Result<()> {
        let mut retries = MOST_RETRIES;
        while let Err(error) = self.bring_over_dependencies() {
            if retries == 0 || !matches!(error.kind(), ErrorKind::OutcomeUnknown) {
                return Err(error);
            }
            retries -= 1;
        }
        Ok(())
    }

    /// Adds what the destination lacks, of each task after what it waits for: for a task that nothing
    /// waits for yet, the trigger against circles has nothing to look at.
    fn bring_over_dependencies(&mut self) -> Result<()> {
        let source = self.source;
        let mut missing = Vec::new();
        for ids in source.pages_of_ids() {
            let ids = ids?;
            let stored: HashSet<_> = self.destination.dependencies(&ids)?.into_iter().collect();
            let pairs = source.dependencies(&ids)?.into_iter();
            missing.extend(pairs.filter(|pair| !stored.contains(pair)));
        }
        let order = after_those_waited_for(&missing);
        let places: HashMap<TaskId, usize> = order.into_iter().cloned().zip(0..).collect();
        // Those in a circle come last, and the database refuses them.
        missing.sort_by_key(|(task_id, _)| places.get(task_id).copied().unwrap_or(usize::MAX));
        for pairs in missing.chunks(MOST_DEPENDENCIES) {
            let call = self.destination.call();
            self.written.dependencies += self
                .destination
                .write(|conn| query!(conn, copy::take_over_dependencies(call, pairs)))?;
        }
        Ok(())
    }
}

/// Whether the destination may have changed while a page was written, so that another look can help.
/// What was written before is found there then.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::CopyConflict { .. }
            | ErrorKind::SeqConflict { .. }
            | ErrorKind::TaskNotFound
            | ErrorKind::OutcomeUnknown
    )
}

/// Refuses what the destination's own record of sessions would turn into something else.
pub(crate) fn refuse_damaged(call: Operation<'_>, task: &Snapshot) -> Result<()> {
    let damaged = |what: String| {
        let call = call.about(&task.row.id);
        Err(ErrorKind::Corrupt.on(&call).with_source(what))
    };
    let numbers = task.revisions.iter().map(|revision| revision.revision);
    if let Some((missing, _)) = (1..).zip(numbers).find(|(next, number)| next != number) {
        return damaged(format!("its session revision {missing} is missing"));
    }
    let Some(session) = &task.session else {
        return Ok(());
    };
    let open = task
        .revisions
        .last()
        .filter(|last| last.retired_at.is_none());
    let is_open = open.is_some_and(|open| {
        open.backend_type == session.backend_type
            && open.session_id == session.session_id
            && open.working_dir == session.working_dir
    });
    match is_open {
        true => Ok(()),
        false => damaged("its session is not the one on record as the current one".into()),
    }
}
