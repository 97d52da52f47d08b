//! The feature `serde`: values as the JSONL format of `docs/jsonl.md` writes them. Reading checks
//! whatever the constructors check.

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::{
    BackendType, ConfigDir, FailureMode, InvalidValue, LeaseLength, MessageKey, Metadata, Role,
    SessionId, TaskId, TaskStatus, UtcMicros, WorkerId, WorkingDir,
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
