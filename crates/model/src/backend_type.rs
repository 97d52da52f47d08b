use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

use crate::InvalidValue;

/// The agent program of a session, by which an orchestrator chooses its adapter.
///
/// Stored as a short text: `claude`, `codex`, `goose` or another name. A name without a variant is read as
/// [`Other`](Self::Other) with the same name.
///
/// ```
/// use turnkeep_model::BackendType;
///
/// assert_eq!("codex".parse::<BackendType>()?, BackendType::Codex);
/// let gemini: BackendType = "gemini".parse()?;
/// assert!(matches!(gemini, BackendType::Other(_)));
/// assert_eq!(gemini.as_str(), "gemini");
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
#[non_exhaustive]
pub enum BackendType {
    /// Claude Code.
    Claude,
    /// Codex CLI.
    Codex,
    /// Goose.
    Goose,
    /// Any other agent, by its name.
    Other(BackendName),
}

impl BackendType {
    /// Returns the stored name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Goose => "goose",
            Self::Other(name) => name.as_str(),
        }
    }

    fn known(name: &str) -> Option<Self> {
        match name {
            "claude" => Some(Self::Claude),
            "codex" => Some(Self::Codex),
            "goose" => Some(Self::Goose),
            _ => None,
        }
    }
}

impl FromStr for BackendType {
    type Err = InvalidValue;

    /// Returns the variant of a known name, otherwise `Other`. Names are compared by bytes: `Claude` is not
    /// `claude`.
    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        match Self::known(name) {
            Some(known) => Ok(known),
            None => BackendName::new(name).map(Self::Other),
        }
    }
}

impl fmt::Display for BackendType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<DB: Backend> ToSql<Text, DB> for BackendType
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.as_str().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for BackendType
where
    String: FromSql<Text, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(String::from_sql(value)?.parse()?)
    }
}

/// The name of an agent without a variant: 1 to 64 bytes, no NUL.
///
/// A name with a variant is refused. So each agent has only one value, and a stored `Other` is read as the
/// same value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendName(Arc<str>);

impl BackendName {
    /// The length limit, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 64;

    /// Checks a name and stores it unchanged.
    ///
    /// # Errors
    /// [`InvalidValue`] if the name is empty, longer than [`MAX_BYTES`](Self::MAX_BYTES), contains NUL, or
    /// has a variant of [`BackendType`].
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, InvalidValue> {
        const FIELD: &str = "backend name";
        let name = name.into();
        InvalidValue::check_short_text(FIELD, &name, Self::MAX_BYTES)?;
        if let Some(known) = BackendType::known(&name) {
            let reason = format!("`{known}` is a variant of BackendType");
            return Err(InvalidValue::new(FIELD, reason));
        }
        Ok(Self(name))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BackendName {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        Self::new(name)
    }
}

impl Borrow<str> for BackendName {
    /// A map by names can be asked with a `&str`.
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Declares the conversions from and to texts that ids have too.
macro_rules! text_conversions {
    ($($name:ident),+) => {
        $(
            impl TryFrom<&str> for $name {
                type Error = InvalidValue;

                fn try_from(name: &str) -> Result<Self, InvalidValue> {
                    name.parse()
                }
            }

            impl TryFrom<String> for $name {
                type Error = InvalidValue;

                fn try_from(name: String) -> Result<Self, InvalidValue> {
                    name.parse()
                }
            }

            impl AsRef<str> for $name {
                fn as_ref(&self) -> &str {
                    self.as_str()
                }
            }

            impl From<$name> for String {
                fn from(name: $name) -> Self {
                    name.as_str().to_owned()
                }
            }
        )+
    };
}

text_conversions!(BackendType, BackendName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_only_one_value() {
        for backend in [BackendType::Claude, BackendType::Codex, BackendType::Goose] {
            assert_eq!(backend.as_str().parse(), Ok(backend.clone()));
            assert!(BackendName::new(backend.as_str()).is_err());
        }
        let other: BackendType = "Claude".parse().unwrap();
        assert_ne!(other, BackendType::Claude, "names differ by case");
        assert_eq!(other.as_str(), "Claude");
        assert!("".parse::<BackendType>().is_err());
        assert!("x".repeat(65).parse::<BackendType>().is_err());
    }
}
