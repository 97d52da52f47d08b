use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use turnkeep_agents::{
    ImportEvent, ImportWarning, ImportedSession, KnownFiles, Origin, SkippedSession,
};
use turnkeep_recordings::Found;
use turnkeep_repo::{BackendType, Repo, Role};

use crate::args::{ImportArgs, ImportFormat};
use crate::environment::{agent_homes, import_options, with_tilde};
use crate::failure::{Code, Kind, Problem, end_usage, report, warn, warn_of};
use crate::output::Output;
use crate::record::millis;
use crate::store::Store;

mod jsonl;
mod progress;

use progress::Progress;

pub(crate) fn run(args: &ImportArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    match (args.format, &args.backend) {
        (ImportFormat::Recordings, _) => recordings(args, store, out),
        (ImportFormat::Jsonl, _) if args.words_only => {
            Ok(end_usage(jsonl::refused("--words-only")))
        }
        (ImportFormat::Jsonl, _) if args.paths.is_empty() => Ok(end_usage(jsonl::no_file())),
        (ImportFormat::Jsonl, None) => jsonl::run(&args.paths, store, out),
        (ImportFormat::Jsonl, Some(_)) => Ok(end_usage(jsonl::refused("--backend"))),
    }
}

fn recordings(args: &ImportArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    let mut options = import_options()?;
    options.words_only = args.words_only;
    let mut repo = store.clone().open_if_there_patiently()?;
    let known = match &repo {
        Some(repo) => KnownFiles::load(repo, &options)?,
        None => KnownFiles::default(),
    };
    let mut failures = Vec::new();
    let mut found = Found::default();
    let paths = match args.paths.as_slice() {
        [] => homes(args.backend.as_ref())?,
        paths => paths.to_vec(),
    };
    for path in &paths {
        match find(path, args.backend.as_ref(), &known) {
            // Not every home has sessions.
            Ok(None) if args.paths.is_empty() => {}
            Ok(None) => {
                let error = no_recordings(&path.display().to_string(), args);
                failures.push(report(&error));
            }
            Ok(Some(at_path)) => found.add(at_path),
            Err(error) => failures.push(report(&error)),
        }
    }
    if args.paths.is_empty() && is_empty(&found) && failures.is_empty() {
        let homes = paths
            .iter()
            .map(|home| with_tilde(&home.display().to_string()));
        let homes: Vec<_> = homes.collect();
        return Err(no_recordings(&homes.join(", "), args));
    }
    for reason in &found.passed_over {
        warn(reason.to_string());
    }
    // Where nothing is found, no store is made.
    if repo.is_none() && !found.sources.is_empty() {
        repo = Some(store.open_or_create_patiently()?);
    }
    if let Some(repo) = repo.filter(|_| !found.sources.is_empty() || !found.unchanged.is_empty()) {
        let mut running = Import {
            progress: Progress::start(&found.sources, !out.is_json())?,
            done: Vec::new(),
            failures,
            unchanged: 0,
            removed: 0,
            error: None,
            repo: &repo,
            out,
        };
        turnkeep_agents::import(&repo, &found, &options, &mut |event| running.event(event))?;
        failures = running.finish()?;
    }
    Ok(Code::of_all(failures).map_or(ExitCode::SUCCESS, ExitCode::from))
}

/// Returns the homes of the agents that exist.
fn homes(backend: Option<&BackendType>) -> anyhow::Result<Vec<PathBuf>> {
    let homes = agent_homes()?;
    let homes = [
        (BackendType::Claude, homes.claude),
        (BackendType::Codex, homes.codex),
        (BackendType::Goose, homes.goose),
    ];
    let wanted = homes
        .into_iter()
        .filter(|(agent, _)| backend.is_none_or(|backend| backend == agent));
    let (homes, missing): (Vec<_>, Vec<_>) =
        wanted.map(|(_, home)| home).partition(|home| home.is_dir());
    if homes.is_empty() {
        let missing: Vec<_> = missing
            .iter()
            .map(|home| with_tilde(&home.display().to_string()))
            .collect();
        let message = format!("no agent has a home here: {}", missing.join(", "));
        return Err(nothing_found(message));
    }
    Ok(homes)
}

