//! Markdown on a terminal.

use std::io;
use std::mem;
use std::ops::Range;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Tag, TagEnd};
use turnkeep_model::{visible, visible_lines};

use super::page::Page;
use super::{DIM, verbatim};
use crate::code::{Part, highlight};
use crate::commonmark::parse;
use crate::links::shown_target;
use crate::text::expand_tabs;

/// A line below the header.
const TABLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Writes a text of Markdown.
pub(crate) fn write(text: &str, page: &mut Page<'_>) -> io::Result<()> {
    let Some(events) = parse(text) else {
        return verbatim(text, page);
    };
    let mut document = Document::new(page);
    for (event, _) in events {
        document.event(event)?;
    }
    document.flush()
}

struct Document<'p, 'w> {
    page: &'p mut Page<'w>,
    /// The words of the current paragraph, heading or cell, and their styles.
    text: String,
    styles: Vec<(Range<usize>, Style)>,
    /// The style at the end of `text`, and those to return to.
    style: Style,
    outer_styles: Vec<Style>,
    /// A block has ended, and the next one follows after a blank line.
    has_gap: bool,
    lists: Vec<List>,
    code: Option<Code>,
    table: Option<Vec<Vec<String>>>,
    links: Vec<Link>,
}

struct List {
    /// The number of the next item.
    number: Option<u64>,
    /// Its items contain paragraphs, and have blank lines between them.
    is_loose: bool,
}

struct Code {
    language: String,
    text: String,
}

struct Link {
    /// Where its words begin.
    begin: usize,
    target: String,
}

