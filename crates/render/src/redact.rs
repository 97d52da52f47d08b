//! Personal data and secrets.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::conversation::{Header, Turn};

/// Replaces home folders, e-mail addresses, and words that look like a key or a token.
///
/// A home folder becomes `~`, an address `[e-mail]`, a key or a password `[key]`. Keys are found by the prefixes of
/// known services, by the name before them (`API_KEY=`, `--password`), and by their letters: long words in which
/// letters and digits alternate as in random ones, and 32 or more hexadecimal digits. So commit ids and checksums are
/// replaced too, while UUIDs stay. This finds careless copies, not hidden ones: read the result before you share it.
///
/// ```
/// use turnkeep_render::Redactor;
///
/// let mut redactor = Redactor::new(["/home/ada"]);
/// assert_eq!(
///     redactor.text("cd /home/ada/app; TOKEN=gh1_x9; mail ada@example.com"),
///     "cd ~/app; TOKEN=[key]; mail [e-mail]",
/// );
/// assert_eq!(redactor.redactions().to_string(), "1 home folder, 1 e-mail address, 1 key");
/// ```
#[derive(Debug)]
pub struct Redactor {
    homes: Option<Regex>,
    redactions: Redactions,
}

/// The numbers of replaced texts. `Display` has them in words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redactions {
    /// Paths that began with a home folder.
    pub home_folders: u64,
    /// E-mail addresses.
    pub email_addresses: u64,
    /// Keys, tokens and passwords.
    pub keys: u64,
}

/// The kind of a replaced text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Home,
    Email,
    Key,
}

/// A pattern with the text that replaces its group `secret`, or the whole match if it has no such group.
struct Rule {
    kind: Kind,
    pattern: Regex,
    is_meant: Condition,
}

type Condition = fn(&str) -> bool;

const RULE_COUNT: usize = 10;

/// The rules in their order. The tables of Unicode are not compiled in, so only ASCII has word
/// boundaries and cases.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let any: Condition = |_| true;
    let rules: [(Kind, &str, Condition); RULE_COUNT] = [
        (
            Kind::Key,
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.)*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
            any,
        ),
        // The prefixes of services, and JSON Web Tokens.
        (
            Kind::Key,
            r"(?x) (?-u:\b{start-half}) (?:
                sk-[A-Za-z0-9_-]{16,} | [rsp]k_(?:live|test)_[A-Za-z0-9]{10,} | whsec_[A-Za-z0-9+/=]{16,}
                | gh[opsru]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | gl[a-z]{2,5}-[A-Za-z0-9_-]{20,}
                | xox[a-z]-[A-Za-z0-9-]{10,} | xapp-[A-Za-z0-9-]{10,}
                | A[KS]IA[A-Z0-9]{16} | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_-]{20,}
                | npm_[A-Za-z0-9]{30,} | pypi-[A-Za-z0-9_-]{30,} | hf_[A-Za-z0-9]{20,} | dckr_pat_[A-Za-z0-9_-]{20,}
                | do[opr]_v1_[a-f0-9]{40,} | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
                | AGE-SECRET-KEY-1[A-Z0-9]{40,}
                | eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?
            )",
            any,
        ),
        // The password in an address.
        (
            Kind::Key,
            r#"://[^/ \t\r\n:@"'<>]*:(?<secret>[^/ \t\r\n@"'<>]+)@"#,
            is_value,
        ),
        (
            Kind::Key,
            r"(?-u:\b{start-half})(?i-u:bearer|basic|authorization: ?token) +(?<secret>[A-Za-z0-9._~+/=-]{12,})",
            any,
        ),
        // `API_KEY=…`, `export TOKEN="…"`
        (
            Kind::Key,
            r#"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)[A-Z0-9_]* ?[=:] ?["']?(?<secret>[^ \t\r\n"'`;,&]{6,})"#,
            is_value,
        ),
        // `"password": "…"`, `apiKey = '…'`
        (
            Kind::Key,
            r#"(?i-u:password|passwd|passphrase|secret|token|(?:api|access|private|secret)[_-]?key)\\?["']? ?[=:]>? ?\\?["'](?<secret>[^ \t\r\n"'\\]{6,})\\?["']"#,
            is_value,
        ),
        // `--password …`
        (
            Kind::Key,
            r#"--(?:[a-z-]+-)?(?:password|passphrase|secret|token|api-key)[ =]["']?(?<secret>[^ \t\r\n"'`-][^ \t\r\n"'`]{5,})"#,
            is_value,
        ),
        (
            Kind::Email,
            r"[A-Za-z0-9\u{c0}-\u{24f}._%+-]+@[A-Za-z0-9\u{c0}-\u{24f}-]+(?:\.[A-Za-z0-9\u{c0}-\u{24f}-]+)*\.[A-Za-z]{2,24}",
            // The address of a repository, not of a person.
            |address| !address.starts_with("git@"),
        ),
        // The last is the folder of a project in Claude's home: /-home-ada-app.
        (
            Kind::Home,
            r#"(?:(?-u:\b{start-half})(?:/(?:home|Users)/|(?:[A-Z]:[\\/]+|[a-z]:\\+)Users[\\/]+)|/-(?:home|Users)-)[^-/\\ \t\r\n"'`<>:;,|=()\[\]{}*$]+"#,
            any,
        ),
        (Kind::Key, r"[A-Za-z0-9+_=-]{20,}", looks_random),
    ];
    let rules = rules.into_iter();
    rules
        .filter_map(|(kind, pattern, is_meant)| {
            // A test builds all of them.
            let pattern = Regex::new(pattern).ok()?;
            Some(Rule {
                kind,
                pattern,
                is_meant,
            })
        })
        .collect()
});

