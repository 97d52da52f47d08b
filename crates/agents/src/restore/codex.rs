//! Codex. A rollout needs the rollouts that its `history_base` leads to: the parent of a fork, the first file of a
//! reverted thread.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use turnkeep_repo::chrono::{DateTime, Utc};

use super::error::RestoreError;
use super::kept::{Content, KeptFile, Scan};
use super::{Planned, Restore, RestoreAction, RestoreStep, Restored, codex_database, left_out};
use crate::RestoreSource;
use crate::layout::codex::RolloutName;
use crate::layout::{below, is_uuid};
use crate::plan::codex::{Present, rollout_of};

pub(super) fn restore(restore: &Restore<'_>) -> Result<Restored, RestoreError> {
    let id = restore.session.session_id.as_str();
    if !is_uuid(id) {
        return Err(restore.invalid_id());
    }
    let mut steps = Vec::new();
    let mut rollouts = Rollout::kept(restore, id, &mut steps)?;
    let mut source = RestoreSource::Files;
    if !is_complete(restore, id, &rollouts) {
        steps.extend(rollouts.drain(..).map(|rollout| left_out(&rollout.file)));
    }
    let mut files = Vec::new();
    let there = find_rollouts(restore.home);
    for rollout in rollouts {
        let is_own = rollout.name.thread() == id;
        let path = restore.home.join(&rollout.inside);
        let elsewhere = there.iter().find(|there| {
            let name = there.to_str().and_then(RolloutName::of);
            name.is_some_and(|it| it.rollout() == rollout.name.rollout())
        });
        // The fork says up to which record it takes its parent, so one that went on or was rewritten does as well.
        if let Some(elsewhere) = elsewhere.filter(|_| !is_own && !path.exists()) {
            steps.push(RestoreStep {
                action: RestoreAction::KeepLonger,
                path: elsewhere.clone(),
            });
            continue;
        }
        let content = Content::whole(rollout.file, rollout.scan.length);
        let planned = restore.plan(rollout.inside, content, !is_own)?;
        files.push((rollout.name, planned));
    }
    let present = files
        .is_empty()
        .then(|| rollout_of(restore.home, id))
        .flatten();
    if let Some(Present {
        inside,
        is_whole: true,
    }) = &present
        && !restore.options.force
    {
        // It has more than the words. Only the database may not know it.
        steps.push(RestoreStep {
            action: RestoreAction::KeepLonger,
            path: restore.home.join(inside),
        });
        steps.extend(codex_database::point_to(restore, id, inside));
        return Ok(restore.restored(inside, source, steps));
    }
    if files.is_empty() {
        let words = restore.words()?;
        source = RestoreSource::Words;
        // A thread has one rollout, whatever it says.
        let present = present.map(|present| present.inside);
        let named = present.as_deref().and_then(Path::to_str);
        let name = named.and_then(RolloutName::of);
        let name = name.unwrap_or_else(|| RolloutName::new(id, words.started_at()));
        let inside = present.or_else(|| name.path());
        let inside = inside.ok_or_else(|| restore.invalid_id())?;
        let text = words.codex(&restore.session.session_id, restore.working_dir.as_deref());
        files.push((name, restore.plan(inside, Content::Written(text), false)?));
    }
    for (_, file) in &files {
        steps.push(restore.put(file)?);
    }
    steps.extend(copies(restore.home, &files));
    steps.extend(codex_database::correct(restore, &files));
    let main = files.last().map(|(_, file)| file.inside.clone());
    Ok(restore.restored(&main.unwrap_or_default(), source, steps))
}

/// A kept rollout of the session, or of one that it begins with.
struct Rollout<'a> {
    name: RolloutName,
    inside: PathBuf,
    file: KeptFile<'a>,
    scan: Scan,
    header: Option<Header>,
}

/// The first line. Before August 2025 it had no envelope.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    payload: Option<Header>,
    id: Option<String>,
    timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header {
    id: Option<String>,
    timestamp: Option<String>,
    history_base: Option<HistoryBase>,
}

#[derive(Deserialize)]
struct HistoryBase {
    thread_id: String,
}

