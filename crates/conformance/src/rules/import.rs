//! What imports have read, and sessions that they leave out.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use turnkeep_repo::{
    BackendType, ErrorKind, HostName, ImportedFile, NewTask, Result, Role, SessionId, TaskId,
    TaskQuery, TaskStatus, TaskSummary, WorkerId,
};

use crate::scene::{binding, open_with_task, save_task};
use crate::{Harness, Store};

const CLAUDE: BackendType = BackendType::Claude;

fn bind(repo: &impl Store, task: &TaskId, session: &str) -> anyhow::Result<()> {
    repo.save_session(task, &binding(CLAUDE, session, None)?)?;
    Ok(())
}

fn is_removed(repo: &impl Store, session: &str) -> anyhow::Result<bool> {
    Ok(repo.is_session_removed(&CLAUDE, &SessionId::new(session)?)?)
}

/// Saves a file of a session, or of several, on a host.
fn save_file(repo: &impl Store, path: &str, session: Option<&str>) -> anyhow::Result<ImportedFile> {
    let mut file = ImportedFile::new(HostName::new("laptop")?, path, CLAUDE);
    file.session_id = session.map(SessionId::new).transpose()?;
    repo.save_imported_file(&file)?;
    Ok(file)
}

fn paths(repo: &impl Store) -> anyhow::Result<Vec<String>> {
    let files = repo.list_imported_files(&HostName::new("laptop")?)?;
    let paths = files.into_iter().map(|it| String::from_utf8(it.path));
    Ok(paths.collect::<Result<_, _>>()?)
}

/// The task is gone as a deleted one is. Each session that it was bound to is on record, until the removal is
/// lifted.
pub fn a_removed_task_leaves_its_sessions_on_record<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = save_task(&repo, "other")?;
    bind(&repo, &task, "first")?;
    bind(&repo, &task, "second")?;
    bind(&repo, &task, "first")?;
    bind(&repo, &other, "another")?;
    repo.save_message(&task, Role::User, "words")?;
    assert!(!repo.remove_task(&TaskId::new("unknown")?)?);
    assert!(repo.list_removed_sessions()?.is_empty());

    assert!(repo.remove_task(&task)?);
    assert!(!repo.remove_task(&task)?, "gone already");
    let error = repo.get_task(&task).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TaskNotFound), "{error}");
    assert_eq!(repo.count_history(&task)?, 0);
    assert!(repo.list_session_revisions(&task)?.is_empty());
    let removed = repo.list_removed_sessions()?;
    let ids: Vec<_> = removed.iter().map(|it| it.session_id.as_str()).collect();
    assert_eq!(ids, ["first", "second"]);
    assert!(
        removed
            .iter()
            .all(|it| it.task_id == task && it.backend_type == CLAUDE)
    );
    assert!(is_removed(&repo, "first")? && is_removed(&repo, "second")?);
    assert!(!is_removed(&repo, "another")?);
    let of_codex = repo.is_session_removed(&BackendType::Codex, &removed[0].session_id)?;
    assert!(!of_codex, "the agent is part of a session's identity");

    // A session that another task has is in use.
    let [a, b] = [save_task(&repo, "a")?, save_task(&repo, "b")?];
    bind(&repo, &a, "shared")?;
    bind(&repo, &b, "shared")?;
    repo.remove_task(&a)?;
    assert!(!is_removed(&repo, "shared")?);
    repo.remove_task(&b)?;
    assert!(is_removed(&repo, "shared")?);
    assert_eq!(repo.lift_removal(&b)?, 1);

    // A later removal of the same session takes it over.
    let again = save_task(&repo, "again")?;
    bind(&repo, &again, "second")?;
    repo.remove_task(&again)?;
    assert_eq!(repo.lift_removal(&task)?, 1);
    assert_eq!(repo.lift_removal(&task)?, 0);
    assert!(!is_removed(&repo, "first")? && is_removed(&repo, "second")?);

    repo.delete_task(&other)?;
    assert!(!is_removed(&repo, "another")?, "a deletion is no removal");
    drop(repo);
    let repo = store.open()?;
    assert_eq!(repo.list_removed_sessions()?.len(), 1);
    store.check()
}

