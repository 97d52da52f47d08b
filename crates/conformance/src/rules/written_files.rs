//! Written files as locks: of the tasks that write a file, one runs at a time.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use turnkeep_repo::{NewTask, TaskId, TaskStatus};

use super::lease::{LONG, SHORT, claimed, ids, lease_lost, ticking, until, worker};
use crate::{Claimed, Harness, Store};

/// Saves a task that writes these files.
fn save(repo: &impl Store, id: &str, files: &[&str]) -> anyhow::Result<TaskId> {
    let id = TaskId::new(id)?;
    repo.save_task(&NewTask::new(id.clone(), "T").writes_files(files.iter().copied()))?;
    Ok(id)
}

fn ready(repo: &impl Store) -> anyhow::Result<Vec<String>> {
    let ready = repo.ready_tasks()?.into_iter();
    Ok(ready.map(|task| task.id.to_string()).collect())
}

/// A task waits while another that writes the same file runs. File names are compared byte for byte.
pub fn a_written_file_has_one_running_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    let parser = save(&repo, "parser", &["src/lib.rs", "a,b\" \u{0}ü"])?;
    let lexer = save(&repo, "lexer", &["src/lexer.rs", "src/lib.rs"])?;
    let tests = save(&repo, "tests", &["a,b\" \u{0}ü"])?;
    save(&repo, "case", &["src/Lib.rs", "src/Lib.rs"])?;
    save(&repo, "prefix", &["src/lib.r", "a,b\" \u{0}"])?;
    save(&repo, "chat", &[])?;
    let all = ["parser", "lexer", "tests", "case", "prefix", "chat"];
    assert_eq!(ready(&repo)?, all, "each could be claimed now");

    let claims = repo.claim_ready(&worker("w"), 9, LONG)?;
    assert_eq!(ids(&claims), ["parser", "case", "prefix", "chat"]);
    assert!(ready(&repo)?.is_empty());
    assert!(repo.claim_ready(&worker("w"), 9, LONG)?.is_empty());
    assert!(!repo.claim_task(&lexer)?);
    assert!(repo.claim(&lexer, &worker("w"), LONG)?.is_none());
    assert_eq!(repo.get_task(&lexer)?.status, TaskStatus::Pending);

    repo.update_task_status(&parser, TaskStatus::Failed)?;
    assert_eq!(ready(&repo)?, ["lexer", "tests"]);
    assert!(repo.claim_task(&tests)?, "claimed without a lease");
    repo.update_task_status(&parser, TaskStatus::Pending)?;
    assert_eq!(ready(&repo)?, ["lexer"]);
    assert_eq!(ids(&repo.claim_ready(&worker("w"), 9, LONG)?), ["lexer"]);
    assert_eq!(repo.requeue_running()?, [tests]);
    assert_eq!(ready(&repo)?, ["tests"], "the parser waits for the lexer");
    Ok(())
}

/// `claim_ready` finds the free tasks behind any number of waiting ones.
pub fn waiting_tasks_do_not_hide_free_ones<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    for number in 0..40 {
        save(&repo, &format!("t{number:02}"), &["one"])?;
    }
    save(&repo, "free", &["two"])?;
    save(&repo, "last", &["two"])?;
    let claims = repo.claim_ready(&worker("w"), 2, LONG)?;
    assert_eq!(ids(&claims), ["t00", "free"]);
    assert!(repo.claim_ready(&worker("w"), 2, LONG)?.is_empty());
    Ok(())
}

/// A running task holds no file once its lease is over. When another task has got the file, neither a renewal nor a
/// claim brings the first one back.
pub fn an_expired_lease_holds_no_file<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    save(&repo, "slow", &["f"])?;
    let first = repo.claim_ready(&worker("w"), 1, SHORT)?.remove(0);
    let quick = save(&repo, "quick", &["f"])?;
    until(|| Ok(ready(&repo)?.pop()))?;
    claimed(&repo, &first).renew(SHORT)?;
    until(|| Ok(repo.claim_task(&quick)?.then_some(())))?;

    assert!(repo.claim_ready(&worker("w"), 9, LONG)?.is_empty());
    let refused = claimed(&repo, &first).renew(LONG).unwrap_err();
    assert_eq!(refused.operation(), "renew");
    assert_eq!(*refused.kind(), lease_lost(1, 1));
    repo.update_task_status(&quick, TaskStatus::Completed)?;
    claimed(&repo, &first).renew(LONG)?;
    save(&repo, "next", &["f"])?;
    assert!(ready(&repo)?.is_empty());
    Ok(())
}

/// Concurrent workers never hold the same file, and each task gets its turn.
pub fn concurrent_claims_share_no_file<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let tasks = 60;
    for number in 0..tasks {
        let files = [format!("f{}", number % 5), format!("g{}", number % 3)];
        save(&repo, &format!("t{number}"), &[&files[0], &files[1]])?;
    }
    let (held, done) = (&Mutex::new(BTreeSet::new()), &Mutex::new(0));
    let (repo, shared) = (&repo, &Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for number in 0..6 {
            scope.spawn(move || {
                let name = worker(&format!("w{number}"));
                while *done.lock().unwrap() < tasks {
                    let mut claimed = Vec::new();
                    if number % 2 == 0 {
                        let claims = repo.claim_ready(&name, 2, LONG).unwrap();
                        claimed.extend(claims.into_iter().map(|claim| claim.task));
                    } else if let Some(task) = repo.ready_tasks().unwrap().into_iter().next() {
                        let is_claimed = match number % 3 {
                            0 => repo.claim(&task.id, &name, LONG).unwrap().is_some(),
                            _ => repo.claim_task(&task.id).unwrap(),
                        };
                        claimed.extend(is_claimed.then_some(task));
                    }
                    for task in &claimed {
                        for file in &task.writes_files {
                            if !held.lock().unwrap().insert(file.clone()) {
                                shared.lock().unwrap().push(file.clone());
                            }
                        }
                    }
                    for task in claimed {
                        for file in &task.writes_files {
                            held.lock().unwrap().remove(file);
                        }
                        let completed = TaskStatus::Completed;
                        repo.update_task_status(&task.id, completed).unwrap();
                        *done.lock().unwrap() += 1;
                    }
                }
            });
        }
    });
    assert!(shared.lock().unwrap().is_empty(), "{shared:?}");
    Ok(())
}
