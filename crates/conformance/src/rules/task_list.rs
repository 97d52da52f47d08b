//! Lists of tasks: order, pages and conditions.

use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, ErrorKind, Metadata, NewMessage, NewTask, Role, TaskId, TaskOrder, TaskQuery,
    TaskStatus, WorkingDir,
};

use crate::scene::{binding, save_task};
use crate::{Harness, Options, Store};

fn id(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

fn list(repo: &impl Store, query: &TaskQuery) -> turnkeep_repo::Result<Vec<String>> {
    let mut query = query.clone();
    let mut ids = Vec::new();
    loop {
        let page = repo.list_tasks(&query)?;
        ids.extend(page.tasks.into_iter().map(|task| task.id.to_string()));
        match page.next {
            Some(next) => query = query.after(next),
            None => return Ok(ids),
        }
    }
}

/// Pages have no gap and no task twice, also among tasks of one time and of several statuses.
pub fn list_tasks_in_pages<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let query = by_creation();
    assert!(store.open()?.list_tasks(&query)?.tasks.is_empty());
    for (second, tasks) in [(30, ["late", "Late"]), (10, ["x", "y"]), (20, ["b", "a"])] {
        let time = DateTime::from_timestamp(second, 0).unwrap();
        let repo = store.open_with(Options::new().clock(move || time))?;
        let [one, other] = tasks.map(|task| NewTask::new(id(task), "T"));
        repo.save_tasks(&[one, other.status(TaskStatus::Failed)])?;
    }
    let repo = store.open()?;
    let mut by_creation = ["x", "y", "a", "b", "Late", "late"];
    let by_id = ["Late", "a", "b", "late", "x", "y"];
    for limit in [1, 2, 3, 5, 6, 7, 5_000] {
        assert_eq!(
            list(&repo, &query.clone().limit(limit))?,
            by_creation,
            "{limit}"
        );
        let query = query.clone().limit(limit).order(TaskOrder::Id);
        assert_eq!(list(&repo, &query)?, by_id, "{limit}");
    }
    let failed = query.clone().statuses([TaskStatus::Failed]).limit(1);
    assert_eq!(list(&repo, &failed)?, ["y", "a", "Late"]);
    assert_eq!(
        list(&repo, &failed.order(TaskOrder::Id))?,
        ["Late", "a", "y"]
    );
    by_creation.reverse();
    for limit in [1, 2, 3, 5, 6, 7, 5_000] {
        assert_eq!(
            list(&repo, &TaskQuery::new().limit(limit))?,
            by_creation,
            "{limit}"
        );
    }
    let page = repo.list_tasks(&query.clone().limit(6))?;
    assert!(page.next.is_none(), "no more");
    assert!(repo.list_tasks(&query.clone().limit(0))?.tasks.is_empty());

    // A task that was deleted meanwhile is no gap.
    let page = repo.list_tasks(&query.clone().limit(3))?;
    repo.delete_task(&id("a"))?;
    assert_eq!(
        list(&repo, &query.after(page.next.unwrap()))?,
        ["b", "Late", "late"]
    );
    Ok(())
}

fn by_creation() -> TaskQuery {
    TaskQuery::new().order(TaskOrder::Created)
}

/// A turn and a change of the status move a task to the front. A page that follows does not repeat the tasks
/// before it.
pub fn list_tasks_by_last_activity<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    let repo_at = |second| store.open_with(Options::new().clock(move || at(second)));
    for (second, task) in [(100, "a"), (200, "b"), (300, "c"), (400, "d")] {
        save_task(&repo_at(second)?, task)?;
    }
    let repo = repo_at(500)?;
    let active = || list(&repo, &TaskQuery::new().limit(1));
    assert_eq!(active()?, ["d", "c", "b", "a"]);
    repo.save_message(&id("a"), Role::User, "x")?;
    assert_eq!(active()?, ["a", "d", "c", "b"]);
    repo_at(600)?.update_task_status(&id("b"), TaskStatus::Running)?;
    assert_eq!(active()?, ["b", "a", "d", "c"]);
    repo_at(700)?.save_message(&id("a"), Role::User, "a minute later")?;
    assert_eq!(active()?, ["a", "b", "d", "c"]);
    let old = NewMessage::new(Role::User, "imported").timestamp(at(50));
    repo_at(800)?.save_messages(&id("a"), &[old])?;
    repo_at(800)?.save_session(&id("c"), &binding(BackendType::Claude, "s", None)?)?;
    repo_at(800)?.save_task(&NewTask::new(id("d"), "Another name"))?;
    assert_eq!(active()?, ["a", "b", "d", "c"], "these are no activity");

    let page = repo.list_tasks(&TaskQuery::new().limit(2))?;
    repo_at(900)?.save_message(&id("b"), Role::User, "x")?;
    repo_at(900)?.save_message(&id("c"), Role::User, "x")?;
    let rest = TaskQuery::new().limit(2).after(page.next.unwrap());
    assert_eq!(list(&repo, &rest)?, ["d"], "c has moved to the front");
    let recent = TaskQuery::new().active_since(at(700));
    assert_eq!(list(&repo, &recent)?, ["c", "b", "a"]);
    Ok(())
}

