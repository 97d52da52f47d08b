use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use turnkeep_repo::{ConversationTurn, TaskId};

use crate::support::{Run, Sandbox, in_words, json_lines, names, run};

const CLAUDE: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
const CODEX: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

fn claude_line(session: &str, number: usize, text: &str) -> String {
    let user = number % 2 == 1;
    let role = if user { "user" } else { "assistant" };
    let mut line = json!({
        "type": role, "uuid": format!("{session}-{number}"), "sessionId": session, "cwd": "/srv/app",
        "timestamp": format!("2026-02-03T{:02}:{:02}:{:02}.500Z", number / 3600, number / 60 % 60, number % 60),
        "message": {"role": role, "content": [{"type": "text", "text": text}]},
    });
    if !user {
        line["message"]["id"] = json!(format!("msg-{number}"));
        line["message"]["model"] = json!("m");
    }
    format!("{line}\n")
}

/// A Claude Code session with turns `1` to `count`, the odd ones by the user.
fn claude(session: &str, count: usize) -> String {
    (1..=count)
        .map(|number| claude_line(session, number, &number.to_string()))
        .collect()
}

fn codex() -> String {
    let line = |kind: &str, payload: Value| {
        let line =
            json!({"timestamp": "2026-03-04T10:00:00.250Z", "type": kind, "payload": payload});
        format!("{line}\n")
    };
    let message = |role: &str, block: &str, text: &str| {
        let content = json!([{"type": block, "text": text}]);
        line(
            "response_item",
            json!({"type": "message", "role": role, "content": content}),
        )
    };
    [
        line("session_meta", json!({"id": CODEX, "cwd": "/srv/app"})),
        message("user", "input_text", "Why?"),
        message("assistant", "output_text", "Because."),
        message("assistant", "output_text", "Really."),
    ]
    .concat()
}

fn goose() -> String {
    let line = |role: &str, created: i64, text: &str| {
        let content = json!([{"type": "text", "text": text}]);
        format!(
            "{}\n",
            json!({"role": role, "created": created, "content": content})
        )
    };
    line("user", 1_767_225_600, "Hello") + &line("assistant", 1_767_225_601, "Hi")
}

fn claude_file(sandbox: &Sandbox, content: &str) -> PathBuf {
    sandbox.file(&format!("claude/projects/-srv-app/{CLAUDE}.jsonl"), content)
}

fn all_agents(sandbox: &Sandbox) -> PathBuf {
    claude_file(sandbox, &claude(CLAUDE, 3));
    let rollout = format!("codex/sessions/2026/03/04/rollout-2026-03-04T10-00-00-{CODEX}.jsonl");
    sandbox.file(&rollout, codex());
    sandbox.file("goose/sessions/20260101_1.jsonl", goose());
    sandbox.path("")
}

fn import(sandbox: &Sandbox, path: impl Into<PathBuf>) -> Run {
    sandbox.run([PathBuf::from("import"), "--json".into(), path.into()])
}

fn history(sandbox: &Sandbox, task: &str) -> Vec<ConversationTurn> {
    sandbox
        .repo()
        .get_history(&TaskId::new(task).unwrap())
        .unwrap()
}

/// Asserts that the history has the turns of [`claude`], each once and in order.
#[track_caller]
fn assert_turns(sandbox: &Sandbox, session: &str, count: usize) {
    let turns = history(sandbox, &format!("claude:{session}"));
    let expected: Vec<_> = (1..=count).map(|number| number.to_string()).collect();
    let contents: Vec<_> = turns.into_iter().map(|turn| turn.content).collect();
    assert_eq!(contents, expected);
}

