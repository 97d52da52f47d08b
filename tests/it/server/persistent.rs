//! A writer that does not give up, in a thread of the tests or in a process of its own.

use turnkeep_repo::{ErrorKind, MessageKey, NewMessage, Result, Role, Seq, TaskId};

/// Appends message `number` of a writer until that is acknowledged, and returns its seq. The key
/// makes it the same message each time.
pub fn append(
    task: &TaskId,
    writer: &str,
    number: u64,
    mut save: impl FnMut(&TaskId, &[NewMessage<'_>]) -> Result<Vec<Seq>>,
) -> anyhow::Result<Seq> {
    let content = format!("{writer}-{number}");
    let message = NewMessage::new(Role::Assistant, &*content).key(MessageKey::new(&*content)?);
    loop {
        match save(task, std::slice::from_ref(&message)) {
            Ok(seqs) => return Ok(seqs[0]),
            Err(error) if error.is_retryable() => {}
            Err(error) if *error.kind() == ErrorKind::OutcomeUnknown => {}
            Err(error) => return Err(error.into()),
        }
    }
}