impl Redactor {
    /// Takes the home folders to replace, besides `/home/NAME`, `/Users/NAME` and `C:\Users\NAME`.
    #[must_use]
    pub fn new<'h>(homes: impl IntoIterator<Item = &'h str>) -> Self {
        let homes: Vec<_> = homes
            .into_iter()
            .map(|home| home.trim_end_matches(['/', '\\']))
            .filter(|home| !home.is_empty())
            .map(regex::escape)
            .collect();
        let pattern = format!(
            r"(?-u:\b{{start-half}})(?:{})(?-u:\b{{end-half}})",
            homes.join("|")
        );
        Self {
            homes: Regex::new(&pattern).ok().filter(|_| !homes.is_empty()),
            redactions: Redactions::default(),
        }
    }

    /// Replaces in a text.
    pub fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        if let Some(homes) = &self.homes {
            replace(
                &mut text,
                homes,
                |_| true,
                Kind::Home,
                &mut self.redactions.home_folders,
            );
        }
        for rule in RULES.iter() {
            let count = match rule.kind {
                Kind::Home => &mut self.redactions.home_folders,
                Kind::Email => &mut self.redactions.email_addresses,
                Kind::Key => &mut self.redactions.keys,
            };
            replace(&mut text, &rule.pattern, rule.is_meant, rule.kind, count);
        }
        text
    }

    /// Replaces in all texts of a header.
    pub fn header(&mut self, header: &mut Header<'_>) {
        self.replace(&mut header.title);
        let texts = [&mut header.agent, &mut header.folder, &mut header.resume];
        texts
            .into_iter()
            .flatten()
            .for_each(|text| self.replace(text));
    }

    /// Replaces in all texts of a turn.
    pub fn turn(&mut self, turn: &mut Turn<'_>) {
        self.replace(&mut turn.text);
        for tool in &mut turn.tools {
            self.replace(&mut tool.name);
            self.replace(&mut tool.input);
            tool.output.iter_mut().for_each(|text| self.replace(text));
        }
    }

    fn replace(&mut self, text: &mut Cow<'_, str>) {
        if let Cow::Owned(replaced) = self.text(text) {
            *text = Cow::Owned(replaced);
        }
    }

    /// Returns the numbers of texts that were replaced so far.
    #[must_use]
    pub fn redactions(&self) -> Redactions {
        self.redactions
    }
}

