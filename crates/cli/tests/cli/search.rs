use std::fs;
use std::path::PathBuf;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, NewTask, RecordingName, Repo, Role, SessionId, TaskId,
    WorkingDir,
};
use turnkeep_search::Index;
use unicode_width::UnicodeWidthStr as _;

use crate::support::{Run, Sandbox, json_lines};
use crate::watch::{Watch, append};

fn at(time: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(time).unwrap().into()
}

/// A session in `folder` with one prompt and one answer on a day.
fn session(repo: &Repo, agent: BackendType, folder: &str, day: &str, [prompt, answer]: [&str; 2]) {
    let id = TaskId::new(format!("{agent}:{day}")).unwrap();
    repo.save_task(&NewTask::new(id.clone(), format!("The task of {day}")))
        .unwrap();
    let session = NewSession::new(agent, SessionId::new(day).unwrap());
    repo.save_session(&id, &session.working_dir(WorkingDir::new(folder).unwrap()))
        .unwrap();
    let messages = [
        NewMessage::new(Role::User, prompt).timestamp(at(&format!("{day}T12:00:00Z"))),
        NewMessage::new(Role::Assistant, answer).timestamp(at(&format!("{day}T12:01:00Z"))),
    ];
    repo.save_messages(&id, &messages).unwrap();
}

fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let repo = sandbox.repo();
    let home = sandbox.path("web");
    let turns = [
        "Why does the login fail?",
        "The cookie is too old.\n\n    let login = 1;",
    ];
    session(
        &repo,
        BackendType::Claude,
        home.to_str().unwrap(),
        "2026-02-03",
        turns,
    );
    let turns = ["The login fails\u{1b}[2J again", "検索機能を実装しました"];
    session(
        &repo,
        BackendType::Codex,
        "/srv/shop/api",
        "2026-02-05",
        turns,
    );
    sandbox
}

/// Keeps a recording with a tool call for the session of a task.
fn record(repo: &Repo, task: &str, session: &str, tool: &str, time: &str, output: &str) {
    let lines = [
        serde_json::json!({"timestamp": time, "message": {"content": [
            {"type": "tool_use", "id": "1", "name": tool, "input": {"command": "cargo test"}}]}}),
        serde_json::json!({"message": {"content": [
            {"type": "tool_result", "tool_use_id": "1", "content": output}]}}),
    ];
    let lines = lines.map(|line| format!("{line}\n")).concat();
    let name = RecordingName::new(format!("projects/-web/{session}.jsonl")).unwrap();
    let task = TaskId::new(task).unwrap();
    repo.save_recording(&task, &name, 0, lines.as_bytes())
        .unwrap();
}

