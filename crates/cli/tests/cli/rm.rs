//! `rm`: what it chooses, the question, and what is left.

use std::time::Duration;

use serde_json::json;
use turnkeep_repo::{
    BackendType, NewSession, NewTask, Repo, Role, SessionId, TaskId, TaskStatus, WorkerId,
    WorkingDir,
};

#[cfg(unix)]
use crate::support::run;
use crate::support::{Sandbox, in_words, json_lines};

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

/// Stores an ended task with one turn and a session of an agent in a folder.
fn add(repo: &Repo, task: &str, agent: &str, folder: &str) {
    let status = TaskStatus::Completed;
    repo.save_task(&NewTask::new(id(task), format!("About {task}")).status(status))
        .unwrap();
    repo.save_message(&id(task), Role::User, "Why?").unwrap();
    let session = SessionId::new(format!("session-{task}")).unwrap();
    let binding = NewSession::new(agent.parse::<BackendType>().unwrap(), session)
        .working_dir(WorkingDir::new(folder).unwrap());
    repo.save_session(&id(task), &binding).unwrap();
}

/// Stores four tasks: `old` of last year, and three of now.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let year_ago = chrono::Utc::now() - chrono::TimeDelta::days(365);
    let past = Repo::builder(sandbox.db()).clock(move || year_ago).open();
    add(&past.unwrap(), "old", "claude", "/srv/client");
    let repo = sandbox.repo();
    add(&repo, "deep", "codex", "/srv/client/web");
    add(&repo, "near", "codex", "/srv/clientele");
    add(&repo, "other", "goose", "/home/ada");
    sandbox
}

/// Returns the tasks that are left, sorted.
fn left(sandbox: &Sandbox) -> String {
    let tasks = sandbox.repo().get_tasks().unwrap();
    let mut ids: Vec<_> = tasks.iter().map(|task| task.id.as_str()).collect();
    ids.sort_unstable();
    ids.join(" ")
}

#[test]
fn options_choose_what_is_removed_and_all_must_match() {
    for (options, stays) in [
        (&["--folder", "/srv/client"][..], "near other"),
        (&["--agent", "codex"], "old other"),
        (
            &["--agent", "codex", "--folder", "/srv/client"],
            "near old other",
        ),
        (&["--older-than", "30d"], "deep near other"),
        (&["--until", "yesterday"], "deep near other"),
        (&["--until", "today"], ""),
        (&["old", "session-near"], "deep other"),
        (&["session-o"], "deep near old other"),
        (&["de"], "deep near old other"),
    ] {
        let sandbox = sandbox();
        let run = sandbox.run(["rm", "--yes"].iter().chain(options));
        assert_eq!(left(&sandbox), stays, "{options:?} {run:?}");
    }
}

/// After a link, `..` is the folder above its target.
#[cfg(unix)]
#[test]
fn a_folder_above_a_link_is_one_folder() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("").canonicalize().unwrap();
    sandbox.file("data/x/file", "");
    sandbox.file("work/file", "");
    std::os::unix::fs::symlink(root.join("data/x"), root.join("work/link")).unwrap();
    for folder in ["data", "work"] {
        let path = root.join(folder);
        add(&sandbox.repo(), folder, "claude", path.to_str().unwrap());
    }
    sandbox
        .run(["rm", "--folder", "work/link/..", "--yes"])
        .ok();
    assert_eq!(left(&sandbox), "work");
}

#[test]
fn no_import_brings_a_removed_session_back() {
    let sandbox = Sandbox::new();
    let line = json!({"type": "user", "sessionId": "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60", "cwd": "/srv/client",
        "timestamp": "2026-02-03T00:00:00Z", "message": {"role": "user", "content": "Why?"}});
    let path = "claude/projects/-srv-client/6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60.jsonl";
    sandbox.file(path, format!("{line}\n"));
    sandbox.run(["import", "claude"]).ok();
    let removed = sandbox.run(["rm", "--folder", "/srv/client", "--yes"]).ok();
    assert_eq!(
        removed,
        "removed: 1 session with 1 turn; imports leave out what was removed\n"
    );
    let again = sandbox.run(["import", "claude"]).ok();
    assert!(again.contains("removed earlier: 1"), "{again}");
    assert_eq!(left(&sandbox), "");
}

