//! New turns as they come, from another process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use turnkeep_repo::{Role, TaskId};

use crate::support::Sandbox;
#[cfg(feature = "postgres")]
use crate::support::run;
use crate::watch::{self, Watch};

/// A command that follows, and its output.
struct Following {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Following {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        Self::of(sandbox.turnkeep(args))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
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
        // It may have ended.
        let _ = self.child.kill();
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

/// The turns of `watch` come from another process, which reads them from a file of the agent.
#[test]
fn turns_that_a_watch_stores_are_shown() {
    let sandbox = Sandbox::new();
    watch::append(&sandbox, 41);
    let mut watch = Watch::start(&sandbox, &["watch"]);
    watch.wait_until_it_follows();
    let task = format!("claude:{}", watch::ID);
    let mut following = Following::start(&sandbox, &["show", &task, "--follow"]);
    following.until("  41");
    watch::append(&sandbox, 42);
    following.until("  42");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_and_says_what_was_replaced() {
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;

    use rustix::process::{Pid, Signal, kill_process};

    let sandbox = sandbox();
    let task = TaskId::new("t-1").unwrap();
    for (args, last_words) in [
        (
            &["show", "t", "-f", "--redact"][..],
            "replaced: 1 e-mail address\n",
        ),
        (&["show", "t", "-f"], ""),
        (&["history", "t", "-f"], ""),
    ] {
        let mut following = Following::start(&sandbox, args);
        following.until("Second");
        let text = "Ask ada@example.com. Done.";
        sandbox
            .repo()
            .save_message(&task, Role::User, text)
            .unwrap();
        following.until("Done.");
        kill_process(Pid::from_child(&following.child), Signal::INT).unwrap();
        let status = following.child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{args:?}");
        let mut shown = String::new();
        let stderr = following.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut shown).unwrap();
        assert_eq!(shown, last_words, "{args:?}");
        sandbox.run(["task", "rm", "t-1"]).ok();
        sandbox.run(["task", "add", "t-1"]).ok();
        sandbox
            .run(["append", "t-1", "--role", "user", "Second"])
            .ok();
    }
}

#[cfg(feature = "postgres")]
#[test]
fn turns_of_a_server_are_shown_as_they_come() {
    let database = turnkeep_test_postgres::Server::shared()
        .unwrap()
        .database()
        .unwrap();
    let sandbox = Sandbox::new();
    let url = database.url();
    let with = |args: &[&str]| {
        let mut command = sandbox.turnkeep(args);
        command.env("TURNKEEP_DB", &url);
        command
    };
    run(with(&["task", "add", "t"]).args(["--db", &url])).ok();
    run(&mut with(&["append", "t", "--role", "user", "First"])).ok();
    for args in [["show", "t", "-f"], ["history", "t", "-f"]] {
        let mut following = Following::of(with(&args));
        following.until("First");
        for text in ["Second", "First"] {
            run(&mut with(&["append", "t", "--role", "assistant", text])).ok();
            following.until(text);
        }
    }
}
