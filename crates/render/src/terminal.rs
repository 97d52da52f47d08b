//! Conversations as text for a terminal.

mod document;
mod page;
mod wrap;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use turnkeep_model::{Role, visible};
use unicode_width::UnicodeWidthStr as _;

use self::page::Page;
use crate::columns::cut;
use crate::conversation::{Header, ToolCall, Turn, minute};
use crate::text::{clean, expand_tabs, first_line};

const MARGIN: &str = "  ";
const DIM: Style = Style::new().dimmed();

/// Writes conversations as text for a terminal.
///
/// Words are wrapped at the width, and at 100 columns in a wider terminal. Code is not wrapped, so that a copied
/// line is whole. Control characters and escape sequences of the texts become visible signs.
///
/// ```
/// use turnkeep_render::{Header, Terminal, Turn, chrono::DateTime};
/// # use turnkeep_model::Role;
///
/// let time = DateTime::parse_from_rfc3339("2026-11-28T14:02:00+01:00")?;
/// let terminal = Terminal::new(80);
/// let mut shown = Vec::new();
/// terminal.header(&Header::new("The login page"), &mut shown)?;
/// terminal.turn(&Turn::new(1, Role::Assistant, time, "It is **done**."), &mut shown)?;
///
/// let shown = String::from_utf8(shown)?;
/// assert!(shown.ends_with("assistant  2026-11-28 14:02  #1\n\n  It is **done**.\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Terminal {
    width: usize,
    has_colors: bool,
    is_full: bool,
}

impl Terminal {
    /// The width of the terminal in columns. Without colours, emphasis keeps its marks.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self {
            width,
            has_colors: false,
            is_full: false,
        }
    }

    /// Whether to write colours, as ANSI escape sequences.
    #[must_use]
    pub fn colors(mut self, has_colors: bool) -> Self {
        self.has_colors = has_colors;
        self
    }

    /// Whether to write all lines of tool calls and their results, not one line for each.
    #[must_use]
    pub fn full_tools(mut self, is_full: bool) -> Self {
        self.is_full = is_full;
        self
    }

    /// Writes the title and the facts of a conversation.
    ///
    /// # Errors
    ///
    /// The output can't be written.
    pub fn header(&self, header: &Header<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut page = self.page(out);
        let title = visible(&header.title);
        let bold = (0..title.len(), Style::new().bold());
        page.paragraph(&title, &[bold])?;
        for (name, value) in header.fields() {
            page.line(&[
                (DIM, &format!("{name:<8}")),
                (Style::new(), &visible(&value)),
            ])?;
        }
        Ok(())
    }

    /// Writes a turn, with a blank line before it.
    ///
    /// # Errors
    ///
    /// The output can't be written.
    pub fn turn(&self, turn: &Turn<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut page = self.page(out);
        page.line(&[])?;
        page.line(&[
            (of_role(turn.role), turn.role.as_str()),
            (DIM, &format!("  {}  #{}", minute(&turn.time), turn.seq)),
        ])?;
        page.line(&[])?;
        page.indent(MARGIN, MARGIN);
        let text = clean(&turn.text);
        match turn.role {
            Role::Assistant => document::write(&text, &mut page)?,
            _ => verbatim(&text, &mut page)?,
        }
        if !turn.tools.is_empty() && !text.is_empty() {
            page.line(&[])?;
        }
        for tool in &turn.tools {
            self.tool(tool, &mut page)?;
        }
        Ok(())
    }

    fn tool(&self, tool: &ToolCall<'_>, page: &mut Page<'_>) -> io::Result<()> {
        const LONGEST_NAME: usize = 40;
        // A margin and a sign are before the name.
        let columns = self.width.saturating_sub(MARGIN.len() + 2);
        let name = visible(&tool.name);
        let name = cut(&name, columns.min(LONGEST_NAME));
        if !self.is_full {
            let columns = columns.saturating_sub(name.width() + 1);
            let input = first_line(&tool.input, columns);
            let input = cut(&input, columns);
            let blank = if input.is_empty() { "" } else { " " };
            return page.line(&[
                (DIM, "▸ "),
                (DIM.bold(), &name),
                (DIM, blank),
                (DIM, &input),
            ]);
        }
        page.line(&[(DIM, "▾ "), (DIM.bold(), &name)])?;
        page.indent("  ", "  ");
        verbatim(&clean(&tool.input), page)?;
        if let Some(output) = &tool.output {
            page.indent("│ ", "│ ");
            verbatim(&clean(output), page)?;
            page.outdent();
        }
        page.outdent();
        Ok(())
    }

    fn page<'w>(&self, out: &'w mut dyn Write) -> Page<'w> {
        Page::new(out, self.width, self.has_colors)
    }
}

/// Writes a text as it is, with long lines wrapped at words.
fn verbatim(text: &str, page: &mut Page<'_>) -> io::Result<()> {
    let text = text.trim_end_matches('\n');
    text.split('\n')
        .try_for_each(|line| page.paragraph(&expand_tabs(line), &[]))
}

fn of_role(role: Role) -> Style {
    let color = match role {
        Role::User => AnsiColor::Green,
        Role::Assistant => AnsiColor::Cyan,
        Role::System => AnsiColor::Yellow,
        Role::Tool => AnsiColor::Magenta,
    };
    color.on_default().bold()
}
