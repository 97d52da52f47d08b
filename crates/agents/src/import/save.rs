//! Saves a recording. Every step is its own transaction and reads first what the store has. So an interrupted
//! import leaves a consistent store, the next one completes it, and several may run at once.

use turnkeep_recordings::Recording;
use turnkeep_repo::{ErrorKind, HistoryPage, NewMessage, Repo, Result, Seq, TaskId};

use super::continuation;

/// The limits of one transaction, so that other writers get their turn.
const CHUNK_MESSAGES: usize = 256;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// The number of conflicts with other appends in a row after which the import of a task fails.
const MAX_RETRIES: u32 = 10;

/// The result of saving a recording.
pub(super) struct Saved {
    /// The number of added turns.
    pub(super) added: i64,
    /// Whether the history had a later turn than the recording, which then is an older copy.
    pub(super) is_old: bool,
}

/// Saves the missing part of a recording. Calls `on_added` with the number of turns of each transaction.
pub(super) fn save(
    repo: &Repo,
    task: &TaskId,
    recording: &Recording,
    mut on_added: impl FnMut(i64),
) -> Result<Saved> {
    let mut added = 0;
    let mut is_old = None;
    let mut fewest_missing = usize::MAX;
    let mut retries = 0;
    loop {
        let whole = HistoryPage::new(u32::MAX).with_hidden();
        let stored = repo.get_history_page(task, whole)?;
        let latest = || stored.iter().map(|turn| turn.timestamp).max();
        let is_old = *is_old.get_or_insert_with(|| latest() > recording.last_timestamp());
        let missing = continuation::new_messages(recording, &stored);
        // A concurrent import of the same recording makes progress too, so count from zero again.
        if missing.len() < fewest_missing {
            fewest_missing = missing.len();
            retries = MAX_RETRIES;
        }
        let last_seq = stored.last().map(|turn| turn.seq);
        let appended = append_after(repo, task, last_seq, &missing, |count| {
            added += count;
            on_added(count);
        });
        match appended {
            Ok(()) => return Ok(Saved { added, is_old }),
            Err(error) if matches!(error.kind(), ErrorKind::SeqConflict { .. }) && retries > 0 => {
                retries -= 1
            }
            Err(error) => return Err(error),
        }
    }
}

/// Appends messages behind a turn. Calls `on_added` with the number of turns of each transaction.
pub(super) fn append_after(
    repo: &Repo,
    task: &TaskId,
    mut last_seq: Option<Seq>,
    messages: &[NewMessage<'_>],
    mut on_added: impl FnMut(i64),
) -> Result<()> {
    for chunk in chunks(messages) {
        let seqs = repo.save_messages_after(task, last_seq, chunk)?;
        // A message with a known key returns the seq of the stored turn.
        let new_last_seq = seqs.into_iter().max().max(last_seq);
        on_added(count(new_last_seq) - count(last_seq));
        last_seq = new_last_seq;
    }
    Ok(())
}

/// Returns the number of turns up to a place in a history.
pub(super) fn count(place: Option<Seq>) -> i64 {
    place.map_or(0, Seq::get)
}

/// Splits the messages into chunks for one transaction each, of at least one message.
pub(super) fn chunks<'a>(
    messages: &'a [NewMessage<'a>],
) -> impl Iterator<Item = &'a [NewMessage<'a>]> {
    let mut rest = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(CHUNK_MESSAGES).take_while(|message| {
            bytes += message.content.len();
            bytes <= CHUNK_BYTES
        });
        let (chunk, left) = rest.split_at(fitting.count().max(1).min(rest.len()));
        rest = left;
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use turnkeep_repo::{NewTask, Role};

    use super::*;

    fn sizes(lengths: &[usize]) -> Vec<usize> {
        let messages: Vec<_> = lengths
            .iter()
            .map(|&length| NewMessage::new(Role::User, "x".repeat(length)))
            .collect();
        chunks(&messages).map(<[_]>::len).collect()
    }

    #[test]
    fn chunks_are_bounded_in_number_and_bytes() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 600]), [256, 256, 88]);
        let mib = 1024 * 1024;
        assert_eq!(sizes(&[mib; 9]), [4, 4, 1]);
        assert_eq!(sizes(&[9 * mib, 1, 9 * mib]), [1, 1, 1]);
    }

    #[test]
    fn concurrent_appends_do_not_fail_an_import() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("20260101_1.jsonl");
        let said: Vec<_> = (0..600).map(|number| number.to_string()).collect();
        let lines = said.iter().map(|text| {
            format!(
                r#"{{"role":"user","created":1,"content":[{{"type":"text","text":"{text}"}}]}}"#
            )
        });
        std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let found = turnkeep_recordings::find(&file, None).unwrap();
        let recording = found.sources[0]
            .sessions()
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let repo = Repo::open_in_memory().unwrap();
        let task = recording.task_id().unwrap();
        repo.save_task(&NewTask::new(task.clone(), "T1")).unwrap();

        let saved = save(&repo, &task, &recording, |_| {
            repo.save_message(&task, Role::System, "mine").unwrap();
        });

        assert_eq!(saved.unwrap().added, 600);
        let mut turns = repo.get_history(&task).unwrap();
        turns.retain(|turn| turn.role == Role::User);
        assert!(turns.iter().map(|turn| &turn.content).eq(&said));
        assert_eq!(
            repo.count_history(&task).unwrap(),
            600 + 3,
            "one after each chunk"
        );
    }
}
