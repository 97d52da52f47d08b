//! The feature `serde`: rows as the JSONL format of `docs/jsonl.md` has them, and inputs in the same manner. Reading
//! checks whatever the constructors check.

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::{
    BackendType, ConfigDir, FailureMode, HostName, InvalidValue, LeaseLength, MessageKey, Metadata,
    RecordingName, Role, SessionId, TaskId, TaskStatus, UtcMicros, WorkerId, WorkingDir,
};

/// Writes a value as its text and reads it with [`FromStr`](std::str::FromStr).
macro_rules! as_text {
    ($($name:ty),+) => {
        $(
            impl serde::Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(self.as_str())
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(D::Error::custom)
                }
            }
        )+
    };
}

as_text!(
    TaskId,
    SessionId,
    MessageKey,
    WorkerId,
    RecordingName,
    HostName,
    WorkingDir,
    ConfigDir,
    Metadata,
    BackendType,
    Role,
    TaskStatus,
    FailureMode
);

/// A lease is its number of microseconds.
impl serde::Serialize for LeaseLength {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.as_micros())
    }
}

impl<'de> Deserialize<'de> for LeaseLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_micros(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn time(micros: i64) -> Result<DateTime<Utc>, InvalidValue> {
    let time = DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| InvalidValue::new("time", "is outside the years 0 to 9999"))?;
    UtcMicros::new(time).map(DateTime::from)
}

/// Times in microseconds since 1970.
pub(crate) mod micros {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        time: &DateTime<Utc>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.timestamp_micros())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DateTime<Utc>, D::Error> {
        time(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The same for a time that may be null. The field may not be missing.
pub(crate) mod optional_micros {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(&time.map(|time| time.timestamp_micros()), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        let micros = Option::deserialize(deserializer)?;
        micros.map(time).transpose().map_err(D::Error::custom)
    }
}

/// Two times that may be null.
pub(crate) mod optional_span {
    use super::*;

    type Span = Option<(DateTime<Utc>, DateTime<Utc>)>;

    pub(crate) fn serialize<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = span.map(|(start, end)| (start.timestamp_micros(), end.timestamp_micros()));
        serde::Serialize::serialize(&micros, serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Span, D::Error> {
        let micros: Option<(i64, i64)> = Option::deserialize(deserializer)?;
        let span = micros.map(|(start, end)| Ok((time(start)?, time(end)?)));
        span.transpose()
            .map_err(|error: InvalidValue| D::Error::custom(error))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        ConversationTurn, Fence, NewMessage, NewSession, NewTask, RecordingFile, Revision, Seq,
        Session, StatusUpdate, Task,
    };

    fn back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Value {
        let json = serde_json::to_value(value).unwrap();
        assert_eq!(serde_json::from_value::<T>(json.clone()).unwrap(), *value);
        json
    }

    fn refused<T: DeserializeOwned + Debug>(mut json: Value, field: &str, value: Value) {
        json[field] = value;
        let error = serde_json::from_value::<T>(json).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    fn stored_task() -> Value {
        json!({
            "id": "t", "name": "T", "agent_role": null, "prompt": "p", "writes_files": ["f"],
            "status": "running", "failure_mode": "soft", "not_before": 1, "metadata": "{\"a\":1}",
            "result": null, "error": null, "worker": "w", "fence": 7, "lease_ends_at": 5,
            "lease_length": 3, "created_at": 1, "updated_at": 2, "status_changed_at": 3,
            "depends_on": ["a", "b"],
        })
    }

    #[test]
    fn values_come_back_as_they_were() {
        let time = DateTime::from_timestamp_micros(1_234_567).unwrap();
        let metadata = Metadata::new("{\"b\" : 1.50}").unwrap();
        let task = NewTask::new(TaskId::new("t").unwrap(), "T")
            .not_before(time)
            .metadata(metadata.clone());
        assert_eq!(back(&task)["not_before"], 1_234_567);
        let mut recorded = task;
        recorded.recorded = Some((time, time));
        assert_eq!(back(&recorded)["metadata"], "{\"b\" : 1.50}");
        let binding = NewSession::new(BackendType::Claude, SessionId::new("s").unwrap());
        back(&Session::new(
            TaskId::new("t").unwrap(),
            binding.clone(),
            time,
            time,
        ));
        back(&binding.metadata(metadata));
        back(&StatusUpdate::failed("red"));
        back(&NewMessage::new(Role::User, "Hello").timestamp(time));
        assert_eq!(
            back(&[Seq::MIN, Seq::MAX]),
            json!([1, 9_007_199_254_740_991_i64])
        );
        assert_eq!(
            (back(&Fence::MIN), back(&Revision::MIN)),
            (json!(0), json!(1))
        );
        let stored: Task = serde_json::from_value(stored_task()).unwrap();
        assert_eq!(back(&stored), stored_task());
    }

    #[test]
    fn an_input_has_the_defaults_of_its_constructor() {
        let task: NewTask = serde_json::from_str(r#"{"id": "t", "name": "T"}"#).unwrap();
        assert_eq!(task, NewTask::new(TaskId::new("t").unwrap(), "T"));
        let message: NewMessage<'_> =
            serde_json::from_str(r#"{"role": "user", "content": "x"}"#).unwrap();
        assert_eq!(message, NewMessage::new(Role::User, "x"));
    }

    #[test]
    fn a_value_that_a_constructor_refuses_is_refused() {
        let task = stored_task();
        for (field, value) in [
            ("id", json!("")),
            ("id", json!("i".repeat(513))),
            ("status", json!("secret")),
            ("fence", json!(-1)),
            ("fence", json!(9_007_199_254_740_992_i64)),
            ("fence", json!("7")),
            ("fence", json!(1.5)),
            ("lease_length", json!(0)),
            ("created_at", json!(i64::MAX)),
            ("not_before", json!(i64::MIN)),
            ("metadata", json!({ "a": 1 })),
            ("metadata", json!("[\"secret\"]")),
            ("worker", json!("a\0b")),
            ("more", json!(1)),
        ] {
            refused::<Task>(task.clone(), field, value);
        }
        let mut incomplete = task;
        incomplete.as_object_mut().unwrap().remove("worker");
        assert!(serde_json::from_value::<Task>(incomplete).is_err());
        let turn = json!({
            "task_id": "t", "seq": 1, "role": "user", "content": "secret", "timestamp": 1,
            "message_key": null, "metadata": null,
        });
        assert!(serde_json::from_value::<ConversationTurn>(turn.clone()).is_ok());
        refused::<ConversationTurn>(turn.clone(), "seq", json!(0));
        refused::<ConversationTurn>(turn, "role", json!("User"));
        let file = json!({
            "task_id": "t", "number": 1, "name": "a/b", "length": 3, "stored_bytes": 12,
            "created_at": 1, "updated_at": 2,
        });
        let stored: RecordingFile = serde_json::from_value(file.clone()).unwrap();
        assert_eq!(back(&stored), file);
        refused::<RecordingFile>(file.clone(), "name", json!("../secret"));
        refused::<RecordingFile>(file.clone(), "number", json!(0));
        refused::<RecordingFile>(file.clone(), "length", json!(-1));
        refused::<RecordingFile>(file, "more", json!(1));
        let input = json!({ "id": "t", "name": "T" });
        refused::<NewTask>(input.clone(), "recorded", json!([1]));
        refused::<NewTask>(input, "depends_on", json!([""]));
    }
}