/// Finds the recordings at a path. `None` if there are none.
fn find(
    path: &Path,
    backend: Option<&BackendType>,
    known: &KnownFiles,
) -> anyhow::Result<Option<Found>> {
    let found = known.find(path, backend)?;
    Ok(Some(found).filter(|found| !is_empty(found)))
}

fn is_empty(found: &Found) -> bool {
    found.sources.is_empty() && found.passed_over.is_empty() && found.unchanged.is_empty()
}

fn no_recordings(place: &str, args: &ImportArgs) -> anyhow::Error {
    let backend = args.backend.as_ref();
    let agent = backend.map_or_else(String::new, |backend| format!(" of {backend}"));
    nothing_found(format!("{place} has no recordings{agent}"))
}

fn nothing_found(message: String) -> anyhow::Error {
    let problem = Problem::new(Kind::NOT_FOUND, message);
    let hint = "name a file or folder with sessions of Claude Code, Codex or Goose";
    problem.hint(hint).into()
}

/// A running import.
struct Import<'a> {
    out: &'a mut Output,
    progress: Progress,
    /// The imported sessions, for the table. `--json` prints each at once.
    done: Vec<Done>,
    failures: Vec<Code>,
    /// Sessions that were not read, because their files have not changed.
    unchanged: usize,
    /// Sessions whose tasks were removed.
    removed: u64,
    /// The failure to print a session, after which none is printed. It does not stop the import.
    error: Option<anyhow::Error>,
    repo: &'a Repo,
}

/// The result for one session.
#[derive(Serialize)]
struct Done {
    task_id: String,
    backend: String,
    session_id: String,
    working_dir: Option<String>,
    user_turns: usize,
    assistant_turns: usize,
    first_timestamp: Option<String>,
    last_timestamp: Option<String>,
    added_turns: i64,
    kept_bytes: u64,
    unparsable_lines: Option<u64>,
    path: String,
    #[serde(skip)]
    is_new: bool,
}

impl From<ImportedSession> for Done {
    fn from(session: ImportedSession) -> Self {
        Self {
            task_id: session.task_id.to_string(),
            backend: session.backend_type.to_string(),
            session_id: session.session_id.to_string(),
            working_dir: session.working_dir.map(|dir| dir.to_string()),
            user_turns: session.user_turns,
            assistant_turns: session.assistant_turns,
            first_timestamp: session.first_timestamp.map(millis),
            last_timestamp: session.last_timestamp.map(millis),
            added_turns: session.added_turns,
            kept_bytes: session.kept_bytes,
            unparsable_lines: Some(session.unparsable_lines),
            path: session.path.to_string_lossy().into_owned(),
            is_new: session.is_new,
        }
    }
}

impl Done {
    fn is_changed(&self) -> bool {
        self.is_new || self.added_turns > 0
    }
}

