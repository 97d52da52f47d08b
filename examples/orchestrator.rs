//! An orchestrator of coding agents that may be killed at any moment. Started again, it resumes each agent
//! session with its own program in its own folder, and no answer is lost or stored twice.
//!
//! `cargo run --example orchestrator` runs a plan with the scripted agents of `examples/agents`.
//! `cargo run --example orchestrator follow parser` prints a conversation in another terminal, as it comes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::{JoinSet, spawn_blocking};
use turnkeep_repo::{
    AsyncClaim, AsyncRepo, BackendType, ConfigDir, Metadata, NewMessage, NewSession, NewTask, Role,
    SessionId, StatusUpdate, TaskId, WorkerId, WorkingDir,
};

use adapters::Event;

mod adapters;

const MAX_AGENTS: usize = 4;
const LEASE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let root = env::var_os("ORCHESTRATOR").unwrap_or_else(|| "target/orchestrator".into());
    fs::create_dir_all(&root)?;
    let root = Path::new(&root).canonicalize()?;
    // A file, or the address of a server.
    let store = env::var_os("STORE").map_or_else(|| root.join("store.db"), PathBuf::from);
    match &env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => run(AsyncRepo::open(store).await?, root).await,
        [follow, task] if follow == "follow" => {
            let viewer = AsyncRepo::builder(store).read_only().open_async().await?;
            print_turns(viewer, task.parse()?).await
        }
        _ => anyhow::bail!("usage: orchestrator [follow TASK]"),
    }
}

/// Runs the plan to its end.
async fn run(repo: AsyncRepo, root: PathBuf) -> anyhow::Result<()> {
    // The whole plan, in any order. Stored tasks keep their progress.
    let task = |id: &str, role, name| anyhow::Ok(NewTask::new(id.parse()?, name).agent_role(role));
    repo.save_tasks(&[
        task("release", "claude", "Prepare the release")?
            .depends_on(["parser".parse()?, "manual".parse()?]),
        task("parser", "claude", "Find the line that the parser drops")?,
        task("manual", "codex", "Complete the manual")?,
    ])
    .await?;

    // The tasks of the process that was killed come first. Its own claims are void from now on.
    let worker = WorkerId::new("orchestrator")?;
    let mut claims = repo.reclaim(&worker, LEASE).await?;
    let mut agents = JoinSet::new();
    loop {
        let free = MAX_AGENTS.saturating_sub(agents.len() + claims.len());
        claims.extend(repo.claim_ready(&worker, free as u32, LEASE).await?);
        for claim in claims.drain(..) {
            agents.spawn(work(repo.clone(), claim, root.clone()));
        }
        match agents.join_next().await {
            Some(ended) => ended??,
            None => break,
        }
    }
    println!("{:?}", repo.progress().await?);
    Ok(())
}

/// Runs the agent of a task, and then ends the task.
async fn work(repo: AsyncRepo, claim: AsyncClaim, root: PathBuf) -> anyhow::Result<()> {
    let agent = Agent::of(claim.clone(), &root).await?;
    let outcome = tokio::select! {
        outcome = agent.run() => outcome,
        lost = claim.keep_alive() => return Err(lost.into()),
    };
    let (last_words, update) = match outcome {
        Ok((answer, usage)) => (
            NewMessage::new(Role::System, "The agent has ended.").metadata(usage),
            StatusUpdate::completed(answer),
        ),
        Err(error) => (
            NewMessage::new(Role::System, "The agent has failed."),
            StatusUpdate::failed(format!("{error:#}")),
        ),
    };
    // The checkpoint: last words, next tasks and status, all of them or none.
    repo.transaction(move |tx| {
        let task = tx.as_claimed(&claim.task.id, claim.fence);
        task.save_messages(&[last_words])?;
        for turn in tx.get_history(&claim.task.id)? {
            if let Some(name) = turn.content.strip_prefix("TODO ") {
                let id = name.to_lowercase().replace(' ', "-").parse()?;
                tx.save_task(&NewTask::new(id, name).agent_role("claude"))?;
            }
        }
        Ok(task.update_task_status(update)?)
    })
    .await
}

/// The agent of a claimed task.
struct Agent {
    claim: AsyncClaim,
    backend: BackendType,
    /// Where it works.
    folder: WorkingDir,
    /// Where the program keeps its sessions.
    home: ConfigDir,
}

