use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::escape::line;
use super::{STYLE_HASH, begin};
use crate::conversation::{Header, minute};

const SCRIPT: &str = include_str!("index.js");

/// The SHA-256 of the script in base64. A test compares it.
const SCRIPT_HASH: &str = "r5mwqSbJwg66f6MSYr/OxF9lxedDTHS3nRCaViVFbNY=";

/// The words of a session that the page finds, in characters.
const LONGEST_TEXT: usize = 4_000;

/// A session in the index of a folder of pages.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexEntry<'a> {
    /// The name of its page in the folder.
    pub file: Cow<'a, str>,
    /// Its facts.
    pub header: Header<'a>,
    /// Its prompts, in which the page searches. The first 4,000 characters are used.
    pub prompts: Cow<'a, str>,
}

impl<'a> IndexEntry<'a> {
    /// Makes an entry.
    #[must_use]
    pub fn new(
        file: impl Into<Cow<'a, str>>,
        header: Header<'a>,
        prompts: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self {
            file: file.into(),
            header,
            prompts: prompts.into(),
        }
    }
}

impl fmt::Debug for IndexEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexEntry")
            .field("file", &self.file)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Writes an index of pages in the same folder, in the order of the entries.
///
/// A small script in the page shows only the sessions that contain all words of a field, in title, agent, folder or
/// prompts. Without scripts the page lists all sessions.
///
/// # Errors
///
/// The output can't be written.
pub fn index<'a>(
    title: &str,
    entries: impl IntoIterator<Item = IndexEntry<'a>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let policy = format!("style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{SCRIPT_HASH}'");
    begin(title, &policy, out)?;
    write!(
        out,
        "<h1 dir=auto>{}</h1>\n<input type=\"search\" aria-label=\"Search titles and prompts\" placeholder=\"Search titles and prompts\" hidden>\n\
         <p class=\"none\" hidden>No conversation has these words.</p>\n<ul class=\"sessions\">\n",
        line(title)
    )?;
    for entry in entries {
        row(&entry, out)?;
    }
    write!(out, "</ul>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

fn row(entry: &IndexEntry<'_>, out: &mut dyn Write) -> io::Result<()> {
    const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    let header = &entry.header;
    let mut facts: Vec<_> = [&header.agent, &header.folder]
        .into_iter()
        .flatten()
        .map(|it| it.to_string())
        .collect();
    facts.push(format!("{} turns", header.turns));
    facts.extend(header.span.map(|(_, last)| minute(&last)));
    let prompts: String = entry.prompts.chars().take(LONGEST_TEXT).collect();
    let text = format!("{} {} {prompts}", header.title, facts.join(" ")).to_lowercase();
    // In spans, so that a line ends between two facts.
    let facts = facts
        .iter()
        .map(|fact| format!("<span>{}</span> ", line(fact)));
    let facts: String = facts.collect();
    writeln!(
        out,
        "<li data-text=\"{}\"><a href=\"./{}\" dir=auto>{}</a><small>{}</small>",
        line(&text),
        utf8_percent_encode(&entry.file, NAME),
        line(&header.title),
        facts
    )
}
