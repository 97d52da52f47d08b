//! Completions, asked for as the shells do.

use std::ffi::OsString;
use std::path::Path;

use turnkeep_repo::{BackendType, NewSession, NewTask, SessionId, TaskId};

use crate::support::{Run, Sandbox, run};

/// Stores sessions as an import does, and a task.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let repo = sandbox.repo();
    for (session, title) in [
        ("7c1e4b52-93d8", "Fix the login"),
        ("7c1effff-0000", "Ship\u{1b}[2J: all\nof *"),
    ] {
        let task = TaskId::new(format!("claude:{session}")).unwrap();
        repo.save_task(&NewTask::new(task.clone(), title)).unwrap();
        let session = SessionId::new(session).unwrap();
        repo.save_session(&task, &NewSession::new(BackendType::Claude, session))
            .unwrap();
    }
    for odd in ["parser", "pa$(touch x)", "pa b", "-pa"] {
        let task = NewTask::new(TaskId::new(odd).unwrap(), "Write the parser");
        repo.save_task(&task).unwrap();
    }
    sandbox
}

/// Asks as the script for zsh does, which has the candidates as `value:title`.
fn zsh(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let mut command = sandbox.turnkeep([&["--", "turnkeep"], words].concat());
    command
        .env("_TURNKEEP_COMPLETE", "zsh")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_IFS", "\n");
    let shown = run(&mut command).ok();
    shown.lines().map(str::to_owned).collect()
}

#[test]
fn ids_are_completed_with_titles() {
    let sandbox = sandbox();
    let login = "7c1e4b52-93d8:Fix the login";
    let ship = "7c1effff-0000:Ship␛[2J: all␊of *";
    for (words, expected) in [
        (&["show", "7c1e4"][..], &[login][..]),
        (&["show", "7"], &[ship, login]),
        (
            &["show", "claude:7c1e4"],
            &["claude\\:7c1e4b52-93d8:Fix the login"],
        ),
        (&["resume", "--exec", "pars"], &["parser:Write the parser"]),
        (&["rm", "7c1ef"], &[ship]),
        (&["task", "rm", "7c1ef"], &[]),
        (
            &["task", "rm", "claude:7c1ef"],
            &["claude\\:7c1effff-0000:Ship␛[2J: all␊of *"],
        ),
        (&["append", "7c1e4"], &[login]),
        (&["rm", "parser", "7c1e4"], &[login]),
        (&["search", "--task", "7c1e4"], &[login]),
        (&["show", "pa"], &["parser:Write the parser"]),
        (&["show", "none"], &[]),
        (&["show", "7c1e4", "7c1e4"], &[]),
        (&["task", "add", "7c1e4"], &[]),
    ] {
        assert_eq!(zsh(&sandbox, words), expected, "{words:?}");
    }
    let all = zsh(&sandbox, &["show", ""]);
    assert_eq!(all[..3], ["parser:Write the parser", ship, login]);
}

