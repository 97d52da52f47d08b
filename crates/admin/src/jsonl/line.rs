//! The lines of an export. Reading and writing share the types.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use turnkeep_model::{
    ConversationTurn, Counter, InvalidValue, LeaseLength, MAX_TEXT_BYTES, Session, SessionRevision,
    TaskId, TaskRow, UtcMicros, VisibleJson, visible,
};
use turnkeep_repo::bulk::TaskRecord;

use super::fault::LineFault;

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;

const FORMAT: &str = "turnkeep";

/// The first line.
#[derive(Serialize, Deserialize)]
pub(crate) struct Header<'a> {
    format: Cow<'a, str>,
    version: u64,
}

impl Header<'_> {
    pub(crate) fn new() -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
        }
    }

    /// Reads the first line of an export of any version.
    pub(crate) fn check(line: &[u8]) -> Result<(), LineFault> {
        match serde_json::from_slice::<Header<'_>>(line) {
            Ok(header) if header.format == FORMAT => match header.version {
                VERSION => Ok(()),
                version => Err(LineFault::UnknownVersion { version }),
            },
            _ => Err(LineFault::NotAnExport),
        }
    }
}

/// Any other line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line<'a> {
    Task(Box<TaskLine<'a>>),
    Revision(Cow<'a, SessionRevision>),
    Session(Cow<'a, Session>),
    Turn(Cow<'a, ConversationTurn>),
    End(EndLine),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskLine<'a> {
    #[serde(flatten)]
    row: Cow<'a, TaskRow>,
    depends_on: Cow<'a, [TaskId]>,
    /// How many revisions follow.
    pub(crate) revisions: u64,
    /// How many turns follow.
    turns: i64,
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndLine {
    pub(crate) tasks: u64,
    pub(crate) turns: u64,
}

impl<'a> From<&'a TaskRecord> for Line<'a> {
    fn from(task: &'a TaskRecord) -> Self {
        Self::Task(Box::new(TaskLine {
            row: Cow::Borrowed(&task.row),
            depends_on: Cow::Borrowed(&task.depends_on),
            revisions: task.revisions.len() as u64,
            turns: task.last_seq,
        }))
    }
}

impl<'a> From<&'a SessionRevision> for Line<'a> {
    fn from(revision: &'a SessionRevision) -> Self {
        Self::Revision(Cow::Borrowed(revision))
    }
}

impl<'a> From<&'a Session> for Line<'a> {
    fn from(session: &'a Session) -> Self {
        Self::Session(Cow::Borrowed(session))
    }
}

impl<'a> From<&'a ConversationTurn> for Line<'a> {
    fn from(turn: &'a ConversationTurn) -> Self {
        Self::Turn(Cow::Borrowed(turn))
    }
}

/// Makes `line` the line of a record, with its line break.
pub(crate) fn write_line(line: &mut Vec<u8>, record: &impl Serialize) {
    line.clear();
    let mut serializer = serde_json::Serializer::with_formatter(&mut *line, VisibleJson);
    // Memory takes any text, and no record has a map with keys of another type.
    let written = record.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    line.push(b'\n');
}

impl Line<'static> {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, LineFault> {
        let mut line = serde_json::from_slice(line)?;
        match &mut line {
            Line::Task(task) => task.check()?,
            Line::Revision(revision) => {
                Counter::new("revision", revision.revision)?;
                if revision.retired_at.is_some() != revision.retired_reason.is_some() {
                    return Err(invalid(
                        "retirement",
                        "has a time without a reason, or a reason without one",
                    ));
                }
                check_texts([("reason", revision.retired_reason.as_deref())])?;
            }
            Line::Turn(turn) => {
                Counter::new("seq", turn.seq)?;
                check_texts([("content", Some(&*turn.content))])?;
            }
            Line::Session(_) | Line::End(_) => {}
        }
        Ok(line)
    }

    /// Returns the line in words.
    pub(crate) fn in_words(&self) -> String {
        let of = |id: &TaskId| format!("task `{}`", visible(id.as_str()));
        match self {
            Self::Task(task) => of(&task.row.id),
            Self::Revision(it) => format!("revision {} of {}", it.revision, of(&it.task_id)),
            Self::Session(session) => format!("the session of {}", of(&session.task_id)),
            Self::Turn(turn) => format!("turn {} of {}", turn.seq, of(&turn.task_id)),
            Self::End(end) => format!("the end of {} tasks and {} turns", end.tasks, end.turns),
        }
    }
}

impl TaskLine<'static> {
    /// Checks what no type checks, and fills in the fields that an earlier program did not write.
    fn check(&mut self) -> Result<(), LineFault> {
        let row = self.row.to_mut();
        if row.worker.is_some() != row.lease_ends_at.is_some() {
            return Err(invalid(
                "lease",
                "has a worker without an end, or an end without one",
            ));
        }
        match (&row.worker, row.lease_length) {
            (None, Some(_)) => return Err(invalid("lease", "has a length without a worker")),
            // Its worker loses nothing by it, and a wrong clock holds the task no longer than a day.
            (Some(_), None) => row.lease_length = Some(LeaseLength::MAX),
            _ => {}
        }
        if UtcMicros::new(row.status_changed_at).is_err() {
            row.status_changed_at = row.updated_at;
        }
        Counter::new("fence", row.fence)?;
        Counter::new("number of turns", self.turns)?;
        if !self.depends_on.is_sorted_by(|a, b| a < b) {
            return Err(invalid(
                "depends_on",
                "is not in order of the ids, each of them once",
            ));
        }
        let files = row.writes_files.iter();
        check_texts(files.map(|file| ("file name", Some(&**file))))?;
        check_texts([
            ("name", Some(&*row.name)),
            ("agent role", row.agent_role.as_deref()),
            ("prompt", Some(&*row.prompt)),
            ("result", row.result.as_deref()),
            ("error", row.error.as_deref()),
        ])
    }

    /// Returns the task without its revisions and session.
    pub(crate) fn into_task(self) -> TaskRecord {
        TaskRecord {
            row: self.row.into_owned(),
            depends_on: self.depends_on.into_owned(),
            session: None,
            revisions: Vec::new(),
            last_seq: self.turns,
        }
    }
}

fn check_texts<'t>(
    texts: impl IntoIterator<Item = (&'static str, Option<&'t str>)>,
) -> Result<(), LineFault> {
    for (field, text) in texts {
        let length = text.map_or(0, str::len);
        if length > MAX_TEXT_BYTES {
            let reason = format!("is {length} bytes long, at most {MAX_TEXT_BYTES} are allowed");
            return Err(invalid(field, &reason));
        }
    }
    Ok(())
}

fn invalid(field: &'static str, reason: &str) -> LineFault {
    LineFault::from(InvalidValue {
        field,
        reason: reason.into(),
    })
}
