//! The exit codes that README documents, each with the commands that end with it.

use std::fs;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use turnkeep_repo::{Repo, TaskId};

use crate::support::Sandbox;

/// Makes a store with the tasks `t` and `running`, and a file.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    sandbox.run(["task", "add", "running"]).ok();
    sandbox.run(["task", "claim", "running"]).ok();
    let append = ["append", "t", "--role", "user", "--key", "k", "one"];
    sandbox.run(append).ok();
    sandbox.file("file", "mine");
    sandbox
}

#[test]
fn wrong_usage_is_2() {
    let sandbox = sandbox();
    for args in [
        &["fly"][..],
        &["task", "status", "t", "done"],
        &["task", "show", ""],
        &["search", "=>"],
        &["man", "fly"],
        &["export", "postgres://h/db"],
    ] {
        sandbox.run(args).failed(2);
    }
}

#[test]
fn what_is_not_there_is_3() {
    let sandbox = sandbox();
    for args in [
        &["list", "--db", "none.db"][..],
        &["check", "--db", "none.db"],
        &["backup", "restore", "none.db"],
        &["show", "none"],
        &["history", "none"],
        &["task", "show", "none"],
        &["task", "status", "none", "failed"],
        &["task", "claim", "none"],
        &["task", "rm", "none"],
        &["rm", "none", "--yes"],
        &["rm", "--agent", "goose", "--yes"],
        &["task", "add", "new", "--depends-on", "none"],
        &["append", "none", "--role", "user", "x"],
        &["append", "runn", "--role", "user", "x"],
        &["session", "get", "t"],
        &["session", "retire", "t", "1"],
        &["resume", "t"],
        &["restore", "t"],
        &["recording", "list", "none"],
        &["recording", "cat", "t", "none"],
        &["removed", "lift", "t"],
        &["import", "none"],
        &["import", "none", "nowhere"],
        &["import", "--format", "jsonl", "none"],
        &["search", "x", "--db", "none.db"],
    ] {
        sandbox.run(args).failed(3);
    }
    let shown = sandbox.run(["task", "list", "--json"]).json();
    assert_eq!(shown.len(), 2);
}

#[test]
fn a_conflict_is_4() {
    let sandbox = sandbox();
    sandbox.run(["task", "add", "t2", "--depends-on", "t"]).ok();
    let set = ["session", "set", "t2", "--backend", "goose", "--session-id"];
    sandbox.run(set.iter().chain(&["1"])).ok();
    for args in [
        &["append", "t", "--role", "user", "--key", "k", "two"][..],
        &["task", "claim", "running"],
        &["task", "add", "t", "--depends-on", "t2"],
        &["session", "get", "t2", "--backend", "codex"],
        &["session", "retire", "t2", "2"],
        &["show", "r", "--html", "file"],
        &["export", "file"],
        &["backup", "file"],
    ] {
        sandbox.run(args).failed(4);
    }
    sandbox.run(["task", "add", "twin"]).ok();
    sandbox.run(["show", "tw"]).ok();
    sandbox.run(["task", "add", "two"]).ok();
    let ambiguous = sandbox.run(["show", "tw"]).failed(4);
    assert!(ambiguous.contains("the beginning of 2 ids"), "{ambiguous}");
    assert_eq!(fs::read(sandbox.path("file")).unwrap(), b"mine");
}

/// A writer that keeps the store locked until it is released.
struct Holder {
    release: Sender<()>,
    holding: JoinHandle<()>,
}

impl Holder {
    /// A write calls the clock inside its transaction, and this clock waits.
    fn new(sandbox: &Sandbox) -> Self {
        let (is_locked, locked) = mpsc::channel();
        let (release, released): (_, Receiver<()>) = mpsc::channel();
        let released = std::sync::Mutex::new(released);
        let builder = Repo::builder(sandbox.db()).clock(move || {
            is_locked.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            std::time::SystemTime::now().into()
        });
        let repo = builder.open().unwrap();
        let task = TaskId::new("t").unwrap();
        let holding = std::thread::spawn(move || assert!(repo.claim_task(&task).unwrap()));
        locked.recv().unwrap();
        Self { release, holding }
    }

