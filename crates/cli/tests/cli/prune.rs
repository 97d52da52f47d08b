use std::fs;
use std::process::Stdio;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use serde_json::{Value, json};
use turnkeep_repo::chrono::{TimeDelta, Utc};
use turnkeep_repo::{NewTask, Repo, Role, StatusUpdate, TaskId, TaskStatus};

#[cfg(unix)]
use crate::support::run_on_terminal;
use crate::support::{Sandbox, in_words, is_time, json_lines, names};

/// A store with tasks completed 100, 50 and 10 days ago, and a pending one.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for (id, days) in [("a", 100), ("b", 50), ("c", 10), ("d", 200)] {
        let clock = move || Utc::now() - TimeDelta::days(days);
        let repo = Repo::builder(sandbox.db()).clock(clock).open().unwrap();
        let task = TaskId::new(id).unwrap();
        repo.save_task(&NewTask::new(task.clone(), "")).unwrap();
        repo.save_message(&task, Role::User, &"x".repeat(998))
            .unwrap();
        if id != "d" {
            repo.update_task_status(&task, TaskStatus::Completed)
                .unwrap();
        }
    }
    sandbox
}

fn left(sandbox: &Sandbox) -> String {
    let tasks = sandbox.repo().get_tasks().unwrap();
    tasks.iter().map(|task| task.id.as_str()).collect()
}

#[test]
fn a_dry_run_shows_the_tasks_that_prune_deletes() {
    let sandbox = sandbox();
    let planned = sandbox
        .run(["prune", "--older-than", "30d", "--dry-run", "--json"])
        .json();
    assert_eq!(
        names(&planned[0]),
        [
            "bytes",
            "deleted",
            "last_active_at",
            "status",
            "task_id",
            "turns"
        ]
    );
    let ids: Vec<&Value> = planned.iter().map(|task| &task["task_id"]).collect();
    assert_eq!(ids, ["a", "b"]);
    assert!(planned.iter().all(|task| is_time(&task["last_active_at"])));
    assert_eq!(
        (
            &planned[0]["turns"],
            &planned[0]["bytes"],
            &planned[0]["deleted"]
        ),
        (&json!(1), &json!(1000), &json!(false))
    );
    let text = sandbox
        .run(["prune", "--older-than", "30d", "--dry-run"])
        .ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "TASK  STATUS     LAST ACTIVE           TURNS  BYTES"
    );
    assert!(lines[1].starts_with("a     completed  2") && lines[1].ends_with("Z      1   1000"));
    assert_eq!(
        lines[3..],
        ["would go: 2 tasks with 2 turns, 2000 bytes of text; kept: 2000 bytes"]
    );
    assert_eq!(left(&sandbox), "dabc");
    let gone = sandbox
        .run(["prune", "--older-than", "30d", "--yes", "--json"])
        .json();
    assert_eq!(gone.len(), 2);
    assert!(gone.iter().all(|task| task["deleted"] == true));
    assert_eq!(left(&sandbox), "dc");
}

#[test]
fn size_and_status_select_tasks_and_a_vacuum_shrinks_the_file() {
    let sandbox = sandbox();
    let repo = sandbox.repo();
    let large = TaskId::new("large").unwrap();
    repo.save_task(&NewTask::new(large.clone(), "")).unwrap();
    repo.save_message(&large, Role::User, &"x".repeat(1_000_000))
        .unwrap();
    repo.update_task_status(&large, StatusUpdate::failed(""))
        .unwrap();
    drop(repo);
    let run = sandbox.run([
        "prune",
        "--keep-size",
        "1MiB",
        "--status",
        "completed",
        "--yes",
    ]);
    assert_eq!(run.code, Some(0));
    assert_eq!(left(&sandbox), "dabclarge", "it fits");
    let before = fs::metadata(sandbox.db()).unwrap().len();
    let run = sandbox.run(["prune", "--keep-size", "1kB", "--status", "failed", "--yes"]);
    assert_eq!(
        run.stdout,
        "deleted: 1 task with 1 turn, 1000002 bytes of text; kept: 4000 bytes\n"
    );
    let note = "are free for what is written next; `turnkeep prune --vacuum` gives them back";
    assert!(run.stderr.trim_end().ends_with(note), "{}", run.stderr);
    assert_eq!(left(&sandbox), "dabc");
    assert_eq!(fs::metadata(sandbox.db()).unwrap().len(), before);
    let run = sandbox.run(["prune", "--vacuum"]);
    assert_eq!((run.code, &*run.stdout), (Some(0), ""));
    assert!(run.stderr.starts_with("on the disk: "), "{}", run.stderr);
    let after = fs::metadata(sandbox.db()).unwrap().len();
    assert!(after + 900_000 < before, "{before}, {after}");
    assert_eq!(left(&sandbox), "dabc");
}

