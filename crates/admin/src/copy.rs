//! Copying one store into another.

use std::collections::HashMap;

use turnkeep_model::{ConversationTurn, Retraction, TaskId};
use turnkeep_repo::bulk::{Bulk, RowCounts, Rows, StoreRole, TABLES, TaskChange, TaskRecord};
use turnkeep_repo::{ErrorKind, Repo};

use crate::conflict::{conflict, find_conflict};
use crate::error::{Error, Result};
use crate::read::{MAX_TASKS, Reader as _, TurnPages, for_each_in_order, refuse_damaged};

const OPERATION: &str = "copy";

/// How often a page of tasks is compared and written again because others write to the destination,
/// without any progress.
pub(crate) const MAX_RETRIES: u32 = 10;

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// The stage.
    pub stage: CopyStage,
    /// Tasks that this stage is done with.
    pub tasks: u64,
    /// Turns that this stage is done with: copied now, or found there.
    pub turns: u64,
    /// The tasks of the source, as counted at the beginning.
    pub all_tasks: u64,
    /// The turns of the source, as counted at the beginning.
    pub all_turns: u64,
}

/// The stages of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyStage {
    /// Tasks are compared and written.
    Copying,
    /// Both stores are read and compared.
    Verifying,
}

/// One table in the report of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// The rows of the source. The destination has the same.
    pub rows: u64,
    /// Rows of the destination that this copy inserted, changed or removed. (Only a dependency
    /// that a task has no longer is removed.)
    pub written: u64,
    /// Rows that the destination has besides, of tasks that the source does not have. They were
    /// left alone.
    pub left_alone: u64,
}

/// Copies all of one store into another, of whatever engines: tasks with their leases and fences,
/// dependencies, sessions with all their revisions, and histories, with every id, seq, key and
/// microsecond.
///
/// `progress` is called after each step. The copy may be interrupted at any point, by a crash as
/// well: the next call goes on from there. Copying again brings over what is new at the source, and
/// writes nothing when nothing is. Other callers may use both stores meanwhile, but should not
/// work on copied tasks before this has returned. Each task comes after those it waits for, in one
/// transaction with its dependencies, its sessions and the first of its turns; several small tasks
/// share a transaction.
///
/// **Nothing is lost.** A task that the destination has already must be an earlier state of the
/// source's. Otherwise the copy fails with [`Error::Conflict`], and neither that task nor the tasks after it
/// are changed:
/// - it was made at the same time (`created_at`), and neither `updated_at` nor `fence` is higher at
///   the destination. Where anything differs, one of the two is lower there, or else only the same
///   lease has been made longer. So a task that changed when the clock had been set back is a
///   conflict as well;
/// - the revisions of its session there are the first ones of the source's, the last of them
///   perhaps not retired yet, and the session is the one that goes with them;
/// - its turns and its retractions there are the first ones of the source's. Hidden turns are copied as all
///   others, and the retractions after them.
///
/// Tasks that only the destination has are left alone, and counted in the report: a task that was
/// deleted at the source is one of them. From the common tasks only dependencies are removed that the source
/// no longer has.
///
/// **The end.** Every row is read back from both stores and compared. If one differs the call fails with
/// [`Error::Conflict`]. That happens too when the source was written to meanwhile: copy again. There is no
/// snapshot of the whole source, which would have to be held open for as long as the copy takes; each page
/// of tasks is read as of one moment, and so are their histories.
///
/// At most about 4 MiB are read and written at a time, or one text if it is longer; of the tasks that
/// wait for others the ids and dependencies are held. Copying a store onto itself changes nothing.
///
/// # Errors
/// Tasks that were copied before an error stay, and are not copied again.
/// - [`Error::Conflict`]: see above.
/// - [`ErrorKind::DependencyNotFound`](turnkeep_repo::ErrorKind::DependencyNotFound): meanwhile a task of the
///   source was made to wait for another one that is not copied yet. Copy again.
/// - [`ErrorKind::Corrupt`](turnkeep_repo::ErrorKind::Corrupt): a row of one of the stores can't be read, a
///   turn or a revision is missing, a session differs from its open revision, or dependencies form a circle.
/// - [`ErrorKind::SeqConflict`](turnkeep_repo::ErrorKind::SeqConflict): others keep appending to a task at the
///   destination.
/// - The errors of every call, on either store. The message says which store it was.
///
/// ```
/// use turnkeep_admin::copy;
/// use turnkeep_repo::{NewTask, Repo, Role, TaskId};
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
/// assert_eq!((report[0].name, report[0].rows), ("tasks", 1));
///
/// let again = copy(&laptop, &server, |_| ())?;
/// assert!(again.iter().all(|table| table.written == 0));
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn copy(
    from: &Repo,
    to: &Repo,
    progress: impl FnMut(CopyProgress),
) -> Result<Vec<CopiedTable>> {
    let source = from.bulk(OPERATION, Some(StoreRole::Source));
    let [all_tasks, _, _, _, all_turns, _] = source.read(|rows| rows.counts())?;
    let mut copying = Copying {
        source,
        destination: to.bulk(OPERATION, Some(StoreRole::Destination)),
        progress,
        now: CopyProgress {
            stage: CopyStage::Copying,
            tasks: 0,
            turns: 0,
            all_tasks,
            all_turns,
        },
        written: RowCounts::default(),
    };
    for_each_in_order(&source, MAX_TASKS, |ids| copying.copy_tasks(ids))?;
    let rows = copying.verify()?;
    let stored = copying.destination.read(|rows| rows.counts())?;
    let tables = TABLES.into_iter().take(rows.len()).enumerate();
    Ok(tables
        .map(|(table, name)| CopiedTable {
            name,
            rows: rows[table],
            written: copying.written[table],
            left_alone: stored[table].saturating_sub(rows[table]),
        })
        .collect())
}