fn found(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let run = sandbox.run([&["search", "--json"], args].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    let hits = json_lines(&run.stdout).into_iter();
    let mut found: Vec<_> = hits
        .map(|hit| format!("{}/{}", hit["task_id"].as_str().unwrap(), hit["seq"]))
        .collect();
    found.sort();
    found
}

const FIRST: &str = "claude:2026-02-03/1";
const SECOND: &str = "claude:2026-02-03/2";
const THIRD: &str = "codex:2026-02-05/1";

#[test]
fn words_and_filters_choose_turns() {
    let sandbox = filled();
    for (args, expected) in [
        (&["login"][..], &[FIRST, SECOND, THIRD][..]),
        (&["login", "fail"], &[FIRST]),
        (&["LOGIN", "fail*"], &[FIRST, THIRD]),
        (&["the login", "-again"], &[FIRST]),
        (&["login", "-the login"], &[SECOND]),
        (&["\"the login\" -again"], &[FIRST]),
        (&["機能"], &["codex:2026-02-05/2"]),
        (&["login", "--agent", "codex"], &[THIRD]),
        (&["login", "--folder", "web"], &[FIRST, SECOND]),
        (&["login", "--folder", "web/../web/."], &[FIRST, SECOND]),
        (&["login", "--folder", "/srv/shop"], &[THIRD]),
        (&["login", "--role", "assistant"], &[SECOND]),
        (&["login", "--task", "codex:2026-02-05"], &[THIRD]),
        (&["login", "--since", "2026-02-04"], &[THIRD]),
        (&["login", "--until", "2026-02-04"], &[FIRST, SECOND]),
        (
            &[
                "login",
                "--since",
                "2026-02-03T12:01:00Z",
                "--until",
                "2026-02-03T12:01:01Z",
            ],
            &[SECOND],
        ),
        (&["login", "--since", "7d"], &[]),
        (&["--limit", "1", "cookie"], &[SECOND]),
        (&["-again", "login", "--role", "user", "-cookie"], &[FIRST]),
        (&["none"], &[]),
    ] {
        assert_eq!(found(&sandbox, args), expected, "{args:?}");
    }
}

#[test]
fn a_hit_reads_well() {
    let sandbox = filled();
    let mut command = sandbox.turnkeep(["search", "login"]);
    let run = crate::support::run(command.env("TZ", "UTC"));
    let mut hits: Vec<_> = run.stdout.split("\n\n").collect();
    hits.sort();
    let expected = [
        "claude:2026-02-03  The task of 2026-02-03\n  claude  ~/web  2026-02-03  turn 1, user\n    Why does the login fail?",
        "claude:2026-02-03  The task of 2026-02-03\n  claude  ~/web  2026-02-03  turn 2, assistant\n    The cookie is too old. let login = 1;",
        "codex:2026-02-05  The task of 2026-02-05\n  codex  /srv/shop/api  2026-02-05  turn 1, user\n    The login fails␛[2J again",
    ];
    let hits: Vec<_> = hits.iter().map(|hit| hit.trim_end()).collect();
    assert_eq!(hits, expected);
    assert_eq!(run.stderr, "");
}

#[cfg(unix)]
#[test]
fn the_words_are_highlighted_on_a_terminal() {
    let sandbox = filled();
    let mut command = sandbox.turnkeep(["search", "old"]);
    command.env("TERM", "xterm");
    let shown = crate::support::run_on_terminal(command, "").stdout;
    assert!(
        shown.contains("too \u{1b}[1m\u{1b}[33mold\u{1b}[0m."),
        "{shown:?}"
    );
}

#[test]
fn json_has_the_passage_and_the_places_of_the_words() {
    let sandbox = filled();
    let run = sandbox.run(["search", "--json", "cookie"]);
    let hit = run.one();
    let expected = serde_json::json!({
        "task_id": "claude:2026-02-03", "name": "The task of 2026-02-03", "backend": "claude",
        "working_dir": sandbox.path("web"), "seq": 2, "role": "assistant",
        "timestamp": "2026-02-03T12:01:00.000000Z",
        "passage": "The cookie is too old.\n\n    let login = 1;", "highlights": [[4, 10]],
    });
    assert_eq!(hit, expected);
}

#[test]
fn a_store_without_hits_says_so_and_a_query_without_words_fails() {
    let sandbox = filled();
    let none = sandbox.run(["search", "none"]);
    assert_eq!(
        (none.code, &*none.stdout, &*none.stderr),
        (Some(0), "", "no turn has these words\n")
    );
    let best = sandbox.run(["search", "login", "--limit", "1"]);
    assert!(
        best.stderr.starts_with("the best 1; `--limit N`"),
        "{best:?}"
    );
    let error = sandbox.run(["search", "=>"]).failed(2);
    assert!(error.contains("search: the query has no word"), "{error}");
    assert!(sandbox.run(["search"]).failed(2).contains("WORDS"));
    let zero = sandbox.run(["search", "login", "--limit", "0"]).failed(2);
    assert!(zero.contains("--limit"), "{zero}");
    assert!(
        sandbox
            .run(["search", "x", "--since", "soon"])
            .failed(2)
            .contains("is no day")
    );
    let nowhere = Sandbox::new();
    assert!(
        nowhere
            .run(["search", "x"])
            .failed(3)
            .contains("there is no store")
    );
    assert!(!nowhere.path("store.db.search").exists());
}

#[test]
fn values_with_hyphens_are_no_excluded_words() {
    let sandbox = filled();
    sandbox.run(["task", "add", "--", "-t"]).ok();
    let append = ["append", "--role", "user", "--", "-t", "login -f"];
    sandbox.run(append).ok();
    for task in [&["--task", "-t"][..], &["--task=-t"]] {
        let login = ["login"].iter().chain(task).copied();
        assert_eq!(found(&sandbox, &login.collect::<Vec<_>>()), ["-t/1"]);
    }
    assert!(found(&sandbox, &["login", "-f", "--task", "-t"]).is_empty());
    assert!(found(&sandbox, &["login", "--folder", "-t"]).is_empty());
}

#[test]
fn a_search_sees_what_was_stored_since() {
    let sandbox = filled();
    assert!(found(&sandbox, &["blue"]).is_empty());
    sandbox
        .run(["append", "claude:2026-02-03", "--role", "user", "blue"])
        .ok();
    assert_eq!(found(&sandbox, &["blue"]), ["claude:2026-02-03/3"]);
    sandbox.run(["task", "rm", "claude:2026-02-03"]).ok();
    assert!(found(&sandbox, &["blue"]).is_empty());
    fs::remove_file(sandbox.path("store.db.search")).unwrap();
    assert_eq!(found(&sandbox, &["login"]), [THIRD]);
}

/// Returns the files in the cache folder.
fn cached(sandbox: &Sandbox) -> Vec<PathBuf> {
    let files = fs::read_dir(sandbox.path(".cache/turnkeep"));
    let files = files.into_iter().flatten();
    files.map(|file| file.unwrap().path()).collect()
}

/// Makes the index beside the store one that this user can't have: another user's, or in a folder that takes none.
#[cfg(unix)]
fn lock_out(sandbox: &Sandbox) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    let folder = sandbox.path("");
    let index = sandbox.file("store.db.search", "");
    if fs::metadata(&index).unwrap().uid() == 0 {
        return chown(&index, Some(1), None).unwrap();
    }
    // Other users can give no file away.
    fs::remove_file(&index).unwrap();
    fs::create_dir_all(sandbox.path(".cache")).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap();
}

