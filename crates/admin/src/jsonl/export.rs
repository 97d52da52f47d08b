//! Writing the store as text, as of one moment.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{BufWriter, Write};

use serde::Serialize;
use turnkeep_model::{RecordingFile, TaskId};
use turnkeep_repo::Repo;

use super::JsonlProgress;
use super::line::{ChunkLine, EndLine, Header, Line, write_line};
use crate::error::{Error, Result};
use crate::read::{Reader as _, Snapshot, TurnPages, for_each_in_order, refuse_damaged};
use crate::recordings::{Chunks, bytes};
use crate::removals::for_each_removal;

const OPERATION: &str = "export_jsonl";

/// The buffer of a line keeps this size for the next one.
const KEPT_BYTES: usize = 1024 * 1024;

/// Writes all of the store as lines of JSON: tasks with their leases and fences, dependencies,
/// sessions with all their revisions, histories, recordings and removed sessions, with every id, seq, key, byte and
/// microsecond. Returns how much that was. Only the records of imported files are left out.
///
/// `docs/jsonl.md` documents the lines and their fields. Equal stores give equal bytes on every engine. Each task
/// comes after its dependencies; otherwise tasks are in order of their ids.
///
/// The export is one read transaction, so it shows one moment and blocks no writer. The log of a file can't shrink
/// before it ends. At most about 4 MiB are in memory, or the longest text with its line, and the ids of tasks with
/// dependencies. `out` is buffered here and flushed at the end. `progress` is called after each task and must not
/// use the store.
///
/// # Errors
/// After an error `out` holds an incomplete text without its last line, which [`import_jsonl`](crate::import_jsonl())
/// refuses.
/// - [`Error::Text`](crate::Error::Text): `out` failed; its error is the source.
/// - [`ErrorKind::Corrupt`](turnkeep_repo::ErrorKind::Corrupt): a row can't be read, a turn, a revision or a part of a
///   recording is missing or damaged, or a session differs from its open revision.
/// - [`ErrorKind::Unavailable`](turnkeep_repo::ErrorKind::Unavailable): the server was lost in the middle.
/// - [`Error::Store`](crate::Error::Store): a call to the store failed.
///
/// ```
/// use turnkeep_admin::export_jsonl;
/// use turnkeep_repo::{NewTask, Repo, Role, TaskId};
///
/// let repo = Repo::open_in_memory()?;
/// let task = TaskId::new("t1")?;
/// repo.save_task(&NewTask::new(task.clone(), "T1"))?;
/// repo.save_message(&task, Role::User, "Is it done?")?;
///
/// let mut text = Vec::new();
/// let done = export_jsonl(&repo, &mut text, |_| ())?;
/// assert_eq!((done.tasks, done.turns), (1, 1));
/// assert!(text.starts_with(b"{\"format\":\"turnkeep\",\"version\":1}\n{\"task\":{\"id\":\"t1\","));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export_jsonl(
    repo: &Repo,
    out: impl Write,
    mut progress: impl FnMut(JsonlProgress),
) -> Result<JsonlProgress> {
    let bulk = repo.bulk(OPERATION, None);
    // Behind the lines that are written already the export can't begin once more.
    bulk.read_once(|rows| {
        let snapshot = Snapshot {
            bulk,
            rows: RefCell::new(rows),
        };
        let mut text = Text {
            out: BufWriter::new(out),
            line: Vec::new(),
            done: JsonlProgress::default(),
        };
        text.line(&Header::new())?;
        for_each_in_order(&snapshot, 1, |ids| {
            write_tasks(&snapshot, &mut text, ids, &mut progress)
        })?;
        let mut removed_sessions = 0;
        for_each_removal(&snapshot, |page| {
            removed_sessions += page.len() as u64;
            page.iter()
                .try_for_each(|it| text.line(&Line::RemovedSession(Cow::Borrowed(it))))
        })?;
        let JsonlProgress { tasks, turns, .. } = text.done;
        text.line(&Line::End(EndLine {
            tasks,
            turns,
            removed_sessions,
        }))?;
        text.out.flush().map_err(failed)?;
        Ok(text.done)
    })
}

/// Writes tasks with their revisions, sessions, turns and recordings.
fn write_tasks<W: Write>(
    snapshot: &Snapshot<'_, '_>,
    text: &mut Text<W>,
    mut ids: &[TaskId],
    progress: &mut impl FnMut(JsonlProgress),
) -> Result<()> {
    while !ids.is_empty() {
        let (count, tasks) = snapshot.read(|rows| rows.tasks(ids))?;
        let recordings = snapshot.read(|rows| rows.recordings(&ids[..count]))?;
        ids = &ids[count..];
        let mut turns = TurnPages::of(snapshot, &tasks).turns();
        for task in &tasks {
            refuse_damaged(&snapshot.bulk, task)?;
            let files = recordings.iter().filter(|it| it.task_id == task.row.id);
            text.line(&Line::of_task(task, files.clone().count()))?;
            for revision in &task.revisions {
                text.line(&Line::Revision(Cow::Borrowed(revision)))?;
            }
            if let Some(session) = &task.session {
                text.line(&Line::Session(Cow::Borrowed(session)))?;
            }
            for retraction in &task.retractions {
                text.line(&Line::Retraction(Cow::Borrowed(retraction)))?;
            }
            for turn in turns.by_ref().take(task.last_seq as usize) {
                text.line(&Line::Turn(Cow::Owned(turn?)))?;
                text.done.turns += 1;
            }
            files
                .into_iter()
                .try_for_each(|file| write_recording(snapshot, text, file))?;
            text.done.tasks += 1;
            progress(text.done);
        }
    }
    Ok(())
}

/// Writes a recording with its chunks, whose checksums must be right.
fn write_recording<W: Write>(
    snapshot: &Snapshot<'_, '_>,
    text: &mut Text<W>,
    file: &RecordingFile,
) -> Result<()> {
    text.line(&Line::Recording(Cow::Borrowed(file)))?;
    for chunk in Chunks::new(snapshot, file, 0) {
        let chunk = chunk?;
        bytes(&snapshot.bulk, file, &chunk)?;
        text.line(&Line::RecordingChunk(ChunkLine::new(file, chunk)))?;
    }
    Ok(())
}

/// The text that is written, and how far it is.
struct Text<W: Write> {
    out: BufWriter<W>,
    line: Vec<u8>,
    done: JsonlProgress,
}

impl<W: Write> Text<W> {
    fn line(&mut self, record: &impl Serialize) -> Result<()> {
        self.line.shrink_to(KEPT_BYTES);
        write_line(&mut self.line, record);
        self.done.bytes += self.line.len() as u64;
        self.out.write_all(&self.line).map_err(failed)
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Text {
        operation: OPERATION,
        source,
    }
}
