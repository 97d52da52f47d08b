//! The help of the program: its commands, grouped by what people do.

use std::fmt::Write as _;

use clap::Command;

/// The columns that the help has at most.
const WIDTH: usize = 80;

/// Headings and commands. A test finds each command that is missing.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Find and read",
        &["list", "search", "show", "resume", "restore"],
    ),
    (
        "Keep and share",
        &["import", "watch", "hook", "export", "backup", "recording"],
    ),
    ("Orchestrate", &["task", "session", "append", "history"]),
    (
        "Look after the store",
        &["check", "stats", "rm", "removed", "prune", "copy"],
    ),
    ("Set up the shell", &["completions", "man", "help"]),
];

/// Clap makes this command only when it parses.
const HELP: &str = "Print this help, or that of a command";

/// Below the help of the program, and in its manual page.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  any other failure
  2  wrong usage
  3  not found
  4  conflict with what is there
  5  busy or unavailable: the same command may succeed later
  6  `resume`: `--restore` would help
  7  `resume`: no command resumes the session";

/// Puts the groups into the help of the program.
pub(super) fn with_groups(cli: Command) -> Command {
    let style = *cli.get_styles().get_header();
    let mut commands = String::new();
    for (heading, names) in GROUPS {
        // A string takes all that is written to it.
        let _ = writeln!(commands, "{style}{heading}:{style:#}");
        for name in names {
            let _ = writeln!(commands, "  {}", line(&cli, name));
        }
        commands.push('\n');
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n\
         {commands}{style}Options:{style:#}\n{{options}}{{after-help}}"
    );
    cli.help_template(template).max_term_width(WIDTH)
}

/// Returns the name of a command and what it does.
fn line(cli: &Command, name: &str) -> String {
    let literal = *cli.get_styles().get_literal();
    let about = cli.find_subcommand(name).and_then(Command::get_about);
    let about = about.map_or_else(|| HELP.to_owned(), ToString::to_string);
    format!("{literal}{name:<11}{literal:#}  {about}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;
    use unicode_width::UnicodeWidthStr as _;

    use super::*;
    use crate::args::Cli;

    fn names(cli: &Command) -> BTreeSet<&str> {
        let shown = cli.get_subcommands().filter(|it| !it.is_hide_set());
        shown.map(Command::get_name).collect()
    }

    #[test]
    fn each_command_is_in_one_group() {
        let mut cli = Cli::command();
        cli.build();
        let grouped: Vec<_> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        let unique: BTreeSet<_> = grouped.iter().copied().collect();
        assert_eq!((grouped.len(), unique), (names(&cli).len(), names(&cli)));
    }

    /// Adds the lines that are too long.
    fn find_long(command: &mut Command, path: &str, long: &mut Vec<String>) {
        for text in [command.render_help(), command.render_long_help()] {
            let text = text.to_string();
            let lines = text.lines().filter(|line| line.width() > WIDTH);
            long.extend(lines.map(|line| format!("{path}: {line}")));
        }
        for command in command.get_subcommands_mut() {
            find_long(command, &format!("{path} {}", command.get_name()), long);
        }
    }

    #[test]
    fn each_line_of_the_help_fits() {
        let mut cli = with_groups(Cli::command());
        cli.build();
        let mut long = Vec::new();
        find_long(&mut cli, "turnkeep", &mut long);
        assert!(long.is_empty(), "{long:#?}");
    }

    #[test]
    fn readme_has_the_exit_codes_of_the_help() {
        let readme = include_str!("../../README.md");
        for code in 0..=7 {
            assert!(readme.contains(&format!("\n| {code} | ")), "{code}");
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
