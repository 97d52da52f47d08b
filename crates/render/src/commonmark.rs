//! The Markdown of agents.

use pulldown_cmark::{Event, OffsetIter, Options, Parser};

/// A longer text is a paste or a log. It is shown as it was written.
const LONGEST: usize = 1024 * 1024;

/// Lists in lists and quotes in quotes: each takes one or two levels. A deeper text is an attack on the reader's
/// program, which nests as deeply.
const DEEPEST: usize = 32;

/// The largest table, in cells. A row of a table gets all columns, so that few bytes make many cells.
const MOST_CELLS: usize = 20_000;

/// Returns the events of a text with the places they come from, or `None` if it is not to be read as Markdown.
pub(crate) fn parse(text: &str) -> Option<OffsetIter<'_>> {
    (text.len() <= LONGEST && is_bounded(text)).then(|| events(text))
}

/// Returns the events of a text that may be parsed as programs with other extensions see it: with none, and with
/// footnotes.
pub(crate) fn in_other_dialects(text: &str) -> [OffsetIter<'_>; 2] {
    [Options::empty(), Options::ENABLE_FOOTNOTES]
        .map(|options| Parser::new_ext(text, options).into_offset_iter())
}

fn events(text: &str) -> OffsetIter<'_> {
    // Neither footnotes nor mathematics: a dollar sign is part of a shell command.
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    Parser::new_ext(text, options).into_offset_iter()
}

fn is_bounded(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut cells = 0_usize;
    events(text).all(|(event, _)| {
        match event {
            Event::Start(tag) => {
                depth += 1;
                cells += usize::from(matches!(tag, pulldown_cmark::Tag::TableCell));
            }
            Event::End(_) => depth -= 1,
            _ => {}
        }
        depth <= DEEPEST && cells <= MOST_CELLS
    })
}
