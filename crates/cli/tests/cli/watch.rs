use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use turnkeep_repo::TaskId;

use crate::support::{Sandbox, names};

pub(crate) const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `turnkeep watch`.
pub(crate) struct Watch {
    pub(crate) child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Watch {
    pub(crate) fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut child = sandbox
            .turnkeep(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: child.stdout.take().map(BufReader::new),
            stderr: child.stderr.take().map(BufReader::new),
            child,
        }
    }

    /// Waits for a session.
    pub(crate) fn line(&mut self) -> String {
        in_time(&mut self.stdout, BufReader::read_line)
    }

    /// Waits for a remark on standard error. Passes over the one that the system has no notifications left.
    pub(crate) fn remark(&mut self) -> String {
        loop {
            let remark = in_time(&mut self.stderr, BufReader::read_line);
            if !remark.contains("no notifications of changes") {
                return remark;
            }
        }
    }

    /// Waits until the watch says that it follows the folders.
    pub(crate) fn wait_until_it_follows(&mut self) {
        let remark = self.remark();
        assert!(remark.contains("following "), "{remark}");
    }

    /// Waits for the end. Returns its exit code and the rest of both outputs.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        let stdout = match &self.stdout {
            Some(_) => in_time(&mut self.stdout, BufReader::read_to_string),
            None => String::new(),
        };
        let stderr = in_time(&mut self.stderr, BufReader::read_to_string);
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
    }
}

/// Reads in a thread, so that a test fails when nothing comes.
fn in_time<R: Send + 'static>(
    reader: &mut Option<R>,
    read: fn(&mut R, &mut String) -> io::Result<usize>,
) -> String {
    let mut taken = reader.take().unwrap();
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        read(&mut taken, &mut text).unwrap();
        // The test may have failed.
        let _ = done.send((taken, text));
    });
    let (taken, text) = waiting.recv_timeout(PATIENCE).unwrap();
    *reader = Some(taken);
    text
}

fn line(number: usize) -> String {
    let line = json!({"type": "user", "uuid": format!("u{number}"), "sessionId": ID, "cwd": "/srv/app",
        "timestamp": format!("2026-02-03T10:00:{number:02}.500Z"),
        "message": {"role": "user", "content": number.to_string()}});
    format!("{line}\n")
}

/// Adds a prompt to the session.
pub(crate) fn append(sandbox: &Sandbox, number: usize) {
    let path = sandbox.path(format!(".claude/projects/-srv-app/{ID}.jsonl"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(line(number).as_bytes()).unwrap();
}

fn count(sandbox: &Sandbox) -> i64 {
    let task = TaskId::new(format!("claude:{ID}")).unwrap();
    sandbox.repo().count_history(&task).unwrap()
}

#[test]
fn each_session_with_new_turns_is_a_line() {
    let sandbox = Sandbox::new();
    append(&sandbox, 1);
    let mut watch = Watch::start(&sandbox, &["watch", "--json"]);
    let first: Value = serde_json::from_str(&watch.line()).unwrap();
    let documented = [
        "added_turns",
        "backend",
        "kept_bytes",
        "path",
        "session_id",
        "task_id",
        "working_dir",
    ];
    assert_eq!(names(&first), documented);
    assert_eq!(first["task_id"], format!("claude:{ID}"));
    assert_eq!(first["added_turns"], 1);
    watch.wait_until_it_follows();
    append(&sandbox, 2);
    let second: Value = serde_json::from_str(&watch.line()).unwrap();
    assert_eq!(second["added_turns"], 1);
    assert_eq!(count(&sandbox), 2);
    watch.child.kill().unwrap();
    watch.child.wait().unwrap();

    append(&sandbox, 3);
    append(&sandbox, 4);
    let mut watch = Watch::start(&sandbox, &["watch", ".claude", "none"]);
    let text = watch.line();
    assert!(
        text.ends_with(&format!(
            "  claude:{ID}  new turns: 2, new bytes: {}\n",
            line(3).len() * 2
        )),
        "{text}"
    );
    watch.child.kill().unwrap();
    watch.child.wait().unwrap();
    assert_eq!(count(&sandbox), 4);
}

#[cfg(unix)]
#[test]
fn a_signal_stores_what_there_is_and_ends_the_watch() {
    use rustix::process::{Pid, Signal, kill_process};

    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::new();
        append(&sandbox, 1);
        let mut watch = Watch::start(&sandbox, &["watch"]);
        watch.line();
        watch.wait_until_it_follows();
        append(&sandbox, 2);
        kill_process(Pid::from_child(&watch.child), signal).unwrap();
        let (code, stdout, stderr) = watch.end();
        assert_eq!((code, &*stderr), (Some(0), ""));
        assert!(stdout.contains("new turns: 1, "), "{stdout}");
        assert_eq!(count(&sandbox), 2);
    }
}

#[test]
fn a_closed_output_ends_the_watch() {
    let sandbox = Sandbox::new();
    let mut watch = Watch::start(&sandbox, &["watch"]);
    watch.wait_until_it_follows();
    watch.stdout = None;
    append(&sandbox, 1);
    assert_eq!(watch.end().0, Some(0));
    assert_eq!(count(&sandbox), 1);
}

#[test]
fn only_folders_are_followed() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("a.jsonl", "");
    let stderr = sandbox.run(["watch".as_ref(), file.as_os_str()]).failed(2);
    assert!(stderr.contains("a.jsonl is a file"), "{stderr}");
    sandbox.run(["watch", "--interval", "2"]).failed(2);
    sandbox.file("store.db", "not a store");
    sandbox.run(["watch"]).failed(1);
}
