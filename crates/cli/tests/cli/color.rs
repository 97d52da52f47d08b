//! `--color` and the variables for colours, which hold for all output.

use std::process::Command;

use crate::support::{Sandbox, run};

/// Commands with colours in their results, in the help, in an error of the program and in one of clap.
const COMMANDS: [&[&str]; 8] = [
    &["list"],
    &["show", "t"],
    &["history", "t"],
    &["search", "blue"],
    &["stats"],
    &["--help"],
    &["show", "none"],
    &["fly"],
];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let append = ["append", "t", "--role", "assistant", "**blue**"];
    sandbox.run(append).ok();
    // Without an index a search says more on a terminal.
    sandbox.run(["search", "blue"]).ok();
    sandbox
}

/// Whether the output of each command has colours.
#[track_caller]
fn assert_colors(sandbox: &Sandbox, expected: bool, change: impl Fn(&mut Command)) {
    for args in COMMANDS {
        let mut command = sandbox.turnkeep(args);
        change(&mut command);
        let shown = run(&mut command);
        let shown = shown.stdout + &shown.stderr;
        assert_eq!(shown.contains('\x1b'), expected, "{args:?}: {shown}");
    }
}

#[test]
fn a_pipe_gets_colours_only_when_asked() {
    let sandbox = sandbox();
    assert_colors(&sandbox, false, |_| {});
    assert_colors(&sandbox, false, |command| {
        command.args(["--color", "never"]);
    });
    for always in [&["--color", "always"][..], &["--color=always"]] {
        assert_colors(&sandbox, true, |command| {
            command.args(always);
        });
    }
    assert_colors(&sandbox, true, |command| {
        command.env("CLICOLOR_FORCE", "1");
    });
    assert_colors(&sandbox, false, |command| {
        command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    });
    assert_colors(&sandbox, true, |command| {
        command.args(["--color", "always"]).env("NO_COLOR", "1");
    });
    let wrong = sandbox.run(["list", "--color", "blue"]).failed(2);
    assert!(
        wrong.contains("[possible values: auto, always, never]"),
        "{wrong}"
    );
}

#[cfg(unix)]
#[test]
fn a_terminal_gets_colours_unless_told_otherwise() {
    use crate::support::run_on_terminal;

    let sandbox = sandbox();
    for args in COMMANDS {
        let shown = |option: &[&str], (name, value): (&str, &str)| {
            let mut command = sandbox.turnkeep(args);
            command
                .args(option)
                .env("TERM", "xterm")
                .env("PAGER", "cat");
            command.env(name, value);
            run_on_terminal(command, "").stdout.contains('\x1b')
        };
        assert!(shown(&[], ("NO_COLOR", "")), "{args:?}");
        assert!(!shown(&[], ("NO_COLOR", "1")), "{args:?}");
        assert!(!shown(&[], ("CLICOLOR", "0")), "{args:?}");
        assert!(
            !shown(&["--color=never"], ("CLICOLOR_FORCE", "1")),
            "{args:?}"
        );
    }
}
