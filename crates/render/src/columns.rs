//! Texts cut to columns of a terminal.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

const CUT: &str = "…";

/// Makes an emoji of the sign before it, which then takes a second column.
const EMOJI: char = '\u{fe0f}';

/// Cuts a text at its end to so many columns, with `…` for the rest.
///
/// Expects a line without control characters, such as `turnkeep_model::visible` returns.
///
/// ```
/// use turnkeep_render::cut;
///
/// assert_eq!(cut("title", 5), "title");
/// assert_eq!(cut("日本語", 5), "日本…");
/// ```
#[must_use]
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let Some(mut left) = columns.checked_sub(CUT.width()) else {
        return Cow::Borrowed("");
    };
    let fits = |c: &char| {
        let rest = left.checked_sub(width(*c));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    let kept = text.chars().take_while(fits);
    Cow::Owned(kept.chain(CUT.chars()).collect())
}

/// Cuts a path at its left to so many columns, if possible before a `/` or `\`.
///
/// ```
/// use turnkeep_render::cut_left;
///
/// assert_eq!(cut_left("~/work/shop/api", 11), "…/shop/api");
/// ```
#[must_use]
pub fn cut_left(path: &str, columns: usize) -> Cow<'_, str> {
    if path.width() <= columns {
        return Cow::Borrowed(path);
    }
    let Some(mut left) = columns.checked_sub(CUT.width()) else {
        return Cow::Borrowed("");
    };
    let mut longest = "";
    let mut whole = None;
    for (at, c) in path.char_indices().rev() {
        let Some(rest) = left.checked_sub(width(c)) else {
            break;
        };
        left = rest;
        longest = &path[at..];
        if matches!(c, '/' | '\\') {
            whole = Some(longest);
        }
    }
    Cow::Owned(format!("{CUT}{}", whole.unwrap_or(longest)))
}

/// Returns the most columns that a character adds to a text.
fn width(c: char) -> usize {
    match c {
        EMOJI => 1,
        c => c.width().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_columns() {
        for (text, columns, expected) in [
            ("title", 5, "title"),
            ("titles", 5, "titl…"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("titles", 1, "…"),
            ("titles", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, columns), expected);
        }
    }

    #[test]
    fn a_cut_text_is_never_wider_than_its_columns() {
        let texts = [
            "❤️❤️❤️❤️ hearts",
            "👩‍🚀👩‍🚀 🇩🇪🇫🇷 flags",
            "👍🏽 ok 日本語のテキスト",
            "한국어 텍스트",
        ];
        for text in texts {
            for columns in 0..30 {
                assert!(cut(text, columns).width() <= columns, "{text} {columns}");
                assert!(
                    cut_left(text, columns).width() <= columns,
                    "{text} {columns}"
                );
            }
        }
    }

    #[test]
    fn paths_are_cut_before_a_folder_if_one_fits() {
        for (path, columns, expected) in [
            ("~/work/shop", 11, "~/work/shop"),
            ("~/work/shop", 10, "…/shop"),
            ("/a/日本語", 6, "…本語"),
            ("/x/averylongname", 6, "…gname"),
            ("C:\\work\\shop", 9, "…\\shop"),
            ("/x", 1, "…"),
            ("/x", 0, ""),
        ] {
            assert_eq!(cut_left(path, columns), expected);
        }
    }
}
