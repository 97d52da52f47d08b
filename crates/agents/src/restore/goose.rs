//! Goose, which keeps all sessions in one database. Its own import gives a session a new id. Without the program the
//! session becomes rows of the database, under its own id; where there is no database yet, a file of the form that Goose
//! had before version 1.10, which it moves into its new database at the first start.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use turnkeep_recordings::has_goose_session;
use turnkeep_repo::{BackendType, ConfigDir, NewSession, SessionId};

use super::error::RestoreError;
use super::kept::{Content, KeptFile};
use super::{
    Differing, Restore, RestoreAction, RestoreStep, Restored, goose_database, left_out, write,
};
use crate::RestoreSource;
use crate::layout::below;

/// The longest that the program may run.
const MAX_TIME: Duration = Duration::from_secs(120);

pub(super) fn restore(restore: &Restore<'_>) -> Result<Restored, RestoreError> {
    let id = restore.session.session_id.as_str();
    let database = restore.home.join("sessions").join("sessions.db");
    let has_database = write::exists(restore.home, Path::new("sessions/sessions.db"))?;
    if has_database && has_goose_session(&database, id)? {
        let steps = vec![step(RestoreAction::Keep, &database)];
        return Ok(restore.restored(&database, RestoreSource::Files, steps));
    }
    let mut steps = Vec::new();
    let mut source = RestoreSource::Files;
    let session = match Kept::of(restore, &mut steps)? {
        Some(Kept::Lines(file, length)) if !has_database => {
            let inside = below(file.name()).ok_or_else(|| restore.invalid_id())?;
            let planned = restore.plan(inside, Content::whole(file, length), Differing::Fails)?;
            steps.push(restore.put(&planned)?);
            return Ok(restore.restored(&planned.inside, source, steps));
        }
        Some(Kept::Lines(file, length)) => Exported::of_lines(id, &file.bytes(0..length)?),
        Some(Kept::Export(exported)) => exported,
        None => {
            let words = restore.words()?;
            source = RestoreSource::Words;
            words.goose(&restore.session.session_id)
        }
    };
    let session = session.moved_to(restore.working_dir.as_deref());
    let program = restore.options.goose.as_deref();
    if program.is_some() && restore.options.dry_run {
        steps.push(step(RestoreAction::Import, &database));
        return Ok(restore.restored(&database, source, steps));
    }
    // Another program may have this name, and lists no sessions.
    let program = program.and_then(|program| Some((program, sessions(restore, program).ok()?)));
    if let Some((program, before)) = program {
        steps.push(step(RestoreAction::Import, &database));
        let mut restored = restore.restored(&database, source, steps);
        restored.session_id = import(restore, program, &session, &before)?;
        return Ok(restored);
    }
    if has_database {
        if !restore.options.dry_run {
            goose_database::insert(&database, id, &session.to_json())?;
        }
        steps.push(step(RestoreAction::Insert, &database));
        return Ok(restore.restored(&database, source, steps));
    }
    let inside = below(&format!("sessions/{id}.jsonl")).filter(|_| !id.contains('/'));
    let inside = inside.ok_or_else(|| restore.invalid_id())?;
    let planned = restore.plan(
        inside,
        Content::Written(session.to_lines()),
        Differing::Fails,
    )?;
    steps.push(restore.put(&planned)?);
    Ok(restore.restored(&planned.inside, source, steps))
}

fn step(action: RestoreAction, path: &Path) -> RestoreStep {
    RestoreStep {
        action,
        path: path.to_owned(),
    }
}

/// The kept file of the session.
enum Kept<'a> {
    /// As `goose session export --format json` writes it.
    Export(Exported),
    /// A file of Goose before version 1.10, with its length.
    Lines(KeptFile<'a>, u64),
}

impl<'a> Kept<'a> {
    fn of(
        restore: &Restore<'a>,
        steps: &mut Vec<RestoreStep>,
    ) -> Result<Option<Self>, RestoreError> {
        let id = restore.session.session_id.as_str();
        let mut lines = None;
        for file in KeptFile::all(restore.repo, restore.task)? {
            let is_lines = file.name() == format!("sessions/{id}.jsonl");
            if !is_lines && !file.name().ends_with(".json") {
                continue;
            }
            let Some(scan) = restore.scan(&file)? else {
                steps.push(left_out(&file));
                continue;
            };
            if is_lines {
                lines = Some(Self::Lines(file, scan.length));
                continue;
            }
            let exported = Exported::of_export(&file.bytes(0..scan.length)?);
            match exported.filter(|exported| exported.is_of(id)) {
                Some(exported) => return Ok(Some(Self::Export(exported))),
                None => steps.push(left_out(&file)),
            }
        }
        Ok(lines)
    }
}

