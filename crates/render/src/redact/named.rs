//! Values after a name such as `PASSWORD=`, `"api_key": ` or `token is`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::keys::{is_call, is_given, is_literal, is_mixed, is_value};

/// A longer value is no password.
const LONGEST: usize = 512;

/// A name and the sign after it. There may be quotes (escaped as in JSON), colours and the `**` of Markdown between.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const COLOR: &str = r"(?:(?:\x1b|␛|\\+u001[bB]|\\+x1[bB]|\\+e|\\+033)\[[0-9;]*[A-Za-z])*";
    let pattern = format!(
        r#"(?x)
        (?: (?P<name> (?i-u:
                (?P<password> pass(?:word|wd|phrase|code|wort) | kennwort | pwd | (?-u:\b{{start-half}}|_)(?:pass|psk) )
                | secret | token | credentials? | _auth
                | (?:api|access|private|secret|signing|encryption|account|master|auth)[-_\ ]?key
            ) )
            (?: [A-Z0-9_]* | (?i-u: (?:[-_.]?(?:access|key|token|secret|base|value))* [0-9]* ) )
          | (?P<key> KEY ) [A-Z0-9_]* )
        {COLOR} \\* ["'`]? \]? \?? {COLOR} (?: [\ \t]* \[[^\]\r\n]{{0,40}}\] )?
        (?P<sign> [\ \t]* (?: => | := | [=:] ) \*{{0,2}} [\ \t]* | [\ \t]+is[\ \t]+ | \( ) {COLOR}"#
    );
    // A test uses it.
    Regex::new(&pattern).ok()
});

/// Returns where the values stand.
pub(super) fn values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(groups) = NAME.as_ref().and_then(|name| name.captures_at(text, at)) {
        at = groups.get_match().end();
        let value = value_at(text, at);
        let Some(name) = groups.name("name").or(groups.name("key")) else {
            continue;
        };
        let (range, is_quoted) = (value.range.clone(), value.is_quoted);
        let place = Place {
            name: &text[name.start()..end_of_name(text, name.start())],
            begin: word_before(text, name.start()),
            value: value.range,
            text,
            sign: groups.name("sign").map_or("", |sign| sign.as_str()),
            is_password: groups.name("password").is_some(),
            is_key: groups.name("key").is_some(),
        };
        let is_secret = match is_quoted {
            true => place.is_quoted_secret(),
            false => place.is_secret(),
        };
        if is_secret && !range.is_empty() {
            at = range.end;
            found.push(range);
        }
    }
    found
}

struct Value {
    range: Range<usize>,
    is_quoted: bool,
}

/// Reads a value: up to its quote, or else to a blank, a quote, or the next name (`&x=`, `;x=`).
fn value_at(text: &str, at: usize) -> Value {
    let bytes = text.as_bytes();
    let count = |from: usize, is_meant: fn(u8) -> bool| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| is_meant(**byte)).count()
    };
    // `b"…"`, `f'…'`
    let letters = at + count(at, |byte| b"bfruBFRU".contains(&byte)).min(2);
    for begin in [at, letters] {
        let escapes = count(begin, |byte| byte == b'\\');
        let sign = bytes.get(begin + escapes).copied();
        let Some(sign) = sign.filter(|sign| b"\"'`".contains(sign)) else {
            continue;
        };
        let begin = begin + escapes + 1;
        return Value {
            range: begin..end_of_quote(text, begin, Quote { sign, escapes }),
            is_quoted: true,
        };
    }
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "\"'`\\<>␛".contains(c);
    let rest = &text[at..];
    let length = rest.find(is_end).unwrap_or(rest.len());
    let length = if length > LONGEST { 0 } else { length };
    let rest = &rest[..length];
    let mut signs = rest.match_indices(['&', ';', ',']);
    let next = signs.find(|(at, _)| begins_with_name(&rest[at + 1..]));
    let rest = &rest[..next.map_or(length, |(at, _)| at)];
    let rest = rest.trim_end_matches(['.', ',', ';', ':', ')', ']', '}', '&', '|', '*']);
    Value {
        range: at..at + rest.len(),
        is_quoted: false,
    }
}

/// Returns where a value in quotes ends: before its second quote and the backslashes there, or at the end of its line.
fn end_of_quote(text: &str, begin: usize, quote: Quote) -> usize {
    let mut backslashes = 0;
    for (at, byte) in text.bytes().enumerate().skip(begin).take(LONGEST) {
        if quote.is_end(byte, backslashes) {
            return at - backslashes;
        }
        backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
    }
    let longest = (begin + LONGEST).min(text.len());
    let mut ends = (begin..=longest).rev();
    ends.find(|at| text.is_char_boundary(*at)).unwrap_or(begin)
}

/// The first quote of a value.
#[derive(Clone, Copy)]
struct Quote {
    sign: u8,
    /// The backslashes before it: 0, but 1 in JSON, and 3 in JSON within JSON.
    escapes: usize,
}

