use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use turnkeep_repo::{BackendType, NewSession, NewTask, Role, TaskId};

use crate::support::{Run, Sandbox};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(60);

fn prompt(sandbox: &Sandbox, text: &str) -> String {
    let path = sandbox.path(format!(".claude/projects/-srv-app/{ID}.jsonl"));
    let event = json!({"session_id": ID, "transcript_path": path, "cwd": "/srv/app",
        "hook_event_name": "UserPromptSubmit", "prompt": text, "permission_mode": "default"});
    event.to_string()
}

/// Stores an event and waits for it.
fn report(sandbox: &Sandbox, event: &str) -> Run {
    sandbox.run_with_stdin(&["hook", "claude", "--wait"], event.as_bytes())
}

/// Binds a task to the session, so that a test can wait for its turns.
fn bound_task(sandbox: &Sandbox) -> TaskId {
    let (repo, task) = (sandbox.repo(), TaskId::new("mine").unwrap());
    repo.save_task(&NewTask::new(task.clone(), "Mine")).unwrap();
    let session = NewSession::new(BackendType::Claude, ID.parse().unwrap());
    repo.save_session(&task, &session).unwrap();
    task
}

fn history(sandbox: &Sandbox, task: &str) -> Vec<String> {
    let turns = sandbox
        .repo()
        .get_history(&TaskId::new(task).unwrap())
        .unwrap();
    turns.into_iter().map(|turn| turn.content).collect()
}

#[test]
fn words_of_a_hook_are_not_imported_again() {
    let sandbox = Sandbox::new();
    let event = prompt(&sandbox, "Why?");
    report(&sandbox, &event).ok();
    report(&sandbox, &event).ok();
    let now = turnkeep_repo::chrono::Utc::now().to_rfc3339();
    let line = |role: &str, id: &str, text: &str| {
        let line = json!({"type": role, "uuid": id, "sessionId": ID, "cwd": "/srv/app", "timestamp": now,
            "message": {"role": role, "id": id, "content": [{"type": "text", "text": text}]}});
        format!("{line}\n")
    };
    let lines = line("user", "u1", "Why?") + &line("assistant", "m1", "Because.");
    sandbox.file(&format!(".claude/projects/-srv-app/{ID}.jsonl"), lines);
    let imported = sandbox.run(["import", "--json", ".claude"]).one();
    assert_eq!(
        (&imported["task_id"], &imported["added_turns"]),
        (&json!(format!("claude:{ID}")), &json!(1))
    );
    assert_eq!(
        history(&sandbox, &format!("claude:{ID}")),
        ["Why?", "Because."]
    );
}

