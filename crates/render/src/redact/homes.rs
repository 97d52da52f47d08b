//! Home folders.

use std::sync::LazyLock;

use regex::Regex;

use super::{Pattern, Rule, any};

/// A separator of folders, also as in JSON and in addresses.
const SEPARATOR: &str = r"(?:\\*/|\\+|%2[Ff])";

/// The patterns of [`RULES`].
///
/// A path begins at a sign, after an option (`-I/home/ada`), after an escaped line break (`\n/home/ada`) or after a
/// colour. The `/home/` in `src/home/index.ts` and `./home/index.ts` is no home folder.
pub(super) const PATTERNS: [Pattern; 4] = [
    // A user of Windows with blanks in the name: `C:\Users\Ada Lovelace\app`.
    (
        r#"(?x)
        (
            (?: (?-u:\b{start-half}) [A-Za-z]: | / (?:mnt/|cygdrive/)? [a-z] ) [\\/]+ Users [\\/]+
            [^-\\/\ \t\r\n"'`<>:;,|=(){}$*%] [^\\/\ \t\r\n"'`<>:;,|=(){}$*%]*
            (?: \ [^\\/\ \t\r\n"'`<>:;,|=(){}$*%]+ ){1,3}
        )
        [\\/]"#,
        any,
    ),
    (
        r#"(?x)
        (?: ^ | [^A-Za-z0-9_.@~\}\]\)] | (?:^|[^A-Za-z0-9_-]) (?: -[A-Za-z] | -i[a-z]{3,9} )
            | \\+[abefnrtv0] | %[0-9A-F]{2} | \[[0-9;]+m | (?:\x1b|\\u001b|\\x1b|\\e|\\033)\[[0-9;?]*[A-Za-z] )
        (
            (?: (?:\\*/|%2[Ff]) (?:(?:var|usr|export|mnt|nfs|net|data|srv|host|hostfs|private|media)(?:\\*/|%2[Ff]))?
                    (?:home|Users) (?:\\*/|%2[Ff])
                | (?: [A-Z]:[\\/]+ | [a-z]:\\+ | \\*/(?:mnt\\*/|cygdrive\\*/)?[a-z]\\*/ ) Users [\\/]+ )
            [^-/\\\x20\t\r\n"'`<>:;,|=()\[\]{}*$%\x1b␛][^/\\\x20\t\r\n"'`<>:;,|=()\[\]{}*$%\x1b␛]*
        )"#,
        any,
    ),
    // The folder of a project in Claude's home: `projects/-home-ada-app`, and `C--Users-Ada-app`.
    (
        r#"(?x)
        (?: /- | (?-u:\b{start-half}) [A-Za-z]-- )
        ( (?:home|Users) - [^-/\\\ \t\r\n"'`<>:;,|=()\[\]{}*$%]+ )"#,
        any,
    ),
    // The same at the beginning of a word: `ls` prints it so.
    (
        r#"(?x)
        (?: ^ | [\ \t\r\n"'`] | \\n ) -
        ( (?:home|Users) - [^-/\\\ \t\r\n"'`<>:;,|=()\[\]{}*$%]+ ) -"#,
        any,
    ),
];

pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| Rule::list(&PATTERNS));

/// The home folders that the caller knows.
#[derive(Debug)]
pub(super) struct Homes {
    /// Paths such as `/home/ada`, wherever they stand.
    long: Option<Regex>,
    /// Paths such as `/root`, which may also be the end of another path.
    short: Option<Regex>,
    /// The names that Claude makes of them: `-home-ada`.
    names: Option<Regex>,
}

impl Homes {
    pub(super) fn new<'h>(homes: impl IntoIterator<Item = &'h str>) -> Self {
        let homes = homes
            .into_iter()
            .map(|home| home.trim_end_matches(['/', '\\']));
        let homes: Vec<_> = homes.filter(|home| !home.is_empty()).collect();
        let depth = |home: &str| home.split(['/', '\\']).filter(|it| !it.is_empty()).count();
        let (long, short): (Vec<&str>, Vec<&str>) = homes.iter().partition(|home| depth(home) > 1);
        let name = |home: &&str| {
            let dash = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            home.chars().map(dash).collect::<String>()
        };
        let names: Vec<_> = long.iter().map(name).collect();
        Self {
            long: pattern("", long.iter().map(|home| path(home))),
            short: pattern(
                r"(?:^|[^A-Za-z0-9_.@~\}\]\)]|\\n)",
                short.iter().map(|home| path(home)),
            ),
            names: pattern(
                "",
                names
                    .iter()
                    .map(|name| regex::escape(name.trim_start_matches('-'))),
            ),
        }
    }

    pub(super) fn own(&self) -> impl Iterator<Item = &Regex> {
        [&self.long, &self.short, &self.names].into_iter().flatten()
    }
}

/// Returns the pattern of a path, with any separators.
fn path(home: &str) -> String {
    let parts: Vec<_> = home.split(['/', '\\']).map(regex::escape).collect();
    parts.join(SEPARATOR)
}

fn pattern(before: &str, homes: impl Iterator<Item = String>) -> Option<Regex> {
    let homes: Vec<_> = homes.collect();
    let homes = homes.join("|");
    let pattern = Regex::new(&format!(r"{before}({homes})(?-u:\b{{end-half}})"));
    pattern.ok().filter(|_| !homes.is_empty())
}
