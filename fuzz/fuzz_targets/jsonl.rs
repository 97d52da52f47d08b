//! No text makes an import of lines of JSON panic. An accepted import is exported and imported again.

#![no_main]

use std::cell::LazyCell;
use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use turnkeep_repo::Repo;

thread_local! {
    // Emptied after each run: to make the tables takes longer than all the rest.
    static STORE: LazyCell<Repo> = LazyCell::new(|| Repo::open_in_memory().unwrap());
}

fuzz_target!(|text: &[u8]| {
    STORE.with(|store| {
        let imported = turnkeep_admin::import_jsonl(&store, Cursor::new(text), |_| ());
        let tasks = store.get_tasks().unwrap();
        if let Ok(done) = imported {
            assert_eq!(done.tasks, tasks.len() as u64);
        }
        if tasks.is_empty() {
            return;
        }
        // Whole tasks, also of a text that was refused further down.
        let mut exported = Vec::new();
        turnkeep_admin::export_jsonl(&store, &mut exported, |_| ()).unwrap();
        let again = turnkeep_admin::import_jsonl(&store, Cursor::new(&exported), |_| ()).unwrap();
        assert_eq!((again.tasks, again.left_alone), (0, tasks.len() as u64));
        // Tasks before their dependencies.
        let mut left: Vec<_> = tasks.into_iter().map(|task| task.id).collect();
        while !left.is_empty() {
            let count = left.len();
            left.retain(|task| store.delete_task(task).is_err());
            assert!(left.len() < count, "nothing can be deleted");
        }
    });
});
