//! Errors that no store has to be asked for.

use turnkeep_repo::{Error, ErrorKind, SessionId, TaskId};

#[test]
fn invalid_values_name_field_and_reason() {
    let error = Error::from(TaskId::new("").unwrap_err());
    assert_eq!(error.to_string(), "new: invalid task id: must not be empty");
    assert!(matches!(
        error.kind(),
        ErrorKind::InvalidInput {
            field: "task id",
            ..
        }
    ));
    assert!(!error.is_retryable());
    let error = Error::from(SessionId::new("a\0").unwrap_err());
    assert_eq!(
        error.to_string(),
        "new: invalid session id: must not contain a NUL character"
    );
}