/// A session that is bound to a task is in use again.
pub fn a_new_binding_ends_a_removal<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    bind(&repo, &task, "first")?;
    bind(&repo, &task, "second")?;
    repo.remove_task(&task)?;
    let task = save_task(&repo, "t")?;
    repo.save_session(&task, &binding(BackendType::Codex, "first", None)?)?;
    assert!(is_removed(&repo, "first")?, "another agent's session");
    bind(&repo, &task, "first")?;
    assert!(!is_removed(&repo, "first")? && is_removed(&repo, "second")?);
    let binding = binding(CLAUDE, "second", None)?;
    repo.transaction(move |tx| tx.save_session(&task, &binding))?;
    assert!(repo.list_removed_sessions()?.is_empty());
    store.check()
}

/// Nothing of a removal stays when its transaction fails.
pub fn a_removal_in_a_transaction_is_undone_with_it<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    bind(&repo, &task, "first")?;
    let removed = task.clone();
    let undone: anyhow::Result<()> = repo.transaction(move |tx| {
        anyhow::ensure!(tx.remove_task(&removed)?);
        anyhow::ensure!(tx.is_session_removed(&CLAUDE, &SessionId::new("first")?)?);
        anyhow::ensure!(tx.list_removed_sessions()?.len() == 1);
        anyhow::bail!("undone")
    });
    assert_eq!(undone.unwrap_err().to_string(), "undone");
    assert!(!is_removed(&repo, "first")?);
    assert_eq!(repo.get_session(&task)?.session_id.as_str(), "first");
    Ok(())
}

/// `remove_unchanged` keeps a task that differs from its summary, and removes another as `remove_task` does.
pub fn remove_unchanged_keeps_changed_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let names = [
        "goes", "said", "ended", "claimed", "rebound", "moved", "renamed", "anew", "deleted",
    ];
    let ids = names.map(|name| save_task(&repo, name).unwrap());
    for id in &ids {
        bind(&repo, id, id.as_str())?;
    }
    let listed = repo.list_tasks(&TaskQuery::new())?.tasks;
    assert_eq!(listed.len(), names.len());

    let [
        _,
        said,
        ended,
        claimed,
        rebound,
        moved,
        renamed,
        anew,
        deleted,
    ] = &ids;
    repo.save_message(said, Role::User, "One more thing.")?;
    repo.update_task_status(ended, TaskStatus::Completed)?;
    let claim = repo.claim(claimed, &WorkerId::new("w")?, Duration::from_secs(60))?;
    assert!(claim.is_some());
    bind(&repo, rebound, "other")?;
    repo.save_session(moved, &binding(CLAUDE, "moved", Some("/srv"))?)?;
    repo.save_task(&NewTask::new(renamed.clone(), "Another name"))?;
    repo.delete_task(anew)?;
    bind(&repo, &save_task(&repo, "anew")?, "anew")?;
    repo.delete_task(deleted)?;

    let mut removed = Vec::new();
    for task in &listed {
        if turnkeep_admin::remove_unchanged(repo.repo(), task)? {
            removed.push(task.id.as_str());
        }
    }
    assert_eq!(removed, ["goes"]);
    assert_eq!(repo.get_tasks()?.len(), names.len() - 2);
    let sessions = repo.list_removed_sessions()?;
    let sessions: Vec<_> = sessions.iter().map(|it| it.session_id.as_str()).collect();
    assert_eq!(sessions, ["goes"]);
    store.check()
}

/// Of a turn and a removal at the same time, one finds the other: no acknowledged turn goes with its task.
pub fn an_acknowledged_turn_keeps_its_listed_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, other) = (store.open()?, store.open()?);
    for number in 0..100 {
        save_task(&repo, &format!("{number:03}"))?;
    }
    let listed = repo.list_tasks(&TaskQuery::new())?.tasks;
    let both = Barrier::new(2);
    // The results are looked at later: a thread that panics would leave the other one waiting.
    let (removed, said) = thread::scope(|scope| {
        let removing = scope.spawn(|| {
            let remove = |task| {
                both.wait();
                turnkeep_admin::remove_unchanged(other.repo(), task)
            };
            listed.iter().map(remove).collect::<Vec<_>>()
        });
        let say = |task: &TaskSummary| {
            both.wait();
            repo.save_message(&task.id, Role::User, "One more thing.")
        };
        let said: Vec<_> = listed.iter().map(say).collect();
        (removing.join().unwrap(), said)
    });
    for ((task, removed), said) in listed.iter().zip(removed).zip(said) {
        let is_stored = match said {
            Err(error) if *error.kind() == ErrorKind::TaskNotFound => false,
            said => said.map(|_| true)?,
        };
        assert_ne!(is_stored, removed?, "{}", task.id);
        assert_eq!(repo.count_history(&task.id)?, i64::from(is_stored));
    }
    store.check()
}

