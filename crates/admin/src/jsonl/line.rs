//! The lines of an export. Reading and writing share the types.

use std::borrow::Cow;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use turnkeep_model::{
    ConversationTurn, MAX_TEXT_BYTES, RecordingFile, RecordingNumber, RemovedSession, Retraction,
    Seq, Session, SessionRevision, TaskId, TaskRow, VisibleJson, visible,
};
use turnkeep_repo::bulk::{Chunk, TaskRecord};

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

    /// Checks the first line. A reason is a predicate of the line, here and below.
    pub(crate) fn check(line: &[u8]) -> Result<(), String> {
        match serde_json::from_slice::<Header<'_>>(line) {
            Ok(header) if header.format == FORMAT => match header.version {
                VERSION => Ok(()),
                version => Err(format!(
                    "says version {version}, which this program does not know"
                )),
            },
            _ => Err("is not the first line of an export".into()),
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
    Retraction(Cow<'a, Retraction>),
    Turn(Cow<'a, ConversationTurn>),
    Recording(Cow<'a, RecordingFile>),
    RecordingChunk(ChunkLine<'a>),
    RemovedSession(Cow<'a, RemovedSession>),
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
    /// How many retractions follow.
    pub(crate) retractions: u64,
    /// How many turns follow.
    turns: i64,
    /// How many recordings follow.
    pub(crate) recordings: u64,
}

/// Bytes of a recording, verbatim.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChunkLine<'a> {
    pub(crate) task_id: Cow<'a, TaskId>,
    pub(crate) number: RecordingNumber,
    offset: i64,
    length: i64,
    checksum: i64,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    data: Vec<u8>,
}

impl<'a> ChunkLine<'a> {
    pub(crate) fn new(file: &'a RecordingFile, chunk: Chunk) -> Self {
        Self {
            task_id: Cow::Borrowed(&file.task_id),
            number: file.number,
            offset: chunk.offset,
            length: chunk.length,
            checksum: chunk.checksum,
            data: chunk.data,
        }
    }

    pub(crate) fn into_chunk(self) -> Chunk {
        Chunk {
            offset: self.offset,
            length: self.length,
            checksum: self.checksum,
            data: self.data,
        }
    }
}

fn to_base64<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(data))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<'_, str>::deserialize(deserializer)?;
    let invalid = |_| serde::de::Error::custom("invalid data: is no base64");
    STANDARD.decode(&*text).map_err(invalid)
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndLine {
    pub(crate) tasks: u64,
    pub(crate) turns: u64,
    pub(crate) removed_sessions: u64,
}

impl<'a> Line<'a> {
    /// The line of a task with its number of recordings.
    pub(crate) fn of_task(task: &'a TaskRecord, recordings: usize) -> Self {
        Self::Task(Box::new(TaskLine {
            row: Cow::Borrowed(&task.row),
            depends_on: Cow::Borrowed(&task.depends_on),
            revisions: task.revisions.len() as u64,
            retractions: task.retractions.len() as u64,
            turns: task.last_seq,
            recordings: recordings as u64,
        }))
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
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let line = serde_json::from_slice(line).map_err(|error| in_words(&error))?;
        match &line {
            Self::Task(task) => task.check()?,
            Self::Revision(revision) => {
                if revision.retired_at.is_some() != revision.retired_reason.is_some() {
                    return invalid(
                        "retirement",
                        "has a time without a reason, or a reason without one",
                    );
                }
                check_texts([("reason", revision.retired_reason.as_deref())])?;
            }
            Self::Retraction(it) => {
                if !(0..it.through_seq.get()).contains(&it.after_seq) {
                    return invalid("retraction", "hides no turn");
                }
            }
            Self::Turn(turn) => check_texts([("content", Some(&*turn.content))])?,
            Self::Session(_)
            | Self::Recording(_)
            | Self::RecordingChunk(_)
            | Self::RemovedSession(_)
            | Self::End(_) => {}
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
            Self::Retraction(it) => format!("retraction {} of {}", it.number, of(&it.task_id)),
            Self::Turn(turn) => format!("turn {} of {}", turn.seq, of(&turn.task_id)),
            Self::Recording(it) => format!("recording {} of {}", it.number, of(&it.task_id)),
            Self::RecordingChunk(it) => format!(
                "byte {} of recording {} of {}",
                it.offset,
                it.number,
                of(&it.task_id)
            ),
            Self::RemovedSession(it) => format!("the removed session of {}", of(&it.task_id)),
            Self::End(end) => format!("the end of {} tasks and {} turns", end.tasks, end.turns),
        }
    }
}

impl TaskLine<'static> {
    /// Checks what no type checks.
    fn check(&self) -> Result<(), String> {
        let row = &self.row;
        let is_leased = row.worker.is_some();
        if row.lease_ends_at.is_some() != is_leased || row.lease_length.is_some() != is_leased {
            let reason = "has only some of a worker, an end and a length";
            return invalid("lease", reason);
        }
        if !(0..=Seq::MAX.get()).contains(&self.turns) {
            let reason = format!("{} is outside 0 to {}", self.turns, Seq::MAX);
            return invalid("number of turns", reason);
        }
        if !self.depends_on.is_sorted_by(|a, b| a < b) {
            let reason = "is not in order of the ids, each of them once";
            return invalid("depends_on", reason);
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
            retractions: Vec::new(),
            last_seq: self.turns,
        }
    }
}

fn check_texts<'t>(
    texts: impl IntoIterator<Item = (&'static str, Option<&'t str>)>,
) -> Result<(), String> {
    for (field, text) in texts {
        let length = text.map_or(0, str::len);
        if length > MAX_TEXT_BYTES {
            let reason = format!("is {length} bytes long, at most {MAX_TEXT_BYTES} are allowed");
            return invalid(field, reason);
        }
    }
    Ok(())
}

fn invalid<T>(field: &str, reason: impl Display) -> Result<T, String> {
    Err(format!("has an invalid {field}: {reason}"))
}

/// The words after "invalid" in serde's own errors.
const OF_SERDE: [&str; 3] = ["type", "value", "length"];

/// Keeps only the expected type from serde's text, because the rest may repeat the text of a conversation.
fn in_words(error: &serde_json::Error) -> String {
    let column = error.column();
    if !error.is_data() {
        return format!("is no JSON, at byte {column}");
    }
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    // A value that its type refuses. serde's texts name Rust's types.
    let refused = text
        .strip_prefix("invalid ")
        .filter(|value| !OF_SERDE.iter().any(|of_serde| value.starts_with(of_serde)));
    if let Some(value) = refused {
        return format!("has an invalid {value}");
    }
    let is_ours = ["missing field", "duplicate field"];
    let reason = match text.rsplit_once(", expected ") {
        _ if is_ours.iter().any(|begin| text.starts_with(begin)) => text.to_owned(),
        Some((before, expected)) if before.starts_with("unknown") => {
            format!("unknown, expected {expected}")
        }
        Some((_, expected)) => format!("expected {expected}"),
        None => "not what was expected".to_owned(),
    };
    format!("is no record, at byte {column}: {reason}")
}
