use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use serde_json::json;
#[cfg(unix)]
use turnkeep_repo::{RecordingFile, RecordingName, TaskId};

#[cfg(unix)]
use crate::support::{Run, run_on_terminal};
use crate::support::{Sandbox, is_time, names};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

/// Imports a transcript that ends in a damaged line, and returns its bytes and the task.
fn imported(sandbox: &Sandbox, options: &[&str]) -> (Vec<u8>, String) {
    let line =
        json!({"type": "user", "sessionId": ID, "message": {"role": "user", "content": "Why?"}});
    let bytes = [format!("{line}\n").as_bytes(), b"\0\xff\x1b[2J"].concat();
    sandbox.file(&format!(".claude/projects/-srv-app/{ID}.jsonl"), &bytes);
    let run = sandbox.run([&["import", "--json", ".claude"], options].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    (bytes, format!("claude:{ID}"))
}

#[test]
fn kept_files_are_listed_printed_and_dropped() {
    let sandbox = Sandbox::new();
    let (bytes, task) = imported(&sandbox, &[]);
    let name = format!("projects/-srv-app/{ID}.jsonl");
    let file = sandbox.run(["recording", "list", &task, "--json"]).one();
    assert_eq!(
        names(&file),
        [
            "created_at",
            "length",
            "name",
            "number",
            "stored_bytes",
            "task_id",
            "updated_at"
        ]
    );
    assert_eq!(
        (
            &file["task_id"],
            &file["number"],
            &file["name"],
            &file["length"]
        ),
        (&json!(task), &json!(1), &json!(name), &json!(bytes.len()))
    );
    assert!(is_time(&file["created_at"]) && is_time(&file["updated_at"]));
    let list = sandbox.run(["recording", "list", &task]).ok();
    assert!(
        list.starts_with("NUMBER  NAME ") && list.lines().count() == 2,
        "{list}"
    );

    let mut cat = sandbox.turnkeep(["recording", "cat", &task, &name]);
    let output = cat.output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), bytes));
    let none = sandbox.run(["recording", "cat", &task, "x"]).failed(3);
    assert!(
        none.contains("has no kept file `x`") && none.contains("hint: "),
        "{none}"
    );

    let dropped =
        || sandbox.run(["recording", "rm", &task, "--json"]).one()["dropped_files"].clone();
    assert_eq!((dropped(), dropped()), (json!(1), json!(0)));
    assert_eq!(sandbox.run(["recording", "list", &task, "--json"]).ok(), "");
    let turns = sandbox.run(["history", &task, "--json"]).json();
    assert_eq!(turns.len(), 1, "the words stay");
    for command in ["list", "rm"] {
        let missing = sandbox.run(["recording", command, "none"]).failed(3);
        assert!(missing.contains("none"), "{missing}");
    }
}

#[cfg(unix)]
#[test]
fn a_terminal_gets_no_control_characters() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let (repo, task) = (sandbox.repo(), TaskId::new("t").unwrap());
    // The second begins with a character of two bytes, of which the first chunk has one.
    let long = [
        "a".repeat(RecordingFile::MAX_CHUNK_BYTES - 1),
        "ä\tb\n".into(),
    ]
    .concat();
    for (name, text) in [
        ("text", &*long),
        ("escape", "a\x1b[2J"),
        ("split", &long.replace('ä', "\u{9b}")),
    ] {
        let name = RecordingName::new(name).unwrap();
        repo.save_recording(&task, &name, 0, text.as_bytes())
            .unwrap();
    }
    drop(repo);
    let cat = |name| {
        let mut cat = sandbox.turnkeep(["recording", "cat", "t", name]);
        cat.env("NO_COLOR", "1");
        run_on_terminal(cat, "")
    };
    let shown = cat("text").ok();
    assert!(shown == long, "{} bytes", shown.len());
    for name in ["escape", "split"] {
        // The terminal shows the error as well.
        let Run { code, stdout, .. } = cat(name);
        assert_eq!(code, Some(1));
        let shown = stdout.trim_start_matches('a');
        assert_eq!(
            shown,
            "error: the file has characters that can't be shown\nhint: a pipe or a file gets it as it is\n"
        );
    }
}

#[test]
fn a_damaged_file_is_an_error_with_a_hint() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let path = sandbox.path("store.db");
    SqliteConnection::establish(path.to_str().unwrap())
        .unwrap()
        .batch_execute(
            "INSERT INTO recordings VALUES ('t', 1, 'a', 0, 0);
             INSERT INTO recording_chunks VALUES ('t', 1, 0, 2, 0, x'00')",
        )
        .unwrap();
    let damaged = sandbox.run(["recording", "cat", "t", "a"]).failed(1);
    assert!(damaged.contains("byte 0 of recording 1"), "{damaged}");
    assert!(
        damaged.contains("hint: `turnkeep backup restore`"),
        "{damaged}"
    );
}

#[test]
fn an_import_of_words_keeps_no_file() {
    let sandbox = Sandbox::new();
    let (_, task) = imported(&sandbox, &["--words-only"]);
    assert_eq!(sandbox.run(["recording", "list", &task, "--json"]).ok(), "");
    let refused = sandbox
        .run(["import", "--format", "jsonl", "--words-only", "x"])
        .failed(2);
    assert!(
        refused.contains("`--words-only` chooses among recordings"),
        "{refused}"
    );
}