struct Copying<'r, F> {
    source: Bulk<'r>,
    destination: Bulk<'r>,
    /// The caller's function that gets `now`.
    progress: F,
    now: CopyProgress,
    /// The rows of the destination that were written.
    written: RowCounts,
}

/// A task of the source, and the state of it that the destination has.
struct Pair {
    new: TaskRecord,
    old: Option<TaskRecord>,
}

impl Pair {
    /// The seq of the last turn at the destination.
    fn stored(&self) -> i64 {
        self.old.as_ref().map_or(0, |old| old.last_seq)
    }

    /// The retractions that the destination lacks.
    fn missing_retractions(&self) -> &[Retraction] {
        let stored = self.old.as_ref().map_or(0, |old| old.retractions.len());
        self.new.retractions.get(stored..).unwrap_or_default()
    }

    /// Whether anything but turns and retractions is to be written.
    fn differs(&self) -> bool {
        self.old.as_ref().is_none_or(|old| {
            let with_turns = TaskRecord {
                last_seq: self.new.last_seq,
                retractions: self.new.retractions.clone(),
                ..old.clone()
            };
            with_turns != self.new
        })
    }

    fn is_same(&self) -> bool {
        self.old.as_ref() == Some(&self.new)
    }
}

impl<F: FnMut(CopyProgress)> Copying<'_, F> {
    fn copy_tasks(&mut self, mut ids: &[TaskId]) -> Result<()> {
        while !ids.is_empty() {
            ids = &ids[self.copy_page(ids)?..];
        }
        Ok(())
    }

    /// Copies the first of these tasks, as many as fit in a page, and returns how many that were.
    /// Compares them again when others have written to them at the destination meanwhile, another
    /// copy for instance.
    fn copy_page(&mut self, ids: &[TaskId]) -> Result<usize> {
        let before = self.now;
        let mut fewest_missing = i64::MAX;
        let mut retries = 0;
        loop {
            let (count, pairs) = self.read(ids)?;
            self.compare(&pairs)?;
            let missing = pairs.iter().map(|pair| pair.new.last_seq - pair.stored());
            let missing = missing.sum();
            if missing < fewest_missing {
                fewest_missing = missing;
                retries = MAX_RETRIES;
            }
            match self.write(&pairs) {
                Err(error) if retries > 0 && is_transient(&error) => {
                    retries -= 1;
                    self.now = before;
                }
                result => return result.map(|()| count),
            }
        }
    }

    /// Reads a page of tasks from both stores, and returns how many of the ids that were.
    fn read(&self, ids: &[TaskId]) -> Result<(usize, Vec<Pair>)> {
        let (count, tasks) = self.source.read(|rows| rows.tasks(ids))?;
        let stored = self.destination.all_tasks(&ids[..count])?.into_iter();
        let mut stored: HashMap<TaskId, TaskRecord> =
            stored.map(|task| (task.row.id.clone(), task)).collect();
        let pairs = tasks.into_iter().map(|new| Pair {
            old: stored.remove(&new.row.id),
            new,
        });
        Ok((count, pairs.collect()))
    }

    /// Fails if the destination has anything that is no earlier state of the source's. Turns of tasks
    /// that are not written are compared at the end.
    fn compare(&self, pairs: &[Pair]) -> Result<()> {
        for Pair { new, old } in pairs {
            refuse_damaged(&self.source, new)?;
            if let Some(reason) = old.as_ref().and_then(|old| find_conflict(new, old)) {
                return Err(conflict(OPERATION, &new.row.id, reason));
            }
        }
        let written = pairs.iter().filter(|pair| !pair.is_same());
        compare_turns(&self.source, &self.destination, written, |_| ())
    }

    /// Writes what the destination lacks of these tasks.
    fn write(&mut self, pairs: &[Pair]) -> Result<()> {
        let source = self.source;
        self.report(0, pairs.iter().map(Pair::stored).sum());
        let spans = pairs
            .iter()
            .map(|pair| (&pair.new.row.id, pair.stored(), pair.new.last_seq));
        let mut turns = TurnPages::new(&source, spans);
        let first = turns.next().transpose()?;
        self.write_page(pairs, first.as_deref().unwrap_or_default())?;
        for page in turns {
            self.write_page(&[], &page?)?;
        }
        let retractions = pairs.iter().flat_map(Pair::missing_retractions);
        let retractions: Vec<&Retraction> = retractions.collect();
        if !retractions.is_empty() {
            let put = |rows: &mut Rows<'_>| rows.put_retractions(&retractions);
            self.written[5] += self.destination.write(put)?;
        }
        self.report(pairs.len(), 0);
        Ok(())
    }

    /// Writes tasks and turns in one transaction.
    fn write_page(&mut self, pairs: &[Pair], turns: &[ConversationTurn]) -> Result<()> {
        let changed = pairs.iter().filter(|pair| pair.differs());
        let changes: Vec<_> = changed
            .map(|Pair { new, old }| TaskChange {
                new,
                old: old.as_ref(),
            })
            .collect();
        if changes.is_empty() && turns.is_empty() {
            return Ok(());
        }
        let written = self.destination.write(|rows| {
            let written = match changes.first() {
                None => RowCounts::default(),
                Some(first) => rows.put_tasks(&changes)?.ok_or_else(|| {
                    let reason = "or one after it was changed at the destination meanwhile";
                    conflict(OPERATION, &first.new.row.id, reason)
                })?,
            };
            rows.append_turns(turns)?;
            Ok::<_, Error>(written)
        })?;
        for (sum, written) in self.written.iter_mut().zip(written) {
            *sum += written;
        }
        self.written[4] += turns.len() as u64;
        if !turns.is_empty() {
            self.report(0, turns.len() as i64);
        }
        Ok(())
    }

    /// Compares every row of the source with the destination. Returns the numbers of rows.
    fn verify(&mut self) -> Result<RowCounts> {
        let (source, destination) = (self.source, self.destination);
        self.now = CopyProgress {
            stage: CopyStage::Verifying,
            tasks: 0,
            turns: 0,
            ..self.now
        };
        let mut rows = RowCounts::default();
        source.for_each_page(|mut ids| {
            while !ids.is_empty() {
                let (count, pairs) = self.read(ids)?;
                ids = &ids[count..];
                if let Some(pair) = pairs.iter().find(|pair| !pair.is_same()) {
                    let reason = "is not the same in both stores after the copy; \
                                  if one of them was written to meanwhile, copy again";
                    return Err(conflict(OPERATION, &pair.new.row.id, reason));
                }
                compare_turns(&source, &destination, pairs.iter(), |turns| {
                    self.report(0, turns);
                })?;
                for Pair { new, .. } in &pairs {
                    rows[0] += 1;
                    rows[1] += new.depends_on.len() as u64;
                    rows[2] += u64::from(new.session.is_some());
                    rows[3] += new.revisions.len() as u64;
                    rows[4] += new.last_seq.unsigned_abs();
                    rows[5] += new.retractions.len() as u64;
                }
                self.report(pairs.len(), 0);
            }
            Ok(())
        })?;
        Ok(rows)
    }

    fn report(&mut self, tasks: usize, turns: i64) {
        self.now.tasks += tasks as u64;
        self.now.turns += turns.unsigned_abs();
        (self.progress)(self.now);
    }
}