fn replace(
    text: &mut Cow<'_, str>,
    pattern: &Regex,
    is_meant: Condition,
    kind: Kind,
    count: &mut u64,
) {
    let replaced = pattern.replace_all(text, |found: &Captures<'_>| {
        let whole = &found[0];
        let secret = found.name("secret");
        let (secret, range) = match secret {
            Some(secret) => {
                let begin = secret.start() - found.get_match().start();
                (secret.as_str(), begin..begin + secret.len())
            }
            None => (whole, 0..whole.len()),
        };
        if !is_meant(secret) {
            return whole.to_owned();
        }
        *count += 1;
        let sign = match kind {
            Kind::Home if whole.starts_with("/-") => "/-~",
            Kind::Home => "~",
            Kind::Email => "[e-mail]",
            Kind::Key => "[key]",
        };
        [&whole[..range.start], sign, &whole[range.end..]].concat()
    });
    if let Cow::Owned(replaced) = replaced {
        *text = Cow::Owned(replaced);
    }
}

/// Whether the text after `PASSWORD=` is a value, not a variable, a call, or replaced already.
fn is_value(text: &str) -> bool {
    !text.starts_with(['$', '<', '{', '[', '(', '%', '*', '&', '.'])
        && !text.contains(['(', '[', '{'])
        && !text.contains("::")
}

/// Whether a part of the word is hexadecimal and long, or has letters and digits in a random order.
fn looks_random(word: &str) -> bool {
    let mut parts = word.split(['-', '_']);
    parts.any(|part| is_hexadecimal(part) || is_mixed(part))
}

fn is_hexadecimal(part: &str) -> bool {
    part.len() >= 32
        && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// In a random word of both cases and digits the kind of character changes at 62 of 100 places, and at 40 in one of
/// one case and digits. In names it changes at every third place or less often.
fn is_mixed(part: &str) -> bool {
    let part = part.as_bytes();
    let count = |is_of: fn(&u8) -> bool| part.iter().filter(|byte| is_of(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let has_both_cases = count(u8::is_ascii_uppercase) > 0 && count(u8::is_ascii_lowercase) > 0;
    let kind = |byte: &u8| {
        (
            byte.is_ascii_digit(),
            byte.is_ascii_uppercase(),
            byte.is_ascii_lowercase(),
        )
    };
    let changes = part
        .windows(2)
        .filter(|pair| kind(&pair[0]) != kind(&pair[1]))
        .count();
    let (most_in_names, fewest_digits) = if has_both_cases {
        (40, 2)
    } else {
        (25, part.len() / 8)
    };
    part.len() >= 20 && digits >= fewest_digits && changes * 100 > part.len() * most_in_names
}

impl std::fmt::Display for Redactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.home_folders, "home folder", "s"),
            (self.email_addresses, "e-mail address", "es"),
            (self.keys, "key", "s"),
        ];
        let counts: Vec<_> = counts
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| {
                format!("{count} {one}{}", if count == 1 { "" } else { many })
            })
            .collect();
        match counts.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&counts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_patterns_are_valid() {
        assert_eq!(RULES.len(), RULE_COUNT);
    }

    #[test]
    fn most_random_words_look_random() {
        // A linear congruential generator: the same words in each run.
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        for (letters, length) in [
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                24,
            ),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                43,
            ),
            ("abcdefghijklmnopqrstuvwxyz0123456789", 32),
            ("0123456789abcdef", 32),
        ] {
            let mut word = || -> String {
                let letters = letters.as_bytes();
                (0..length)
                    .map(|_| char::from(letters[random(letters.len())]))
                    .collect()
            };
            let found = (0..1_000).filter(|_| looks_random(&word())).count();
            assert!(found > 800, "{found} of {letters}");
        }
    }
}