    fn end(self) {
        drop(self.release);
        self.holding.join().unwrap();
    }
}

#[test]
fn a_busy_store_is_5() {
    let sandbox = sandbox();
    let holder = Holder::new(&sandbox);
    let append = ["append", "t", "--role", "user", "hi"];
    let busy = sandbox.run(append).failed(5);
    holder.end();
    assert!(busy.starts_with("error: save_messages: "), "{busy}");
    assert!(busy.contains("was kept busy by others"), "{busy}");
    assert!(
        busy.contains("\nhint: another program is using the store; try again"),
        "{busy}"
    );
    sandbox.run(append).ok();
}

#[cfg(feature = "postgres")]
#[test]
fn a_server_that_is_away_is_5() {
    let sandbox = Sandbox::new();
    // Port 1 has no server.
    let address = "postgres://ada@127.0.0.1:1/none";
    sandbox.run(["list", "--db", address]).failed(5);
}

#[test]
fn any_other_failure_is_1() {
    let sandbox = sandbox();
    sandbox.file("empty.db", "");
    for args in [
        &["list", "--db", "file"][..],
        &["list", "--db", "empty.db"],
        &["check", "--db", "file"],
        // Two kinds of failures.
        &["import", "none", "file"],
    ] {
        sandbox.run(args).failed(1);
    }
}

#[test]
fn an_unknown_agent_is_7() {
    let sandbox = sandbox();
    let set = [
        "session",
        "set",
        "t",
        "--backend",
        "odd",
        "--session-id",
        "1",
    ];
    sandbox.run(set).ok();
    sandbox.run(["resume", "t"]).failed(7);
}

/// Runs a command whose output is read by nobody.
#[cfg(unix)]
fn closed(sandbox: &Sandbox, args: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = sandbox.turnkeep(args).stdout(writer).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[cfg(unix)]
#[test]
fn a_closed_output_is_no_failure_and_hides_none() {
    let sandbox = sandbox();
    for args in [
        &["list"][..],
        &["history", "t"],
        &["show", "t"],
        &["export"],
        &["task", "list", "--json"],
        &["check"],
        &["--help"],
        &["man"],
        &["completions", "bash"],
    ] {
        assert_eq!(closed(&sandbox, args), (Some(0), String::new()), "{args:?}");
    }
    let claim = ["task", "claim", "running", "--json"];
    assert_eq!(closed(&sandbox, &claim).0, Some(4));
    let bytes = fs::read(sandbox.db()).unwrap();
    fs::write(sandbox.db(), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(closed(&sandbox, &["check"]), (Some(1), String::new()));
}

#[cfg(unix)]
#[test]
fn a_command_that_changes_the_store_goes_on_without_a_reader() {
    for args in [
        &["rm", "--older-than", "0s", "--yes", "--json"][..],
        &["prune", "--older-than", "0s", "--yes", "--json"],
    ] {
        let sandbox = Sandbox::new();
        for id in ["a", "b", "c"] {
            let add = ["task", "add", id, "--status", "completed"];
            sandbox.run(add).ok();
        }
        assert_eq!(closed(&sandbox, args), (Some(0), String::new()));
        assert_eq!(sandbox.run(["list", "--json"]).ok(), "", "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_command_as_the_signal_does() {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};

    let sandbox = sandbox();
    for args in [["history", "t", "-f"], ["show", "t", "-f"]] {
        let mut child = sandbox
            .turnkeep(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let status = child.wait().unwrap();
        // A shell shows 130.
        assert_eq!(
            (status.code(), status.signal()),
            (None, Some(2)),
            "{args:?}"
        );
    }
}
