use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use turnkeep_recordings::{Error as RecordingError, Found, Recording, Source};
use turnkeep_repo::{BackendType, Error, ErrorKind, Repo, Role};

use crate::args::{ImportArgs, ImportFormat};
use crate::failure::{end_usage, report, warn, with_hint};
use crate::output::Output;
use crate::record::millis;
use crate::store::Store;

mod binding;
mod jsonl;
mod progress;
mod save;

use binding::Refused;
use progress::Progress;

pub(crate) fn run(args: &ImportArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    match (args.format, &args.backend) {
        (ImportFormat::Recordings, _) => recordings(args, store, out),
        (ImportFormat::Jsonl, None) => jsonl::run(&args.paths, store, out),
        (ImportFormat::Jsonl, Some(_)) => Ok(end_usage(jsonl::backend_given())),
    }
}

fn recordings(args: &ImportArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    let mut failures = 0;
    let mut found = Found::default();
    for path in &args.paths {
        match find(path, args.backend.as_ref()) {
            Ok(at_path) => found.add(at_path),
            Err(error) => {
                report(&error);
                failures += 1;
            }
        }
    }
    for reason in &found.passed_over {
        warn(reason.to_string());
    }
    let sources = found.sources;
    if !sources.is_empty() {
        let mut import = Import {
            repo: store.open_or_create_patiently()?,
            progress: Progress::new(sources.len(), !out.is_json()),
            done: Vec::new(),
            failures,
            is_read: true,
            out,
        };
        for source in &sources {
            let is_named = args.paths.iter().any(|path| path == source.path());
            import.source(source, is_named)?;
            import.progress.source_done();
        }
        failures = import.finish()?;
    }
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn find(path: &Path, backend: Option<&BackendType>) -> anyhow::Result<Found> {
    let found = turnkeep_recordings::find(path, backend)?;
    if found.sources.is_empty() && found.passed_over.is_empty() {
        let agent = backend.map_or_else(String::new, |backend| format!(" of {backend}"));
        return Err(with_hint(
            format!("{} has no recordings{agent}", path.display()),
            "name a file or folder with sessions of Claude Code, Codex or Goose",
        ));
    }
    Ok(found)
}

/// A running import.
struct Import<'a> {
    repo: Repo,
    out: &'a mut Output,
    progress: Progress,
    /// The imported sessions, for the table. `--json` prints each at once.
    done: Vec<Done>,
    failures: u64,
    /// False after the output was closed.
    is_read: bool,
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
    unparsable_lines: u64,
    path: String,
    #[serde(skip)]
    is_new: bool,
}

impl Done {
    fn is_changed(&self) -> bool {
        self.is_new || self.added_turns > 0
    }
}

