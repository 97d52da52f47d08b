//! Stores to be copied.

use chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, ConfigDir, FailureMode, MessageKey, Metadata, NewMessage, NewTask, RecordingName,
    Repo, Role, SessionId, StatusUpdate, TaskStatus,
};

use super::id;
use crate::support::{binding, place, save_task};

/// Texts that a careless copy changes.
pub(crate) const TEXTS: [&str; 8] = [
    "",
    "\0",
    "a\0b\u{10}c\u{10}0\u{10}\u{10}",
    "ünïcödé ✓ 任務 🦀",
    "line\r\nline\ttab\u{7f}\u{85}\u{feff}",
    "'; DROP TABLE tasks; --",
    "{\"json\": [\"\\u0000\", null]}",
    "%s \\x00 \\N NULL",
];

/// An object that changes if it is parsed and written again, or put into another column.
pub(crate) const METADATA: &str = " {\"z\" : 1.0e5,\t\"a\":[1.50, -0, 1E+2, 12345678901234567890123, null],\"é\\u00e9🦀\":\"\\\\u0000\\ud83e\\udd80\"} ";

/// Fills a store with all that there can be, but for leases.
pub(crate) fn fill(repo: &Repo) -> anyhow::Result<()> {
    for (number, status) in TaskStatus::ALL.iter().enumerate() {
        // Later ones are waited for by earlier ones, and the other way round.
        let task = NewTask::new(id(&format!("s{number}")), TEXTS[number]).status(*status);
        repo.save_task(&task.prompt(TEXTS[number + 1]))?;
    }
    let all = (0..TaskStatus::ALL.len()).map(|number| id(&format!("s{number}")));
    repo.save_task(&NewTask::new(id("a\u{1}"), "waits for all").depends_on(all))?;
    repo.save_task(
        &NewTask::new(id("Z ✓ '--"), TEXTS[2])
            .agent_role(TEXTS[2])
            .prompt(TEXTS[3])
            .writes_files(TEXTS)
            .failure_mode(FailureMode::Soft)
            .metadata(METADATA.parse()?)
            .depends_on([id("a\u{1}"), id("s3")]),
    )?;
    repo.save_task(&NewTask::new(id("s0"), "x").failure_mode(FailureMode::Skip))?;
    repo.update_task_status(&id("s1"), StatusUpdate::completed(TEXTS[2]))?;
    repo.update_task_status(&id("s2"), StatusUpdate::failed(TEXTS[1]))?;

    // Bound once; bound again and again; unbound; unbound and bound to the same again.
    repo.save_session(&id("s0"), &binding(BackendType::Claude, "1", None)?)?;
    for dir in [None, Some("/srv/ü"), Some(" ")] {
        let mut session = binding(BackendType::Codex, "1", dir)?;
        session.config_dir = dir.map(ConfigDir::new).transpose()?;
        session.metadata = dir.map(|_| Metadata::new(METADATA)).transpose()?;
        repo.save_session(&id("s1"), &session)?;
    }
    for task in ["s2", "s3"] {
        repo.save_session(&id(task), &binding("gemini".parse()?, "✓ 1", Some("/"))?)?;
        repo.retire_session(&id(task), &SessionId::new("✓ 1")?, TEXTS[2])?;
    }
    repo.save_session(&id("s3"), &binding("gemini".parse()?, "✓ 1", Some("/"))?)?;

    let micro = |micros| DateTime::<Utc>::from_timestamp_micros(micros).expect("a time");
    let times = [0, 1, -1, 253_402_300_799_999_999, -62_167_219_200_000_000];
    let mut messages = Vec::new();
    for (number, text) in TEXTS.iter().enumerate() {
        let role = Role::ALL[number % Role::ALL.len()];
        let mut message = NewMessage::new(role, *text);
        message.timestamp = times.get(number).copied().map(micro);
        if number % 2 == 0 {
            message.key = Some(MessageKey::new(format!("ключ {number}"))?);
        }
        if number % 3 == 0 {
            message.metadata = Some(METADATA.parse()?);
        }
        messages.push(message);
    }
    for task in ["a\u{1}", "s0", "Z ✓ '--"] {
        repo.save_messages(&id(task), &messages)?;
    }
    repo.hide_after(&id("s0"), place(4))?;
    repo.hide_after(&id("s0"), place(2))?;
    Ok(())
}

