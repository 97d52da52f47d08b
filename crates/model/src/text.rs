use std::borrow::Cow;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Nullable, Text};

/// The escape character: U+0010, data link escape, which hardly any text contains.
const ESCAPE: u8 = 0x10;
const NUL: u8 = 0;

/// Any text in the database, with U+0000 escaped because not every engine can store it.
///
/// U+0000 is stored as U+0010 `0`, U+0010 as U+0010 U+0010, all other characters unchanged. A U+0010 before
/// any other character, which only another program writes, is read unchanged. Rows have `String`; this type
/// converts to and from the TEXT column.
///
/// ```
/// use turnkeep_model::StoredText;
///
/// let stored = StoredText::from("before\0after");
/// assert_eq!(stored.as_stored(), "before\u{10}0after");
/// assert_eq!(String::from(stored), "before\0after");
/// ```
#[derive(Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct StoredText<'a>(Cow<'a, str>);

impl StoredText<'_> {
    /// Returns the text with its escapes.
    #[must_use]
    pub fn as_stored(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for StoredText<'a> {
    /// Copies the text only if a character must be escaped.
    fn from(text: &'a str) -> Self {
        Self(escape(text))
    }
}

/// For a row that is written.
impl From<String> for StoredText<'static> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(escape(&text).into_owned()))
    }
}

impl From<StoredText<'_>> for String {
    fn from(stored: StoredText<'_>) -> Self {
        unescape(stored.0.into_owned())
    }
}

impl std::fmt::Debug for StoredText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StoredText")
            .field(&crate::redact::Redacted::text(&self.0))
            .finish()
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let Some(mut at) = memchr::memchr2(NUL, ESCAPE, rest.as_bytes()) else {
        return Cow::Borrowed(text);
    };
    let mut stored = String::with_capacity(text.len() + text.len() / 8 + 8);
    loop {
        let (before, after) = rest.split_at(at);
        stored.push_str(before);
        stored.push_str(if after.starts_with('\0') {
            "\u{10}0"
        } else {
            "\u{10}\u{10}"
        });
        rest = &after[1..];
        match memchr::memchr2(NUL, ESCAPE, rest.as_bytes()) {
            Some(next) => at = next,
            None => break,
        }
    }
    stored.push_str(rest);
    Cow::Owned(stored)
}

fn unescape(stored: String) -> String {
    let mut rest = stored.as_str();
    let Some(mut at) = memchr::memchr(ESCAPE, rest.as_bytes()) else {
        return stored;
    };
    let mut text = String::with_capacity(stored.len());
    loop {
        let (before, escaped) = rest.split_at(at);
        text.push_str(before);
        let (character, length) = match escaped.as_bytes().get(1) {
            Some(b'0') => ('\0', 2),
            Some(&ESCAPE) => ('\u{10}', 2),
            _ => ('\u{10}', 1),
        };
        text.push(character);
        rest = &escaped[length..];
        match memchr::memchr(ESCAPE, rest.as_bytes()) {
            Some(next) => at = next,
            None => break,
        }
    }
    text.push_str(rest);
    text
}

impl<DB: Backend> ToSql<Text, DB> for StoredText<'_>
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.as_stored().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for StoredText<'_>
where
    String: FromSql<Text, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Cow::Owned(String::from_sql(value)?)))
    }
}

/// A nullable [`StoredText`] of a row.
#[derive(Debug, Clone, PartialEq, Eq, FromSqlRow)]
pub struct OptionalStoredText(Option<StoredText<'static>>);

impl From<OptionalStoredText> for Option<String> {
    fn from(text: OptionalStoredText) -> Self {
        text.0.map(String::from)
    }
}

impl From<Option<String>> for OptionalStoredText {
    fn from(text: Option<String>) -> Self {
        Self(text.map(StoredText::from))
    }
}

impl AsExpression<Nullable<Text>> for OptionalStoredText {
    type Expression = <Option<StoredText<'static>> as AsExpression<Nullable<Text>>>::Expression;

    fn as_expression(self) -> Self::Expression {
        self.0.as_expression()
    }
}

impl<DB: Backend> FromSql<Nullable<Text>, DB> for OptionalStoredText
where
    Option<StoredText<'static>>: FromSql<Nullable<Text>, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Option::from_sql(value).map(Self)
    }

    fn from_nullable_sql(value: Option<DB::RawValue<'_>>) -> deserialize::Result<Self> {
        Option::from_nullable_sql(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_nul_and_the_escape_character_are_escaped() {
        for (text, stored) in [
            ("", ""),
            ("\0", "\u{10}0"),
            ("\u{10}", "\u{10}\u{10}"),
            ("\u{10}0", "\u{10}\u{10}0"),
            ("é\0\0 \u{10}ü", "é\u{10}0\u{10}0 \u{10}\u{10}ü"),
            ("0 \u{1}\u{f}\u{11}", "0 \u{1}\u{f}\u{11}"),
        ] {
            assert_eq!(escape(text), stored, "{text:?}");
            assert_eq!(unescape(stored.into()), text);
        }
    }

    /// A text that another program wrote.
    #[test]
    fn an_unknown_escape_is_read_unchanged() {
        for stored in ["\u{10}", "\u{10}a", "a\u{10}é", "\u{10}1\u{11}"] {
            assert_eq!(unescape(stored.into()), stored);
        }
        assert_eq!(unescape("\u{10}a\u{10}0\u{10}".into()), "\u{10}a\0\u{10}");
        assert_eq!(unescape("\0".into()), "\0");
    }

    #[test]
    fn debug_shows_no_content() {
        assert!(!format!("{:?}", StoredText::from("secret")).contains("secret"));
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(text in "[\u{0}\u{10}0aé]{0,24}|.{0,24}") {
            let stored = escape(&text);
            prop_assert!(!stored.contains('\0'));
            let is_plain = !text.contains(['\0', '\u{10}']);
            prop_assert_eq!(matches!(stored, Cow::Borrowed(_)), is_plain);
            prop_assert_eq!(unescape(stored.into_owned()), text);
        }

        #[test]
        fn every_stored_text_can_be_read(stored in "[\u{0}\u{10}0aé]{0,24}") {
            let text = unescape(stored.clone());
            prop_assert!(text.len() <= stored.len());
            let back = unescape(escape(&text).into_owned());
            prop_assert_eq!(back, text);
        }
    }
}
