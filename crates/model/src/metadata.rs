use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserializer as _, Serialize};
use serde_json::Value;

use crate::InvalidValue;
use crate::redact::Redacted;

const FIELD: &str = "metadata";

/// A JSON object of the caller's, kept byte for byte: at most 1 MiB.
///
/// The store reads only the keys at the top, and only for a filter. Each engine must find the same there, so
/// a key at the top may not be repeated, and no text may have U+0000 (`\u0000`), which PostgreSQL can't look
/// into. Values nest at most 127 deep.
///
/// A row of another program may break the rules that only this type has, such as the one of repeated keys. It is
/// read as it is stored, and `turnkeep check` names it.
///
/// Metadata are as secret as contents: `Debug` prints their length, and there is no `Display`.
///
/// ```
/// use std::collections::BTreeMap;
/// use turnkeep_model::Metadata;
///
/// let metadata = Metadata::from_serialize(&BTreeMap::from([("model", "opus"), ("effort", "high")]))?;
/// assert_eq!(metadata.as_str(), r#"{"effort":"high","model":"opus"}"#);
/// let back: BTreeMap<String, String> = metadata.deserialize()?;
/// assert_eq!(back["model"], "opus");
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// The length limit, in bytes of UTF-8: 1 MiB.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Checks the text of a JSON object and stores it unchanged.
    ///
    /// # Errors
    /// [`InvalidValue`] if the text is longer than [`MAX_BYTES`](Self::MAX_BYTES), is not a JSON object, repeats
    /// a key at the top, has U+0000 in a text, has a number that an `f64` or PostgreSQL's `numeric` can't hold
    /// (more than 16,383 digits after the point), or nests deeper than 127.
    pub fn new(json: impl Into<Arc<str>>) -> Result<Self, InvalidValue> {
        let json = json.into();
        if json.len() > Self::MAX_BYTES {
            let (length, most) = (json.len(), Self::MAX_BYTES);
            let reason = format!("is {length} bytes long, at most {most} are allowed");
            return Err(InvalidValue::new(FIELD, reason));
        }
        let mut reader = serde_json::Deserializer::from_str(&json);
        let object = reader.deserialize_map(CheckedObject);
        match object.and_then(|object| reader.end().map(|()| object)) {
            Ok(Ok(())) if numbers(&json).all(is_numeric) => Ok(Self(json)),
            Ok(checked) => {
                let rule = checked
                    .err()
                    .unwrap_or("has a number that PostgreSQL can't hold");
                Err(InvalidValue::new(FIELD, rule))
            }
            Err(error) => Err(refused("is not a JSON object", &error)),
        }
    }

    /// Makes the compact JSON of a value, which must be an object.
    ///
    /// The keys are in the order in which the value gives them. A `HashMap` has another order in each run, while
    /// the store compares the bytes: a repeated append fails with `KeyConflict`, and a repeated binding is a new
    /// revision. Use a struct or a `BTreeMap`.
    ///
    /// # Errors
    /// [`InvalidValue`] as for [`new`](Self::new), and if the value can't be written as JSON.
    pub fn from_serialize(value: &impl Serialize) -> Result<Self, InvalidValue> {
        let json = serde_json::to_string(value);
        Self::new(json.map_err(|error| refused("can't be written as JSON", &error))?)
    }

    /// Reads the object as a value of the caller's type.
    ///
    /// # Errors
    /// [`InvalidValue`] if the object is not one of that type.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, InvalidValue> {
        serde_json::from_str(&self.0)
            .map_err(|error| refused("is not of the type asked for", &error))
    }

    /// Returns the text of the object, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names the place only: the words of serde may quote the value, which may be secret.
fn refused(rule: &str, error: &serde_json::Error) -> InvalidValue {
    let (line, column) = (error.line(), error.column());
    let reason = match line {
        0 => rule.into(),
        _ => format!("{rule}, at line {line} column {column}"),
    };
    InvalidValue::new(FIELD, reason)
}

/// Reads an object and returns the first rule that it breaks.
struct CheckedObject;

