//! `examples/orchestrator.rs` with its agents, killed twenty times.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use turnkeep_repo::{Repo, Role, TaskStatus};

use crate::sql::Sql;

const KILLS: u64 = 20;
/// The length of each agent's conversation: the orchestrator must not end before the last kill.
const ANSWERS: usize = 24;
const TASKS: [&str; 4] = ["manual", "parser", "release", "review-the-manual"];

pub fn twenty_kills_lose_and_repeat_no_answer<H: Sql>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = place.address();
    let repo = Repo::open(&store)?;
    let folder = tempfile::tempdir()?;
    let root = folder.path().canonicalize()?;
    let orchestrator = |args: &[&str]| orchestrator(&root, &store, args);
    let mut followers = Followers::new(&orchestrator);

    for kill in 0..KILLS {
        let mut orchestrator = orchestrator(&[]).spawn()?;
        followers.follow_new_tasks(&repo)?;
        // Every fourth one is killed while it starts, the others when turns have come.
        if kill % 4 != 3 && !followers.processes.is_empty() {
            for _ in 0..=kill % 3 {
                followers.wait_for_turn()?;
            }
        }
        thread::sleep(Duration::from_millis(kill * 37 % 60));
        orchestrator.kill()?;
        let status = orchestrator.wait()?;
        ensure!(
            status.signal() == Some(9),
            "it ended before kill {kill}: {status}"
        );
        for task in repo.get_tasks()? {
            let answered = repo
                .get_history(&task.id)?
                .iter()
                .any(|turn| turn.role == Role::Assistant);
            ensure!(
                !answered || repo.find_session(&task.id)?.is_some(),
                "an answer of {} came before its session",
                task.id
            );
        }
    }
    ensure!(orchestrator(&[]).status()?.success());
    followers.follow_new_tasks(&repo)?;

    let tasks = repo.get_tasks()?;
    assert_eq!(tasks.len(), TASKS.len());
    let sessions = Session::read_all(&root)?;
    assert_eq!(
        sessions.len(),
        TASKS.len(),
        "each agent was started once without a session"
    );
    for id in TASKS {
        let task = repo.get_task(&id.parse()?)?;
        let history = repo.get_history(&task.id)?;
        let work = root.join("work").join(id);
        let session = sessions
            .get(work.to_str().context("UTF-8")?)
            .context("no session")?;

        let answers = history.iter().filter(|turn| turn.role == Role::Assistant);
        let answers: Vec<&str> = answers.map(|turn| &*turn.content).collect();
        assert_eq!(answers, session.answers, "{id}");
        for (number, answer) in (1..).zip(&answers).skip(5) {
            assert_eq!(*answer, format!("Step {number} is done."), "{id}");
        }
        ensure!(
            answers.len() >= ANSWERS,
            "{id} has {} answers",
            answers.len()
        );
        let ends: Vec<_> = history
            .iter()
            .filter(|turn| turn.role == Role::System)
            .collect();
        assert_eq!(ends.len(), 1, "one checkpoint of {id}");
        ensure!(ends[0].metadata.is_some(), "{id} has used tokens");

        let revisions = repo.list_session_revisions(&task.id)?;
        assert_eq!(revisions.len(), 1, "{id} was bound once");
        assert_eq!(revisions[0].backend_type, session.backend.parse()?, "{id}");
        assert_eq!(revisions[0].session_id.as_str(), session.id, "{id}");
        assert_eq!(
            revisions[0].working_dir,
            Some(work.as_path().try_into()?),
            "{id}"
        );

        assert_eq!(
            (task.status, task.error),
            (TaskStatus::Completed, None),
            "{id}"
        );
        assert_eq!(task.result.as_deref(), answers.last().copied(), "{id}");

        let turns = history
            .iter()
            .map(|turn| format!("{} {}: {}", turn.seq, turn.role, turn.content));
        assert_eq!(
            followers.turns(id, history.len())?,
            turns.collect::<Vec<_>>(),
            "{id}"
        );
    }
    drop((followers, repo));
    place.check()
}

