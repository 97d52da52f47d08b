use std::fs;

use turnkeep_repo::{NewTask, Role, TaskId};

use crate::support::{Sandbox, json_lines, names};

/// A store with one task and one turn.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let task = TaskId::new("t").unwrap();
    let repo = sandbox.repo();
    repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
    repo.save_message(&task, Role::User, "what was said")
        .unwrap();
    sandbox
}

#[test]
fn a_sound_store_has_no_findings() {
    let sandbox = filled();
    let text = sandbox.run(["check"]).ok();
    assert!(
        text.starts_with("CHECK             FOUND\npermissions   ok  "),
        "{text}"
    );
    assert!(text.ends_with("\nall is well\n"), "{text}");
    let lines = sandbox.run(["check", "--json"]).json();
    assert_eq!(
        names(&lines[0]),
        ["check", "findings", "home", "ok", "result"]
    );
    assert!(lines.iter().all(|line| line["ok"] == true));
    assert!(
        lines
            .iter()
            .all(|line| line["findings"].as_array().unwrap().is_empty())
    );
}

#[test]
fn findings_are_printed_with_advice() {
    let sandbox = filled();
    let bytes = fs::read(sandbox.db()).unwrap();
    fs::write(sandbox.db(), &bytes[..bytes.len() / 2]).unwrap();
    let text = sandbox.run(["check"]);
    assert!(
        text.stdout.contains("\nopening      WRONG  refused\n"),
        "{}",
        text.stdout
    );
    assert!(
        text.stdout.contains("\n  what to do: restore a backup"),
        "{}",
        text.stdout
    );
    assert!(!text.stdout.contains("all is well"));
    assert_eq!(text.failed(1), "");
    let json = sandbox.run(["check", "--json"]);
    let lines = json_lines(&json.stdout);
    let wrong = lines.iter().find(|line| line["ok"] == false).unwrap();
    assert_eq!(names(&wrong["findings"][0]), ["advice", "what"]);
    assert_eq!(json.failed(1), "");
    assert_eq!(fs::read(sandbox.db()).unwrap(), &bytes[..bytes.len() / 2]);
}

/// A store that opens and has a finding.
#[test]
#[cfg(unix)]
fn a_finding_fails() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = filled();
    fs::set_permissions(sandbox.db(), fs::Permissions::from_mode(0o644)).unwrap();
    let text = sandbox.run(["check"]);
    assert!(
        text.stdout
            .contains("\npermissions   WRONG  others have access\n")
            && text.stdout.contains("  what to do: "),
        "{}",
        text.stdout
    );
    assert_eq!(text.failed(1), "");
    fs::set_permissions(sandbox.db(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(sandbox.run(["check"]).ok().ends_with("all is well\n"));
}

#[test]
fn checking_another_file_reports_it_and_creates_no_store() {
    let sandbox = Sandbox::new();
    let error = sandbox.run(["check"]).failed(3);
    assert!(
        error.starts_with("error: check: there is no store at "),
        "{error}"
    );
    assert!(!sandbox.db().exists());
    sandbox.file("store.db", "a text of some length, and no database at all");
    let text = sandbox.run(["check"]);
    assert!(
        text.stdout.contains("is no SQLite database"),
        "{}",
        text.stdout
    );
    text.failed(1);
}

#[test]
fn sessions_that_are_not_kept_are_no_damage() {
    const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
    let sandbox = filled();
    let line = format!(
        r#"{{"type":"user","uuid":"u","sessionId":"{ID}","message":{{"role":"user","content":"Why?"}}}}"#
    );
    sandbox.file(&format!(".claude/projects/-srv-app/{ID}.jsonl"), line);
    let text = sandbox.run(["check"]).ok();
    assert!(
        text.contains("\nclaude        note  sessions: 1, not kept: 1\n"),
        "{text}"
    );
    assert!(
        text.contains("\nclaude: not everything is kept\n  what to do: turnkeep import "),
        "{text}"
    );
    assert!(text.ends_with("\nall is well\n"), "{text}");
    let lines = sandbox.run(["check", "--json"]).json();
    let claude = lines.iter().find(|line| line["check"] == "claude").unwrap();
    assert_eq!(
        (&claude["ok"], &claude["findings"]),
        (&true.into(), &serde_json::json!([]))
    );
    let documented = [
        "expiring",
        "expiring_unkept",
        "grown",
        "not_kept",
        "path",
        "sessions",
        "words_only",
    ];
    assert_eq!(names(&claude["home"]), documented);
    assert_eq!(claude["home"]["not_kept"], 1);

    sandbox.run(["import", "--words-only", ".claude"]).ok();
    let text = sandbox.run(["check"]).ok();
    let words = "\nclaude        note  sessions: 1, only words kept: 1\n";
    assert!(text.contains(words), "{text}");
    sandbox.run(["import", ".claude"]).ok();
    let text = sandbox.run(["check"]).ok();
    assert!(text.contains("\nclaude        ok  sessions: 1\n"), "{text}");
}
