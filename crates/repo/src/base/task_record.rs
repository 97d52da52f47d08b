//! Whole tasks, as they are read and written in bulk.

#![expect(
    clippy::exhaustive_structs,
    reason = "hidden: only turnkeep-admin makes and reads them"
)]

use turnkeep_model::{RecordingFile, Retraction, Seq, Session, SessionRevision, TaskId, TaskRow};

use crate::base::chunk::Chunk;
use crate::base::error::Error;

/// Numbers of rows of the first tables of [`turnkeep_schema::TABLES`], in their order.
pub type RowCounts = [u64; 9];

/// A task with all that a store keeps of it except its turns, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// The row of the task.
    pub row: TaskRow,
    /// The tasks it waits for, in order of their ids.
    pub depends_on: Vec<TaskId>,
    /// The current binding.
    pub session: Option<Session>,
    /// The session revisions, in order of their numbers.
    pub revisions: Vec<SessionRevision>,
    /// The retractions, in order of their numbers.
    pub retractions: Vec<Retraction>,
    /// The seq of the last turn, which is the number of turns as well.
    pub last_seq: i64,
}

impl TaskRecord {
    /// Returns a fault of the session revisions that the library would not have written, in words.
    pub fn revision_fault(&self) -> Option<String> {
        let mut before = None;
        for (number, it) in (1..).zip(&self.revisions) {
            if it.revision != number {
                return Some(format!("session revision {number} is missing"));
            }
            if let Some(fault) = begin_fault(it, before, self.last_seq) {
                return Some(format!("session revision {number} {fault}"));
            }
            before = Some(it);
        }
        None
    }

    /// Returns a fault of the retractions that the library would not have written, in words.
    pub fn retraction_fault(&self) -> Option<String> {
        let mut through_seq = Seq::MIN;
        for (number, it) in (1..).zip(&self.retractions) {
            if it.number != number {
                return Some(format!("retraction {number} is missing"));
            }
            if it.through_seq.get() > self.last_seq {
                let last_seq = self.last_seq;
                return Some(format!(
                    "retraction {number} goes beyond the last turn, {last_seq}"
                ));
            }
            if it.through_seq < through_seq {
                return Some(format!("retraction {number} ends before an earlier one"));
            }
            through_seq = it.through_seq;
        }
        None
    }
}

/// Returns why the turns can't have been said after a revision was saved, a predicate of the revision.
#[must_use]
pub fn begin_fault(
    revision: &SessionRevision,
    before: Option<&SessionRevision>,
    last_seq: i64,
) -> Option<String> {
    let first_seq = revision.first_seq;
    if first_seq.get() - 1 > last_seq {
        return Some(format!(
            "begins with turn {first_seq}, but there are {last_seq} turns"
        ));
    }
    let is_before = before.is_some_and(|before| first_seq < before.first_seq);
    is_before.then(|| "begins before an earlier one".into())
}

/// Whether a session is the one of this revision.
#[must_use]
pub fn is_on_record(session: &Session, revision: &SessionRevision) -> bool {
    revision.backend_type == session.backend_type
        && revision.session_id == session.session_id
        && revision.working_dir == session.working_dir
        && revision.config_dir == session.config_dir
        && revision.metadata == session.metadata
        && revision.saved_at == session.updated_at
}

/// A task as it is to be, and as it was when the caller read it.
#[derive(Debug, Clone, Copy)]
pub struct TaskChange<'a> {
    /// The new state. Its turns and retractions are not written.
    pub new: &'a TaskRecord,
    /// The state that the caller read. `None` if there was no such task.
    pub old: Option<&'a TaskRecord>,
}

/// Chunks to write to a recording.
#[expect(missing_debug_implementations, reason = "contents never show")]
pub struct RecordingChange {
    /// The recording as it is to be.
    pub file: RecordingFile,
    /// The bytes that it has. `None` if it is not stored.
    pub length: Option<u64>,
    /// The chunks from this offset on are replaced.
    pub from: u64,
    /// The chunks from there on, in order.
    pub chunks: Vec<Chunk>,
}

/// The turns of a task whose seq is above `after` and at most `through`.
#[derive(Debug, Clone)]
pub struct TurnSpan {
    /// The task.
    pub task_id: TaskId,
    /// The seq before the first turn.
    pub after: i64,
    /// The seq of the last turn.
    pub through: i64,
}

/// A turn that cannot be read, or whose checksum is wrong.
#[derive(Debug)]
pub(crate) struct DamagedTurn {
    /// The task.
    pub(crate) task_id: TaskId,
    /// The seq of the turn.
    pub(crate) seq: i64,
    /// The error that names it.
    pub(crate) error: Error,
}
