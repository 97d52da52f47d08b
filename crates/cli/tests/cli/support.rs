use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use turnkeep_repo::Repo;

/// A temporary folder with a store, separate from the user's own.
pub(crate) struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: impl AsRef<std::path::Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path("store.db")
    }

    pub(crate) fn repo(&self) -> Repo {
        Repo::open(self.db()).unwrap()
    }

    /// Writes a file, creates its parent folders and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Returns the program in the sandbox, with no variable of the environment except PATH.
    pub(crate) fn turnkeep<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnkeep"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.folder.path())
            .env("TURNKEEP_DB", self.db())
            .current_dir(self.folder.path())
            .args(args);
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        run(&mut self.turnkeep(args))
    }

    /// Runs the program from a shell with this umask.
    #[cfg(unix)]
    pub(crate) fn run_with_umask(&self, umask: &str, args: &[&str]) -> Run {
        let turnkeep = self.turnkeep(args);
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
            .arg(turnkeep.get_program())
            .args(turnkeep.get_args())
            .current_dir(self.path(""))
            .env("TURNKEEP_DB", self.db());
        run(&mut shell)
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &[u8]) -> Run {
        let mut child = self
            .turnkeep(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        Run::from(child.wait_with_output().unwrap())
    }
}

pub(crate) fn run(command: &mut Command) -> Run {
    Run::from(command.stdin(Stdio::null()).output().unwrap())
}

/// Runs the program on a pseudo-terminal with `typed` as its input. `stdout` of the result has both streams
/// and the echo of `typed`, with `\n` for `\r\n`.
#[cfg(unix)]
pub(crate) fn run_on_terminal(command: Command, typed: &str) -> Run {
    run_on_terminal_of(24, 80, command, typed)
}

/// Like [`run_on_terminal`], on one of this size.
#[cfg(unix)]
pub(crate) fn run_on_terminal_of(rows: u16, columns: u16, command: Command, typed: &str) -> Run {
    let mut terminal = Terminal::start(rows, columns, command);
    terminal.type_in(typed);
    terminal.end().0
}

/// A program on a pseudo-terminal.
#[cfg(unix)]
pub(crate) struct Terminal {
    child: std::process::Child,
    user: std::fs::File,
    shown: Vec<u8>,
}

#[cfg(unix)]
impl Terminal {
    pub(crate) fn start(rows: u16, columns: u16, mut command: Command) -> Self {
        use rustix::fs::{Mode, OFlags};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use rustix::termios::{Winsize, tcsetwinsize};

        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&user, size).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let terminal =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let stream = || terminal.try_clone().unwrap();
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // The output ends when no process has the terminal open: this one closes it here.
        Self {
            child: command.spawn().unwrap(),
            user: user.into(),
            shown: Vec::new(),
        }
    }

    /// Starts the program with the terminal as its own, so that Ctrl-C is a signal.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_as_own(command: &Command) -> Self {
        let mut own = Command::new("setsid");
        own.arg("--ctty").arg(command.get_program());
        own.args(command.get_args()).env_clear();
        own.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        own.current_dir(command.get_current_dir().unwrap());
        Self::start(24, 80, own)
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.user.write_all(text.as_bytes()).unwrap();
    }

    /// Reads the output until it has this text.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let has_text = |shown: &[u8]| String::from_utf8_lossy(shown).contains(text);
        while !has_text(&self.shown) {
            assert!(self.read(), "{}", String::from_utf8_lossy(&self.shown));
        }
    }

    /// Reads a part of the output. Returns whether there was one.
    fn read(&mut self) -> bool {
        use std::io::Read as _;

        let mut part = [0; 4096];
        match self.user.read(&mut part) {
            // Linux reports the end of the output as this error.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                false
            }
            length => {
                let length = length.unwrap();
                self.shown.extend(&part[..length]);
                length > 0
            }
        }
    }

    /// Reads the rest of the output, and returns all of it and the signal that has ended the program.
    pub(crate) fn end(mut self) -> (Run, Option<i32>) {
        use std::os::unix::process::ExitStatusExt as _;

        while self.read() {}
        let status = self.child.wait().unwrap();
        let run = Run {
            code: status.code(),
            stdout: String::from_utf8(self.shown).unwrap().replace("\r\n", "\n"),
            stderr: String::new(),
        };
        (run, status.signal())
    }
}

/// The result of a run of the program.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// Returns standard output. Asserts success and an empty standard error.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }

    /// Returns the JSON lines on standard output. Asserts success.
    #[track_caller]
    pub(crate) fn json(self) -> Vec<Value> {
        json_lines(&self.ok())
    }

    /// Returns the only JSON line on standard output. Asserts success.
    #[track_caller]
    pub(crate) fn one(self) -> Value {
        let mut lines = self.json();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// Returns standard error. Asserts a failure with this code.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr
    }
}

#[track_caller]
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the messages of `--json` as the program prints them without it.
#[track_caller]
pub(crate) fn in_words(stderr: &str) -> String {
    let mut words = String::new();
    for line in json_lines(stderr) {
        let (what, message) = line.as_object().unwrap().iter().next().unwrap();
        let text = message["message"].as_str().unwrap();
        words += &match &**what {
            "note" => format!("{text}\n"),
            _ => format!("{what}: {text}\n"),
        };
        if let Some(hint) = message.get("hint").and_then(Value::as_str) {
            words += &format!("hint: {hint}\n");
        }
    }
    words
}

/// Returns the names of the fields, sorted.
pub(crate) fn names(record: &Value) -> Vec<&str> {
    let mut names: Vec<_> = record
        .as_object()
        .unwrap()
        .keys()
        .map(|name| &**name)
        .collect();
    names.sort_unstable();
    names
}

/// Whether the value is a time in the form of `--json`, with microseconds.
pub(crate) fn is_time(value: &Value) -> bool {
    let shape: String = value
        .as_str()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00:00.000000Z"
}

/// Ids that are hard to quote or parse.
pub(crate) const ODD_IDS: [&str; 6] = [
    "'; DROP TABLE tasks;--",
    "-x",
    "--json-not",
    "задача ✓ 任務",
    "a b\tc\nd",
    "%s $(id) `id` \\",
];
