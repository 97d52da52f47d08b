//! Standard output: JSON lines for programs, text and tables for people. All values pass through [`Output`],
//! which makes their characters visible.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::iter;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use serde_json::Serializer;
use turnkeep_model::{VisibleJson, visible, visible_lines};

use crate::failure;
use crate::table;

/// Standard output, buffered.
///
/// A closed pipe is an error, not a panic as with `println!`. Colours are written only if the terminal shows
/// them.
pub(crate) struct Output {
    is_json: bool,
    is_terminal: bool,
    has_colors: bool,
    raw: Raw,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let choice = AutoStream::choice(&stdout);
        let has_colors = choice != ColorChoice::Never;
        // A stream without colours would also remove escape sequences from the texts of a conversation.
        let stream = if has_colors {
            AutoStream::new(stdout.lock(), choice)
        } else {
            AutoStream::always_ansi(stdout.lock())
        };
        Self {
            is_json,
            is_terminal,
            has_colors,
            raw: Raw {
                stream: BufWriter::new(stream),
                may_drop: false,
            },
        }
    }

    /// Lets the command go on when the reader of the output has left. A command that changes the store would stop
    /// halfway otherwise.
    pub(crate) fn go_on_without_reader(&mut self) {
        self.raw.may_drop = true;
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether a person reads the output.
    pub(crate) fn is_for_person(&self) -> bool {
        self.is_terminal && !self.is_json
    }

    pub(crate) fn has_colors(&self) -> bool {
        self.has_colors
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json(&mut self, record: &impl Serialize) -> io::Result<()> {
        record.serialize(&mut Serializer::with_formatter(&mut self.raw, VisibleJson))?;
        self.raw.write_all(b"\n")
    }

    /// Writes one line. Line breaks in it become visible signs.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.raw, "{}", visible(text))
    }

    /// Writes one line, with a style if the output has colours.
    pub(crate) fn title(&mut self, style: Style, text: &str) -> io::Result<()> {
        let style = if self.has_colors { style } else { Style::new() };
        writeln!(self.raw, "{style}{}{style:#}", visible(text))
    }

    /// Writes one line of parts, each with its style if the output has colours.
    pub(crate) fn parts(&mut self, parts: &[(Style, &str)]) -> io::Result<()> {
        for (style, text) in parts {
            let style = if self.has_colors {
                *style
            } else {
                Style::new()
            };
            write!(self.raw, "{style}{}{style:#}", visible(text))?;
        }
        self.raw.write_all(b"\n")
    }

    /// Writes a text of several lines, and a newline if it does not end in one. On a terminal its characters
    /// become visible, elsewhere the bytes stay unchanged.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        if self.is_terminal {
            self.raw.write_all(visible_lines(text).as_bytes())?;
        } else {
            self.raw.write_all(text.as_bytes())?;
        }
        if !text.ends_with('\n') {
            self.raw.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Prints a remark for people on standard error: "no tasks". Flushes first, which keeps the order if both
    /// streams go to the same file.
    pub(crate) fn note(&mut self, message: impl Display) -> io::Result<()> {
        self.flush()?;
        failure::note(message);
        Ok(())
    }

    /// Returns the raw stream, for output that escapes foreign values itself.
    pub(crate) fn raw(&mut self) -> &mut impl Write {
        &mut self.raw
    }

    /// Writes the buffered output.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.raw.flush()
    }

    /// Writes rows below a header. A column whose title ends in `#` holds numbers.
    pub(crate) fn table<const N: usize>(
        &mut self,
        titles: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> io::Result<()> {
        self.table_part(titles, rows, true)
    }

    /// Writes rows of a longer table. Each part has its own widths; the header stands only above the first.
    pub(crate) fn table_part<const N: usize>(
        &mut self,
        titles: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
        is_first: bool,
    ) -> io::Result<()> {
        let header = titles.map(|title| title.trim_end_matches('#').to_owned());
        let rows = rows.into_iter().map(|row| row.map(in_sight));
        let rows: Vec<_> = iter::once(header).chain(rows).collect();
        let mut lines = table::lines(&rows, titles.map(|title| title.ends_with('#'))).into_iter();
        if let Some(header) = lines.next().filter(|_| is_first) {
            self.title(Style::new().bold(), &header)?;
        }
        lines.try_for_each(|line| writeln!(self.raw, "{line}"))
    }

    /// Writes names and values, one pair per line.
    pub(crate) fn fields<const N: usize>(&mut self, fields: [(&str, String); N]) -> io::Result<()> {
        let rows = fields.map(|(name, value)| [name.to_owned(), in_sight(value)]);
        let mut lines = table::lines(&rows, [false; 2]).into_iter();
        lines.try_for_each(|line| writeln!(self.raw, "{line}"))
    }

    /// Writes the buffered output.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        Ok(self.flush()?)
    }
}

