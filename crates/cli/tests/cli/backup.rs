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
    let error = sandbox.run(["backup", "backup.db"]).failed(1);
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

/// A disk that takes only a part of it: a file may not grow further.
#[test]
#[cfg(unix)]
fn a_backup_that_does_not_fit_leaves_nothing() {
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
    assert!(error.starts_with("error: backup: "), "{error}");
    assert_eq!(files(&sandbox), ["store.db"]);
}
