//! The preparation of texts and queries for FTS5's tokenizer, which takes a run of letters for one word.

use std::borrow::Cow;

/// Puts blanks between the characters of scripts that put none between words, so that each is a word of its own.
pub(crate) fn separated(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_without_blanks) {
        return Cow::Borrowed(text);
    }
    let mut separated = String::with_capacity(text.len() * 4 / 3);
    let mut previous = ' ';
    for character in text.chars() {
        let is_boundary = is_without_blanks(previous) || is_without_blanks(character);
        if is_boundary && !previous.is_whitespace() && !character.is_whitespace() {
            separated.push(' ');
        }
        separated.push(character);
        previous = character;
    }
    Cow::Owned(separated)
}

fn is_without_blanks(character: char) -> bool {
    matches!(character,
        '\u{e00}'..='\u{eff}'           // Thai, Lao
        | '\u{1000}'..='\u{109f}'       // Burmese
        | '\u{1780}'..='\u{17ff}'       // Khmer
        | '\u{2e80}'..='\u{2fff}'       // Radicals of Chinese
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{31ff}'       // Kana, Bopomofo
        | '\u{3400}'..='\u{4dbf}'       // Chinese
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}'       // Hangul, whose words take endings
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ff9f}'       // Kana of half the width
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_without_blanks_are_separated() {
        for (text, expected) in [
            ("", ""),
            ("plain — “text”", "plain — “text”"),
            ("日本語", "日 本 語"),
            ("a日 本b", "a 日 本 b"),
            ("사과를", "사 과 를"),
            ("\n日\n", "\n日\n"),
        ] {
            assert_eq!(separated(text), expected);
        }
    }
}
