//! Reads the text, task by task.

use std::collections::HashMap;
use std::io::{BufRead, Seek};
use std::slice;

use diesel::result::Error as DieselError;
use turnkeep_model::{ConversationTurn, MessageKey, Session, SessionRevision, TaskId, visible};

use super::JsonlProgress;
use super::fault::LineFault;
use super::lines::{Lines, Mark};
use super::record::{EndRecord, Header, Line};
use crate::admin::copy::{
    Pages, Reads as _, Seen, Side, Snapshot, Span, conflict, is_passing, plan,
};
use crate::api::repo::Repo;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::{Operation, StoreRole};
use crate::base::query_error::QueryError;
use crate::store::{Conn, query};

pub(super) const OPERATION: &str = "import_jsonl";

/// How often a task is looked at again because others write to it, if nothing comes of it.
const MOST_RETRIES: u32 = 10;

/// How much is held in memory at a time: whichever comes first.
const MOST_TURNS: usize = 1_000;
const MOST_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn import(
    repo: &Repo,
    input: impl BufRead + Seek,
    progress: impl FnMut(JsonlProgress),
) -> Result<JsonlProgress> {
    let side = Side {
        repo,
        operation: OPERATION,
        place: StoreRole::Destination,
    };
    let mut import = Import {
        side,
        lines: Lines::new(input)?,
        tell: progress,
        done: JsonlProgress::default(),
        read: EndRecord::default(),
    };
    import.run()?;
    Ok(import.done)
}

/// An import on its way.
struct Import<'r, R, F> {
    side: Side<'r>,
    lines: Lines<R>,
    tell: F,
    done: JsonlProgress,
    read: EndRecord,
}

