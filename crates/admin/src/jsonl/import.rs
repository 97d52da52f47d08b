//! Reading the text, task by task.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{BufRead, Seek};
use std::slice;

use turnkeep_model::{
    ConversationTurn, RecordingFile, RecordingNumber, RemovedSession, Retraction, Session,
    SessionRevision, TaskId, visible,
};
use turnkeep_repo::bulk::{
    Bulk, Chunk, RecordingChange, Rows, StoreRole, TaskChange, TaskRecord, begin_fault,
    is_on_record,
};
use turnkeep_repo::{ErrorKind, Repo};

use super::JsonlProgress;
use super::line::{EndLine, Header, Line, TaskLine};
use super::lines::{Lines, Mark, OPERATION};
use crate::conflict::{conflict, find_conflict};
use crate::copy::{MAX_RETRIES, is_transient};
use crate::error::{Error, Result};
use crate::read::{Reader as _, TurnPages};
use crate::recordings::Chunks;
use crate::removals::MAX_REMOVALS;

/// The most turns and bytes that are held in memory at a time, whichever comes first.
const MAX_TURNS: usize = 1_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Reads an export into this store, and returns how much was new.
///
/// Each task is stored in one transaction with its dependencies, sessions, turns and recordings, or not at all. A task
/// that the store already has must be equal in everything and is left alone, so an interrupted import can be repeated.
/// Other tasks of the store are left alone. A removed session is put on record, except where a later removal of it is.
///
/// `input` is read more than once, so it must be a file or bytes in memory. At most about 4 MiB are in memory, or the
/// longest line with its text. Other writers wait for the transaction of a task, on a server only the writers of the
/// same task. `progress` is called after each task and must not use the store.
///
/// # Errors
/// The tasks before the refused task stay stored. The refused task is not stored.
/// - [`Error::InvalidLine`](crate::Error::InvalidLine): a line is damaged, is not what should be
///   there, is of another version, or waits for a task that is neither in the store nor before it.
/// - [`Error::Conflict`](crate::Error::Conflict): the store has a task of that id which
///   is not the same.
/// - [`Error::Text`](crate::Error::Text): `input` failed; its error is the source.
/// - [`Error::Store`](crate::Error::Store): a call to the store failed.
///
/// ```
/// use std::io::Cursor;
/// use turnkeep_admin::{export_jsonl, import_jsonl};
/// use turnkeep_repo::{NewTask, Repo, TaskId};
///
/// let repo = Repo::open_in_memory()?;
/// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
/// let mut text = Vec::new();
/// export_jsonl(&repo, &mut text, |_| ())?;
///
/// let other = Repo::open_in_memory()?;
/// assert_eq!(import_jsonl(&other, Cursor::new(&text), |_| ())?.tasks, 1);
/// assert_eq!(other.get_tasks()?, repo.get_tasks()?);
/// let again = import_jsonl(&other, Cursor::new(&text), |_| ())?;
/// assert_eq!((again.tasks, again.left_alone), (0, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn import_jsonl(
    repo: &Repo,
    input: impl BufRead + Seek,
    mut progress: impl FnMut(JsonlProgress),
) -> Result<JsonlProgress> {
    let mut import = Import {
        store: repo.bulk(OPERATION, Some(StoreRole::Destination)),
        lines: Lines::new(input)?,
        done: JsonlProgress::default(),
    };
    let header = Header::check(import.lines.next()?);
    header.map_err(|reason| import.lines.fault(reason))?;
    let mut read = EndLine::default();
    let mut removed = Vec::new();
    loop {
        match import.lines.record()? {
            Line::Task(line) if read.removed_sessions == 0 => {
                let task = import.task(*line)?;
                import.bring_over(&task)?;
                read.tasks += 1;
                read.turns += task.source.last_seq.unsigned_abs();
                import.done.bytes = import.lines.bytes();
                progress(import.done);
            }
            Line::RemovedSession(session) => {
                read.removed_sessions += 1;
                removed.push(session.into_owned());
                if removed.len() == MAX_REMOVALS {
                    import.remove(&mut removed)?;
                }
            }
            Line::End(end) if end == read => break,
            found => return Err(import.out_of_place("a task, or the end", &found)),
        }
    }
    import.remove(&mut removed)?;
    import.done.bytes = import.lines.bytes();
    if import.lines.is_at_end()? {
        return Ok(import.done);
    }
    import.lines.next()?;
    let reason = "is out of place: the text has to end before it";
    Err(import.lines.fault(reason))
}

