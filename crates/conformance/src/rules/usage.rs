//! The usage report of a store.

use std::slice;

use turnkeep_admin::{MonthUsage, Prune, Usage};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, NewMessage, NewTask, RecordingName, Role, SessionId, StatusUpdate, TaskId,
    TaskStatus,
};

use crate::scene::{binding, save_task};
use crate::{Harness, Options, Store};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn months(months: &[MonthUsage]) -> Vec<(i32, u32, u64, u64, u64)> {
    let columns = |m: &MonthUsage| (m.year, m.month, m.tasks, m.turns, m.bytes);
    months.iter().map(columns).collect()
}

/// Metadata of tasks, revisions and turns count as texts.
pub fn usage_counts_metadata<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let task = NewTask::new(TaskId::new("t")?, "T");
    repo.save_task(&task)?;
    let turn = NewMessage::new(Role::Tool, "said");
    repo.save_messages(&task.id, slice::from_ref(&turn))?;
    let bytes = || -> anyhow::Result<_> {
        let usage = turnkeep_admin::usage(repo.repo())?;
        let of_backends = usage.backends.iter().map(|it| it.bytes).sum::<u64>();
        let of_months = usage.months.iter().map(|it| it.bytes).sum::<u64>();
        Ok((usage.largest[0].bytes, of_backends, of_months))
    };
    let (all, backends, months) = bytes()?;
    let added = turn.metadata(r#"{"k":"é"}"#.parse()?);
    repo.save_messages(&task.id, &[added])?;
    let turn = 4 + 10;
    assert_eq!(bytes()?, (all + turn, backends + turn, months + turn));
    repo.save_task(&task.clone().metadata("{ }".parse()?))?;
    let session = binding(BackendType::Goose, "s", None)?;
    repo.save_session(&task.id, &session.metadata("{}".parse()?))?;
    assert_eq!(
        bytes()?,
        (all + turn + 3 + 2, backends + turn, months + turn)
    );
    Ok(())
}

/// `usage` counts tasks by status, and turns by backend and month.
pub fn usage_counts_tasks_turns_and_bytes<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let clock = || time("2026-03-31T23:59:59.999999Z");
    let repo = store.open_with(Options::new().clock(clock))?;
    let claude = save_task(&repo, "claude")?;
    let other = save_task(&repo, "other")?;
    let unbound = save_task(&repo, "unbound")?;
    // Turns count for the last binding, even a retired one.
    repo.save_session(&claude, &binding(BackendType::Codex, "1", None)?)?;
    repo.save_session(&claude, &binding(BackendType::Claude, "2", None)?)?;
    repo.retire_session(&claude, &SessionId::new("2")?, "")?;
    repo.save_session(&other, &binding("another".parse()?, "3", None)?)?;
    let say = |task: &TaskId, at: &str, text: &str| {
        let message = NewMessage::new(Role::User, text).timestamp(time(at));
        repo.save_messages(task, &[message]).map(drop)
    };
    say(&claude, "2026-01-31T23:59:59.999999Z", "é")?;
    say(&claude, "2026-02-01T00:00:00Z", "ab")?;
    say(&claude, "1969-12-31T23:59:59.999999Z", "abc")?;
    say(&other, "2026-02-28T00:00:00Z", "x\0")?;
    say(&unbound, "0000-01-01T00:00:00Z", "")?;
    say(&unbound, "9999-12-31T23:59:59Z", "abcd")?;
    repo.update_task_status(&other, StatusUpdate::failed("why"))?;

    let usage = turnkeep_admin::usage(repo.repo())?;
    let statuses = usage.statuses.iter().map(|s| (s.status, s.tasks, s.bytes));
    let expected = TaskStatus::ALL.iter().map(|status| match status {
        // "A task" and "[]" are 8 bytes.
        TaskStatus::Pending => (*status, 2, 2 * 8 + 7 + 4),
        TaskStatus::Failed => (*status, 1, 8 + 3 + 3),
        _ => (*status, 0, 0),
    });
    assert!(statuses.eq(expected), "{:?}", usage.statuses);
    assert_eq!(
        months(&usage.months),
        [
            (0, 1, 0, 1, 0),
            (1969, 12, 0, 1, 3),
            (2026, 1, 0, 1, 2),
            (2026, 2, 0, 2, 5),
            (2026, 3, 3, 0, 0),
            (9999, 12, 0, 1, 4),
        ]
    );
    let backends: Vec<_> = usage
        .backends
        .iter()
        .map(|b| {
            (
                b.backend.as_ref().map(ToString::to_string),
                b.turns,
                b.bytes,
            )
        })
        .collect();
    assert_eq!(
        backends,
        [
            (None, 2, 4),
            (Some("another".into()), 1, 3),
            (Some("claude".into()), 3, 7),
        ]
    );
    assert_eq!(
        months(&usage.backends[2].months),
        [(1969, 12, 0, 1, 3), (2026, 1, 0, 1, 2), (2026, 2, 0, 1, 2)]
    );
    let largest: Vec<_> = usage
        .largest
        .iter()
        .map(|task| (task.id.as_str(), task.turns, task.bytes))
        .collect();
    assert_eq!(
        largest,
        [("claude", 3, 15), ("other", 1, 14), ("unbound", 2, 12)]
    );
    assert!(usage.disk_bytes > 0);
    Ok(())
}