#[test]
fn wrong_options_are_refused() {
    let sandbox = sandbox();
    for args in [&["prune"][..], &["prune", "--yes"], &["prune", "--dry-run"]] {
        let error = sandbox.run(args).failed(2);
        assert!(error.contains("required"), "{error}");
        assert!(error.contains("--older-than <AGE>"), "{error}");
    }
    for (args, says) in [
        (
            ["--status", "pending"],
            "[possible values: completed, failed, skipped]",
        ),
        (
            ["--older-than", "30"],
            "a number with one of s, m, h, d, w is needed",
        ),
        (["--keep-size", "1.5GB"], "`1.5` is not a whole number"),
        (["--vacuum", "--dry-run"], "cannot be used with"),
        (["--yes", "--dry-run"], "cannot be used with"),
    ] {
        let error = sandbox.run(["prune"].into_iter().chain(args)).failed(2);
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(left(&sandbox), "dabc");
}

#[test]
fn without_a_terminal_prune_needs_yes() {
    let sandbox = sandbox();
    let prune = ["prune", "--older-than", "30d", "--vacuum"];
    let run = sandbox.run_with_stdin(&prune, b"y\n");
    assert_eq!(run.code, Some(0));
    assert!(run.stdout.starts_with("TASK"), "{}", run.stdout);
    let sum = "would go: 2 tasks with 2 turns, 2000 bytes of text; kept: 2000 bytes\n";
    assert!(run.stdout.ends_with(sum), "{}", run.stdout);
    let note = "nothing was deleted; `--yes` deletes this without a question\n";
    assert_eq!(run.stderr, note);
    let run = sandbox.run(["prune", "--older-than", "30d", "--json"]);
    assert_eq!((run.code, &*in_words(&run.stderr)), (Some(0), note));
    let planned = json_lines(&run.stdout);
    assert!(planned.iter().all(|task| task["deleted"] == false));
    assert_eq!((planned.len(), &*left(&sandbox)), (2, "dabc"));

    let run = sandbox.run(["prune", "--older-than", "30d", "--yes"]);
    let sum = "deleted: 2 tasks with 2 turns, 2000 bytes of text; kept: 2000 bytes\n";
    assert_eq!((run.code, &*run.stdout), (Some(0), sum));
    assert_eq!(left(&sandbox), "dc");
    // No task is left, so there is no question.
    let run = sandbox.run(["prune", "--older-than", "30d"]);
    assert!(!run.stderr.contains("--yes"), "{}", run.stderr);
}

/// Both streams go to one file.
#[test]
fn a_note_follows_its_table() {
    let sandbox = sandbox();
    let path = sandbox.path("log");
    let log = fs::File::create(&path).unwrap();
    let mut prune = sandbox.turnkeep(["prune", "--older-than", "30d"]);
    prune.stdin(Stdio::null()).stdout(log.try_clone().unwrap());
    assert!(prune.stderr(log).status().unwrap().success());
    let text = fs::read_to_string(&path).unwrap();
    let table = text.find("TASK  STATUS").unwrap();
    let note = text.find("nothing was deleted; ").unwrap();
    assert!(table < note, "{text}");
}

#[cfg(unix)]
#[test]
fn on_a_terminal_prune_shows_the_tasks_and_asks() {
    let sandbox = sandbox();
    let prune = |typed| run_on_terminal(sandbox.turnkeep(["prune", "--older-than", "30d"]), typed);
    for no in ["n\n", "\n", "yesterday\n", "\u{4}"] {
        let shown = prune(no).ok();
        let table = shown.find("TASK  STATUS").unwrap();
        let sum = shown.find("would go: 2 tasks with 2 turns").unwrap();
        let question = shown
            .find("Delete these tasks (2) for good? [y/N] ")
            .unwrap();
        assert!(table < sum && sum < question, "{shown}");
        assert!(shown.contains("nothing was deleted\n"), "{shown}");
        assert_eq!(left(&sandbox), "dabc");
    }
    let shown = prune("Yes\n").ok();
    assert!(shown.contains("deleted: 2 tasks with 2 turns"), "{shown}");
    assert_eq!(left(&sandbox), "dc");
    let shown = prune("y\n").ok();
    assert!(!shown.contains("[y/N]"), "nothing to ask about: {shown}");
}

#[test]
fn a_turn_that_is_appended_to_an_old_task_keeps_it() {
    let sandbox = sandbox();
    let append = ["append", "a", "--role", "user"];
    sandbox.run_with_stdin(&append, b"One more thing.").ok();
    sandbox.run(["prune", "--older-than", "30d", "--yes"]);
    assert_eq!(left(&sandbox), "dac");
}

/// A recording is as old as its last turn, however late it was imported.
#[test]
fn the_age_of_a_recording_is_that_of_its_last_turn() {
    let sandbox = Sandbox::new();
    let line = |session: &str, number: i64, days: i64| {
        let time = (Utc::now() - TimeDelta::days(days)).to_rfc3339();
        let message = json!({"role": "user", "content": "x"});
        let line = json!({"type": "user", "uuid": format!("{session}{number}"), "sessionId": session,
            "cwd": "/srv", "timestamp": time, "message": message});
        format!("{line}\n")
    };
    let old = line("old", 1, 400) + &line("old", 2, 365);
    let grows = line("grows", 1, 50);
    sandbox.file("old.jsonl", &old);
    sandbox.file("grows.jsonl", &grows);
    sandbox
        .run(["import", "old.jsonl", "grows.jsonl", "--json"])
        .json();
    let task = sandbox.repo().get_task(&TaskId::new("claude:old").unwrap());
    let task = task.unwrap();
    let days = |time| Utc::now().signed_duration_since::<Utc>(time).num_days();
    assert_eq!((days(task.created_at), days(task.updated_at)), (400, 365));
    sandbox.file("grows.jsonl", grows + &line("grows", 2, 1));
    sandbox.run(["import", "grows.jsonl", "--json"]).json();

    let rule = ["prune", "--older-than", "30d", "--yes", "--json"];
    let gone = sandbox.run(rule).json();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0]["task_id"], "claude:old");
}