#[test]
fn recordings_of_each_agent_are_imported_once() {
    let sandbox = Sandbox::new();
    let folder = all_agents(&sandbox);
    let mut first = import(&sandbox, &folder).json();
    assert_eq!(
        names(&first[0]),
        [
            "added_turns",
            "assistant_turns",
            "backend",
            "first_timestamp",
            "kept_bytes",
            "last_timestamp",
            "path",
            "session_id",
            "task_id",
            "unparsable_lines",
            "user_turns",
            "working_dir"
        ]
    );
    let claude = json!({
        "task_id": format!("claude:{CLAUDE}"), "backend": "claude", "session_id": CLAUDE,
        "working_dir": "/srv/app", "user_turns": 2, "assistant_turns": 1,
        "first_timestamp": "2026-02-03T00:00:01.500Z",
        "last_timestamp": "2026-02-03T00:00:03.500Z",
        "added_turns": 3, "kept_bytes": claude(CLAUDE, 3).len(), "unparsable_lines": 0,
        "path": sandbox.path(format!("claude/projects/-srv-app/{CLAUDE}.jsonl")),
    });
    assert_eq!(first[0], claude);
    let counts = |line: &Value| {
        let fields = [
            "backend",
            "user_turns",
            "assistant_turns",
            "added_turns",
            "working_dir",
        ];
        fields.map(|name| line[name].clone())
    };
    let expected = [
        json!("codex"),
        json!(1),
        json!(2),
        json!(3),
        json!("/srv/app"),
    ];
    assert_eq!(counts(&first[1]), expected);
    assert_eq!(
        counts(&first[2]),
        [json!("goose"), json!(1), json!(1), json!(2), json!(null)]
    );
    assert_eq!(first.len(), 3);

    for line in &mut first {
        line["added_turns"] = json!(0);
        line["kept_bytes"] = json!(0);
    }
    assert_eq!(import(&sandbox, &folder).json(), first);

    let turns = history(&sandbox, &format!("codex:{CODEX}"));
    let said: Vec<_> = turns
        .iter()
        .map(|turn| (turn.role.as_str(), &*turn.content))
        .collect();
    assert_eq!(
        said,
        [
            ("user", "Why?"),
            ("assistant", "Because."),
            ("assistant", "Really.")
        ]
    );
    let sessions = sandbox.run(["session", "list", "--json"]).json();
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions[2]["session_id"], "20260101_1");
    let tasks = sandbox.run(["task", "list", "--json"]).json();
    assert!(
        tasks.iter().all(|task| task["status"] == "completed"),
        "{tasks:?}"
    );
    assert_eq!(sandbox.run(["task", "ready", "--json"]).ok(), "");
}

#[test]
fn an_import_prints_a_table_and_a_summary() {
    let sandbox = Sandbox::new();
    let text = sandbox.run(["import".into(), all_agents(&sandbox)]).ok();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 3 + 1, "{text}");
    assert!(lines[0].starts_with("TASK  ") && lines[0].contains("  USER  ASSISTANT  NEW  "));
    assert!(lines[3].starts_with("goose:20260101_1  "), "{text}");
    assert_eq!(lines[4], "sessions: 3, new turns: 8");
    assert!(!text.contains("Because."), "what was said is not told");
}

#[test]
fn a_backend_filters_the_recordings() {
    let sandbox = Sandbox::new();
    all_agents(&sandbox);
    let lines = sandbox
        .run(["import", "--json", "--backend", "codex", "."])
        .json();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["backend"], "codex");
    let none = sandbox
        .run(["import", "--backend", "goose", "claude"])
        .failed(3);
    assert!(
        none.starts_with("error: claude has no recordings of goose\nhint: "),
        "{none}"
    );
}

#[test]
fn a_grown_file_adds_only_its_new_turns() {
    let sandbox = Sandbox::new();
    let path = claude_file(&sandbox, &claude(CLAUDE, 3));
    import(&sandbox, &path).one();
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(claude_line(CLAUDE, 4, "4").as_bytes())
        .unwrap();
    let grown = import(&sandbox, &path).one();
    assert_eq!(
        (&grown["added_turns"], &grown["assistant_turns"]),
        (&json!(1), &json!(2))
    );
    assert_turns(&sandbox, CLAUDE, 4);
}

#[test]
fn a_cut_file_adds_no_turn_and_counts_its_damage() {
    let sandbox = Sandbox::new();
    let whole = claude(CLAUDE, 4);
    let path = claude_file(&sandbox, &whole);
    import(&sandbox, &path).one();
    claude_file(&sandbox, &whole[..whole.len() - 10]);
    let cut = import(&sandbox, &path).one();
    assert_eq!(
        (&cut["added_turns"], &cut["unparsable_lines"]),
        (&json!(0), &json!(1))
    );
    assert_turns(&sandbox, CLAUDE, 4);

    let people = sandbox.run(["import".into(), path.clone()]);
    assert_eq!(people.code, Some(0));
    let warning = format!("warning: {}: damaged lines skipped: 1\n", path.display());
    assert_eq!(people.stderr, warning);
    assert_eq!(
        people.stdout, "sessions: 1, new turns: 0, damaged lines: 1\n",
        "one line if nothing changes"
    );
}

