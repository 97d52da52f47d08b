//! Conversations for people.

use std::fs;
use std::process::Command;

use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, NewTask, Role, SessionId, TaskId, WorkingDir,
};

use crate::support::{Sandbox, run};
#[cfg(unix)]
use crate::support::{run_on_terminal, run_on_terminal_of};

const ANSWER: &str = "It is **done**, see `src/login.rs` and [the RFC](https://example.org/rfc). \
    The rest of this line is here to be wrapped.\n\n```rust\nfn main() {}\n```\n\n<b>bold</b>";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let repo = sandbox.repo();
    let task = TaskId::new("claude:0b2f").unwrap();
    repo.save_task(&NewTask::new(task.clone(), "Fix the redirect"))
        .unwrap();
    let folder = sandbox.path("work").into_os_string().into_string().unwrap();
    let binding = NewSession::new(BackendType::Claude, SessionId::new("0b2f").unwrap());
    let binding = binding.working_dir(WorkingDir::new(folder).unwrap());
    repo.save_session(&task, &binding).unwrap();
    let prompt = sandbox.path("work/login.rs");
    let prompt = format!("Fix {}, ada@example.com", prompt.display());
    let turns = [
        turn(Role::User, &prompt, "2026-11-28T13:02:00Z"),
        turn(Role::Assistant, ANSWER, "2026-11-28T23:05:00Z"),
    ];
    repo.save_messages(&task, &turns).unwrap();
    sandbox
}

fn turn<'t>(role: Role, text: &'t str, time: &str) -> NewMessage<'t> {
    let time: DateTime<Utc> = time.parse().unwrap();
    NewMessage::new(role, text).timestamp(time)
}

fn show(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.turnkeep(["show", "0b2f"].iter().chain(args));
    command.env("TZ", "CET-1").env("TERM", "xterm");
    command
}

const SHOWN: &str = "\
Fix the redirect
agent   claude
folder  ~/work
turns   2
time    2026-11-28 14:02 to 2026-11-29 00:05
resume  turnkeep resume claude:0b2f

user  2026-11-28 14:02  #1

  Fix HOME/work/login.rs, ada@example.com

assistant  2026-11-29 00:05  #2

  It is **done**, see `src/login.rs` and the RFC (https://example.org/rfc). The
  rest of this line is here to be wrapped.

    fn main() {}

  <b>bold</b>
";

fn expected(sandbox: &Sandbox, text: &str) -> String {
    let home = sandbox.path("").into_os_string().into_string().unwrap();
    text.replace("HOME", home.trim_end_matches('/'))
}

#[test]
fn a_conversation_has_a_header_local_times_and_rendered_answers() {
    let sandbox = sandbox();
    let shown = run(&mut show(&sandbox, &[])).ok();
    let home = sandbox.path("").display().to_string();
    // The path of the sandbox may be wrapped.
    assert!(home.len() < 40, "{home}");
    assert_eq!(shown, expected(&sandbox, SHOWN));
}

#[cfg(unix)]
#[test]
fn a_wide_terminal_has_longer_lines_and_colours() {
    let sandbox = sandbox();
    let mut command = show(&sandbox, &[]);
    command.env("NO_COLOR", "1");
    let shown = run_on_terminal_of(50, 200, command, "").ok();
    let wide = SHOWN.replace(
        "(https://example.org/rfc). The\n  rest of this line is here",
        "(https://example.org/rfc). The rest of this line is\n  here",
    );
    assert_eq!(shown, expected(&sandbox, &wide));
    let colored = run_on_terminal_of(50, 80, show(&sandbox, &[]), "").ok();
    assert!(
        colored.contains("It is \x1b[1mdone\x1b[0m, see"),
        "{colored:?}"
    );
    assert!(
        colored.contains("\x1b[34mfn\x1b[0m \x1b[36mmain\x1b[0m"),
        "{colored:?}"
    );
}

#[cfg(unix)]
#[test]
fn only_output_that_is_longer_than_the_terminal_goes_through_the_pager() {
    let sandbox = sandbox();
    let on = |rows, pager: &str| {
        let mut command = show(&sandbox, &[]);
        command.env("NO_COLOR", "1").env("PAGER", pager);
        run_on_terminal_of(rows, 80, command, "")
    };
    let paged = on(10, "sed 's/^/| /'").ok();
    assert_eq!(paged.lines().count(), SHOWN.lines().count());
    assert!(paged.lines().all(|line| line.starts_with("| ")), "{paged}");
    let whole = expected(&sandbox, SHOWN);
    assert_eq!(on(24, "sed 's/^/| /'").ok(), whole);
    assert_eq!(on(10, "").ok(), whole);
    assert_eq!(on(10, "cat").ok(), whole);
    // A pager that the user leaves early is no failure.
    assert_eq!(on(10, "head -n 1").ok(), "Fix the redirect\n");
    for pager in ["no-such-pager-here", "/"] {
        let missing = on(10, pager).ok();
        assert!(missing.ends_with(&whole), "{missing}");
        let warning = "warning: the program in PAGER can't be run\n";
        assert!(missing.contains(warning), "{missing}");
    }
    // Ctrl-C is for the pager.
    assert_eq!(on(10, "kill -INT $PPID; cat").ok(), whole);
    // `less` is told to end at once, unless the user has options for it.
    assert_eq!(on(10, "cat >/dev/null; echo $LESS").ok(), "FRX\n");
    let mut command = show(&sandbox, &[]);
    command
        .env("PAGER", "cat >/dev/null; echo $LESS")
        .env("LESS", "-i");
    assert_eq!(run_on_terminal_of(10, 80, command, "").ok(), "-i\n");
}

/// A conversation that is longer than a pipe holds.
#[cfg(unix)]
fn long() -> Sandbox {
    let sandbox = sandbox();
    let task = TaskId::new("claude:0b2f").unwrap();
    let text = "The same line again, for ada@example.com.\n".repeat(60_000);
    let repo = sandbox.repo();
    repo.save_message(&task, Role::User, &text).unwrap();
    repo.save_message(&task, Role::User, "The end.").unwrap();
    sandbox
}

#[cfg(unix)]
#[test]
fn a_long_conversation_is_printed_whole_if_the_pager_does_not_exist() {
    let sandbox = long();
    let mut command = show(&sandbox, &[]);
    command.env("PAGER", "no-such-pager-here");
    let shown = run_on_terminal(command, "").ok();
    assert_eq!(shown.matches("The same line again").count(), 60_000);
    assert!(shown.ends_with("\n  The end.\n"));
}

#[cfg(unix)]
#[test]
fn leaving_the_pager_early_still_says_what_was_replaced() {
    let sandbox = long();
    let mut command = show(&sandbox, &["--redact"]);
    command.env("PAGER", "head -n 1");
    let shown = run_on_terminal(command, "").ok();
    assert!(shown.contains("Fix the redirect"), "{shown}");
    assert!(
        shown.ends_with("replaced: 1 home folder, 60001 e-mail addresses\n"),
        "{shown}"
    );
}

#[cfg(unix)]
#[test]
fn a_line_that_is_too_long_takes_several_rows() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let code = format!("```\n{}\n```", "日".repeat(300));
    sandbox
        .run(["append", "t", "--role", "assistant", &code])
        .ok();
    let on = |rows| {
        let mut command = sandbox.turnkeep(["show", "t"]);
        command.env("TERM", "xterm").env("PAGER", "sed 's/^/| /'");
        run_on_terminal_of(rows, 80, command, "").ok()
    };
    // Three lines of the header, three around the role, eight rows of code, and the prompt of the shell.
    let fits = on(15);
    assert_eq!(
        (fits.lines().count(), fits.contains('|')),
        (7, false),
        "{fits}"
    );
    assert!(on(14).starts_with("| "));
}

