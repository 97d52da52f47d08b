//! Lines of a width.

use std::ops::Range;

use unicode_linebreak::linebreaks;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

const JOINER: char = '\u{200d}';

/// Splits a text into lines of at most `width` columns: at line breaks, at blanks, and between wide characters where
/// the rules of their script allow it. A word that is longer than a line is cut.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut begin = 0;
    for line in text.split('\n') {
        wrap_line(line, begin, width, &mut lines);
        begin += line.len() + 1;
    }
    lines
}

fn wrap_line(line: &str, offset: usize, width: usize, lines: &mut Vec<Range<usize>>) {
    let mut emit = |begin: usize, end: usize| lines.push(offset + begin..offset + end);
    let (mut begin, mut columns) = (0, 0);
    let mut word_begin = 0;
    for (end, _) in linebreaks(line) {
        if end < line.len() && !is_break(line, end) {
            continue;
        }
        let word = &line[word_begin..end];
        let seen = word.trim_end();
        if columns + seen.width() > width && begin < word_begin {
            emit(begin, begin + line[begin..word_begin].trim_end().len());
            (begin, columns) = (word_begin, 0);
        }
        if columns + seen.width() > width {
            for (at, _) in cuts(seen, width) {
                emit(begin, word_begin + at);
                begin = word_begin + at;
            }
            columns = line[begin..end].width();
        } else {
            columns += word.width();
        }
        word_begin = end;
    }
    emit(begin, begin + line[begin..].trim_end().len());
}

/// Whether to use a place where UAX #14 allows a break. It also allows one after a hyphen or a slash, which would
/// divide options and paths.
fn is_break(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    let after = line[at..].chars().next();
    let is_wide = |c: Option<char>| c.and_then(|c| c.width()) == Some(2);
    before.is_some_and(char::is_whitespace) || is_wide(before) || is_wide(after)
}

/// Returns where a long word is cut. An accent stays with its letter.
fn cuts(word: &str, width: usize) -> impl Iterator<Item = (usize, char)> {
    let mut columns = 0;
    let mut before = None;
    word.char_indices().filter(move |(at, c)| {
        let wide = c.width().unwrap_or(0);
        let is_cut = *at > 0 && columns + wide > width && wide > 0 && before != Some(JOINER);
        columns = if is_cut { wide } else { columns + wide };
        before = Some(*c);
        is_cut
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, width: usize) -> Vec<&str> {
        wrap(text, width).into_iter().map(|it| &text[it]).collect()
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(lines("", 10), [""]);
        assert_eq!(lines("one two  three", 8), ["one two", "three"]);
        assert_eq!(lines("a\n\n  b ", 8), ["a", "", "  b"]);
        assert_eq!(
            lines("use --dry-run src/a/b.rs", 12),
            ["use", "--dry-run", "src/a/b.rs"]
        );
        assert_eq!(lines("never\u{a0}here ok", 8), ["never\u{a0}he", "re ok"]);
    }

    #[test]
    fn wide_characters_count_twice_and_break_by_their_rules() {
        assert_eq!(
            lines("日本語の文章です。次", 8),
            ["日本語の", "文章で", "す。次"]
        );
        assert_eq!(lines("ab日本", 4), ["ab日", "本"]);
        assert_eq!(lines("👩‍💻👩‍💻👩‍💻", 4), ["👩‍💻👩‍💻", "👩‍💻"]);
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(lines("a abcdefghij z", 4), ["a", "abcd", "efgh", "ij z"]);
        assert_eq!(
            lines("e\u{301}e\u{301}e\u{301}", 2),
            ["e\u{301}e\u{301}", "e\u{301}"]
        );
        assert_eq!(lines("日", 1), ["日"]);
        assert_eq!(wrap(&"x".repeat(800_000), 80).len(), 10_000);
    }
}
