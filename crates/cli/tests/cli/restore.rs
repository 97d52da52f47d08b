use std::fs;

use serde_json::{Value, json};

use crate::support::{Sandbox, run};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

/// Imports a session of Claude Code that was started in the folder `app` of the sandbox, and deletes it.
fn lost_session(sandbox: &Sandbox) -> String {
    let app = sandbox.path("app");
    fs::create_dir_all(&app).unwrap();
    let app = fs::canonicalize(app).unwrap();
    let line = |role: &str, text: &str| {
        json!({
            "type": role, "uuid": format!("{text}a9f2-4e8b-4b6f-9c8d-7e6f5a4b3c2d"), "sessionId": ID,
            "cwd": app.to_str().unwrap(), "timestamp": "2026-02-03T10:00:00.500Z",
            "message": {"role": role, "id": "msg_1", "content": [{"type": "text", "text": text}]},
        })
    };
    let folder = turnkeep_recordings::project_folder(app.to_str().unwrap());
    let name = format!(".claude/projects/{folder}/{ID}.jsonl");
    let lines = [line("user", "1111"), line("assistant", "2222")];
    sandbox.file(&name, lines.map(|line| format!("{line}\n")).concat());
    sandbox.run(["import", ".claude"]).ok();
    fs::remove_dir_all(sandbox.path(".claude")).unwrap();
    name
}

fn restore(sandbox: &Sandbox, args: &[&str]) -> Value {
    let task = format!("claude:{ID}");
    let command = ["--json", "restore", &task];
    let done = sandbox.run(command.iter().chain(args));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn a_lost_session_comes_back() {
    let sandbox = Sandbox::new();
    let name = lost_session(&sandbox);
    let recording = sandbox.path(&name);

    let planned = restore(&sandbox, &["--dry-run"]);
    assert_eq!(planned["dry_run"], true);
    assert!(!sandbox.path(".claude").exists());

    let mut restored = restore(&sandbox, &[]);
    assert_eq!(restored["recording"], recording.to_str().unwrap());
    assert_eq!(restored["session_id"], ID);
    assert_eq!(restored["steps"][0]["action"], "write");
    assert!(recording.exists());
    restored["dry_run"] = true.into();
    assert_eq!(restored, planned);

    let again = sandbox.run(["import", ".claude"]).ok();
    assert!(again.contains("new turns: 0"), "{again}");
}

#[test]
fn the_steps_are_a_table() {
    let sandbox = Sandbox::new();
    lost_session(&sandbox);
    let task = format!("claude:{ID}");
    let done = sandbox.run(["restore", &task]);
    let lines: Vec<_> = done.stdout.lines().collect();
    assert!(lines[0].starts_with("STEP"), "{}", done.stdout);
    assert!(lines[1].starts_with("write"), "{}", done.stdout);
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("restored; start claude in ")
    );
    let planned = sandbox.run(["restore", &task, "--dry-run"]);
    assert!(
        planned.stdout.contains("keep: it is the same"),
        "{}",
        planned.stdout
    );
}

#[test]
fn folders_of_another_machine_have_new_names() {
    let sandbox = Sandbox::new();
    lost_session(&sandbox);
    let old = fs::canonicalize(sandbox.path("")).unwrap();
    let prefix = format!("{}=/srv", old.display());
    for args in [["--folder", &prefix], ["--folder", "/srv/app"]] {
        let restored = restore(&sandbox, &args);
        assert_eq!(restored["working_dir"], "/srv/app");
        let file = format!(".claude/projects/-srv-app/{ID}.jsonl");
        assert_eq!(restored["recording"], sandbox.path(file).to_str().unwrap());
    }
    let task = format!("claude:{ID}");
    let mut command = sandbox.turnkeep(["--json", "restore", &task, "--home", "other"]);
    command.env("TURNKEEP_FOLDERS", format!("/x=/y:{prefix}"));
    let restored: Value = serde_json::from_str(&run(&mut command).stdout).unwrap();
    assert_eq!(restored["home"], sandbox.path("other").to_str().unwrap());
    assert_eq!(restored["working_dir"], "/srv/app");
    assert!(sandbox.path("other/projects/-srv-app").exists());

    for (args, variable) in [
        (&["--folder", "/a=b"][..], ""),
        (&["--folder", "a", "--folder", "b"], ""),
        (&[], "/a"),
    ] {
        let mut command = sandbox.turnkeep(["restore", &task]);
        command.args(args).env("TURNKEEP_FOLDERS", variable);
        let code = run(&mut command).code;
        assert!(code == Some(1) || code == Some(2), "{args:?}");
    }
}

