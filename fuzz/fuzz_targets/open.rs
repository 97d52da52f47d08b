//! No file makes the store panic or hang: what it takes for a store can be read and appended to, or
//! says why not. What a damaged file holds instead nobody can promise; `turnkeep check` finds it.

#![no_main]

use std::fs;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, Role, SessionId, TaskId};

/// A store to begin with, since no fuzzer makes one from nothing.
fn template() -> &'static [u8] {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let repo = Repo::open(&path).unwrap();
        for id in ["a", "b"] {
            let task = TaskId::new(id).unwrap();
            repo.save_task(&NewTask::new(task.clone(), "A task"))
                .unwrap();
            let session = NewSession::new(BackendType::Claude, SessionId::new("s").unwrap());
            repo.save_session(&task, &session).unwrap();
            for said in ["Hello", "World"] {
                repo.save_message(&task, Role::User, said).unwrap();
            }
        }
        drop(repo);
        fs::read(path).unwrap()
    })
}

// Either the file itself, or changes of bytes of a store, most of them where they matter: at the
// beginnings of pages.
fuzz_target!(|input: (bool, Vec<(u8, u16, u8)>, &[u8])| {
    let (is_whole, changes, whole) = input;
    let mut content = template().to_vec();
    if is_whole {
        content = whole.to_vec();
    } else {
        let pages = content.len() / 4096;
        for (page, offset, byte) in changes {
            let offset = usize::from(offset % 4096);
            let offset = if byte % 2 == 0 { offset % 128 } else { offset };
            content[usize::from(page) % pages * 4096 + offset] = byte;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    fs::write(&path, &content).unwrap();
    let Ok(repo) = Repo::builder(&path).create_if_missing(false).open() else {
        return;
    };
    let _ = (repo.get_tasks(), repo.ready_tasks(), repo.list_sessions());
    for id in ["a", "b"] {
        let task = TaskId::new(id).unwrap();
        let _ = (repo.get_task(&task), repo.get_session(&task));
        let _ = repo.list_session_revisions(&task);
        let _ = repo.get_history(&task);
        let _ = repo.save_message(&task, Role::User, "more");
        let _ = repo.get_history(&task);
    }
});
