//! Reading the text, task by task.

use std::collections::HashMap;
use std::io::{BufRead, Seek};
use std::slice;

use turnkeep_model::{ConversationTurn, MessageKey, Session, SessionRevision, TaskId, visible};
use turnkeep_repo::bulk::{Bulk, Rows, StoreRole, TaskChange, TaskRecord};
use turnkeep_repo::{ErrorKind, Repo};

use super::JsonlProgress;
use super::fault::LineFault;
use super::line::{EndLine, Header, Line};
use super::lines::{Lines, Mark, OPERATION};
use crate::conflict::{conflict, find_conflict};
use crate::copy::{MAX_RETRIES, is_transient};
use crate::error::{Error, Result};
use crate::read::{Reader as _, TurnPages};

/// The most turns and bytes that are held in memory at a time, whichever comes first.
const MAX_TURNS: usize = 1_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn import(
    repo: &Repo,
    input: impl BufRead + Seek,
    progress: impl FnMut(JsonlProgress),
) -> Result<JsonlProgress> {
    let mut import = Import {
        store: repo.bulk(OPERATION, Some(StoreRole::Destination)),
        lines: Lines::new(input)?,
        progress,
        done: JsonlProgress::default(),
        read: EndLine::default(),
    };
    import.run()?;
    Ok(import.done)
}

/// An import on its way.
struct Import<'r, R, F> {
    store: Bulk<'r>,
    lines: Lines<R>,
    progress: F,
    done: JsonlProgress,
    read: EndLine,
}

/// A task of the text, all its lines checked.
struct Task {
    source: TaskRecord,
    /// Behind its first line.
    begin: Mark,
    /// Before its turns.
    turns: Mark,
    /// Behind them.
    end: Mark,
}