#[test]
fn nothing_is_removed_without_a_terminal_or_yes() {
    let sandbox = sandbox();
    for args in [
        &["rm", "--agent", "codex"][..],
        &["rm", "old"],
        &["rm", "old", "--json"],
    ] {
        let error = sandbox.run(args).failed(2);
        assert!(error.contains("needs `--yes`"), "{error}");
    }
    for args in [
        &["rm", "--yes"][..],
        &["rm", "old", "--agent", "claude", "--yes"],
        &["rm", "--older-than", "30", "--yes"],
        &["rm", "--older-than", "30d", "--until", "today", "--yes"],
    ] {
        sandbox.run(args).failed(2);
    }
    assert_eq!(left(&sandbox), "deep near old other");
}

#[test]
fn what_does_not_exist_is_an_error_before_anything_is_removed() {
    let sandbox = sandbox();
    let missing = sandbox.run(["rm", "old", "none", "--yes"]);
    assert!(missing.stderr.contains("task `none`"), "{missing:?}");
    assert_ne!(missing.code, Some(0));
    let short = sandbox.run(["rm", "old", "session-d", "--yes"]).failed(3);
    assert!(short.contains("not a whole id"), "{short}");
    let unmatched = sandbox.run(["rm", "--agent", "aider", "--yes"]);
    assert!(
        unmatched.stderr.contains("no session or task matches"),
        "{unmatched:?}"
    );
    assert_ne!(unmatched.code, Some(0));
    assert_eq!(left(&sandbox), "deep near old other");
}

