use crate::support::{Sandbox, run};

#[test]
fn a_command_that_adds_no_data_creates_no_store() {
    for args in [
        &["task", "list"][..],
        &["task", "ready"],
        &["task", "show", "t"],
        &["task", "status", "t", "failed"],
        &["task", "claim", "t"],
        &["task", "rm", "t"],
        &["task", "requeue"],
        &["history", "t"],
        &["show", "t"],
        &["session", "get", "t"],
        &[
            "session",
            "set",
            "t",
            "--backend",
            "goose",
            "--session-id",
            "1",
        ],
        &["session", "list"],
        &["session", "log", "t"],
        &["session", "retire", "t", "1"],
        &["append", "t", "--role", "user", "hi"],
        &["resume", "t"],
        &["removed"],
        &["removed", "lift", "t"],
        &["stats"],
        &["export", "-"],
        &["backup", "backup.db"],
        &["prune", "--older-than", "1d"],
        &["import", "missing"],
        &["completions", "bash"],
        &["man"],
    ] {
        let sandbox = Sandbox::new();
        let result = sandbox.run(args);
        assert!(!sandbox.db().exists(), "{args:?}");
        if !["import", "completions", "man"].contains(&args[0]) {
            let error = result.failed(3);
            assert!(
                error.starts_with("error: open: there is no store at "),
                "{error}"
            );
            assert!(error.contains("hint: `turnkeep import` or `turnkeep task add` makes one"));
            // As after an interrupted copy.
            std::fs::write(sandbox.db(), "").unwrap();
            let error = sandbox.run(args).failed(1);
            assert!(error.contains("store.db is empty"), "{error}");
            assert_eq!(std::fs::metadata(sandbox.db()).unwrap().len(), 0);
        }
    }
}