impl Quote {
    /// Whether a byte after so many backslashes ends the value.
    fn is_end(self, byte: u8, backslashes: usize) -> bool {
        if byte == self.sign {
            return match self.escapes {
                // `\"` is part of the value, and `\\"` its end.
                0 => backslashes.is_multiple_of(2),
                // Quotes within the value have more backslashes than those around it.
                escapes => backslashes <= escapes,
            };
        }
        let is_escaped_break = byte == b'n' && (1..=self.escapes).contains(&backslashes);
        byte == b'\n' || is_escaped_break
    }
}

/// Whether the quote before a value ends a text in a program: `"password=" + word + "&"`. Then an odd number of such
/// quotes is before it in its line.
fn is_after_text(text: &str, begin: usize) -> bool {
    let bytes = text.as_bytes();
    let backslashes = |at: usize| {
        let before = bytes[..at].iter().rev();
        before.take_while(|byte| **byte == b'\\').count()
    };
    let is_letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    // `don't`
    let is_apostrophe = |at: usize| at > 1 && [at - 2, at - 1, at + 1].into_iter().all(is_letter);
    let Some(place) = begin.checked_sub(1) else {
        return false;
    };
    let escapes = backslashes(place);
    let is_same = |at: &usize| bytes[*at] == bytes[place] && backslashes(*at) == escapes;
    let quotes = line_before(text, place).filter(|at| is_same(at) && !is_apostrophe(*at));
    quotes.count() % 2 == 1
}

/// Returns the place of a line up to a place in it, at most the last 4 KiB of it.
fn line_before(text: &str, end: usize) -> Range<usize> {
    let longest = end.min(4_096);
    let mut line = text.as_bytes()[..end].iter().rev().take(longest);
    let length = line.position(|byte| *byte == b'\n');
    end - length.unwrap_or(longest)..end
}

fn begins_with_name(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let end = text.find(|c| !is_of_name(c));
    end.is_some_and(|end| end > 0 && text[end..].starts_with(['=', ':']))
}

fn end_of_name(text: &str, at: usize) -> usize {
    let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let rest = text.as_bytes()[at..].iter().take(LONGEST);
    at + rest.take_while(is_of_name).count()
}

/// Returns where the word begins that ends in a name: `spring.datasource.password`.
fn word_before(text: &str, at: usize) -> usize {
    let before = text.as_bytes()[..at].iter().rev().take(LONGEST);
    let is_of_word = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    at - before.take_while(is_of_word).count()
}

/// Returns a word without the rest of a colour before it: `32mTOKEN`.
fn without_color(word: &str) -> &str {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix('m').filter(|_| rest.len() < word.len());
    rest.unwrap_or(word)
}

/// A value and the text around it.
struct Place<'t> {
    text: &'t str,
    /// Where the word of the name begins.
    begin: usize,
    /// Where the value stands.
    value: Range<usize>,
    name: &'t str,
    sign: &'t str,
    /// Passwords are words. Keys and tokens have digits, and these names are also those of parsers and maps.
    is_password: bool,
    /// Only `KEY`.
    is_key: bool,
}

