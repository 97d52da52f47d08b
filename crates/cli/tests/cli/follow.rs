//! New turns as they come, from another process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use turnkeep_repo::{Role, TaskId};

use crate::support::Sandbox;

/// A command that follows, and its output.
struct Following {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Following {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut child = sandbox
            .turnkeep(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads up to the line that contains a text, and returns that. Fails at the end of the output.
    fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "no {text}");
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t-1"]).ok();
    for text in ["First", "Second"] {
        sandbox.run(["append", "t-1", "--role", "user", text]).ok();
    }
    sandbox
}

#[test]
fn new_turns_are_shown_after_those_that_were_there() {
    let sandbox = sandbox();
    let task = TaskId::new("t-1").unwrap();
    for (args, header) in [
        (&["show", "t", "--follow"][..], "assistant  "),
        (&["show", "t", "-f", "--redact"], "assistant  "),
        (&["show", "t", "--raw", "-f"], " assistant "),
        (&["history", "t", "--follow"], " assistant "),
        (&["history", "t", "--last", "1", "--follow"], " assistant "),
    ] {
        let mut following = Following::start(&sandbox, args);
        following.until("Second");
        let repo = sandbox.repo();
        for text in ["New **one**", "New two"] {
            repo.save_message(&task, Role::Assistant, text).unwrap();
            following.until(header);
            following.until(text);
        }
        repo.save_message(&task, Role::User, "Second").unwrap();
    }
}

#[test]
fn new_turns_are_lines_of_json() {
    let sandbox = sandbox();
    let task = TaskId::new("t-1").unwrap();
    let mut following = Following::start(
        &sandbox,
        &["history", "t-1", "--json", "-f", "--after", "1"],
    );
    let line = following.until("{");
    assert!(line.contains("\"seq\":2"), "{line}");
    sandbox
        .repo()
        .save_message(&task, Role::User, "Third")
        .unwrap();
    let line = following.until("{");
    assert!(
        line.contains("\"seq\":3") && line.contains("Third"),
        "{line}"
    );
}

#[test]
fn a_task_without_turns_is_waited_for_and_a_removed_one_ends_it() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let mut following = Following::start(&sandbox, &["history", "t", "--follow"]);
    sandbox.run(["append", "t", "--role", "user", "First"]).ok();
    following.until("First");
    sandbox.run(["task", "rm", "t"]).ok();
    assert_eq!(following.child.wait().unwrap().code(), Some(3));
    sandbox.run(["history", "none", "-f"]).failed(3);
    for args in [
        &["history", "t", "-f", "--limit", "1"][..],
        &["show", "t", "-f", "--markdown"],
    ] {
        sandbox.run(args).failed(2);
    }
}