#[test]
fn the_store_is_the_option_then_the_variable_then_the_data_folder() {
    let sandbox = Sandbox::new();
    let add = || {
        let mut command = sandbox.turnkeep(["task", "add", "t"]);
        command.env("XDG_DATA_HOME", sandbox.path("data"));
        command
    };
    let default = sandbox.path("data/turnkeep/turnkeep.db");

    run(add().arg("--db").arg(sandbox.path("option.db"))).ok();
    assert!(sandbox.path("option.db").exists() && !sandbox.db().exists());
    run(&mut add()).ok();
    assert!(sandbox.db().exists() && !default.exists());
    run(add().env("TURNKEEP_DB", "")).ok();
    assert!(default.exists(), "an empty variable is none");
    std::fs::remove_file(&default).unwrap();
    run(add().env_remove("TURNKEEP_DB")).ok();
    assert!(default.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn the_store_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::new();
    let path = sandbox.path(std::ffi::OsStr::from_bytes(b"a?b#%20 \xff.db"));
    run(sandbox.turnkeep(["task", "add", "t", "--db"]).arg(&path)).ok();
    assert!(path.exists());
    let tasks = run(sandbox
        .turnkeep(["task", "list", "--json", "--db"])
        .arg(&path))
    .json();
    assert_eq!(tasks.len(), 1);
}

#[test]
fn wrong_usage_exits_with_2_and_names_the_valid_values() {
    let sandbox = Sandbox::new();
    let long = "x".repeat(513);
    for (args, words) in [
        (
            &["append", "t", "--role", "boss", "x"][..],
            "[possible values: user, assistant, system, tool]",
        ),
        (
            &["task", "status", "t", "done"],
            "[possible values: pending, eligible, running,",
        ),
        (
            &["task", "add", "t", "--failure-mode", "x"],
            "[possible values: hard, soft, skip]",
        ),
        (
            &["task", "add", "t", "--status", "x"],
            "[possible values: pending,",
        ),
        (
            &["import", "--backend", "gemini", "x"],
            "[possible values: claude, codex, goose]",
        ),
        (&["import", "--format", "jsonl"], "needs a file, or `-`"),
        (&["copy", "--from", "a.db"], "--to <STORE>"),
        (&["copy", "--to", "a.db"], "--from <STORE>"),
        (
            &["copy", "--from", "a.db", "--to", "b.db", "--db", "c.db"],
            "takes no `--db`",
        ),
        (&["task", "add", ""], "invalid task id: must not be empty"),
        (
            &["task", "show", &long],
            "is 513 bytes long, at most 512 are allowed",
        ),
        (
            &["session", "set", "t", "--backend", "", "--session-id", "1"],
            "invalid backend name",
        ),
        (
            &[
                "session",
                "set",
                "t",
                "--backend",
                "goose",
                "--session-id",
                "",
            ],
            "invalid session id",
        ),
        (
            &["session", "set", "t", "--backend", "goose"],
            "--session-id <ID>",
        ),
        (
            &["append", "t", "--role", "user", "--key", "", "x"],
            "invalid message key",
        ),
        (&["history", "t", "--after", "-1"], "-1"),
        (&["no-such-command"], "no-such-command"),
        (&[], "Usage: turnkeep"),
    ] {
        let error = sandbox.run(args).failed(2);
        assert!(error.contains(words), "{args:?}: {error}");
    }
    assert!(!sandbox.db().exists());
}

#[test]
fn help_lists_the_values_of_an_option() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(["append", "--help"]).ok();
    assert!(
        help.contains("[possible values: user, assistant, system, tool]"),
        "{help}"
    );
    assert!(help.contains("TURNKEEP_DB"), "{help}");
    assert_eq!(
        sandbox.run(["--version"]).ok(),
        concat!("turnkeep ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn the_help_has_groups_and_the_exit_codes() {
    let sandbox = Sandbox::new();
    let short = sandbox.run(["-h"]).ok();
    let (read, rest) = short.split_once("\nOrchestrate:\n").unwrap();
    assert!(read.contains("\nFind and read:\n  list         List sessions"));
    assert!(rest.starts_with("  task         Plan tasks"), "{rest}");
    assert!(rest.contains("\nOptions:\n      --db <STORE>"), "{rest}");
    for args in [&["--help"][..], &["help"]] {
        let long = sandbox.run(args).ok();
        assert!(long.contains("\nExit codes:\n  0  success\n"), "{long}");
    }
    assert!(sandbox.run(["man"]).ok().contains("5  busy or unavailable"));
    let usage = sandbox.run(["task", "--help"]).ok();
    assert!(usage.starts_with("Plan tasks and show their progress\n\nUsage: turnkeep task "));
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let sandbox = Sandbox::new();
    for (shell, words) in [
        ("bash", "complete -o bashdefault -F _turnkeep turnkeep"),
        ("zsh", "#compdef turnkeep"),
        ("fish", "--command turnkeep"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        assert!(
            sandbox.run(["completions", shell]).ok().contains(words),
            "{shell}"
        );
    }
    let page = sandbox.run(["man"]).ok();
    assert!(page.contains(".TH turnkeep 1"), "{page}");
    assert!(page.contains("turnkeep\\-history(1)"), "{page}");
    let page = sandbox.run(["man", "task", "add"]).ok();
    assert!(page.contains(".TH turnkeep-task-add 1"), "{page}");
    let unknown = sandbox.run(["man", "task", "fly"]).failed(2);
    assert!(
        unknown.starts_with("error: there is no command `task fly`\n"),
        "{unknown}"
    );
}

#[test]
fn another_file_is_refused_and_not_changed() {
    let sandbox = Sandbox::new();
    let path = sandbox.file("store.db", "Dear diary, this is not a database.");
    for args in [&["task", "list"][..], &["task", "add", "t"]] {
        let error = sandbox.run(args).failed(1);
        assert!(error.contains("store.db"), "{error}");
        assert!(
            error.contains("\nhint: choose another file; `--db` or TURNKEEP_DB names the store\n"),
            "{error}"
        );
    }
    assert_eq!(
        std::fs::read(path).unwrap(),
        b"Dear diary, this is not a database."
    );
}

#[cfg(not(feature = "postgres"))]
#[test]
fn a_build_without_postgres_refuses_a_server() {
    let sandbox = Sandbox::new();
    let error = sandbox
        .run(["task", "list", "--db", "postgres://u:secret@h/db"])
        .failed(1);
    assert_eq!(
        error,
        "error: open: a PostgreSQL server can't be used: this program was built without the \
         feature `postgres`\nhint: `cargo install turnkeep --features postgres` builds it with \
         that\n"
    );
}

#[test]
fn a_usage_error_shows_no_password() {
    let sandbox = Sandbox::new();
    let error = sandbox.run(["task", "postgres://u:secret@h/db"]).failed(2);
    assert!(error.contains("'<an address>'"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_of_the_output_is_a_failure() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = sandbox
        .turnkeep(["task", "list"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("error: cannot write the output: "),
        "{stderr}"
    );
}
