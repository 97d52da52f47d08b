//! Values after a name such as `PASSWORD=`, `"api_key": ` or `token is`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::keys::is_value;

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
        let place = Place {
            name: &text[name.start()..end_of_name(text, name.start())],
            begin: word_before(text, name.start()),
            end: value.range.end,
            text,
            sign: groups.name("sign").map_or("", |sign| sign.as_str()),
            is_password: groups.name("password").is_some(),
            is_key: groups.name("key").is_some(),
        };
        let words = &text[value.range.clone()];
        let is_secret = match value.is_quoted {
            true => place.is_quoted_secret(words),
            false => place.is_secret(words),
        };
        if is_secret && !value.range.is_empty() {
            at = value.range.end;
            found.push(value.range);
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
        let quote = bytes.get(begin + escapes).copied();
        let Some(quote) = quote.filter(|quote| b"\"'`".contains(quote)) else {
            continue;
        };
        let begin = begin + escapes + 1;
        return Value {
            range: begin..end_of_quote(text, begin, quote, escapes),
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

/// Returns the place of the quote that ends a value, or of the end of the line. In a text as in JSON both quotes have
/// a `\` before them, and an inner one has more.
fn end_of_quote(text: &str, begin: usize, quote: u8, escapes: usize) -> usize {
    let mut before = 0;
    for (at, byte) in text.bytes().enumerate().skip(begin) {
        let is_end = match byte == quote {
            true if escapes == 0 => before % 2 == 0,
            true => before <= escapes,
            false => {
                byte == b'\n' || (byte == b'n' && escapes > 0 && (1..=escapes).contains(&before))
            }
        };
        if is_end || at - begin > LONGEST {
            let end = at
                - if byte == quote && escapes == 0 {
                    0
                } else {
                    before
                };
            return (begin..=end.max(begin))
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(begin);
        }
        before = if byte == b'\\' { before + 1 } else { 0 };
    }
    text.len()
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
    /// Where the value ends.
    end: usize,
    name: &'t str,
    sign: &'t str,
    /// Passwords are words. Keys and tokens have digits, and these names are also those of parsers and maps.
    is_password: bool,
    /// Only `KEY`.
    is_key: bool,
}

impl Place<'_> {
    fn is_quoted_secret(&self, value: &str) -> bool {
        let shortest = if self.is_password { 4 } else { 6 };
        // `setPassword("…")`. Other calls are as often about words.
        if self.sign == "(" && !(self.is_password && is_mixed(value)) {
            return false;
        }
        let is_long = value.chars().count() >= shortest && !value.starts_with(char::is_whitespace);
        let is_meant = match value.contains(char::is_whitespace) {
            true => (self.is_password || self.is_upper()) && !is_sentence(value),
            false => !self.is_repeat(value) && !is_type(value),
        };
        is_long && is_meant && is_value(value) && (!self.is_key || is_mixed(value))
    }

    fn is_secret(&self, value: &str) -> bool {
        if value.len() < 4
            || self.sign == "("
            || !is_value(value)
            || is_type(value)
            || self.is_repeat(value)
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
        let line = self.text[..self.begin]
            .rsplit('\n')
            .next()
            .unwrap_or_default();
        // `cat -n` and a patch have signs before the line.
        let line = line.trim_matches(|c: char| c.is_ascii_digit() || " \t→:|+->".contains(c));
        let is_first = matches!(line, "" | "export" | "set");
        let rest = self.text[self.end..].trim_start_matches([' ', '\t', '\r']);
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

    /// Whether the value is a name of the same thing: `password: user.password`.
    fn is_repeat(&self, value: &str) -> bool {
        let letters = |text: &str| -> String {
            let letters = text.chars().filter(char::is_ascii_alphanumeric);
            letters.map(|c| c.to_ascii_lowercase()).collect()
        };
        let (value, name) = (letters(value), letters(self.name));
        value.ends_with(&name)
            || value
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .ends_with(&name)
    }
}

fn is_mixed(value: &str) -> bool {
    let has = |is_of: fn(&u8) -> bool| value.as_bytes().iter().any(is_of);
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
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
