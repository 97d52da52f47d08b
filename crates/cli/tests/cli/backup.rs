use std::fs;

use turnkeep_repo::{NewTask, Repo, Role, TaskId};

use crate::support::{Sandbox, names};

fn task() -> TaskId {
    TaskId::new("t").unwrap()
}

fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let repo = sandbox.repo();
    repo.save_task(&NewTask::new(task(), "T")).unwrap();
    for _ in 0..200 {
        repo.save_message(&task(), Role::User, &"x".repeat(1_000))
            .unwrap();
    }
    sandbox
}

fn files(sandbox: &Sandbox) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_a_store() {
    let sandbox = filled();
    let line = sandbox.run(["backup", "--json", "backup.db"]).one();
    assert_eq!(names(&line), ["bytes", "path", "tasks", "turns"]);
    assert_eq!((&line["tasks"], &line["turns"]), (&1.into(), &200.into()));
    let path = sandbox.path("backup.db");
    assert_eq!(line["bytes"], fs::metadata(&path).unwrap().len());
    assert_eq!(
        line["path"],
        fs::canonicalize(&path).unwrap().to_str().unwrap()
    );
    assert_eq!(files(&sandbox), ["backup.db", "store.db"]);
    let error = sandbox.run(["backup", "backup.db"]).failed(4);
    assert!(error.contains("backup.db exists already"), "{error}");
    assert!(
        error.contains("\nhint: name a file that does not exist"),
        "{error}"
    );
    let text = sandbox.run(["backup", "another.db"]).ok();
    assert!(
        text.contains("another.db (tasks: 1, turns: 200, bytes: "),
        "{text}"
    );
    sandbox.run(["check", "--db", "another.db"]).ok();
    let backup = Repo::open(&path).unwrap();
    assert_eq!(
        backup.get_history(&task()).unwrap(),
        sandbox.repo().get_history(&task()).unwrap()
    );
}

#[test]
#[cfg(unix)]
fn a_backup_is_private_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = filled();
    for (umask, name) in [("000", "open.db"), ("777", "closed.db")] {
        sandbox.run_with_umask(umask, &["backup", name]).ok();
        let mode = fs::metadata(sandbox.path(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600, "{umask}");
    }
}

/// A file size limit stands for a full disk.
#[test]
#[cfg(unix)]
fn a_backup_that_does_not_fit_leaves_no_file() {
    use std::process::Command;

    let sandbox = filled();
    let turnkeep = sandbox.turnkeep(["backup", "backup.db"]);
    let output = Command::new("sh")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"")
        .arg(turnkeep.get_program())
        .args(turnkeep.get_args())
        .current_dir(sandbox.path(""))
        .env("TURNKEEP_DB", sandbox.db())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: backup: no space left"), "{error}");
    assert!(
        error.contains("\nhint: make room on the disk, or have the limit"),
        "{error}"
    );
    assert_eq!(files(&sandbox), ["store.db"]);
}

#[test]
fn a_backup_is_restored() {
    let sandbox = filled();
    sandbox.run(["backup", "./restore"]).ok();
    let repo = sandbox.repo();
    repo.save_message(&task(), Role::User, "later").unwrap();
    let error = sandbox.run(["backup", "restore", "restore"]).failed(5);
    assert!(error.contains("hint: another program is using"), "{error}");
    drop(repo);
    let line = sandbox
        .run(["backup", "restore", "--json", "restore"])
        .one();
    assert_eq!(names(&line), ["bytes", "kept", "path", "tasks", "turns"]);
    assert_eq!((&line["tasks"], &line["turns"]), (&1.into(), &200.into()));
    let kept = Repo::open(line["kept"].as_str().unwrap()).unwrap();
    assert_eq!(kept.count_history(&task()).unwrap(), 201);
    drop(kept);
    assert_eq!(sandbox.repo().count_history(&task()).unwrap(), 200);
    let text = sandbox.run(["backup", "restore", "restore"]).ok();
    assert!(
        text.contains("store.db (tasks: 1, turns: 200, bytes: "),
        "{text}"
    );
    assert!(text.contains("the old store: kept as "), "{text}");
    let fresh = [
        "--db",
        "fresh/store.db",
        "backup",
        "restore",
        "--json",
        "restore",
    ];
    assert!(sandbox.run(fresh).one()["kept"].is_null());
    sandbox.run(["backup"]).failed(2);
    sandbox.run(["backup", "restore"]).failed(2);
    let error = sandbox.run(["backup", "restore", "none"]).failed(3);
    assert!(
        error.contains("\nhint: name a file that `turnkeep backup`"),
        "{error}"
    );
    sandbox
        .run(["backup", "a.db", "restore", "restore"])
        .failed(2);
}

#[test]
fn an_interrupted_restore_is_reported_with_a_hint() {
    let sandbox = filled();
    sandbox.run(["backup", "backup.db"]).ok();
    fs::copy(
        sandbox.path("backup.db"),
        sandbox.path("store.db-restoring"),
    )
    .unwrap();
    for command in [&["task", "list"][..], &["check"], &["backup", "another.db"]] {
        let error = sandbox.run(command).failed(1);
        assert!(
            error.contains("was being restored, which was not finished"),
            "{error}"
        );
        assert!(
            error.contains("\nhint: `turnkeep backup restore` it again"),
            "{error}"
        );
    }
    sandbox.run(["backup", "restore", "backup.db"]).ok();
    sandbox.run(["check"]).ok();
}