#[test]
fn an_unreadable_file_is_reported_and_the_others_imported() {
    let sandbox = Sandbox::new();
    let whole = claude_file(&sandbox, &claude(CLAUDE, 2));
    let compressed = sandbox.file("rollout-x.jsonl.zst", b"(\xb5/\xfd");
    let missing = sandbox.path("missing");
    let run = sandbox.run([
        "import".into(),
        "--json".into(),
        compressed.clone(),
        missing.clone(),
        whole,
    ]);
    let lines = json_lines(&run.stdout);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["added_turns"], 2);
    let stderr = in_words(&run.failed(1));
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    for path in [compressed, missing] {
        let path = path.display().to_string();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("error: ") && line.contains(&path))
        );
    }
}

#[test]
fn an_id_that_is_too_long_for_a_task_is_reported() {
    let sandbox = Sandbox::new();
    let whole = claude_file(&sandbox, &claude(CLAUDE, 2));
    // Valid as a session id, but too long with `codex:` before it.
    let long = "x".repeat(510);
    let odd = sandbox.file("odd.jsonl", codex().replace(CODEX, &long));
    let run = sandbox.run(["import".into(), "--json".into(), odd.clone(), whole]);
    assert_eq!(json_lines(&run.stdout).len(), 1);
    let error = in_words(&run.failed(1));
    assert!(
        error.starts_with(&format!("error: {}", odd.display())),
        "{error}"
    );
    assert!(
        error.contains("invalid task id: is 516 bytes long"),
        "{error}"
    );
}

#[test]
fn a_folder_without_recordings_is_an_error() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    let empty = sandbox.run(["import", "empty"]);
    assert_eq!(empty.stdout, "");
    assert!(
        empty
            .failed(3)
            .starts_with("error: empty has no recordings\nhint: ")
    );
    let missing = sandbox.run(["import", "--json", "missing"]);
    assert_eq!(missing.stdout, "");
    assert_eq!(
        in_words(&missing.failed(3)),
        "error: missing does not exist\n"
    );
    assert!(!sandbox.db().exists());
}

fn add_bound(sandbox: &Sandbox, task: &str, session: &str) {
    sandbox
        .run(["task", "add", task, "--name", "Mine", "--prompt", "Do it."])
        .ok();
    let set = [
        "session",
        "set",
        task,
        "--backend",
        "claude",
        "--session-id",
    ];
    sandbox.run(set.iter().chain(&[session])).ok();
}

#[test]
fn a_task_of_an_orchestrator_gets_no_words_of_another_session() {
    let sandbox = Sandbox::new();
    let path = claude_file(&sandbox, &claude(CLAUDE, 2));
    let task = format!("claude:{CLAUDE}");
    add_bound(&sandbox, &task, "other");
    let before = sandbox.run(["task", "show", &task, "--json"]).one();
    let run = import(&sandbox, &path);
    let warning = format!(
        "warning: passed over {}, session `{CLAUDE}`: the task `{task}` was never bound to this \
         session\n",
        path.display()
    );
    assert_eq!(
        (run.code, &*run.stdout, in_words(&run.stderr)),
        (Some(0), "", warning)
    );
    assert_eq!(sandbox.run(["task", "show", &task, "--json"]).one(), before);
}

#[test]
fn a_recording_goes_to_the_task_that_is_bound_to_its_session() {
    let sandbox = Sandbox::new();
    let path = claude_file(&sandbox, &claude(CLAUDE, 2));
    add_bound(&sandbox, "review", CLAUDE);
    for said in [["user", "1", "a"], ["assistant", "2", "answer-1"]] {
        let [role, text, key] = said;
        let append = ["append", "review", "--role", role, "--key", key, text];
        sandbox.run(append).ok();
    }
    let shown = |name: &str| sandbox.run(["task", "show", "review", "--json"]).one()[name].clone();
    let kept = ["name", "prompt", "status", "updated_at"];
    let before = kept.map(shown);
    let imported = import(&sandbox, &path).one();
    assert_eq!(
        (&imported["task_id"], &imported["added_turns"]),
        (&json!("review"), &json!(0)),
        "the orchestrator has appended both"
    );
    assert_eq!(kept.map(shown), before);
    assert_eq!(shown("session")["working_dir"], "/srv/app", "it had none");

    // The binding is an earlier one now.
    let set = [
        "session",
        "set",
        "review",
        "--backend",
        "claude",
        "--session-id",
        "next",
    ];
    sandbox.run(set).ok();
    claude_file(&sandbox, &claude(CLAUDE, 3));
    assert_eq!(import(&sandbox, &path).one()["task_id"], "review");
    let contents: Vec<_> = history(&sandbox, "review")
        .into_iter()
        .map(|turn| turn.content)
        .collect();
    assert_eq!(contents, ["1", "2", "3"]);
    let current = sandbox.run(["session", "get", "review", "--json"]).one();
    assert_eq!(current["session_id"], "next");
    assert_eq!(sandbox.run(["task", "list", "--json"]).json().len(), 1);
}

