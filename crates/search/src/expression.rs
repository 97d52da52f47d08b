use crate::error::{Error, Result};
use crate::tokens::separated;

/// The longest query, in bytes.
const MAX_BYTES: usize = 4_096;

/// The words of a query in FTS5's syntax. Each is a quoted phrase, so that no character of it is syntax.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    /// The turns to find.
    pub(crate) matches: String,
    /// The words to highlight in them.
    pub(crate) highlights: String,
}

impl Expression {
    pub(crate) fn parse(words: &str) -> Result<Self> {
        if words.len() > MAX_BYTES {
            return Err(invalid("is longer than 4,096 bytes"));
        }
        let mut wanted = Vec::new();
        let mut excluded = Vec::new();
        let mut rest = words.trim_start();
        while !rest.is_empty() {
            let (is_excluded, phrase);
            (is_excluded, phrase, rest) = next_phrase(rest);
            match is_excluded {
                true => excluded.push(phrase),
                // A phrase without letters and digits would match no turn.
                false if phrase.contains(char::is_alphanumeric) => wanted.push(phrase),
                false => {}
            }
            rest = rest.trim_start();
        }
        if wanted.is_empty() {
            return Err(invalid(match excluded.is_empty() {
                true => "has no word",
                false => "has only words to leave out",
            }));
        }
        let mut matches = wanted.join(" ");
        if !excluded.is_empty() {
            // One NOT, since the depth of an expression is limited.
            matches = format!("{matches} NOT ({})", excluded.join(" OR "));
        }
        Ok(Self {
            matches,
            highlights: wanted.join(" OR "),
        })
    }
}

/// Takes a word or a phrase off the beginning: whether it is excluded, the phrase, and the rest. A dash excludes only
/// before a word or a quotation mark, so that `--restore` and `->` are no exclusions.
fn next_phrase(text: &str) -> (bool, String, &str) {
    let is_start = |it: char| it == '"' || it.is_alphanumeric();
    let excluded = text.strip_prefix('-').filter(|it| it.starts_with(is_start));
    let text = excluded.unwrap_or(text);
    let (words, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => text.split_at(
            text.find(|it: char| it.is_whitespace() || it == '"')
                .unwrap_or(text.len()),
        ),
    };
    // A prefix: `fail*`, or `"login fail"*`.
    let (words, rest, star) = match (words.strip_suffix('*'), rest.strip_prefix('*')) {
        (_, Some(rest)) => (words, rest, "*"),
        (Some(words), None) => (words, rest, "*"),
        (None, None) => (words, rest, ""),
    };
    // FTS5 takes a NUL for the end.
    let words = separated(words).replace('\0', " ");
    (excluded.is_some(), format!("\"{words}\"{star}"), rest)
}

fn invalid(reason: &'static str) -> Error {
    Error::InvalidQuery { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_phrases() {
        for (words, expected) in [
            ("login fails", r#""login" "fails""#),
            (r#""login fails" now"#, r#""login fails" "now""#),
            ("fail* -logout", r#""fail"* NOT ("logout")"#),
            (r#"a -"b c" -d*"#, r#""a" NOT ("b c" OR "d"*)"#),
            (r#""login fail"* x"#, r#""login fail"* "x""#),
            (r#"say"hi you"#, r#""say" "hi you""#),
            ("--restore -> - *", r#""--restore""#),
            ("a AND b OR NEAR(c)", r#""a" "AND" "b" "OR" "NEAR(c)""#),
            ("日本語 a\0b", "\"日 本 語\" \"a b\""),
        ] {
            assert_eq!(Expression::parse(words).unwrap().matches, expected);
        }
        let highlights = Expression::parse("a \"b c\" -d").unwrap().highlights;
        assert_eq!(highlights, r#""a" OR "b c""#);
    }

    #[test]
    fn a_query_needs_a_word() {
        for words in ["", " \n", "->", "\"", "\"\"", "-a", "-\"a b\"", "*"] {
            assert!(
                matches!(Expression::parse(words), Err(Error::InvalidQuery { .. })),
                "{words:?}"
            );
        }
        let long = "a".repeat(MAX_BYTES + 1);
        assert!(Expression::parse(&long).is_err() && Expression::parse(&long[1..]).is_ok());
    }
}
