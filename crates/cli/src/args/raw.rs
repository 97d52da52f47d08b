//! The arguments before clap parses them.

use std::ffi::{OsStr, OsString};

use clap::{Args as _, ColorChoice, ValueEnum as _};

use super::SearchArgs;

/// The global options with a value.
const WITH_VALUE: [&str; 3] = ["--db", "--owner", "--color"];

/// The form of messages, which wrong usage is reported in as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) is_json: bool,
    pub(crate) color: ColorChoice,
}

impl Form {
    /// Looks for the options in all arguments, which may be wrong. A value that looks like one is taken for one.
    pub(crate) fn of(args: &[OsString]) -> Self {
        let mut form = Self::default();
        let mut args = args.iter().skip(1).take_while(|arg| *arg != "--");
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy();
            let color = match text.strip_prefix("--color=") {
                Some(color) => Some(color.to_owned()),
                None if arg == "--color" => args.next().map(|it| it.to_string_lossy().into()),
                None => None,
            };
            let color = color.and_then(|color| ColorChoice::from_str(&color, false).ok());
            form.color = color.unwrap_or(form.color);
            form.is_json |= arg == "--json";
        }
        form
    }
}

/// Returns the place of the command. The first argument is the program.
fn command_at(args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        let arg = args.get(at)?;
        if !arg.as_encoded_bytes().starts_with(b"-") {
            return Some(at);
        }
        let has_value = WITH_VALUE.iter().any(|option| arg == option);
        at += 1 + usize::from(has_value);
    }
}

/// Whether the arguments are of this command.
pub(crate) fn is_command(args: &[OsString], name: &str) -> bool {
    command_at(args).is_some_and(|at| args[at] == name)
}

/// Puts a blank before each word that a search leaves out (`-logout`), which clap would take for an option.
pub(super) fn with_excluded_words(mut args: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = command_at(&args).filter(|at| args[*at] == "search") else {
        return args;
    };
    let search = SearchArgs::augment_args(clap::Command::new("search"));
    let has_value = |arg: &OsStr| {
        let long = arg.to_str().and_then(|arg| arg.strip_prefix("--"));
        let mut options = search.get_arguments();
        let is_option = options.any(|it| it.get_long() == long && it.get_action().takes_values());
        long.is_some() && is_option || WITH_VALUE.iter().any(|option| arg == *option)
    };
    let mut is_value = false;
    for arg in &mut args[at + 1..] {
        if is_value {
            is_value = false;
        } else if arg == "--" {
            break;
        } else if has_value(arg) {
            is_value = true;
        } else if is_excluded(arg) {
            let mut word = OsString::from(" ");
            word.push(&*arg);
            *arg = word;
        }
    }
    args
}

fn is_excluded(arg: &OsStr) -> bool {
    let text = arg.to_string_lossy();
    let word = text.strip_prefix('-').unwrap_or_default();
    word != "h" && word.starts_with(|it: char| it == '"' || it.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    fn split(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_global_options_with_a_value_are_known() {
        let cli = Cli::command();
        let options = cli
            .get_arguments()
            .filter(|it| it.get_action().takes_values());
        let mut options: Vec<_> = options
            .filter_map(|it| Some(format!("--{}", it.get_long()?)))
            .collect();
        options.sort_unstable();
        let mut known = WITH_VALUE;
        known.sort_unstable();
        assert_eq!(options, known);
    }

    #[test]
    fn a_command_is_known_by_its_name() {
        for line in [
            "turnkeep hook",
            "t hook --odd",
            "t --db x --json hook claude",
            "t --db=x --owner y --color never hook",
        ] {
            assert!(is_command(&split(line), "hook"), "{line}");
        }
        for line in [
            "hook",
            "turnkeep append hook",
            "turnkeep --db hook",
            "t --json import hook",
        ] {
            assert!(!is_command(&split(line), "hook"), "{line}");
        }
    }

    #[test]
    fn the_form_is_found_among_wrong_arguments() {
        let form = |line: &str| Form::of(&split(line));
        let is_json = |line: &str| form(line).is_json;
        assert!(is_json("t fly --json") && is_json("t --json --color x"));
        assert!(!is_json("t fly -- --json") && !is_json("--json"));
        assert_eq!(form("t --color never x").color, ColorChoice::Never);
        assert_eq!(form("t x --color=always").color, ColorChoice::Always);
        for line in [
            "t",
            "t --color",
            "t --color blue",
            "t --color=",
            "t -- --color=never",
        ] {
            assert_eq!(form(line), Form::default(), "{line}");
        }
    }

    /// Marks the words that get a blank with `_`.
    fn marked(line: &str) -> String {
        let args = with_excluded_words(split(line));
        let args = args.into_iter().map(|arg| arg.into_string().unwrap());
        args.map(|arg| arg.replace(' ', "_"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn excluded_words_of_a_search_are_no_options() {
        for (line, expected) in [
            ("t search login -out", "t search login _-out"),
            ("t search -a -\"b\" -日本", "t search _-a _-\"b\" _-日本"),
            ("t --db x search a -b", "t --db x search a _-b"),
            (
                "t search --limit 5 -b --json a",
                "t search --limit 5 _-b --json a",
            ),
        ] {
            assert_eq!(marked(line), expected);
        }
    }

    #[test]
    fn values_with_hyphens_and_other_commands_stay() {
        for line in [
            "t search --folder -dir --task -t a",
            "t search a --db -x --color -y",
            "t search a --folder=-dir",
            "t search --limit -5 a",
            "t search -h",
            "t search a --help - --",
            "t search -- -a",
            "t append search -a",
            "t --db search list -a",
            "t",
        ] {
            assert_eq!(marked(line), line);
        }
    }
}