#[test]
fn a_securely_removed_task_is_in_no_file() {
    let sandbox = sandbox();
    let add = ["task", "add", "x", "--prompt", "The password is sEcReT."];
    sandbox.run(add).ok();
    let has_secret = || {
        let bytes = fs::read(sandbox.db()).unwrap();
        bytes.windows(6).any(|bytes| bytes == b"sEcReT")
    };
    assert!(has_secret());
    let removed = sandbox.run(["task", "rm", "x", "--secure", "--json"]).one();
    assert_eq!(
        (&removed["deleted"], &removed["erased"]),
        (&json!(true), &json!(true))
    );
    assert!(!has_secret());
    assert!(!sandbox.path("store.db-wal").exists());
    // As after a failure.
    let again = sandbox.run(["task", "rm", "x", "--secure"]).ok();
    assert_eq!(again, "erased the rest of task x\n");
    let removed = sandbox.run(["task", "rm", "a", "--json"]).one();
    assert_eq!(removed["erased"], false);
}

#[test]
fn stats_prints_tables_or_one_json_object() {
    let sandbox = Sandbox::new();
    let time = "2026-10-05T10:00:00Z".parse().unwrap();
    let repo = Repo::builder(sandbox.db())
        .clock(move || time)
        .open()
        .unwrap();
    let empty = sandbox.run(["stats"]).ok();
    assert!(empty.starts_with("STATUS     TASKS"), "{empty}");
    assert!(!empty.contains("largest"), "{empty}");
    let task = TaskId::new("t").unwrap();
    repo.save_task(&NewTask::new(task.clone(), "")).unwrap();
    repo.save_message(&task, Role::User, &"x".repeat(2048))
        .unwrap();
    drop(repo);

    let text = sandbox.run(["stats"]).ok();
    let bar = "█".repeat(30);
    for line in [
        &format!("pending        1  2.00 KiB  {bar}"),
        "running        0       0 B",
        "turns by agent",
        &format!("-          1  2.00 KiB  {bar}"),
        "growth by month",
        &format!("2026-10      1      1  2.00 KiB  2.00 KiB  {bar}"),
        "largest sessions",
        "t              1  2.00 KiB",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let stats = sandbox.run(["stats", "--json"]).one();
    assert_eq!(
        names(&stats),
        [
            "backends",
            "disk_bytes",
            "free_bytes",
            "largest",
            "months",
            "recordings",
            "statuses",
            "tokens"
        ]
    );
    assert_eq!(
        stats["statuses"][0],
        json!({"status": "pending", "tasks": 1, "bytes": 2050})
    );
    let month = json!({"month": "2026-10", "tasks": 1, "turns": 1, "bytes": 2048});
    assert_eq!(stats["months"], json!([month]));
    let of_agent = json!([{"month": "2026-10", "tasks": 0, "turns": 1, "bytes": 2048}]);
    let agent = json!({"backend": null, "turns": 1, "bytes": 2048, "months": of_agent});
    assert_eq!(stats["backends"], json!([agent]));
    let none = json!({"files": 0, "bytes": 0, "stored_bytes": 0});
    assert_eq!(stats["recordings"], none);
    assert_eq!(stats["tokens"], json!(null));
    let largest = &stats["largest"][0];
    assert_eq!(
        names(largest),
        ["bytes", "name", "status", "task_id", "turns", "updated_at"]
    );
    assert!(is_time(&largest["updated_at"]));
    assert_eq!(
        (&largest["task_id"], &largest["bytes"]),
        (&json!("t"), &json!(2050))
    );
}

/// Stores a session of Claude Code with two answers, each on two lines, and a third that its model is not known of.
fn with_tokens(folder: &str) -> Sandbox {
    const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
    let sandbox = Sandbox::new();
    let line = |number: u32, month: u32, model: Value| {
        let usage = json!({"input_tokens": 4, "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 12_345, "output_tokens": 7});
        let content = json!([{"type": "text", "text": "Yes."}]);
        let line = json!({"type": "assistant", "uuid": format!("u{number}"), "sessionId": ID, "cwd": folder,
            "timestamp": format!("2026-{month:02}-03T08:00:00Z"), "message": {"id": format!("msg_{}", number / 2),
            "role": "assistant", "model": model, "content": content, "usage": usage}});
        format!("{line}\n")
    };
    let lines: String = [
        line(0, 1, json!("opus")),
        line(1, 1, json!("opus")),
        line(2, 2, json!("opus")),
        line(3, 2, json!("opus")),
        line(4, 2, json!(7)),
    ]
    .concat();
    let path = format!(".claude/projects/-srv-app/{ID}.jsonl");
    sandbox.file(&path, lines);
    sandbox.run(["import"]).ok();
    sandbox
}

#[test]
fn tokens_of_a_damaged_file_are_a_warning() {
    let sandbox = with_tokens("/srv/app");
    let path = sandbox.db();
    SqliteConnection::establish(path.to_str().unwrap())
        .unwrap()
        .batch_execute(
            "INSERT INTO recording_chunks SELECT task_id, number, \"offset\" + length, 5, 0, x'00' \
             FROM recording_chunks ORDER BY \"offset\" DESC LIMIT 1",
        )
        .unwrap();
    let run = sandbox.run(["stats", "--tokens"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let warning = "warning: tokens of task `claude:6f1d2c3b";
    assert!(run.stderr.starts_with(warning), "{run:?}");
}

#[test]
fn the_tokens_of_the_kept_files_are_summed_up() {
    let sandbox = with_tokens("/srv/app");
    let text = sandbox.run(["stats", "--tokens"]).ok();
    for line in [
        "tokens by month and agent",
        "MONTH    AGENT   ANSWERS  INPUT  CACHED  TO CACHE  OUTPUT",
        "2026-01  claude        1      4   12.3k        20       7",
        "2026-02  claude        2      8   24.6k        40      14",
        "opus   claude        2      8   24.6k        40      14",
        "-      claude        1      4   12.3k        20       7",
        "/srv/app  claude        3     12   37.0k        60      21",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let stats = sandbox.run(["stats", "--tokens", "--json"]).one();
    let row = |month, model: Value| {
        json!({"month": month, "backend": "claude", "working_dir": "/srv/app", "model": model, "answers": 1,
            "input": 4, "cache_read": 12_345, "cache_write": 20, "output": 7})
    };
    assert_eq!(
        stats["tokens"],
        json!([
            row("2026-01", json!("opus")),
            row("2026-02", json!(null)),
            row("2026-02", json!("opus")),
        ])
    );
    let task = sandbox.run(["list", "--json"]).one()["id"].clone();
    sandbox
        .run(["recording", "rm", task.as_str().unwrap()])
        .ok();
    let none = sandbox.run(["stats", "--tokens"]);
    assert_eq!((none.code, &*none.stdout), (Some(0), ""));
    assert!(
        none.stderr.starts_with("no kept file has tokens"),
        "{none:?}"
    );
}

#[cfg(unix)]
#[test]
fn all_stats_fit_on_a_terminal() {
    let sandbox = with_tokens(&format!("/srv/{}", "日本/".repeat(40)));
    let long = "A title that is too long for a line of a terminal ".repeat(3);
    let repo = sandbox.repo();
    repo.save_task(&NewTask::new(TaskId::new("x".repeat(50)).unwrap(), long))
        .unwrap();
    for args in [&["stats"][..], &["stats", "--tokens"]] {
        let shown = run_on_terminal(sandbox.turnkeep(args), "").ok();
        let wide = shown
            .lines()
            .find(|line| unicode_width::UnicodeWidthStr::width(*line) > 80);
        assert_eq!(wide, None);
    }
    let shown = run_on_terminal(sandbox.turnkeep(["stats"]), "").ok();
    assert!(shown.contains("\n6f1d2c3b "), "{shown}");
}
