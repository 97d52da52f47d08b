//! Personal data and secrets.

mod homes;
mod keys;
mod mail;
mod named;
mod random;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use regex::Regex;

use self::homes::Homes;
use crate::conversation::{Header, Turn};

/// Replaces home folders, e-mail addresses, and words that look like a key or a token.
///
/// A home folder becomes `~`, an address `[e-mail]`, a key or a password `[key]`. Keys are found by the prefixes of
/// known services, by the name before them (`API_KEY=`, `password:`, `--password`), and by their letters: long words in
/// which letters and digits alternate as in random ones, and 32 or more hexadecimal digits. So commit ids and checksums
/// are replaced too, while UUIDs stay. Texts may be coloured, and escaped as in JSON. This finds careless copies, not
/// hidden ones: read the result before you share it.
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
    homes: Homes,
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

impl Redactor {
    /// Takes the home folders to replace, besides those in `/home`, `/Users` and `C:\Users`.
    #[must_use]
    pub fn new<'h>(homes: impl IntoIterator<Item = &'h str>) -> Self {
        Self {
            homes: Homes::new(homes),
            redactions: Redactions::default(),
        }
    }

    /// Replaces in a text.
    pub fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        let counts = &mut self.redactions;
        for pattern in self.homes.own() {
            counts.home_folders += replace(&mut text, "~", |text| all(pattern, text));
        }
        for rule in keys::RULES.iter() {
            counts.keys += replace(&mut text, "[key]", |text| rule.found(text));
        }
        counts.keys += replace(&mut text, "[key]", named::values);
        for rule in mail::RULES.iter() {
            counts.email_addresses += replace(&mut text, "[e-mail]", |text| rule.found(text));
        }
        for rule in homes::RULES.iter() {
            counts.home_folders += replace(&mut text, "~", |text| rule.found(text));
        }
        for rule in random::RULES.iter() {
            counts.keys += replace(&mut text, "[key]", |text| rule.found(text));
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

/// A pattern, and a condition for what it finds: its first group that takes part, or all of it if it has no group.
/// The tables of Unicode are not compiled in, so only ASCII has word boundaries and cases.
type Pattern = (&'static str, fn(&str) -> bool);

/// A [`Pattern`], built.
struct Rule {
    pattern: Regex,
    is_meant: fn(&str) -> bool,
}

impl Rule {
    /// Returns the rules whose patterns are valid. A test builds all of them.
    fn list(rules: &[Pattern]) -> Vec<Self> {
        let rules = rules.iter().filter_map(|(pattern, is_meant)| {
            let pattern = Regex::new(pattern).ok()?;
            let is_meant = *is_meant;
            Some(Self { pattern, is_meant })
        });
        rules.collect()
    }

    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = all(&self.pattern, text);
        found.retain(|range| (self.is_meant)(&text[range.clone()]));
        found
    }
}

fn any(_: &str) -> bool {
    true
}

fn all(pattern: &Regex, text: &str) -> Vec<Range<usize>> {
    if pattern.captures_len() == 1 {
        return pattern.find_iter(text).map(|it| it.range()).collect();
    }
    let groups = pattern.captures_iter(text);
    let found = groups.filter_map(|groups| groups.iter().skip(1).flatten().next());
    found.map(|it| it.range()).collect()
}

/// Puts a sign in place of what is found, in order, and returns how much that was.
fn replace(
    text: &mut Cow<'_, str>,
    sign: &str,
    find: impl FnOnce(&str) -> Vec<Range<usize>>,
) -> u64 {
    let found = find(text);
    if found.is_empty() {
        return 0;
    }
    let mut replaced = String::with_capacity(text.len());
    let mut copied = 0;
    for range in &found {
        replaced += &text[copied..range.start];
        replaced += sign;
        copied = range.end;
    }
    replaced += &text[copied..];
    *text = Cow::Owned(replaced);
    found.len() as u64
}

impl fmt::Display for Redactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        let rules = [
            &*keys::RULES,
            &*mail::RULES,
            &*homes::RULES,
            &*random::RULES,
        ];
        let counts = rules.map(|rules| rules.len());
        let written = [
            keys::PATTERNS.len(),
            mail::PATTERNS.len(),
            homes::PATTERNS.len(),
            random::PATTERNS.len(),
        ];
        assert_eq!(counts, written);
        assert_eq!(named::values("password=hunter22").len(), 1);
        assert_eq!(Homes::new(["/srv/ada", "/root"]).own().count(), 3);
    }
}