/// `usage` of an empty store is empty. Of many tasks it lists the ten largest.
pub fn usage_lists_the_ten_largest_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let usage = turnkeep_admin::usage(repo.repo())?;
    assert!(usage.statuses.iter().all(|status| status.tasks == 0));
    assert!(usage.backends.is_empty() && usage.months.is_empty() && usage.largest.is_empty());
    for number in 0..15_usize {
        let id = TaskId::new(format!("{number:02}"))?;
        let prompt = "x".repeat(number / 2);
        repo.save_task(&NewTask::new(id, "").prompt(prompt))?;
    }
    let usage = turnkeep_admin::usage(repo.repo())?;
    let ids: Vec<_> = usage.largest.iter().map(|task| task.id.as_str()).collect();
    let expected = ["14", "12", "13", "10", "11", "08", "09", "06", "07", "04"];
    assert_eq!(ids, expected, "the largest first, then by id");
    Ok(())
}

/// Recordings count with the bytes that they take, for a prune by size too.
pub fn usage_counts_recordings<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let task = save_task(&repo, "t")?;
    let before = turnkeep_admin::usage(repo.repo())?;
    assert_eq!(before.recordings.files, 0);
    let name = RecordingName::new("a")?;
    repo.save_recording(&task, &name, 0, &vec![b'x'; 3_000_000])?;
    repo.save_recording(&task, &name, 0, b"rewritten")?;
    let stored: u64 = repo
        .get_recordings(&task)?
        .iter()
        .map(|it| it.stored_bytes)
        .sum();
    let usage = turnkeep_admin::usage(repo.repo())?;
    let recordings = usage.recordings;
    assert_eq!((recordings.files, recordings.bytes), (2, 3_000_009));
    assert_eq!(recordings.stored_bytes, stored);
    assert_eq!(usage.largest[0].bytes, before.largest[0].bytes + stored);
    let of_status = |usage: &Usage| usage.statuses.iter().map(|it| it.bytes).sum::<u64>();
    assert_eq!(of_status(&usage), of_status(&before) + stored);

    repo.update_task_status(&task, TaskStatus::Skipped)?;
    let rule = Prune::new().keep_bytes(usage.largest[0].bytes);
    assert!(turnkeep_admin::prune(repo.repo(), &rule)?.tasks.is_empty());
    let rule = Prune::new().keep_bytes(usage.largest[0].bytes - 1);
    let pruned = turnkeep_admin::prune(repo.repo(), &rule)?;
    assert_eq!(pruned.bytes(), usage.largest[0].bytes);
    assert!(repo.get_recordings(&task)?.is_empty());
    Ok(())
}
