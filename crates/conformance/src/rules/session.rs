//! The binding of a task to its agent session, and its revisions.

use std::sync::atomic::{AtomicI64, Ordering};

use turnkeep_repo::chrono::{DateTime, TimeDelta};
use turnkeep_repo::{BackendType, ErrorKind, Metadata, SessionId, SessionRevision, TaskId};

use crate::scene::{binding, open_with_task, save_task};
use crate::{Harness, Options, Store};

/// A binding reads back as it was saved, after a restart too.
pub fn save_and_get_session<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let saved = repo.save_session(
        &task,
        &binding(BackendType::Claude, "id-1", Some("/srv/a b"))?,
    )?;
    assert_eq!(saved.task_id, task);
    assert_eq!(saved.backend_type, BackendType::Claude);
    assert_eq!(saved.session_id.as_str(), "id-1");
    assert_eq!(
        saved.working_dir.as_ref().map(AsRef::as_ref),
        Some("/srv/a b")
    );
    assert_eq!(saved.created_at, saved.updated_at);
    drop(repo);
    let repo = store.open()?;
    assert_eq!(
        repo.get_session(&task)?,
        saved,
        "read as one value, after a restart"
    );
    assert_eq!(repo.find_session(&task)?, Some(saved.clone()));
    assert_eq!(repo.list_sessions()?, [saved]);
    Ok(())
}

/// A task has one current binding. Every different binding adds a revision; saving the same one
/// again changes nothing.
pub fn save_session_upsert<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let first = repo.save_session(&task, &binding(BackendType::Claude, "a", Some("/x"))?)?;
    let same = repo.save_session(&task, &binding(BackendType::Claude, "a", Some("/x"))?)?;
    assert_eq!(same, first, "nothing changed, no time either");
    assert_eq!(repo.list_session_revisions(&task)?.len(), 1);

    // A change of any field makes a new revision.
    repo.save_session(&task, &binding(BackendType::Claude, "b", Some("/x"))?)?;
    repo.save_session(&task, &binding(BackendType::Codex, "b", Some("/x"))?)?;
    repo.save_session(&task, &binding(BackendType::Codex, "b", None)?)?;
    let mut binding = binding(BackendType::Codex, "b", Some("/y"))?;
    repo.save_session(&task, &binding)?;
    binding.config_dir = Some("/x".parse()?);
    repo.save_session(&task, &binding)?;
    binding.metadata = Some("{}".parse()?);
    repo.save_session(&task, &binding)?;
    binding.metadata = Some("{ }".parse()?);
    repo.save_session(&task, &binding)?;
    binding.config_dir = None;
    let last = repo.save_session(&task, &binding)?;
    assert_eq!(repo.save_session(&task, &binding)?, last);
    assert_eq!(last.created_at, first.created_at);
    assert_eq!(repo.list_sessions()?, [last], "one current binding a task");

    let revisions = repo.list_session_revisions(&task)?;
    let seen: Vec<_> = revisions
        .iter()
        .map(|r| {
            (
                r.revision.get(),
                r.backend_type.as_str(),
                r.session_id.as_str(),
                r.working_dir.as_ref().map(AsRef::as_ref),
                r.config_dir.as_ref().map(AsRef::as_ref),
                r.metadata.as_ref().map(Metadata::as_str),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, "claude", "a", Some("/x"), None, None),
            (2, "claude", "b", Some("/x"), None, None),
            (3, "codex", "b", Some("/x"), None, None),
            (4, "codex", "b", None, None, None),
            (5, "codex", "b", Some("/y"), None, None),
            (6, "codex", "b", Some("/y"), Some("/x"), None),
            (7, "codex", "b", Some("/y"), Some("/x"), Some("{}")),
            (8, "codex", "b", Some("/y"), Some("/x"), Some("{ }")),
            (9, "codex", "b", Some("/y"), None, Some("{ }")),
        ]
    );
    let (current, replaced) = revisions.split_last().unwrap();
    assert_eq!(
        (current.retired_at, current.retired_reason.as_deref()),
        (None, None)
    );
    for (revision, next) in replaced.iter().zip(&revisions[1..]) {
        assert_eq!(
            revision.retired_reason.as_deref(),
            Some(SessionRevision::REPLACED)
        );
        assert_eq!(revision.retired_at, Some(next.saved_at));
    }
    Ok(())
}

