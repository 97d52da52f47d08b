//! Markdown in a page.

use std::io::{self, Write};

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Tag, TagEnd, html::write_html_io};
use turnkeep_model::visible_lines;

use super::escape::{line, lines};
use crate::code::{Part, highlight};
use crate::commonmark::parse;
use crate::links::{shown_target, web_target};

/// Writes a text of Markdown. One that is too long or too deep is written as it is.
pub(crate) fn write(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let Some(events) = parse(text) else {
        return verbatim(text, out);
    };
    writeln!(out, "<div class=\"markdown\" dir=auto>")?;
    let mut body = Body::default();
    write_html_io(
        &mut *out,
        events.filter_map(|(event, _)| body.contained(event)),
    )?;
    writeln!(out, "</div>")
}

/// Writes a text with its line breaks and blanks.
pub(crate) fn verbatim(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let text = lines(text.trim_end());
    writeln!(out, "<div class=\"words\" dir=auto>{text}</div>")
}

#[derive(Default)]
struct Body {
    code: Option<Code>,
    links: Vec<Link>,
}

struct Code {
    language: String,
    text: String,
}

struct Link {
    target: String,
    words: String,
    is_open: bool,
}

impl Body {
    /// Returns an event without the author's markup.
    fn contained<'t>(&mut self, event: Event<'t>) -> Option<Event<'t>> {
        Some(match event {
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
                if let Some(code) = &mut self.code {
                    code.text += &text;
                    return None;
                }
                self.words(&text);
                // Character references are decoded to control characters.
                Event::Text(visible_lines(&text).into_owned().into())
            }
            Event::Code(text) => {
                self.words(&text);
                Event::Code(visible_lines(&text).into_owned().into())
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.to_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                return self.start_code(language);
            }
            Event::Start(Tag::HtmlBlock) => return self.start_code("html".to_owned()),
            Event::End(TagEnd::CodeBlock | TagEnd::HtmlBlock) => {
                Event::Html(highlighted(&self.code.take()?).into())
            }
            Event::Start(Tag::Link { dest_url, .. }) => markup(self.start_link(&dest_url)),
            Event::Start(Tag::Image { dest_url, .. }) => {
                markup(self.start_link(&dest_url) + "[image: ")
            }
            Event::End(TagEnd::Link) => markup(self.end_link()),
            Event::End(TagEnd::Image) => markup("]".to_owned() + &self.end_link()),
            Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
                level: below(level),
                id: None,
                classes: Vec::new(),
                attrs: Vec::new(),
            }),
            Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
            // The alignment would be a style, which the policy forbids.
            Event::Start(Tag::Table(_)) => Event::Start(Tag::Table(Vec::new())),
            Event::TaskListMarker(is_done) => Event::Text(if is_done { "☑ " } else { "☐ " }.into()),
            event => event,
        })
    }

    fn start_code<T>(&mut self, language: String) -> Option<T> {
        self.code = Some(Code {
            language,
            text: String::new(),
        });
        None
    }

    fn words(&mut self, text: &str) {
        if let Some(link) = self.links.last_mut() {
            link.words += text;
        }
    }

    fn start_link(&mut self, target: &str) -> String {
        // A link in a link, such as an image, would end the outer one.
        let is_inner = self.links.iter().any(|link| link.is_open);
        let web = web_target(target).filter(|_| !is_inner);
        self.links.push(Link {
            target: shown_target(target),
            words: String::new(),
            is_open: web.is_some(),
        });
        web.map_or_else(String::new, |target| {
            format!("<a href=\"{}\" rel=\"noreferrer noopener\">", line(target))
        })
    }

    /// Ends a link. The target stands after the words if the browser can't show it.
    fn end_link(&mut self) -> String {
        let Some(link) = self.links.pop() else {
            return String::new();
        };
        self.words(&link.words);
        if link.is_open {
            return "</a>".to_owned();
        }
        if link.words == link.target || link.target.is_empty() {
            return String::new();
        }
        format!(" ({})", line(&link.target))
    }
}

fn markup<'t>(html: String) -> Event<'t> {
    Event::InlineHtml(html.into())
}

/// Headings of a turn are below the heading of the turn.
fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

fn highlighted(code: &Code) -> String {
    let text = visible_lines(&code.text);
    let mut html = "<pre><code>".to_owned();
    for (part, piece) in highlight(&code.language, &text) {
        let piece = lines(piece);
        match class(part) {
            Some(class) => html += &format!("<span class=\"{class}\">{piece}</span>"),
            None => html += &piece,
        }
    }
    html + "</code></pre>\n"
}

/// The class of a part in `page.css`.
fn class(part: Part) -> Option<&'static str> {
    match part {
        Part::Plain => None,
        Part::Comment => Some("c"),
        Part::String => Some("s"),
        Part::Number => Some("n"),
        Part::Keyword => Some("k"),
        Part::Name => Some("f"),
        Part::Added => Some("a"),
        Part::Removed => Some("r"),
    }
}