/// An import on its way.
struct Import<'r, R> {
    store: Bulk<'r>,
    lines: Lines<R>,
    done: JsonlProgress,
}

/// A task of the text.
struct Task {
    source: TaskRecord,
    /// Behind its first line.
    begin: Mark,
    /// Before its turns.
    turns: Mark,
    /// How many recordings it has.
    recordings: u64,
}

impl<R: BufRead + Seek> Import<'_, R> {
    /// Reads the revisions and the session that follow the line of a task.
    fn task(&mut self, line: TaskLine<'static>) -> Result<Task> {
        let begin = self.lines.mark();
        let (revisions, retractions) = (line.revisions, line.retractions);
        let recordings = line.recordings;
        let mut source = line.into_task();
        let id = source.row.id.clone();
        for number in 1..=revisions {
            let revision = self.revision(&id, number)?;
            if source.revisions.last().is_some_and(is_open) {
                let reason = "has an invalid revision: follows one that was not retired";
                return Err(self.lines.fault(reason));
            }
            let before = source.revisions.last();
            if let Some(fault) = begin_fault(&revision, before, source.last_seq) {
                let reason = format!("has an invalid revision: {fault}");
                return Err(self.lines.fault(reason));
            }
            source.revisions.push(revision);
        }
        if let Some(open) = source.revisions.last().filter(|last| is_open(last)) {
            source.session = Some(self.session(open)?);
        }
        for number in 1..=retractions {
            source.retractions.push(self.retraction(&id, number)?);
            if let Some(fault) = source.retraction_fault() {
                return Err(self
                    .lines
                    .fault(format!("has an invalid retraction: {fault}")));
            }
        }
        let turns = self.lines.mark();
        Ok(Task {
            source,
            begin,
            turns,
            recordings,
        })
    }

    fn revision(&mut self, id: &TaskId, number: u64) -> Result<SessionRevision> {
        match self.lines.record()? {
            Line::Revision(revision)
                if revision.task_id == *id
                    && u64::try_from(revision.revision.get()) == Ok(number) =>
            {
                Ok(revision.into_owned())
            }
            found => Err(self.out_of_place(
                format_args!("revision {number} of task `{}`", visible(id.as_str())),
                &found,
            )),
        }
    }

    /// Reads the session that goes with the revision on record as the current one.
    fn session(&mut self, open: &SessionRevision) -> Result<Session> {
        let id = &open.task_id;
        let session = match self.lines.record()? {
            Line::Session(session) if session.task_id == *id => session,
            found => {
                return Err(self.out_of_place(
                    format_args!("the session of task `{}`", visible(id.as_str())),
                    &found,
                ));
            }
        };
        match is_on_record(&session, open) {
            true => Ok(session.into_owned()),
            false => Err(self
                .lines
                .fault("has an invalid session: is not the one on record as the current one")),
        }
    }

    fn retraction(&mut self, id: &TaskId, number: u64) -> Result<Retraction> {
        match self.lines.record()? {
            Line::Retraction(it) if it.task_id == *id && u64::try_from(it.number) == Ok(number) => {
                Ok(it.into_owned())
            }
            found => Err(self.out_of_place(
                format_args!("retraction {number} of task `{}`", visible(id.as_str())),
                &found,
            )),
        }
    }

    fn turn(&mut self, id: &TaskId, seq: i64) -> Result<ConversationTurn> {
        match self.lines.record()? {
            Line::Turn(turn) if turn.task_id == *id && turn.seq == seq => Ok(turn.into_owned()),
            found => Err(self.out_of_place(
                format_args!("turn {seq} of task `{}`", visible(id.as_str())),
                &found,
            )),
        }
    }

    /// Reads the line of a recording, whose number is above `last`.
    fn recording(&mut self, id: &TaskId, last: Option<RecordingNumber>) -> Result<RecordingFile> {
        match self.lines.record()? {
            Line::Recording(it) if it.task_id == *id && Some(it.number) > last => {
                Ok(it.into_owned())
            }
            found => Err(self.out_of_place(
                format_args!("the next recording of task `{}`", visible(id.as_str())),
                &found,
            )),
        }
    }

    /// Reads the chunk of a recording at an offset.
    fn chunk(&mut self, file: &RecordingFile, at: u64) -> Result<Chunk> {
        let found = match self.lines.record()? {
            Line::RecordingChunk(it) if *it.task_id == file.task_id && it.number == file.number => {
                it.into_chunk()
            }
            found => {
                let expected = format_args!("byte {at} of recording {}", file.number);
                return Err(self.out_of_place(expected, &found));
            }
        };
        let is_next =
            u64::try_from(found.offset) == Ok(at) && found.length > 0 && found.end() <= file.length;
        let fault = match (is_next, found.bytes()) {
            (false, _) => format!("does not go on at byte {at}, within {}", file.length),
            (true, Err(reason)) => reason.to_string(),
            (true, Ok(_)) => return Ok(found),
        };
        Err(self.lines.fault(format!("has an invalid chunk: {fault}")))
    }

    /// Stores a recording that the store has not.
    fn insert_recording(&mut self, file: &RecordingFile, rows: &mut Rows<'_>) -> Result<()> {
        let mut change = RecordingChange {
            file: file.clone(),
            length: None,
            from: 0,
            chunks: Vec::new(),
        };
        let (mut at, mut bytes, mut stored_bytes) = (0, 0, 0);
        loop {
            if at == file.length || bytes >= MAX_BYTES {
                if rows.put_recordings(slice::from_ref(&change))?.is_none() {
                    return Err(conflict(OPERATION, &file.task_id, "was saved meanwhile"));
                }
                (change.length, change.from) = (Some(at), at);
                change.chunks.clear();
                bytes = 0;
            }
            if at == file.length {
                break;
            }
            let chunk = self.chunk(file, at)?;
            at = chunk.end();
            bytes += chunk.data.len();
            stored_bytes += chunk.data.len() as u64;
            change.chunks.push(chunk);
        }
        match stored_bytes == file.stored_bytes {
            true => Ok(()),
            false => Err(self.lines.fault(format!(
                "ends recording {}, whose stored_bytes are others",
                file.number
            ))),
        }
    }

    /// Puts removed sessions on record.
    fn remove(&mut self, sessions: &mut Vec<RemovedSession>) -> Result<()> {
        let lacking = self.store.read(|rows| rows.lacking_removals(sessions))?;
        if !lacking.is_empty() {
            self.store
                .write(|rows| rows.put_removed_sessions(&lacking))?;
        }
        sessions.clear();
        Ok(())
    }

    fn out_of_place(&self, expected: impl Display, found: &Line<'static>) -> Error {
        let found = found.in_words();
        let reason = format!("is out of place: {expected} has to be here, not {found}");
        self.lines.fault(reason)
    }

    /// Stores a task, or finds it stored. Tries again when others write to it meanwhile.
    fn bring_over(&mut self, task: &Task) -> Result<()> {
        let id = slice::from_ref(&task.source.row.id);
        let mut retries = MAX_RETRIES;
        loop {
            if let Some(stored) = self.store.all_tasks(id)?.pop() {
                self.done.left_alone += 1;
                return self.compare(task, &stored);
            }
            match self.insert(task) {
                Ok(()) => {
                    self.done.tasks += 1;
                    self.done.turns += task.source.last_seq.unsigned_abs();
                    return Ok(());
                }
                Err(error) if retries > 0 && is_transient(&error) => retries -= 1,
                Err(error) => return Err(self.name_line(task, error)?),
            }
        }
    }

    /// Refuses a task that is not the same in the store.
    fn compare(&mut self, task: &Task, stored: &TaskRecord) -> Result<()> {
        let source = &task.source;
        let id = &source.row.id;
        if stored != source {
            let reason = find_conflict(source, stored).unwrap_or_else(|| {
                "differs from the one at the destination, which may be an earlier one".into()
            });
            return Err(conflict(OPERATION, id, reason));
        }
        self.lines.go_to(task.turns)?;
        let store = self.store;
        for stored in TurnPages::of(&store, slice::from_ref(stored)).turns() {
            let stored = stored?;
            if self.turn(id, stored.seq.get())? != stored {
                let reason = format!("has another turn {} at the destination", stored.seq);
                return Err(conflict(OPERATION, id, reason));
            }
        }
        self.compare_recordings(task)
    }

    fn compare_recordings(&mut self, task: &Task) -> Result<()> {
        let (id, store) = (&task.source.row.id, self.store);
        let other = |reason: String| Err(conflict(OPERATION, id, reason));
        let files = store.read(|rows| rows.recordings(slice::from_ref(id)))?;
        let (mut last, mut stored_files) = (None, files.iter());
        for _ in 0..task.recordings {
            let file = self.recording(id, last)?;
            last = Some(file.number);
            let stored = stored_files.next().filter(|stored| **stored == file);
            let Some(stored) = stored else {
                return other(format!(
                    "lacks recording {} at the destination, or has another",
                    file.number
                ));
            };
            for stored in Chunks::new(&store, stored, 0) {
                let stored = stored?;
                if self.chunk(&file, stored.offset.unsigned_abs())? != stored {
                    return other(format!(
                        "has another recording {} at the destination",
                        file.number
                    ));
                }
            }
        }
        match stored_files.next() {
            None => Ok(()),
            Some(file) => other(format!(
                "has a recording {} of its own at the destination",
                file.number
            )),
        }
    }

    /// Stores a task that the store has not, in one transaction.
    fn insert(&mut self, task: &Task) -> Result<()> {
        let source = &task.source;
        let id = &source.row.id;
        let store = self.store;
        store.write(|rows| {
            let change = TaskChange {
                new: source,
                old: None,
            };
            if rows.put_tasks(&[change])?.is_none() {
                return Err(conflict(OPERATION, id, "was saved meanwhile"));
            }
            self.lines.go_to(task.turns)?;
            let mut page = Vec::new();
            let mut bytes = 0;
            for seq in 1..=source.last_seq {
                let turn = self.turn(id, seq)?;
                bytes += turn.content.len();
                bytes += turn.metadata.as_ref().map_or(0, |it| it.as_str().len());
                page.push(turn);
                if bytes >= MAX_BYTES || page.len() >= MAX_TURNS || seq == source.last_seq {
                    rows.append_turns(&page)?;
                    page.clear();
                    bytes = 0;
                }
            }
            rows.put_retractions(&source.retractions.iter().collect::<Vec<_>>())?;
            let mut last = None;
            for _ in 0..task.recordings {
                let file = self.recording(id, last)?;
                last = Some(file.number);
                self.insert_recording(&file, rows)?;
            }
            Ok(())
        })
    }

    /// Names the line that the store refused, if it can be told.
    fn name_line(&mut self, task: &Task, error: Error) -> Result<Error> {
        let Error::Store(refused) = &error else {
            return Ok(error);
        };
        let depends_on = match refused.kind() {
            ErrorKind::DependencyNotFound { depends_on } => Some(depends_on),
            // Of the task with itself: no other task waits yet for a task that is new.
            ErrorKind::DependencyCycle { members } => members.first(),
            _ => None,
        };
        if let Some(depends_on) = depends_on {
            let depends_on = visible(depends_on.as_str());
            return Ok(task.begin.fault(format!(
                "waits for task `{depends_on}`, which is neither before it nor in the store"
            )));
        }
        // The database refuses a key that is there twice. To look for one before, all keys of the task
        // would have to be held.
        let mut seqs = HashMap::new();
        self.lines.go_to(task.turns)?;
        for seq in 1..=task.source.last_seq {
            let Some(key) = self.turn(&task.source.row.id, seq)?.message_key else {
                continue;
            };
            if let Some(first) = seqs.insert(key.clone(), seq) {
                let key = visible(key.as_str());
                return Ok(self.lines.fault(format!(
                    "has the message key `{key}`, which turn {first} has already"
                )));
            }
        }
        Ok(error)
    }
}

fn is_open(revision: &SessionRevision) -> bool {
    revision.retired_at.is_none()
}