/// Both folders and metadata read back byte for byte, after a restart too, also as a revision that was retired.
/// No debug output shows metadata.
pub fn a_binding_keeps_its_folders_and_metadata<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let (empty, other) = (save_task(&repo, "empty")?, save_task(&repo, "other")?);
    let json = r#" {"z" : 1.0e5,	"a":[ -0, {"a":"secret \\u0000 é"} ]} "#;
    let most = format!("{{\"k\":\"{}\"}}", "é".repeat(Metadata::MAX_BYTES / 2 - 4));
    assert_eq!(most.len(), Metadata::MAX_BYTES);
    let config = format!("/c{}", "é".repeat(2_047));
    let plain = binding(BackendType::Goose, "s", None)?;
    let new = plain
        .clone()
        .config_dir(config.parse()?)
        .metadata(json.parse()?);
    let saved = repo.save_session(&task, &new)?;
    assert_eq!(saved.metadata.as_ref().map(Metadata::as_str), Some(json));
    repo.save_session(&other, &plain.clone().metadata(most.parse()?))?;
    let without = repo.save_session(&empty, &plain)?;
    assert_eq!((without.config_dir, without.metadata), (None, None));
    drop(repo);

    let repo = store.open()?;
    let read = repo.get_session(&task)?;
    assert_eq!(read, saved);
    assert_eq!(read.config_dir.as_ref().map(AsRef::as_ref), Some(&*config));
    assert_eq!(
        repo.get_session_for_backend(&task, &BackendType::Goose)?,
        saved
    );
    let listed = repo.list_sessions()?;
    let metadata: Vec<_> = listed
        .iter()
        .map(|it| it.metadata.as_ref().map(Metadata::as_str))
        .collect();
    assert_eq!(metadata, [None, Some(&*most), Some(json)]);

    repo.retire_session(&task, &new.session_id, "dead")?;
    let revision = &repo.list_session_revisions(&task)?[0];
    assert_eq!(revision.metadata, new.metadata);
    assert_eq!(revision.config_dir, new.config_dir);
    let shown = format!("{read:?} {new:?} {revision:?}");
    assert!(!shown.contains("secret"), "{shown}");
    Ok(())
}

/// `get_session` fails with `SessionNotFound` for a task without a binding and for an unknown task.
pub fn get_session_not_found<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for task in [&task, &TaskId::new("none")?] {
        let error = repo.get_session(task).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("get_session: task `{task}` is bound to no session")
        );
        assert!(matches!(error.kind(), ErrorKind::SessionNotFound));
        assert_eq!(repo.find_session(task)?, None);
    }
    Ok(())
}

/// `save_session` fails with `TaskNotFound` for an unknown task.
pub fn session_for_an_unknown_task_is_refused<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let task = TaskId::new("none")?;
    let error = repo
        .save_session(&task, &binding(BackendType::Goose, "s", None)?)
        .unwrap_err();
    assert_eq!(error.to_string(), "save_session: there is no task `none`");
    assert!(matches!(error.kind(), ErrorKind::TaskNotFound));
    assert_eq!(repo.find_session(&task)?, None);
    assert!(repo.list_session_revisions(&task)?.is_empty());
    Ok(())
}

/// A backend may have any name and keeps its exact spelling.
pub fn session_backend_types<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    for backend in ["claude", "codex", "goose", "gemini-cli", "Claude", "名前"] {
        let (repo, task) = open_with_task(&store, backend)?;
        repo.save_session(&task, &binding(backend.parse()?, "s", None)?)?;
        drop(repo);
        let stored = store.open()?.get_session(&task)?.backend_type;
        assert_eq!(stored, backend.parse()?);
        assert_eq!(stored.as_str(), backend);
    }
    Ok(())
}

/// `get_session_for_backend` refuses a session of another backend.
pub fn get_session_for_backend_checks_the_backend<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let refused = repo
        .get_session_for_backend(&task, &BackendType::Claude)
        .unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::SessionNotFound));
    let saved = repo.save_session(&task, &binding(BackendType::Goose, "s", None)?)?;
    assert_eq!(
        repo.get_session_for_backend(&task, &BackendType::Goose)?,
        saved
    );
    let refused = repo
        .get_session_for_backend(&task, &BackendType::Claude)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "get_session_for_backend: task `t` is bound to a session of goose, not of claude"
    );
    assert!(matches!(refused.kind(), ErrorKind::BackendMismatch { .. }));
    Ok(())
}

