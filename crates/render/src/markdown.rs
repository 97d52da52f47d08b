//! Conversations as Markdown.
//!
//! A document has a heading for each turn. A prompt is a quote. HTML in the texts is escaped, images are links, and an
//! open code block is closed. Definitions of links are words, because they would hold for the whole document. So no text
//! changes the document around it.

use std::borrow::Cow;
use std::io::{self, Write};

use pulldown_cmark::{CodeBlockKind, Event, OffsetIter, Tag, TagEnd};
use turnkeep_model::{Role, visible};

use crate::commonmark::{in_other_dialects, parse};
use crate::conversation::{Header, ToolCall, Turn, minute};
use crate::links::web_target;
use crate::text::{clean, first_line};

/// Writes the title and the facts of a conversation.
///
/// # Errors
///
/// The output can't be written.
pub fn header(header: &Header<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "# {}\n",
        escape(&first_line(&header.title, usize::MAX))
    )?;
    for (name, value) in header.fields() {
        match name {
            "folder" | "resume" => writeln!(out, "- {name}: {}", code(&value))?,
            _ => writeln!(out, "- {name}: {}", escape(&visible(&value)))?,
        }
    }
    Ok(())
}

/// Writes a turn.
///
/// # Errors
///
/// The output can't be written.
pub fn turn(turn: &Turn<'_>, out: &mut dyn Write) -> io::Result<()> {
    let time = minute(&turn.time);
    writeln!(out, "\n## #{} {}, {time}\n", turn.seq, turn.role)?;
    let text = clean(&turn.text);
    match turn.role {
        Role::Assistant => writeln!(out, "{}", contained(&text).trim_end())?,
        Role::User => {
            // A tab after `> ` reaches to another column, so that the line may be read in another way.
            for line in contained(&text.replace('\t', "    "))
                .trim_end()
                .split('\n')
            {
                writeln!(out, "{}", format!("> {line}").trim_end())?;
            }
        }
        _ => fenced("text", &text, out)?,
    }
    turn.tools.iter().try_for_each(|call| tool(call, out))
}

fn tool(call: &ToolCall<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n**{}**\n", escape(&visible(&call.name)))?;
    fenced("text", &clean(&call.input), out)?;
    match &call.output {
        Some(output) => {
            writeln!(out)?;
            fenced("text", &clean(output), out)
        }
        None => Ok(()),
    }
}

/// Writes a code block with a fence that the text does not contain.
fn fenced(language: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    let fence = "`".repeat(longest_run(text, '`').max(2) + 1);
    writeln!(out, "{fence}{language}\n{}\n{fence}", text.trim_end())
}

/// Returns a text as inline code.
fn code(text: &str) -> String {
    let text = visible(text);
    let mark = "`".repeat(longest_run(&text, '`') + 1);
    match text.starts_with('`') || text.ends_with('`') {
        true => format!("{mark} {text} {mark}"),
        false => format!("{mark}{text}{mark}"),
    }
}

fn longest_run(text: &str, of: char) -> usize {
    let runs = text.split(|c| c != of).map(str::len);
    runs.max().unwrap_or(0) / of.len_utf8()
}

/// Escapes a line, so that it is read as plain words.
fn escape(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len() + 8);
    for c in line.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '&' | '#' | '|' | '~'
        ) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Returns Markdown without HTML and without an open code block, with its headings below those of the turns.
fn contained(text: &str) -> Cow<'_, str> {
    // The text after an escaped tag may be read in another way, and have another tag.
    const ROUNDS: usize = 8;
    let mut text = Cow::Borrowed(text);
    for _ in 0..ROUNDS {
        let Some(escaped) = with_marks_escaped(&text) else {
            break;
        };
        let is_done = escaped == *text;
        text = Cow::Owned(escaped);
        if is_done {
            return Cow::Owned(with_headings_below(&text) + &missing_fence(&text));
        }
    }
    let mut block = Vec::new();
    // Writing to memory does not fail.
    drop(fenced("text", &text, &mut block));
    Cow::Owned(String::from_utf8_lossy(&block).into_owned())
}