impl Import<'_> {
    /// Imports the sessions of a file. Fails only with an error that concerns all sessions.
    /// `is_named` if the user named it.
    fn source(&mut self, source: &Source, is_named: bool) -> anyhow::Result<()> {
        let sessions = match source.sessions() {
            Ok(sessions) => sessions,
            Err(error) => {
                self.fail(&error.into());
                return Ok(());
            }
        };
        let mut unparsable_lines = 0;
        for recording in sessions {
            match recording {
                Ok(recording) => {
                    unparsable_lines += recording.unparsable_lines;
                    self.warn_of(&recording);
                    self.session(&recording, source.is_claim())?;
                }
                Err(error @ RecordingError::OtherSession { .. }) if !is_named => {
                    self.progress.suspend(|| warn(error.to_string()));
                }
                Err(error) => self.fail(&error.into()),
            }
        }
        if unparsable_lines > 0 && !self.out.is_json() {
            let path = source.path().display();
            let message = format!("{path}: damaged lines skipped: {unparsable_lines}");
            self.progress.suspend(|| warn(message));
        }
        Ok(())
    }

    /// Tells what of a session was not read.
    fn warn_of(&self, recording: &Recording) {
        let other = recording.passed_over.iter().map(|path| {
            let path = path.clone();
            RecordingError::OtherSession { path }.to_string()
        });
        let parent = recording.missing_parent.as_ref().map(|parent| {
            let path = recording.path.display();
            format!("{path} begins with the rollout {parent}, which is not there")
        });
        let warnings: Vec<_> = other.chain(parent).collect();
        self.progress
            .suspend(|| warnings.into_iter().for_each(warn));
    }

    fn session(&mut self, recording: &Recording, is_claim: bool) -> anyhow::Result<()> {
        let saved = self.save(recording, is_claim).map_err(|error| {
            let (path, id) = (recording.path.display(), &recording.session_id);
            error.context(format!("{path}, session `{id}`"))
        });
        let done = match saved {
            Ok(done) => done,
            // The history has the prompts of every session. Most are known from elsewhere.
            Err(error) if error.is::<Refused>() && recording.has_only_prompts => return Ok(()),
            Err(error) if error.is::<Refused>() => {
                let message = format!("passed over {error:#}");
                self.progress.suspend(|| warn(message));
                return Ok(());
            }
            Err(error) if concerns_one_session(&error) => {
                self.fail(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if is_claim && done.is_new && !recording.has_only_prompts {
            let (path, id) = (recording.path.display(), &recording.session_id);
            let message = format!("only the content of {path} says that it is session `{id}`");
            self.progress.suspend(|| warn(message));
        }
        self.progress.session_done();
        if self.out.is_json() {
            self.print(&done)?;
        } else {
            self.done.push(done);
        }
        Ok(())
    }

    /// Prints a session at once, until the output is closed. A closed output does not stop the import.
    fn print(&mut self, done: &Done) -> anyhow::Result<()> {
        if self.is_read {
            let printed = self.out.json(done).and_then(|()| self.out.flush());
            match printed {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.is_read = false,
                result => result?,
            }
        }
        Ok(())
    }

    fn save(&self, recording: &Recording, is_claim: bool) -> anyhow::Result<Done> {
        let task = binding::task(&self.repo, recording, is_claim)?;
        let added_turns = save::save(&self.repo, &task.id, recording, |count| {
            self.progress.turns_done(count);
        })?;
        Ok(Done {
            is_new: task.is_new,
            task_id: task.id.to_string(),
            backend: recording.backend_type.to_string(),
            session_id: recording.session_id.to_string(),
            working_dir: recording.working_dir.as_ref().map(ToString::to_string),
            user_turns: recording.count(Role::User),
            assistant_turns: recording.count(Role::Assistant),
            first_timestamp: recording.first_timestamp().map(millis),
            last_timestamp: recording.last_timestamp().map(millis),
            added_turns,
            unparsable_lines: recording.unparsable_lines,
            path: recording.path.to_string_lossy().into_owned(),
        })
    }

    fn fail(&mut self, error: &anyhow::Error) {
        self.failures += 1;
        self.progress.suspend(|| report(error));
    }

    /// Prints the table and returns the number of failures.
    fn finish(self) -> anyhow::Result<u64> {
        self.progress.clear();
        if !self.out.is_json() {
            print(&self.done, self.failures, self.out)?;
        }
        Ok(self.failures)
    }
}

/// Whether an error concerns only one session, so that the import can continue.
fn concerns_one_session(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Error>() {
        Some(error) => matches!(
            error.kind(),
            ErrorKind::InvalidInput { .. }
                | ErrorKind::TaskNotFound
                | ErrorKind::KeyConflict { .. }
                | ErrorKind::SeqConflict { .. }
                | ErrorKind::Corrupt
        ),
        None => true,
    }
}

/// Prints the sessions that have changed and a summary.
fn print(done: &[Done], failures: u64, out: &mut Output) -> anyhow::Result<()> {
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
    if !changed.is_empty() {
        let titles = ["TASK", "USER#", "ASSISTANT#", "NEW#", "LAST TURN", "FOLDER"];
        out.table(titles, rows)?;
    }
    let added: i64 = done.iter().map(|done| done.added_turns).sum();
    let mut line = format!("sessions: {}, new turns: {added}", done.len());
    let damaged: u64 = done.iter().map(|done| done.unparsable_lines).sum();
    if damaged > 0 {
        line += &format!(", damaged lines: {damaged}");
    }
    if failures > 0 {
        line += &format!(", failures: {failures}");
    }
    Ok(out.line(&line)?)
}
