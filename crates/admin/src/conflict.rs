//! The rules by which a task at the destination is an earlier state of the source's task, as documented at
//! [`copy`](crate::copy()).

use std::fmt::Display;

use chrono::{DateTime, SecondsFormat, Utc};
use turnkeep_model::{RecordingFile, TaskId, TaskRow};
use turnkeep_repo::bulk::TaskRecord;

use crate::error::Error;

/// Makes the error of a task that cannot be copied, for this reason, a predicate.
pub(crate) fn conflict(operation: &'static str, task_id: &TaskId, reason: impl Display) -> Error {
    Error::Conflict {
        operation,
        task_id: task_id.clone(),
        reason: reason.to_string(),
    }
}

/// Returns why `old` is not an earlier state of `new`. Of the turns only their number is compared.
pub(crate) fn find_conflict(new: &TaskRecord, old: &TaskRecord) -> Option<String> {
    let reason = row_conflict(&new.row, &old.row).or_else(|| revision_conflict(new, old));
    if reason.is_some() {
        return reason;
    }
    if new.revisions == old.revisions && new.session != old.session {
        return Some("is bound otherwise at the destination".into());
    }
    if !new.retractions.starts_with(&old.retractions) {
        return Some("has other hidden turns at the destination".into());
    }
    (old.last_seq > new.last_seq).then(|| {
        format!(
            "has {} turns at the destination, and {} at the source",
            old.last_seq, new.last_seq
        )
    })
}

/// Returns why the recordings `old` of a task are no earlier state of `new`. Their bytes are not compared.
pub(crate) fn recording_conflict(new: &[RecordingFile], old: &[RecordingFile]) -> Option<String> {
    for it in new {
        let number = it.number;
        let Some(stored) = old.iter().find(|old| old.number == number) else {
            let later = old.iter().find(|old| old.number > number)?;
            return Some(format!(
                "has a recording {} of its own at the destination, which lacks recording {number}",
                later.number
            ));
        };
        if (&it.name, it.created_at) != (&stored.name, stored.created_at) {
            return Some(format!("has another recording {number} at the destination"));
        }
        if it.length < stored.length || it.updated_at < stored.updated_at {
            return Some(format!("has more of recording {number} at the destination"));
        }
    }
    None
}

/// Returns the recordings among `old` that the source has dropped because two later ones of their names are there.
pub(crate) fn superseded<'o>(
    new: &[RecordingFile],
    old: &'o [RecordingFile],
) -> impl Iterator<Item = &'o RecordingFile> {
    old.iter().filter(|old| {
        let same = new
            .iter()
            .filter(|it| it.name == old.name && it.number >= old.number);
        same.clone().all(|it| it.number > old.number) && same.count() >= 2
    })
}

fn row_conflict(new: &TaskRow, old: &TaskRow) -> Option<String> {
    if new == old {
        return None;
    }
    if new.created_at != old.created_at {
        return Some(format!(
            "is another one at the destination, made at {}; the source's was made at {}",
            rfc3339(old.created_at),
            rfc3339(new.created_at)
        ));
    }
    if new.fence < old.fence {
        return Some(format!(
            "was given out at the destination since: its fence is {} there, and {} at the source",
            old.fence, new.fence
        ));
    }
    if new.updated_at < old.updated_at {
        return Some(format!(
            "has changed at the destination since, at {}; at the source it last did at {}",
            rfc3339(old.updated_at),
            rfc3339(new.updated_at)
        ));
    }
    let is_newer = new.updated_at > old.updated_at || new.fence > old.fence;
    (!is_newer && !is_renewed(new, old))
        .then(|| "differs, and which is newer can't be told: both say the same time".into())
}

/// Returns whether the same worker has the same claim for longer, and nothing else differs.
fn is_renewed(new: &TaskRow, old: &TaskRow) -> bool {
    let mut longer = old.clone();
    longer.lease_ends_at = new.lease_ends_at;
    longer.lease_length = new.lease_length;
    *new == longer && new.lease_ends_at > old.lease_ends_at
}

/// The revisions of `old` must be the first of `new`, except that one may still be open.
fn revision_conflict(new: &TaskRecord, old: &TaskRecord) -> Option<String> {
    let (new, old) = (&new.revisions, &old.revisions);
    if old.len() > new.len() {
        return Some(format!(
            "was bound {} times at the destination, and {} times at the source",
            old.len(),
            new.len()
        ));
    }
    let other = new.iter().zip(old).find(|(new, old)| {
        let mut open = (*new).clone();
        open.retired_at = None;
        open.retired_reason = None;
        new != old && **old != open
    });
    other.map(|(new, _)| {
        format!(
            "has another session revision {} at the destination",
            new.revision
        )
    })
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
