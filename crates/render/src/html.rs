//! Conversations as HTML pages.
//!
//! A page is one file without references to others: its style is in it, code is highlighted already, and images of
//! the texts are links. Texts are untrusted. They are escaped, HTML in Markdown included, and only links to the web
//! and to mail addresses are links. A content security policy forbids scripts and requests besides.

mod body;
mod escape;
mod index;

use std::io::{self, Write};

use turnkeep_model::Role;

use self::escape::{line, lines};
pub use self::index::{IndexEntry, index};
use crate::conversation::{Header, ToolCall, Turn, minute};
use crate::text::{clean, first_line};

const STYLE: &str = include_str!("html/page.css");

/// The SHA-256 of the style in base64. A test compares it.
const STYLE_HASH: &str = "lUjRhEYzBuk03jRvoAThd/2yXtDDZk6VN0Aj3XxZxnI=";

/// Writes a conversation as a page, with a table of contents by prompts, and an anchor `turn-SEQ` for each turn.
///
/// # Errors
///
/// The output can't be written.
///
/// ```
/// use turnkeep_render::{Header, Turn, chrono::DateTime, html};
/// # use turnkeep_model::Role;
///
/// let time = DateTime::parse_from_rfc3339("2026-11-28T14:02:00+01:00")?;
/// let turn = Turn::new(1, Role::User, time, "<script>alert(1)</script>");
/// let mut page = Vec::new();
/// html::page(&Header::new("The login page"), &[turn], &mut page)?;
/// assert!(!String::from_utf8(page)?.contains("<script"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn page(header: &Header<'_>, turns: &[Turn<'_>], out: &mut dyn Write) -> io::Result<()> {
    begin(
        &header.title,
        &format!("style-src 'sha256-{STYLE_HASH}'"),
        out,
    )?;
    let title = line(&header.title);
    write!(out, "<header>\n<h1 dir=auto>{title}</h1>\n<dl>\n")?;
    for (name, value) in header.fields() {
        let value = line(&value);
        match name {
            "folder" | "resume" => writeln!(out, "<dt>{name}<dd><code>{value}</code>")?,
            _ => writeln!(out, "<dt>{name}<dd>{value}")?,
        }
    }
    writeln!(out, "</dl>\n</header>")?;
    contents(turns, out)?;
    writeln!(out, "<main>")?;
    turns.iter().try_for_each(|it| turn(it, out))?;
    writeln!(out, "</main>\n</body>\n</html>")
}

/// Writes everything before the contents of a page.
fn begin(title: &str, policy: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = line(title);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; {policy}; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta http-equiv=\"x-dns-prefetch-control\" content=\"off\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
}

/// Writes the prompts as links to their turns.
fn contents(turns: &[Turn<'_>], out: &mut dyn Write) -> io::Result<()> {
    const LONGEST_PROMPT: usize = 100;
    let prompts = turns.iter().filter(|turn| turn.role == Role::User);
    if prompts.clone().nth(1).is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "<nav>\n<details open>\n<summary>Prompts</summary>\n<ol>"
    )?;
    for turn in prompts {
        let prompt = first_line(&turn.text, LONGEST_PROMPT);
        let prompt = line(&prompt);
        writeln!(
            out,
            "<li><a href=\"#turn-{}\" dir=auto>{prompt}</a>",
            turn.seq
        )?;
    }
    writeln!(out, "</ol>\n</details>\n</nav>")
}

fn turn(turn: &Turn<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (seq, role) = (turn.seq, turn.role);
    let (time, stamp) = (minute(&turn.time), turn.time.to_rfc3339());
    write!(
        out,
        "<article id=\"turn-{seq}\" class=\"{role}\">\n<h2><b>{role}</b> \
         <time datetime=\"{stamp}\">{time}</time> <a href=\"#turn-{seq}\">#{seq}</a></h2>\n"
    )?;
    let text = clean(&turn.text);
    match role {
        Role::Assistant => body::write(&text, out)?,
        Role::Tool => folded("result", &text, out)?,
        _ => writeln!(
            out,
            "<div class=\"words\" dir=auto>{}</div>",
            lines(text.trim_end())
        )?,
    }
    turn.tools.iter().try_for_each(|call| tool(call, out))?;
    writeln!(out, "</article>")
}

fn folded(name: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    summary(name, text, out)?;
    writeln!(out, "<pre>{}</pre>\n</details>", lines(text.trim_end()))
}

fn tool(call: &ToolCall<'_>, out: &mut dyn Write) -> io::Result<()> {
    let input = clean(&call.input);
    summary(&call.name, &input, out)?;
    writeln!(out, "<pre>{}</pre>", lines(input.trim_end()))?;
    if let Some(output) = &call.output {
        let output = clean(output);
        writeln!(out, "<pre>{}</pre>", lines(output.trim_end()))?;
    }
    writeln!(out, "</details>")
}

fn summary(name: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    const LONGEST: usize = 120;
    let [name, text] = [name, text].map(|text| line(&first_line(text, LONGEST)));
    writeln!(
        out,
        "<details>\n<summary><b>{name}</b> <code>{text}</code></summary>"
    )
}