impl<'a> Rollout<'a> {
    /// Returns the rollouts that Codex needs, in order of their times, the session's own last.
    fn kept(
        restore: &Restore<'a>,
        id: &str,
        steps: &mut Vec<RestoreStep>,
    ) -> Result<Vec<Self>, RestoreError> {
        let mut rollouts = Vec::new();
        let mut places = HashSet::new();
        for file in KeptFile::all(restore.repo, restore.task)? {
            let Some(scan) = restore.scan(&file)? else {
                steps.push(left_out(&file));
                continue;
            };
            match Self::of(file, scan, id) {
                Ok(rollout) if places.insert(rollout.inside.clone()) => rollouts.push(rollout),
                Ok(rollout) => steps.push(left_out(&rollout.file)),
                Err(file) => steps.push(left_out(&file)),
            }
        }
        let mut needed = Vec::new();
        let mut ids = vec![id.to_owned()];
        while let Some(id) = ids.pop() {
            // The rollouts of an earlier session of the task stay.
            let (found, others) = rollouts
                .into_iter()
                .partition(|it: &Self| it.name.is_of(&id));
            rollouts = others;
            ids.extend(
                found
                    .iter()
                    .filter_map(|it: &Self| it.base().map(str::to_owned)),
            );
            needed.extend(found);
        }
        needed.sort_by_key(|it| (it.name.thread() == id, it.name.path()));
        Ok(needed)
    }

    /// Returns the rollout that this one begins with.
    fn base(&self) -> Option<&str> {
        let base = self.header.as_ref()?.history_base.as_ref()?;
        Some(&base.thread_id)
    }

    /// Returns the file if it is no rollout.
    fn of(file: KeptFile<'a>, scan: Scan, id: &str) -> Result<Self, KeptFile<'a>> {
        let header = Header::of(&scan.first_line);
        let name = RolloutName::of(file.name()).or_else(|| {
            // Codex takes no other name, and resumes the session under its own.
            let header = header
                .as_ref()
                .filter(|header| header.id.as_deref() == Some(id))?;
            let time: DateTime<Utc> = header.timestamp.as_ref()?.parse().ok()?;
            Some(RolloutName::new(id, time))
        });
        let inside = name.as_ref().and_then(|name| {
            // Codex finds a rollout anywhere below `sessions`, and its databases name the place.
            let is_named = RolloutName::of(file.name()).is_some();
            let as_it_was = below(file.name()).filter(|it| is_named && it.starts_with("sessions"));
            as_it_was.or_else(|| name.path())
        });
        match name.zip(inside) {
            Some((name, inside)) => Ok(Self {
                name,
                inside,
                file,
                scan,
                header,
            }),
            None => Err(file),
        }
    }
}

impl Header {
    fn of(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        Some(line.payload.unwrap_or(Self {
            id: line.id,
            timestamp: line.timestamp,
            history_base: None,
        }))
    }
}

/// Whether Codex can read the session from these rollouts and the ones in the home.
fn is_complete(restore: &Restore<'_>, id: &str, rollouts: &[Rollout<'_>]) -> bool {
    let is_known = |id: &str| {
        let is_kept = rollouts.iter().any(|rollout| rollout.name.is_of(id));
        is_kept || has_rollout(restore.home, id)
    };
    let has_own = rollouts.iter().any(|rollout| rollout.name.thread() == id);
    has_own
        && rollouts.iter().all(|rollout| {
            // A compressed rollout is put back unread.
            let is_readable = rollout.header.is_some() || rollout.name.is_compressed();
            is_readable && rollout.base().is_none_or(is_known)
        })
}

fn has_rollout(home: &Path, id: &str) -> bool {
    let rollouts = find_rollouts(home);
    let mut names = rollouts
        .iter()
        .filter_map(|path| RolloutName::of(path.to_str()?));
    names.any(|name| name.is_of(id))
}

/// Returns the other places in the home that have a rollout of the same ids. Codex may find that one.
fn copies(home: &Path, files: &[(RolloutName, Planned<'_>)]) -> Vec<RestoreStep> {
    let found = find_rollouts(home).into_iter().filter(|path| {
        let name = path.to_str().and_then(RolloutName::of);
        let is_known =
            |name: &RolloutName| files.iter().any(|(own, _)| own.rollout() == name.rollout());
        let is_put = || {
            files
                .iter()
                .any(|(_, file)| home.join(&file.inside) == **path)
        };
        name.is_some_and(|name| is_known(&name)) && !is_put()
    });
    found
        .map(|path| RestoreStep {
            action: RestoreAction::KeepCopy,
            path,
        })
        .collect()
}

/// Returns the files below `sessions` and `archived_sessions`.
fn find_rollouts(home: &Path) -> Vec<PathBuf> {
    /// `sessions/YYYY/MM/DD`.
    const MAX_DEPTH: usize = 4;
    let mut files = Vec::new();
    let mut folders = vec![
        (home.join("sessions"), 1),
        (home.join("archived_sessions"), 1),
    ];
    while let Some((folder, depth)) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            match entry.file_type() {
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                    folders.push((entry.path(), depth + 1))
                }
                _ => {}
            }
        }
    }
    files.sort();
    files
}
