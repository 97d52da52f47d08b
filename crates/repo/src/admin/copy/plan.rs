//! What a copy has to write of a task, or why it must not.

use std::fmt::Display;

use turnkeep_model::{Session, SessionRevision, TaskId, TaskRow};

use crate::base::error::{Error, ErrorKind};
use crate::base::operation::Operation;

/// A task with all that is kept of it but its turns, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) row: TaskRow,
    /// In order of their ids.
    pub(crate) depends_on: Vec<TaskId>,
    pub(crate) session: Option<Session>,
    /// In order of their numbers.
    pub(crate) revisions: Vec<SessionRevision>,
    /// Seqs have no gaps, so this is the number of turns as well.
    pub(crate) last_seq: i64,
}

/// What makes a task at the destination the same as at the source, but for its turns and for
/// dependencies that it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan<'s> {
    pub(crate) row: RowPlan,
    /// Whether the destination has dependencies that the task has no longer.
    pub(crate) drops_dependencies: bool,
    /// The revision that is still open at the destination and has to be retired.
    pub(crate) retired: Option<&'s SessionRevision>,
    pub(crate) new_revisions: &'s [SessionRevision],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowPlan {
    Keep,
    Insert,
    Update,
}

impl Plan<'_> {
    /// Whether there is something to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.row == RowPlan::Keep && !self.drops_dependencies && !self.rebinds()
    }

    /// Whether the task is bound to another session than before, or to none. The binding goes with
    /// its revisions.
    pub(crate) fn rebinds(&self) -> bool {
        self.retired.is_some() || !self.new_revisions.is_empty()
    }
}

/// Compares a task of the source with what the destination has of it. Fails with a
/// [`CopyConflict`](ErrorKind::CopyConflict) if something there is not an earlier state of it.
///
/// The rules are told at [`copy`](crate::copy()). Of the turns only their number is looked at.
pub(crate) fn plan<'s>(
    call: Operation<'_>,
    source: &'s Snapshot,
    stored: Option<&Snapshot>,
) -> Result<Plan<'s>, Error> {
    let Some(stored) = stored else {
        return Ok(Plan {
            row: RowPlan::Insert,
            drops_dependencies: false,
            retired: None,
            new_revisions: &source.revisions,
        });
    };
    let conflict = |reason: String| conflict(call, &source.row.id, reason);
    let row = plan_row(&source.row, &stored.row).map_err(conflict)?;
    let is_gone = |id: &TaskId| source.depends_on.binary_search(id).is_err();
    let retired = find_retired(source, stored).map_err(conflict)?;
    let new_revisions = &source.revisions[stored.revisions.len()..];
    let plan = Plan {
        row,
        drops_dependencies: stored.depends_on.iter().any(is_gone),
        retired,
        new_revisions,
    };
    if !plan.rebinds() && source.session != stored.session {
        return Err(conflict("is bound otherwise at the destination".into()));
    }
    if stored.last_seq > source.last_seq {
        return Err(conflict(format!(
            "has {} turns at the destination, and {} at the source",
            stored.last_seq, source.last_seq
        )));
    }
    Ok(plan)
}

/// Makes the error of a task that can't be copied, for this reason, a predicate.
pub(crate) fn conflict(call: Operation<'_>, task_id: &TaskId, reason: impl Display) -> Error {
    ErrorKind::CopyConflict {
        reason: reason.to_string(),
        report: None,
    }
    .on(&Operation::on_task(call.name, task_id))
}

fn plan_row(new: &TaskRow, old: &TaskRow) -> Result<RowPlan, String> {
    if new == old {
        return Ok(RowPlan::Keep);
    }
    if new.created_at != old.created_at {
        return Err(format!(
            "is another one at the destination, made at {}; the source's was made at {}",
            rfc3339(old.created_at),
            rfc3339(new.created_at)
        ));
    }
    if new.fence < old.fence {
        return Err(format!(
            "was given out at the destination since: its fence is {} there, and {} at the source",
            old.fence, new.fence
        ));
    }
    if new.updated_at < old.updated_at {
        return Err(format!(
            "has changed at the destination since, at {}; at the source it last did at {}",
            rfc3339(old.updated_at),
            rfc3339(new.updated_at)
        ));
    }
    if new.updated_at > old.updated_at || new.fence > old.fence || is_renewed(new, old) {
        return Ok(RowPlan::Update);
    }
    Err("differs, and which is newer can't be told: both say the same time".into())
}

/// Whether the same worker has the same claim for longer, and all else is the same.
fn is_renewed(new: &TaskRow, old: &TaskRow) -> bool {
    let longer = TaskRow {
        lease_ends_at: new.lease_ends_at,
        lease_length: new.lease_length,
        ..old.clone()
    };
    *new == longer && new.lease_ends_at > old.lease_ends_at
}

/// Returns the revision that was retired at the source since. All the destination has must be the
/// beginning of what the source has.
fn find_retired<'s>(
    source: &'s Snapshot,
    stored: &Snapshot,
) -> Result<Option<&'s SessionRevision>, String> {
    let (new, old) = (&source.revisions, &stored.revisions);
    if old.len() > new.len() {
        return Err(format!(
            "was bound {} times at the destination, and {} times at the source",
            old.len(),
            new.len()
        ));
    }
    let mut retired = None;
    for (new, old) in new.iter().zip(old) {
        if new == old {
            continue;
        }
        let open = SessionRevision {
            retired_at: None,
            retired_reason: None,
            ..new.clone()
        };
        if *old != open {
            let number = new.revision;
            return Err(format!(
                "has another session revision {number} at the destination"
            ));
        }
        retired = Some(new);
    }
    Ok(retired)
}

fn rfc3339(time: chrono::DateTime<chrono::Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}
