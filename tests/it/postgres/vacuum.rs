//! Operations on files, which a server refuses.

use turnkeep_repo::ErrorKind;

use super::TempDatabase;
use crate::support::*;

#[test]
fn erasing_is_refused_with_the_reason_and_nothing_is_deleted() -> anyhow::Result<()> {
    let store = TempDatabase::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let error = repo.delete_task_securely(&task).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported { .. }),
        "{error:?}"
    );
    assert_eq!(error.operation(), "delete_task_securely");
    assert_eq!(
        error.to_string(),
        "delete_task_securely: erasing what was deleted can't be used: a server keeps what was \
         deleted until it vacuums, and in its write-ahead log, its replicas and its backups, which \
         this program can't erase"
    );
    assert!(repo.get_task(&task).is_ok());
    let error = repo.vacuum().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported { .. }),
        "{error:?}"
    );
    assert_eq!(error.operation(), "vacuum");
    assert_eq!(turnkeep_admin::usage(&repo)?.free_bytes, None);
    Ok(())
}