impl Place<'_> {
    fn value(&self) -> &str {
        &self.text[self.value.clone()]
    }

    fn is_quoted_secret(&self) -> bool {
        let value = self.value();
        let shortest = if self.is_password { 4 } else { 6 };
        // `setPassword("…")`. Other calls are as often about words.
        if self.sign == "(" && !(self.is_password && is_mixed(value)) {
            return false;
        }
        let is_long = value.chars().count() >= shortest && !value.starts_with(char::is_whitespace);
        let is_meant = match value.contains(char::is_whitespace) {
            true => (self.is_password || self.is_upper()) && !is_sentence(value),
            // In quotes `password1` is no name of a variable.
            false => !self.is_repeat(!self.is_password) && !is_type(value),
        };
        let is_value = is_value(value) || self.is_odd_value();
        is_long && is_meant && is_value && (!self.is_key || is_mixed(value))
    }

    /// Whether a text in quotes that begins as a variable or a call does is a value: `"%Xy12abc!"`. A password needs no
    /// digits for that.
    fn is_odd_value(&self) -> bool {
        let value = self.value();
        let is_word = is_identifier(value) || value.contains(char::is_whitespace);
        let is_password = self.is_password && !is_word && is_literal(value) && !is_call(value);
        (is_given(value) || is_password) && !is_after_text(self.text, self.value.start)
    }

    fn is_secret(&self) -> bool {
        let value = self.value();
        let is_value = is_value(value) || (self.is_setting() && is_given(value));
        if value.len() < 4
            || self.sign == "("
            || !is_value
            || is_type(value)
            || self.is_repeat(!self.is_setting())
        {
            return false;
        }
        if self.sign.trim() == "is" || self.is_key {
            return value.len() >= 6 && is_mixed(value);
        }
        if value.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.is_password;
        }
        match is_identifier(value) {
            // `password=user_password`, `token: next`
            true => self.is_setting(),
            false => !is_path(value),
        }
    }

    /// Whether it stands in the environment, in a file of settings, or in an address.
    fn is_setting(&self) -> bool {
        let bytes = self.text.as_bytes();
        let is_upper = self.is_upper();
        let before = self.begin.checked_sub(1).map(|at| bytes[at]);
        let is_tight = self.sign == "=" || (self.sign == ":" && is_upper);
        // `None` if it begins in the middle of a character.
        let line = self.text.get(line_before(self.text, self.begin));
        // `cat -n` and a patch have signs before the line.
        let numbers = |c: char| c.is_ascii_digit() || " \t→:|+->".contains(c);
        let line = line.map(|line| line.trim_matches(numbers));
        let is_first = matches!(line, Some("" | "export" | "set"));
        let rest = self.text[self.value.end..].trim_start_matches([' ', '\t', '\r']);
        let is_last = rest.is_empty() || rest.starts_with('\n');
        let is_in_address = matches!(before, Some(b'?' | b'&' | b'/' | b':'));
        (is_tight && (is_upper || is_in_address || (is_first && is_last)))
            || (self.is_password && is_first && is_last && self.sign.starts_with(':'))
    }

    /// Whether the whole name is that of a variable of the environment.
    fn is_upper(&self) -> bool {
        let word = without_color(&self.text[self.begin..]);
        let mut parts = word.split(['=', ':', ' ', '"', '\'', '\x1b']);
        let word = parts.next().unwrap_or_default();
        word.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    }

    /// Whether the value is a name of the same thing: `user_password` and `user1.password`. In a program also
    /// `sha256_password` and `password2`.
    fn is_repeat(&self, is_in_program: bool) -> bool {
        let letters = |text: &str| -> String {
            let letters = text.chars().filter(char::is_ascii_alphanumeric);
            letters.map(|c| c.to_ascii_lowercase()).collect()
        };
        let value = self.value();
        let (all, name) = (letters(value), letters(self.name));
        let field = value.rsplit(['.', '>', ':', '[']).next();
        let is_field = field.is_some_and(|it| it.len() < value.len() && letters(it) == name);
        let without_number = all.strip_suffix(|c: char| c.is_ascii_digit());
        let is_numbered = without_number.is_some_and(|it| it.ends_with(&name));
        let has_digits = value.contains(|c: char| c.is_ascii_digit());
        is_field
            || (all.ends_with(&name) && (is_in_program || !has_digits))
            || (is_numbered && is_in_program)
    }
}

/// Words with points and dashes between: also what a program has in this place.
fn is_identifier(value: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphabetic() || "_-.:!?".contains(c);
    value.chars().all(is_of_name)
}

/// `/run/secrets/db`, `./keys`
fn is_path(value: &str) -> bool {
    let is_of_path = |c: char| c.is_ascii_lowercase() || "/._-".contains(c);
    value.starts_with(['/', '~']) && value.matches('/').count() > 1 && value.chars().all(is_of_path)
}

/// Words of languages and schemas, colours and addresses.
fn is_type(value: &str) -> bool {
    const WORDS: [&str; 44] = [
        "string",
        "str",
        "text",
        "number",
        "integer",
        "bool",
        "boolean",
        "bytes",
        "object",
        "array",
        "any",
        "unknown",
        "null",
        "none",
        "nil",
        "undefined",
        "true",
        "false",
        "required",
        "optional",
        "char",
        "varchar",
        "uint8",
        "int32",
        "int64",
        "uint32",
        "uint64",
        "float32",
        "float64",
        "usize",
        "isize",
        "u128",
        "i128",
        "self",
        "this",
        "bearer",
        "basic",
        "oauth",
        "oauth2",
        "base64",
        "sha256",
        "sha512",
        "utf8",
        "utf16",
    ];
    let value = value.trim_end_matches(['?', '!', '.']).to_ascii_lowercase();
    let color = value.strip_prefix('#').filter(|it| it.len() <= 8);
    let is_color = color.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_color || value.contains("://") || WORDS.contains(&value.as_str())
}

/// Whether words in quotes are about a password.
fn is_sentence(value: &str) -> bool {
    const WORDS: [&str; 30] = [
        "password",
        "passwords",
        "passphrase",
        "token",
        "tokens",
        "secret",
        "secrets",
        "key",
        "keys",
        "your",
        "the",
        "a",
        "an",
        "is",
        "must",
        "enter",
        "please",
        "invalid",
        "required",
        "for",
        "to",
        "of",
        "not",
        "or",
        "and",
        "with",
        "wrong",
        "new",
        "missing",
        "expired",
    ];
    let mut words = value.split(|c: char| !c.is_alphanumeric());
    value.ends_with(['.', '?', ':', '…'])
        || words.any(|word| WORDS.contains(&word.to_lowercase().as_str()))
}
