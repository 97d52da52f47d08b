//! Rows that a copy must not overwrite.

use turnkeep_admin::{Error, copy};
use turnkeep_repo::{BackendType, Repo, Role, Seq, SessionId, StatusUpdate};

use super::scene::fill;
use super::{Place, copy_all, from_each_to_each, id};
use crate::support::{binding, save_task};

from_each_to_each![
    a_task_that_changed_at_the_destination_is_not_overwritten,
    sessions_of_the_destination_are_not_overwritten,
    turns_of_the_destination_are_not_mixed_with_others,
    turns_are_not_hidden_otherwise_than_at_the_source,
    other_turns_of_a_task_without_new_ones_are_found_at_the_end,
];

/// A change of the task `s0`.
#[derive(Clone, Copy)]
enum Change {
    /// It is another task of that id.
    Anew,
    Fail,
    Say(&'static str),
    Bind(&'static str),
    Retire,
    Hide(i64),
    /// Writes of a program without this library.
    Sql(&'static str),
}
use Change::{Anew, Bind, Fail, Hide, Retire, Say, Sql};

impl Change {
    fn make(self, place: &Place, repo: &Repo) -> anyhow::Result<()> {
        let task = id("s0");
        match self {
            Anew => {
                repo.delete_task(&task)?;
                save_task(repo, "s0")?;
            }
            Fail => repo.update_task_status(&task, StatusUpdate::failed("failed"))?,
            Say(text) => drop(repo.save_message(&task, Role::User, text)?),
            Bind(session) => {
                repo.save_session(&task, &binding(BackendType::Claude, session, None)?)?;
            }
            Retire => drop(repo.retire_session(&task, &SessionId::new("1")?, "over")?),
            Hide(after) => drop(repo.hide_after(&task, Seq::new(after).ok())?),
            Sql(sql) => place.execute(sql)?,
        }
        Ok(())
    }
}

/// Stores of these engines that were copied, and changed after that.
struct Changed {
    from: Place,
    to: Place,
}

impl Changed {
    fn new(
        (from, to): (&Place, &Place),
        there: &[Change],
        here: &[Change],
    ) -> anyhow::Result<Self> {
        let (from, to) = (from.another()?, to.another()?);
        let (source, destination) = (from.open()?, to.open()?);
        fill(&source)?;
        copy_all(&source, &destination)?;
        for change in there {
            change.make(&to, &destination)?;
        }
        for change in here {
            change.make(&from, &source)?;
        }
        Ok(Self { from, to })
    }

    /// Copies again, which must end with a conflict about `s0`, and returns why. Neither store may
    /// have changed.
    #[track_caller]
    fn conflict(&self) -> anyhow::Result<String> {
        let before = (self.from.rows()?, self.to.rows()?);
        let error = copy(&self.from.open()?, &self.to.open()?, |_| ()).unwrap_err();
        let text = error.to_string();
        let Error::Conflict {
            task_id, reason, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(task_id, id("s0"), "{reason}");
        assert_eq!(text, format!("copy: task `s0` {reason}"));
        assert!((self.from.rows()?, self.to.rows()?) == before);
        Ok(reason)
    }
}

#[track_caller]
fn assert_conflict(
    engines: (&Place, &Place),
    there: &[Change],
    here: &[Change],
    expected: &str,
) -> anyhow::Result<()> {
    let reason = Changed::new(engines, there, here)?.conflict()?;
    assert!(reason.starts_with(expected), "{reason}");
    Ok(())
}

fn a_task_that_changed_at_the_destination_is_not_overwritten(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let engines = (from, to);
    let changed = "has changed at the destination since, at 20";
    assert_conflict(engines, &[Fail], &[], changed)?;
    assert_conflict(engines, &[Fail], &[Bind("2"), Say("here")], changed)?;
    let another = "is another one at the destination, made at 20";
    assert_conflict(engines, &[Anew], &[Fail], another)?;

    let unclear = "differs, and which is newer can't be told";
    let renamed = Sql("UPDATE tasks SET name = 'y' WHERE id = 's0'");
    assert_conflict(engines, &[renamed], &[], unclear)?;
    let leased = Sql(
        "UPDATE tasks SET fence = 1, worker = 'w', lease_ends_at = 9, lease_length = 1 WHERE id = 's0'",
    );
    let given_out = "was given out at the destination since: its fence is 1 there, and 0 at";
    assert_conflict(engines, &[leased], &[Fail], given_out)?;
    let shorter = Sql(
        "UPDATE tasks SET fence = 1, worker = 'w', lease_ends_at = 8, lease_length = 1 WHERE id = 's0'",
    );
    assert_conflict(engines, &[leased], &[shorter], unclear)?;
    let longer = Sql(
        "UPDATE tasks SET fence = 1, worker = 'v', lease_ends_at = 10, lease_length = 1 WHERE id = 's0'",
    );
    assert_conflict(engines, &[leased], &[longer], unclear)
}

fn sessions_of_the_destination_are_not_overwritten(from: &Place, to: &Place) -> anyhow::Result<()> {
    let engines = (from, to);
    let more = "was bound 2 times at the destination, and 1 times at the source";
    assert_conflict(engines, &[Bind("2")], &[Fail], more)?;
    let other = "has another session revision 1 at the destination";
    assert_conflict(engines, &[Bind("2")], &[Bind("3")], other)?;
    assert_conflict(engines, &[Retire], &[Bind("2")], other)?;
    assert_conflict(engines, &[Retire], &[], other)?;
    let touched = Sql("UPDATE sessions SET created_at = created_at + 1 WHERE task_id = 's0'");
    assert_conflict(
        engines,
        &[touched],
        &[Fail],
        "is bound otherwise at the destination",
    )
}

fn turns_of_the_destination_are_not_mixed_with_others(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let engines = (from, to);
    let more = "has 9 turns at the destination, and 8 at the source";
    assert_conflict(engines, &[Say("there")], &[Fail], more)?;
    let other = "has another turn 9 at the destination";
    let (there, here) = ([Say("there")], [Say("here"), Say("and here")]);
    assert_conflict(engines, &there, &here, other)?;
    // None to add, but something else is.
    assert_conflict(engines, &there, &[Say("here"), Bind("2")], other)?;
    assert_conflict(engines, &there, &[Say("here"), Fail], other)
}

fn turns_are_not_hidden_otherwise_than_at_the_source(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let other = "has other hidden turns at the destination";
    assert_conflict((from, to), &[Hide(1)], &[Fail], other)?;
    assert_conflict((from, to), &[Hide(1)], &[Hide(0)], other)?;
    assert_conflict((from, to), &[Hide(1)], &[Hide(1), Say("here")], other)
}

/// As many turns, and nothing to write: only reading them back shows it.
fn other_turns_of_a_task_without_new_ones_are_found_at_the_end(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let other = "has another turn 9 at the destination";
    assert_conflict((from, to), &[Say("there")], &[Say("here")], other)
}
