//! Foreign texts can neither control the terminal nor look like another text.

use serde_json::json;
use turnkeep_repo::{
    BackendType, MessageKey, Metadata, NewMessage, NewSession, NewTask, Repo, Role, SessionId,
    StatusUpdate, TaskId, TaskStatus, WorkerId, WorkingDir,
};

use crate::support::{Run, Sandbox, json_lines, run};

/// A forged hint, and one character of each invisible or control category.
const ATTACK: &str = "x\nhint: run `evil`\r\x1b]0;t\x07\x1b[2J\x08\x7f\u{9b}2J\u{85}\u{ad}\u{200b}\u{200d}\
    \u{202e}\u{2028}\u{2066}\u{200f}\u{61c}\u{feff}\u{fe0f}\u{e0041}y\nerror: forged\n";

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe0f}'
                | '\u{feff}'
                | '\u{e0041}'
        )
}

/// Stores a value in each text field.
fn fill(repo: &Repo) -> TaskId {
    let id = TaskId::new(ATTACK).unwrap();
    let first = TaskId::new(format!("0{ATTACK}")).unwrap();
    repo.save_task(&NewTask::new(first.clone(), "first").status(TaskStatus::Completed))
        .unwrap();
    let mut task = NewTask::new(id.clone(), ATTACK)
        .prompt(ATTACK)
        .writes_files([ATTACK])
        .depends_on([first]);
    task.agent_role = Some(ATTACK.into());
    let metadata = Metadata::from_serialize(&json!({ ATTACK: ATTACK })).unwrap();
    task.metadata = Some(metadata.clone());
    repo.save_task(&task).unwrap();
    let mut message = NewMessage::new(Role::User, ATTACK);
    message.key = Some(MessageKey::new(ATTACK).unwrap());
    message.metadata = Some(metadata.clone());
    repo.save_messages(&id, &[message]).unwrap();
    let backend: BackendType = "a\x1b[2J\nhint: forged".parse().unwrap();
    for number in ["1", "2"] {
        let session = SessionId::new(format!("{number}{ATTACK}")).unwrap();
        let binding = NewSession::new(backend.clone(), session);
        let mut binding = binding.working_dir(WorkingDir::new(ATTACK).unwrap());
        binding.config_dir = Some(ATTACK.parse().unwrap());
        binding.metadata = Some(metadata.clone());
        repo.save_session(&id, &binding).unwrap();
    }
    let worker = WorkerId::new(ATTACK).unwrap();
    let lease = std::time::Duration::from_secs(60);
    assert_eq!(repo.claim_ready(&worker, 1, lease).unwrap().len(), 1);
    let mut update = StatusUpdate::completed(ATTACK);
    update.error = Some(ATTACK.into());
    repo.update_task_status(&id, update).unwrap();
    id
}

/// Commands that print values of the store or of the command line.
fn commands() -> Vec<Vec<&'static str>> {
    vec![
        vec!["task", "list"],
        vec!["task", "show", ATTACK],
        vec!["task", "add", ATTACK],
        vec!["task", "claim", ATTACK],
        vec!["history", ATTACK],
        vec!["show", ATTACK],
        vec!["show", ATTACK, "--markdown", "--redact"],
        vec!["show", "x"],
        vec!["list"],
        vec!["export", "--html", "/dev/null\nhint: forged\x1b[2J"],
        vec!["list", "--folder", ATTACK],
        vec!["show", ATTACK, "--html", ATTACK],
        vec!["session", "list"],
        vec!["session", "get", ATTACK],
        vec!["session", "get", ATTACK, "--backend", "goose"],
        vec!["session", "log", ATTACK],
        vec!["session", "retire", ATTACK, ATTACK],
        vec!["append", ATTACK, "--role", "user", "--key", ATTACK, "other"],
        vec!["resume", ATTACK],
        vec!["search", "evil"],
        vec!["search", ATTACK, "--since", ATTACK],
        vec!["stats"],
        vec!["prune", "--dry-run", "--keep-size", "0MB"],
        vec!["check"],
        vec!["import", ATTACK],
        vec!["import", "--format", "jsonl", ATTACK],
        vec!["backup", ATTACK],
        vec!["task", "list", "--db", ATTACK],
        vec!["task", "show", "none\nhint: forged\x1b[2J"],
        vec!["man", ATTACK],
        // An error of clap.
        vec![ATTACK],
        vec!["task", ATTACK],
        vec!["append", "t", "--role", ATTACK, "x"],
        vec!["history", "t", "--last", ATTACK],
        vec!["task", "add", "t", "--metadata", ATTACK],
        vec![
            "task",
            "add",
            "t",
            "--metadata",
            "@none\nhint: forged\x1b[2J",
        ],
        vec!["task", "add", "t", "--not-before", ATTACK],
        vec!["prune", "--older-than", ATTACK],
        vec!["task", "list", "--dd=\x1b[2J\nhint: forged\u{202e}"],
    ]
}

