//! Highlighted code.

use std::ops::Range;
use std::sync::LazyLock;

use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};
use syntect::util::LinesWithEndings;

/// Larger code is not highlighted, since a grammar may take a millisecond for a line.
const LONGEST: usize = 64 * 1024;
const LONGEST_LINE: usize = 2_000;

/// The part that a piece of code has in its language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Plain,
    Comment,
    String,
    Number,
    Keyword,
    Name,
    Added,
    Removed,
}

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);

static PARTS: LazyLock<Vec<(Scope, Part)>> = LazyLock::new(|| {
    const PARTS: [(&str, Part); 15] = [
        ("comment", Part::Comment),
        ("constant.numeric", Part::Number),
        ("constant.language", Part::Number),
        ("constant.character", Part::String),
        ("string", Part::String),
        ("keyword.operator", Part::Plain),
        ("keyword", Part::Keyword),
        ("storage", Part::Keyword),
        ("entity.name", Part::Name),
        ("entity.other", Part::Name),
        ("support", Part::Name),
        ("variable.function", Part::Name),
        ("markup.inserted", Part::Added),
        ("markup.deleted", Part::Removed),
        ("markup.heading", Part::Keyword),
    ];
    let parts = PARTS.into_iter();
    parts
        .filter_map(|(scope, part)| Some((Scope::new(scope).ok()?, part)))
        .collect()
});

/// Splits code into parts. `language` is the text after the mark of a code block: `rust`, `js title="a.js"`. Code in
/// an unknown language is one plain part.
pub(crate) fn highlight<'t>(language: &str, code: &'t str) -> Vec<(Part, &'t str)> {
    let is_too_long = code.len() > LONGEST || code.lines().any(|line| line.len() > LONGEST_LINE);
    match syntax(language) {
        Some(syntax) if !is_too_long => parts(syntax, code),
        _ => vec![(Part::Plain, code)],
    }
}

fn syntax(language: &str) -> Option<&'static SyntaxReference> {
    let end = |c: char| c.is_whitespace() || matches!(c, ',' | '{' | ':');
    let token = language.split(end).next()?.to_ascii_lowercase();
    let token = match token.as_str() {
        "" | "text" | "txt" | "plain" | "plaintext" => return None,
        // There is no grammar for these. The other is a part of it, or close to it.
        "ts" | "tsx" | "jsx" | "mjs" | "cjs" | "mts" | "typescript" => "js",
        "jsonc" | "json5" | "jsonl" => "json",
        "shell" | "zsh" | "console" | "fish" => "sh",
        "patch" => "diff",
        token => token,
    };
    SYNTAXES.find_syntax_by_token(token)
}

fn parts<'t>(syntax: &SyntaxReference, code: &'t str) -> Vec<(Part, &'t str)> {
    let mut parts = Parts::default();
    let mut state = ParseState::new(syntax);
    let mut scopes = ScopeStack::new();
    let mut line_begin = 0;
    for line in LinesWithEndings::from(code) {
        // A line on which a grammar fails has no colours.
        for (at, change) in state.parse_line(line, &SYNTAXES).unwrap_or_default() {
            parts.push(part(&scopes), line_begin + at);
            if scopes.apply(&change).is_err() {
                break;
            }
        }
        line_begin += line.len();
        parts.push(part(&scopes), line_begin);
    }
    let parts = parts.0.into_iter();
    parts
        .filter_map(|(part, range)| Some((part, code.get(range)?)))
        .collect()
}

fn part(scopes: &ScopeStack) -> Part {
    let of_scope = |scope: &Scope| {
        let mut parts = PARTS.iter();
        let found = parts.find(|(prefix, _)| prefix.is_prefix_of(*scope));
        found.map(|(_, part)| *part)
    };
    let part = scopes.as_slice().iter().rev().find_map(of_scope);
    part.unwrap_or(Part::Plain)
}

/// The parts from the beginning of the code.
#[derive(Default)]
struct Parts(Vec<(Part, Range<usize>)>);

impl Parts {
    /// Adds a part up to a place. One of the same kind as the last makes it longer.
    fn push(&mut self, part: Part, end: usize) {
        let begin = self.0.last().map_or(0, |(_, range)| range.end);
        match self.0.last_mut() {
            Some((last, range)) if *last == part => range.end = end,
            _ if begin < end => self.0.push((part, begin..end)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(language: &str, code: &str, piece: &str) -> Part {
        let parts = highlight(language, code);
        let whole: String = parts.iter().map(|(_, text)| *text).collect();
        assert_eq!(whole, code);
        let mut parts = parts.into_iter();
        let found = parts.find(|(_, text)| text.contains(piece));
        found
            .map(|(part, _)| part)
            .expect("the piece is in the code")
    }

    #[test]
    fn parts_of_a_language_are_found() {
        let code = "// why\nfn main() {\n    let x = \"a\\n\" + 12;\n}\n";
        for (piece, part) in [
            ("why", Part::Comment),
            ("fn", Part::Keyword),
            ("main", Part::Name),
            ("12", Part::Number),
        ] {
            assert_eq!(of("rust", code, piece), part, "{piece}");
        }
        assert_eq!(of("ts", "const a = 'b'", "b"), Part::String);
        assert_eq!(of("Python title=x", "def f(): pass", "def"), Part::Keyword);
        assert_eq!(of("diff", "-a\n+b\n", "b"), Part::Added);
    }

    #[test]
    fn code_of_no_language_and_too_long_code_is_plain() {
        for language in ["", "klingon", "text", "../../etc/passwd"] {
            assert_eq!(highlight(language, "fn"), [(Part::Plain, "fn")]);
        }
        let line = format!("let a = \"{}\";", "x".repeat(LONGEST_LINE));
        let code = "fn f() {}\n".repeat(LONGEST / 10 + 1);
        for code in [line, code] {
            assert_eq!(highlight("rust", &code), [(Part::Plain, code.as_str())]);
        }
    }
}