impl<'de> Visitor<'de> for CheckedObject {
    type Value = Result<(), &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut keys = HashSet::new();
        let mut checked = Ok(());
        while let Some((key, value)) = object.next_entry::<String, Value>()? {
            if key.contains('\0') || has_nul(&value) {
                checked = Err("has U+0000 in a text");
            }
            if !keys.insert(key) {
                checked = Err("repeats a key");
            }
        }
        Ok(checked)
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(values) => values
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns the numbers of a JSON text.
fn numbers(json: &str) -> impl Iterator<Item = &str> {
    let (mut is_text, mut is_escaped) = (false, false);
    let words = json.split(move |c: char| {
        let was_text = is_text;
        is_text = (c == '"' && !is_escaped) != was_text;
        is_escaped = was_text && c == '\\' && !is_escaped;
        was_text || !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    words.filter(|word| word.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

/// Whether a number fits PostgreSQL's `numeric`, of which `jsonb` makes each number.
fn is_numeric(number: &str) -> bool {
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let fraction = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len() as i64);
    let exponent = exponent.parse::<i32>().map_or(i64::MAX, i64::from);
    exponent.abs() < 1 << 30 && fraction - exponent <= 16_383
}

impl FromStr for Metadata {
    type Err = InvalidValue;

    fn from_str(json: &str) -> Result<Self, InvalidValue> {
        Self::new(json)
    }
}

impl TryFrom<&str> for Metadata {
    type Error = InvalidValue;

    fn try_from(json: &str) -> Result<Self, InvalidValue> {
        Self::new(json)
    }
}

impl TryFrom<String> for Metadata {
    type Error = InvalidValue;

    fn try_from(json: String) -> Result<Self, InvalidValue> {
        Self::new(json)
    }
}

impl AsRef<str> for Metadata {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metadata")
            .field(&Redacted::text(&self.0))
            .finish()
    }
}

impl<DB: Backend> ToSql<Text, DB> for Metadata
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.as_str().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for Metadata
where
    String: FromSql<Text, DB>,
{
    /// Trusts the database, which accepts no text but a JSON object of that length: a rule of this type alone
    /// would keep a whole history from being read because of a turn of another program.
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(String::from_sql(value)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_kept_byte_for_byte() {
        for json in [
            "{}",
            " {\"b\" : 1.50,\n\"a\":[ 1e2, null ]} ",
            r#"{"path":"C:\\u0000","é":"\u00e9"}"#,
            r#"{"1e-20000":"\\\" 1e-20000","a":[-1.5e-16382,0e99999,false]}"#,
        ] {
            assert_eq!(Metadata::new(json).unwrap().as_str(), json);
        }
        assert_eq!(Metadata::try_from("{} ").unwrap().as_ref(), "{} ");
        assert!(Metadata::try_from(String::from("[]")).is_err());
        let most = format!("{{\"a\":\"{}\"}}", "x".repeat(Metadata::MAX_BYTES - 8));
        assert_eq!(most.len(), Metadata::MAX_BYTES);
        assert!(Metadata::new(most.clone()).is_ok());
        assert!(Metadata::new(most + " ").is_err());
    }

    #[test]
    fn a_text_that_breaks_a_rule_is_refused_by_the_name_of_the_rule() {
        for (json, reason) in [
            ("", "is not a JSON object, at line 1 column 0"),
            ("[1]", "is not a JSON object"),
            ("\"secret\"", "is not a JSON object"),
            ("{\"a\":1} {}", "is not a JSON object"),
            ("{\"a\":\"\\ud800\"}", "is not a JSON object"),
            ("{\"a\":1e400}", "is not a JSON object"),
            ("{\"a\":1,\"\\u0061\":2}", "repeats a key"),
            ("{\"a\":[{\"b\":\"\\u0000\"}]}", "has U+0000 in a text"),
            ("{\"\\u0000\":1}", "has U+0000 in a text"),
            ("{\"a\":[true,1e-20000]}", "has a number that PostgreSQL"),
            ("{\"\\\"\":-1.5E-16383}", "has a number that PostgreSQL"),
            (
                "{\"a\":0e99999999999999999999}",
                "has a number that PostgreSQL",
            ),
        ] {
            let error = Metadata::new(json).unwrap_err();
            assert!(error.reason.starts_with(reason), "{json}: {error}");
            assert!(!error.reason.contains("secret"), "{error}");
        }
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(Metadata::new(nested(126)).is_ok());
        assert!(Metadata::new(nested(127)).is_err());
        assert!(Metadata::from_serialize(&[1]).is_err());
    }

    #[test]
    fn no_error_and_no_debug_output_shows_a_value() {
        let metadata = Metadata::new(r#"{"token":"secret"}"#).unwrap();
        assert_eq!(format!("{metadata:?}"), "Metadata(<18 bytes>)");
        let error = metadata.deserialize::<std::collections::BTreeMap<String, u8>>();
        assert_eq!(
            error.unwrap_err().to_string(),
            "invalid metadata: is not of the type asked for, at line 1 column 17"
        );
    }
}