impl<'p, 'w> Document<'p, 'w> {
    fn new(page: &'p mut Page<'w>) -> Self {
        Self {
            page,
            text: String::new(),
            styles: Vec::new(),
            style: Style::new(),
            outer_styles: Vec::new(),
            has_gap: false,
            lists: Vec::new(),
            code: None,
            table: None,
            links: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Start(tag) => return self.start(tag),
            Event::End(tag) => return self.end(tag),
            Event::Text(text) | Event::Html(text) => match &mut self.code {
                Some(code) => code.text += &visible_lines(&text),
                None => self.push(&text),
            },
            Event::InlineHtml(text) => self.push(&text),
            Event::Code(text) => {
                self.enter(AnsiColor::Yellow.on_default(), "`");
                self.push(&text);
                self.leave("`");
            }
            Event::SoftBreak => self.push(" "),
            Event::HardBreak => self.push("\n"),
            Event::Rule => {
                self.begin()?;
                let rule = "─".repeat(self.page.text_columns());
                self.page.line(&[(DIM, &rule)])?;
                self.has_gap = true;
            }
            Event::TaskListMarker(is_done) => self.push(if is_done { "[x] " } else { "[ ] " }),
            // The parser is told to find no others.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, tag: Tag<'_>) -> io::Result<()> {
        match tag {
            Tag::Paragraph => {
                if let Some(list) = self.lists.last_mut() {
                    list.is_loose = true;
                }
                self.begin()?;
            }
            Tag::Heading { level, .. } => {
                self.begin()?;
                let style = match level {
                    HeadingLevel::H1 | HeadingLevel::H2 => Style::new().bold().underline(),
                    _ => Style::new().bold(),
                };
                self.enter(style, &format!("{} ", "#".repeat(level as usize)));
            }
            Tag::BlockQuote(_) => {
                self.begin()?;
                self.page.indent("│ ", "│ ");
            }
            Tag::CodeBlock(kind) => {
                self.begin()?;
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.to_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                self.start_code(language);
            }
            Tag::HtmlBlock => {
                self.begin()?;
                self.start_code("html".to_owned());
            }
            Tag::List(number) => {
                self.begin()?;
                self.lists.push(List {
                    number,
                    is_loose: false,
                });
            }
            Tag::Item => self.start_item()?,
            Tag::Table(_) => {
                self.begin()?;
                self.table = Some(Vec::new());
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(rows) = &mut self.table {
                    rows.push(Vec::new());
                }
            }
            Tag::Emphasis => self.enter(Style::new().italic(), "*"),
            Tag::Strong => self.enter(Style::new().bold(), "**"),
            Tag::Strikethrough => self.enter(Style::new().strikethrough(), "~~"),
            Tag::Link { dest_url, .. } => {
                self.start_link(&dest_url);
                self.enter(Style::new().underline(), "");
            }
            Tag::Image { dest_url, .. } => {
                self.push("[image: ");
                self.start_link(&dest_url);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) -> io::Result<()> {
        match tag {
            TagEnd::Paragraph => {
                self.flush()?;
                self.has_gap = true;
            }
            TagEnd::Heading(_) => {
                self.leave("");
                self.flush()?;
                self.has_gap = true;
            }
            TagEnd::BlockQuote(_) => {
                self.close_indent()?;
                self.has_gap = true;
            }
            TagEnd::CodeBlock | TagEnd::HtmlBlock => {
                self.write_code()?;
                self.has_gap = true;
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.has_gap = self.lists.last().is_none_or(|outer| outer.is_loose);
            }
            TagEnd::Item => {
                self.flush()?;
                self.close_indent()?;
                self.has_gap = self.lists.last().is_some_and(|list| list.is_loose);
            }
            TagEnd::Table => {
                self.write_table()?;
                self.has_gap = true;
            }
            TagEnd::TableCell => {
                let cell = mem::take(&mut self.text);
                self.styles.clear();
                if let Some(row) = self.table.as_mut().and_then(|rows| rows.last_mut()) {
                    row.push(cell);
                }
            }
            TagEnd::Emphasis => self.leave("*"),
            TagEnd::Strong => self.leave("**"),
            TagEnd::Strikethrough => self.leave("~~"),
            TagEnd::Link => {
                self.leave("");
                self.end_link();
            }
            TagEnd::Image => {
                self.push("]");
                self.end_link();
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the words of a list item that has no paragraphs, and writes the blank line before a block.
    fn begin(&mut self) -> io::Result<()> {
        self.flush()?;
        if mem::take(&mut self.has_gap) {
            self.page.line(&[])?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = mem::take(&mut self.text);
        let styles = mem::take(&mut self.styles);
        if text.is_empty() {
            return Ok(());
        }
        self.page.paragraph(&text, &styles)
    }

    fn push(&mut self, text: &str) {
        let begin = self.text.len();
        self.text += &expand_tabs(&visible_lines(text));
        if self.style != Style::new() {
            self.styles.push((begin..self.text.len(), self.style));
        }
    }

    /// Begins a style. Without colours a mark stands for it.
    fn enter(&mut self, style: Style, mark: &str) {
        self.outer_styles.push(self.style);
        let color = style.get_fg_color().or(self.style.get_fg_color());
        self.style = (self.style | style.get_effects()).fg_color(color);
        self.mark(mark);
    }

    fn leave(&mut self, mark: &str) {
        self.mark(mark);
        self.style = self.outer_styles.pop().unwrap_or_default();
    }

    fn mark(&mut self, mark: &str) {
        if !self.page.has_colors() {
            self.push(mark);
        }
    }

    fn start_link(&mut self, target: &str) {
        self.links.push(Link {
            begin: self.text.len(),
            target: shown_target(target),
        });
    }

    /// Writes the target after the words of a link, unless they are the target.
    fn end_link(&mut self) {
        let Some(link) = self.links.pop() else { return };
        let words = self.text.get(link.begin..).unwrap_or_default();
        let target = &link.target;
        if words != target && target.strip_prefix("mailto:") != Some(words) {
            self.enter(DIM, "");
            self.push(&format!(" ({target})"));
            self.leave("");
        }
    }

    fn start_item(&mut self) -> io::Result<()> {
        self.begin()?;
        let number = self.lists.last_mut().and_then(|list| list.number.as_mut());
        let mark = number.map_or("• ".to_owned(), |number| {
            let mark = format!("{number}. ");
            *number = number.saturating_add(1);
            mark
        });
        let blanks = " ".repeat(mark.chars().count());
        self.page.indent(&mark, &blanks);
        Ok(())
    }

    /// Ends an indent. One without a line is an empty item or quote.
    fn close_indent(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.page.is_indent_unused() {
            self.page.line(&[])?;
        }
        self.page.outdent();
        Ok(())
    }

    fn start_code(&mut self, language: String) {
        self.code = Some(Code {
            language,
            text: String::new(),
        });
    }

    fn write_code(&mut self) -> io::Result<()> {
        let Some(code) = self.code.take() else {
            return Ok(());
        };
        let text: Vec<_> = code.text.lines().map(expand_tabs).collect();
        let text = text.join("\n");
        self.page.indent("  ", "  ");
        let mut line = Vec::new();
        let parts = match self.page.has_colors() {
            true => highlight(&code.language, &text),
            false => vec![(Part::Plain, text.as_str())],
        };
        for (part, text) in parts {
            let mut pieces = text.split('\n');
            line.extend(pieces.next().map(|piece| (of_part(part), piece)));
            for piece in pieces {
                self.page.line(&line)?;
                line = vec![(of_part(part), piece)];
            }
        }
        self.page.line(&line)?;
        self.page.outdent();
        Ok(())
    }

    fn write_table(&mut self) -> io::Result<()> {
        let mut rows = self.table.take().unwrap_or_default().into_iter();
        let mut table = Table::new();
        table
            .load_style(TABLE)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(self.page.columns(usize::MAX)).unwrap_or(u16::MAX));
        if let Some(head) = rows.next() {
            table.set_header(head);
        }
        table.add_rows(rows);
        for line in table.lines() {
            self.page
                .line(&[(Style::new(), &visible(line.trim_end()))])?;
        }
        Ok(())
    }
}

fn of_part(part: Part) -> Style {
    let color = match part {
        Part::Plain => return Style::new(),
        Part::Comment => return DIM,
        Part::String | Part::Added => AnsiColor::Green,
        Part::Number => AnsiColor::Magenta,
        Part::Keyword => AnsiColor::Blue,
        Part::Name => AnsiColor::Cyan,
        Part::Removed => AnsiColor::Red,
    };
    color.on_default()
}
