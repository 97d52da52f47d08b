//! Foreign keys, and opening a missing store.

use turnkeep_repo::{BackendType, ErrorKind, Role, TaskId};

use crate::scene::{binding, open_with_task};
use crate::{Harness, Options, Store};

/// A binding needs its task and is deleted with it.
pub fn foreign_key_enforced<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let none = TaskId::new("none")?;
    let binding = binding(BackendType::Claude, "s", None)?;
    assert!(matches!(
        repo.save_session(&none, &binding).unwrap_err().kind(),
        ErrorKind::TaskNotFound
    ));
    repo.save_session(&task, &binding)?;
    assert!(repo.delete_task(&task)?);
    assert!(
        repo.list_sessions()?.is_empty(),
        "children go with their parent"
    );
    Ok(())
}

/// A turn needs its task and is deleted with it.
pub fn conversation_history_foreign_key<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let none = TaskId::new("none")?;
    assert!(matches!(
        repo.save_message(&none, Role::User, "x")
            .unwrap_err()
            .kind(),
        ErrorKind::TaskNotFound
    ));
    repo.save_message(&task, Role::User, "x")?;
    assert!(repo.delete_task(&task)?);
    assert_eq!(repo.count_history(&task)?, 0);
    Ok(())
}

/// Without `create_if_missing`, opening a missing store fails and creates nothing.
pub fn a_missing_store_is_created_only_on_request<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let look = || store.open_with(Options::new().create_if_missing(false));
    for _ in 0..2 {
        let error = look().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::StoreNotFound),
            "{error:?}"
        );
    }
    drop(open_with_task(&store, "t")?);
    assert_eq!(look()?.get_tasks()?.len(), 1);
    Ok(())
}