impl Import<'_> {
    fn event(&mut self, event: ImportEvent) {
        match event {
            ImportEvent::Session(session) => {
                self.progress.session_done();
                let done = Done::from(session);
                if self.out.is_json() {
                    self.print(|_| Ok(Some(done)));
                } else {
                    self.done.push(done);
                }
            }
            ImportEvent::Unchanged(session) => {
                self.unchanged += 1;
                if self.out.is_json() {
                    self.print(|repo| stored(repo, session));
                }
            }
            ImportEvent::Removed(_) => self.removed += 1,
            ImportEvent::TurnsAdded(count) => self.progress.turns_done(count),
            // A row has their number.
            ImportEvent::Warning(ImportWarning::DamagedLines { .. }) if self.out.is_json() => {}
            ImportEvent::Warning(warning) => {
                self.progress.suspend(|| warn_of(warning));
            }
            ImportEvent::Failed(failure) => {
                let code = self.progress.suspend(|| report(&failure.into()));
                self.failures.push(code);
            }
            ImportEvent::SourceDone { bytes } => self.progress.source_done(bytes),
            _ => {}
        }
    }

    /// Prints a session at once.
    fn print(&mut self, done: impl FnOnce(&Repo) -> anyhow::Result<Option<Done>>) {
        if self.error.is_some() {
            return;
        }
        let printed = done(self.repo).and_then(|done| {
            if let Some(done) = done {
                self.out.json(&done)?;
                self.out.flush()?;
            }
            Ok(())
        });
        self.error = printed.err();
    }

    /// Prints the table and returns the codes of the failures.
    fn finish(self) -> anyhow::Result<Vec<Code>> {
        self.progress.clear();
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.out.is_json() {
            let summary = self.summary();
            print(&self.done, self.out)?;
            self.out.line(&summary)?;
        }
        Ok(self.failures)
    }

    fn summary(&self) -> String {
        let sessions = self.done.len() + self.unchanged;
        let added: i64 = self.done.iter().map(|done| done.added_turns).sum();
        let mut line = format!("sessions: {sessions}, new turns: {added}");
        let damaged = self.done.iter().filter_map(|done| done.unparsable_lines);
        let others = [
            ("damaged lines", damaged.sum()),
            ("removed earlier", self.removed),
            ("failures", self.failures.len() as u64),
        ];
        for (name, count) in others.into_iter().filter(|(_, count)| *count > 0) {
            line += &format!(", {name}: {count}");
        }
        line
    }
}

/// Returns what the store knows of a session that was not read. `None` if its task is gone meanwhile.
fn stored(repo: &Repo, skipped: SkippedSession) -> anyhow::Result<Option<Done>> {
    let path = fs::canonicalize(&skipped.path).unwrap_or_else(|_| skipped.path.clone());
    let mut tasks = Vec::new();
    for task in repo.list_tasks_by_session(&skipped.backend_type, &skipped.session_id)? {
        let session = repo.find_session(&task)?;
        let origin = Origin::of(session.as_ref().and_then(|it| it.metadata.as_ref()));
        let is_here = origin.is_some_and(|origin| Path::new(&origin.imported_from) == path);
        tasks.push((!is_here, task, session));
    }
    // Several tasks may have a session of this id.
    let Some((_, task, session)) = tasks
        .into_iter()
        .min_by_key(|(is_elsewhere, ..)| *is_elsewhere)
    else {
        return Ok(None);
    };
    let turns = repo.get_history(&task)?;
    let count = |role| turns.iter().filter(|turn| turn.role == role).count();
    let times = || turns.iter().map(|turn| turn.timestamp);
    Ok(Some(Done {
        task_id: task.to_string(),
        backend: skipped.backend_type.to_string(),
        session_id: skipped.session_id.to_string(),
        working_dir: session
            .and_then(|it| it.working_dir)
            .map(|dir| dir.to_string()),
        user_turns: count(Role::User),
        assistant_turns: count(Role::Assistant),
        first_timestamp: times().min().map(millis),
        last_timestamp: times().max().map(millis),
        added_turns: 0,
        kept_bytes: 0,
        unparsable_lines: None,
        path: skipped.path.to_string_lossy().into_owned(),
        is_new: false,
    }))
}

/// Prints the sessions that have changed.
fn print(done: &[Done], out: &mut Output) -> io::Result<()> {
    let changed: Vec<_> = done.iter().filter(|done| done.is_changed()).collect();
    let rows = changed.iter().map(|done| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        [
            done.task_id.clone(),
            done.user_turns.to_string(),
            done.assistant_turns.to_string(),
            done.added_turns.to_string(),
            or_dash(&done.last_timestamp),
            or_dash(&done.working_dir),
        ]
    });
    if changed.is_empty() {
        return Ok(());
    }
    let titles = ["TASK", "USER#", "ASSISTANT#", "NEW#", "LAST TURN", "FOLDER"];
    out.table(titles, rows)
}
