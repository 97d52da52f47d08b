//! Codex finds a thread by the row of its database, or without one by the name of its rollout. It compares the model
//! provider of the thread with the configured one, and reads the rollouts with which a fork begins.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use turnkeep_recordings::CodexThread;
use turnkeep_repo::BackendType;

use crate::layout::codex::{Header, MAX_HEADER, RolloutName, Rollouts};
use crate::layout::is_uuid;
use crate::plan::files::{find_line, open, tail};
use crate::plan::{Kept, Look, Note, RecordingState, Refusal, Target};

/// The largest configuration that is read.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// The bytes at the end of a rollout in which the last settings of the thread are looked for.
const MAX_SETTINGS: u64 = 8 * 1024 * 1024;

/// The most rollouts that a fork may begin with.
const MAX_PARENTS: usize = 1_000;

/// The model providers that need no configuration, in version 0.171.
const BUILT_IN: [&str; 4] = ["openai", "ollama", "lmstudio", "amazon-bedrock"];

pub(super) fn look(home: &Path, id: &str, kept: &[Kept]) -> Look {
    if !is_uuid(id) {
        let backend = BackendType::Codex;
        return refused(Refusal::NoUuid { backend });
    }
    let mut notes = Vec::new();
    let row = turnkeep_recordings::codex_thread(home, &id.to_lowercase()).unwrap_or_else(|error| {
        let reason = error.to_string();
        notes.push(Note::DatabaseUnread { reason });
        None
    });
    let rollouts = Rollouts::find(home);
    if let Some((path, error)) = rollouts.unreadable {
        let kind = error.kind();
        return refused(Refusal::Unreadable { path, kind });
    }
    let path = match &row {
        // A row may outlive its file. A restore corrects it then.
        Some(row)
            if row.is_archived
                && (existing(&row.rollout_path).is_some() || rollouts.is_archived(id)) =>
        {
            let thread = id.to_owned();
            return refused(Refusal::Archived { thread });
        }
        Some(row) => match existing(&row.rollout_path) {
            Some(path) => path,
            None => return stale(row, &rollouts, id),
        },
        None => match (rollouts.of_thread(id), rollouts.is_archived(id)) {
            (Some(rollout), _) => rollout.path.clone(),
            (None, true) => {
                let thread = id.to_owned();
                return refused(Refusal::Archived { thread });
            }
            (None, false) => return Look::missing(),
        },
    };
    let target = check(home, id, &path, row.as_ref(), &rollouts);
    if let Ok(Target::Codex {
        provider: Some(provider),
    }) = &target
    {
        let provider = provider.clone();
        notes.push(Note::ModelProvider { provider });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let same = kept.iter().find(|file| file.file_name() == name);
    let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let is_missing = |file: &Kept| {
        RolloutName::of(&file.name)
            .is_some_and(|name| name.thread() == id && rollouts.get(name.rollout()).is_none())
    };
    let recording = match kept.iter().any(is_missing) {
        // Codex would go on from before a revert.
        true => RecordingState::Older { path },
        false => RecordingState::compared(path, length, same),
    };
    Look {
        recording,
        notes,
        target,
    }
}

fn refused(refusal: Refusal) -> Look {
    Look {
        target: Err(refusal),
        ..Look::missing()
    }
}

/// Codex looks at no other place than the row names.
fn stale(row: &CodexThread, rollouts: &Rollouts, id: &str) -> Look {
    match rollouts.of_thread(id) {
        Some(rollout) => Look::refused(
            rollout.path.clone(),
            Refusal::StaleRow {
                database: row.database.clone(),
                path: row.rollout_path.clone(),
            },
        ),
        None => Look::missing(),
    }
}

/// Returns the file, which Codex may have compressed since its row was written.
fn existing(path: &Path) -> Option<PathBuf> {
    let compressed = PathBuf::from(format!("{}.zst", path.display()));
    let mut paths = [path.to_owned(), compressed].into_iter();
    paths.find(|path| path.is_file())
}

fn check(
    home: &Path,
    id: &str,
    path: &Path,
    row: Option<&CodexThread>,
    rollouts: &Rollouts,
) -> Result<Target, Refusal> {
    let header = readable(path, id, rollouts)?;
    let of_row = row.and_then(|row| row.model_provider.clone());
    let recorded = match of_row {
        Some(provider) => Some(provider),
        None if is_compressed(path) => None,
        None => last_provider(path)?.or(header.and_then(|header| header.model_provider)),
    };
    let provider = provider(home, recorded)?;
    Ok(Target::Codex { provider })
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// Whether Codex reads the beginning of a rollout.
pub(crate) fn begins_well(path: &Path) -> bool {
    is_compressed(path) || header(path).is_ok()
}

/// Checks that Codex reads a rollout as one of this thread, with the rollouts that it begins with. Returns no header of
/// a compressed one, which Codex has read before it compressed it.
pub(crate) fn readable(
    path: &Path,
    thread: &str,
    rollouts: &Rollouts,
) -> Result<Option<Header>, Refusal> {
    if is_compressed(path) {
        return Ok(None);
    }
    let header = header(path)?;
    if header.id != thread {
        let path = path.to_owned();
        return Err(Refusal::OtherSession { path });
    }
    check_parents(path, header.base(), rollouts)?;
    Ok(Some(header))
}

/// Checks that the rollouts are there with which one begins. `base` is the first of them.
pub(crate) fn check_parents(
    path: &Path,
    base: Option<&str>,
    rollouts: &Rollouts,
) -> Result<(), Refusal> {
    let mut base = base.map(str::to_owned);
    let mut seen = HashSet::new();
    while let Some(parent) = base.filter(|parent| seen.insert(parent.clone())) {
        let file = rollouts
            .get(&parent)
            .ok_or_else(|| Refusal::MissingParent {
                path: path.to_owned(),
                parent,
            })?;
        if file.name.is_compressed() || seen.len() > MAX_PARENTS {
            break;
        }
        base = header(&file.path)?.base().map(str::to_owned);
    }
    Ok(())
}

/// Reads the first line, which must have all that Codex needs of it.
fn header(path: &Path) -> Result<Header, Refusal> {
    let first = find_line(path, MAX_HEADER, |line| Some(Header::of(line)))?;
    first.flatten().ok_or_else(|| Refusal::Damaged {
        path: path.to_owned(),
    })
}

#[derive(Deserialize)]
struct SettingsLine {
    payload: SettingsPayload,
}

#[derive(Deserialize)]
struct SettingsPayload {
    thread_settings: Settings,
}

#[derive(Deserialize)]
struct Settings {
    model_provider_id: String,
}

/// Returns the model provider of the latest settings in a rollout. They win over the header.
fn last_provider(path: &Path) -> Result<Option<String>, Refusal> {
    const EVENT: &str = "thread_settings_applied";
    let tail = tail(path, MAX_SETTINGS)?;
    let lines = tail.rsplit(|byte| *byte == b'\n');
    let mut texts = lines.filter_map(|line| std::str::from_utf8(line).ok());
    Ok(texts.find_map(|line| {
        let event = line.contains(EVENT).then_some(line)?;
        let line: SettingsLine = serde_json::from_str(event).ok()?;
        Some(line.payload.thread_settings.model_provider_id)
    }))
}

#[derive(Default, Deserialize)]
struct Config {
    model_provider: Option<String>,
    #[serde(default)]
    model_providers: HashMap<String, IgnoredAny>,
}

/// Returns the provider that the command has to name, `None` if it is the configured one.
fn provider(home: &Path, recorded: Option<String>) -> Result<Option<String>, Refusal> {
    let path = home.join("config.toml");
    let config = match path.exists() {
        true => config(&path)?,
        false => Config::default(),
    };
    let configured = config.model_provider.as_deref().unwrap_or("openai");
    let Some(recorded) = recorded.filter(|recorded| recorded != configured) else {
        return Ok(None);
    };
    let is_known = BUILT_IN.contains(&&*recorded) || config.model_providers.contains_key(&recorded);
    match is_known {
        true => Ok(Some(recorded)),
        false => Err(Refusal::UnknownProvider {
            provider: recorded,
            config: path,
        }),
    }
}

fn config(path: &Path) -> Result<Config, Refusal> {
    use std::io::Read as _;

    let mut text = String::new();
    let read = open(path)?.take(MAX_CONFIG).read_to_string(&mut text);
    let parsed = read.ok().and_then(|_| toml::from_str(&text).ok());
    parsed.ok_or_else(|| Refusal::InvalidConfig {
        path: path.to_owned(),
    })
}