/// A task of the text, all its lines checked.
struct Task {
    source: Snapshot,
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
                Line::Task(task, revisions) => {
                    let task = self.check_task(*task, revisions)?;
                    self.bring_over(&task)?;
                    self.lines.go_to(task.end)?;
                    self.done.bytes = self.lines.bytes();
                    (self.tell)(self.done);
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
    fn check_task(&mut self, mut source: Snapshot, revisions: u64) -> Result<Task> {
        let begin = self.lines.mark();
        let id = source.row.id.clone();
        for number in 1..=revisions {
            let revision = self.revision(&id, number)?;
            if source.revisions.last().is_some_and(is_open) {
                return Err(self.lines.fault(LineFault::InvalidValue {
                    field: "revision",
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
                Ok(revision)
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
            true => Ok(session),
            false => Err(self.lines.fault(LineFault::InvalidValue {
                field: "session",
                reason: "is not the one on record as the current one".into(),
            })),
        }
    }

    fn turn(&mut self, id: &TaskId, seq: i64) -> Result<ConversationTurn> {
        match read(&mut self.lines)? {
            Line::Turn(turn) if turn.task_id == *id && turn.seq == seq => Ok(turn),
            found => Err(self.out_of_place(
                format!("turn {seq} of task `{}`", visible(id.as_str())),
                &found,
            )),
        }
    }

    fn out_of_place(&self, expected: String, found: &Line) -> Error {
        let found = found.in_words();
        self.lines.fault(LineFault::OutOfPlace { expected, found })
    }

    /// Stores a task, or finds it stored. Looks again when others do the same meanwhile.
    fn bring_over(&mut self, task: &Task) -> Result<()> {
        let id = slice::from_ref(&task.source.row.id);
        let mut retries = MOST_RETRIES;
        loop {
            if let Some(stored) = self.side.snapshots(id)?.pop() {
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
                Err(error) if retries > 0 && is_passing(&error) => retries -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Refuses a task that is not the same in the store.
    fn compare(&mut self, task: &Task, stored: &Snapshot) -> Result<()> {
        let source = &task.source;
        let call = self.side.call();
        if stored != source {
            plan(call, source, Some(stored))?;
            let reason = "differs from the one at the destination, which may be an earlier one";
            return Err(conflict(call, &source.row.id, reason));
        }
        let side = self.side;
        let span = Span {
            task_id: source.row.id.clone(),
            after: 0,
            upto: source.last_seq,
        };
        self.lines.go_to(task.turns)?;
        for stored in Pages::new(&side, [span]).turns() {
            let stored = stored?;
            if self.turn(&source.row.id, stored.seq)? != stored {
                let reason = format!("has another turn {} at the destination", stored.seq);
                return Err(conflict(call, &source.row.id, reason));
            }
        }
        Ok(())
    }

    /// Stores a task that the store has not, in one transaction.
    fn insert(&mut self, task: &Task) -> Result<()> {
        let side = self.side;
        side.repo
            .store
            .write_beside(side.call(), |conn| self.insert_on(conn, task))
    }

    fn insert_on(&mut self, mut conn: Conn<'_>, task: &Task) -> Result<(), QueryError> {
        let call = self.side.call();
        let source = &task.source;
        let id = &source.row.id;
        if query!(conn.reborrow(), copy::is_task(id))? {
            return Err(conflict(call, id, "was saved meanwhile").into());
        }
        for depends_on in &source.depends_on {
            if !query!(conn.reborrow(), copy::is_task(depends_on))? {
                let depends_on = depends_on.clone();
                return Err(task
                    .begin
                    .fault(LineFault::UnknownTask { depends_on })
                    .into());
            }
        }
        let seen = [Seen {
            source: source.clone(),
            differs: true,
            last_seq: 0,
        }];
        query!(conn.reborrow(), copy::take_over_tasks(call, &seen))?;
        let pairs: Vec<_> = source
            .depends_on
            .iter()
            .map(|other| (id.clone(), other.clone()))
            .collect();
        query!(conn.reborrow(), copy::take_over_dependencies(call, &pairs))?;
        self.lines.go_to(task.turns)?;
        let mut seq = 0;
        while seq < source.last_seq {
            let turns = self.page(id, seq, source.last_seq)?;
            seq += turns.len() as i64;
            let taken = query!(conn.reborrow(), append::append_verbatim(call, &turns));
            taken.map_err(|failure| self.in_words(task, failure))?;
        }
        Ok(())
    }

    /// Reads the next turns, as many as are held at a time.
    fn page(&mut self, id: &TaskId, after: i64, upto: i64) -> Result<Vec<ConversationTurn>> {
        let mut turns = Vec::new();
        let mut bytes = 0;
        for seq in after + 1..=upto {
            let turn = self.turn(id, seq)?;
            bytes += turn.content.len();
            turns.push(turn);
            if bytes >= MOST_BYTES || turns.len() >= MOST_TURNS {
                break;
            }
        }
        Ok(turns)
    }

    /// Says what it was that the database refused, if it was a key that is there twice. (Which is
    /// not looked for before: all keys of the task have to be held for that.)
    fn in_words(&mut self, task: &Task, failure: QueryError) -> QueryError {
        if !matches!(
            failure,
            QueryError::Database(DieselError::DatabaseError(..))
        ) {
            return failure;
        }
        match self.find_repeated_key(task) {
            Ok(None) => failure,
            Ok(Some(found)) | Err(found) => found.into(),
        }
    }

    fn find_repeated_key(&mut self, task: &Task) -> Result<Option<Error>> {
        let task_id = &task.source.row.id;
        let mut seqs: HashMap<MessageKey, i64> = HashMap::new();
        self.lines.go_to(task.turns)?;
        for seq in 1..=task.source.last_seq {
            let Some(key) = self.turn(task_id, seq)?.message_key else {
                continue;
            };
            if let Some(seq) = seqs.insert(key.clone(), seq) {
                return Ok(Some(
                    ErrorKind::KeyConflict { key, seq }.on(&Operation::on_task(OPERATION, task_id)),
                ));
            }
        }
        Ok(None)
    }
}

fn is_open(revision: &SessionRevision) -> bool {
    revision.retired_at.is_none()
}

/// Reads a line that has to be there.
fn read(lines: &mut Lines<impl BufRead + Seek>) -> Result<Line> {
    let line = lines.next()?.map(Line::parse);
    match line {
        None => Err(lines.mark().truncated()),
        Some(line) => line.map_err(|fault| lines.fault(fault)),
    }
}