#[test]
fn the_argument_of_notify_is_an_event() {
    let sandbox = Sandbox::new();
    let event = json!({"type": "agent-turn-complete", "thread-id": THREAD, "turn-id": "1", "cwd": "/srv/app",
        "input-messages": ["Why?"], "last-assistant-message": "Because."});
    sandbox
        .run(["hook", "--wait", "codex", &event.to_string()])
        .ok();
    assert_eq!(
        history(&sandbox, &format!("codex:{THREAD}")),
        ["Why?", "Because."]
    );

    // The rollout has more, in the home that Codex names to its programs.
    let rollout = |lines: &[Value]| {
        lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let other = THREAD.replace("05", "06");
    let message = json!({"timestamp": "2026-03-04T10:00:00.250Z", "type": "response_item", "payload":
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And?"}]}});
    let meta = json!({"timestamp": "2026-03-04T10:00:00.250Z", "type": "session_meta",
        "payload": {"id": other, "cwd": "/srv/app"}});
    sandbox.file(
        &format!("home/sessions/2026/03/04/rollout-2026-03-04T10-00-00-{other}.jsonl"),
        rollout(&[meta, message]),
    );
    let event = json!({"type": "agent-turn-complete", "thread-id": other}).to_string();
    let mut hook = sandbox.turnkeep(["hook", "--wait", "codex", &event]);
    crate::support::run(hook.env("CODEX_HOME", sandbox.path("home"))).ok();
    assert_eq!(history(&sandbox, &format!("codex:{other}")), ["And?"]);
    let session = sandbox
        .run(["session", "get", "--json", &format!("codex:{other}")])
        .one();
    assert_eq!(
        session["config_dir"],
        json!(fs::canonicalize(sandbox.path("home")).unwrap())
    );
}

#[test]
fn hook_and_import_name_the_same_home() {
    let sandbox = Sandbox::new();
    let home = sandbox.path("own");
    let path = format!("own/projects/-srv-app/{ID}.jsonl");
    let event = |text: &str| {
        let event = json!({"session_id": ID, "transcript_path": sandbox.path(&path), "cwd": "/srv/app",
            "hook_event_name": "UserPromptSubmit", "prompt": text});
        event.to_string()
    };
    // In the environment of an agent with a home of its own.
    let with_home = |args: &[&str], stdin: &str| {
        let mut child = sandbox
            .turnkeep(args)
            .env("CLAUDE_CONFIG_DIR", &home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    };
    let line = json!({"type": "user", "uuid": "u1", "sessionId": ID, "cwd": "/srv/app",
        "timestamp": "2026-02-03T10:00:00.500Z", "message": {"role": "user", "content": "Why?"}});
    sandbox.file(&path, format!("{line}\n"));
    with_home(&["hook", "claude", "--wait"], &event("And?"));
    with_home(&["import", "own"], "");
    with_home(&["hook", "claude", "--wait"], &event("So?"));
    let task = format!("claude:{ID}");
    let revisions = sandbox.run(["session", "log", "--json", &task]).json();
    assert_eq!(revisions.len(), 1, "{revisions:?}");
    let real = fs::canonicalize(&home).unwrap();
    assert_eq!(revisions[0]["config_dir"], json!(real));
    assert_eq!(history(&sandbox, &task), ["Why?", "And?", "So?"]);
}

#[test]
fn an_agent_waits_for_no_lock() {
    let sandbox = Sandbox::new();
    let task = bound_task(&sandbox);
    let repo = sandbox.repo();
    let (locked, is_locked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (repo, task) = (&repo, &task);
        let holder = scope.spawn(move || {
            repo.transaction(|tx| -> turnkeep_repo::Result<()> {
                tx.save_message(task, Role::System, "first")?;
                locked.send(()).unwrap();
                // Until the sender is dropped.
                let _ = released.recv();
                Ok(())
            })
        });
        is_locked.recv().unwrap();
        let event = prompt(&sandbox, "Why?");
        let run = sandbox.run_with_stdin(&["hook", "claude"], event.as_bytes());
        assert_eq!(run.ok(), "");
        // The transaction is still open.
        assert_eq!(history(&sandbox, "mine"), [""; 0]);
        drop(release);
        holder.join().unwrap().unwrap();
    });
    // A process in the background completes the work.
    let first = turnkeep_repo::Seq::new(1).unwrap();
    let turns = repo.wait_for_turns(&task, Some(first), PATIENCE).unwrap();
    assert_eq!(turns[0].content, "Why?");
}

#[test]
fn an_agent_waits_for_no_end_of_the_input() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .turnkeep(["hook", "claude"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"session_id\":").unwrap();
    // `wait_with_output` would close the input if the child had it.
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.ok(), "");
    drop(input);
}

#[test]
fn an_agent_never_sees_a_failure() {
    let sandbox = Sandbox::new();
    for args in [
        &["hook", "claude"][..],
        &["hook", "codex", "{"],
        &["hook", "claude", "--db", "/dev/null/x"],
        &["hook", "claude", "--db", "postgres://127.0.0.1:1/none"],
    ] {
        let run = sandbox.run_with_stdin(args, b"no event");
        assert_eq!(run.ok(), "", "{args:?}");
    }
    for args in [
        &["hook"][..],
        &["hook", "goose"],
        &["--json", "hook", "claude", "--odd"],
    ] {
        let run = sandbox.run(args);
        assert_eq!((run.code, &*run.stdout), (Some(0), ""), "{args:?}");
        assert!(run.stderr.contains("error"), "{run:?}");
    }
    let log = sandbox.path(".local/share/turnkeep/hook.log");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("hook: wrong usage"), "{text}");
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(log).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_wrong_event_is_an_error_and_shows_no_word_of_it() {
    let sandbox = Sandbox::new();
    let stderr = report(&sandbox, "{\"prompt\":\"secret\"}").failed(1);
    assert!(
        stderr.contains("hook claude: the input is not an event"),
        "{stderr}"
    );
    assert!(!stderr.contains("secret"), "{stderr}");
    let large = vec![b' '; (16 << 20) + 1];
    let stderr = sandbox
        .run_with_stdin(&["hook", "--wait", "claude"], &large)
        .failed(1);
    assert!(stderr.contains("larger than 16 MiB"), "{stderr}");
    assert!(!sandbox.db().exists());
}

#[test]
fn a_full_log_is_begun_anew() {
    let sandbox = Sandbox::new();
    let log = sandbox.file(".local/share/turnkeep/hook.log", vec![b'x'; (1 << 20) + 1]);
    sandbox.run(["hook", "goose"]);
    assert!(fs::metadata(&log).unwrap().len() < 1000);
    assert_eq!(
        fs::metadata(log.with_extension("log.1")).unwrap().len(),
        (1 << 20) + 1
    );
}