#[test]
fn recordings_that_claim_another_session_add_nothing() {
    let log = |uuid: &str, text: &str| {
        let line = json!({
            "type": "user", "session_id": CLAUDE, "uuid": uuid, "cwd": "/tmp/evil",
            "message": {"role": "user", "content": text},
        });
        format!("{line}\n")
    };
    for order in [["home", "evil"], ["evil", "home"]] {
        let sandbox = Sandbox::new();
        let home = format!("home/projects/-srv-app/{CLAUDE}.jsonl");
        sandbox.file(&home, claude(CLAUDE, 2));
        let notes = claude(CLAUDE, 2).replace("/srv/app", "/tmp/evil");
        sandbox.file(
            "evil/notes.jsonl",
            notes + &claude_line(CLAUDE, 3, "INJECTED"),
        );
        sandbox.file("evil/log.jsonl", log("x", "INJECTED"));
        sandbox.file("evil/rollout-x.jsonl", codex().replace(CODEX, "review"));
        let run = sandbox.run([&["import"][..], &order].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let warnings: Vec<_> = run.stderr.lines().collect();
        assert_eq!(
            warnings,
            [
                "warning: evil/notes.jsonl is no session: its name is not the id of the session in its lines".to_owned(),
                format!("warning: passed over evil/log.jsonl, session `{CLAUDE}`: the session is known from elsewhere"),
                "warning: only the content of evil/rollout-x.jsonl says that it is session `review`".to_owned(),
            ]
        );
        assert_turns(&sandbox, CLAUDE, 2);
        let session = sandbox
            .run(["session", "get", &format!("claude:{CLAUDE}"), "--json"])
            .one();
        assert_eq!(session["working_dir"], "/srv/app");
    }
    // A log of an unknown session is imported, and may grow.
    let sandbox = Sandbox::new();
    sandbox.file("logs/run.jsonl", log("u1", "1"));
    let added =
        || json_lines(&import(&sandbox, sandbox.path("logs")).stdout)[0]["added_turns"].clone();
    assert_eq!(added(), 1);
    sandbox.file("logs/run.jsonl", log("u1", "1") + &log("u2", "2"));
    assert_eq!(added(), 1);
    // The session goes on in another run.
    sandbox.file("logs/run 2.jsonl", log("u3", "3"));
    let run = import(&sandbox, sandbox.path("logs"));
    assert_eq!((json_lines(&run.stdout).len(), &*run.stderr), (2, ""));
    assert_eq!(history(&sandbox, &format!("claude-log:{CLAUDE}")).len(), 3);
}

#[test]
fn the_folder_of_an_imported_binding_follows_the_recording() {
    let sandbox = Sandbox::new();
    let folder = || {
        let get = ["session", "get", &format!("claude:{CLAUDE}"), "--json"];
        sandbox.run(get).one()["working_dir"].clone()
    };
    let whole = claude(CLAUDE, 2);
    let old = claude_file(&sandbox, &whole);
    import(&sandbox, &old).one();
    assert_eq!(folder(), "/srv/app");
    let new = format!("claude/projects/-srv-new/{CLAUDE}.jsonl");
    let moved = whole + &claude_line(CLAUDE, 3, "3").replace("/srv/app", "/srv/new");
    let new = sandbox.file(&new, moved);
    import(&sandbox, &new).one();
    assert_eq!(folder(), "/srv/new");
    import(&sandbox, &old).one();
    assert_eq!(folder(), "/srv/new", "an older copy does not know it");
    assert_turns(&sandbox, CLAUDE, 3);
}

#[test]
fn a_task_has_the_title_of_its_session() {
    let sandbox = Sandbox::new();
    let title = json!({"type": "ai-title", "aiTitle": "The\nlogin", "sessionId": CLAUDE});
    let path = claude_file(&sandbox, &format!("{}{title}\n", claude(CLAUDE, 2)));
    import(&sandbox, &path).one();
    sandbox.file("goose/sessions/20260101_1.jsonl", goose());
    import(&sandbox, sandbox.path("goose")).one();
    let tasks = sandbox.run(["task", "list", "--json"]).json();
    let mut names: Vec<_> = tasks
        .iter()
        .map(|task| task["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["Hello", "The login"]);
}

#[test]
fn a_binding_without_a_folder_gets_the_recorded_one() {
    let sandbox = Sandbox::new();
    let path = claude_file(&sandbox, &claude(CLAUDE, 2));
    let task = format!("claude:{CLAUDE}");
    let folder = || sandbox.run(["session", "get", &task, "--json"]).one()["working_dir"].clone();
    let set = [
        "session",
        "set",
        &task,
        "--backend",
        "claude",
        "--session-id",
        CLAUDE,
    ];
    sandbox.run(["task", "add", &task]).ok();
    sandbox.run(set).ok();
    import(&sandbox, &path).one();
    assert_eq!(folder(), "/srv/app");

    sandbox
        .run(set.iter().chain(&["--working-dir", "/mine"]))
        .ok();
    import(&sandbox, &path).one();
    assert_eq!(folder(), "/mine", "one that is known stays");
}

#[test]
fn concurrent_imports_add_each_turn_once() {
    let sandbox = Sandbox::new();
    let count = 3_000;
    let path = claude_file(&sandbox, &claude(CLAUDE, count));
    let imports: Vec<_> = (0..3)
        .map(|_| {
            let mut command = sandbox.turnkeep(["import".into(), "--json".into(), path.clone()]);
            command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut added = 0;
    for import in imports {
        let run = Run::from(import.wait_with_output().unwrap());
        added += run.one()["added_turns"].as_u64().unwrap();
    }
    assert_eq!(added, count as u64);
    assert_turns(&sandbox, CLAUDE, count);
}

#[cfg(unix)]
#[test]
fn an_interrupted_import_is_completed_by_the_next() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    let sandbox = Sandbox::new();
    let session = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
    // A small session, a large one, and then more output than a pipe buffers. The pipe is not read, so the
    // import can't end before the signal.
    let turns = |number: usize| if number == 1 { 4_000 } else { 2 };
    let sessions = 400;
    for number in 0..sessions {
        let (id, turns) = (session(number), turns(number));
        sandbox.file(&format!("projects/-srv-app/{id}.jsonl"), claude(&id, turns));
    }
    let mut child = sandbox
        .turnkeep(["import", "--json", "projects"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let interrupted = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    assert_eq!(json_lines(&line)[0]["added_turns"], 2);

    let resumed = import(&sandbox, sandbox.path("projects")).json();
    assert_eq!(resumed.len(), sessions);
    assert_eq!(
        resumed[0]["added_turns"], 0,
        "it was stored before it was reported"
    );
    assert_eq!(
        resumed[sessions - 1]["added_turns"],
        2,
        "it was not reached"
    );
    for number in [0, 1, 2, sessions - 1] {
        assert_turns(&sandbox, &session(number), turns(number));
    }
    let again = import(&sandbox, sandbox.path("projects")).json();
    assert!(again.iter().all(|line| line["added_turns"] == 0));
}

/// `| head` must not stop the import.
#[test]
fn an_import_with_closed_output_continues() {
    let sandbox = Sandbox::new();
    for number in 0..20 {
        let session = format!("6f1d2c3b-4a59-4e68-8f70-0000000000{number:02}");
        sandbox.file(&format!("projects/p/{session}.jsonl"), claude(&session, 2));
    }
    let mut child = sandbox
        .turnkeep(["import", "--json"])
        .arg(sandbox.path("projects"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    assert_eq!(sandbox.repo().get_tasks().unwrap().len(), 20);
}

#[test]
fn a_recording_with_a_control_character_is_reported_and_not_stored() {
    let sandbox = Sandbox::new();
    let folder = "/srv\nhint: rm -rf ~";
    sandbox.file(
        &format!("in/{CLAUDE}.jsonl"),
        claude(CLAUDE, 2).replace("/srv/app", "/srv\\nhint: rm -rf ~"),
    );
    sandbox.file("in/rollout-1.jsonl", codex().replace(CODEX, "1\\u001b[2J"));
    sandbox.file("in/sessions/20261005_1.jsonl", goose());
    let result = sandbox.run(["import", "in", "--json"]);
    let imported = json_lines(&result.stdout);
    assert_eq!(imported.len(), 1, "{imported:?}");
    assert_eq!(imported[0]["backend"], "goose");
    let error = in_words(&result.failed(1));
    for words in [
        &format!("error: session `{CLAUDE}` in in/{CLAUDE}.jsonl has an invalid working folder: "),
        "error: a session in in/rollout-1.jsonl has an invalid id: ",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(
        !error.contains(folder) && error.lines().count() == 2,
        "{error}"
    );
    assert_eq!(sandbox.run(["task", "list", "--json"]).json().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_copy_that_fails_names_the_folder_for_temporary_files() {
    let sandbox = Sandbox::new();
    // The header of a database in WAL mode, which is copied before it is read.
    let mut header = b"SQLite format 3\0".to_vec();
    header.resize(100, 0);
    header[18..20].fill(2);
    sandbox.file("goose/sessions.db", header);
    let missing = sandbox.path("missing");
    let ended = sandbox
        .turnkeep(["import", "goose"])
        .env("TMPDIR", &missing)
        .output()
        .unwrap();
    let error = Run::from(ended).failed(1);
    let first = format!(
        "error: cannot copy the database goose/sessions.db to {}: ",
        missing.display()
    );
    assert!(error.starts_with(&first), "{error}");
    assert!(
        error.contains("hint: TMPDIR names another folder"),
        "{error}"
    );
}

#[test]
fn an_unchanged_session_is_one_line_and_a_removed_one_is_counted() {
    let sandbox = Sandbox::new();
    let path = claude_file(&sandbox, &claude(CLAUDE, 3));
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(hour_ago).unwrap();
    let mut first = import(&sandbox, sandbox.path("claude")).one();
    first["added_turns"] = json!(0);
    first["kept_bytes"] = json!(0);
    first["unparsable_lines"] = json!(null);
    assert_eq!(import(&sandbox, sandbox.path("claude")).one(), first);
    let run = |args: &[&str]| sandbox.run(args).ok();
    assert_eq!(run(&["import", "claude"]), "sessions: 1, new turns: 0\n");
    assert_eq!(
        run(&["import", "--words-only", "claude"]),
        "sessions: 1, new turns: 0\n"
    );
    let none = sandbox
        .run(["import", "claude", "--backend", "codex"])
        .failed(3);
    assert!(none.contains("has no recordings of codex"), "{none}");

    run(&["task", "rm", &format!("claude:{CLAUDE}")]);
    for _ in 0..2 {
        assert_eq!(
            run(&["import", "claude"]),
            "sessions: 0, new turns: 0, removed earlier: 1\n"
        );
    }
    assert_eq!(import(&sandbox, sandbox.path("claude")).stdout, "");
}

/// Puts a session of each agent into the homes of the user.
fn homes(sandbox: &Sandbox) {
    sandbox.file(
        &format!(".claude/projects/-srv-app/{CLAUDE}.jsonl"),
        claude(CLAUDE, 3),
    );
    let rollout = format!(".codex/sessions/2026/03/04/rollout-2026-03-04T10-00-00-{CODEX}.jsonl");
    sandbox.file(&rollout, codex());
    sandbox.file(".local/share/goose/sessions/20260101_1.jsonl", goose());
}

#[test]
fn without_a_path_the_homes_of_the_agents_are_imported() {
    let sandbox = Sandbox::new();
    let error = sandbox.run(["import"]).failed(3);
    let says = "no agent has a home here: ~/.claude, ~/.codex, ~/.local/share/goose";
    assert!(error.contains(says), "{error}");
    std::fs::create_dir_all(sandbox.path(".codex/sessions")).unwrap();
    let error = sandbox.run(["import"]).failed(3);
    assert!(error.contains("~/.codex has no recordings"), "{error}");
    assert!(!sandbox.db().exists());

    homes(&sandbox);
    let last = |args: &[&str]| {
        let text = sandbox.run(args).ok();
        text.lines().last().unwrap().to_owned()
    };
    assert_eq!(
        last(&["import", "--backend", "codex"]),
        "sessions: 1, new turns: 3"
    );
    assert_eq!(last(&["import"]), "sessions: 3, new turns: 5");
    assert_eq!(last(&["import"]), "sessions: 3, new turns: 0");
    let other = "0f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
    let path = format!("other/projects/-srv-app/{other}.jsonl");
    sandbox.file(&path, claude(other, 1));
    std::fs::remove_dir_all(sandbox.path(".claude")).unwrap();
    let mut elsewhere = sandbox.turnkeep(["import", "--backend", "claude"]);
    let elsewhere = run(elsewhere.env("CLAUDE_CONFIG_DIR", sandbox.path("other"))).ok();
    assert!(
        elsewhere.ends_with("sessions: 1, new turns: 1\n"),
        "{elsewhere}"
    );
}

#[cfg(unix)]
#[test]
fn only_a_terminal_gets_the_progress() {
    let sandbox = Sandbox::new();
    homes(&sandbox);
    let quiet = sandbox.run(["import"]).ok();
    assert!(!quiet.contains('['), "{quiet}");
    std::fs::remove_file(sandbox.db()).unwrap();
    let mut import = sandbox.turnkeep(["import"]);
    import.env("TERM", "xterm");
    let shown = crate::support::run_on_terminal(import, "").ok();
    assert!(shown.contains("] 0 B/"), "{shown:?}");
    // The bar is cleared before the table.
    let (bar, table) = (shown.rfind("] ").unwrap(), shown.find("TASK").unwrap());
    assert!(bar < table, "{shown:?}");
}

/// The store is locked, so that the import is still at work.
#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_on_a_terminal_ends_an_import_with_a_word() {
    use crate::support::Terminal;

    let sandbox = Sandbox::new();
    homes(&sandbox);
    let shown = sandbox.repo().transaction(|_| {
        let mut import = sandbox.turnkeep(["import"]);
        import.env("TERM", "xterm");
        let mut import = Terminal::start_as_own(&import);
        import.wait_for("] 0 B/");
        import.type_in("\u{3}");
        Ok::<_, turnkeep_repo::Error>(import.end())
    });
    let (shown, signal) = shown.unwrap();
    assert_eq!(signal, Some(2), "{shown:?}");
    let said =
        "interrupted; stored by now: 0 sessions, 0 new turns; another import goes on from there\n";
    assert!(shown.stdout.ends_with(said), "{shown:?}");
    assert!(sandbox.repo().get_tasks().unwrap().is_empty());
    let again = sandbox.run(["import"]).ok();
    assert!(again.ends_with("sessions: 3, new turns: 8\n"), "{again}");
}

/// The output is not read, so that the import is still at work.
#[cfg(unix)]
#[test]
fn an_interrupted_import_says_what_is_stored_and_the_next_one_goes_on() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};

    const SESSIONS: usize = 400;
    let sandbox = Sandbox::new();
    for number in 0..SESSIONS {
        let session = format!("6f1d2c3b-4a59-4e68-8f70-{number:012}");
        let path = format!(".claude/projects/-srv-app/{session}.jsonl");
        sandbox.file(&path, claude(&session, 1));
    }
    let mut import = sandbox.turnkeep(["import", "--json"]);
    import.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut import = import.spawn().unwrap();
    let mut stdout = BufReader::with_capacity(1, import.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    kill_process(Pid::from_child(&import), Signal::INT).unwrap();
    assert_eq!(import.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    let mut said = String::new();
    import
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let stored = sandbox.repo().get_tasks().unwrap().len();
    assert!(stored > 0 && stored < SESSIONS, "{stored}");
    let said = in_words(&said);
    let is_told = |sessions: usize| {
        let plural = if sessions == 1 { "" } else { "s" };
        said.starts_with(&format!(
            "warning: interrupted; stored by now: {sessions} session{plural}, "
        ))
    };
    // One may be stored and not counted yet.
    assert!(is_told(stored) || is_told(stored - 1), "{stored} {said}");
    assert!(
        said.ends_with("another import goes on from there\n"),
        "{said}"
    );
    assert_eq!(sandbox.run(["import", "--json"]).json().len(), SESSIONS);
    assert_eq!(sandbox.repo().get_tasks().unwrap().len(), SESSIONS);
}
