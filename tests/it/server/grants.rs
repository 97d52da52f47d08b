//! The privileges that a role needs. The statements stand in docs/postgresql.md.

use std::time::Duration;

use turnkeep_admin::{Prune, copy};
use turnkeep_repo::{
    BackendType, ErrorKind, MessageKey, NewMessage, NewTask, Repo, RepoBuilder, Role, StatusUpdate,
    TaskId, WorkerId,
};
use turnkeep_test_postgres::{Database, Server};

use crate::support::{binding, contents, place, save_task};

const DOCUMENTATION: &str = include_str!("../../../docs/postgresql.md");

/// Returns the statements that stand under a heading.
fn statements(heading: &str) -> &'static str {
    let (_, section) = DOCUMENTATION
        .split_once(&format!("\n### {heading}\n"))
        .expect("the heading");
    let (_, block) = section.split_once("```sql\n").expect("a block");
    block.split_once("```").expect("its end").0
}

/// A store that is administered as the documentation says, and one of the roles it names.
fn store_and_role(heading: &str) -> anyhow::Result<(Server, Database, Repo)> {
    let server = Server::start(&[])?;
    let database = server.database()?;
    database.psql(statements("Administering"))?;
    let admin = builder(&database, "turnkeep_admin").open()?;
    database.psql(statements(heading))?;
    Ok((server, database, admin))
}

fn builder(database: &Database, role: &str) -> RepoBuilder {
    let url = database.url().replacen("postgres@", &format!("{role}@"), 1);
    Repo::builder(format!("{url}?options=-csearch_path%3Dturnkeep"))
}

fn open_as(database: &Database, role: &str) -> anyhow::Result<Repo> {
    let error = builder(database, role).open().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::UntrustedOwner { .. }),
        "{error:?}"
    );
    Ok(builder(database, role).owner("turnkeep_admin").open()?)
}

#[track_caller]
fn is_denied<T: std::fmt::Debug>(result: turnkeep_repo::Result<T>) {
    let error = result.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Denied), "{error:?}");
    assert!(!error.is_retryable());
}

/// Everything that neither a reader nor an appender may do.
fn only_appends(repo: &Repo, task: &TaskId) -> anyhow::Result<()> {
    let binding = binding(BackendType::Codex, "other", None)?;
    is_denied(repo.save_task(&NewTask::new("new".parse()?, "New")));
    is_denied(repo.save_task(&NewTask::new(task.clone(), "Other")));
    is_denied(repo.save_session(task, &binding));
    is_denied(repo.retire_session(task, &"s".parse()?, "over"));
    is_denied(repo.update_task_status(task, StatusUpdate::completed("done")));
    is_denied(repo.claim_ready(&WorkerId::new("w")?, 1, Duration::from_secs(60)));
    is_denied(repo.save_recording(task, &"a".parse()?, 0, b"x"));
    is_denied(repo.delete_recordings(task));
    is_denied(repo.delete_task(task));
    Ok(())
}

#[test]
fn a_reader_reads_all_and_writes_nothing() -> anyhow::Result<()> {
    let (_server, database, admin) = store_and_role("Reading")?;
    let task = save_task(&admin, "t")?;
    admin.save_message(&task, Role::User, "x")?;
    admin.save_session(&task, &binding(BackendType::Codex, "s", None)?)?;
    let viewer = builder(&database, "turnkeep_reader").owner("turnkeep_admin");
    let viewer = viewer.read_only().open()?;
    assert_eq!(contents(&viewer, &task)?, ["x"]);
    assert_eq!(viewer.wait_for_turns(&task, None, Duration::MAX)?.len(), 1);
    let refused = viewer.save_message(&task, Role::User, "y").unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::ReadOnly), "{refused:?}");
    let repo = open_as(&database, "turnkeep_reader")?;
    only_appends(&repo, &task)?;
    is_denied(repo.save_message(&task, Role::User, "y"));
    is_denied(repo.save_messages_after(&task, place(1), &[NewMessage::new(Role::User, "y")]));

    assert_eq!(repo.get_tasks()?, admin.get_tasks()?);
    assert_eq!(repo.ready_tasks()?, [repo.get_task(&task)?]);
    assert_eq!(contents(&repo, &task)?, ["x"]);
    assert_eq!(repo.get_session(&task)?.session_id.as_str(), "s");
    assert_eq!(repo.list_session_revisions(&task)?.len(), 1);
    assert!(turnkeep_admin::check(&repo)?.is_ok());
    assert_eq!(turnkeep_admin::usage(&repo)?.largest.len(), 1);
    let mut exports = [Vec::new(), Vec::new()];
    for (repo, lines) in [&repo, &admin].into_iter().zip(&mut exports) {
        turnkeep_admin::export_jsonl(repo, lines, |_| ())?;
    }
    assert_eq!(exports[0], exports[1]);
    Ok(())
}