#[test]
fn markdown_is_a_document() {
    let sandbox = sandbox();
    let shown = run(&mut show(&sandbox, &["--markdown"])).ok();
    assert!(
        shown.starts_with("# Fix the redirect\n\n- agent: claude\n- folder: `~/work`\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\n## #2 assistant, 2026-11-29 00:05\n\nIt is **done**"),
        "{shown}"
    );
    assert!(shown.ends_with("\n\\<b>bold\\</b>\n"), "{shown}");
}

#[test]
fn a_page_is_a_new_file_that_only_the_user_can_read() {
    let sandbox = sandbox();
    let file = sandbox.path("page.html");
    let args = ["--html", "page.html"];
    assert_eq!(run(&mut show(&sandbox, &args)).ok(), "");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(
        page.contains("&lt;b&gt;bold&lt;/b&gt;") && !page.contains("<script"),
        "{page}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let again = run(&mut show(&sandbox, &args)).failed(4);
    assert!(
        again.contains("page.html exists already\nhint: "),
        "{again}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), page);
}

/// A page that can't be written whole, because files may not be so long.
#[cfg(unix)]
#[test]
fn a_page_that_is_not_whole_is_not_there() {
    let sandbox = long();
    let turnkeep = show(&sandbox, &["--html", "page.html"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\""])
        .arg(turnkeep.get_program())
        .args(turnkeep.get_args())
        .current_dir(sandbox.path(""))
        .env("TURNKEEP_DB", sandbox.db());
    let error = run(&mut shell).failed(1);
    assert!(
        error.starts_with("error: cannot make page.html: "),
        "{error}"
    );
    assert!(!sandbox.path("page.html").exists());
    let error = run(&mut show(&sandbox, &["--html", "none/page.html"])).failed(3);
    let missing = "error: cannot make none/page.html: No such file or directory (os error 2)\n";
    assert_eq!(error, missing);
}

#[test]
fn redaction_says_what_it_has_replaced() {
    let sandbox = sandbox();
    for args in [&["--redact"][..], &["--redact", "--markdown"]] {
        let shown = run(&mut show(&sandbox, args));
        assert_eq!(
            (shown.code, &*shown.stderr),
            (Some(0), "replaced: 1 home folder, 1 e-mail address\n")
        );
        assert!(
            shown.stdout.contains("Fix ~/work/login.rs, [e-mail]\n"),
            "{}",
            shown.stdout
        );
    }
    run(&mut show(&sandbox, &["--redact", "--html", "page.html"]));
    let page = fs::read_to_string(sandbox.path("page.html")).unwrap();
    assert!(page.contains("Fix ~/work/login.rs, [e-mail]<"), "{page}");
}

#[test]
fn raw_output_and_json_are_those_of_history() {
    let sandbox = sandbox();
    for (args, history) in [(&["--raw"][..], &[][..]), (&["--json"], &["--json"])] {
        let history = sandbox.run(["history", "0b2f"].iter().chain(history)).ok();
        assert_eq!(run(&mut show(&sandbox, args)).ok(), history);
    }
}

#[test]
fn a_task_without_session_and_turns_has_a_header() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    assert_eq!(sandbox.run(["show", "t"]).ok(), "t\nturns   0\n");
}

#[test]
fn forms_exclude_each_other() {
    let sandbox = sandbox();
    for args in [
        &["--markdown", "--html", "x"][..],
        &["--raw", "--markdown"],
        &["--raw", "--redact"],
        &["--json", "--redact"],
        &["--json", "--markdown"],
        &["--json", "--tools"],
    ] {
        let error = run(&mut show(&sandbox, args)).failed(2);
        assert!(error.contains("cannot be used with"), "{error}");
    }
    assert!(!sandbox.path("x").exists());
}

#[cfg(unix)]
#[test]
fn control_characters_are_visible_also_as_references() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    for (role, text) in [("user", "a\x1b]0;b\x07"), ("assistant", "c&#27;[2J\x1b[2J")] {
        sandbox.run(["append", "t", "--role", role, text]).ok();
    }
    let mut command = sandbox.turnkeep(["show", "t"]);
    command.env("NO_COLOR", "1");
    let shown = run_on_terminal(command, "").ok();
    assert!(shown.contains("\n  a␛]0;b␇\n"), "{shown:?}");
    assert!(shown.ends_with("\n  c␛[2J␛[2J\n"), "{shown:?}");
}

