//! Writes the store, as of one moment.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde_json::Serializer;
use turnkeep_model::{TaskId, VisibleJson};

use super::JsonlProgress;
use super::record::{EndRecord, Header, Record};
use crate::admin::copy::{Pages, Reads, Snapshot, Span, after_those_waited_for, refuse_damaged};
use crate::api::repo::Repo;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::store::Conn;

const OPERATION: &str = "export_jsonl";

/// As much of a line's buffer is kept for the next one.
const KEPT_BYTES: usize = 1024 * 1024;

fn call() -> Operation<'static> {
    Operation::on_store(OPERATION)
}

pub(super) fn export(
    repo: &Repo,
    out: impl Write,
    progress: impl FnMut(JsonlProgress),
) -> Result<JsonlProgress> {
    let begin = Cell::new(Some((out, progress)));
    let ended = repo.store.read_snapshot(call(), |conn| {
        // Behind what is written already it can't begin once more.
        let (out, progress) = begin.take().ok_or_else(lost)?;
        let moment = Moment {
            conn: RefCell::new(conn),
        };
        let mut text = Text {
            out: BufWriter::new(out),
            line: Vec::new(),
            tell: progress,
            done: JsonlProgress::default(),
        };
        match write_all(&moment, &mut text) {
            Ok(()) => Ok(Ok(text.done)),
            Err(Stop::Output(error)) => Ok(Err(error)),
            Err(Stop::Store(failure)) => Err(failure),
        }
    })?;
    ended.map_err(|error| {
        ErrorKind::Io
            .on(&Operation::on_named(OPERATION, "the text"))
            .with_source(error)
    })
}

fn lost() -> Error {
    ErrorKind::Unavailable
        .on(&call())
        .with_source("it was lost in the middle of what was read")
}

/// Why there is no more.
enum Stop {
    Store(QueryError),
    Output(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// A transaction that reads.
struct Moment<'c> {
    conn: RefCell<Conn<'c>>,
}

impl Reads for Moment<'_> {
    type Error = Stop;

    fn call(&self) -> Operation<'static> {
        call()
    }

    fn read<T>(&self, queries: impl Fn(Conn<'_>) -> Result<T, QueryError>) -> Result<T, Stop> {
        queries(self.conn.borrow_mut().reborrow()).map_err(Stop::Store)
    }
}

fn write_all<W: Write, F: FnMut(JsonlProgress)>(
    moment: &Moment<'_>,
    text: &mut Text<W, F>,
) -> Result<(), Stop> {
    text.line(&Header::new())?;
    let mut pairs = Vec::new();
    for ids in moment.pages_of_ids() {
        pairs.extend(moment.dependencies(&ids?)?);
    }
    let waiting: HashSet<&TaskId> = pairs.iter().map(|(task_id, _)| task_id).collect();
    for ids in moment.pages_of_ids() {
        let mut ids = ids?;
        ids.retain(|id| !waiting.contains(id));
        write_tasks(moment, text, &ids)?;
    }
    let order = after_those_waited_for(&pairs);
    if order.len() < waiting.len() {
        return Err(circle().into());
    }
    for id in order {
        write_tasks(moment, text, std::slice::from_ref(id))?;
    }
    text.end()?;
    Ok(())
}

fn circle() -> Error {
    ErrorKind::Corrupt
        .on(&call())
        .with_source("some of its tasks wait for each other in a circle")
}

/// Writes tasks with all that is under them.
fn write_tasks<W: Write, F: FnMut(JsonlProgress)>(
    moment: &Moment<'_>,
    text: &mut Text<W, F>,
    ids: &[TaskId],
) -> Result<(), Stop> {
    let tasks = moment.snapshots(ids)?;
    let spans = tasks.iter().map(|task| Span {
        task_id: task.row.id.clone(),
        after: 0,
        upto: task.last_seq,
    });
    let mut turns = Pages::new(moment, spans).turns();
    for task in &tasks {
        refuse_damaged(call(), task)?;
        text.task(task)?;
        // None is missing: that would be an error.
        for turn in turns.by_ref().take(task.last_seq as usize) {
            text.line(&Record::from(&turn?))?;
            text.done.turns += 1;
        }
        text.done.tasks += 1;
        (text.tell)(text.done);
    }
    Ok(())
}

/// The text that is written, and how far it is.
struct Text<W: Write, F> {
    out: BufWriter<W>,
    line: Vec<u8>,
    tell: F,
    done: JsonlProgress,
}

impl<W: Write, F> Text<W, F> {
    /// Writes the lines of a task but for its turns.
    fn task(&mut self, task: &Snapshot) -> io::Result<()> {
        self.line(&Record::from(task))?;
        for revision in &task.revisions {
            self.line(&Record::from(revision))?;
        }
        match &task.session {
            Some(session) => self.line(&Record::from(session)),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let JsonlProgress { tasks, turns, .. } = self.done;
        self.line(&Record::End(EndRecord { tasks, turns }))?;
        self.out.flush()
    }

    fn line(&mut self, record: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        self.line.shrink_to(KEPT_BYTES);
        record.serialize(&mut Serializer::with_formatter(&mut self.line, VisibleJson))?;
        self.line.push(b'\n');
        self.done.bytes += self.line.len() as u64;
        self.out.write_all(&self.line)
    }
}