#[test]
fn an_appender_reads_all_and_appends() -> anyhow::Result<()> {
    let (_server, database, admin) = store_and_role("Appending")?;
    let task = save_task(&admin, "t")?;
    admin.save_session(&task, &binding(BackendType::Codex, "s", None)?)?;
    let repo = open_as(&database, "turnkeep_appender")?;
    only_appends(&repo, &task)?;
    assert_eq!(repo.save_message(&task, Role::User, "x")?, 1);
    let keyed = [NewMessage::new(Role::User, "y").key(MessageKey::new("k")?)];
    assert_eq!(repo.save_messages(&task, &keyed)?, [2]);
    assert_eq!(repo.save_messages(&task, &keyed)?, [2]);
    assert_eq!(
        repo.save_messages_after(&task, place(2), &[NewMessage::new(Role::User, "z")])?,
        [3]
    );
    is_denied(repo.hide_after(&task, None));
    assert_eq!(contents(&repo, &task)?, ["x", "y", "z"]);
    assert!(turnkeep_admin::check(&repo)?.is_ok());
    Ok(())
}

#[test]
fn an_orchestrator_does_all_but_migrate() -> anyhow::Result<()> {
    let (_server, database, admin) = store_and_role("Working")?;
    let repo = open_as(&database, "turnkeep_worker")?;
    let task = save_task(&repo, "t")?;
    let mut next = NewTask::new("next".parse()?, "Next");
    next.depends_on = vec![task.clone()];
    repo.save_task(&next)?;
    let worker = WorkerId::new("w")?;
    let claims = repo.claim_ready(&worker, 2, Duration::from_secs(60))?;
    assert_eq!(claims.len(), 1);
    let claimed = &claims[0];
    claimed.save_message(Role::User, "x")?;
    claimed.save_message(Role::Assistant, "hidden")?;
    assert_eq!(repo.hide_after(&task, place(1))?, 1);
    claimed.renew(Duration::from_secs(60))?;
    // A new file, a line more, and two states of a rewritten one.
    for (offset, bytes) in [(0, "line"), (4, "line"), (4, "x"), (0, "y")] {
        claimed.save_recording(&"a".parse()?, offset, bytes.as_bytes())?;
    }
    assert_eq!(repo.get_recordings(&task)?.len(), 2);
    assert_eq!(repo.delete_recordings(&task)?, 1);
    claimed.save_recording(&"a".parse()?, 0, b"kept")?;
    for session in ["a", "b"] {
        repo.save_session(&task, &binding(BackendType::Codex, session, None)?)?;
    }
    assert!(repo.retire_session(&task, &"b".parse()?, "over")?);
    claimed.update_task_status(StatusUpdate::completed("done"))?;
    let memory = Repo::open_in_memory()?;
    copy(&repo, &memory, |_| ())?;
    assert!(repo.delete_task(&next.id)?);
    assert_eq!(
        turnkeep_admin::prune(&repo, &Prune::new().keep_bytes(0))?
            .tasks
            .len(),
        1
    );
    assert!(admin.get_tasks()?.is_empty());
    copy(&memory, &repo, |_| ())?;
    assert_eq!(contents(&admin, &task)?, ["x"]);
    assert!(turnkeep_admin::check(&repo)?.is_ok());

    database.psql(
        "DROP SCHEMA turnkeep CASCADE; CREATE SCHEMA turnkeep AUTHORIZATION turnkeep_admin; \
                   GRANT USAGE ON SCHEMA turnkeep TO turnkeep_worker",
    )?;
    is_denied(
        builder(&database, "turnkeep_worker")
            .owner("turnkeep_admin")
            .open(),
    );
    Ok(())
}
