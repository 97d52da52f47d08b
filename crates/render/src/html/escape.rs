//! Texts in HTML. Their characters are visible, and none of them is a part of the markup.

use turnkeep_model::{visible, visible_lines};

/// Returns a text as one line.
pub(crate) fn line(text: &str) -> String {
    escape(&visible(text))
}

/// Returns a text with its line breaks and tabs.
pub(crate) fn lines(text: &str) -> String {
    escape(&visible_lines(text))
}

/// Escapes a text for an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_control_characters_are_escaped() {
        assert_eq!(
            line("<a href='x' id=\"y\">&amp;\n\x1b\u{202e}"),
            r"&lt;a href=&#39;x&#39; id=&quot;y&quot;&gt;&amp;amp;␊␛\u{202e}"
        );
        assert_eq!(lines("a\n\tb\0"), "a\n\tb␀");
    }
}
