use std::fmt;

use turnkeep_model::{InvalidValue, MessageKey, TaskId, visible};

/// The fault of a line of an export. Its texts are never part of the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineFault {
    /// It is no JSON: damaged, not UTF-8, a control character that is not escaped, an escape that
    /// stands for no character.
    NotJson {
        /// The byte of the line where that shows, from 1; 0 where it is not known.
        column: usize,
    },
    /// The text ends in this line or before it, and not with the line `end`.
    Truncated,
    /// It is longer than 2 GiB, which no line of an export is.
    TooLong,
    /// The first line is not an export's header.
    NotAnExport,
    /// The text is of a version that this program does not know.
    UnknownVersion {
        /// The version.
        version: u64,
    },
    /// It is JSON, but no record of this version: a field is unknown, missing, there twice, or has a
    /// value of another type.
    NotARecord {
        /// The expected content, if known.
        reason: String,
        /// The byte of the line where that shows, from 1; 0 where it is not known.
        column: usize,
    },
    /// It has a value that no store accepts.
    InvalidValue {
        /// Which value.
        field: String,
        /// Why it was refused.
        reason: String,
    },
    /// It is not what has to follow: a turn or revision is missing or there twice, belongs to another
    /// task, or there are more or fewer than the task says.
    OutOfPlace {
        /// The expected kind of line.
        expected: String,
        /// The actual kind of line.
        found: String,
    },
    /// Two turns of the task have the same message key. This is the line of the second.
    RepeatedKey {
        /// The key.
        key: MessageKey,
        /// The seq of the first turn that has it.
        seq: i64,
    },
    /// The task waits for one that is neither in the store nor before it in the text.
    UnknownTask {
        /// The task that is missing.
        depends_on: TaskId,
    },
}

/// A predicate: "line 3 ends in the middle".
impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { column } => write!(f, "is no JSON, at byte {column}"),
            Self::Truncated => f.write_str("is cut off, the text has no end"),
            Self::TooLong => f.write_str("is longer than 2 GiB"),
            Self::NotAnExport => f.write_str("is not the first line of an export"),
            Self::UnknownVersion { version } => {
                write!(
                    f,
                    "says version {version}, which this program does not know"
                )
            }
            Self::NotARecord { reason, column } => {
                write!(f, "is no record, at byte {column}: {reason}")
            }
            Self::InvalidValue { field, reason } => write!(f, "has an invalid {field}: {reason}"),
            Self::OutOfPlace { expected, found } => {
                write!(f, "is out of place: {expected} has to be here, not {found}")
            }
            Self::RepeatedKey { key, seq } => write!(
                f,
                "has the message key `{}`, which turn {seq} has already",
                visible(key.as_str())
            ),
            Self::UnknownTask { depends_on } => write!(
                f,
                "waits for task `{}`, which is neither before it nor in the store",
                visible(depends_on.as_str())
            ),
        }
    }
}

impl From<InvalidValue> for LineFault {
    fn from(value: InvalidValue) -> Self {
        Self::InvalidValue {
            field: value.field.into(),
            reason: value.reason,
        }
    }
}

/// The words after "invalid" in serde's own errors.
const OF_SERDE: [&str; 3] = ["type", "value", "length"];

impl From<serde_json::Error> for LineFault {
    /// Keeps only the expected type from serde's text, because the rest may repeat the text of a conversation.
    fn from(error: serde_json::Error) -> Self {
        let column = error.column();
        if !error.is_data() {
            return Self::NotJson { column };
        }
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        // A value that its type refuses. serde's texts name Rust's types.
        let refused = text
            .strip_prefix("invalid ")
            .and_then(|it| it.split_once(": "));
        if let Some((field, reason)) = refused.filter(|(it, _)| !OF_SERDE.contains(it)) {
            return Self::InvalidValue {
                field: field.into(),
                reason: reason.into(),
            };
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
        Self::NotARecord { reason, column }
    }
}