impl<R: BufRead + Seek, F: FnMut(JsonlProgress)> Import<'_, R, F> {
    fn run(&mut self) -> Result<()> {
        let header = self.lines.next()?.map(Header::check);
        match header {
            None => return Err(self.lines.mark().truncated()),
            Some(checked) => checked.map_err(|fault| self.lines.fault(fault))?,
        }
        loop {
            match read(&mut self.lines)? {
                Line::Task(task) => {
                    let revisions = task.revisions;
                    let task = self.check_task(task.into_task(), revisions)?;
                    self.bring_over(&task)?;
                    self.lines.go_to(task.end)?;
                    self.done.bytes = self.lines.bytes();
                    (self.progress)(self.done);
                }
                Line::End(end) if end == self.read => break,
                found => return Err(self.out_of_place("a task, or the end".into(), &found)),
            }
        }
        match self.lines.next()? {
            None => {
                self.done.bytes = self.lines.bytes();
                Ok(())
            }
            Some(_) => Err(self.lines.fault(LineFault::OutOfPlace {
                expected: "nothing more".into(),
                found: "another line".into(),
            })),
        }
    }

    /// Reads what follows the line of a task, and refuses what can't be stored under it.
    fn check_task(&mut self, mut source: TaskRecord, revisions: u64) -> Result<Task> {
        let begin = self.lines.mark();
        let id = source.row.id.clone();
        for number in 1..=revisions {
            let revision = self.revision(&id, number)?;
            if source.revisions.last().is_some_and(is_open) {
                return Err(self.lines.fault(LineFault::InvalidValue {
                    field: "revision".into(),
                    reason: "follows one that was not retired".into(),
                }));
            }
            source.revisions.push(revision);
        }
        if let Some(open) = source.revisions.last().filter(|last| is_open(last)) {
            source.session = Some(self.session(open)?);
        }
        let turns = self.lines.mark();
        for seq in 1..=source.last_seq {
            self.turn(&id, seq)?;
        }
        self.read.tasks += 1;
        self.read.turns += source.last_seq.unsigned_abs();
        Ok(Task {
            source,
            begin,
            turns,
            end: self.lines.mark(),
        })
    }

    fn revision(&mut self, id: &TaskId, number: u64) -> Result<SessionRevision> {
        match read(&mut self.lines)? {
            Line::Revision(revision)
                if revision.task_id == *id && u64::try_from(revision.revision) == Ok(number) =>
            {
                Ok(revision.into_owned())
            }
            found => Err(self.out_of_place(
                format!("revision {number} of task `{}`", visible(id.as_str())),
                &found,
            )),
        }
    }

    /// Reads the session that goes with the revision on record as the current one.
    fn session(&mut self, open: &SessionRevision) -> Result<Session> {
        let id = &open.task_id;
        let session = match read(&mut self.lines)? {
            Line::Session(session) if session.task_id == *id => session,
            found => {
                return Err(self.out_of_place(
                    format!("the session of task `{}`", visible(id.as_str())),
                    &found,
                ));
            }
        };
        let is_on_record = session.backend_type == open.backend_type
            && session.session_id == open.session_id
            && session.working_dir == open.working_dir;
        match is_on_record {
            true => Ok(session.into_owned()),
            false => Err(self.lines.fault(LineFault::InvalidValue {
                field: "session".into(),
                reason: "is not the one on record as the current one".into(),
            })),
        }
    }

    fn turn(&mut self, id: &TaskId, seq: i64) -> Result<ConversationTurn> {
        match read(&mut self.lines)? {
            Line::Turn(turn) if turn.task_id == *id && turn.seq == seq => Ok(turn.into_owned()),
            found => Err(self.out_of_place(
                format!("turn {seq} of task `{}`", visible(id.as_str())),
                &found,
            )),
        }
    }

    fn out_of_place(&self, expected: String, found: &Line<'static>) -> Error {
        let found = found.in_words();
        self.lines.fault(LineFault::OutOfPlace { expected, found })
    }

    /// Stores a task, or finds it stored. Tries again when others write to it meanwhile.
    fn bring_over(&mut self, task: &Task) -> Result<()> {
        let mut retries = MAX_RETRIES;
        loop {
            let id = slice::from_ref(&task.source.row.id);
            if let Some(stored) = self.store.all_tasks(id)?.pop() {
                self.compare(task, &stored)?;
                self.done.left_alone += 1;
                return Ok(());
            }
            match self.insert(task) {
                Ok(()) => {
                    self.done.tasks += 1;
                    self.done.turns += task.source.last_seq.unsigned_abs();
                    return Ok(());
                }
                Err(error) if retries > 0 && is_transient(&error) => retries -= 1,
                Err(error) => return Err(error),
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
            if self.turn(id, stored.seq)? != stored {
                let reason = format!("has another turn {} at the destination", stored.seq);
                return Err(conflict(OPERATION, id, reason));
            }
        }
        Ok(())
    }

    /// Stores a task that the store has not, in one transaction.
    fn insert(&mut self, task: &Task) -> Result<()> {
        let store = self.store;
        let inserted = store.write(|rows| self.insert_into(rows, task));
        let Err(Error::Store(error)) = inserted else {
            return inserted;
        };
        match error.kind() {
            ErrorKind::DependencyNotFound { depends_on } => {
                let depends_on = depends_on.clone();
                Err(task.begin.fault(LineFault::UnknownTask { depends_on }))
            }
            // The database refuses a key that is there twice. To look for one before, all keys of the
            // task would have to be held.
            _ => Err(self.find_repeated_key(task)?.unwrap_or(error.into())),
        }
    }

    fn insert_into(&mut self, rows: &mut Rows<'_>, task: &Task) -> Result<()> {
        let source = &task.source;
        let id = &source.row.id;
        let change = TaskChange {
            new: source,
            old: None,
        };
        if rows.put_tasks(&[change])?.is_none() {
            return Err(conflict(OPERATION, id, "was saved meanwhile"));
        }
        self.lines.go_to(task.turns)?;
        let mut seq = 0;
        while seq < source.last_seq {
            let turns = self.page(id, seq, source.last_seq)?;
            seq += turns.len() as i64;
            rows.append_turns(&turns)?;
        }
        Ok(())
    }

    /// Reads the next turns, as many as are held at a time.
    fn page(&mut self, id: &TaskId, after: i64, through: i64) -> Result<Vec<ConversationTurn>> {
        let mut turns = Vec::new();
        let mut bytes = 0;
        for seq in after + 1..=through {
            let turn = self.turn(id, seq)?;
            bytes += turn.content.len();
            turns.push(turn);
            if bytes >= MAX_BYTES || turns.len() >= MAX_TURNS {
                break;
            }
        }
        Ok(turns)
    }

    fn find_repeated_key(&mut self, task: &Task) -> Result<Option<Error>> {
        let mut seqs: HashMap<MessageKey, i64> = HashMap::new();
        self.lines.go_to(task.turns)?;
        for seq in 1..=task.source.last_seq {
            let Some(key) = self.turn(&task.source.row.id, seq)?.message_key else {
                continue;
            };
            if let Some(seq) = seqs.insert(key.clone(), seq) {
                return Ok(Some(self.lines.fault(LineFault::RepeatedKey { key, seq })));
            }
        }
        Ok(None)
    }
}

fn is_open(revision: &SessionRevision) -> bool {
    revision.retired_at.is_none()
}

/// Reads a line that has to be there.
fn read(lines: &mut Lines<impl BufRead + Seek>) -> Result<Line<'static>> {
    let line = lines.next()?.map(Line::parse);
    match line {
        None => Err(lines.mark().truncated()),
        Some(line) => line.map_err(|fault| lines.fault(fault)),
    }
}