/// More than a page of everything: tasks, turns of a task, bytes of tasks, of revisions, of turns.
pub(crate) fn fill_pages(repo: &Repo) -> anyhow::Result<()> {
    let mib = 1024 * 1024;
    for number in 0..300 {
        let task = NewTask::new(id(&format!("many-{number:03}")), "one of many");
        let task = match number {
            // Dependencies with ids behind the page of their dependents.
            0..100 => task,
            _ => task.depends_on([id(&format!("many-{:03}", number - 100))]),
        };
        let long = if (200..205).contains(&number) {
            3 * mib
        } else {
            0
        };
        repo.save_task(&task.prompt("p".repeat(long)))?;
        let said = (0..number % 4).map(|turn| format!("{number}: {turn}"));
        let said: Vec<_> = said.map(|text| NewMessage::new(Role::User, text)).collect();
        repo.save_messages(&id(&format!("many-{number:03}")), &said)?;
    }
    let wide: Metadata = format!("{{\"k\":\"{}\"}}", "m".repeat(mib / 2)).parse()?;
    for (task, count, bytes) in [
        ("long", 9_000, 10),
        ("wide", 9, mib / 2),
        ("widest", 2, 5 * mib),
    ] {
        let task = save_task(repo, task)?;
        let said: Vec<_> = (0..count)
            .map(|number| NewMessage::new(Role::Tool, format!("{number}{}", "x".repeat(bytes))))
            .map(|message| match bytes > 10 {
                true => message.metadata(wide.clone()),
                false => message,
            })
            .collect();
        repo.save_messages(&task, &said)?;
        repo.hide_after(&task, place(count / 2))?;
    }
    let task = save_task(repo, "rebound")?;
    for number in 0..5 {
        let session = number.to_string();
        let new = binding(BackendType::Goose, &session, None)?.metadata(wide.clone());
        repo.save_session(&task, &new)?;
        repo.retire_session(&task, &SessionId::new(session)?, &"r".repeat(mib))?;
    }
    Ok(())
}

/// Bytes that can't be compressed, others for each seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub(crate) fn name(text: &str) -> RecordingName {
    RecordingName::new(text).expect("a valid name")
}

/// Adds recordings to tasks of [`fill`], and a removed session: an empty file, a small one, one of several pages, and one
/// that was rewritten twice.
pub(crate) fn fill_recordings(repo: &Repo) -> anyhow::Result<()> {
    let task = id("s0");
    repo.save_recording(&task, &name("a/empty ✓"), 0, b"")?;
    repo.save_recording(&task, &name("a/small.jsonl"), 0, b"{}\n[]\n")?;
    repo.save_recording(&task, &name("b"), 0, &noise(1, 6 * 1024 * 1024 + 123))?;
    for version in ["1", "2", "3"] {
        let bytes = version.repeat(3 * 1024 * 1024);
        repo.save_recording(&id("s1"), &name("rewritten"), 0, bytes.as_bytes())?;
    }
    let gone = save_task(repo, "gone")?;
    for session in ["gone", "gone ✓"] {
        repo.save_session(&gone, &binding(BackendType::Codex, session, None)?)?;
    }
    repo.remove_task(&gone)?;
    Ok(())
}

/// The row of a leased task, in SQL of every engine.
pub(crate) const LEASES: &str = "\
    UPDATE tasks SET worker = 'wörker 1', fence = 7, lease_ends_at = 253402300799999999, \
        lease_length = 86400000000, \
        status = 'running' WHERE id = 's0'; \
    UPDATE tasks SET fence = 3 WHERE id = 's1';";