/// Compares the turns that the destination has of these tasks. Passes on how many of them were read.
fn compare_turns<'p>(
    source: &Bulk<'_>,
    destination: &Bulk<'_>,
    pairs: impl Iterator<Item = &'p Pair>,
    mut progress: impl FnMut(i64),
) -> Result<()> {
    let spans: Vec<_> = pairs
        .map(|pair| (&pair.new.row.id, 0, pair.stored()))
        .collect();
    let mut expected = TurnPages::new(source, spans.iter().copied()).turns();
    for page in TurnPages::new(destination, spans.iter().copied()) {
        let page = page?;
        for stored in &page {
            if expected.next().transpose()?.as_ref() != Some(stored) {
                let reason = format!("has another turn {} at the destination", stored.seq);
                return Err(conflict(OPERATION, &stored.task_id, reason));
            }
        }
        progress(page.len() as i64);
    }
    Ok(())
}

/// Returns whether the destination may have changed while a task was written, so that another try can
/// succeed. The next attempt finds the rows that were written before.
pub(crate) fn is_transient(error: &Error) -> bool {
    match error {
        Error::Conflict { .. } => true,
        Error::Store(error) => matches!(
            error.kind(),
            ErrorKind::SeqConflict { .. } | ErrorKind::TaskNotFound | ErrorKind::OutcomeUnknown
        ),
        _ => false,
    }
}
