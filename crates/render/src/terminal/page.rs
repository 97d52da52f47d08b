//! Lines with indents and styles.

use std::io::{self, Write};
use std::ops::Range;

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use super::wrap::wrap;

/// Longer lines of words are hard to read.
const WIDEST_TEXT: usize = 100;
const NARROWEST_TEXT: usize = 20;

/// The terminal below the cursor. Each line begins with the indents.
pub(crate) struct Page<'w> {
    out: &'w mut dyn Write,
    width: usize,
    has_colors: bool,
    indents: Vec<Indent>,
}

struct Indent {
    /// Stands on the next line only.
    first: Option<String>,
    rest: String,
}

impl<'w> Page<'w> {
    pub(crate) fn new(out: &'w mut dyn Write, width: usize, has_colors: bool) -> Self {
        Self {
            out,
            width,
            has_colors,
            indents: Vec::new(),
        }
    }

    pub(crate) fn has_colors(&self) -> bool {
        self.has_colors
    }

    /// Returns the columns that are left beside the indents.
    pub(crate) fn columns(&self, widest: usize) -> usize {
        let indents: usize = self.indents.iter().map(|it| it.rest.width()).sum();
        let width = self.width.min(widest);
        width.saturating_sub(indents).max(NARROWEST_TEXT)
    }

    /// Returns the columns for words.
    pub(crate) fn text_columns(&self) -> usize {
        self.columns(WIDEST_TEXT)
    }

    /// Begins the next line with `first`, those after it with `rest`.
    pub(crate) fn indent(&mut self, first: &str, rest: &str) {
        self.indents.push(Indent {
            first: Some(first.to_owned()),
            rest: rest.to_owned(),
        });
    }

    pub(crate) fn outdent(&mut self) {
        self.indents.pop();
    }

    /// Whether no line has begun with the last indent.
    pub(crate) fn is_indent_unused(&self) -> bool {
        self.indents.last().is_some_and(|it| it.first.is_some())
    }

    /// Writes a line. Its texts contain no control characters.
    pub(crate) fn line(&mut self, spans: &[(Style, &str)]) -> io::Result<()> {
        let mut indent = String::new();
        for it in &mut self.indents {
            indent += &it.first.take().unwrap_or_else(|| it.rest.clone());
        }
        if spans.iter().all(|(_, text)| text.is_empty()) {
            return writeln!(self.out, "{}", indent.trim_end());
        }
        write!(self.out, "{indent}")?;
        for (style, text) in spans {
            let is_plain = !self.has_colors || *style == Style::new() || text.is_empty();
            match is_plain {
                true => write!(self.out, "{text}")?,
                false => write!(self.out, "{style}{text}{style:#}")?,
            }
        }
        writeln!(self.out)
    }

    /// Writes a text in lines of the width. The styles are in the order of their ranges, which do not overlap.
    pub(crate) fn paragraph(
        &mut self,
        text: &str,
        styles: &[(Range<usize>, Style)],
    ) -> io::Result<()> {
        let mut styles = styles.iter().peekable();
        let mut spans = Vec::new();
        for line in wrap(text, self.text_columns()) {
            let mut at = line.start;
            spans.clear();
            while let Some((range, style)) = styles.peek() {
                let begin = range.start.clamp(at, line.end);
                let end = range.end.clamp(begin, line.end);
                spans.push((Style::new(), &text[at..begin]));
                spans.push((*style, &text[begin..end]));
                at = end;
                if range.end > line.end {
                    break;
                }
                styles.next();
            }
            spans.push((Style::new(), &text[at..line.end]));
            self.line(&spans)?;
        }
        Ok(())
    }
}
