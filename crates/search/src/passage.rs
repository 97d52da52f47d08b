use std::ops::Range;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::error::Result;
use crate::expression::Expression;
use crate::file::{IndexFile, TEXTS};
use crate::tokens::separated;

/// The length of a passage, in bytes.
const LENGTH: usize = 240;

/// The bytes of a passage before its first highlight.
const BEFORE: usize = 60;

/// The bytes of a text in which words are highlighted.
const MAX_BYTES: usize = 1 << 20;

/// The bytes of a text that are looked at first, and then at once. Few words stand only far behind.
const CHUNK: usize = 16 << 10;

/// The bytes that two chunks share, so that a word is in one of them as a whole.
const SHARED: usize = 256;

/// The control characters around a highlight.
const MARKS: [char; 2] = ['\u{2}', '\u{3}'];

/// The part of a turn to show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passage {
    /// A part of the text, unchanged: it may have line breaks and control characters. About 240 bytes long, cut
    /// between words if possible.
    pub text: String,
    /// The words of the query in `text`, as ranges of bytes, in order. Empty if they are all beyond the first MiB of
    /// the turn.
    pub highlights: Vec<Range<usize>>,
    /// Whether the passage begins where the turn begins.
    pub is_start: bool,
    /// Whether the passage ends where the turn ends.
    pub is_end: bool,
}

/// Cuts a text to the part in which words are highlighted. Returns it and whether it is the whole text.
pub(crate) fn beginning(mut text: String) -> (String, bool) {
    let end = floor_boundary(&text, MAX_BYTES);
    let is_whole = end == text.len();
    if !is_whole {
        text.truncate(end);
        text.shrink_to_fit();
    }
    (text, is_whole)
}

/// Returns a passage of each text. FTS5 itself finds the words, in a temporary table of these texts.
pub(crate) fn passages(
    file: &mut IndexFile,
    expression: &Expression,
    contents: &[&str],
) -> Result<Vec<Passage>> {
    if contents.is_empty() {
        return Ok(Vec::new());
    }
    let places = file.read(|conn| find(conn, expression, contents))?;
    let passages = contents.iter().zip(places);
    Ok(passages
        .map(|(content, places)| around(content, &places))
        .collect())
}

/// Returns the places of the words in each text: those of its first chunk that has any.
fn find(
    conn: &mut SqliteConnection,
    expression: &Expression,
    contents: &[&str],
) -> QueryResult<Vec<Vec<Range<usize>>>> {
    let mut places = vec![Vec::new(); contents.len()];
    conn.batch_execute(TEXTS)?;
    for start in (0..MAX_BYTES).step_by(CHUNK) {
        let chunks = contents.iter().enumerate();
        let chunks =
            chunks.filter(|(number, text)| places[*number].is_empty() && start < text.len());
        let chunks: Vec<_> = chunks
            .map(|(number, text)| {
                let start = floor_boundary(text, start);
                let end = floor_boundary(text, start + CHUNK + SHARED);
                (number, start..end)
            })
            .collect();
        if chunks.is_empty() {
            break;
        }
        highlight(conn, expression, contents, chunks, &mut places)?;
    }
    // A phrase may be longer than the part that two chunks share.
    for (number, text) in contents.iter().enumerate() {
        if places[number].is_empty() && text.len() > CHUNK {
            highlight(
                conn,
                expression,
                contents,
                vec![(number, 0..text.len())],
                &mut places,
            )?;
        }
    }
    conn.batch_execute("DROP TABLE temp.texts")?;
    Ok(places)
}

/// Looks for the words in parts of texts, each with the number of its text, and notes their places in the text.
fn highlight(
    conn: &mut SqliteConnection,
    expression: &Expression,
    contents: &[&str],
    chunks: Vec<(usize, Range<usize>)>,
    places: &mut [Vec<Range<usize>>],
) -> QueryResult<()> {
    for (number, range) in &chunks {
        // FTS5 takes a NUL for the end. Blanks of the same length leave every place as it is.
        let chunk = contents[*number][range.clone()].replace(['\0', MARKS[0], MARKS[1]], " ");
        diesel::sql_query("INSERT INTO temp.texts (rowid, body) VALUES (?, ?)")
            .bind::<BigInt, _>(*number as i64)
            .bind::<Text, _>(&*separated(&chunk))
            .execute(conn)?;
    }
    let marked: Vec<Marked> = diesel::sql_query(MARK)
        .bind::<Text, _>(&expression.highlights)
        .load(conn)?;
    for Marked { id, text } in marked {
        if let Some((number, range)) = chunks.iter().find(|(number, _)| *number as i64 == id) {
            let found = highlights(&contents[*number][range.clone()], &text).into_iter();
            let found = found.map(|it| it.start + range.start..it.end + range.start);
            places[*number] = found.collect();
        }
    }
    conn.batch_execute("DELETE FROM temp.texts")
}