/// `retire_session` ends only the current binding, once, and records its reason.
pub fn retire_session_is_compare_and_set<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let (dead, live) = (SessionId::new("dead")?, SessionId::new("live")?);
    assert!(
        !repo.retire_session(&task, &dead, "gone")?,
        "there is none yet"
    );

    repo.save_session(&task, &binding(BackendType::Claude, "dead", None)?)?;
    let saved = repo.save_session(&task, &binding(BackendType::Claude, "live", None)?)?;
    assert!(
        !repo.retire_session(&task, &dead, "gone")?,
        "not the current one any more"
    );
    assert_eq!(repo.get_session(&task)?, saved);
    assert!(repo.list_session_revisions(&task)?[1].retired_at.is_none());

    assert!(repo.retire_session(&task, &live, "No conversation found")?);
    assert!(!repo.retire_session(&task, &live, "again")?);
    assert!(matches!(
        repo.get_session(&task).unwrap_err().kind(),
        ErrorKind::SessionNotFound
    ));
    let revisions = repo.list_session_revisions(&task)?;
    assert_eq!(revisions.len(), 2);
    assert_eq!(revisions[0].retired_reason.as_deref(), Some("replaced"));
    assert_eq!(
        revisions[1].retired_reason.as_deref(),
        Some("No conversation found")
    );
    assert!(revisions[1].retired_at.is_some());

    // A retired session can be bound again and gets a new revision.
    repo.save_session(&task, &binding(BackendType::Claude, "dead", None)?)?;
    let revisions = repo.list_session_revisions(&task)?;
    assert_eq!((revisions.len(), revisions[2].revision.get()), (3, 3));
    assert_eq!(
        revisions[1].retired_reason.as_deref(),
        Some("No conversation found")
    );
    Ok(())
}

/// `list_sessions` is ordered by the bytes of the task id, whatever the locale.
pub fn list_sessions_is_ordered_by_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for id in ["b", "é", "a", "_", "B", "a b", "Z", "z"] {
        let task = save_task(&repo, id)?;
        repo.save_session(&task, &binding(BackendType::Codex, id, None)?)?;
    }
    let listed: Vec<_> = repo
        .list_sessions()?
        .into_iter()
        .map(|s| s.task_id.to_string())
        .collect();
    assert_eq!(listed, ["B", "Z", "_", "a", "a b", "b", "z", "é"]);
    Ok(())
}

/// A session leads to the task that is bound to it, otherwise to the task that was bound to it last.
pub fn a_task_is_found_by_its_session<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let ticks = AtomicI64::new(0);
    let clock =
        move || DateTime::UNIX_EPOCH + TimeDelta::seconds(ticks.fetch_add(1, Ordering::Relaxed));
    let repo = store.open_with(Options::new().clock(clock))?;
    let (first, second) = (save_task(&repo, "z")?, save_task(&repo, "a")?);
    let find = |backend: BackendType, id: &str| {
        repo.find_task_by_session(&backend, &SessionId::new(id).unwrap())
    };
    let bind = |task: &TaskId, backend: BackendType, id: &str| {
        repo.save_session(task, &binding(backend, id, Some("/work")).unwrap())
    };
    bind(&first, BackendType::Claude, "s")?;
    assert_eq!(find(BackendType::Claude, "s")?.as_ref(), Some(&first));
    assert_eq!(find(BackendType::Codex, "s")?, None, "another agent's");
    assert_eq!(find(BackendType::Claude, "S")?, None, "another id");

    bind(&second, BackendType::Claude, "s")?;
    assert_eq!(
        find(BackendType::Claude, "s")?.as_ref(),
        Some(&second),
        "bound last"
    );
    let all =
        |id: &str| repo.list_tasks_by_session(&BackendType::Claude, &SessionId::new(id).unwrap());
    assert_eq!(all("s")?, [second.clone(), first.clone()]);
    bind(&second, BackendType::Claude, "other")?;
    assert_eq!(
        find(BackendType::Claude, "s")?.as_ref(),
        Some(&first),
        "still bound"
    );
    assert_eq!(all("s")?, [first.clone(), second.clone()]);
    assert_eq!(all("none")?, []);
    repo.retire_session(&first, &SessionId::new("s")?, "ended")?;
    assert_eq!(
        find(BackendType::Claude, "s")?.as_ref(),
        Some(&second),
        "bound last"
    );
    repo.delete_task(&second)?;
    assert_eq!(find(BackendType::Claude, "s")?.as_ref(), Some(&first));
    assert_eq!(find(BackendType::Claude, "other")?, None);
    Ok(())
}