/// Escapes the marks of headings, links and everything else that a text must not have. Programs with other extensions may
/// not read a text as code or as a table, so it stays only if it is that in all dialects. `None` if the text is not to be
/// read as Markdown.
fn with_marks_escaped(text: &str) -> Option<String> {
    let mut places = marks(text, parse(text)?);
    for events in in_other_dialects(text) {
        places.extend(marks(text, events));
    }
    places.sort_unstable();
    places.dedup();
    let is_escaped = |at: &usize| {
        let before = text[..*at].bytes().rev();
        before.take_while(|byte| *byte == b'\\').count() % 2 == 1
    };
    places.retain(|at| !is_escaped(at));
    let mut escaped = String::with_capacity(text.len() + places.len());
    let mut copied = 0;
    for at in places {
        escaped += &text[copied..at];
        escaped.push('\\');
        copied = at;
    }
    Some(escaped + &text[copied..])
}

/// Returns where these begin: each `<` outside of code, images (they become links), links that lead elsewhere than to
/// the web, definitions of links and footnotes, and the lines below underlined headings.
fn marks(text: &str, events: OffsetIter<'_>) -> Vec<usize> {
    let definitions = events.reference_definitions().iter();
    let mut places: Vec<_> = definitions.map(|(_, it)| it.span.start).collect();
    let mut is_code = false;
    for (event, range) in events {
        match event {
            Event::Start(Tag::CodeBlock(_)) => is_code = true,
            Event::End(TagEnd::CodeBlock) => is_code = false,
            Event::Start(Tag::Image { .. } | Tag::FootnoteDefinition(_))
            | Event::FootnoteReference(_) => places.push(range.start),
            Event::Start(Tag::Link { dest_url, .. }) if web_target(&dest_url).is_none() => {
                places.push(range.start);
            }
            // Other headings are one line.
            Event::Start(Tag::Heading { .. }) => {
                let lines = text[range.clone()].trim_end();
                let above = lines.trim_end_matches(['=', '-']);
                if above.contains('\n') {
                    places.push(range.start + above.len());
                }
            }
            Event::Html(_) | Event::InlineHtml(_) | Event::Text(_) if !is_code => {
                let marks = text[range.clone()].match_indices('<');
                places.extend(marks.map(|(at, _)| range.start + at));
            }
            _ => {}
        }
    }
    places
}

/// Moves headings two levels down.
fn with_headings_below(text: &str) -> String {
    let mut moved = String::with_capacity(text.len());
    let mut copied = 0;
    for (event, range) in parse(text).into_iter().flatten() {
        if let Event::Start(Tag::Heading { level, .. }) = event {
            moved += &text[copied..range.start];
            moved += &"##"[..2.min(6 - level as usize)];
            copied = range.start;
        }
    }
    moved + &text[copied..]
}