impl Agent {
    async fn of(claim: AsyncClaim, root: &Path) -> anyhow::Result<Self> {
        let (backend, folder, home) = match claim.find_session().await? {
            // The program and the folders that it began with.
            Some(session) => (
                session.backend_type,
                session.working_dir.context("no working folder")?,
                session.config_dir.context("no config folder")?,
            ),
            None => {
                let role = claim.task.agent_role.as_deref().context("no role")?;
                let folder = root.join("work").join(claim.task.id.as_str());
                let home = root.join(role);
                (role.parse()?, (&*folder).try_into()?, (&*home).try_into()?)
            }
        };
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(&home)?;
        Ok(Self {
            claim,
            backend,
            folder,
            home,
        })
    }

    /// Starts or resumes the session, and stores the answers as they come. Returns the last one, and the tokens.
    async fn run(&self) -> anyhow::Result<(String, Metadata)> {
        // The input of the agent is a locked file. So this waits for the agent of an orchestrator that was
        // killed, which ends at its next word.
        let lock = fs::File::create(self.folder.as_path().join("lock"))?;
        let lock = spawn_blocking(|| flock(&lock, FlockOperation::LockExclusive).map(|()| lock));
        let lock = lock.await??;

        let mut answers = self.catch_up().await?;
        let session = self
            .claim
            .find_session()
            .await?
            .map(|session| session.session_id);
        let (key, prompt) = match session {
            None => ("prompt".to_owned(), &*self.claim.task.name),
            Some(_) => (format!("prompt-{}", self.claim.fence), "Continue"),
        };
        self.save_message(Role::User, key, prompt).await?;
        let mut process = adapters::command(&self.backend, session, prompt)?
            .envs([
                ("CLAUDE_CONFIG_DIR", self.home.as_str()),
                ("CODEX_HOME", self.home.as_str()),
            ])
            .current_dir(&self.folder)
            .stdin(lock)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("no pipe")?).lines();
        let (mut last, mut usage) = (String::new(), None);
        while let Some(line) = lines.next_line().await? {
            match Event::of(&serde_json::from_str(&line)?) {
                Some(Event::Session(id)) => self.save_session(id.parse()?).await?,
                Some(Event::Answer(text)) => {
                    answers += 1;
                    let key = format!("answer-{answers}");
                    self.save_message(Role::Assistant, key, text).await?;
                    last = text.to_owned();
                }
                Some(Event::Usage(tokens)) => usage = Some(Metadata::from_serialize(tokens)?),
                None => {}
            }
        }
        let status = process.wait().await?;
        anyhow::ensure!(status.success(), "the agent failed: {status}");
        Ok((last, usage.context("the agent ended without a result")?))
    }

    /// Stores the session and the answers that a crash has kept from the store, as the agent has recorded
    /// them. Returns the number of all answers.
    async fn catch_up(&self) -> anyhow::Result<usize> {
        let mut answers = 0;
        let found = turnkeep_recordings::find(self.home.as_path(), Some(&self.backend))?;
        for source in found.sources {
            for recording in source.sessions()? {
                let recording = recording?;
                if recording.working_dir.as_ref() == Some(&self.folder) {
                    self.save_session(recording.session_id).await?;
                    let said = recording.messages.into_iter();
                    for message in said.filter(|message| message.role == Role::Assistant) {
                        answers += 1;
                        let key = format!("answer-{answers}");
                        self.save_message(Role::Assistant, key, &message.content)
                            .await?;
                    }
                }
            }
        }
        Ok(answers)
    }

    async fn save_session(&self, id: SessionId) -> anyhow::Result<()> {
        let session = NewSession::new(self.backend.clone(), id)
            .working_dir(self.folder.clone())
            .config_dir(self.home.clone());
        self.claim.save_session(&session).await?;
        Ok(())
    }

    /// Stores a message. If the task has one with this key already, it stays.
    async fn save_message(&self, role: Role, key: String, text: &str) -> anyhow::Result<()> {
        let message = NewMessage::new(role, text).key(key.parse()?);
        self.claim.save_missing_messages(&[message]).await?;
        Ok(())
    }
}

/// Prints the turns of a task as they come, also from another process.
async fn print_turns(repo: AsyncRepo, task: TaskId) -> anyhow::Result<()> {
    let mut turns = repo.follow(&task, None);
    loop {
        let turn = turns.next().await?;
        println!("{} {}: {}", turn.seq, turn.role, turn.content);
    }
}
