//! Codex. A rollout needs the rollouts that its `history_base` leads to: the parent of a fork, the first file of a
//! reverted thread.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use turnkeep_repo::chrono::{DateTime, Utc};

use super::error::RestoreError;
use super::kept::{Content, KeptFile, Scan};
use super::write::{State, state};
use super::{
    Differing, Planned, Restore, RestoreAction, RestoreStep, Restored, codex_database, left_out,
};
use crate::RestoreSource;
use crate::layout::codex::{Header, RolloutName, Rollouts};
use crate::layout::{below, is_uuid};
use crate::plan::codex::{begins_well, check_parents, readable};

pub(super) fn restore(restore: &Restore<'_>) -> Result<Restored, RestoreError> {
    let id = restore.session.session_id.as_str();
    if !is_uuid(id) {
        return Err(restore.invalid_id());
    }
    let there = Rollouts::find(restore.home);
    let mut steps = Vec::new();
    let mut rollouts = Rollout::kept(restore, id, &mut steps)?;
    let mut unread = Vec::new();
    if !restore.options.exact && !is_complete(id, &rollouts, &there) {
        unread = std::mem::take(&mut rollouts);
        steps.extend(unread.iter().map(|rollout| left_out(&rollout.file)));
    }
    let mut source = RestoreSource::Files;
    let mut files = Vec::new();
    for rollout in rollouts {
        let path = restore.home.join(&rollout.inside);
        // The fork says up to which record it takes its parent, so one that went on or was rewritten does as well.
        let may_stay = |path: &Path| rollout.name.thread() != id && begins_well(path);
        let elsewhere = there
            .with_id(rollout.name.rollout())
            .find(|it| !path.exists() && may_stay(&it.path));
        if let Some(elsewhere) = elsewhere {
            steps.push(RestoreStep {
                action: RestoreAction::KeepLonger,
                path: elsewhere.path.clone(),
            });
            continue;
        }
        let differing = match may_stay(&path) {
            true => Differing::Stays,
            false => Differing::Fails,
        };
        let content = Content::whole(rollout.file, rollout.scan.length);
        let planned = restore.plan(rollout.inside, content, differing)?;
        files.push((rollout.name, planned));
    }
    if files.is_empty() {
        // A thread has one rollout, whatever it says.
        let present = there.of_thread(id);
        let inside = present.and_then(|it| it.path.strip_prefix(restore.home).ok());
        if let Some((present, inside)) = present.zip(inside)
            && !restore.options.force
            && readable(&present.path, id, &there).is_ok()
        {
            // It has more than the words. Only the database may not know it.
            steps.push(RestoreStep {
                action: RestoreAction::KeepLonger,
                path: present.path.clone(),
            });
            steps.extend(codex_database::point_to(restore, id, inside));
            return Ok(restore.restored(inside, source, steps));
        }
        let words = restore.words()?;
        source = RestoreSource::Words;
        let name = present.map(|present| present.name.clone());
        let name = name.unwrap_or_else(|| RolloutName::new(id, words.started_at()));
        let inside = inside.map(Path::to_owned).or_else(|| name.path());
        let inside = inside.ok_or_else(|| restore.invalid_id())?;
        let differing = match is_kept(restore, &inside, unread)? {
            true => Differing::IsReplaced,
            false => Differing::Fails,
        };
        let text = words.codex(&restore.session.session_id, restore.working_dir.as_deref());
        files.push((
            name,
            restore.plan(inside, Content::Written(text), differing)?,
        ));
    }
    for (_, file) in &files {
        steps.push(restore.put(file)?);
    }
    steps.extend(copies(restore.home, &files, &there));
    steps.extend(codex_database::correct(restore, &files));
    let main = files.last().map(|(_, file)| file.inside.clone());
    Ok(restore.restored(&main.unwrap_or_default(), source, steps))
}

/// Whether the store has all bytes of a file in the home.
fn is_kept(
    restore: &Restore<'_>,
    inside: &Path,
    kept: Vec<Rollout<'_>>,
) -> Result<bool, RestoreError> {
    for rollout in kept {
        let content = Content::whole(rollout.file, rollout.scan.length);
        let (state, _) = state(restore.home, inside, &content)?;
        if matches!(state, State::Equal | State::Shorter) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A kept rollout of the session, or of one that it begins with.
struct Rollout<'a> {
    name: RolloutName,
    inside: PathBuf,
    file: KeptFile<'a>,
    scan: Scan,
    header: Option<Header>,
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
            let bases = found.iter().filter_map(|it: &Self| it.base());
            ids.extend(bases.map(str::to_owned));
            needed.extend(found);
        }
        needed.sort_by_key(|it| (it.name.thread() == id, it.name.path()));
        Ok(needed)
    }

    /// Returns the rollout that this one begins with.
    fn base(&self) -> Option<&str> {
        self.header.as_ref()?.base()
    }

    /// Returns the file if it is no rollout.
    fn of(file: KeptFile<'a>, scan: Scan, id: &str) -> Result<Self, KeptFile<'a>> {
        let header = Header::of(&scan.first_line);
        let name = RolloutName::of(file.name()).or_else(|| {
            // Codex takes no other name, and resumes the session under its own.
            let header = header.as_ref().filter(|header| header.id == id)?;
            let time: DateTime<Utc> = header.timestamp.parse().ok()?;
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

/// Whether Codex reads the session from these rollouts and the ones in the home.
fn is_complete(id: &str, rollouts: &[Rollout<'_>], there: &Rollouts) -> bool {
    let is_known = |base: &str| {
        let is_kept = rollouts.iter().any(|rollout| rollout.name.is_of(base));
        is_kept || check_parents(Path::new(base), Some(base), there).is_ok()
    };
    let is_own = |rollout: &Rollout<'_>| rollout.name.thread() == id;
    // A compressed rollout is put back unread.
    let is_readable = |rollout: &Rollout<'_>| match &rollout.header {
        Some(header) => !is_own(rollout) || header.id == id,
        None => rollout.name.is_compressed(),
    };
    rollouts.iter().any(is_own)
        && rollouts
            .iter()
            .all(|rollout| is_readable(rollout) && rollout.base().is_none_or(is_known))
}

/// Returns the other places in the home that have a rollout of the same ids. Codex may find that one.
fn copies(home: &Path, files: &[(RolloutName, Planned<'_>)], there: &Rollouts) -> Vec<RestoreStep> {
    let is_put = |path: &Path| {
        let mut put = files.iter();
        put.any(|(_, file)| home.join(&file.inside) == path)
    };
    let found = files
        .iter()
        .flat_map(|(name, _)| there.with_id(name.rollout()));
    found
        .filter(|copy| !is_put(&copy.path))
        .map(|copy| RestoreStep {
            action: RestoreAction::KeepCopy,
            path: copy.path.clone(),
        })
        .collect()
}