/// Only a JSON string at a key at the top is found, whatever characters the key has.
pub fn list_tasks_by_metadata<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for (task, metadata) in [
        ("a", r#"{"pool": "gpu", "issue": "LOGIN-1"}"#),
        ("b", r#"{"pool": "gpu", "issue": "LOGIN-2"}"#),
        (
            "c",
            r#"{"pool": 1, "ready": true, "none": null, "in": {"pool": "gpu"}}"#,
        ),
        ("d", r#"{"$.pool": "gpu", "a\"b'c": "x\ny", "": "empty"}"#),
        ("e", r#"{"pool": "1", "list": ["gpu"]}"#),
    ] {
        let metadata = Metadata::new(metadata)?;
        repo.save_task(&NewTask::new(id(task), "T").metadata(metadata))?;
    }
    save_task(&repo, "f")?;
    let found = |key: &str, value: &str| list(&repo, &by_creation().metadata(key, value));
    assert_eq!(found("pool", "gpu")?, ["a", "b"]);
    assert_eq!(found("pool", "1")?, ["e"], "a number is no text");
    assert_eq!(found("$.pool", "gpu")?, ["d"]);
    assert_eq!(found("a\"b'c", "x\ny")?, ["d"]);
    assert_eq!(found("", "empty")?, ["d"]);
    for (key, value) in [
        ("pool", "GPU"),
        ("ready", "true"),
        ("none", "null"),
        ("none", ""),
        ("in", "gpu"),
        ("in.pool", "gpu"),
        ("list", "gpu"),
        ("0", "gpu"),
        ("pool", "gpu\0"),
        ("pool\0", "gpu"),
        ("' OR 1 = 1 --", "gpu"),
    ] {
        assert!(found(key, value)?.is_empty(), "{key:?}: {value:?}");
    }
    let both = by_creation()
        .metadata("pool", "gpu")
        .metadata("issue", "LOGIN-2");
    assert_eq!(list(&repo, &both)?, ["b"]);
    repo.update_task_status(&id("b"), TaskStatus::Running)?;
    let running = TaskQuery::new()
        .metadata("pool", "gpu")
        .statuses([TaskStatus::Running]);
    assert_eq!(list(&repo, &running)?, ["b"]);
    assert!(
        !format!("{running:?}").contains("gpu"),
        "as secret as contents"
    );
    Ok(())
}

/// Each condition leaves out the tasks that do not meet it.
pub fn list_tasks_that_meet_conditions<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let query = by_creation;
    let roles = [
        ("a", None),
        ("b", Some("coder")),
        ("c", Some("\0")),
        ("d", Some("coder")),
    ];
    for (task, role) in roles {
        let mut task = NewTask::new(id(task), "T");
        task.agent_role = role.map(Into::into);
        repo.save_task(&task)?;
    }
    let sessions = [
        ("a", BackendType::Claude, Some("/x")),
        ("b", BackendType::Codex, Some("/x")),
    ];
    for (task, backend, dir) in sessions {
        repo.save_session(&id(task), &binding(backend, "s", dir)?)?;
    }
    repo.save_session(&id("c"), &binding(BackendType::Claude, "s", None)?)?;
    repo.update_task_status(&id("b"), TaskStatus::Running)?;
    repo.update_task_status(&id("d"), TaskStatus::Completed)?;

    let running = [TaskStatus::Running, TaskStatus::Running];
    assert_eq!(list(&repo, &query().statuses(running))?, ["b"]);
    let ended = TaskStatus::ENDED.iter().copied();
    assert_eq!(list(&repo, &query().statuses(ended))?, ["d"]);
    assert!(list(&repo, &query().statuses([]))?.is_empty());
    assert_eq!(list(&repo, &query().agent_role("coder"))?, ["b", "d"]);
    assert_eq!(list(&repo, &query().agent_role("\0"))?, ["c"]);
    assert!(list(&repo, &query().agent_role(""))?.is_empty());
    assert_eq!(
        list(&repo, &query().backend(BackendType::Claude))?,
        ["a", "c"]
    );
    let in_folder = query().working_dir(WorkingDir::new("/x")?);
    assert_eq!(list(&repo, &in_folder)?, ["a", "b"]);
    assert_eq!(
        list(&repo, &in_folder.backend(BackendType::Codex).limit(1))?,
        ["b"]
    );
    let never = query().active_since(DateTime::<Utc>::MAX_UTC);
    let error = repo.list_tasks(&never).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
    Ok(())
}

/// A folder has those below it, whatever characters its name has, and no others.
pub fn list_tasks_in_folders<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let long = format!("/a/{}", "long/".repeat(800));
    for (task, dir) in [
        ("a", "/a"),
        ("ab", "/a/b"),
        ("ab/", "/a/b/"),
        ("abc", "/a/b/c"),
        ("a!", "/a!"),
        ("a0", "/a0"),
        ("a\\", "/a\\b"),
        ("ax", "/ax"),
        ("long", &long),
        ("%", "/%"),
        ("%_", "/%/_"),
        ("upper", "/A/b"),
        ("root", "/"),
        ("dos", "C:\\work\\x"),
        ("mixed", "C:\\work/y"),
        ("dos2", "C:\\works"),
        ("relative", "a/b"),
        ("wide", "/日本/語"),
    ] {
        save_task(&repo, task)?;
        repo.save_session(&id(task), &binding(BackendType::Codex, task, Some(dir))?)?;
    }
    save_task(&repo, "unbound")?;
    save_task(&repo, "without")?;
    repo.save_session(&id("without"), &binding(BackendType::Codex, "s", None)?)?;
    let query = |folders: &[&str]| -> anyhow::Result<TaskQuery> {
        let folders = folders.iter().copied().map(WorkingDir::new);
        let folders = folders.collect::<Result<Vec<_>, _>>()?;
        Ok(TaskQuery::new().order(TaskOrder::Id).folders(folders))
    };
    let in_a = &["a", "ab", "ab/", "abc", "long"][..];
    for (folders, expected) in [
        (&["/a"][..], in_a),
        (&["/a/"], in_a),
        (&["/a//"], in_a),
        (&["/a", "/a/b"], in_a),
        (&["/a/b"], &["ab", "ab/", "abc"]),
        (&["/a/b/", "/ax"], &["ab", "ab/", "abc", "ax"]),
        (&["/a\\"], &[]),
        (&["/a\\b"], &["a\\"]),
        (&["/%"], &["%", "%_"]),
        (&["/%/%"], &[]),
        (&["/_"], &[]),
        (&["/b"], &[]),
        (&["C:\\work"], &["dos", "mixed"]),
        (&["C:\\work\\"], &["dos", "mixed"]),
        (&["C:\\"], &["dos", "dos2", "mixed"]),
        (&["a"], &["relative"]),
        (&["/日本"], &["wide"]),
        (&["/日"], &[]),
        (&[&long], &["long"]),
        (&[], &[]),
    ] {
        assert_eq!(list(&repo, &query(folders)?)?, expected, "{folders:?}");
        let pages = query(folders)?.limit(1);
        assert_eq!(list(&repo, &pages)?, expected, "{folders:?}");
    }
    let absolute = list(&repo, &query(&["/"])?)?;
    assert_eq!(absolute.len(), 14, "{absolute:?}");
    let both = query(&["/a"])?.working_dir(WorkingDir::new("/a/b")?);
    assert_eq!(list(&repo, &both)?, ["ab"]);
    let of_another = query(&["/a"])?.backend(BackendType::Claude);
    assert!(list(&repo, &of_another)?.is_empty());
    refuses_many(&repo, &query(&["/a"; 101])?);
    Ok(())
}

fn refuses_many(repo: &impl Store, query: &TaskQuery) {
    let error = repo.list_tasks(query).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
}

/// The id of a task or of its session may be known in part.
pub fn list_tasks_by_beginnings_of_ids<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let last = char::MAX.to_string();
    let longest = format!("z{}", "y".repeat(511));
    let ids = [
        "abc", "abd", "ab%", "Abc", "b", "login", "z", &longest, &last,
    ];
    for task in ids {
        save_task(&repo, task)?;
    }
    for (task, session) in [
        ("login", "abx"),
        ("b", "0old"),
        ("b", "0new"),
        ("abc", "abc"),
    ] {
        repo.save_session(&id(task), &binding(BackendType::Claude, session, None)?)?;
    }
    let query = |prefixes: &[&str]| {
        let query = TaskQuery::new().order(TaskOrder::Id);
        query.id_prefixes(prefixes.iter().copied())
    };
    for (prefixes, expected) in [
        (&["ab"][..], &["ab%", "abc", "abd", "login"][..]),
        (&["abc"], &["abc"]),
        (&["abx"], &["login"]),
        (&["ab%"], &["ab%"]),
        (&["A"], &["Abc"]),
        (&["0"], &["b"]),
        (&["0o"], &[]),
        (&["0n", "log", "log"], &["b", "login"]),
        (&["z"], &["z", &longest]),
        (&[&longest], &[&longest]),
        (&[&format!("{longest}z")], &[]),
        (&[&last], &[&last]),
        (&["\0"], &[]),
        (&["ab\0", "b"], &["b"]),
        (&[], &[]),
    ] {
        assert_eq!(list(&repo, &query(prefixes))?, expected, "{prefixes:?}");
        let pages = query(prefixes).limit(1);
        assert_eq!(list(&repo, &pages)?, expected, "{prefixes:?}");
    }
    assert_eq!(list(&repo, &query(&[""]))?.len(), ids.len());
    let page = repo.list_tasks(&query(&["abx"]))?;
    let session = page.tasks[0].session_id.as_ref();
    assert_eq!(session.map(AsRef::as_ref), Some("abx"));
    refuses_many(&repo, &query(&["a"; 101]));
    Ok(())
}