/// Returns the fence that closes the code block at the end of the text, if that is open.
fn missing_fence(text: &str) -> String {
    let mut depth = 0;
    let mut last = None;
    for (event, range) in parse(text).into_iter().flatten() {
        match event {
            Event::Start(tag) => {
                if let (0, Tag::CodeBlock(CodeBlockKind::Fenced(_))) = (depth, tag) {
                    last = Some(range);
                }
                depth += 1;
            }
            Event::End(_) => depth -= 1,
            _ => {}
        }
    }
    // In a list or a quote the block ends where that ends.
    let Some(block) = last.filter(|block| text[block.end..].trim().is_empty()) else {
        return String::new();
    };
    let block = text[block].trim();
    let mark = block.chars().next().unwrap_or('`');
    let fence: String = block.chars().take_while(|c| *c == mark).collect();
    let end = block.lines().skip(1).last().map(str::trim);
    let is_closed =
        end.is_some_and(|end| end.len() >= fence.len() && end.chars().all(|c| c == mark));
    match is_closed {
        true => String::new(),
        false => format!("\n{fence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_html(text: &str) -> bool {
        let mut events = parse(text).expect("the text is short");
        let is_html = |event: Event<'_>| {
            let is_image = matches!(event, Event::Start(Tag::Image { .. }));
            is_image || matches!(event, Event::Html(_) | Event::InlineHtml(_))
        };
        events.any(|(event, _)| is_html(event))
    }

    #[test]
    fn html_is_escaped_outside_of_code_and_images_are_links() {
        assert_eq!(contained("![a](https://b)"), "\\![a](https://b)");
        assert_eq!(contained("a `<b>` <i>c</i>"), "a `<b>` \\<i>c\\</i>");
        for text in [
            "<script>\n\nalert(1)\n</script>",
            "<!-- \n```\n--> <b>\n```\n<script>alert(1)</script>",
            "<div>\n```\n\n<script>alert(1)</script>\n```\n<b>x",
            "> <img src=x onerror=alert(1)>\n<b>",
            "- <details>\n\n  <b>",
            "<a href='\n\n'><?x\n<!A\n<![CDATA[\n",
            "<<b>script></b>alert(1)",
            "![a](b) [![c](d)](e) ![![f](g)](h) \\\\![i](j)",
        ] {
            let contained = contained(text);
            assert!(!has_html(&contained), "{contained}");
        }
    }

    #[test]
    fn an_open_code_block_is_closed() {
        for (text, end) in [
            ("```rust\nfn", "\n```"),
            ("~~~~\n```\n", "\n~~~~"),
            ("```\na\n```", ""),
            ("```", "\n```"),
            ("- ```\n  a", ""),
            ("a", ""),
        ] {
            assert_eq!(missing_fence(text), end, "{text}");
        }
    }

    #[test]
    fn headings_are_below_those_of_turns() {
        assert_eq!(
            contained("# A\n\n##### B\n\n`# c`\n\n###### D"),
            "### A\n\n###### B\n\n`# c`\n\n###### D"
        );
    }

    #[test]
    fn underlined_headings_are_words() {
        for (text, shown) in [
            ("#9 user\n---\n\n> I agree", "#9 user\n\\---\n\n> I agree"),
            ("a\n===\n---", "a\n\\===\n\\---"),
            ("> a\n> -\n", "> a\n> \\-\n"),
            ("- a\n  ---", "- a\n  \\---"),
            ("| a |\n|---|\nb\n---", "| a |\n|---|\nb\n\\---"),
            ("a\n\n---\n", "a\n\n---\n"),
        ] {
            assert_eq!(contained(text), shown);
        }
    }

    #[test]
    fn only_links_to_the_web_are_links() {
        for (text, shown) in [
            (
                "[a](https://a.example) <https://b.example>",
                "[a](https://a.example) <https://b.example>",
            ),
            (
                "[a](javascript:x) <data:x>",
                "\\[a](javascript:x) \\<data:x>",
            ),
            (
                "[a](file:///x) `[a](file:///x)`",
                "\\[a](file:///x) `[a](file:///x)`",
            ),
            (
                "[a]\n\n[a]: https://a.example",
                "[a]\n\n\\[a]: https://a.example",
            ),
            (
                "> [a]: b\n\n[^1]\n\n[^1]: x y",
                "> \\[a]: b\n\n\\[^1]\n\n\\[^1]: x y",
            ),
        ] {
            assert_eq!(contained(text), shown);
        }
    }

    #[test]
    fn a_text_that_is_no_markdown_is_a_code_block() {
        let deep = format!("{}<b> ``` ````", "> ".repeat(1_000));
        assert_eq!(contained(&deep), format!("`````text\n{deep}\n`````\n"));
    }
}