/// The buffered stream, with a context for its errors.
struct Raw {
    stream: BufWriter<AutoStream<io::StdoutLock<'static>>>,
    /// Whether output for a reader that has left is dropped.
    may_drop: bool,
}

impl Raw {
    /// Writes, and passes over a closed pipe with `dropped` if that is allowed.
    fn with<T>(
        &mut self,
        dropped: T,
        write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> io::Result<T> {
        match write(&mut self.stream) {
            Err(error) if self.may_drop && error.kind() == io::ErrorKind::BrokenPipe => Ok(dropped),
            result => result.map_err(in_words),
        }
    }
}

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(bytes.len(), |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with((), |stream| stream.flush())
    }
}

/// Adds a context to the error of a write to standard output or to a pager.
pub(crate) fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), ClosedOutput),
        kind => io::Error::new(kind, format!("cannot write the output: {error}")),
    }
}

/// The cause of the error of a write whose reader has left. Other closed pipes are failures.
#[derive(Debug)]
pub(crate) struct ClosedOutput;

impl Display for ClosedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output is closed")
    }
}

impl std::error::Error for ClosedOutput {}

/// Returns the text with all of its characters visible.
pub(crate) fn in_sight(text: String) -> String {
    match visible(&text) {
        Cow::Owned(shown) => shown,
        Cow::Borrowed(_) => text,
    }
}

/// Draws a number as a bar, with the full width for `of`. A number above 0 has at least one block.
pub(crate) fn bar(number: u64, of: u64) -> String {
    const WIDTH: u64 = 30;
    let length = u128::from(number) * u128::from(WIDTH) / u128::from(of.max(1));
    let length = length.max(u128::from(number > 0));
    "█".repeat(usize::try_from(length).unwrap_or_default())
}

/// Counts in words: `1 task`, `2 tasks`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

/// Cuts a text to 60 characters for a cell of a table.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().nth(LONGEST).is_none() {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Returns a progress bar on standard error. It is hidden if that is not a terminal. `{left}` in the template is the time
/// left, once there is a position to tell it from.
pub(crate) fn progress_bar(length: u64, template: &str, is_wanted: bool) -> ProgressBar {
    let target = match is_wanted {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    // Tests check the templates. The fallback is the default style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(
            style.with_key("left", |state: &ProgressState, to: &mut dyn fmt::Write| {
                if state.pos() > 0 && !state.is_finished() {
                    let left = HumanDuration(state.eta());
                    // A bar has no place for an error.
                    let _ = write!(to, ", {left:#} left");
                }
            }),
        );
    }
    // The spinner moves even while no count changes.
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_proportional_and_shows_small_numbers() {
        let length = |number, of| bar(number, of).chars().count();
        assert_eq!((length(0, 0), length(0, 9)), (0, 0));
        assert_eq!(
            (length(1, 1_000), length(500, 1_000), length(7, 7)),
            (1, 15, 30)
        );
        assert_eq!(length(u64::MAX, u64::MAX), 30);
    }

    #[test]
    fn only_long_texts_are_cut() {
        assert_eq!(shorten(&"ü".repeat(60)), "ü".repeat(60));
        assert_eq!(shorten(&"ü".repeat(61)), format!("{}…", "ü".repeat(59)));
    }
}