/// The last activity is the latest turn or the latest change of the status, also if the clock was set back.
pub fn a_summary_has_the_last_activity<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    let repo_at = |second| store.open_with(Options::new().clock(move || at(second)));
    let new = |task: &str| {
        NewTask::new(id(task), "T")
            .agent_role("coder")
            .prompt("Do it.")
    };
    repo_at(10)?.save_tasks(&[new("a"), new("b")])?;
    repo_at(20)?.save_message(&id("a"), Role::User, "one")?;
    repo_at(30)?.save_message(&id("a"), Role::User, "two")?;
    repo_at(25)?.save_session(&id("a"), &binding(BackendType::Claude, "s", Some("/x"))?)?;
    let repo = repo_at(40)?;
    let page = repo.list_tasks(&by_creation())?;
    let [a, b] = &page.tasks[..] else {
        panic!("{page:?}");
    };
    assert_eq!(
        (a.created_at, a.last_active_at, a.turns),
        (at(10), at(30), 2)
    );
    assert_eq!(
        (b.created_at, b.last_active_at, b.turns),
        (at(10), at(10), 0)
    );
    assert_eq!(
        (a.name.as_str(), a.agent_role.as_deref()),
        ("T", Some("coder"))
    );
    assert_eq!((a.status, &a.worker), (TaskStatus::Pending, &None));
    assert_eq!(a.backend_type, Some(BackendType::Claude));
    assert_eq!(a.working_dir, Some(WorkingDir::new("/x")?));
    assert_eq!((&b.backend_type, &b.working_dir), (&None, &None));

    let since = |second| list(&repo, &by_creation().active_since(at(second)));
    assert_eq!(since(10)?, ["a", "b"]);
    assert_eq!(since(30)?, ["a"]);
    assert!(since(31)?.is_empty());
    repo.update_task_status(&id("b"), TaskStatus::Running)?;
    assert_eq!(since(31)?, ["b"]);
    let b = repo.list_tasks(&by_creation())?.tasks.remove(1);
    assert_eq!((b.status, b.last_active_at), (TaskStatus::Running, at(40)));

    // Within a minute, where the sort key does not move.
    for (second, latest) in [(35, 35), (34, 35), (33, 35), (36, 36)] {
        repo_at(second)?.save_message(&id("a"), Role::User, "more")?;
        let a = repo.list_tasks(&by_creation())?.tasks.remove(0);
        assert_eq!(a.last_active_at, at(latest), "a turn at {second}");
        assert!(list(&repo, &by_creation().active_since(at(latest)))?.contains(&"a".into()));
        assert!(!list(&repo, &by_creation().active_since(at(latest + 1)))?.contains(&"a".into()));
    }
    repo_at(20)?.update_task_status(&id("b"), TaskStatus::Completed)?;
    let b = repo.list_tasks(&by_creation())?.tasks.remove(1);
    assert_eq!(b.last_active_at, at(40));
    Ok(())
}