#[test]
fn a_running_task_is_removed_only_by_its_id() {
    let sandbox = sandbox();
    let repo = sandbox.repo();
    repo.save_task(&NewTask::new(id("busy"), "Busy")).unwrap();
    let worker = WorkerId::new("w").unwrap();
    let claims = repo
        .claim_ready(&worker, 1, Duration::from_secs(60))
        .unwrap();
    assert_eq!(claims.len(), 1);
    let run = sandbox.run(["rm", "--until", "today", "--yes"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let note = "busy (Busy) is running and stays; `turnkeep rm busy` removes it\n";
    assert_eq!(run.stderr, note);
    assert_eq!(left(&sandbox), "busy");
    let run = sandbox.run(["rm", "--until", "today", "--yes"]);
    assert!(run.stderr.contains("no session or task matches"), "{run:?}");
    sandbox.run(["rm", "busy", "--yes"]).ok();
    assert_eq!(left(&sandbox), "");
}

#[test]
fn named_tasks_that_are_removed_already_are_left_out() {
    let sandbox = sandbox();
    sandbox.run(["rm", "old", "deep", "--yes"]).ok();
    // As after a command that was interrupted. A session means its task.
    let args = ["rm", "old", "near", "near", "session-deep", "--yes"];
    let run = sandbox.run(args);
    let notes = "there is no task `old`; it may be removed already\n\
        there is no task `session-deep`; it may be removed already\n";
    assert_eq!((run.code, &*run.stderr), (Some(0), notes));
    let removed = "removed: 1 task with 1 turn; imports leave out what was removed\n";
    assert_eq!(run.stdout, removed);
    assert_eq!(left(&sandbox), "other");
    let error = sandbox.run(args).failed(3);
    assert!(error.contains("no session or task matches"), "{error}");
}

/// Whether the file of the store has this text.
fn has_text(sandbox: &Sandbox, text: &str) -> bool {
    let bytes = std::fs::read(sandbox.db()).unwrap();
    bytes.windows(text.len()).any(|it| it == text.as_bytes())
}

/// As after a command that was interrupted before it erased.
#[test]
fn secure_erases_also_if_all_are_removed_already() {
    for args in [
        &["old"][..],
        &["never-there"],
        &["--folder", "/srv/client", "--agent", "claude"],
    ] {
        let sandbox = sandbox();
        sandbox.run(["search", "why"]).ok();
        let index = sandbox.path("store.db.search");
        assert!(index.exists());
        sandbox.repo().remove_task(&id("old")).unwrap();
        assert!(has_text(&sandbox, "About old"));
        let run = sandbox.run(["rm", "--yes", "--secure"].iter().chain(args));
        assert_eq!((run.code, &*run.stdout), (Some(0), ""), "{run:?}");
        let note = "no session or task matches; text that was removed earlier is erased\n";
        assert!(run.stderr.ends_with(note), "{run:?}");
        assert!(!has_text(&sandbox, "About old"));
        assert!(!index.exists());
        assert_eq!(left(&sandbox), "deep near other");
    }
}

/// The file has no room to be rewritten.
#[cfg(unix)]
#[test]
fn a_failed_erasure_deletes_the_index_and_can_be_repeated() {
    let sandbox = sandbox();
    sandbox
        .repo()
        .save_message(&id("near"), Role::User, &"x ".repeat(500_000))
        .unwrap();
    sandbox.run(["search", "why"]).ok();
    let index = sandbox.path("store.db.search");
    assert!(index.exists());
    let args = ["rm", "old", "--yes", "--secure"];
    let rm = sandbox.turnkeep(args);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""])
        .arg(rm.get_program())
        .args(rm.get_args())
        .env("HOME", sandbox.path(""))
        .env("TURNKEEP_DB", sandbox.db());
    let run = run(&mut limited);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.starts_with("removed: 1 task "), "{run:?}");
    let error = "error: text of what was removed may be left; the same command erases it: ";
    assert!(run.stderr.starts_with(error), "{run:?}");
    assert!(!index.exists());
    assert!(has_text(&sandbox, "About old"));
    assert_eq!(sandbox.run(args).code, Some(0));
    assert!(!has_text(&sandbox, "About old"));
}

#[test]
fn json_has_a_line_for_each_and_secure_leaves_no_text() {
    let sandbox = sandbox();
    let has_text = || has_text(&sandbox, "About deep");
    assert!(has_text());
    sandbox.run(["search", "why"]).ok();
    let index = sandbox.path("store.db.search");
    assert!(index.exists());
    let args = [
        "rm",
        "--folder",
        "/srv/client",
        "--yes",
        "--secure",
        "--json",
    ];
    let run = sandbox.run(args);
    let line = |task| json!({"task_id": task, "deleted": true, "turns": 1, "revisions": 1});
    assert_eq!(json_lines(&run.ok()), [line("deep"), line("old")]);
    assert!(!has_text());
    assert!(!index.exists());
    assert!(!sandbox.path("store.db-wal").exists());
}

#[cfg(unix)]
mod on_a_terminal {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;
    use crate::support::{run_on_terminal, run_on_terminal_of};