fn with_examples() -> Sandbox {
    let sandbox = Sandbox::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/recordings");
    sandbox.run(["import", examples]).ok();
    sandbox
}

#[test]
fn tool_calls_are_among_the_turns_of_each_agent() {
    let sandbox = with_examples();
    for (id, call, next) in [
        (
            "7c1e",
            "  ▸ Read file_path: /home/ada/shop/src/cart.js\n",
            "assistant",
        ),
        (
            "019f",
            "  ▸ shell bash -lc rg -n price src/mail\n",
            "assistant",
        ),
        (
            "20261005_1",
            "  ▸ developer__shell rg -n \"SELECT\" src/products.js\n",
            "assistant",
        ),
    ] {
        let shown = sandbox.run(["show", id, "--tools"]).ok();
        let (before, after) = shown.split_once(call).unwrap_or_else(|| panic!("{shown}"));
        assert!(before.contains("#1\n") && after.contains(next), "{shown}");
        assert!(!sandbox.run(["show", id]).ok().contains('▸'));
    }
    let full = sandbox.run(["show", "019f", "--tools", "--full"]).ok();
    let result = "  ▾ shell\n    bash -lc rg -n price src/mail\n    │ src/mail/order.js:17:";
    assert!(full.contains(result), "{full}");
    let markdown = sandbox.run(["show", "019f", "--tools", "--markdown"]).ok();
    assert!(
        markdown.contains("\n**shell**\n\n```text\nbash -lc rg"),
        "{markdown}"
    );
    sandbox
        .run(["show", "019f", "--tools", "--html", "page.html"])
        .ok();
    let page = fs::read_to_string(sandbox.path("page.html")).unwrap();
    assert!(
        page.contains("<summary><b>shell</b> <code>bash -lc rg"),
        "{page}"
    );
}

#[test]
fn tool_calls_are_redacted_too() {
    let sandbox = with_examples();
    let shown = sandbox.run(["show", "7c1e", "--tools", "--redact"]);
    assert!(
        shown
            .stdout
            .contains("▸ Read file_path: ~/shop/src/cart.js"),
        "{shown:?}"
    );
    assert!(!shown.stdout.contains("/home/ada"), "{shown:?}");
}

#[test]
fn a_session_without_kept_files_has_a_warning_and_its_words() {
    let sandbox = with_examples();
    sandbox.run(["recording", "rm", "goose:20261005_1"]).ok();
    let shown = sandbox.run(["show", "20261005_1", "--tools"]);
    assert_eq!(shown.code, Some(0));
    assert_eq!(shown.stdout, sandbox.run(["show", "20261005_1"]).ok());
    let warning =
        "warning: the store has no file of the session, in which its tool calls would be\n";
    assert_eq!(shown.stderr, warning);
    for args in [&["--full"][..], &["--raw", "--tools"]] {
        sandbox
            .run(["show", "20261005_1"].iter().chain(args))
            .failed(2);
    }
}