/// A session as Goose exports it: an object with the messages in `conversation`.
pub(super) struct Exported(BTreeMap<String, Box<RawValue>>);

impl Exported {
    fn of_export(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(Self)
    }

    /// Reads a file of Goose before version 1.10: a header, then a message a line.
    fn of_lines(id: &str, lines: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            role: Option<&'a RawValue>,
            #[serde(borrow)]
            working_dir: Option<&'a RawValue>,
            #[serde(borrow)]
            description: Option<&'a RawValue>,
        }
        let mut exported = Self::new(id, Vec::new());
        let mut messages = Vec::new();
        for text in lines.split(|&byte| byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<Line<'_>>(text) else {
                continue;
            };
            if line.role.is_some() {
                messages.extend(serde_json::from_slice::<Box<RawValue>>(text));
                continue;
            }
            for (name, value) in [
                ("working_dir", line.working_dir),
                ("name", line.description),
            ] {
                if let Some(value) = value {
                    exported.0.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        exported.set("conversation", &messages);
        exported
    }

    /// Makes a session with these messages.
    pub(super) fn new(id: &str, messages: Vec<Value>) -> Self {
        let mut session = Self(BTreeMap::new());
        let now = turnkeep_repo::chrono::Utc::now();
        let now = now.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        session.set("id", &id);
        session.set("name", &id);
        session.set("working_dir", &"/");
        session.set("created_at", &now);
        session.set("updated_at", &now);
        session.set("extension_data", &json!({}));
        session.set("message_count", &messages.len());
        session.set("conversation", &messages);
        session
    }

    fn set(&mut self, name: &str, value: &impl serde::Serialize) {
        // Texts, numbers and lists of them are serialized without failing.
        if let Ok(value) = to_raw_value(value) {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn is_of(&self, id: &str) -> bool {
        let own = self
            .0
            .get("id")
            .and_then(|own| serde_json::from_str::<String>(own.get()).ok());
        own.as_deref() == Some(id)
    }

    /// Returns roles, contents and times of the messages.
    fn words(&self) -> Option<Vec<(Value, Value, i64)>> {
        let messages: Vec<Value> = serde_json::from_str(self.0.get("conversation")?.get()).ok()?;
        let messages = messages.into_iter();
        let of = |mut message: Value| {
            let created = message["created"].as_i64().unwrap_or_default();
            (message["role"].take(), message["content"].take(), created)
        };
        Some(messages.map(of).collect())
    }

    fn moved_to(mut self, working_dir: Option<&Path>) -> Self {
        if let Some(folder) = working_dir {
            self.set("working_dir", &folder.to_string_lossy());
        }
        self
    }

    fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Writes the form of Goose before version 1.10.
    fn to_lines(&self) -> Vec<u8> {
        let field = |name: &str| self.0.get(name).map_or("null", |value| value.get());
        let messages: Vec<Box<RawValue>> =
            serde_json::from_str(field("conversation")).unwrap_or_default();
        let header = format!(
            "{{\"working_dir\":{},\"description\":{},\"message_count\":{}}}\n",
            field("working_dir"),
            field("name"),
            messages.len()
        );
        let mut text = header;
        for message in messages {
            // A value may have been written over several lines; no text in JSON has a line break.
            text.push_str(&message.get().replace(['\n', '\r'], " "));
            text.push('\n');
        }
        text.into_bytes()
    }
}

/// Lets Goose import the session, and binds the task to the id that it gives.
fn import(
    restore: &Restore<'_>,
    program: &Path,
    session: &Exported,
    before: &HashSet<String>,
) -> Result<SessionId, RestoreError> {
    let failed = |reason: String| RestoreError::Program {
        program: program.to_owned(),
        reason,
    };
    // An interrupted restore may have left it. The session of another task may have the same messages.
    let mut free = before.clone();
    for id in before {
        if is_of_other(restore, id)? {
            free.remove(id);
        }
    }
    let id = match with_words(restore, session, &free) {
        Some(id) => id,
        None => {
            let mut file = tempfile::Builder::new()
                .suffix(".json")
                .tempfile()
                .map_err(RestoreError::write(Path::new("the temporary folder")))?;
            file.write_all(session.to_json().as_bytes())
                .map_err(RestoreError::write(file.path()))?;
            let arguments = [
                OsStr::new("session"),
                OsStr::new("import"),
                file.path().as_os_str(),
            ];
            run(restore, program, &arguments)?;
            let mut new = sessions(restore, program)?;
            new.retain(|id| !before.contains(id));
            // Another session may have begun meanwhile.
            let id = match new.len() {
                1 => new.into_iter().next(),
                _ => with_words(restore, session, &new),
            };
            id.ok_or_else(|| failed("it names no new session".to_owned()))?
        }
    };
    let id = SessionId::new(id).map_err(|error| failed(error.to_string()))?;
    let bound = restore.session;
    let mut binding = NewSession::new(BackendType::Goose, id.clone());
    binding.working_dir = bound.working_dir.clone();
    let home = restore.options.relocation.config_dir_of(bound);
    binding.config_dir = home.and_then(|home| ConfigDir::try_from(&*home).ok());
    binding.metadata = bound.metadata.clone();
    restore.repo.save_session(restore.task, &binding)?;
    Ok(id)
}

/// Whether another task is or was bound to a session.
fn is_of_other(restore: &Restore<'_>, id: &str) -> Result<bool, RestoreError> {
    let Ok(id) = SessionId::new(id) else {
        return Ok(false);
    };
    let tasks = restore
        .repo
        .list_tasks_by_session(&BackendType::Goose, &id)?;
    Ok(tasks.iter().any(|task| task != restore.task))
}

/// Returns the one of these sessions that has the same messages, by the database. An id of its own may have another
/// session.
fn with_words(restore: &Restore<'_>, session: &Exported, ids: &HashSet<String>) -> Option<String> {
    let database = restore.home.join("sessions").join("sessions.db");
    let found = turnkeep_recordings::find(&database, Some(&BackendType::Goose)).ok()?;
    let mut exporter = found.sources.first()?.exporter().ok()??;
    let words = session.words().filter(|words| !words.is_empty())?;
    let mut ids: Vec<_> = ids.iter().collect();
    ids.sort();
    let mut has_words = |id: &str| {
        let export = exporter.export(&id.parse().ok()?).ok()??;
        let exported = Exported::of_export(&export.json)?;
        (exported.words()? == words).then_some(())
    };
    let id = ids.into_iter().find(|id| has_words(id).is_some());
    id.cloned()
}

/// Returns the ids of the sessions that Goose lists.
fn sessions(restore: &Restore<'_>, program: &Path) -> Result<HashSet<String>, RestoreError> {
    #[derive(Deserialize)]
    struct Listed {
        id: String,
    }
    let arguments = ["session", "list", "--format", "json"].map(OsStr::new);
    let listed = run(restore, program, &arguments)?;
    let listed: Vec<Listed> =
        serde_json::from_slice(&listed).map_err(|error| RestoreError::Program {
            program: program.to_owned(),
            reason: error.to_string(),
        })?;
    Ok(listed.into_iter().map(|session| session.id).collect())
}

/// Runs Goose for the home and returns its output.
fn run(
    restore: &Restore<'_>,
    program: &Path,
    arguments: &[&OsStr],
) -> Result<Vec<u8>, RestoreError> {
    let failed = |reason: String| RestoreError::Program {
        program: program.to_owned(),
        reason,
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let parent: PathBuf = restore.home.parent().unwrap_or(restore.home).to_owned();
    match restore.home.file_name() {
        Some(name) if name == "data" => command.env("GOOSE_PATH_ROOT", parent),
        _ => command
            .env_remove("GOOSE_PATH_ROOT")
            .env("XDG_DATA_HOME", parent),
    };
    let io = |error: io::Error| failed(error.to_string());
    // Files take any amount of output without being read meanwhile.
    let (mut output, mut errors) = (
        tempfile::tempfile().map_err(io)?,
        tempfile::tempfile().map_err(io)?,
    );
    command.stdout(output.try_clone().map_err(io)?);
    command.stderr(errors.try_clone().map_err(io)?);
    let mut child = command.spawn().map_err(io)?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io)? {
            break status;
        }
        if begun.elapsed() > MAX_TIME {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed("it took too long".to_owned()));
        }
        thread::sleep(Duration::from_millis(10));
    };
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes).map(|_| bytes)
    };
    match status.success() {
        true => read(&mut output).map_err(io),
        false => {
            let said = read(&mut errors).map_err(io)?;
            let said = String::from_utf8_lossy(&said);
            let last = said.trim().lines().last().unwrap_or_default().to_owned();
            Err(failed(format!("{status}: {last}")))
        }
    }
}