const MARK: &str = "SELECT rowid AS id, highlight(texts, 0, char(2), char(3)) AS text \
    FROM temp.texts WHERE texts MATCH ?";

/// A chunk in which a word was found, with marks around the words.
#[derive(QueryableByName)]
struct Marked {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    text: String,
}

/// Finds the places of the marks in the text as it was before its preparation, which only inserted blanks.
fn highlights(content: &str, marked: &str) -> Vec<Range<usize>> {
    let mut highlights = Vec::new();
    let (mut at, mut start) = (0, 0);
    for character in marked.chars() {
        if character == MARKS[0] {
            start = at;
        } else if character == MARKS[1] {
            highlights.push(start..at);
        } else {
            let is_inserted =
                character == ' ' && !content[at..].starts_with([' ', '\0', MARKS[0], MARKS[1]]);
            at += if is_inserted { 0 } else { character.len_utf8() };
        }
    }
    highlights
}

/// Cuts the part with the most highlights out of a text.
fn around(content: &str, highlights: &[Range<usize>]) -> Passage {
    let first = first_of_most(highlights, LENGTH - BEFORE);
    let start = match floor_boundary(content, first.saturating_sub(BEFORE)) {
        0 => 0,
        start => word_start(content, start, first),
    };
    let end = match floor_boundary(content, start + LENGTH) {
        end if end == content.len() => end,
        end => word_end(content, first.max(start), end),
    };
    let inside = highlights
        .iter()
        .filter(|it| start <= it.start && it.start < end);
    Passage {
        text: content[start..end].to_owned(),
        highlights: inside
            .map(|it| it.start - start..it.end.min(end) - start)
            .collect(),
        is_start: start == 0,
        is_end: end == content.len(),
    }
}

/// Returns the start of the first of the most highlights that end within `length` bytes of it, 0 if there are none.
fn first_of_most(highlights: &[Range<usize>], length: usize) -> usize {
    let (mut end, mut most, mut start) = (0, 0, 0);
    for (number, first) in highlights.iter().enumerate() {
        while highlights
            .get(end)
            .is_some_and(|it| it.end <= first.start + length)
        {
            end += 1;
        }
        let count = end.max(number + 1) - number;
        if count > most {
            (most, start) = (count, first.start);
        }
    }
    start
}

/// Returns where the first word begins after a place in a text, at most `end`. The place itself if there is no blank.
fn word_start(content: &str, start: usize, end: usize) -> usize {
    match content[start..end].split_once(char::is_whitespace) {
        Some((_, words)) => end - words.trim_start().len(),
        None => start,
    }
}

/// Returns where the last whole word ends before a place in a text. The place itself if there is no blank.
fn word_end(content: &str, start: usize, end: usize) -> usize {
    match content[start..end].rsplit_once(char::is_whitespace) {
        Some((words, _)) => start + words.trim_end().len(),
        None => end,
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_the_unprepared_text() {
        for (content, marked, expected) in [
            ("a b", "a \u{2}b\u{3}", "b"),
            ("a日本b", "a \u{2}日 本\u{3} b", "日本"),
            ("\0 é 日", "  \u{2}é 日\u{3}", "é 日"),
        ] {
            let found: Vec<_> = highlights(content, marked)
                .into_iter()
                .map(|it| &content[it])
                .collect();
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn a_passage_has_the_most_highlights_and_whole_words() {
        let content = format!(
            "{}needle {} needle other needle {}",
            "word ".repeat(50),
            "word ".repeat(100),
            "end ".repeat(99)
        );
        let highlights: Vec<_> = content
            .match_indices("needle")
            .map(|(at, it)| at..at + it.len())
            .collect();
        let passage = around(&content, &highlights);
        assert_eq!(passage.highlights.len(), 2);
        assert!(
            passage
                .highlights
                .iter()
                .all(|it| &passage.text[it.clone()] == "needle")
        );
        assert!(
            passage.text.starts_with("word ") && passage.text.ends_with(" end"),
            "{passage:?}"
        );
        assert!((180..=LENGTH).contains(&passage.text.len()));
        assert!(!passage.is_start && !passage.is_end);
    }

    #[test]
    fn any_text_has_a_passage() {
        let whole = around("short", &[]);
        assert!(whole.is_start && whole.is_end && whole.text == "short");
        // No blank and characters of three bytes.
        let long = "日".repeat(500);
        let passage = around(&long, &[600..603, 603..1_400]);
        assert_eq!(passage.highlights[0], 60..63);
        assert_eq!(passage.highlights[1], 63..passage.text.len());
        assert_eq!(around("", &[]).text, "");
    }
}
