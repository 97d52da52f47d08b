//! Writing the store as text, as of one moment.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{BufWriter, Write};

use serde::Serialize;
use turnkeep_model::TaskId;
use turnkeep_repo::Repo;

use super::JsonlProgress;
use super::line::{EndLine, Header, Line, write_line};
use crate::error::{Error, Result};
use crate::read::{Reader as _, Snapshot, TurnPages, for_each_in_order, refuse_damaged};

const OPERATION: &str = "export_jsonl";

/// The buffer of a line keeps this size for the next one.
const KEPT_BYTES: usize = 1024 * 1024;

pub(super) fn export(
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
        let JsonlProgress { tasks, turns, .. } = text.done;
        text.line(&Line::End(EndLine { tasks, turns }))?;
        text.out.flush().map_err(failed)?;
        Ok(text.done)
    })
}

/// Writes tasks with their revisions, sessions and turns.
fn write_tasks<W: Write>(
    snapshot: &Snapshot<'_, '_>,
    text: &mut Text<W>,
    mut ids: &[TaskId],
    progress: &mut impl FnMut(JsonlProgress),
) -> Result<()> {
    while !ids.is_empty() {
        let (count, tasks) = snapshot.read(|rows| rows.tasks(ids))?;
        ids = &ids[count..];
        let mut turns = TurnPages::of(snapshot, &tasks).turns();
        for task in &tasks {
            refuse_damaged(&snapshot.bulk, task)?;
            text.line(&Line::from(task))?;
            for revision in &task.revisions {
                text.line(&Line::Revision(Cow::Borrowed(revision)))?;
            }
            if let Some(session) = &task.session {
                text.line(&Line::Session(Cow::Borrowed(session)))?;
            }
            for turn in turns.by_ref().take(task.last_seq as usize) {
                text.line(&Line::Turn(Cow::Owned(turn?)))?;
                text.done.turns += 1;
            }
            text.done.tasks += 1;
            progress(text.done);
        }
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
