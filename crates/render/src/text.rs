//! Texts of foreign origin.

use std::borrow::Cow;

use turnkeep_model::{visible, visible_lines};

/// Returns the text with all characters visible but line breaks and tabs. `\r\n` is a line break.
///
/// The result may still contain character references such as `&#27;`. The Markdown parser decodes them, so its
/// texts pass through `visible_lines` once more.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains("\r\n") {
        return visible_lines(text);
    }
    Cow::Owned(visible_lines(&text.replace("\r\n", "\n")).into_owned())
}

/// Returns the first line that is not blank, cut to a number of characters.
pub(crate) fn first_line(text: &str, longest: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    let mut shown: String = line.chars().take(longest).collect();
    if shown.len() < line.len() {
        shown.pop();
        shown.push('…');
    }
    visible(&shown).into_owned()
}

/// Replaces tabs by blanks up to the next multiple of four columns.
pub(crate) fn expand_tabs(line: &str) -> Cow<'_, str> {
    if !line.contains('\t') {
        return Cow::Borrowed(line);
    }
    let mut expanded = String::new();
    let mut column = 0;
    for c in line.chars() {
        if c == '\t' {
            let blanks = 4 - column % 4;
            expanded.extend(std::iter::repeat_n(' ', blanks));
            column += blanks;
        } else {
            expanded.push(c);
            column += 1;
        }
    }
    Cow::Owned(expanded)
}