    #[test]
    fn the_sessions_are_shown_before_the_question() {
        let sandbox = sandbox();
        let rm = |typed| run_on_terminal(sandbox.turnkeep(["rm", "--agent", "codex"]), typed);
        for no in ["n\n", "\n", "yesterday\n", "\u{4}"] {
            let shown = rm(no).ok();
            let table = shown.find("ID    TITLE").unwrap();
            let row = shown.find("About near").unwrap();
            let question = shown.find("Remove 2 tasks for good? [y/N] ").unwrap();
            assert!(table < row && row < question, "{shown}");
            assert!(
                shown.lines().all(|line| line.chars().count() <= 80),
                "{shown}"
            );
            assert!(shown.contains("nothing was removed\n"), "{shown}");
            assert_eq!(left(&sandbox), "deep near old other");
        }
        let shown = rm("Yes\n").ok();
        assert!(shown.contains("removed: 2 tasks with 2 turns"), "{shown}");
        assert_eq!(left(&sandbox), "old other");
        let shown = run_on_terminal_of(24, 200, sandbox.turnkeep(["rm", "old"]), "y\n").ok();
        assert!(shown.contains("Remove 1 task for good? [y/N] "), "{shown}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_task_that_changes_while_the_question_is_open_stays() {
        use crate::support::Terminal;

        for chosen in [
            &["--until", "today"][..],
            &["deep", "near", "old", "other", "moved"],
        ] {
            let sandbox = sandbox();
            let repo = sandbox.repo();
            add(&repo, "moved", "claude", "/srv/client");
            let rm = sandbox.turnkeep(["rm"].iter().chain(chosen));
            let mut rm = Terminal::start(24, 80, rm);
            rm.wait_for("Remove 5 tasks for good? [y/N] ");
            repo.save_message(&id("near"), Role::User, "One more thing.")
                .unwrap();
            repo.update_task_status(&id("other"), TaskStatus::Running)
                .unwrap();
            let session = repo.get_session(&id("moved")).unwrap();
            let elsewhere = NewSession::new(session.backend_type, session.session_id)
                .working_dir(WorkingDir::new("/home/ada").unwrap());
            repo.save_session(&id("moved"), &elsewhere).unwrap();
            repo.delete_task(&id("old")).unwrap();
            rm.type_in("y\n");
            let shown = rm.end().0.ok();
            assert!(shown.contains("removed: 1 task with 1 turn;"), "{shown}");
            assert!(
                shown.contains("changed meanwhile, and stay: 4\n"),
                "{shown}"
            );
            assert_eq!(left(&sandbox), "moved near other");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn ctrl_c_at_the_question_removes_nothing() {
        use crate::support::Terminal;

        let sandbox = sandbox();
        let mut rm = Terminal::start_as_own(&sandbox.turnkeep(["rm", "--agent", "codex"]));
        rm.wait_for("[y/N] ");
        rm.type_in("\u{3}");
        let (shown, signal) = rm.end();
        assert_eq!(signal, Some(Signal::INT.as_raw()), "{shown:?}");
        assert_eq!(left(&sandbox), "deep near old other");
    }

    /// The output is not read, so that the command is still at work.
    #[test]
    fn an_interrupted_command_says_what_it_has_removed() {
        const TASKS: usize = 2_000;
        for (secure, left) in [
            (None, ""),
            (
                Some("--secure"),
                "; their text may be left in the file: the same command erases it",
            ),
        ] {
            let sandbox = Sandbox::new();
            let repo = sandbox.repo();
            let task = |number| NewTask::new(id(&format!("task-{number}")), "");
            repo.save_tasks(&(0..TASKS).map(task).collect::<Vec<_>>())
                .unwrap();
            let rm = ["rm", "--older-than", "0s", "--yes", "--json"];
            let mut rm = sandbox.turnkeep(rm.into_iter().chain(secure));
            rm.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut rm = rm.spawn().unwrap();
            let mut stdout = BufReader::with_capacity(1, rm.stdout.take().unwrap());
            stdout.read_line(&mut String::new()).unwrap();
            let pid = Pid::from_child(&rm);
            kill_process(pid, Signal::INT).unwrap();
            let status = rm.wait().unwrap();
            assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
            let mut said = String::new();
            rm.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            let gone = TASKS - repo.get_tasks().unwrap().len();
            assert!(gone > 0 && gone < TASKS, "{gone}");
            let expected =
                format!("warning: interrupted; removed: {gone} of {TASKS} tasks{left}\n");
            assert_eq!(in_words(&said), expected);
        }
    }
}