/// Asserts that the output has no invisible characters and no forged lines.
#[track_caller]
fn assert_shown(args: &[&str], text: &str) {
    let unseen = text.chars().find(|c| is_unseen(*c) && *c != '\n');
    assert_eq!(unseen, None, "{args:?}: {text}");
    let forged = ["hint: run `evil`", "hint: forged", "error: forged"];
    let is_forged = |line: &&str| forged.iter().any(|begin| line.starts_with(begin));
    let forged = text.lines().find(is_forged);
    assert!(
        forged.is_none() || is_of_document(args, '\n'),
        "{args:?}: {text}"
    );
}

/// Conversations and prompts keep their line breaks.
fn is_of_document(args: &[&str], c: char) -> bool {
    c == '\n' && matches!(args, ["history", ..] | ["task", "show", ..])
}

#[cfg(unix)]
#[test]
fn all_output_on_a_terminal_is_visible() {
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    for args in commands() {
        let shown = crate::support::run_on_terminal(sandbox.turnkeep(&args), "");
        assert_shown(&args, &shown.stdout);
    }
}

#[test]
fn errors_and_tables_are_visible_without_a_terminal() {
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    for args in commands() {
        let Run { stdout, stderr, .. } = sandbox.run(&args);
        assert_shown(&[], &stderr);
        // Conversations and prompts go to a pipe unchanged.
        if !is_of_document(&args, '\n') {
            assert_shown(&args, &stdout);
        }
    }
}

#[test]
fn json_escapes_invisible_characters_and_keeps_the_values() {
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    for args in commands() {
        let shown = run(sandbox.turnkeep(&args).arg("--json"));
        assert_shown(&[], &shown.stdout);
        assert_shown(&[], &shown.stderr);
        json_lines(&shown.stderr);
    }
    let task = sandbox.run(["task", "show", ATTACK, "--json"]).one();
    for value in [
        &task["id"],
        &task["name"],
        &task["prompt"],
        &task["session"]["working_dir"],
    ] {
        assert_eq!(value, &json!(ATTACK));
    }
    let turn = sandbox.run(["history", ATTACK, "--json"]).one();
    assert_eq!(turn["content"], json!(ATTACK));
}

#[test]
fn an_export_escapes_invisible_characters_and_keeps_the_values() {
    let sandbox = Sandbox::new();
    let id = fill(&sandbox.repo());
    let written = sandbox.run(["export"]).ok();
    assert_eq!(
        written.chars().find(|c| is_unseen(*c) && *c != '\n'),
        None,
        "{written}"
    );
    let args = ["import", "--format", "jsonl", "-", "--db", "other.db"];
    assert_eq!(
        sandbox.run_with_stdin(&args, written.as_bytes()).code,
        Some(0)
    );
    assert_eq!(sandbox.run(["export", "--db", "other.db"]).ok(), written);
    let other = Repo::open(sandbox.path("other.db")).unwrap();
    assert_eq!(
        other.get_task(&id).unwrap(),
        sandbox.repo().get_task(&id).unwrap()
    );
    assert_eq!(other.get_history(&id).unwrap()[0].content, ATTACK);
    // Unescaped characters, as an earlier version wrote them, are read too.
    let raw = written
        .replace(r"\u202e", "\u{202e}")
        .replace(r"\u007f", "\x7f");
    assert_eq!(sandbox.run_with_stdin(&args, raw.as_bytes()).code, Some(0));
}
