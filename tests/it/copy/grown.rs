//! Copying again what has changed.

use std::time::Duration;

use anyhow::Context as _;
use turnkeep_admin::copy;
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{
    BackendType, ErrorKind, NewTask, Repo, Role, SessionId, StatusUpdate, TaskStatus, WorkerId,
};

use super::scene::fill;
use super::{Place, copy_all, from_each_to_each, id, read_all, written};
use crate::support::{binding, place, save_task};

from_each_to_each![
    what_is_new_at_the_source_is_added,
    a_session_that_is_bound_again_at_one_time_is_added,
    dependencies_are_those_of_the_source,
    tasks_of_the_destination_alone_are_left_alone,
    a_row_that_is_left_out_is_told,
];

/// Changes of every kind at the source, after a first copy.
fn grow(repo: &Repo) -> anyhow::Result<()> {
    repo.save_task(&NewTask::new(id("0 new"), "new").depends_on([id("s5")]))?;
    // One dependency less, and one more that is new itself.
    let all = (1..TaskStatus::ALL.len()).map(|number| id(&format!("s{number}")));
    let task = NewTask::new(id("a\u{1}"), "renamed").depends_on(all.chain([id("0 new")]));
    repo.save_task(&task)?;
    repo.update_task_status(&id("s4"), StatusUpdate::failed("late"))?;
    // Bound for the first time; to another one; unbound; unbound and bound again.
    repo.save_session(&id("s4"), &binding(BackendType::Goose, "1", None)?)?;
    repo.save_session(&id("s0"), &binding(BackendType::Codex, "2", Some("/x"))?)?;
    repo.save_session(&id("s0"), &binding(BackendType::Codex, "3", Some("/x"))?)?;
    repo.retire_session(&id("s1"), &SessionId::new("1")?, "over")?;
    repo.retire_session(&id("s3"), &SessionId::new("✓ 1")?, "over")?;
    repo.save_session(&id("s3"), &binding("gemini".parse()?, "✓ 1", Some("/"))?)?;
    for task in ["s0", "s5", "0 new"] {
        repo.save_message(&id(task), Role::Assistant, "more")?;
    }
    repo.hide_after(&id("s0"), place(1))?;
    Ok(())
}

fn what_is_new_at_the_source_is_added(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill(&source)?;
    let (worker, hour) = (WorkerId::new("wörker")?, Duration::from_secs(3_600));
    let claims = source.claim_ready(&worker, 9, hour)?;
    let [claim] = &claims[..] else {
        panic!("{claims:?}");
    };
    copy_all(&source, &destination)?;

    grow(&source)?;
    claim.renew(hour * 2)?;
    let _ = source.claim_ready(&worker, 9, hour)?;
    let report = copy_all(&source, &destination)?;
    assert_eq!(from.rows()?, to.rows()?);
    // Tasks: new (and given out), renamed, failed, renewed. Dependencies: one gone, two added.
    // Sessions: s4, s0, s1, s3. Revisions: 1 + (retired, 2) + retired + (retired, 1).
    assert_eq!(written(&report), [4, 3, 4, 7, 3, 1, 0, 0, 0]);
    assert_eq!(written(&copy_all(&source, &destination)?), [0; 9]);

    // A worker goes on with what it has.
    let moved = destination.get_claim(&claim.task.id, claim.fence)?;
    moved.save_message(Role::Assistant, "moved")?;
    moved.update_task_status(StatusUpdate::completed("done"))?;
    assert_eq!(
        written(&copy_all(&destination, &source)?),
        [1, 0, 0, 0, 1, 0, 0, 0, 0]
    );
    Ok(())
}

/// Also where the task itself did not change, because what it waited for was deleted.
fn a_session_that_is_bound_again_at_one_time_is_added(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let time = DateTime::from_timestamp(1_790_000_000, 0).context("a time")?;
    let source = Repo::builder(from.address()).clock(move || time).open()?;
    let destination = to.open()?;
    save_task(&source, "t")?;
    source.save_session(&id("t"), &binding(BackendType::Claude, "a", None)?)?;
    copy_all(&source, &destination)?;

    for session in ["b", "a"] {
        source.save_session(&id("t"), &binding(BackendType::Claude, session, None)?)?;
    }
    copy_all(&source, &destination)?;
    assert_eq!(from.rows()?, to.rows()?);
    assert_eq!(destination.list_session_revisions(&id("t"))?.len(), 3);
    let bytes = |repo| anyhow::Ok(turnkeep_admin::usage(repo)?.statuses);
    assert_eq!(bytes(&source)?, bytes(&destination)?);
    Ok(())
}

fn dependencies_are_those_of_the_source(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill(&source)?;
    copy_all(&source, &destination)?;
    to.execute("INSERT INTO task_dependencies VALUES ('s0', 's5')")?;
    source.delete_task(&id("s3"))?;
    let report = copy_all(&source, &destination)?;
    assert_eq!(written(&report), [0, 3, 0, 0, 0, 0, 0, 0, 0]);
    let left_alone: Vec<_> = report.iter().map(|table| table.left_alone).collect();
    assert_eq!(left_alone, [1, 0, 1, 2, 0, 0, 0, 0, 0]);
    Ok(())
}

fn tasks_of_the_destination_alone_are_left_alone(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    for task in ["0", "m", "zz"] {
        let task = save_task(&destination, task)?;
        destination.save_session(&task, &binding(BackendType::Codex, "1", None)?)?;
        destination.save_message(&task, Role::User, "mine")?;
    }
    let theirs = read_all(&destination)?;
    fill(&source)?;
    let report = copy_all(&source, &destination)?;
    let left_alone: Vec<_> = report.iter().map(|table| table.left_alone).collect();
    assert_eq!(left_alone, [3, 0, 3, 3, 3, 0, 0, 0, 0]);
    for (id, task) in theirs {
        assert_eq!(read_all(&destination)?.get(&id), Some(&task));
    }
    Ok(())
}

/// No row counts as copied that the destination did not take.
fn a_row_that_is_left_out_is_told(from: &Place, to: &Place) -> anyhow::Result<()> {
    let source = from.open()?;
    fill(&source)?;
    let copied = |event, table| {
        let to = to.another()?;
        let destination = to.open()?;
        copy_all(&source, &destination)?;
        anyhow::Ok((event, table, to, destination))
    };
    let empty = |table| {
        let to = to.another()?;
        let destination = to.open()?;
        anyhow::Ok(("INSERT", table, to, destination))
    };
    let cases = [
        empty("tasks")?,
        empty("task_dependencies")?,
        empty("session_revisions")?,
        empty("sessions")?,
        empty("conversation_history")?,
        copied("UPDATE", "tasks")?,
        copied("DELETE", "task_dependencies")?,
        copied("UPDATE", "session_revisions")?,
        copied("DELETE", "sessions")?,
    ];
    grow(&source)?;
    for (event, table, to, destination) in cases {
        to.leave_out(event, table)?;
        let told = copy(&source, &destination, |_| ());
        let error = told.unwrap_err();
        assert!(
            matches!(error.store_kind(), Some(ErrorKind::SchemaAltered { .. })),
            "{event} {table}: {error:?}"
        );
    }
    Ok(())
}