/// A path names a file of a host. A value that does not fit is refused.
pub fn imported_files_are_replaced_by_their_path<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let (laptop, server) = (HostName::new("laptop")?, HostName::new("server")?);
    let mut file = ImportedFile::new(laptop.clone(), *b"/home/\xff\0.jsonl", CLAUDE);
    file.session_id = Some(SessionId::new("first")?);
    repo.save_imported_file(&file)?;
    (file.size, file.settled, file.kept, file.reader) = (4_711, 4_000, 4_500, 2);
    (file.modified_ns, file.inode) = (-1, "8:1".into());
    repo.save_imported_file(&file)?;
    assert_eq!(repo.list_imported_files(&laptop)?, [file.clone()]);
    file.session_id = None;
    let replaced = file.clone();
    repo.transaction(move |tx| {
        tx.save_imported_file(&replaced)?;
        let stored = tx.list_imported_files(&replaced.host)?;
        assert_eq!(stored, [replaced]);
        Ok::<_, turnkeep_repo::Error>(())
    })?;
    let before = ImportedFile::new(laptop.clone(), "/home/a.jsonl", BackendType::Codex);
    repo.save_imported_file(&before)?;
    assert_eq!(
        repo.list_imported_files(&laptop)?,
        [before.clone(), file.clone()]
    );
    assert!(repo.list_imported_files(&server)?.is_empty());

    let refused: [fn(&mut ImportedFile); 8] = [
        |it| it.path.clear(),
        |it| it.path = vec![b'a'; 2_049],
        |it| it.inode = "i".repeat(65),
        |it| it.inode = "\0".into(),
        |it| it.settled = it.size + 1,
        |it| it.kept = it.size + 1,
        |it| (it.size, it.settled) = (-1, -1),
        |it| it.reader = 1 << 53,
    ];
    for spoil in refused {
        let mut spoiled = file.clone();
        spoil(&mut spoiled);
        let error = repo.save_imported_file(&spoiled).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput { .. }),
            "{error}"
        );
        assert_eq!(error.operation(), "save_imported_file");
    }
    assert_eq!(repo.list_imported_files(&laptop)?, [before, file]);
    Ok(())
}

/// Files that the next import must read again are not known any more.
pub fn a_changed_session_forgets_its_files<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    bind(&repo, &task, "first")?;
    bind(&repo, &task, "second")?;
    for session in ["first", "second", "other"] {
        save_file(&repo, session, Some(session))?;
    }
    let several = save_file(&repo, "several", None)?;
    let mut of_goose = ImportedFile::new(several.host, "goose", BackendType::Goose);
    repo.save_imported_file(&of_goose)?;
    of_goose.path = b"goose-first".to_vec();
    of_goose.session_id = Some(SessionId::new("first")?);
    repo.save_imported_file(&of_goose)?;
    repo.delete_task(&task)?;
    assert_eq!(paths(&repo)?, ["goose", "goose-first", "other"]);

    let task = save_task(&repo, "t")?;
    bind(&repo, &task, "first")?;
    repo.remove_task(&task)?;
    save_file(&repo, "first", Some("first"))?;
    repo.lift_removal(&task)?;
    assert_eq!(paths(&repo)?, ["goose", "goose-first", "other"]);

    let task = save_task(&repo, "t")?;
    bind(&repo, &task, "first")?;
    repo.remove_task(&task)?;
    save_file(&repo, "first", Some("first"))?;
    let task = save_task(&repo, "t")?;
    bind(&repo, &task, "first")?;
    assert_eq!(paths(&repo)?, ["goose", "goose-first", "other"]);

    // What was kept is kept again.
    bind(&repo, &task, "second")?;
    for session in ["first", "second"] {
        save_file(&repo, session, Some(session))?;
    }
    save_file(&repo, "several", None)?;
    let dropped = task.clone();
    let undone: anyhow::Result<()> = repo.transaction(move |tx| {
        tx.delete_recordings(&dropped)?;
        anyhow::bail!("undone")
    });
    undone.unwrap_err();
    assert_eq!(paths(&repo)?.len(), 6);
    repo.delete_recordings(&task)?;
    assert_eq!(paths(&repo)?, ["goose", "goose-first", "other"]);
    store.check()
}