#[test]
fn a_file_that_differs_is_replaced_only_with_force() {
    let sandbox = Sandbox::new();
    let name = lost_session(&sandbox);
    sandbox.file(&name, "{\"mine\":1}\n");
    let task = format!("claude:{ID}");
    let refused = sandbox.run(["restore", &task]);
    assert_eq!(refused.code, Some(4));
    assert!(
        refused.stderr.contains("differs from the store's copy"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    assert_eq!(
        fs::read_to_string(sandbox.path(&name)).unwrap(),
        "{\"mine\":1}\n"
    );
    let forced = restore(&sandbox, &["--force"]);
    assert_eq!(forced["steps"][0]["action"], "replace");
}

#[test]
fn a_task_without_session_words_or_known_agent_is_not_restored() {
    let sandbox = Sandbox::new();
    for task in ["unbound", "empty", "other"] {
        sandbox.run(["task", "add", task]).ok();
    }
    let bind = |task: &str, backend: &str| {
        let set = [
            "session",
            "set",
            task,
            "--backend",
            backend,
            "--session-id",
            ID,
        ];
        sandbox.run(set).ok();
    };
    bind("empty", "codex");
    bind("other", "gemini");
    for (task, message, code) in [
        ("missing", "no session", 3),
        ("unbound", "bound to no session", 3),
        (
            "empty",
            "no recording of task `empty` that its agent reads",
            3,
        ),
        ("other", "sessions of gemini can't be restored", 1),
    ] {
        let refused = sandbox.run(["restore", task]);
        assert_eq!(refused.code, Some(code), "{task}");
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    }
}

/// Writes recordings of all agents into the folder `homes` of the sandbox, and returns their paths below it.
pub(crate) fn recordings(sandbox: &Sandbox) -> Vec<String> {
    const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
    const FORK: &str = "02b0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
    let line = |kind: &str, payload: Value| {
        let time = "2026-03-04T10:00:00.250Z";
        format!(
            "{}\n",
            json!({"timestamp": time, "type": kind, "payload": payload})
        )
    };
    let rollout = |id: &str, base: Option<&str>| {
        let mut meta = json!({"id": id, "timestamp": "2026-03-04T10:00:00Z", "cwd": "/srv/app",
            "originator": "x", "cli_version": "0.171.0"});
        if let Some(base) = base {
            meta["history_base"] = json!({"thread_id": base, "end_ordinal_exclusive": 9});
        }
        let said = json!([{"type": "input_text", "text": format!("Why {id}?")}]);
        let message = json!({"type": "message", "role": "user", "content": said});
        line("session_meta", meta) + &line("response_item", message)
    };
    let claude = |text: &str| {
        let message = json!({"role": "user", "content": text});
        let line = json!({"type": "user", "uuid": "b3a1c001-5d2e-4c17-9f64-0a8e7d6c0001", "sessionId": ID,
            "cwd": "/srv/app", "timestamp": "2026-02-03T10:00:00.500Z", "message": message});
        format!("{line}\n")
    };
    // Larger than a chunk of the store, with lines that only a line feed ends.
    let mut transcript = claude("Why?\u{2028}Because.").into_bytes();
    for number in 0..40_000 {
        transcript.extend(
            format!("{{\"type\":\"progress\",\"number\":{number},\"x\":\"\u{85}\"}}\r\n").bytes(),
        );
    }
    transcript.extend(b"no json \xff\0\n");
    let date = "rollout-2026-03-04T10-00-00";
    let sessions = "codex/sessions/2026/03/04";
    let mut files: Vec<(String, Vec<u8>)> = vec![
        (format!("claude/projects/-srv-app/{ID}.jsonl"), transcript),
        (
            format!("claude/projects/-srv-app/{ID}/subagents/agent-1.jsonl"),
            b"{}".to_vec(),
        ),
        (
            format!("claude/projects/-srv-app/{ID}/subagents/workflows/w/j.jsonl"),
            Vec::new(),
        ),
        (
            format!("claude/projects/-srv-app/{ID}/tool-results/\u{fc} x.bin"),
            (0..=255).collect(),
        ),
        (
            format!("{sessions}/{date}-{THREAD}.jsonl"),
            rollout(THREAD, None).into_bytes(),
        ),
        (
            format!("{sessions}/{date}-{FORK}.jsonl"),
            (rollout(FORK, Some(THREAD)) + "{\"half").into_bytes(),
        ),
    ];
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/recordings");
    let mut folders = vec![std::path::PathBuf::from(examples)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(examples).unwrap().to_str().unwrap();
                files.push((name.to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    let written = files.into_iter().map(|(name, bytes)| {
        sandbox.file(&format!("homes/{name}"), bytes);
        name
    });
    written.collect()
}

/// Restores every task of a store, and asserts that each file comes back byte for byte.
pub(crate) fn assert_all_come_back(sandbox: &Sandbox, files: &[String], store: &str) {
    let with = |args: &[&str]| run(sandbox.turnkeep(args).env("TURNKEEP_DB", store));
    let _ = fs::remove_dir_all(sandbox.path("restored"));
    for task in with(&["task", "list", "--json"]).json() {
        let backend = task["backend"].as_str().unwrap();
        let home = format!("restored/{backend}");
        let done = with(&[
            "restore",
            task["id"].as_str().unwrap(),
            "--home",
            &home,
            "--json",
        ]);
        let done = done.one();
        assert_eq!(done["source"], "files", "{done} in {store}");
    }
    for file in files {
        let read = |folder: &str| fs::read(sandbox.path(folder).join(file)).unwrap();
        assert!(read("restored") == read("homes"), "{file} in {store}");
    }
}

pub(crate) fn copy(sandbox: &Sandbox, from: &str, to: &str) {
    let mut command = sandbox.turnkeep(["copy", "--from", from, "--to", to]);
    run(command.env_remove("TURNKEEP_DB")).ok();
}

#[test]
fn every_file_comes_back_byte_for_byte() {
    let sandbox = Sandbox::new();
    let files = recordings(&sandbox);
    let imported = sandbox.run(["import", "homes"]);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    assert_all_come_back(&sandbox, &files, sandbox.db().to_str().unwrap());
    sandbox.run(["backup", "shelf.db"]).ok();
    assert_all_come_back(&sandbox, &files, sandbox.path("shelf.db").to_str().unwrap());
    copy(&sandbox, "store.db", "copy.db");
    assert_all_come_back(&sandbox, &files, sandbox.path("copy.db").to_str().unwrap());
    sandbox.run(["export", "all.jsonl"]).ok();
    sandbox
        .run([
            "import",
            "--format",
            "jsonl",
            "all.jsonl",
            "--db",
            "import.db",
        ])
        .ok();
    assert_all_come_back(
        &sandbox,
        &files,
        sandbox.path("import.db").to_str().unwrap(),
    );
}

/// Killed while it writes, a restore leaves no half recording under its name.
#[cfg(unix)]
#[test]
fn a_killed_restore_is_completed_by_the_next_one() {
    let sandbox = Sandbox::new();
    let name = lost_session(&sandbox);
    let task = format!("claude:{ID}");
    let lines = "{\"type\":\"user\",\"text\":\"a long line\"}\n"
        .repeat(700_000)
        .into_bytes();
    let repo = sandbox.repo();
    let kept = turnkeep_repo::RecordingName::new(name.replace(".claude/", "")).unwrap();
    let mut offset = 0;
    for bytes in lines.chunks(16 << 20) {
        let id = task.parse().unwrap();
        offset = repo.save_recording(&id, &kept, offset, bytes).unwrap();
    }
    drop(repo);
    let recording = sandbox.path(&name);
    let has_partial = || {
        let entries = fs::read_dir(recording.parent().unwrap())
            .into_iter()
            .flatten();
        let mut names = entries.map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_string_lossy().starts_with(".turnkeep-"))
    };
    let mut child = sandbox.turnkeep(["restore", &task]).spawn().unwrap();
    while !has_partial() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!recording.exists() || fs::read(&recording).unwrap() == lines);

    restore(&sandbox, &[]);
    assert!(fs::read(&recording).unwrap() == lines);
}
