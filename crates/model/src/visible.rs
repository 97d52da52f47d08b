//! Makes texts of foreign origin safe to show in a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::ser::Formatter;
use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory,
};

/// Returns the text as one line with all of its characters visible, for a message or a cell of a table.
///
/// A terminal obeys control characters. Bidirectional, zero-width and other format characters make a text
/// look like another one. Each of them is replaced by a sign: U+001B by `␛`, U+202E by `\u{202e}`. U+200C,
/// U+200D and variation selectors are kept where they have an effect: between letters of a script that joins
/// them, between emoji, after a character with variants. A text without such characters is not copied.
///
/// ```
/// use turnkeep_model::visible;
///
/// assert_eq!(visible("a\x1b[31m\nb\u{202e}"), r"a␛[31m␊b\u{202e}");
/// assert_eq!(visible("👩‍💻 می‌خواهم"), "👩‍💻 می‌خواهم");
/// ```
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    show(text, |_| false)
}

/// Like [`visible`], but keeps line breaks and tabs.
///
/// ```
/// assert_eq!(turnkeep_model::visible_lines("a\tb\n\x1b[2J"), "a\tb\n␛[2J");
/// ```
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    show(text, |c| matches!(c, '\n' | '\t'))
}

/// Returns the path as [`visible`] text. Bytes that are not UTF-8 are replaced by `�`.
#[must_use]
pub fn visible_path(path: &Path) -> String {
    visible(&path.to_string_lossy()).into_owned()
}

fn show(text: &str, keep: fn(char) -> bool) -> Cow<'_, str> {
    // Most texts are such ones, and a test of their bytes takes a fraction of the time.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || !text.contains(|c| is_unseen(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    // The character before a selector or joiner, and whether it has a selector already.
    let mut before = None;
    let mut is_varied = false;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let after = rest.clone().next();
        let is_variant = || before.is_some_and(|before| has_variant(before, c, after));
        if !is_unseen(c) || keep(c) {
            (before, is_varied) = (Some(c), false);
        } else if is_selector(c) && !is_varied && is_variant() {
            is_varied = true;
        } else if is_joiner(c) && is_joined(c, before, after) {
            before = None;
        } else {
            before = None;
            push_sign(&mut shown, c);
            continue;
        }
        shown.push(c);
    }
    Cow::Owned(shown)
}

fn push_sign(shown: &mut String, c: char) {
    match u32::from(c) {
        code @ 0..0x20 => shown.push(char::from_u32(0x2400 + code).unwrap_or('�')),
        0x7f => shown.push('␡'),
        // Writing to a string never fails.
        code => drop(write!(shown, "\\u{{{code:x}}}")),
    }
}

/// Whether a character is invisible: control and format characters, line and paragraph separators, variation
/// selectors, fillers.
fn is_unseen(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match c.general_category() {
        GeneralCategory::Control
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => true,
        GeneralCategory::Format => !is_number_sign(c),
        _ => is_selector(c) || is_filler(c),
    }
}

/// The visible format characters: signs around a number.
fn is_number_sign(c: char) -> bool {
    matches!(
        c,
        '\u{600}'..='\u{605}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{110bd}'
            | '\u{110cd}'
    )
}

