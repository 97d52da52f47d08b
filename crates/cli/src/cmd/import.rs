use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use turnkeep_agents::{ImportEvent, ImportOptions, ImportWarning, ImportedSession};
use turnkeep_recordings::Found;
use turnkeep_repo::BackendType;

use crate::args::{ImportArgs, ImportFormat};
use crate::environment::{agent_homes, host_name};
use crate::failure::{end_usage, report, warn, with_hint};
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
        (ImportFormat::Jsonl, None) => jsonl::run(&args.paths, store, out),
        (ImportFormat::Jsonl, Some(_)) => Ok(end_usage(jsonl::refused("--backend"))),
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
    if !found.sources.is_empty() {
        let repo = store.open_or_create_patiently()?;
        let mut options = ImportOptions::new(host_name(), agent_homes()?);
        options.words_only = args.words_only;
        let mut running = Import {
            progress: Progress::new(found.sources.len(), !out.is_json()),
            done: Vec::new(),
            failures,
            removed: 0,
            unprinted: None,
            out,
        };
        turnkeep_agents::import(&repo, &found, &options, &mut |event| running.event(event))?;
        failures = running.finish()?;
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
    out: &'a mut Output,
    progress: Progress,
    /// The imported sessions, for the table. `--json` prints each at once.
    done: Vec<Done>,
    failures: u64,
    /// Sessions of removed tasks.
    removed: u64,
    /// The failure to print, after which no more is printed. It does not stop the import.
    unprinted: Option<io::Error>,
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
    unparsable_lines: u64,
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
            unparsable_lines: session.unparsable_lines,
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
                    self.print(&done);
                } else {
                    self.done.push(done);
                }
            }
            ImportEvent::Removed(_) => self.removed += 1,
            ImportEvent::TurnsAdded(count) => self.progress.turns_done(count),
            // A row has their number.
            ImportEvent::Warning(ImportWarning::DamagedLines { .. }) if self.out.is_json() => {}
            ImportEvent::Warning(warning) => {
                let warning = anyhow::Error::from(warning);
                self.progress.suspend(|| warn(format!("{warning:#}")));
            }
            ImportEvent::Failed(failure) => {
                self.failures += 1;
                self.progress.suspend(|| report(&failure.into()));
            }
            ImportEvent::SourceDone => self.progress.source_done(),
            _ => {}
        }
    }

    fn print(&mut self, done: &Done) {
        if self.unprinted.is_none() {
            let printed = self.out.json(done).and_then(|()| self.out.flush());
            self.unprinted = printed.err();
        }
    }

    /// Prints the table and returns the number of failures.
    fn finish(self) -> anyhow::Result<u64> {
        self.progress.clear();
        match self.unprinted {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        if !self.out.is_json() {
            print(&self.done, self.removed, self.failures, self.out)?;
        }
        Ok(self.failures)
    }
}

/// Prints the sessions that have changed and a summary.
fn print(done: &[Done], removed: u64, failures: u64, out: &mut Output) -> anyhow::Result<()> {
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
    if removed > 0 {
        line += &format!(", removed earlier: {removed}");
    }
    if failures > 0 {
        line += &format!(", failures: {failures}");
    }
    Ok(out.line(&line)?)
}