#[cfg(unix)]
#[test]
fn the_cache_folder_has_the_index_where_the_stores_folder_can_have_none() {
    use std::os::unix::fs::PermissionsExt as _;

    let sandbox = filled();
    // Opened, so that a folder without rights can have a log.
    let repo = sandbox.repo();
    lock_out(&sandbox);
    assert_eq!(found(&sandbox, &["login"]).len(), 3);
    let mut command = sandbox.turnkeep(["search", "login"]);
    command.env("TERM", "xterm");
    let shown = crate::support::run_on_terminal(command, "");
    assert!(shown.stdout.contains("The task of"), "{shown:?}");
    assert_eq!(cached(&sandbox).len(), 1);
    let erased = sandbox.run(["task", "rm", "--secure", "claude:2026-02-03"]);
    assert!(cached(&sandbox).is_empty(), "{erased:?}");
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    drop(repo);
}

/// Whether the index has a word, as its only one with these letters.
fn has_word(sandbox: &Sandbox, word: &str) -> bool {
    let index = fs::read(sandbox.path("store.db.search")).unwrap();
    index.windows(word.len()).any(|it| it == word.as_bytes())
}

#[test]
fn words_of_removed_tasks_leave_the_index_at_once() {
    let sandbox = filled();
    let turns = ["one", "two"];
    session(
        &sandbox.repo(),
        BackendType::Codex,
        "/srv",
        "2026-02-06",
        turns,
    );
    for (task, command) in [
        (
            "claude:2026-02-03",
            &["task", "rm", "claude:2026-02-03"][..],
        ),
        ("codex:2026-02-06", &["rm", "codex:2026-02-06", "--yes"]),
        (
            "codex:2026-02-05",
            &["prune", "--status", "completed", "--yes"],
        ),
    ] {
        sandbox
            .run(["append", task, "--role", "user", "qzxsecret"])
            .ok();
        sandbox.run(["task", "status", task, "completed"]).ok();
        assert_eq!(found(&sandbox, &["qzxsecret"]).len(), 1);
        assert!(has_word(&sandbox, "qzxsecret"));
        let run = sandbox.run(command);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(!has_word(&sandbox, "qzxsecret"), "{run:?}");
    }
    session(
        &sandbox.repo(),
        BackendType::Codex,
        "/srv",
        "2026-02-07",
        turns,
    );
    sandbox.file("store.db.search", "mine");
    let run = sandbox.run(["task", "rm", "codex:2026-02-07"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stderr
            .contains("removed words stay in the full-text index"),
        "{run:?}"
    );
}

/// The library knows no index.
#[test]
fn a_vacuum_takes_words_of_removed_tasks_out_of_the_index() {
    let sandbox = filled();
    let task = "claude:2026-02-03";
    sandbox
        .run(["append", task, "--role", "user", "qzxsecret"])
        .ok();
    assert_eq!(found(&sandbox, &["qzxsecret"]).len(), 1);
    let repo = sandbox.repo();
    assert!(repo.remove_task(&TaskId::new(task).unwrap()).unwrap());
    assert!(has_word(&sandbox, "qzxsecret"));
    assert_eq!(sandbox.run(["prune", "--vacuum"]).code, Some(0));
    assert!(!has_word(&sandbox, "qzxsecret"));
}

/// A row that can't be read is no failure of the search.
#[test]
fn a_damaged_turn_is_a_warning() {
    let sandbox = filled();
    let path = sandbox.db();
    SqliteConnection::establish(path.to_str().unwrap())
        .unwrap()
        .batch_execute(
            "INSERT INTO conversation_history \
             VALUES ('claude:2026-02-03', 3, 'user', 0, NULL, CAST(x'ff' AS TEXT), NULL, NULL)",
        )
        .unwrap();
    let run = sandbox.run(["search", "login"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let warning = "warning: not all turns can be found: ";
    assert!(run.stderr.starts_with(warning), "{run:?}");
}

#[test]
fn a_secure_deletion_deletes_the_index() {
    let sandbox = filled();
    let index = sandbox.path("store.db.search");
    sandbox
        .run(["append", "claude:2026-02-03", "--role", "user", "qzxsecret"])
        .ok();
    assert_eq!(found(&sandbox, &["qzxsecret"]).len(), 1);
    sandbox
        .run(["task", "rm", "--secure", "claude:2026-02-03"])
        .ok();
    assert!(!index.exists());
    assert_eq!(found(&sandbox, &["login"]), [THIRD]);
    let foreign = sandbox.file("store.db.search", "mine");
    let rm = ["task", "rm", "--secure", "--json", "codex:2026-02-05"];
    let run = sandbox.run(rm);
    assert_eq!((run.code, &*run.stdout), (Some(1), ""), "{run:?}");
    assert!(
        run.stderr
            .contains("words of the task may be left in the full-text index"),
        "{run:?}"
    );
    assert_eq!(fs::read(&foreign).unwrap(), b"mine");
    fs::remove_file(foreign).unwrap();
    assert_eq!(sandbox.run(rm).one()["erased"], true);
}

#[test]
fn another_file_at_the_place_of_the_index_stays() {
    let sandbox = filled();
    let index = sandbox.file("store.db.search", "mine");
    let error = sandbox.run(["search", "login"]).failed(1);
    assert!(error.contains("is no search index"), "{error}");
    assert_eq!(fs::read(&index).unwrap(), b"mine");
    fs::remove_file(&index).unwrap();
    fs::create_dir_all(&index).unwrap();
    assert!(
        sandbox
            .run(["search", "login"])
            .failed(1)
            .contains("is no regular file")
    );
}

/// A search brings the index up to date itself, so the index is asked directly.
#[cfg(unix)]
#[test]
fn a_watch_keeps_an_existing_index_up_to_date() {
    use rustix::process::{Pid, Signal, kill_process};

    let sandbox = filled();
    let index = sandbox.path("store.db.search");
    // Ends it, which waits for an update that runs.
    let follow = || {
        let mut watch = Watch::start(&sandbox, &["watch"]);
        watch.wait_until_it_follows();
        kill_process(Pid::from_child(&watch.child), Signal::TERM).unwrap();
        assert_eq!(watch.end().0, Some(0));
    };
    assert_eq!(found(&sandbox, &["login"]).len(), 3);
    append(&sandbox, 1);
    follow();
    let opened = Index::open(&sandbox.repo(), &index).unwrap();
    assert_eq!(opened.update().unwrap().added_turns, 0);
    fs::remove_file(&index).unwrap();
    follow();
    assert!(!index.exists());
}

/// The watch follows before it gives up the index.
#[test]
fn a_watch_stores_turns_while_the_index_is_locked() {
    let sandbox = filled();
    assert_eq!(found(&sandbox, &["login"]).len(), 3);
    let index = sandbox.path("store.db.search");
    let mut other = SqliteConnection::establish(index.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN EXCLUSIVE").unwrap();
    append(&sandbox, 1);
    let mut watch = Watch::start(&sandbox, &["watch"]);
    assert!(watch.line().contains("new turns: 1"));
    watch.wait_until_it_follows();
    append(&sandbox, 2);
    assert!(watch.line().contains("new turns: 1"));
    let remark = watch.remark();
    assert!(
        remark.contains("the full-text index was not brought up to date"),
        "{remark}"
    );
}

#[test]
fn tool_calls_are_found_with_their_place() {
    let sandbox = filled();
    let time = "2026-02-03T12:00:30Z";
    let output = "the login test failed";
    let id = "claude:2026-02-03";
    record(&sandbox.repo(), id, "2026-02-03", "Bash", time, output);
    let mut command = sandbox.turnkeep(["search", "failed", "login", "--tools"]);
    let run = crate::support::run(command.env("TZ", "UTC"));
    assert_eq!(
        run.stdout,
        "claude:2026-02-03  The task of 2026-02-03\n  claude  ~/web  2026-02-03  Bash after turn 1\n    \
         Bash cargo test the login test failed\n"
    );
    let hit = sandbox.run(["search", "--json", "failed", "--tools"]).one();
    let expected = serde_json::json!({
        "task_id": id, "name": "The task of 2026-02-03", "backend": "claude",
        "working_dir": sandbox.path("web"), "seq": 1, "tool": "Bash",
        "timestamp": "2026-02-03T12:00:30.000000Z",
        "passage": "Bash cargo test\nthe login test failed", "highlights": [[31, 37]],
    });
    assert_eq!(hit, expected);
    // Turns come first, and calls only if they are asked for.
    let both = sandbox.run(["search", "--json", "login", "--tools", "--agent", "claude"]);
    let has_tool: Vec<_> = json_lines(&both.stdout)
        .iter()
        .map(|hit| hit["tool"].is_string())
        .collect();
    assert_eq!(has_tool, [false, false, true]);
    assert!(found(&sandbox, &["failed"]).is_empty());
    let none = sandbox.run(["search", "none", "--tools"]);
    assert_eq!(none.stderr, "no turn and no tool call has these words\n");
    let role = sandbox
        .run(["search", "login", "--tools", "--role", "user"])
        .failed(2);
    assert!(role.contains("--role"), "{role}");
}

/// Nor is one left behind by an interruption.
#[test]
fn a_search_of_tool_calls_makes_no_temporary_file() {
    let sandbox = filled();
    let id = "claude:2026-02-03";
    let time = "2026-02-03T12:00:30Z";
    record(&sandbox.repo(), id, "2026-02-03", "Bash", time, "failed");
    let missing = sandbox.path("missing");
    let mut command = sandbox.turnkeep(["search", "--json", "failed", "--tools"]);
    let run = crate::support::run(command.env("TMPDIR", &missing));
    assert_eq!(run.one()["tool"], "Bash");
    let mut command = sandbox.turnkeep(["show", id, "--tools"]);
    let run = crate::support::run(command.env("TMPDIR", &missing));
    assert!(run.ok().contains("▸ Bash cargo test"));
}

#[test]
fn calls_in_an_unreadable_recording_are_left_out_with_a_warning() {
    let sandbox = filled();
    let time = "2026-02-03T12:00:30Z";
    for (id, session) in [
        ("claude:2026-02-03", "2026-02-03"),
        ("codex:2026-02-05", "2026-02-05"),
    ] {
        record(
            &sandbox.repo(),
            id,
            session,
            "Bash",
            time,
            "the login failed",
        );
    }
    let search = || sandbox.run(["search", "login", "--tools"]);
    let count = |run: &Run| run.stdout.split("\n\n").count();
    assert_eq!(count(&search()), 5);
    let path = sandbox.db();
    SqliteConnection::establish(path.to_str().unwrap())
        .unwrap()
        .batch_execute(
            "CREATE TEMP TABLE chunk AS SELECT * FROM recording_chunks WHERE task_id = 'codex:2026-02-05'; \
             DELETE FROM recording_chunks WHERE task_id = 'codex:2026-02-05'; \
             INSERT INTO recording_chunks SELECT task_id, number, \"offset\", length, checksum, x'00' FROM chunk",
        )
        .unwrap();
    let run = search();
    assert_eq!((run.code, count(&run)), (Some(0), 4), "{run:?}");
    assert!(run.stdout.contains("turn 1, user"), "{run:?}");
    let warning = "warning: tool calls are left out: the kept file `projects/-web/2026-02-05.jsonl` \
                   of task `codex:2026-02-05` can't be read: ";
    assert!(run.stderr.starts_with(warning), "{run:?}");
    // There is no remark that nothing has these words.
    let run = sandbox.run(["search", "failed", "--tools", "--agent", "codex"]);
    assert_eq!((run.code, &*run.stdout), (Some(0), ""));
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
}

#[test]
fn words_of_removed_recordings_leave_the_index_at_once() {
    let sandbox = filled();
    let time = "2026-02-03T12:00:30Z";
    let id = "claude:2026-02-03";
    record(&sandbox.repo(), id, "2026-02-03", "Bash", time, "qzxsecret");
    let run = sandbox.run(["search", "qzxsecret", "--tools", "--json"]);
    assert_eq!(json_lines(&run.stdout).len(), 1);
    assert!(has_word(&sandbox, "qzxsecret"));
    sandbox.run(["recording", "rm", id]).ok();
    assert!(!has_word(&sandbox, "qzxsecret"));
}

/// Ids, agents, folders and names of tools may be as long as they like.
#[test]
fn no_line_of_a_hit_is_longer_than_80_columns() {
    let sandbox = Sandbox::new();
    let repo = sandbox.repo();
    let agent: BackendType = "日本".repeat(10).parse().unwrap();
    let folder = format!("/srv/{}", "日本語 folder/".repeat(20));
    let long = "needle ".repeat(100);
    session(&repo, agent.clone(), &folder, "2026-02-03", [&long, "x"]);
    let id = format!("{agent}:2026-02-03");
    let name = "長い題名 ".repeat(30);
    repo.save_task(&NewTask::new(TaskId::new(&*id).unwrap(), name))
        .unwrap();
    let tool = "\u{1b}[2J道具\n".repeat(5_000);
    record(
        &repo,
        &id,
        "2026-02-03",
        &tool,
        "2026-02-03T12:00:30Z",
        &long,
    );
    let run = sandbox.run(["search", "needle", "--tools"]);
    assert_eq!(run.stdout.split("\n\n").count(), 2, "{run:?}");
    for line in run.stdout.lines() {
        assert!(line.width() <= 80, "{} columns: {line}", line.width());
    }
    assert!(run.stdout.contains("  …/"), "{run:?}");
}