/// Invisible characters of other categories: Unicode's `Default_Ignorable_Code_Point`.
fn is_filler(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{2065}'
            | '\u{3164}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn is_selector(c: char) -> bool {
    matches!(
        c,
        '\u{180b}'..='\u{180d}'
            | '\u{180f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether a selector may choose a variant of the character before it. Letters with a case have no variants,
/// digits only as a keycap.
fn has_variant(c: char, selector: char, after: Option<char>) -> bool {
    if c.is_ascii() {
        let is_keycap = selector == '\u{fe0f}' && after == Some('\u{20e3}');
        return is_keycap && matches!(c, '0'..='9' | '#' | '*');
    }
    let category = c.general_category();
    is_emoji(c)
        || matches!(category, GeneralCategory::OtherLetter)
        || matches!(
            category,
            GeneralCategory::MathSymbol | GeneralCategory::OtherSymbol
        )
        || c.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// Whether a joiner joins or separates the characters around it.
fn is_joined(joiner: char, before: Option<char>, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    let are_letters = is_joining_letter(before) && is_joining_letter(after);
    are_letters || (joiner == '\u{200d}' && is_emoji(before) && is_emoji(after))
}

fn is_emoji(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char()
}

/// A letter or mark of a script that joins its letters: Arabic, the scripts of South Asia, Mongolian.
fn is_joining_letter(c: char) -> bool {
    let is_of_script = matches!(
        c,
        '\u{600}'..='\u{109f}'
            | '\u{1700}'..='\u{1c7f}'
            | '\u{1cd0}'..='\u{1cff}'
            | '\u{a800}'..='\u{ab2f}'
            | '\u{abc0}'..='\u{abff}'
            | '\u{fb50}'..='\u{fdff}'
            | '\u{fe70}'..='\u{fefe}'
            | '\u{10a00}'..='\u{11fff}'
            | '\u{1e900}'..='\u{1e95f}'
    );
    let group = c.general_category_group();
    is_of_script
        && !is_unseen(c)
        && matches!(
            group,
            GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark
        )
}

/// A JSON formatter that writes invisible characters as `\u` escapes, which keeps the values.
///
/// It decides by the character alone, so it escapes all joiners and selectors.
///
/// ```
/// use serde_json::{Serializer, Value};
/// use turnkeep_model::VisibleJson;
///
/// let mut json = Vec::new();
/// let mut serializer = Serializer::with_formatter(&mut json, VisibleJson);
/// serde::Serialize::serialize("a\u{202e}\u{7f}\u{e0041}ü", &mut serializer)?;
/// assert_eq!(String::from_utf8_lossy(&json), r#""a\u202e\u007f\udb40\udc41ü""#);
/// assert_eq!(serde_json::from_slice::<Value>(&json)?, "a\u{202e}\u{7f}\u{e0041}ü");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "has no settings")]
pub struct VisibleJson;

impl Formatter for VisibleJson {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unseen) {
            let (plain, from) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut after = from.chars();
            if let Some(c) = after.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_and_format_characters_become_visible() {
        for (text, shown) in [
            ("a\x1b[31mb\r\n\0\x7f\u{9b}ü", r"a␛[31mb␍␊␀␡\u{9b}ü"),
            ("\x1b]0;title\x07", "␛]0;title␇"),
            // A forged hint.
            ("x\nhint: rm -rf ~", "x␊hint: rm -rf ~"),
            ("a\u{2028}b\u{2029}c\u{85}d", r"a\u{2028}b\u{2029}c\u{85}d"),
            // Trojan source.
            (
                "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}",
                r"\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}",
            ),
            (
                "\u{2066}\u{2067}\u{2068}\u{2069}",
                r"\u{2066}\u{2067}\u{2068}\u{2069}",
            ),
            ("\u{200e}\u{200f}\u{61c}", r"\u{200e}\u{200f}\u{61c}"),
            // Zero-width.
            (
                "a\u{200b}b\u{2060}c\u{feff}d",
                r"a\u{200b}b\u{2060}c\u{feff}d",
            ),
            ("a\u{ad}b\u{180e}c\u{34f}d", r"a\u{ad}b\u{180e}c\u{34f}d"),
            (
                "\u{2061}\u{2064}\u{2065}\u{206f}",
                r"\u{2061}\u{2064}\u{2065}\u{206f}",
            ),
            ("\u{115f}\u{3164}\u{ffa0}", r"\u{115f}\u{3164}\u{ffa0}"),
            ("\u{fff9}a\u{fffa}b\u{fffb}", r"\u{fff9}a\u{fffa}b\u{fffb}"),
            (
                "\u{e0001}\u{e0041}\u{e007f}",
                r"\u{e0001}\u{e0041}\u{e007f}",
            ),
            ("\u{1d173}\u{1bca0}", r"\u{1d173}\u{1bca0}"),
            // Joiners and selectors without effect.
            ("pass\u{200d}word", r"pass\u{200d}word"),
            ("а\u{200c}б", r"а\u{200c}б"),
            ("\u{200d}👩", r"\u{200d}👩"),
            ("👩\u{200d}", r"👩\u{200d}"),
            ("👩\u{200d} 💻", r"👩\u{200d} 💻"),
            ("👩\u{200d}\u{200d}💻", r"👩\u{200d}\u{200d}💻"),
            ("👩\u{200c}💻", r"👩\u{200c}💻"),
            ("م\u{200c}x", r"م\u{200c}x"),
            ("a\u{fe0f}b", r"a\u{fe0f}b"),
            ("é\u{fe00}1\u{fe0f}", r"é\u{fe00}1\u{fe0f}"),
            ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}\\u{fe0f}"),
            ("😀\u{e0101}\u{e0102}", "😀\u{e0101}\\u{e0102}"),
            ("a\u{e0101}", r"a\u{e0101}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn plain_text_is_unchanged() {
        for text in [
            "",
            "plain",
            "Grüße, мир, 任務, שלום, مرحبا",
            // Persian, Hindi, Bengali, Sinhala.
            "می\u{200c}خواهم",
            "क्\u{200d}ष क्\u{200c}ष",
            "র\u{200d}্য",
            "ශ්\u{200d}රී",
            // A family, a flag, a programmer, a heart, a nod, a keycap, presentation as text.
            "👨\u{200d}👩\u{200d}👧\u{200d}👦",
            "🏳\u{fe0f}\u{200d}🌈 🏴\u{200d}☠\u{fe0f}",
            "👩🏽\u{200d}💻 👩🏽\u{200d}⚕\u{fe0f}",
            "❤\u{fe0f}\u{200d}🔥",
            "🙂\u{200d}↔\u{fe0f}",
            "1\u{fe0f}\u{20e3} #\u{fe0f}\u{20e3}",
            "☎\u{fe0e} ‼\u{fe0f} ℹ\u{fe0f}",
            "辻\u{e0100}",
            "ᠠ\u{180b}",
            "٣\u{6dd}",
        ] {
            assert_eq!(visible(text), text);
        }
    }

    proptest! {
        /// A visible text stays the same, and has joiners and selectors only beside a letter or an emoji.
        #[test]
        fn a_visible_text_stays_the_same(text in "[ab1#\u{5b9}\u{645}\u{915}\u{94d}❤👩🏽\u{200b}-\u{200e}\u{202e}\u{fe0e}\u{fe0f}\u{20e3}\u{e0101}\u{1b}\n\u{7f}\u{9b}]{0,12}") {
            let shown = visible(&text);
            prop_assert_eq!(&visible(&shown), &shown);
            prop_assert!(!shown.contains(|c| is_unseen(c) && !is_selector(c) && !is_joiner(c)));
            let chars: Vec<char> = shown.chars().collect();
            for pair in chars.windows(2) {
                prop_assert!(!(is_unseen(pair[0]) && is_selector(pair[1])), "{:?}", shown);
            }
        }
    }

    #[test]
    fn visible_lines_keeps_line_breaks_and_tabs() {
        assert_eq!(visible_lines("a\tb\r\nc\x0b"), "a\tb␍\nc␋");
        assert!(matches!(visible_lines("a\tb\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_escapes_invisible_characters_and_keeps_the_value() {
        let json = |text: &str| {
            let mut json = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(&mut json, VisibleJson);
            serde::Serialize::serialize(text, &mut serializer).unwrap();
            String::from_utf8(json).unwrap()
        };
        let every_char = ('\0'..=char::MAX)
            .filter(|c| is_unseen(*c))
            .chain("ü\"\\/任🔥".chars());
        let text: String = every_char.collect();
        let written = json(&text);
        assert_eq!(visible(&written), written);
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        assert_eq!(
            json("\x1b\n\u{9b}👩\u{200d}💻"),
            r#""\u001b\n\u009b👩\u200d💻""#
        );
    }
}
