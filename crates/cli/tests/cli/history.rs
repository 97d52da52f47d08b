use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::{Value, json};
use turnkeep_repo::{NewMessage, NewTask, Role, TaskId};

#[cfg(unix)]
use crate::support::run_on_terminal;
use crate::support::{Sandbox, in_words, is_time, names, run};

/// Stores a task with turns `1` to `count` by the user, each with `padding` more bytes.
fn task_with_turns(sandbox: &Sandbox, count: usize, padding: usize) {
    let task = TaskId::new("t").unwrap();
    let repo = sandbox.repo();
    repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
    let turns: Vec<_> = (1..=count)
        .map(|number| NewMessage::new(Role::User, format!("{number}{}", ".".repeat(padding))))
        .collect();
    repo.save_messages(&task, &turns).unwrap();
}

fn seqs(turns: &[Value]) -> Vec<i64> {
    turns
        .iter()
        .map(|turn| turn["seq"].as_i64().unwrap())
        .collect()
}

#[test]
fn turns_are_shown_in_order_with_their_headers() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    sandbox
        .run(["append", "t", "--role", "user", "Is it\ndone?"])
        .ok();
    sandbox
        .run(["append", "t", "--role", "assistant", "Yes.\n"])
        .ok();
    let text = sandbox.run(["history", "t"]).ok();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines[0].starts_with("#1 user 2"), "{text}");
    assert_eq!(lines[1..4], ["Is it", "done?", ""]);
    assert!(lines[4].starts_with("#2 assistant 2"), "{text}");
    assert_eq!(lines[5], "Yes.");
}

#[test]
fn a_turn_in_json_has_all_its_fields() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    sandbox
        .run_with_stdin(
            &["append", "t", "--role", "system"],
            "a\0\u{1f600}".as_bytes(),
        )
        .ok();
    let turn = sandbox.run(["history", "t", "--json"]).one();
    assert_eq!(
        names(&turn),
        [
            "content",
            "message_key",
            "metadata",
            "role",
            "seq",
            "task_id",
            "timestamp"
        ]
    );
    assert_eq!(turn["content"], "a\0\u{1f600}");
    assert_eq!(turn["role"], "system");
    assert_eq!(turn["message_key"], json!(null));
    assert!(is_time(&turn["timestamp"]), "{turn}");
}

#[test]
fn options_select_a_part() {
    let sandbox = Sandbox::new();
    task_with_turns(&sandbox, 10, 0);
    for (args, expected) in [
        (&["--last", "3"][..], 8..=10),
        (&["--last", "99"], 1..=10),
        (&["--after", "8"], 9..=10),
        (&["--limit", "2"], 1..=2),
        (&["--after", "4", "--limit", "3"], 5..=7),
    ] {
        let args = ["history", "t", "--json"].iter().chain(args);
        assert_eq!(
            seqs(&sandbox.run(args).json()),
            expected.collect::<Vec<_>>()
        );
    }
    for args in [
        ["--last", "0"],
        ["--after", "10"],
        ["--after", "9007199254740991"],
        ["--limit", "0"],
    ] {
        assert_eq!(
            sandbox
                .run(["history", "t", "--json"].iter().chain(&args))
                .ok(),
            ""
        );
    }
    let both = sandbox
        .run(["history", "t", "--last", "1", "--after", "1"])
        .failed(2);
    assert!(both.contains("cannot be used with"), "{both}");
    for after in ["-1", "9007199254740992"] {
        let after = format!("--after={after}");
        let refused = sandbox.run(["history", "t", &after]).failed(2);
        assert!(
            refused.contains("is not in 0..=9007199254740991"),
            "{refused}"
        );
    }
}

#[test]
fn a_history_of_many_pages_has_every_turn_once() {
    let sandbox = Sandbox::new();
    task_with_turns(&sandbox, 2_500, 0);
    let all = sandbox.run(["history", "t", "--json"]).json();
    assert_eq!(seqs(&all), (1..=2_500).collect::<Vec<_>>());
    let part = [
        "history", "t", "--json", "--after", "500", "--limit", "1500",
    ];
    assert_eq!(
        seqs(&sandbox.run(part).json()),
        (501..=2_000).collect::<Vec<_>>()
    );
    let last = ["history", "t", "--json", "--last", "2000"];
    assert_eq!(
        seqs(&sandbox.run(last).json()),
        (501..=2_500).collect::<Vec<_>>()
    );
}

#[test]
fn a_task_without_turns_differs_from_a_missing_task() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let none = sandbox.run(["history", "t"]);
    assert_eq!(
        (none.code, &*none.stdout, &*none.stderr),
        (Some(0), "", "no turns\n")
    );
    assert_eq!(sandbox.run(["history", "t", "--json"]).ok(), "");
    let missing = sandbox.run(["history", "x"]).failed(3);
    assert!(
        missing.starts_with("error: get_task: there is no task `x`\nhint: "),
        "{missing}"
    );
    let json = sandbox.run(["history", "x", "--json"]).failed(3);
    assert_eq!(in_words(&json), missing);
}

#[test]
fn closed_output_is_not_an_error() {
    let sandbox = Sandbox::new();
    // More output than a pipe buffers.
    task_with_turns(&sandbox, 3_000, 1_000);
    for args in [&["history", "t"][..], &["history", "t", "--json"]] {
        let mut child = sandbox
            .turnkeep(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        assert!(!first.is_empty());
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        assert_eq!((child.wait().unwrap().code(), &*stderr), (Some(0), ""));
    }
}

#[test]
fn colours_depend_on_the_output_and_contents_stay_unchanged() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    sandbox
        .run(["append", "t", "--role", "user", "\x1b[31mred"])
        .ok();
    let plain = sandbox.run(["history", "t"]).ok();
    assert!(plain.starts_with("#1 user"), "{plain:?}");
    assert!(plain.ends_with("\n\x1b[31mred\n"), "{plain:?}");

    let forced = run(sandbox
        .turnkeep(["history", "t"])
        .env("CLICOLOR_FORCE", "1"))
    .ok();
    assert!(forced.starts_with("\x1b["), "{forced:?}");
    let asked_not_to = run(sandbox.turnkeep(["history", "t"]).env("NO_COLOR", "1")).ok();
    assert_eq!(asked_not_to, plain);
    let error = run(sandbox.turnkeep(["history", "x"]).env("NO_COLOR", "1")).failed(3);
    assert!(!error.contains('\x1b'), "{error:?}");
}

#[cfg(unix)]
#[test]
fn control_characters_are_visible_on_a_terminal() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    sandbox
        .run(["append", "t", "--role", "user", "a\x1b]0;b\x07\tc\nd\re"])
        .ok();
    let shown = run_on_terminal(sandbox.turnkeep(["history", "t"]), "").ok();
    assert!(shown.ends_with("\na␛]0;b␇\tc\nd␍e\n"), "{shown:?}");
}