/// The example, with its agents.
fn orchestrator(root: &Path, store: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnkeep-test-orchestrator"));
    command
        .env("ORCHESTRATOR", root)
        .env("STORE", store)
        .env("ANSWERS", ANSWERS.to_string());
    command.env(
        "AGENTS",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/agents"),
    );
    command.args(args);
    command
}

/// Processes that follow the tasks, one each.
struct Followers<'a> {
    orchestrator: &'a dyn Fn(&[&str]) -> Command,
    processes: BTreeMap<String, Child>,
    sender: Sender<(String, String)>,
    lines: Receiver<(String, String)>,
    seen: BTreeMap<String, Vec<String>>,
}

impl<'a> Followers<'a> {
    fn new(orchestrator: &'a dyn Fn(&[&str]) -> Command) -> Self {
        let (sender, lines) = channel();
        Self {
            orchestrator,
            processes: BTreeMap::new(),
            sender,
            lines,
            seen: BTreeMap::new(),
        }
    }

    fn follow_new_tasks(&mut self, repo: &Repo) -> anyhow::Result<()> {
        for task in repo.get_tasks()? {
            let id = task.id.as_str().to_owned();
            if self.processes.contains_key(&id) {
                continue;
            }
            let mut follow = (self.orchestrator)(&["follow", &id]);
            let mut process = follow.stdout(Stdio::piped()).spawn()?;
            let output = BufReader::new(process.stdout.take().context("a pipe")?);
            self.processes.insert(id.clone(), process);
            let sender = self.sender.clone();
            thread::spawn(move || {
                for line in output.lines() {
                    let sent = line.map(|line| sender.send((id.clone(), line)));
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
            });
        }
        Ok(())
    }

    fn wait_for_turn(&mut self) -> anyhow::Result<()> {
        let line = self.lines.recv_timeout(Duration::from_secs(60));
        let (id, line) = line.context("no turn came")?;
        self.seen.entry(id).or_default().push(line);
        Ok(())
    }

    /// Returns the first `count` turns that the follower of a task has printed.
    fn turns(&mut self, id: &str, count: usize) -> anyhow::Result<Vec<String>> {
        while self.seen.get(id).is_none_or(|seen| seen.len() < count) {
            self.wait_for_turn()?;
        }
        Ok(self.seen[id].clone())
    }
}

impl Drop for Followers<'_> {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The session of an agent, as its own file has it.
struct Session {
    backend: &'static str,
    id: String,
    answers: Vec<String>,
}

impl Session {
    /// Reads the sessions of all agents, by the folders that they work in.
    fn read_all(root: &Path) -> anyhow::Result<BTreeMap<String, Self>> {
        let mut sessions = BTreeMap::new();
        let mut folders = vec![root.join("claude"), root.join("codex")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let (folder, session) = Self::read(&path)?;
                let before = sessions.insert(folder.clone(), session);
                ensure!(before.is_none(), "{folder} has two sessions");
            }
        }
        Ok(sessions)
    }

    fn read(path: &Path) -> anyhow::Result<(String, Self)> {
        let text = fs::read_to_string(path)?;
        let lines: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        let first = lines.first().context("an empty session")?;
        let (backend, id, folder, message) = match first["type"].as_str() {
            Some("session_meta") => {
                let meta = &first["payload"];
                ("codex", text(&meta["id"])?, text(&meta["cwd"])?, "payload")
            }
            _ => (
                "claude",
                text(&first["sessionId"])?,
                text(&first["cwd"])?,
                "message",
            ),
        };
        let messages = lines.iter().map(|line| &line[message]);
        let answers = messages
            .filter(|message| message["role"] == "assistant")
            .map(|message| text(&message["content"][0]["text"]))
            .collect::<anyhow::Result<_>>()?;
        Ok((
            folder,
            Self {
                backend,
                id,
                answers,
            },
        ))
    }
}