#[test]
fn commands_options_and_values_are_completed() {
    let sandbox = sandbox();
    let values = |words: &[&str]| -> Vec<String> {
        let candidates = zsh(&sandbox, words).into_iter();
        candidates
            .map(|it| it.split(':').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(&["sho"]), ["show"]);
    assert_eq!(values(&["show", "--mark"]), ["--markdown"]);
    assert_eq!(values(&["list", "--status", "fa"]), ["failed"]);
}

#[test]
fn the_store_of_the_line_is_asked() {
    let sandbox = sandbox();
    let db = sandbox.path("other.db");
    let db = db.to_str().unwrap();
    sandbox
        .run(["--db", db, "task", "add", "7other", "--name", "Another"])
        .ok();
    let of_zsh = format!("--db={db}");
    for words in [
        &["--db", db, "show", "7"][..],
        &[&of_zsh, "show", "7"],
        &["show", "--db", db, "7"],
    ] {
        assert_eq!(zsh(&sandbox, words), ["7other:Another"], "{words:?}");
    }
}

#[test]
fn a_store_that_can_not_be_read_gives_no_ids_and_no_error() {
    let sandbox = Sandbox::new();
    assert!(zsh(&sandbox, &["show", "7"]).is_empty());
    assert!(!sandbox.db().exists());
    sandbox.file("store.db", "Dear diary, this is not a database.");
    assert!(zsh(&sandbox, &["show", "7"]).is_empty());
    let server = ["--db", "postgres://nobody@127.0.0.1:1/none", "show", "7"];
    assert!(zsh(&sandbox, &server).is_empty());
}

#[test]
fn a_locked_store_gives_no_ids_and_no_error() {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;

    let sandbox = sandbox();
    let db = sandbox.db();
    let mut lock = diesel::SqliteConnection::establish(db.to_str().unwrap()).unwrap();
    lock.batch_execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    assert!(zsh(&sandbox, &["show", "7"]).is_empty());
    drop(lock);
    assert_eq!(zsh(&sandbox, &["show", "7"]).len(), 2);
}

#[test]
fn an_unknown_shell_or_an_odd_line_gets_no_answer_and_no_error() {
    let sandbox = sandbox();
    for shell in ["nosuch", "bash", "zsh", "fish"] {
        for words in [
            &[][..],
            &["--"],
            &["--", "turnkeep"],
            &["--", "turnkeep", "nosuch", "--x"],
        ] {
            if words.is_empty() && shell != "nosuch" {
                continue; // It asks for the script.
            }
            let mut command = sandbox.turnkeep(words);
            command.env("_TURNKEEP_COMPLETE", shell);
            let asked = run(&mut command);
            assert_eq!(
                (asked.code, &*asked.stderr),
                (Some(0), ""),
                "{shell} {words:?}"
            );
        }
    }
}

/// Completes a line in bash with the script that `completions` prints. Returns the candidates.
#[cfg(unix)]
fn bash(sandbox: &Sandbox, words: &[&str], current: &str) -> Vec<String> {
    let script = sandbox.run(["completions", "bash"]).ok();
    let turnkeep = sandbox.turnkeep(words);
    let mut path = OsString::from(Path::new(turnkeep.get_program()).parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c"])
        .arg(format!(
            "{script}\nCURRENT=$1; shift; COMP_TYPE=9; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))\n\
             _turnkeep turnkeep \"$CURRENT\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        ))
        .args(["bash", current, "turnkeep"])
        .args(words)
        .env_clear()
        .env("PATH", path)
        .env("HOME", sandbox.path(""))
        .env("TURNKEEP_DB", sandbox.db())
        .current_dir(sandbox.path(""));
    let shown: Run = run(&mut bash);
    let shown = shown.ok();
    shown.lines().map(str::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn bash_gets_titles_beside_several_ids() {
    let sandbox = sandbox();
    let login = "7c1e4b52-93d8";
    for (words, current, expected) in [
        (&["show", "7c1e4"][..], "7c1e4", &[login][..]),
        (
            &["show", "7c"],
            "7c",
            &[
                "7c1effff-0000                         (Ship␛[2J: all␊of *)",
                "7c1e4b52-93d8                         (Fix the login)",
            ],
        ),
        // Bash breaks words at colons, and keeps what is before them.
        (&["show", "claude", ":", "7c1e4"], "7c1e4", &[login]),
        (&["search", "--task", "=", "7c1e4"], "7c1e4", &[login]),
        (&["show", "pa"], "pa", &["parser"]),
        (&["tas"], "tas", &["task"]),
    ] {
        assert_eq!(bash(&sandbox, words, current), expected, "{words:?}");
    }
    assert!(!sandbox.path("x").exists());
    let all = bash(&sandbox, &["show", "claude", ":"], "");
    assert_eq!(all.len(), 2, "{all:?}");
}

/// Bash inserts what all candidates begin with.
#[cfg(unix)]
#[test]
fn an_id_that_two_tasks_have_is_offered_once() {
    let sandbox = sandbox();
    let task = TaskId::new("codex:7c1e4b52-93d8").unwrap();
    let repo = sandbox.repo();
    repo.save_task(&NewTask::new(task.clone(), "Fix the logout"))
        .unwrap();
    let session = SessionId::new("7c1e4b52-93d8").unwrap();
    repo.save_session(&task, &NewSession::new(BackendType::Codex, session))
        .unwrap();
    let offered = bash(&sandbox, &["show", "7c1e4"], "7c1e4");
    assert_eq!(offered, ["7c1e4b52-93d8"]);
    let offered = bash(&sandbox, &["show", "7c"], "7c");
    assert_eq!(offered.len(), 2, "{offered:?}");
}
