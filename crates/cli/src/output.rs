//! Standard output: lines of JSON for programs, text and tables for people.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Standard output, buffered.
///
/// Unlike `println!` it fails instead of panicking when nobody reads any more, and colours are
/// written only where they are shown.
pub(crate) struct Output {
    is_json: bool,
    is_terminal: bool,
    has_colors: bool,
    writer: BufWriter<AutoStream<io::StdoutLock<'static>>>,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let choice = AutoStream::choice(&stdout);
        let has_colors = choice != ColorChoice::Never;
        // A stream without colours would take them out of what was said in a conversation, too.
        let stream = if has_colors {
            AutoStream::new(stdout.lock(), choice)
        } else {
            AutoStream::always_ansi(stdout.lock())
        };
        Self {
            is_json,
            is_terminal,
            has_colors,
            writer: BufWriter::new(stream),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Writes one line of JSON.
    pub(crate) fn json(&mut self, record: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self, record)?;
        self.write_all(b"\n")
    }

    /// Writes a line in a style, if styles are shown.
    pub(crate) fn line(&mut self, style: Style, text: &str) -> io::Result<()> {
        let style = if self.has_colors { style } else { Style::new() };
        writeln!(self, "{style}{text}{style:#}")
    }

    /// Writes a text that others wrote, and a newline if it doesn't end in one. Byte for byte,
    /// but a terminal is spared what it would take for commands.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        if self.is_terminal {
            let keep = |c| matches!(c, '\n' | '\t');
            self.write_all(visible(text, keep).as_bytes())?;
        } else {
            self.write_all(text.as_bytes())?;
        }
        if !text.ends_with('\n') {
            self.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Writes rows below a header. A title that ends in `#` is that of a column of numbers.
    pub(crate) fn table<const N: usize>(
        &mut self,
        titles: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> io::Result<()> {
        let mut table = plain_table(rows);
        table.set_header(titles.map(|title| title.trim_end_matches('#')));
        align(&mut table);
        for (column, title) in table.column_iter_mut().zip(titles) {
            if title.ends_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut lines = table.lines();
        if let Some(header) = lines.next() {
            self.line(Style::new().bold(), header.trim_end())?;
        }
        lines.try_for_each(|line| writeln!(self, "{}", line.trim_end()))
    }

    /// Writes names and values, one pair a line.
    pub(crate) fn fields<const N: usize>(&mut self, fields: [(&str, String); N]) -> io::Result<()> {
        let mut table = plain_table(fields.map(|(name, value)| [name.to_owned(), value]));
        align(&mut table);
        table
            .lines()
            .try_for_each(|line| writeln!(self, "{}", line.trim_end()))
    }

    /// Writes out what is still buffered.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        Ok(self.flush()?)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(in_words)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(in_words)
    }
}

fn in_words(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write the output: {error}"))
}

fn plain_table<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(
        rows.into_iter()
            .map(|row| row.map(|cell| visible(&cell, |_| false).into_owned())),
    );
    table
}

/// Two blanks between columns, none before the first. Columns exist only once there are cells.
fn align(table: &mut Table) {
    table.discover_columns();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

/// Draws a number as a bar, as long as all there is room for if it is `of` all.
pub(crate) fn bar(number: u64, of: u64) -> String {
    const WIDTH: u64 = 30;
    let length = u128::from(number) * u128::from(WIDTH) / u128::from(of.max(1));
    // What there is shows.
    let length = length.max(u128::from(number > 0));
    "█".repeat(usize::try_from(length).unwrap_or_default())
}

/// Cuts a text that nobody has to type again, so that it leaves room in a table.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().nth(LONGEST).is_none() {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Returns a bar on standard error, if that is a terminal.
pub(crate) fn progress_bar(length: u64, template: &str, is_wanted: bool) -> ProgressBar {
    let target = match is_wanted {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    // Templates are checked by tests; the default bar does as well.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    // What takes a while may have nothing to count meanwhile.
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Replaces control characters by the signs Unicode has for them, which a terminal shows instead
/// of obeying.
pub(crate) fn visible(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let hide = |c: char| c.is_control() && !keep(c);
    if !text.contains(hide) {
        return Cow::Borrowed(text);
    }
    let sign = |c: char| match u32::from(c) {
        _ if !hide(c) => c,
        0x7f => '␡',
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or('�'),
        _ => '�',
    };
    Cow::Owned(text.chars().map(sign).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        let shown = visible("a\x1b[31mb\r\n\0\x7f\u{9b}ü", |c| c == '\n');
        assert_eq!(shown, "a␛[31mb␍\n␀␡�ü");
        assert!(matches!(
            visible("a\tb", |c| c == '\t'),
            Cow::Borrowed("a\tb")
        ));
    }

    #[test]
    fn a_bar_shows_what_there_is() {
        let length = |number, of| bar(number, of).chars().count();
        assert_eq!((length(0, 0), length(0, 9)), (0, 0));
        assert_eq!(
            (length(1, 1_000), length(500, 1_000), length(7, 7)),
            (1, 15, 30)
        );
        assert_eq!(length(u64::MAX, u64::MAX), 30);
    }

    #[test]
    fn only_what_is_too_long_is_cut() {
        assert_eq!(shorten(&"ü".repeat(60)), "ü".repeat(60));
        assert_eq!(shorten(&"ü".repeat(61)), format!("{}…", "ü".repeat(59)));
    }
}
