//! Copying one store into another.

use std::collections::HashMap;
use std::mem;

use turnkeep_model::{ConversationTurn, RecordingFile, RecordingNumber, Retraction, TaskId};
use turnkeep_repo::bulk::{
    Bulk, Chunk, RecordingChange, RowCounts, Rows, StoreRole, TABLES, TaskChange, TaskRecord,
};
use turnkeep_repo::{ErrorKind, Repo};

use crate::conflict::{conflict, find_conflict, recording_conflict, superseded};
use crate::error::{Error, Result};
use crate::read::{MAX_TASKS, Reader as _, TurnPages, for_each_in_order, refuse_damaged};
use crate::recordings::{Chunks, bytes, is_continued};
use crate::removals::for_each_removal;

const OPERATION: &str = "copy";

/// The bytes of chunks that are written in a transaction, or one chunk more.
const MAX_CHUNK_BYTES: usize = 4 * 1024 * 1024;

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
    /// Rows of the destination that this copy inserted, changed or removed. (Only dependencies and superseded
    /// recordings are removed.)
    pub written: u64,
    /// Rows that the destination has besides: tasks that the source does not have, recordings and removals that it
    /// has no longer. They were left alone.
    pub left_alone: u64,
}

/// Copies all of one store into another, of whatever engines: tasks with their leases and fences,
/// dependencies, sessions with all their revisions, histories, recordings and removed sessions, with every id, seq, key,
/// byte and microsecond. The records of imported files stay, since they are of the machine of the import.
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
///   others, and the retractions after them;
/// - a recording with the number of one of the source's has its name and `created_at`, and its bytes there are the first
///   ones of the source's. Its missing bytes are added, in the source's chunks. A new recording of the source has a
///   higher number than all of the destination. So a file that the source keeps anew after
///   [`Repo::delete_recordings`] is a conflict until the destination's are deleted as well.
///
/// Of a file that was rewritten a store keeps the last two recordings. So a recording is dropped at the destination if
/// the source has it no longer, and has two later ones of its name. Other recordings that only the destination has are
/// left alone, as those that were deleted at the source. A session that was removed at the destination later
/// than at the source stays so.
///
/// Tasks that only the destination has are left alone, and counted in the report: a task that was
/// deleted at the source is one of them. From the common tasks only dependencies that the source no longer has
/// and superseded recordings are removed.
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
///   turn, a revision or a part of a recording is missing or damaged, a session differs from its open revision, or dependencies form a circle.
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
    let [all_tasks, _, _, _, all_turns, ..] = source.read(|rows| rows.counts())?;
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
    copying.copy_removals()?;
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
    files: Vec<RecordingFile>,
    /// The recordings of the destination.
    stored_files: Vec<RecordingFile>,
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

    /// Returns the state of a recording at the destination.
    fn stored_file(&self, number: RecordingNumber) -> Option<&RecordingFile> {
        self.stored_files.iter().find(|it| it.number == number)
    }

    fn has_same_files(&self) -> bool {
        let is_same = |file: &RecordingFile| self.stored_file(file.number) == Some(file);
        self.files.iter().all(is_same)
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
        let mut files = files_of(&self.source, &ids[..count])?;
        let mut stored_files = files_of(&self.destination, &ids[..count])?;
        let pairs = tasks.into_iter().map(|new| Pair {
            old: stored.remove(&new.row.id),
            files: files.remove(&new.row.id).unwrap_or_default(),
            stored_files: stored_files.remove(&new.row.id).unwrap_or_default(),
            new,
        });
        Ok((count, pairs.collect()))
    }

    /// Fails if the destination has anything that is no earlier state of the source's. Turns of tasks
    /// that are not written are compared at the end.
    fn compare(&self, pairs: &[Pair]) -> Result<()> {
        for pair in pairs {
            let Pair { new, old, .. } = pair;
            refuse_damaged(&self.source, new)?;
            let reason = old.as_ref().and_then(|old| find_conflict(new, old));
            let reason = reason.or_else(|| recording_conflict(&pair.files, &pair.stored_files));
            if let Some(reason) = reason {
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
        self.write_recordings(pairs)?;
        self.report(pairs.len(), 0);
        Ok(())
    }

    /// Writes the bytes of recordings that the destination lacks, and drops superseded recordings.
    fn write_recordings(&mut self, pairs: &[Pair]) -> Result<()> {
        let mut batch = Vec::new();
        let mut size = 0;
        for pair in pairs {
            for file in &pair.files {
                let stored = pair.stored_file(file.number);
                if stored != Some(file) {
                    self.write_recording(file, stored, &mut batch, &mut size)?;
                }
            }
        }
        self.put_recordings(&mut batch)?;
        let superseded = pairs
            .iter()
            .flat_map(|it| superseded(&it.files, &it.stored_files));
        let superseded: Vec<_> = superseded
            .map(|it| (it.task_id.clone(), it.number))
            .collect();
        if !superseded.is_empty() {
            self.destination
                .write(|rows| rows.drop_recordings(&superseded))?;
            self.written[6] += superseded.len() as u64;
        }
        Ok(())
    }

    /// Adds a recording to the batch, from the first chunk on that the stores do not have alike.
    fn write_recording(
        &mut self,
        file: &RecordingFile,
        stored: Option<&RecordingFile>,
        batch: &mut Vec<RecordingChange>,
        size: &mut usize,
    ) -> Result<()> {
        let (source, destination) = (self.source, self.destination);
        let mut from = 0;
        if let Some(stored) = stored {
            let pairs = Chunks::new(&source, file, 0).zip(Chunks::new(&destination, stored, 0));
            for (new, old) in pairs {
                let new = new?;
                if new != old? {
                    break;
                }
                from = new.end();
            }
            let rest = Chunks::new(&source, file, from);
            if !is_continued(rest, Chunks::new(&destination, stored, from))? {
                let reason = format!("has another recording {} at the destination", file.number);
                return Err(conflict(OPERATION, &file.task_id, reason));
            }
        }
        let change = |length, from, chunks: Vec<Chunk>| RecordingChange {
            file: file.clone(),
            length,
            from,
            chunks,
        };
        let mut length = stored.map(|stored| stored.length);
        let mut chunks = Vec::new();
        for chunk in Chunks::new(&source, file, from) {
            let chunk = chunk?;
            bytes(&source, file, &chunk)?;
            *size += chunk.data.len();
            let end = chunk.end();
            chunks.push(chunk);
            if *size >= MAX_CHUNK_BYTES {
                batch.push(change(length, from, mem::take(&mut chunks)));
                self.put_recordings(batch)?;
                *size = 0;
                (length, from) = (Some(end), end);
            }
        }
        if !chunks.is_empty() || length != Some(file.length) || stored.is_some() {
            batch.push(change(length, from, chunks));
        }
        Ok(())
    }

    fn put_recordings(&mut self, batch: &mut Vec<RecordingChange>) -> Result<()> {
        let Some(first) = batch.first().map(|it| it.file.task_id.clone()) else {
            return Ok(());
        };
        let [files, chunks] = self.destination.write(|rows| {
            rows.put_recordings(batch)?.ok_or_else(|| {
                let reason = "or one after it has other recordings at the destination meanwhile";
                conflict(OPERATION, &first, reason)
            })
        })?;
        self.written[6] += files;
        self.written[7] += chunks;
        batch.clear();
        Ok(())
    }

    /// Puts the removed sessions on record that the destination lacks.
    fn copy_removals(&mut self) -> Result<()> {
        let destination = self.destination;
        for_each_removal(&self.source, |page| {
            let lacking = destination.read(|rows| rows.lacking_removals(page))?;
            if !lacking.is_empty() {
                destination.write(|rows| rows.put_removed_sessions(&lacking))?;
                self.written[8] += lacking.len() as u64;
            }
            Ok(())
        })
    }

    /// Writes tasks and turns in one transaction.
    fn write_page(&mut self, pairs: &[Pair], turns: &[ConversationTurn]) -> Result<()> {
        let changed = pairs.iter().filter(|pair| pair.differs());
        let changes: Vec<_> = changed
            .map(|Pair { new, old, .. }| TaskChange {
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
                if let Some(pair) = pairs
                    .iter()
                    .find(|it| !it.is_same() || !it.has_same_files())
                {
                    let reason = "is not the same in both stores after the copy; \
                                  if one of them was written to meanwhile, copy again";
                    return Err(conflict(OPERATION, &pair.new.row.id, reason));
                }
                compare_turns(&source, &destination, pairs.iter(), |turns| {
                    self.report(0, turns);
                })?;
                for pair in &pairs {
                    let new = &pair.new;
                    rows[7] += compare_recordings(&source, &destination, pair)?;
                    rows[6] += pair.files.len() as u64;
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
        for_each_removal(&source, |page| {
            rows[8] += page.len() as u64;
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

/// Returns the recordings of these tasks.
fn files_of(store: &Bulk<'_>, ids: &[TaskId]) -> Result<HashMap<TaskId, Vec<RecordingFile>>> {
    let mut files: HashMap<TaskId, Vec<RecordingFile>> = HashMap::new();
    for file in store.read(|rows| rows.recordings(ids))? {
        files.entry(file.task_id.clone()).or_default().push(file);
    }
    Ok(files)
}

/// Compares the chunks of the recordings of a task, and returns how many there are.
fn compare_recordings(source: &Bulk<'_>, destination: &Bulk<'_>, pair: &Pair) -> Result<u64> {
    let mut count = 0;
    for file in &pair.files {
        let stored = Chunks::new(destination, file, 0);
        for (new, stored) in Chunks::new(source, file, 0).zip(stored) {
            if new? != stored? {
                let reason = format!("has another recording {} at the destination", file.number);
                return Err(conflict(OPERATION, &file.task_id, reason));
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Returns whether one of the stores may have changed while a task was written, so that another try can
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
