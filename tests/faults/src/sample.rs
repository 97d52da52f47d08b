//! A fixed store with rows of every kind, and all reads of it.

use std::io::Read as _;
use std::path::Path;

use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{
    BackendType, MessageKey, NewMessage, NewSession, NewTask, RecordingName, Repo, Result, Role,
    SessionId, StatusUpdate, TaskId, WorkingDir,
};

const TASKS: usize = 6;
const TURNS: usize = 24;

/// Makes the store.
pub(crate) fn make(path: &Path) -> anyhow::Result<Repo> {
    let repo = Repo::builder(path).clock(DateTime::default).open()?;
    let mut last: Option<TaskId> = None;
    for number in 0..TASKS {
        let id = task(number);
        let new = NewTask::new(id.clone(), format!("Task {number}"))
            .prompt(format!("Do what task {number} is about"))
            .writes_files([format!("src/{number}.rs")])
            .depends_on(last.replace(id.clone()));
        repo.save_task(&new)?;
        for session in 0..=number {
            let mut binding = NewSession::new(
                [BackendType::Claude, BackendType::Codex, BackendType::Goose][number % 3].clone(),
                SessionId::new(format!("session-{number}-{session}"))?,
            );
            binding.working_dir = Some(WorkingDir::new(format!("/home/{number}"))?);
            repo.save_session(&id, &binding)?;
        }
        for turn in 0..TURNS {
            let text = format!("{number} {turn} {}", "word ".repeat(turn * number * 3));
            let key = MessageKey::new(format!("key-{turn}"))?;
            let role = [Role::User, Role::Assistant, Role::Tool][turn % 3];
            let message = NewMessage::new(role, &text);
            let message = if turn % 2 == 0 {
                message.key(key)
            } else {
                message
            };
            repo.save_messages(&id, &[message])?;
        }
        keep_files(&repo, &id, number)?;
        if number == 0 {
            repo.update_task_status(&id, StatusUpdate::completed("merged"))?;
        }
    }
    Ok(repo)
}

/// Keeps a file that grows and is rewritten later, and for the last task a file of two chunks.
fn keep_files(repo: &Repo, id: &TaskId, number: usize) -> anyhow::Result<()> {
    let name = RecordingName::new(format!("sessions/{number}.jsonl"))?;
    let lines = |count| -> String {
        (0..count)
            .map(|line| format!("{number} line {line}\n"))
            .collect()
    };
    let file = lines(400 * number);
    let mut length = 0;
    for piece in file.as_bytes().chunks(5_000) {
        length = repo.save_recording(id, &name, length, piece)?;
    }
    if number % 2 == 1 {
        repo.save_recording(id, &name, 1_000, b"rewritten")?;
    }
    if number == TASKS - 1 {
        let large = lines(100_000);
        repo.save_recording(id, &RecordingName::new("large")?, 0, large.as_bytes())?;
    }
    Ok(())
}

fn task(number: usize) -> TaskId {
    TaskId::new(format!("task-{number}")).unwrap_or_else(|_| unreachable!("a short id"))
}

/// Returns the result of each read by its name.
pub(crate) fn reads(repo: &Repo) -> Vec<(String, Result<String>)> {
    let mut reads = vec![
        (
            "get_tasks".into(),
            repo.get_tasks().map(|tasks| {
                let texts = tasks.iter().map(|task| {
                    let texts = (&task.name, &task.prompt, &task.result, &task.error);
                    format!("{task:?} {texts:?}")
                });
                texts.collect()
            }),
        ),
        ("ready_tasks".into(), shown(repo.ready_tasks())),
        ("list_sessions".into(), shown(repo.list_sessions())),
    ];
    for number in 0..TASKS {
        let id = task(number);
        let history = repo.get_history(&id);
        let seqs = history.as_ref().map(|turns| {
            let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq.get()).collect();
            format!("{seqs:?}")
        });
        if let Ok(seqs) = seqs {
            reads.push((format!("seqs({id})"), Ok(seqs)));
        }
        let history = history.map(|turns| {
            let texts = turns
                .iter()
                .map(|turn| format!("{turn:?} {}", turn.content));
            texts.collect()
        });
        let mut add = |name: &str, read| reads.push((format!("{name}({id})"), read));
        add("get_history", history);
        add("get_history_last", shown(repo.get_history_last(&id, 3)));
        add("count_history", shown(repo.count_history(&id)));
        let files = repo.get_recordings(&id);
        for file in files.iter().flatten() {
            let mut bytes = Vec::new();
            let mut reader = repo.recording_reader(&id, file.number);
            let read = reader.read_to_end(&mut bytes).map(|_| format!("{bytes:?}"));
            let read = read.map_err(|error| error.downcast().unwrap_or_else(|_| unreachable!()));
            add(&format!("recording {}", file.number), read);
        }
        add("get_recordings", shown(files));
        add("get_task", shown(repo.get_task(&id)));
        add("get_session", shown(repo.get_session(&id)));
        add(
            "list_session_revisions",
            shown(repo.list_session_revisions(&id)),
        );
    }
    reads
}

/// Writes to each task and returns the results.
pub(crate) fn writes(repo: &Repo) -> Vec<(String, Result<String>)> {
    let write = |number| {
        let saved = repo.save_message(&task(number), Role::User, "one more");
        (format!("save_message({number})"), shown(saved))
    };
    let keep = |number| {
        let name = RecordingName::new("new").unwrap_or_else(|_| unreachable!("a short name"));
        let kept = repo.save_recording(&task(number), &name, 0, b"one more");
        (format!("save_recording({number})"), shown(kept))
    };
    (0..TASKS).map(write).chain((0..TASKS).map(keep)).collect()
}

fn shown(read: Result<impl std::fmt::Debug>) -> Result<String> {
    read.map(|read| format!("{read:?}"))
}
